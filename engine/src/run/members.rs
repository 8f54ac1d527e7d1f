//! Which partitions a program reads: those that it began with, and those that joined by record.
//!
//! In:   records of the control log; what the sources have now.
//! Out:  the partitions to read and where each begins; what a start has to write; whether tables grow.
//! Owns: who may join. A partition is read because a record says so, not because somebody saw it: a replay
//!       reads the same ones from the same offsets.
//!
//! M1  Only whole tasks join: the partitions from the number of tasks on, of all tables that have as many
//!     partitions as there are tasks, at once and in one record. Else a task would begin without one of its
//!     tables, and what it told meanwhile would not be what it tells with it.
//! M2  Bounded sources never grow.

use std::collections::BTreeMap;

use weir_contract::{Code, Error, Place, Result};

use super::checkpoint::Manifest;
use super::owner::Owners;
use crate::control::{Control, ControlLog, Member};
use crate::source::Partition;
use crate::sql::plan::ir::Plan;

/// Of one table.
#[derive(Debug, Clone, Default)]
struct Known {
    /// How many it began with.
    initial: u32,
    members: BTreeMap<u32, Member>,
}

/// The members of all tables that have a record.
#[derive(Debug, Clone, Default)]
pub struct Members(BTreeMap<String, Known>);

impl Members {
    /// As a control log has them.
    pub fn of(log: &dyn ControlLog) -> Result<Members> {
        let (mut members, mut owners) = (Members::default(), Owners::default());
        for (offset, record) in log.read(0, 0)?.0 {
            owners.take(offset, &record);
            members.take(&record, &owners);
        }
        Ok(members)
    }

