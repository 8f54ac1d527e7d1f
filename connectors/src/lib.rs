//! Sources and sinks.
//!
//! Each connector implements the ports of the engine and passes [`compliance`].

pub mod compliance;
pub mod file;
pub mod kafka;
pub mod log;
pub mod partitioner;
pub mod paths;
pub mod reference;
