//! Lanes: what happens to a record, and how far one partition's event time is final.
//!
//! In:   raw batches of one partition, idle marks.
//! Out:  processed rows, late and rejected records, the partition's watermark.
//! Owns: fates, the watermark, duplicates, the counts. Not decoding (`decode`), not the minimum over
//!       partitions (`run`).
//!
//! W1  The watermark never moves back.
//! W2  Every record has one fate, and the two sums close: records = rows' records + heartbeats + rejects,
//!     rows = processed + late + duplicates.
//! W3  Fates and watermark depend on the log and the marks alone, not on how it is cut into batches nor on
//!     where it was saved and restored.
//!
//! Start at [`Lane::take`]. Tests: `tests`, against a twin that takes one record at a time.

mod counts;
mod dedup;
mod lane;
mod side;

pub use crate::sql::plan::stream_schema;
pub use counts::Counts;
pub use lane::{Lane, LaneSpec, Taken};
pub use side::{SIDE_BYTES_MAX, SideRecord, SideWhy};

#[cfg(test)]
mod tests;