    /// Takes a record of the shared partition that is about members. What is known already stays.
    pub(super) fn take(&mut self, record: &Control, owners: &Owners) {
        match record {
            Control::Partitions { table, members } if !self.0.contains_key(table) => {
                let members: BTreeMap<u32, Member> =
                    members.iter().map(|m| (m.partition, m.clone())).collect();
                let initial = members.keys().next_back().map_or(0, |last| last + 1);
                self.0.insert(table.clone(), Known { initial, members });
            }
            Control::Owned { epoch, record } if owners.newest() == Some(*epoch) => {
                let Control::Join { tables } = &**record else { return };
                for (table, joined) in tables {
                    let known = self.0.entry(table.clone()).or_default();
                    for member in joined {
                        known.members.entry(member.partition).or_insert_with(|| member.clone());
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether a table has a record.
    pub fn has(&self, table: &str) -> bool {
        self.0.contains_key(table)
    }

    pub fn get(&self, table: &str, partition: u32) -> Option<&Member> {
        self.0.get(table)?.members.get(&partition)
    }

    /// The partitions that a table began with; None: nobody said.
    fn initial(&self, table: &str) -> Option<u32> {
        self.0.get(table).map(|known| known.initial)
    }
}

/// What a start found.
pub(super) struct Found<'a> {
    pub plan: &'a Plan,
    /// By the table's index in the plan.
    pub partitions: &'a [Vec<Partition>],
    /// Tables whose log may get more partitions.
    pub grows: &'a [bool],
    pub manifest: Option<&'a Manifest>,
}

/// What a program reads.
pub(super) struct Settled {
    /// By the table's index in the plan.
    pub partitions: Vec<Vec<Partition>>,
    /// Tasks that the program began with.
    pub initial: usize,
}

fn count(partitions: &[Partition]) -> u32 {
    partitions.iter().map(|p| p.number + 1).max().unwrap_or(0)
}

impl Found<'_> {
    /// The records that this start owes the control log: the first members of tables that have none.
    pub fn owed(&self, members: &Members) -> Vec<Control> {
        let mut owed = Vec::new();
        for (at, table) in self.plan.sources.iter().enumerate() {
            if !self.grows[at] || members.has(&table.name) {
                continue;
            }
            // A checkpoint without a record is older than these records: nobody knows where it began.
            let before = self.manifest.map(|m| m.tasks as u32);
            let mine = self.partitions[at].iter().filter(|p| before.is_none_or(|tasks| p.number < tasks));
            let member = |p: &Partition| Member {
                partition: p.number,
                first_offset: if before.is_some() { 0 } else { p.start },
                watermark: None,
            };
            owed.push(Control::Partitions { table: table.name.clone(), members: mine.map(member).collect() });
        }
        owed
    }

    /// The members as they are once that is written.
    pub fn with_owed(&self, mut members: Members) -> Members {
        self.owed(&members).iter().for_each(|record| members.take(record, &Owners::default()));
        members
    }

    /// What is to be read: of a table that has a record its members, of others all that is there.
    ///
    /// # Errors
    /// `W0504` where a checkpoint is of other partitions.
    pub fn settle(&self, members: &Members) -> Result<Settled> {
        let mut initial = 1;
        let mut partitions = self.partitions.to_vec();
        for (table, found) in self.plan.sources.iter().zip(&mut partitions) {
            let Some(first) = members.initial(&table.name) else {
                initial = initial.max(count(found));
                continue;
            };
            initial = initial.max(first);
            found.retain(|p| members.get(&table.name, p.number).is_some());
            for partition in found.iter_mut().filter(|p| p.number >= first) {
                let joined = members.get(&table.name, partition.number).map_or(0, |m| m.first_offset);
                partition.start = partition.start.max(joined);
            }
        }
        let settled = Settled { initial: initial as usize, partitions };
        self.check(&settled)?;
        Ok(settled)
    }

    /// The state of a checkpoint is by partition. More are right only where they are tasks that joined.
    fn check(&self, settled: &Settled) -> Result<()> {
        let Some(manifest) = self.manifest else { return Ok(()) };
        let tasks = settled.partitions.iter().map(|p| count(p)).max().unwrap_or(0).max(1) as usize;
        if tasks < manifest.tasks || settled.initial > manifest.tasks {
            let what =
                format!("the checkpoint is of {} partitions, the sources have {tasks}", manifest.tasks);
            return Err(Error::new(Code::NoCheckpoint, what)
                .expected("as many partitions as at the first start, or tasks that joined since")
                .act("operator: start cold with another --data folder"));
        }
        for (at, table) in self.plan.sources.iter().enumerate().filter(|(at, _)| self.grows[*at]) {
            let (has, now) = (count(&settled.partitions[at]), count(&self.partitions[at]));
            if has < now && (has as usize) < tasks {
                return Err(Error::new(
                    Code::NoCheckpoint,
                    format!("`{}` had {has} partitions at the first start and has {now} now", table.name),
                )
                .at(Place::Path(table.name.clone()))
                .expected(format!(
                    "{has}: the checkpoint's tasks went on without the others (a table with as many partitions \
                     as there are tasks, {tasks}, may get more)"
                ))
                .act("operator: start cold with another --data folder and another program name or WEIR_ENV"));
            }
        }
        Ok(())
    }
}

/// How wide a table is, and how wide it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Width<'a> {
    pub table: &'a str,
    /// Partitions that are read.
    pub has: u32,
    /// Partitions that its log has now.
    pub now: u32,
    /// Whether it may have more than those that are read.
    pub grows: bool,
}

/// What becomes of tables that have more partitions than are read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Growth {
    None,
    /// Why none of them joins.
    Waits(String),
    /// Tasks join, up to this number of them.
    Joins(u32),
}

/// Looks at all tables of a program (M1).
pub(super) fn growth(widths: &[Width<'_>]) -> Growth {
    let tasks = widths.iter().map(|w| w.has).max().unwrap_or(0);
    let grown: Vec<&Width<'_>> = widths.iter().filter(|w| w.grows && w.now > w.has).collect();
    if grown.is_empty() {
        return Growth::None;
    }
    let said = |w: &&Width<'_>| format!("`{}` has {} partitions now, {} are read", w.table, w.now, w.has);
    if let Some(narrow) = grown.iter().find(|w| w.has < tasks) {
        return Growth::Waits(format!(
            "{}: the program has {tasks} tasks, and those of the new partitions went on without them. They are \
             not read",
            said(narrow)
        ));
    }
    let full: Vec<&Width<'_>> = widths.iter().filter(|w| w.has == tasks).collect();
    let wide = grown[0].now;
    if full.iter().all(|w| w.grows && w.now == wide) {
        return Growth::Joins(wide);
    }
    let others: Vec<String> = full
        .iter()
        .filter(|w| w.now != wide || !w.grows)
        .map(|w| format!("`{}` has {}{}", w.table, w.now, if w.grows { "" } else { " and is bounded" }))
        .collect();
    Growth::Waits(format!(
        "{}, but {}: the new partitions are read as soon as all of these have as many",
        said(&grown[0]),
        others.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Claimant;

    fn member(partition: u32, first_offset: i64) -> Member {
        Member { partition, first_offset, watermark: Some(first_offset) }
    }

    fn first(table: &str, count: u32) -> Control {
        let members = (0..count).map(|p| Member { watermark: None, ..member(p, 0) }).collect();
        Control::Partitions { table: table.into(), members }
    }

    fn join(epoch: i64, tables: &[(&str, Member)]) -> Control {
        let tables = tables.iter().map(|(t, m)| ((*t).to_owned(), vec![m.clone()])).collect();
        Control::Owned { epoch, record: Box::new(Control::Join { tables }) }
    }

    #[test]
    fn the_first_record_holds_and_only_the_owner_lets_join() {
        let by = Claimant { process: 1, folder: String::new() };
        let (mut members, mut owners) = (Members::default(), Owners::default());
        owners.take(4, &Control::Claim { by: by.clone() });
        let bare = Control::Join { tables: vec![("t".into(), vec![member(5, 0)])] };
        let records = [
            first("t", 2),
            first("t", 3),
            bare,
            join(3, &[("t", member(2, 1))]),
            join(4, &[("t", member(2, 7)), ("u", member(2, 8))]),
            join(4, &[("t", member(2, 9))]),
        ];
        records.iter().for_each(|record| members.take(record, &owners));
        owners.take(9, &Control::Claim { by });
        members.take(&join(4, &[("t", member(3, 1))]), &owners);
        assert_eq!(members.initial("t"), Some(2));
        let found: Vec<i64> = (0..9).filter_map(|p| members.get("t", p)).map(|m| m.first_offset).collect();
        assert_eq!(found, [0, 0, 7]);
        assert_eq!(members.get("u", 2).map(|m| m.first_offset), Some(8));
        assert!(!members.has("v"));
    }

    fn width(table: &str, has: u32, now: u32) -> Width<'_> {
        Width { table, has, now, grows: true }
    }

    #[test]
    fn whole_tasks_join() {
        assert_eq!(growth(&[width("a", 3, 3), width("b", 2, 2)]), Growth::None);
        assert_eq!(growth(&[width("a", 3, 5)]), Growth::Joins(5));
        assert_eq!(growth(&[width("a", 3, 5), width("b", 3, 5)]), Growth::Joins(5));
        assert_eq!(growth(&[width("a", 3, 5), width("b", 2, 2)]), Growth::Joins(5), "b ended in its tasks");
        for other in [width("b", 3, 3), width("b", 3, 4), Width { grows: false, ..width("b", 3, 3) }] {
            let Growth::Waits(why) = growth(&[width("a", 3, 5), other]) else { panic!("{other:?}") };
            assert!(why.contains("`a` has 5 partitions now, 3 are read, but `b` has"), "{why}");
        }
        let Growth::Waits(why) = growth(&[width("a", 3, 4), width("b", 1, 2)]) else { panic!() };
        assert!(why.starts_with("`b` has 2 partitions now, 1 are read"), "{why}");
        assert_eq!(growth(&[Width { grows: false, ..width("a", 1, 2) }]), Growth::None);
    }
}
