//! A running program: threads that step instances, and one loop that cuts, stops and reports.
//!
//! In:   a plan and its ports.
//! Out:  a report once everything ended, was stopped, or failed.
//! Owns: start, restore, checkpoints, the end. What a step does: `instance`.
//!
//! R1  The world stands still during a cut: the loop holds every instance.
//! R2  After a fault nothing is committed and no checkpoint is published.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use weir_contract::event::version_of;
use weir_contract::{Code, Error, Place, Result};

use super::checkpoint::{Manifest, Store};
use super::controls::Controls;
use super::exchange::Inbox;
use super::graph::Graph;
use super::instance::Instance;
use super::lanes::TaskLane;
use super::options::{Options, Ports, ReferenceTail, Report, Stop};
use super::references::References;
use super::worker::{Flags, held, work};
use super::world::World;
use crate::base::NOTHING;
use crate::control::Control;
use crate::source::Partition;
use crate::sql::catalog::AppendTime;
use crate::sql::plan::ir::{Output, Plan};
use crate::state::{Loader, Saver};
use crate::watermark::Counts;

/// How often the loop looks at the control log and at the end.
const TICK: Duration = Duration::from_millis(2);
const TAIL_EVERY: Duration = Duration::from_millis(200);

/// Tells two plans apart in checkpoints: the text of everything that runs.
pub fn plan_version(plan: &Plan) -> String {
    let mut text = String::new();
    for node in &plan.nodes {
        text.push_str(&format!("{:?} {:?} {:?}\n", node.op, node.inputs, node.place));
    }
    for output in &plan.outputs {
        text.push_str(match output {
            Output::Rule { spec, .. } => &spec.text,
            Output::Insert { spec, .. } => &spec.text,
        });
    }
    version_of(&text)
}

/// Runs a plan until its bounded sources end, a replay reached its end, or it is stopped.
pub fn run(plan: Plan, ports: Ports, options: Options, stop: &Stop) -> Result<Report> {
    let lock = options.data.as_ref().map(|dir| lock(dir, &options.program)).transpose()?;
    let mut program = Program::start(plan, ports, options)?;
    let report = program.drive(stop);
    drop(lock);
    report
}

fn lock(dir: &std::path::Path, program: &str) -> Result<File> {
    let path = dir.join(format!("{program}.lock"));
    let place = Place::Path(path.display().to_string());
    let opened = std::fs::create_dir_all(dir)
        .and_then(|()| File::options().create(true).truncate(false).write(true).open(&path));
    let file = opened.map_err(|e| Error::new(Code::Io, e.to_string()).at(place.clone()))?;
    file.try_lock().map_err(|_| {
        Error::new(Code::SecondProcess, format!("program `{program}` runs already with this data folder"))
            .at(place)
    })?;
    Ok(file)
}

struct Program {
    world: Arc<World>,
    instances: Vec<Arc<Mutex<Instance>>>,
    store: Option<Store>,
    plan_version: String,
    identities: BTreeMap<String, String>,
    tail: Option<Box<dyn ReferenceTail>>,
    checkpoints: u64,
    peak: usize,
}

impl Program {
    fn start(plan: Plan, mut ports: Ports, options: Options) -> Result<Self> {
        let plan_version = plan_version(&plan);
        let plan = Arc::new(plan);
        let mut partitions: Vec<Vec<Partition>> = Vec::new();
        let mut identities = BTreeMap::new();
        for table in &plan.sources {
            let source = ports.sources.get(&table.name).ok_or_else(|| {
                Error::new(Code::Internal, format!("no source for `{}`", table.name)).at(table.place.clone())
            })?;
            partitions.push(source.partitions().map_err(|e| e.or_at(table.place.clone()))?);
            identities.insert(table.name.clone(), source.identity()?);
        }
        let store = options
            .data
            .as_ref()
            .map(|dir| Store::open(dir.join("checkpoints").join(&options.program)))
            .transpose()?;
        let saved = store.as_ref().map_or(Ok(None), Store::load)?;
        let mut options = options;
        if let Some((manifest, _, damaged)) = &saved {
            for error in damaged {
                tracing::warn!("{error}");
            }
            check_manifest(manifest, &plan_version, &identities)?;
            if manifest.shards != options.shards {
                tracing::info!("the checkpoint has {} shards; they are kept", manifest.shards);
                options.shards = manifest.shards;
            }
        }
        let counts = partitions.iter().map(|p| p.iter().map(|p| p.number + 1).max().unwrap_or(0)).collect();
        let graph = Graph::new(Arc::clone(&plan), counts, options.shards.max(1))?;
        let controls = Controls::new(Arc::clone(&ports.control), References::new(&plan)?);
        controls.refresh()?;
        let mut tail = ports.reference.take();
        if !plan.relations.is_empty() && !controls.has_versions() {
            let (change, changes) = tail.as_mut().map_or(Ok((0, Vec::new())), |t| t.first())?;
            controls.append_shared(&Control::Program {
                name: options.program.clone(),
                version: plan_version.clone(),
            })?;
            controls.append_shared(&Control::Reference {
                change,
                asked_at: None,
                effective_at: Some(i64::MIN),
                changes,
            })?;
            controls.refresh()?;
        }
        let instances = graph.instances();
        let world = Arc::new(World {
            inboxes: (0..instances).map(|_| Inbox::default()).collect(),
            task_frontiers: (0..graph.tasks).map(|_| AtomicI64::new(NOTHING)).collect(),
            bytes: (0..instances).map(|_| AtomicUsize::new(0)).collect(),
            graph,
            controls,
            ports,
            options,
        });
        let mut program = Self {
            instances: Vec::new(),
            store,
            plan_version,
            identities,
            tail,
            checkpoints: 0,
            peak: 0,
            world,
        };
        program.build(&partitions, saved.as_ref().map(|(m, s, _)| (m, s.as_slice())))?;
        Ok(program)
    }

