//! The engine: event time, finality, windows, joins over time, rules, episodes, replay.
//!
//! The modules stand in the order data meets them. A module may import those above it, never those
//! below; only `run` sees all of them (held by the tidy test). `base` holds what all share.

pub mod base;
pub mod source;
pub mod detect;
pub mod numeric;
pub mod sql;
pub mod state;
pub mod decode;
pub mod watermark;
pub mod control;
pub mod operators;
pub mod rules;
pub mod episodes;
pub mod sink;
pub mod connect;
pub mod run;
