//! Benchmarks: what they share. Each binary checks its answer before it prints a time.

pub mod day;
pub mod nexmark;
pub mod usage;
