//! The agent beside cameras and scanners: captures, keeps through power cuts, publishes in order.

pub mod time;
pub mod record;
pub mod spool;
