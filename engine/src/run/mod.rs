//! The run: events in, effects out; start, cut, restore, end. Only this module sees all others.
//!
//! Start at [`program::run`]. `graph` lays a plan out over tasks and shards, `compile` makes
//! operators, `instance` steps one of them, `worker` does so by turns, `lanes` and `exchange` bring
//! rows, `output` takes them, `controls` and `references` bring what people and clocks decided,
//! `owner` says which process runs the program, `members` which partitions it reads, `copies` what one of several hands over, `checkpoint` keeps
//! the cut, `start` brings a program to where it goes on, `away` says what a run waits for. `rule_test` runs a program over what a rule's test
//! gives.

pub mod away;
pub mod checkpoint;
pub mod compile;
pub mod controls;
pub mod copies;
pub mod exchange;
pub mod graph;
pub mod instance;
pub mod lanes;
pub mod members;
pub mod options;
pub mod output;
mod owner;
pub mod program;
pub mod references;
pub mod rule_test;
mod silence;
mod start;
pub mod worker;
pub mod world;

pub use options::{Options, Ports, ReferenceChange, ReferenceTail, Report, Stop};
pub use program::{run, run_copy};
