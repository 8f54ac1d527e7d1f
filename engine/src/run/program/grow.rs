//! Partitions that join under a run: seen, recorded, and gone on with from one cut.
//!
//! In:   how many partitions the sources have now and then.
//! Out:  a record of the control log, and the cut from which the program starts once more, with more tasks.
//! Owns: when tasks join. Who may is `members`, how a state is taken on with more tasks `start`.
//!
//! G1  The checkpoint of the cut is published, then the record is written, then the program goes on. A start
//!     between any two of these finds either no record, or one whose state is at or before the cut.
//! G2  Nothing moves between the cut and the record: what joins begins at the least watermark that its table has
//!     in the cut where shards wait for it, so that no frontier of a shard moves back.
//! G3  Nobody joins before what an earlier process told beyond its last cut has been made again: a row of a new
//!     partition would change what was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_contract::Result;

use super::Program;
use crate::base::NOTHING;
use crate::control::Member;
use crate::run::away::{Who, passes};
use crate::run::checkpoint::Manifest;
use crate::run::graph::Flow;
use crate::run::members::{Growth, Width, growth};
use crate::run::options::{ReferenceTail, Report, Stop};
use crate::run::worker::held;
use crate::source::Partition;

/// A cut to go on from in the same process, and what was done before it.
pub(in crate::run) struct Again {
    pub manifest: Manifest,
    pub state: Vec<u8>,
    pub report: Report,
    /// This process's claim.
    pub epoch: Option<i64>,
}

/// What joins, by the table's index in the plan.
type Joins = Vec<(usize, Vec<Partition>)>;
type Tail = Option<Box<dyn ReferenceTail>>;

impl Program {
    /// Lets new partitions join where there are any, and gives the cut to go on from.
    pub(super) fn grow(
        &mut self,
        stop: &Stop,
        pause: &AtomicBool,
        now: Duration,
    ) -> Result<Option<Box<Again>>> {
        let every = self.world.options.look_every;
        let due = self.looked.is_none_or(|at| now.saturating_sub(at) >= every);
        if !due || !self.grows.contains(&true) || self.world.ports.until.is_some() || stop.draining() {
            return Ok(None);
        }
        self.looked = Some(now);
        // Whoever is away is told by those who read.
        let Ok(Some(joins)) = self.look() else { return Ok(None) };
        if !self.remade()? {
            return Ok(None);
        }
        pause.store(true, Ordering::Release);
        let grown = self.join(stop, &joins, now);
        if !matches!(grown, Ok(Some(_))) {
            pause.store(false, Ordering::Release);
        }
        match grown {
            Err(error) if passes(&error) => self.cut_failed(&error, now).map(|()| None),
            other => other,
        }
    }

    /// Whether the shards have made again what an earlier process told (G3): all that it had read is worked off.
    fn remade(&self) -> Result<bool> {
        let (tasks, shards) = self.instances.split_at(self.world.graph.tasks.min(self.instances.len()));
        let (mut repeats, mut level) = (false, true);
        for instance in shards {
            repeats |= held(instance)?.outputs.repeats();
        }
        for instance in tasks {
            level &= held(instance)?.lanes.iter().all(|l| l.flow == Flow::Task || l.level());
        }
        Ok(level || !repeats)
    }

