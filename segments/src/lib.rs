//! Append-only segment files: the embedded log and the edge spool stand on them.
//!
//! In:   records (append time, key, headers, value), appended by one locked [`Writer`].
//! Out:  batches of records by offset, to any number of [`Reader`]s, in other processes too.
//! Owns: the bytes of one folder. Not topics, partitions or ids of records: those are connectors'.
//!
//! S1  What `append` got is one frame with one CRC32C: after a crash it is there whole or not at all
//!     (an append above [`FRAME_BYTES`] is several frames, cut from the end).
//! S2  A reader sees only what a returned `sync` covered.
//! S3  A torn tail is cut at the last good frame; damage below what was synced is `W0502`, never cut.
//! S4  A failed write leaves nothing behind. After a failed sync the writer is dead: a new one cuts
//!     what was not synced, and goes on in a new file.
//! S5  Files are created, and deleted one by one from the oldest, each with a sync of the folder; the
//!     list of files is the only ledger, so no crash can make the two disagree.
//!
//! S6  A spool opens what is damaged too (`open_past_damage`): it passes over bad frames, names what is
//!     lost, and never gives an offset twice.
//!
//! A folder holds `{first offset}.seg`, their sparse indexes `.idx` (may be missing), `identity`, `lock`
//! and `durable` (how far the writer of this boot has synced). Start at `Writer::append`; tests:
//! `tests.rs` beside this file; the file
//! system is behind `vfs`.

mod batch;
mod disk;
mod frame;
mod reader;
mod recover;
mod vfs;
mod writer;

pub use batch::{Batch, Column, RecordHeader};
pub use disk::chance_id;
pub use frame::{FRAME_BYTES, RECORD_BYTES_MAX, Record};
pub use reader::Reader;
pub use vfs::{Disk, DiskFile, LockGuard, MemoryDisk, Mode, RealDisk};
pub use writer::{Writer, WriterOptions};

#[cfg(test)]
mod tests;
