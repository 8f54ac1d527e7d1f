//! A running program: threads that step instances, and one loop that cuts, stops and reports.
//!
//! In:   a plan and its ports.
//! Out:  a report once everything ended, was stopped, or failed.
//! Owns: the end, and what is waited for. The start is `start`, a checkpoint `program/cut`, partitions that
//!       join `program/grow`, what a step does `instance`.
//!
//! R1  The world stands still during a cut: the loop holds every instance.
//! R2  After a fault nothing is committed and no checkpoint is published.

mod cut;
mod grow;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use weir_contract::{Code, Error, Result};

use super::away::{Teller, Who, passes};
use super::checkpoint::Store;
use super::copies::Share;
use super::instance::Instance;
use super::lanes::TaskLane;
use super::options::{Options, Ports, ReferenceTail, Report, Stop};
use super::start::{lock, name_of};
use super::worker::{Flags, held, panicked, work};
use super::world::World;
use crate::base::NOTHING;
use crate::control::Control;
use crate::sql::plan::ir::Plan;
use crate::watermark::Counts;

pub(super) use self::grow::Again;

/// How often the loop looks at the control log and at the end.
const TICK: Duration = Duration::from_millis(2);
const TAIL_EVERY: Duration = Duration::from_millis(200);
/// Pause between two tries at the end of a run while a peer or a disk is away.
const AGAIN: Duration = Duration::from_millis(100);

/// Runs a plan until its bounded sources end, a replay reached its end, or it is stopped.
pub fn run(plan: Plan, mut ports: Ports, options: Options, stop: &Stop) -> Result<Report> {
    let locked = options.data.as_ref().map(|dir| lock(dir, &options.program)).transpose()?;
    let folder = match (&locked, &options.data) {
        (Some(file), Some(dir)) => name_of(file, dir)?,
        _ => String::new(),
    };
    let (plan, mut tail) = (Arc::new(plan), ports.reference.take());
    let mut start = |again: Option<&Again>, tail: &mut Option<Box<dyn ReferenceTail>>| {
        Program::start(&plan, ports.again(), options.clone(), &folder, (None, again), tail)
    };
    let mut program = start(None, &mut tail)?;
    let report = loop {
        match program.drive(stop)? {
            Driven::Ended(report) => break *report,
            // With more tasks, from the same cut.
            Driven::Grown(again) => match program.succeed(&again, stop, &mut start)? {
                Some(next) => program = next,
                None => break again.report,
            },
        }
    };
    if !stop.killed() {
        match program.world.controls.release() {
            // Everything is done; the next start asks for an owner, and nobody answers.
            Err(error) if passes(&error) => tracing::warn!("{error}"),
            released => released?,
        }
    }
    drop(locked);
    Ok(report)
}

/// Runs the given partitions of a stateless program as one of several copies, until it is stopped.
pub fn run_copy(plan: Plan, ports: Ports, options: Options, share: Share, stop: &Stop) -> Result<Report> {
    // Nobody marks silence, and nothing is kept here.
    let options = Options { data: None, external_control: true, ..options };
    let mut program = Program::start(&Arc::new(plan), ports, options, "", (Some(share), None), &mut None)?;
    match program.drive(stop)? {
        Driven::Ended(report) => Ok(*report),
        Driven::Grown(_) => Err(Error::new(Code::Internal, "a copy does not grow by itself")),
    }
}

/// How a drive came to its end.
enum Driven {
    Ended(Box<Report>),
    /// Partitions joined: to be gone on with from this cut.
    Grown(Box<Again>),
}

impl Driven {
    fn ended(report: Report) -> Driven {
        Driven::Ended(Box::new(report))
    }
}

/// What the program's loop saw last.
enum Watched {
    /// True: all inputs ended by themselves.
    Ended(bool),
    Grown(Box<Again>),
}

