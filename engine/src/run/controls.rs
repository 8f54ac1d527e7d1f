//! The control log as a running program sees it: read in order, shared by all instances.
//!
//! In:   the control log port and the reference queries.
//! Out:  idle marks by lane and reference versions, each with an ordinal; instances hold cursors.
//!
//! C1  A record is applied only after it was read back from the log, so it is durable.
//! C2  Partition 0 is read by all; partition 1 + i belongs to instance i.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use weir_contract::{Code, Error, Result};

use super::references::{References, Version};
use crate::control::{Control, ControlLog};

/// An idle mark of one lane.
#[derive(Debug, Clone)]
pub struct Mark {
    pub table: String,
    pub partition: u32,
    pub offset: i64,
    pub watermark: i64,
}

impl Mark {
    /// The mark as it is written.
    pub fn record(&self) -> Control {
        let Mark { table, partition, offset, watermark } = self.clone();
        Control::Idle { table, partition, offset, watermark }
    }
}

struct State {
    references: References,
    marks: Vec<Mark>,
    next: i64,
}

pub struct Controls {
    log: Arc<dyn ControlLog>,
    state: Mutex<State>,
    /// How many marks and versions there are, readable without the lock.
    marks: AtomicUsize,
    versions: AtomicUsize,
}

impl Controls {
    pub fn new(log: Arc<dyn ControlLog>, references: References) -> Self {
        let state = Mutex::new(State { references, marks: Vec::new(), next: 0 });
        Self { log, state, marks: AtomicUsize::new(0), versions: AtomicUsize::new(0) }
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>> {
        self.state.lock().map_err(|_| Error::new(Code::Internal, "the control log's reader is poisoned"))
    }

    /// Reads the shared partition to its end as of now.
    pub fn refresh(&self) -> Result<()> {
        let mut state = self.lock()?;
        let (records, end) = self.log.read(0, state.next)?;
        for (_, record) in records {
            match record {
                Control::Idle { table, partition, offset, watermark } => {
                    state.marks.push(Mark { table, partition, offset, watermark });
                }
                Control::Reference { change, asked_at, effective_at, changes } => {
                    state.references.apply(change, asked_at, effective_at, &changes)?;
                }
                Control::Program { .. }
                | Control::Partitions { .. }
                | Control::Ends { .. }
                | Control::Effective { .. } => {}
            }
        }
        state.next = end;
        self.marks.store(state.marks.len(), Ordering::Release);
        self.versions.store(state.references.versions.len(), Ordering::Release);
        Ok(())
    }

    /// Marks from ordinal `from`; moves it.
    pub fn marks_since(&self, from: &mut usize) -> Result<Vec<Mark>> {
        if self.marks.load(Ordering::Acquire) <= *from {
            return Ok(Vec::new());
        }
        let state = self.lock()?;
        let new = state.marks[*from..].to_vec();
        *from = state.marks.len();
        Ok(new)
    }

    pub fn versions_since(&self, from: usize) -> Result<Vec<Arc<Version>>> {
        if self.versions.load(Ordering::Acquire) <= from {
            return Ok(Vec::new());
        }
        Ok(self.lock()?.references.versions[from..].to_vec())
    }

    pub fn has_versions(&self) -> bool {
        self.versions.load(Ordering::Acquire) > 0
    }

    /// Highest change id in the log.
    pub fn last_change(&self) -> Result<Option<i64>> {
        Ok(self.lock()?.references.versions.iter().map(|v| v.change).max())
    }

    pub fn position(&self) -> Result<i64> {
        Ok(self.lock()?.next)
    }

    /// Appends to the shared partition; it has effect when `refresh` reads it.
    pub fn append_shared(&self, record: &Control) -> Result<()> {
        self.log.append(0, record).map(drop)
    }

    /// Appends to an instance's own partition; durable when it returns.
    pub fn append_own(&self, instance: usize, record: &Control) -> Result<()> {
        self.log.append(1 + instance as u32, record).map(drop)
    }

    /// All of an instance's own records: its idle marks and when changes took effect for it.
    pub fn own(&self, instance: usize) -> Result<(Vec<Mark>, BTreeMap<i64, i64>)> {
        if 1 + instance as u32 >= self.log.partitions()? {
            return Ok((Vec::new(), BTreeMap::new()));
        }
        let (records, _) = self.log.read(1 + instance as u32, 0)?;
        let (mut marks, mut effective) = (Vec::new(), BTreeMap::new());
        for (_, record) in records {
            match record {
                Control::Idle { table, partition, offset, watermark } => {
                    marks.push(Mark { table, partition, offset, watermark });
                }
                Control::Effective { change, effective_at, .. } => {
                    effective.insert(change, effective_at);
                }
                _ => {}
            }
        }
        Ok((marks, effective))
    }
}
