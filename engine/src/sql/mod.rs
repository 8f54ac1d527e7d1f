//! SQL front: scripts to catalog, queries to plans.
//!
//! Start at [`parse::read`]. `dialect` says how words read, `text` where they stand; `ddl`, `rule` and
//! `options` read what sqlparser cannot; `asof` brings as-of joins to one form; `catalog` is the result.

pub mod asof;
pub mod catalog;
pub mod ddl;
pub mod dialect;
pub mod nearest;
pub mod options;
pub mod parse;
pub mod plan;
pub mod rule;
mod text;
pub mod types;

pub use options::{check_connectors, check_options};
pub use parse::{SourceFile, load, program_name, read};

#[cfg(test)]
mod tests;
