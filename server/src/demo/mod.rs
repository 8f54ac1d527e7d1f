//! The simulated world beside a running engine.
//!
//! `pack` holds the rules that the binary carries, `feed` plays a simulated day into a log, `screen`
//! shows what happens while it happens, `summary` what came of it. `pictures` is the demo that begins with
//! frames.

pub mod feed;
pub mod pack;
pub mod pictures;
pub mod screen;
pub mod summary;
