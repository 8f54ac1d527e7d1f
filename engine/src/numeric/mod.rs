//! Aggregate functions over floats whose value depends on the multiset of rows alone.
//!
//! In:   Float64 columns (Float32 too for `min` and `max`); every other type is handed to the
//!       function of the same name that DataFusion brings.
//! Out:  `sum, avg, var*, stddev*, covar*, corr, regr_*, min, max`, named and typed as DataFusion's,
//!       so that registering them replaces those in the streaming and in the batch form of a plan.
//! Owns: the exact sums and their bytes. Not which rows reach them, and not counts or integer sums.
//!
//! N1  Rows in any order, any merge tree, any retraction, a snapshot anywhere: the same bits.
//! N2  Equal values have equal state bytes.
//! N3  Numerator and denominator are each rounded once, to 53 bits, from the exact value, then divided
//!     or rooted. Only a final result can be out of range: ±∞, or rounded among the subnormals.
//! N4  NaN and the infinities are counted apart, so that they can be retracted.
//!
//! Start at `functions` (what SQL sees), then `accumulate` (the hot loops), `exact` (the numbers).

mod accumulate;
mod big;
mod distinct;
mod exact;
mod extremes;
mod functions;
mod moments;
mod wide;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;

pub use exact::ExactSum;
pub use functions::{aggregate_functions, register};