    fn build(&mut self, partitions: &[Vec<Partition>], saved: Option<(&Manifest, &[u8])>) -> Result<()> {
        let world = &self.world;
        let plan = &world.graph.plan;
        let watermarks = Arc::new(
            partitions
                .iter()
                .enumerate()
                .flat_map(|(source, list)| {
                    list.iter().map(move |p| ((source, p.number), AtomicI64::new(NOTHING)))
                })
                .collect::<BTreeMap<_, _>>(),
        );
        let mut loader = saved.map(|(_, state)| Loader::new(state));
        for index in 0..world.graph.instances() {
            let mut lanes = Vec::new();
            for (source, table) in plan.sources.iter().enumerate().filter(|_| index < world.graph.tasks) {
                let Some(step) = world.graph.steps.iter().position(|s| s.source == Some(source)) else {
                    continue;
                };
                if let Some(partition) = partitions[source].iter().find(|p| p.number as usize == index) {
                    let append = table.append_time.unwrap_or(AppendTime::Broker);
                    lanes.push(TaskLane::new(
                        Arc::clone(table),
                        source,
                        partition.number,
                        step,
                        append,
                        Arc::clone(&watermarks),
                    )?);
                }
            }
            let mut instance = Instance::new(Arc::clone(world), index, lanes)?;
            if let Some(loader) = &mut loader {
                let bytes = loader.bytes()?;
                let mut own = Loader::new(bytes);
                instance.restore(&mut own)?;
                own.finish()?;
            }
            if let Some((manifest, _)) = saved {
                let ends = manifest
                    .sink_ends
                    .get(index)
                    .ok_or_else(|| Error::new(Code::Damaged, "the manifest lacks an instance"))?;
                instance.outputs.read_back(ends, index, &world.options, &world.ports)?;
            }
            instance.catch_up()?;
            for lane in &mut instance.lanes {
                let partition = partitions[lane.source].iter().find(|p| p.number == lane.partition);
                let (start, bounded) = partition.map_or((0, false), |p| (p.start, p.bounded));
                lane.open(&world.ports, start, bounded, saved.is_some())?;
            }
            self.instances.push(Arc::new(Mutex::new(instance)));
        }
        if saved.is_none() {
            // The outputs' ends are known before anything is written.
            self.checkpoint()?;
        }
        Ok(())
    }