pub(super) struct Program {
    pub(super) world: Arc<World>,
    pub(super) instances: Vec<Arc<Mutex<Instance>>>,
    pub(super) store: Option<Store>,
    pub(super) plan_version: String,
    pub(super) identities: BTreeMap<String, String>,
    pub(super) tail: Option<Box<dyn ReferenceTail>>,
    /// Tables whose log may get more partitions, by their index in the plan.
    pub(super) grows: Vec<bool>,
    /// When the sources were last asked whether they have more partitions.
    pub(super) looked: Option<Duration>,
    /// Why new partitions are not read: said once.
    pub(super) waits: Option<String>,
    /// What was done before partitions joined.
    pub(super) before: Report,
    pub(super) checkpoints: u64,
    pub(super) peak: usize,
    /// When changes take effect in the shards, decided and not known to be durable. The shards stand.
    pub(super) deciding: Vec<(i64, i64)>,
    /// Says what is waited for, under the run and at its end.
    pub(super) teller: Teller,
}

impl Program {
    fn drive(&mut self, stop: &Stop) -> Result<Driven> {
        let done = AtomicBool::new(false);
        let pause = AtomicBool::new(false);
        let fault: Mutex<Option<Error>> = Mutex::new(None);
        let workers = self.world.options.workers.max(1);
        let clock = Arc::clone(&self.world.ports.clock);
        let instances = self.instances.clone();
        let ended = std::thread::scope(|scope| {
            for worker in 0..workers {
                let mine: Vec<_> = instances.iter().skip(worker).step_by(workers).cloned().collect();
                let flags = Flags { done: &done, pause: &pause, stop, fault: &fault };
                scope.spawn(move || work(&mine, &flags));
            }
            // The scope waits for the workers, and they wait for this flag: a panic must not pass it by.
            let watched = catch_unwind(AssertUnwindSafe(|| self.watch(stop, &pause, &fault, &*clock)));
            done.store(true, Ordering::Release);
            watched.unwrap_or_else(|payload| Err(panicked(&payload)))
        });
        // The first fault is the cause; what failed after it only met what it left behind.
        if let Some(first) = fault.into_inner().ok().flatten() {
            return Err(first);
        }
        let ended = match ended? {
            Watched::Grown(again) => return Ok(Driven::Grown(again)),
            Watched::Ended(ended) => ended,
        };
        if stop.killed() {
            return self.report(false).map(Driven::ended);
        }
        // A clean end applies every control record that is durable.
        self.patiently(stop, Self::read_control)?;
        self.patiently(stop, |program| program.pay().and_then(|()| program.settle(false)))?;
        if ended {
            let highest = self.highest()?;
            for instance in &self.instances {
                held(instance)?.finish(highest)?;
            }
        }
        self.patiently(stop, |program| program.checkpoint()?.map_or(Ok(()), Err))?;
        self.report(ended).map(Driven::ended)
    }

    /// Does something again while only a peer or a disk is away and nobody asked to stop.
    fn patiently(&mut self, stop: &Stop, act: impl Fn(&mut Self) -> Result<()>) -> Result<()> {
        let clock = Arc::clone(&self.world.ports.clock);
        loop {
            let since = clock.monotonic();
            match act(self) {
                Err(error) if passes(&error) && !stop.stopping() => {
                    self.cut_failed(&error, since)?;
                    self.teller.look(&self.world.away, clock.monotonic());
                    std::thread::sleep(AGAIN);
                }
                done => {
                    if done.is_ok() {
                        self.world.away.over(&Who::Checkpoint);
                    }
                    return done;
                }
            }
        }
    }

    /// Notes that there was no cut, unless an instance that stands still has said so itself: that is over as
    /// soon as it goes on, not at the next cut.
    fn cut_failed(&self, error: &Error, since: Duration) -> Result<()> {
        for instance in &self.instances {
            if held(instance)?.owes().is_some() {
                return Ok(());
            }
        }
        self.world.away.met(Who::Checkpoint, error, since);
        Ok(())
    }

