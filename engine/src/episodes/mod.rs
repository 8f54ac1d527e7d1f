//! From a rule's rows to events: decide, per key, what is told and when.
//!
//! In:   rows of a rule's query in any order, and the frontier of its `event_time`.
//! Out:  events, once each row or timer is final, in order of event time.
//! Owns: the state of every episode, its timers, ids and `seq`. Not delivery, not conflicts between rules.
//!
//! E1  What comes out depends on the rows alone, not on batches, calls or a restart.
//! E2  At one instant all rows come before all timers; of a key's rows at one instant the last counts.
//! E3  `seq` of an episode starts at 0 and has no gap.
//! E4  A key in OK without a timer takes no memory.
//!
//! In the order data meets them: `rows` (buffer, finality, canonical order), `keys` (one slot a key),
//! [`machine`] (the table of states), `facts` (typed columns), `write` (events). Start at [`Decide`].

mod decide;
mod decisions;
mod facts;
mod keys;
pub mod machine;
mod rows;
mod write;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;

pub use decide::{Decide, DecideSpec};
pub use decisions::Decision;
pub use write::InputRange;
