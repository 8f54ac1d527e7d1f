//! An instance as bytes: lanes, frontiers, operators, outputs, in the order of their steps.
//!
//! Owns: that order. `restore` on a fresh instance of the same plan and layout gives equal state; where tasks
//!       joined since, the others' state is what it was.

use weir_contract::{Code, Error, Result};

use super::Instance;
use crate::base::NOTHING;
use crate::operators::Unmatched;
use crate::run::graph::Site;
use crate::state::{Loader, Saver};

impl Instance {
    pub fn snapshot(&mut self, into: &mut Saver) -> Result<()> {
        into.u64(self.versions as u64);
        into.u64(self.lanes.len() as u64);
        for lane in &mut self.lanes {
            lane.snapshot(into)?;
        }
        for running in self.steps.values_mut() {
            debug_assert!(running.pending.is_empty(), "a cut with rows under way");
            running.frontiers.iter().chain([&running.given]).flatten().for_each(|f| into.i64(*f));
            into.u64(running.failures.count());
            if let Some(operator) = &mut running.operator {
                operator.snapshot(into)?;
            }
        }
        self.senders.values().flatten().flatten().for_each(|f| into.i64(*f));
        into.u64(self.unmatched.len() as u64);
        for (step, unmatched) in &self.unmatched {
            into.u64(*step as u64);
            unmatched.snapshot(into);
        }
        self.outputs.snapshot(into)
    }

    /// `tasks` is how many there were then; there may be more now.
    pub fn restore(&mut self, from: &mut Loader<'_>, tasks: usize) -> Result<()> {
        self.versions = from.u64()? as usize;
        if from.u64()? != self.lanes.len() as u64 {
            return Err(Error::new(
                Code::NoCheckpoint,
                "the checkpoint has other partitions than the sources",
            ));
        }
        for lane in &mut self.lanes {
            lane.restore(from)?;
        }
        for running in self.steps.values_mut() {
            for slot in running.frontiers.iter_mut().chain([&mut running.given]).flatten() {
                *slot = from.i64()?;
            }
            running.moved = false;
            running.failures.set(from.u64()?);
            if let Some(operator) = &mut running.operator {
                operator.restore(from)?;
            }
        }
        for (edge, slots) in &mut self.senders {
            let known = match self.world.graph.edges[*edge].from {
                Site::Task => tasks.min(slots.len()),
                Site::Shard => slots.len(),
            };
            let (old, new) = slots.split_at_mut(known);
            for slot in old.iter_mut().flatten() {
                *slot = from.i64()?;
            }
            // What a task that joined gives is not below: it begins at the least watermark of each table, and a
            // frontier is a least of what rises with single watermarks.
            for slots in new {
                for (time, slot) in slots.iter_mut().enumerate() {
                    *slot = old.iter().map(|s| s[time]).min().unwrap_or(NOTHING);
                }
            }
        }
        for _ in 0..from.u64()? {
            let step = from.u64()? as usize;
            self.unmatched.insert(step, Unmatched::restore(from)?);
        }
        self.outputs.restore(from)
    }
}
