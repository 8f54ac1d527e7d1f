//! The simulated day: one seeded model of the floor for demo, tests and benches.
//!
//! In the order a day meets them: [`options`] (what is asked for), [`rng`] (chance from one seed),
//! [`floor`] and [`reference`] (what stands), [`plan`] (what is planted), [`stations`], [`shop`], [`buffers`]
//! and [`upstream`] (what happens and what is told about it), [`record`] (in which order it reaches
//! the log), [`observer`] and [`truth`] (what a perfect observer says), [`day`] (all of it). [`shots`] is a
//! few minutes of stations for cameras that see pictures.
//!
//! It knows nothing of the engine: no rule, no SQL plan, no watermark. It reads no clock.

pub mod options;
pub mod rng;

pub mod floor;
pub mod reference;

pub mod plan;

pub mod buffers;
pub mod record;
pub mod shop;
pub mod stations;
pub mod upstream;

pub mod observer;
pub mod truth;

pub mod day;

pub mod score;

pub mod shots;

pub use day::Day;
pub use options::{DayOptions, IncidentRates};
pub use record::{Change, HEARTBEAT, Item, SimRecord, TOPICS, Topic};
pub use score::Score;
pub use shots::{ShotOptions, Shots};
pub use truth::{Incident, SCORED_KINDS, Truth};
