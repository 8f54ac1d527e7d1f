//! The control log: everything that people or the wall clock decide, written before it has effect.

use serde::{Deserialize, Serialize};
use weir_contract::{Code, Error, Result};

/// One control record. Times are microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Control {
    /// The program that wrote this log: name and version of its text.
    Program { name: String, version: String },
    /// The partitions that a table had when the program first started. The first record of a table holds.
    Partitions { table: String, members: Vec<Member> },
    /// Partitions that join later, of all tables that grow together: in one record, because a task begins with
    /// all of them or not at all. Holds where the owner wrote it ([`Control::Owned`] in the shared partition);
    /// a member that is known already stays what it is.
    Join { tables: Vec<(String, Vec<Member>)> },
    /// End offsets of a bounded read of a log that goes on (`until = 'end'`), fixed at the first start.
    /// The first record of a table holds; a partition that it does not name is not read.
    Ends {
        table: String,
        /// Identity of the log whose ends these are.
        identity: String,
        ends: Vec<(u32, i64)>,
    },
    /// A silent partition's watermark rises, at this offset.
    Idle { table: String, partition: u32, offset: i64, watermark: i64 },
    /// Rows of reference tables change, all at `effective_at`.
    Reference { change: i64, asked_at: Option<i64>, effective_at: Option<i64>, changes: Vec<RowChange> },
    /// A task's own word on when change `change` takes effect for it.
    Effective { change: i64, task: u32, effective_at: i64 },
    /// A process owns the program from here on. The record's offset in partition 0 is its epoch.
    Claim { by: Claimant },
    /// A process that wants the program asks whether its owner lives.
    Knock,
    /// It does.
    Alive { epoch: i64 },
    /// The owner ended cleanly.
    Release { epoch: i64 },
    /// A record in a task's own partition, or one of the shared partition that only an owner may write, by the
    /// process of this epoch.
    Owned { epoch: i64, record: Box<Control> },
}

/// A process that runs a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimant {
    pub process: u32,
    /// Which data folder it holds the lock of; empty: none. Two processes cannot hold the same.
    pub folder: String,
}

/// The records of a task's own partition that hold: those of an epoch older than one before them were
/// written by a process that had been replaced, and did not know.
pub fn of_owners(records: impl IntoIterator<Item = Control>) -> Vec<Control> {
    let mut newest = None;
    let mut held = Vec::new();
    for record in records {
        let (epoch, record) = match record {
            Control::Owned { epoch, record } => (Some(epoch), *record),
            bare => (None, bare),
        };
        if epoch >= newest {
            newest = epoch;
            held.push(record);
        }
    }
    held
}

/// A partition that a program reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub partition: u32,
    /// Where the reading of it begins.
    pub first_offset: i64,
    /// The watermark that it begins with: what is below it is late. `None`: nothing is known, nothing is late.
    pub watermark: Option<i64>,
}

/// A row of a reference table, whole, before and after. Both are JSON objects of its columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowChange {
    pub table: String,
    pub before: Option<serde_json::Map<String, serde_json::Value>>,
    pub after: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A program's control log. Partition 0 is shared (what people decide, any process appends); each task and the
/// shards together have one of their own, written by the program's owner: see [`of_owners`], and for their
/// numbers `run/controls`.
pub trait ControlLog: Send + Sync {
    /// Durable when it returns; gives the record's offset.
    fn append(&self, partition: u32, record: &Control) -> Result<i64>;

    /// Records from an offset to the end now, and that end.
    fn read(&self, partition: u32, from: i64) -> Result<(Vec<(i64, Control)>, i64)>;

    fn partitions(&self) -> Result<u32>;

    /// Adds partitions up to a count, where the log can grow and has fewer.
    fn widen(&self, partitions: u32) -> Result<()> {
        let _ = partitions;
        Ok(())
    }

    /// Takes a task's partition for this process, where the log knows such a thing.
    ///
    /// # Errors
    /// `W0503` where another process has it.
    fn take(&self, partition: u32) -> Result<()> {
        let _ = partition;
        Ok(())
    }
}

impl Control {
    /// The record's bytes in every control log: one JSON object.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::new(Code::Internal, e.to_string()))
    }

    /// # Errors
    /// `W0306` where the bytes are not a control record of this build.
    pub fn from_bytes(bytes: &[u8]) -> Result<Control> {
        serde_json::from_slice(bytes).map_err(|e| Error::new(Code::ControlLog, e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(offset: i64) -> Control {
        Control::Idle { table: "t".into(), partition: 0, offset, watermark: 1 }
    }

    fn owned(epoch: i64, offset: i64) -> Control {
        Control::Owned { epoch, record: Box::new(idle(offset)) }
    }

    #[test]
    fn what_a_replaced_owner_writes_is_ignored() {
        let written = [idle(0), owned(4, 1), owned(4, 2), owned(9, 3), owned(4, 4), idle(5), owned(9, 6)];
        assert_eq!(of_owners(written), [0, 1, 2, 3, 6].map(idle));
    }

    #[test]
    fn records_read_back_as_they_were_written() {
        let by = Claimant { process: 7, folder: "f".into() };
        let ends = Control::Ends { table: "t".into(), identity: "i".into(), ends: vec![(0, 3)] };
        let member = Member { partition: 3, first_offset: 7, watermark: None };
        let first = Control::Partitions { table: "t".into(), members: vec![member.clone()] };
        let later = Member { watermark: Some(5), ..member };
        let join = Control::Join { tables: vec![("t".into(), vec![later])] };
        let join = Control::Owned { epoch: 4, record: Box::new(join) };
        for record in [idle(1), owned(2, 3), Control::Claim { by }, Control::Knock, ends, first, join] {
            assert_eq!(Control::from_bytes(&record.to_bytes().unwrap()).unwrap(), record);
        }
    }
}
