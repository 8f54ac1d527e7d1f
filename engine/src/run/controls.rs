//! The control log as a running program sees it: read in order, shared by all instances.
//!
//! In:   the control log port and the reference queries.
//! Out:  idle marks by lane and reference versions, each with an ordinal, for which instances hold
//!       cursors; the ends of bounded reads; which partitions are read.
//!
//! C1  A record is applied only after it was read back from the log, so it is durable.
//! C2  Partition 0 is read by all; partition 1 + p belongs to task p of the process that owns the
//!     program (`owner`), the one behind the last of the tasks that the program began with to all shards
//!     together, and 2 + p to a task p that joined. What a replaced owner writes there is ignored.
//! C3  A change of reference tables that was told twice counts once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use weir_contract::{Code, Error, Result};

use super::members::Members;
use super::owner::Owners;
use super::references::{References, Version};
use crate::control::{Control, ControlLog, Member, of_owners};

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

/// The ends of a bounded read, as they were at the first start.
#[derive(Debug, Clone)]
pub struct Ends {
    /// Of the log that they belong to.
    pub identity: String,
    /// By partition.
    pub ends: BTreeMap<u32, i64>,
}

struct State {
    references: References,
    marks: Vec<Mark>,
    /// By table.
    ends: BTreeMap<String, Ends>,
    members: Members,
    owners: Owners,
    /// When changes took effect in the shards.
    shards: BTreeMap<i64, i64>,
    next: i64,
}

pub struct Controls {
    log: Arc<dyn ControlLog>,
    /// Tasks now, and those that the program began with.
    tasks: usize,
    initial: usize,
    state: Mutex<State>,
    /// How many marks and versions there are, readable without the lock.
    marks: AtomicUsize,
    versions: AtomicUsize,
}

impl Controls {
    /// `lay_out` says how many tasks there are, before anything of an instance is asked for.
    pub fn new(log: Arc<dyn ControlLog>, references: References) -> Self {
        let state = State {
            references,
            marks: Vec::new(),
            ends: BTreeMap::new(),
            members: Members::default(),
            owners: Owners::default(),
            shards: BTreeMap::new(),
            next: 0,
        };
        Self {
            log,
            tasks: 0,
            initial: 0,
            state: Mutex::new(state),
            marks: AtomicUsize::new(0),
            versions: AtomicUsize::new(0),
        }
    }

    /// How many tasks there are, and how many the program began with.
    pub fn lay_out(&mut self, tasks: usize, initial: usize) {
        (self.tasks, self.initial) = (tasks, initial);
    }

    /// Tasks that the program began with.
    pub fn initial(&self) -> usize {
        self.initial
    }

