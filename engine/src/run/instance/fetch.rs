//! An instance's lanes at work: who may fetch, fates, side streams, idle marks.
//!
//! In:   the lanes' readers; bytes held, for admission.
//! Out:  rows to the lanes' steps, late and rejected records, marks.
//!
//! F1  Of the lanes that read for a task's own outputs, the one that holds the others back may always
//!     fetch; the others only while the task is under its budget. They never look at an exchange.
//! F2  Of the lanes that read for exchanges, in all tasks, the one with the lowest watermark may always
//!     fetch; the others only while the exchanges' account is under its budget. Over it and while a shard
//!     stands still, none of them fetches: what they read would only pile up before it.
//! F3  But for that, a lane that saw the end of its log looks on: what arrives there first is taken at once.
//! F4  An idle mark is durable before it has effect, and lies behind everything that any lane of its
//!     partition took, so that all of them take it at the same place.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_contract::Result;

use super::Instance;
use crate::base::{FOREVER, NOTHING};
use crate::run::graph::{Flow, StepId};
use crate::sink::OutRecord;
use crate::watermark::SideRecord;

impl Instance {
    /// Lowest watermark of the lanes of a flow that have not seen the end of their log.
    fn lowest(&self, flow: Flow) -> i64 {
        let busy = self.lanes.iter().filter(|l| l.flow == flow && !l.at_rest());
        busy.map(|l| l.watermark()).min().unwrap_or(FOREVER)
    }

    /// Which lanes may fetch now.
    fn admitted(&self) -> Vec<bool> {
        let world = &self.world;
        let budget = world.options.memory_bytes / (2 * world.graph.instances());
        let task_over = world.bytes[self.index].load(Ordering::Relaxed) > budget;
        let task_lowest = self.lowest(Flow::Task);
        world.feed_frontiers[self.index].store(self.lowest(Flow::Exchange), Ordering::Relaxed);
        let frontiers = world.feed_frontiers.iter().map(|f| f.load(Ordering::Relaxed));
        let feed_lowest = frontiers.min().unwrap_or(NOTHING);
        let feed_over = world.exchange_bytes() > world.options.memory_bytes / 2;
        let feed_full = feed_over && world.shard_stands();
        let may = |over: bool, lowest: i64, watermark: i64| !over || watermark <= lowest;
        self.lanes
            .iter()
            .map(|lane| match lane.flow {
                Flow::Exchange if feed_full => false,
                _ if lane.at_rest() => true,
                Flow::Task => may(task_over, task_lowest, lane.watermark()),
                Flow::Exchange => may(feed_over, feed_lowest, lane.watermark()),
            })
            .collect()
    }

    /// Fetches, gives the records their fates, writes the marks that are due. True where anything
    /// happened.
    pub(super) fn take_in(&mut self, fetch: bool) -> Result<bool> {
        let (world, now) = (Arc::clone(&self.world), self.now());
        if fetch && self.feed.fetched.is_empty() {
            for (at, may) in self.admitted().into_iter().enumerate() {
                if !may {
                    self.lanes[at].stir();
                } else if let Some(got) = self.lanes[at].fetch(world.options.batch_rows)? {
                    self.feed.fetched.push((at, got));
                }
            }
        }
        if world.options.external_control
            && self.feed.fetched.iter().any(|(_, f)| f.batch.is_some())
            && let Err(error) = world.controls.refresh()
        {
            self.owe(error, now)?;
            return Ok(false);
        }
        let mut busy = self.control()?;
        if self.owes().is_some() {
            return Ok(busy);
        }
        let troubles = world.away.troubles();
        for (at, got) in std::mem::take(&mut self.feed.fetched) {
            let lane = &mut self.lanes[at];
            let (step, name, first) = (lane.step, lane.table.name.clone(), lane.first);
            busy |= got.batch.is_some() || (got.ended && !lane.ended);
            let Some(taken) = lane.take(got, now, troubles)? else { continue };
            if let Some(rows) = taken.rows {
                self.give(step, vec![rows])?;
            }
            if first {
                self.side(&name, "late", taken.late.iter().map(|r| r.record()).collect())?;
                self.side(&name, "rejected", taken.rejected.iter().map(|r| r.record()).collect())?;
            }
        }
        if fetch && !world.options.external_control && world.ports.until.is_none() {
            busy |= self.mark_silence()?;
        }
        Ok(busy)
    }

    fn mark_silence(&mut self) -> Result<bool> {
        let mut busy = false;
        for at in 0..self.lanes.len() {
            let Some(mark) = self.lanes[at].due_mark() else { continue };
            // Another reader found a record where this one still sees the end.
            if self.lanes.iter().any(|l| l.is_of(&mark) && l.lane().position() > mark.offset) {
                continue;
            }
            self.tell_mark(mark)?;
            busy = true;
            if self.owes().is_some() {
                break;
            }
        }
        Ok(busy)
    }

    /// What an operator refused goes beside the outputs behind it.
    pub(super) fn refused(&mut self, step: StepId, records: Vec<SideRecord>) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let world = Arc::clone(&self.world);
        for output in world.graph.outputs_behind(step) {
            let output = &world.graph.plan.outputs[output];
            let (name, statement): (Arc<str>, Arc<str>) = (output.name().into(), output.statement().into());
            let own = |r: &SideRecord| {
                let statement = Some(Arc::clone(&statement));
                SideRecord { table: Arc::clone(&name), statement, ..r.clone() }.record()
            };
            self.side(&name, "rejected", records.iter().map(own).collect())?;
        }
        Ok(())
    }

    fn side(&mut self, table: &str, kind: &str, records: Vec<OutRecord>) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let options = &self.world.options;
        self.outputs.side(&format!("{}.{table}.{kind}", options.env), records, options)
    }
}
