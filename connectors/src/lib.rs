//! Sources and sinks.

pub mod kafka;
