//! SQL front: scripts to catalog, queries to plans.

pub mod catalog;
pub mod plan;