    /// The partitions that may join now.
    fn look(&mut self) -> Result<Option<Joins>> {
        let world = Arc::clone(&self.world);
        let mut widths = Vec::new();
        let sources: Vec<_> =
            world.graph.plan.sources.iter().map(|t| (t, world.ports.sources.get(&t.name))).collect();
        for (at, (table, source)) in sources.iter().enumerate() {
            let (has, grows) = (world.graph.partitions[at], self.grows[at]);
            let now = match source.filter(|_| grows) {
                Some(source) if source.trouble().is_some() => return Ok(None),
                Some(source) => source.count()?,
                None => has,
            };
            widths.push(Width { table: &table.name, has, now, grows });
        }
        let wide = match growth(&widths) {
            Growth::None => {
                self.waits = None;
                return Ok(None);
            }
            Growth::Waits(why) => {
                if self.waits.as_ref() != Some(&why) {
                    tracing::warn!("{why}");
                    self.waits = Some(why);
                }
                return Ok(None);
            }
            Growth::Joins(wide) => wide,
        };
        let tasks = world.graph.tasks as u32;
        let mut joins = Joins::new();
        for (at, width) in widths.iter().enumerate().filter(|(_, w)| w.now == wide && w.has == tasks) {
            let Some(source) = sources[at].1.filter(|_| width.grows) else { continue };
            let mut new = source.partitions()?;
            new.retain(|p| (tasks..wide).contains(&p.number));
            if new.len() != (wide - tasks) as usize {
                return Ok(None);
            }
            joins.push((at, new));
        }
        Ok(Some(joins))
    }

    /// Cuts, and makes the record durable. None: not now; nothing was said.
    fn join(&mut self, stop: &Stop, joins: &Joins, now: Duration) -> Result<Option<Box<Again>>> {
        self.settle(false)?;
        let (manifest, state) = self.cut()?;
        if let Some(refused) = self.publish(manifest.clone(), &state)? {
            self.world.away.met(Who::Checkpoint, &refused, now);
            return Ok(None);
        }
        let mut tables = Vec::new();
        for (at, new) in joins {
            let (name, watermark) = (&self.world.graph.plan.sources[*at].name, self.least(*at)?);
            let member = |p: &Partition| Member { partition: p.number, first_offset: p.start, watermark };
            for p in new {
                let (joins, first) = (p.number, p.start);
                let count = new.last().map_or(0, |last| last.number + 1);
                tracing::info!("`{name}` has {count} partitions now: {joins} joins at offset {first}");
            }
            tables.push((name.clone(), new.iter().map(member).collect::<Vec<_>>()));
        }
        // One whose answer was lost may be in the log: it is said again in the same words, and nothing moves
        // before it is known to be there.
        match self.patiently(stop, |p| p.world.controls.join(tables.clone())) {
            Err(error) if passes(&error) => return Ok(None),
            joined => joined?,
        }
        let (report, epoch) = (self.report(false)?, self.world.controls.with_owners(|o| o.own())?);
        Ok(Some(Box::new(Again { manifest, state, report, epoch })))
    }

    /// The least watermark of a table where shards wait for it; none where one of its partitions has none.
    fn least(&self, source: usize) -> Result<Option<i64>> {
        let mut least = None;
        for instance in &self.instances {
            for lane in &held(instance)?.lanes {
                if lane.source == source && lane.flow == Flow::Exchange {
                    let watermark = lane.watermark();
                    least = Some(least.map_or(watermark, |l: i64| l.min(watermark)));
                }
            }
        }
        Ok(least.filter(|watermark| *watermark != NOTHING))
    }

    /// The program that goes on from a cut of this one. None: it was stopped before it could.
    pub(super) fn succeed(
        &mut self,
        again: &Again,
        stop: &Stop,
        start: &mut impl FnMut(Option<&Again>, &mut Tail) -> Result<Program>,
    ) -> Result<Option<Program>> {
        let mut tail = self.tail.take();
        // Their writers and readers end, and their state is in the cut.
        self.instances.clear();
        loop {
            let since = self.world.ports.clock.monotonic();
            match start(Some(again), &mut tail) {
                Err(error) if passes(&error) => {
                    if stop.stopping() {
                        return Ok(None);
                    }
                    self.world.away.met(Who::Control, &error, since);
                    self.teller.look(&self.world.away, self.world.ports.clock.monotonic());
                    std::thread::sleep(super::AGAIN);
                }
                next => {
                    let mut next = next?;
                    next.teller = std::mem::take(&mut self.teller);
                    return Ok(Some(next));
                }
            }
        }
    }
}
