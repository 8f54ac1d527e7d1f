//! What people and clocks decided, as an instance takes it: marks to lanes, versions to reference joins.
//!
//! In:   control records that were read.
//! Owns: when a change of reference tables takes effect in a task, where its writer left that open. Owed
//!       from the first change whose own record could not be written: nothing moves on before it is.

use std::sync::Arc;

use weir_contract::{Code, Error, Result};

use super::Instance;
use crate::base::NOTHING;
use crate::control::Control;
use crate::run::graph::Site;
use crate::run::references::Version;

impl Instance {
    /// Takes what the control log holds for this instance, once its lanes stand where they go on.
    /// Marks that a checkpoint holds already raise nothing again.
    pub fn catch_up(&mut self) -> Result<()> {
        let (own, effective) = self.world.controls.own(self.index)?;
        self.effective = effective;
        let shared = self.world.controls.marks_since(&mut self.marks)?;
        for mark in own.iter().chain(&shared) {
            self.lanes.iter_mut().for_each(|lane| lane.mark(mark));
        }
        Ok(())
    }

    /// Applies control records that were read: marks to lanes, versions to reference joins.
    pub(super) fn control(&mut self) -> Result<bool> {
        let world = Arc::clone(&self.world);
        let mut busy = false;
        for mark in world.controls.marks_since(&mut self.marks)? {
            for lane in &mut self.lanes {
                if lane.is_of(&mark) && mark.offset < lane.lane().position() {
                    let why = format!(
                        "an idle mark at offset {} came after the position had passed it",
                        mark.offset
                    );
                    return Err(Error::new(Code::PassedEffect, why).at(lane.place()));
                }
                lane.mark(&mark);
                lane.publish();
            }
            busy = true;
        }
        for version in world.controls.versions_since(self.versions)? {
            let Some(effective) = self.effective_at(&version)? else { break };
            self.versions += 1;
            busy = true;
            for (relation, rows) in &version.relations {
                for (id, step) in world.graph.steps.iter().enumerate() {
                    if step.relation == Some(*relation)
                        && let Some(operator) = self.steps.get_mut(&id).and_then(|s| s.operator.as_mut())
                    {
                        operator.version(effective, rows)?;
                    }
                }
            }
        }
        Ok(busy)
    }

    /// How many versions of reference tables it has.
    pub fn versions(&self) -> usize {
        self.versions
    }

    /// The highest frontier that any as-of operator of this instance has passed.
    pub fn passed(&self) -> i64 {
        let operators = self.steps.values().filter_map(|s| s.operator.as_ref());
        operators.map(|o| o.passed()).max().unwrap_or(NOTHING)
    }

    /// When a version takes effect here; a task decides it where nobody did. None: it is not decided, for
    /// the shards by the program's loop, for a replay because the live run never came so far; or it is owed.
    fn effective_at(&mut self, version: &Version) -> Result<Option<i64>> {
        let (world, since) = (Arc::clone(&self.world), self.now());
        if let Some(at) = version.effective_at {
            return Ok(Some(at));
        }
        if self.versions == 0 {
            return Ok(Some(i64::MIN));
        }
        if self.site == Site::Shard {
            return world.controls.in_shards(version.change);
        }
        if let Some(at) = self.effective.get(&version.change) {
            return Ok(Some(*at));
        }
        if world.ports.until.is_some() {
            return Ok(None);
        }
        let at = world.effective_from(version.asked_at, self.passed());
        let record = Control::Effective { change: version.change, task: self.index as u32, effective_at: at };
        if let Err(error) = world.controls.append_own(self.index, &record) {
            self.owe(error, since)?;
            return Ok(None);
        }
        self.answered(since);
        self.effective.insert(version.change, at);
        Ok(Some(at))
    }
}