    /// The program's loop.
    fn watch(
        &mut self,
        stop: &Stop,
        pause: &AtomicBool,
        fault: &Mutex<Option<Error>>,
        clock: &dyn weir_contract::Clock,
    ) -> Result<Watched> {
        let mut saved = clock.monotonic();
        let mut tailed = clock.monotonic();
        let mut draining = false;
        loop {
            std::thread::sleep(TICK);
            // A fault stays where it is: no later one takes its place.
            let faulted = fault.lock().map_err(|_| Error::new(Code::Internal, "poisoned"))?.is_some();
            if faulted || stop.stopping() {
                return Ok(Watched::Ended(false));
            }
            let now = clock.monotonic();
            if now.saturating_sub(tailed) >= TAIL_EVERY {
                tailed = now;
                let followed = self.follow();
                self.waits(Who::Control, followed, now)?;
                self.let_go()?;
                for (table, source) in &self.world.ports.sources {
                    let trouble = source.trouble().map_or(Ok(()), Err);
                    self.waits(Who::Source(table.clone()), trouble, now)?;
                }
                self.teller.look(&self.world.away, clock.monotonic());
            }
            self.peak = self.peak.max(self.world.held_bytes());
            let keeps = self.store.is_some() || self.world.share.is_some();
            let due = keeps && now.saturating_sub(saved) >= self.world.options.checkpoint_every;
            if due {
                pause.store(true, Ordering::Release);
                let cut = self.settle(false).and_then(|()| self.checkpoint());
                pause.store(false, Ordering::Release);
                saved = clock.monotonic();
                match cut {
                    // The older checkpoints stay, and the next try is in its time.
                    Ok(Some(error)) => self.world.away.met(Who::Checkpoint, &error, now),
                    Err(error) if passes(&error) => self.cut_failed(&error, now)?,
                    other => self.waits(Who::Checkpoint, other.map(drop), now)?,
                }
            }
            if let Some(again) = self.grow(stop, pause, now)? {
                return Ok(Watched::Grown(again));
            }
            if stop.draining() && !draining {
                // The end that a lane saw may be older than the records that are to be drained.
                if let Err(error) = self.read_control() {
                    self.waits(Who::Control, Err(error), now)?;
                    continue;
                }
                draining = true;
                for instance in &self.instances {
                    held(instance)?.lanes.iter_mut().for_each(TaskLane::look_again);
                }
            }
            if let Some(ended) = self.at_end(draining)? {
                return Ok(Watched::Ended(ended));
            }
        }
    }