    fn drive(&mut self, stop: &Stop) -> Result<Report> {
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
            let result = self.watch(stop, &pause, &fault, &*clock);
            done.store(true, Ordering::Release);
            result
        });
        // The first fault is the cause; what failed after it only met what it left behind.
        if let Some(first) = fault.into_inner().ok().flatten() {
            return Err(first);
        }
        let ended = ended?;
        if stop.killed() {
            return self.report(false);
        }
        // A clean end applies every control record that is durable.
        self.read_control()?;
        self.settle(false)?;
        if ended {
            let highest = self.highest()?;
            for instance in &self.instances {
                held(instance)?.finish(highest)?;
            }
        }
        self.checkpoint()?;
        self.report(ended)
    }

    /// The program's loop; true where all inputs ended by themselves.
    fn watch(
        &mut self,
        stop: &Stop,
        pause: &AtomicBool,
        fault: &Mutex<Option<Error>>,
        clock: &dyn weir_contract::Clock,
    ) -> Result<bool> {
        let mut saved = clock.monotonic();
        let mut tailed = clock.monotonic();
        let mut draining = false;
        loop {
            std::thread::sleep(TICK);
            if let Some(error) = fault.lock().map_err(|_| Error::new(Code::Internal, "poisoned"))?.take() {
                return Err(error);
            }
            if stop.stopping() {
                return Ok(false);
            }
            let now = clock.monotonic();
            if now.saturating_sub(tailed) >= TAIL_EVERY {
                tailed = now;
                self.follow()?;
            }
            let held_now: usize = self.world.bytes.iter().map(|b| b.load(Ordering::Relaxed)).sum();
            self.peak = self.peak.max(held_now);
            let due =
                self.store.is_some() && now.saturating_sub(saved) >= self.world.options.checkpoint_every;
            if due {
                pause.store(true, Ordering::Release);
                let cut = self.settle(false).and_then(|()| self.checkpoint());
                pause.store(false, Ordering::Release);
                saved = clock.monotonic();
                match cut {
                    Err(error) if error.code() == Code::DiskFull => tracing::warn!("{error}"),
                    other => other?,
                }
            }
            if stop.draining() && !draining {
                // The end that a lane saw may be older than the records that are to be drained.
                draining = true;
                self.read_control()?;
                for instance in &self.instances {
                    held(instance)?.lanes.iter_mut().for_each(TaskLane::look_again);
                }
            }
            if let Some(ended) = self.at_end(draining)? {
                return Ok(ended);
            }
        }
    }

    /// Reads the control log and the reference database; both only where nobody else leads.
    fn follow(&mut self) -> Result<()> {
        if self.world.ports.until.is_some() {
            return Ok(());
        }
        if let Some(tail) = self.tail.as_mut().filter(|_| !self.world.options.external_control) {
            let known = self.world.controls.last_change()?.unwrap_or(0);
            match tail.since(known) {
                Ok(groups) => {
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
                Err(error) => tracing::warn!("{error}"),
            }
        }
        self.read_control()
    }

    /// Reads the shared control records to their end, but for a replay, which has its own.
    fn read_control(&self) -> Result<()> {
        if self.world.ports.until.is_some() { Ok(()) } else { self.world.controls.refresh() }
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

    /// Works off everything that was fetched, in this thread.
    fn settle(&self, fetch: bool) -> Result<()> {
        loop {
            let mut busy = false;
            for instance in &self.instances {
                busy |= held(instance)?.step(fetch)?;
            }
            // A worker may have been inside a step while the pass went by, and have sent something to
            // an instance that had been looked at already.
            let quiet = || self.instances.iter().try_fold(true, |all, i| Ok(all && held(i)?.quiet()?));
            if !busy && quiet()? {
                return Ok(());
            }
        }
    }

    fn highest(&self) -> Result<i64> {
        let mut highest = NOTHING;
        for instance in &self.instances {
            highest = held(instance)?.lanes.iter().map(|l| l.lane().highest()).fold(highest, i64::max);
        }
        Ok(highest)
    }

    fn checkpoint(&mut self) -> Result<()> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let mut state = Saver::default();
        let mut sink_ends = Vec::new();
        let mut guards = self.instances.iter().map(|i| held(i)).collect::<Result<Vec<_>>>()?;
        for instance in &mut guards {
            instance.sound()?;
            instance.outputs.commit()?;
            sink_ends.push(instance.outputs.sink_ends()?);
            let mut own = Saver::default();
            instance.snapshot(&mut own)?;
            state.bytes(&own.finish());
        }
        let manifest = Manifest {
            version: 0,
            number: 0,
            program: self.world.options.program.clone(),
            plan: self.plan_version.clone(),
            tasks: self.world.graph.tasks,
            shards: self.world.graph.shards,
            identities: self.identities.clone(),
            sink_ends,
            state_bytes: 0,
            state_crc32c: 0,
        };
        store.save(manifest, &state.finish())?;
        self.checkpoints += 1;
        Ok(())
    }

    fn report(&self, ended: bool) -> Result<Report> {
        let mut report =
            Report { checkpoints: self.checkpoints, state_bytes_peak: self.peak, ended, ..Report::default() };
        for table in &self.world.graph.plan.sources {
            report.sources.insert(table.name.clone(), Counts::default());
        }
        for instance in &self.instances {
            let instance = held(instance)?;
            for lane in &instance.lanes {
                let counts = lane.lane().counts();
                counts.check().map_err(|e| e.or_at(lane.place()))?;
                if let Some(sum) = report.sources.get_mut(&lane.table.name) {
                    *sum += counts;
                }
                report.positions.insert((lane.table.name.clone(), lane.partition), lane.lane().position());
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
            for (step, dropped) in instance.unmatched() {
                let Some(relation) = graph.steps[*step].relation else { continue };
                let name = &graph.plan.relations[relation].name;
                for output in graph.outputs_behind(*step) {
                    let tables =
                        report.unmatched.entry(graph.plan.outputs[output].name().into()).or_default();
                    *tables.entry(name.clone()).or_default() += dropped.rows;
                }
                report.unknown.entry(name.clone()).or_default().merge(dropped.clone());
            }
        }
        Ok(report)
    }
}

fn check_manifest(manifest: &Manifest, plan: &str, identities: &BTreeMap<String, String>) -> Result<()> {
    if manifest.plan != plan {
        return Err(Error::new(Code::NoCheckpoint, "the checkpoint is of another version of this program")
            .expected(format!("version {plan}, found {}", manifest.plan))
            .act("operator: start cold with another --data folder; swapping versions without a gap comes later"));
    }
    for (table, identity) in &manifest.identities {
        if identities.get(table).is_some_and(|now| now != identity) {
            return Err(Error::new(
                Code::Recreated,
                format!("the log of `{table}` is not the one that the checkpoint knows"),
            )
            .expected(format!("{identity}, found {}", identities[table])));
        }
    }
    Ok(())
}
