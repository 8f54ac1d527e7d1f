//! What the edge, the engine and the console agree on; serde only, never DataFusion.
//!
//! In the order a reader needs them: [`time`] (event time and durations), [`clock`] (the one wall
//! clock), [`code`] (every error code), [`error`] (an error that says what, where, expected, who
//! acts), [`event`] (what rules say), [`wire`] (bytes and back, versioned),
//! [`partitioner`] (which partition a key goes to).

pub mod clock;
pub mod code;
pub mod error;
pub mod event;
pub mod partitioner;
pub mod time;
pub mod wire;

pub use clock::{Clock, WallClock};
pub use code::Code;
pub use error::{Error, Place, Result};
pub use time::{EventTime, Span};