    /// Makes room for the own records of all tasks and of the shards; new partitions begin with this owner.
    pub fn widen(&self) -> Result<()> {
        let had = self.log.partitions()?;
        self.log.widen(2 + self.tasks as u32)?;
        let Some((epoch, by)) = self.with_owners(|o| o.claimed())? else { return Ok(()) };
        for partition in had..self.log.partitions()? {
            self.log.take(partition)?;
            let record = Box::new(Control::Claim { by: by.clone() });
            self.log.append(partition, &Control::Owned { epoch, record })?;
        }
        Ok(())
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>> {
        self.state.lock().map_err(|_| Error::new(Code::Internal, "the control log's reader is poisoned"))
    }

    /// Reads the shared partition to its end as of now.
    ///
    /// # Errors
    /// `W0303` where another process took the program over.
    pub fn refresh(&self) -> Result<()> {
        let mut state = self.lock()?;
        let (records, end) = self.log.read(0, state.next)?;
        for (offset, record) in records {
            match record {
                Control::Idle { table, partition, offset, watermark } => {
                    state.marks.push(Mark { table, partition, offset, watermark });
                }
                Control::Reference { change, asked_at, effective_at, changes } => {
                    state.references.apply(change, asked_at, effective_at, &changes)?;
                }
                Control::Ends { table, identity, ends } => {
                    let first = Ends { identity, ends: ends.into_iter().collect() };
                    state.ends.entry(table).or_insert(first);
                }
                Control::Claim { .. } | Control::Knock | Control::Alive { .. } | Control::Release { .. } => {
                    state.owners.take(offset, &record);
                }
                Control::Partitions { .. } | Control::Owned { .. } => {
                    let State { members, owners, .. } = &mut *state;
                    members.take(&record, owners);
                }
                Control::Program { .. } | Control::Join { .. } | Control::Effective { .. } => {}
            }
        }
        state.next = end;
        self.marks.store(state.marks.len(), Ordering::Release);
        self.versions.store(state.references.versions.len(), Ordering::Release);
        state.owners.check()
    }

    /// Looks at who owns the program, or says so.
    pub(super) fn with_owners<T>(&self, look: impl FnOnce(&mut Owners) -> T) -> Result<T> {
        Ok(look(&mut self.lock()?.owners))
    }

    /// Answers whoever asked since the last look.
    pub fn answer_knock(&self) -> Result<()> {
        match self.with_owners(Owners::knocked)? {
            Some(epoch) => match self.append_shared(&Control::Alive { epoch }) {
                Ok(_) => Ok(()),
                Err(error) => self.with_owners(Owners::unanswered).and(Err(error)),
            },
            None => Ok(()),
        }
    }

    /// The owner ends: the next one need not ask.
    pub fn release(&self) -> Result<()> {
        match self.with_owners(|o| o.own())? {
            Some(epoch) => self.append_shared(&Control::Release { epoch }).map(drop),
            None => Ok(()),
        }
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

    /// Every instance has taken so many versions: their rows are not held here any longer.
    pub fn let_go(&self, taken: usize) -> Result<()> {
        self.lock()?.references.let_go(taken);
        Ok(())
    }

    /// The fixed ends of a table's bounded read, where a start wrote them.
    pub fn ends(&self, table: &str) -> Result<Option<Ends>> {
        Ok(self.lock()?.ends.get(table).cloned())
    }

    /// Which partitions are read.
    pub fn members(&self) -> Result<Members> {
        Ok(self.lock()?.members.clone())
    }

    /// Lets partitions join; they are members once `refresh` has read it.
    pub fn join(&self, tables: Vec<(String, Vec<Member>)>) -> Result<()> {
        let record = Control::Join { tables };
        match self.with_owners(|o| o.own())? {
            Some(epoch) => self.append_shared(&Control::Owned { epoch, record: Box::new(record) }).map(drop),
            None => Err(Error::new(Code::Internal, "only a program's owner lets partitions join")),
        }
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

    /// Appends to the shared partition and gives the offset; it has effect when `refresh` reads it.
    pub fn append_shared(&self, record: &Control) -> Result<i64> {
        self.log.append(0, record)
    }

    /// Appends to an instance's own partition. When it returns the record is durable, and no other
    /// process had taken the program over before it was: it may have effect.
    pub fn append_own(&self, instance: usize, record: &Control) -> Result<()> {
        let partition = self.partition_of(instance);
        let Some(epoch) = self.with_owners(|o| o.own())? else {
            return self.log.append(partition, record).map(drop);
        };
        self.log.append(partition, &Control::Owned { epoch, record: Box::new(record.clone()) })?;
        self.refresh()
    }

    /// Takes every own partition for this process, where the log has locks for them.
    pub(super) fn take_own(&self) -> Result<()> {
        (1..self.log.partitions()?).try_for_each(|partition| self.log.take(partition))
    }

    /// Begins this process's epoch in every own partition: what an older owner writes behind it is
    /// ignored.
    pub(super) fn claim_own(&self, record: &Control) -> Result<()> {
        let Some(epoch) = self.with_owners(|o| o.own())? else { return Ok(()) };
        let record = Control::Owned { epoch, record: Box::new(record.clone()) };
        (1..self.log.partitions()?).try_for_each(|partition| self.log.append(partition, &record).map(drop))
    }

    /// An instance's own partition; that of the shards is one, so that how many they are never shows.
    fn partition_of(&self, instance: usize) -> u32 {
        let at = match instance {
            shard if shard >= self.tasks => 1 + self.initial,
            task if task < self.initial => 1 + task,
            joined => 2 + joined,
        };
        at as u32
    }

    /// All of an instance's own records: its idle marks and when changes took effect for it.
    pub fn own(&self, instance: usize) -> Result<(Vec<Mark>, BTreeMap<i64, i64>)> {
        let partition = self.partition_of(instance);
        let (mut marks, mut effective) = (Vec::new(), BTreeMap::new());
        if partition >= self.log.partitions()? {
            return Ok((marks, effective));
        }
        let (records, _) = self.log.read(partition, 0)?;
        for record in of_owners(records.into_iter().map(|(_, record)| record)) {
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

    /// Reads when changes took effect in the shards, once this process's epoch has begun.
    pub fn read_shards(&self) -> Result<()> {
        let (_, effective) = self.own(self.tasks)?;
        self.lock()?.shards = effective;
        Ok(())
    }

    /// When a change takes effect in the shards; none where that is not decided yet.
    pub fn in_shards(&self, change: i64) -> Result<Option<i64>> {
        Ok(self.lock()?.shards.get(&change).copied())
    }

    /// Changes whose effect in the shards is open: id and the time asked for.
    pub fn open_in_shards(&self) -> Result<Vec<(i64, Option<i64>)>> {
        let state = self.lock()?;
        let open = |v: &&Arc<Version>| v.effective_at.is_none() && !state.shards.contains_key(&v.change);
        Ok(state.references.versions.iter().skip(1).filter(open).map(|v| (v.change, v.asked_at)).collect())
    }

    /// Decides when a change takes effect in the shards; they have passed no later time.
    pub fn decide_in_shards(&self, change: i64, effective_at: i64) -> Result<()> {
        let record = Control::Effective { change, task: self.initial as u32, effective_at };
        self.append_own(self.tasks, &record)?;
        self.lock()?.shards.insert(change, effective_at);
        Ok(())
    }
}
