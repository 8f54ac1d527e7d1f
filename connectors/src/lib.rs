//! Sources and sinks.

pub mod kafka;
pub mod reference;