    /// Notes what somebody waits for, and that it is over; hands on what no waiting mends.
    fn waits(&self, who: Who, done: Result<()>, since: Duration) -> Result<()> {
        match done {
            Ok(()) => self.world.away.over(&who),
            Err(error) if passes(&error) => self.world.away.met(who, &error, since),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Reads the control log and the reference database; both only where nobody else leads.
    fn follow(&mut self) -> Result<()> {
        if self.world.ports.until.is_some() {
            return Ok(());
        }
        if let Some(tail) = self.tail.as_mut().filter(|_| !self.world.options.external_control) {
            let known = self.world.controls.last_change()?.unwrap_or(0);
            let since = self.world.ports.clock.monotonic();
            match tail.since(known) {
                Ok(groups) => {
                    self.world.away.over(&Who::Reference);
                    for group in groups {
                        let record = Control::Reference {
                            change: group.change,
                            asked_at: Some(group.asked_at),
                            effective_at: None,
                            changes: group.changes,
                        };
                        self.world.controls.append_shared(&record)?;
                    }
                }
                // The versions that are known go on; the change waits in its table.
                Err(error) => self.world.away.met(Who::Reference, &error, since),
            }
        }
        self.read_control()
    }

    /// Rows of reference tables that every instance has are not held twice.
    fn let_go(&self) -> Result<()> {
        let mut taken = usize::MAX;
        for instance in &self.instances {
            taken = taken.min(held(instance)?.versions());
        }
        self.world.controls.let_go(taken)
    }

    /// Reads the shared control records to their end, but for a replay, which has its own.
    fn read_control(&mut self) -> Result<()> {
        if self.world.ports.until.is_some() {
            return Ok(());
        }
        self.world.controls.refresh()?;
        self.world.controls.answer_knock()?;
        self.decide_in_shards()
    }

    /// Decides when changes take effect in the shards, all of them at once: else their number would show.
    /// They stand still until it is durable, however long that takes: what was decided is told again in
    /// the same words.
    fn decide_in_shards(&mut self) -> Result<()> {
        let shards = self.instances.get(self.world.graph.tasks..).unwrap_or_default();
        let open = self.world.controls.open_in_shards()?;
        if shards.is_empty() || open.is_empty() {
            return Ok(());
        }
        let mut standing = shards.iter().map(|i| held(i)).collect::<Result<Vec<_>>>()?;
        let passed = standing.iter().map(|i| i.passed()).max().unwrap_or(NOTHING);
        for (change, asked_at) in open {
            if self.deciding.iter().all(|(known, _)| *known != change) {
                self.deciding.push((change, self.world.effective_from(asked_at, passed)));
            }
        }
        while let Some((change, at)) = self.deciding.first().copied() {
            if let Err(error) = self.world.controls.decide_in_shards(change, at) {
                let away = passes(&error).then(|| error.clone());
                standing.iter_mut().for_each(|i| i.stand(away.clone()));
                return Err(error);
            }
            self.deciding.remove(0);
        }
        standing.iter_mut().for_each(|i| i.stand(None));
        Ok(())
    }

    /// None while there is work; else whether the inputs ended (not: a replay's end, a drain).
    fn at_end(&self, draining: bool) -> Result<Option<bool>> {
        let (mut ended, mut rest) = (true, true);
        for instance in &self.instances {
            let instance = held(instance)?;
            ended &= instance.lanes.iter().all(|l| l.ended);
            rest &= instance.lanes.iter().all(TaskLane::at_rest);
            rest &= instance.quiet()?;
        }
        if !rest {
            return Ok(None);
        }
        if ended {
            return Ok(Some(true));
        }
        Ok((self.world.ports.until.is_some() || draining).then_some(false))
    }

    fn highest(&self) -> Result<i64> {
        let mut highest = NOTHING;
        for instance in &self.instances {
            highest = held(instance)?.lanes.iter().map(|l| l.lane().highest()).fold(highest, i64::max);
        }
        Ok(highest)
    }

    fn report(&self, ended: bool) -> Result<Report> {
        let mut report = Report {
            checkpoints: self.checkpoints,
            state_bytes_peak: self.peak,
            ended,
            // The rest is in the state.
            outputs: self.before.outputs.clone(),
            dropped_again: self.before.dropped_again,
            ..Report::default()
        };
        for table in &self.world.graph.plan.sources {
            report.sources.insert(table.name.clone(), Counts::default());
        }
        for instance in &self.instances {
            let instance = held(instance)?;
            for lane in &instance.lanes {
                let counts = lane.lane().counts();
                counts.check().map_err(|e| e.or_at(lane.place()))?;
                if let Some(sum) = report.sources.get_mut(&lane.table.name).filter(|_| lane.first) {
                    *sum += counts;
                }
                let reached = lane.lane().position();
                let position = report.positions.entry((lane.table.name.clone(), lane.partition));
                position.and_modify(|p| *p = reached.min(*p)).or_insert(reached);
            }
            for (name, writer) in &instance.outputs.writers {
                *report.outputs.entry(name.clone()).or_default() += writer.written;
                report.dropped_again += writer.dropped_again;
            }
            for (rule, count) in &instance.outputs.events {
                *report.events.entry(rule.clone()).or_default() += count;
            }
            let graph = &self.world.graph;
            for (step, failed) in instance.failures().filter(|(_, failed)| *failed > 0) {
                for output in graph.outputs_behind(step) {
                    *report.failed.entry(graph.plan.outputs[output].name().into()).or_default() += failed;
                }
            }
            for (step, refused) in instance.rejected().filter(|(_, refused)| *refused > 0) {
                for output in graph.outputs_behind(step) {
                    *report.rejected.entry(graph.plan.outputs[output].name().into()).or_default() += refused;
                }
            }
            for (step, dropped) in instance.unmatched() {
                let Some(relation) = graph.steps[*step].relation else { continue };
                let name = &graph.plan.relations[relation].name;
                for output in graph.outputs_behind(*step) {
                    let tables =
                        report.unmatched.entry(graph.plan.outputs[output].name().into()).or_default();
                    *tables.entry(name.clone()).or_default() += dropped.rows;
                }
                if !graph.steps[*step].twin {
                    report.unknown.entry(name.clone()).or_default().merge(dropped.clone());
                }
            }
        }
        Ok(report)
    }
}
