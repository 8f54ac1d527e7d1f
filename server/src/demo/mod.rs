//! The simulated world beside a running engine.
//!
//! `pack` holds the rules that the binary carries, `feed` plays a simulated day into a log, `screen`
//! shows what happens while it happens, `summary` what came of it.

pub mod feed;
pub mod pack;
pub mod screen;
pub mod summary;
