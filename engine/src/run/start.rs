//! The start of a program: sources looked at, control log read, the newest checkpoint restored.
//!
//! In:   a plan, its ports and options; what the data folder and the control log hold.
//! Out:  a program whose instances stand where they go on.
//! Owns: the order of a start. Going on from there: `program`.
//!
//! S1  Nothing is written anywhere before this process owns the program, and no output is opened.
//! S2  What a start decides (first rows of reference tables, the ends of bounded reads, the first members) is in
//!     the control log, read back from it, before anything is fetched.
//! S3  The outputs' ends are in a manifest before anything is written to them, by a task that joined too.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use weir_contract::event::version_of;
use weir_contract::{Code, Error, Place, Result};

use super::away::{Away, Teller};
use super::checkpoint::{Manifest, Store};
use super::controls::Controls;
use super::copies::Share;
use super::exchange::Inbox;
use super::graph::Graph;
use super::instance::Instance;
use super::lanes::TaskLane;
use super::members::{Found, Members, Settled};
use super::options::{Options, Ports, ReferenceTail};
use super::owner;
use super::program::{Again, Program};
use super::references::References;
use super::world::World;
use crate::base::NOTHING;
use crate::control::{Claimant, Control};
use crate::source::Partition;
use crate::sql::catalog::AppendTime;
use crate::sql::plan::ir::{Output, Plan};
use crate::state::Loader;

/// Tells two plans apart in checkpoints: the text of everything that runs.
pub fn plan_version(plan: &Plan) -> String {
    let mut text = String::new();
    for node in &plan.nodes {
        let columns: Vec<_> = node.stream.schema.fields().iter().map(|f| (f.name(), f.data_type())).collect();
        text.push_str(&format!("{:?} {:?} {:?} {columns:?}\n", node.op, node.inputs, node.place));
    }
    for output in &plan.outputs {
        text.push_str(match output {
            Output::Rule { spec, .. } => &spec.text,
            Output::Insert { spec, .. } => &spec.text,
        });
    }
    version_of(&text)
}

/// The data folder is one process's as long as this file is open.
pub(super) fn lock(dir: &std::path::Path, program: &str) -> Result<File> {
    let path = dir.join(format!("{program}.lock"));
    let opened = std::fs::create_dir_all(dir)
        .and_then(|()| File::options().create(true).truncate(false).write(true).open(&path));
    let file = opened.map_err(|e| Error::of_io(&e, &path))?;
    file.try_lock().map_err(|e| match e {
        TryLockError::WouldBlock => {
            Error::new(Code::SecondProcess, format!("program `{program}` runs already with this data folder"))
                .at(Place::Path(path.display().to_string()))
        }
        // A file system without locks, for one.
        TryLockError::Error(e) => Error::of_io(&e, &path),
    })?;
    Ok(file)
}

/// The lock file's place and inode: a copy of a data folder is another one.
pub(super) fn name_of(file: &File, dir: &std::path::Path) -> Result<String> {
    use std::os::unix::fs::MetadataExt;
    let facts = file.metadata().map_err(|e| Error::new(Code::Io, e.to_string()))?;
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    Ok(format!("{} {}:{}", dir.display(), facts.dev(), facts.ino()))
}

impl Program {
    /// `folder` names the data folder whose lock this process holds; empty: none. Takes `tail` where it succeeds.
    pub(super) fn start(
        plan: &Arc<Plan>,
        ports: Ports,
        options: Options,
        folder: &str,
        (share, again): (Option<Share>, Option<&Again>),
        tail: &mut Option<Box<dyn ReferenceTail>>,
    ) -> Result<Self> {
        let plan_version = plan_version(plan);
        let plan = Arc::clone(plan);
        let mut partitions: Vec<Vec<Partition>> = Vec::new();
        let mut identities = BTreeMap::new();
        let mut grows = Vec::new();
        for table in &plan.sources {
            let source = ports.sources.get(&table.name).ok_or_else(|| {
                Error::new(Code::Internal, format!("no source for `{}`", table.name)).at(table.place.clone())
            })?;
            let (mut found, identity) = (source.partitions(), source.identity()?);
            if let (Some(share), Ok(found)) = (&share, &mut found) {
                share.narrow(found, &table.name, &identity).map_err(|e| e.or_at(table.place.clone()))?;
            }
            let found = found.map_err(|e| e.or_at(table.place.clone()))?;
            grows.push(share.is_none() && !source.until_end() && found.iter().all(|p| !p.bounded));
            partitions.push(found);
            identities.insert(table.name.clone(), identity);
        }
        let store = options
            .data
            .as_ref()
            .map(|dir| Store::open(dir.join("checkpoints").join(&options.program)))
            .transpose()?;
        let saved = match again {
            Some(again) => Some((again.manifest.clone(), again.state.clone(), Vec::new())),
            None => store.as_ref().map_or(Ok(None), Store::load)?,
        };
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
        let mut controls = Controls::new(Arc::clone(&ports.control), References::new(&plan)?);
        controls.refresh()?;
        let manifest = saved.as_ref().map(|(manifest, _, _)| manifest);
        let found = Found { plan: &plan, partitions: &partitions, grows: &grows, manifest };
        let settle = |members: &Members| -> Result<(Settled, Graph)> {
            let settled = found.settle(members)?;
            let counts = settled
                .partitions
                .iter()
                .map(|p| p.iter().map(|p| p.number + 1).max().unwrap_or(0))
                .collect();
            Ok((settled, Graph::new(Arc::clone(&plan), counts, options.shards.max(1))?))
        };
        // What cannot run is refused before anything is written.
        settle(&found.with_owed(controls.members()?))?;
        let live = ports.until.is_none();
        match again.and_then(|again| again.epoch) {
            Some(epoch) => owner::go_on(&controls, epoch)?,
            None if live => {
                let me = Claimant { process: std::process::id(), folder: folder.to_owned() };
                owner::claim(&controls, &me, options.takeover_after, &*ports.clock)?;
            }
            None => {}
        }
        if live && share.is_none() {
            let owed = found.owed(&controls.members()?);
            owed.iter().try_for_each(|record| controls.append_shared(record).map(drop))?;
            controls.refresh()?;
        }
        let members = controls.members()?;
        let (settled, graph) = settle(&members)?;
        controls.lay_out(graph.tasks, settled.initial);
        if live && share.is_none() {
            controls.widen()?;
        }
        let mut partitions = settled.partitions;
        controls.read_shards()?;
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
        for (table, partitions) in plan.sources.iter().zip(&mut partitions) {
            if ports.sources.get(&table.name).is_some_and(|s| s.until_end()) {
                fix_ends(&controls, &table.name, &identities[&table.name], partitions)
                    .map_err(|e| e.or_at(table.place.clone()))?;
            }
        }
        let instances = graph.instances();
        let world = Arc::new(World {
            inboxes: (0..instances).map(|_| Inbox::default()).collect(),
            told: AtomicI64::new(NOTHING),
            feed_frontiers: (0..graph.tasks).map(|_| AtomicI64::new(NOTHING)).collect(),
            bytes: (0..instances).map(|_| AtomicUsize::new(0)).collect(),
            feed_bytes: (0..graph.tasks).map(|_| AtomicUsize::new(0)).collect(),
            stands: (0..instances).map(|_| AtomicBool::new(false)).collect(),
            graph,
            controls,
            away: Away::default(),
            members,
            ports,
            share,
            options,
        });
        let mut program = Self {
            instances: Vec::new(),
            store,
            plan_version,
            identities,
            tail: None,
            grows,
            looked: None,
            waits: None,
            before: again.map(|again| again.report.clone()).unwrap_or_default(),
            checkpoints: again.map_or(0, |again| again.report.checkpoints),
            peak: again.map_or(0, |again| again.report.state_bytes_peak),
            deciding: Vec::new(),
            teller: Teller::default(),
            world,
        };
        program.build(&partitions, saved.as_ref().map(|(m, s, _)| (m, s.as_slice())))?;
        program.tail = tail.take();
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
        let instances = world.graph.instances();
        let mut states = Vec::new();
        if let Some((manifest, state)) = saved {
            let mut loader = Loader::new(state);
            states = manifest.sink_ends.iter().map(|_| loader.bytes()).collect::<Result<_>>()?;
        }
        let one = |index: usize| -> Result<Instance> {
            let mut lanes = Vec::new();
            for (source, table) in plan.sources.iter().enumerate().filter(|_| index < world.graph.tasks) {
                let Some(partition) = partitions[source].iter().find(|p| p.number as usize == index) else {
                    continue;
                };
                let append = table.append_time.unwrap_or(AppendTime::Broker);
                let steps = world.graph.steps.iter().enumerate().filter(|(_, s)| s.source == Some(source));
                for (nth, (step, of)) in steps.enumerate() {
                    lanes.push(TaskLane::new(
                        Arc::clone(table),
                        source,
                        partition.number,
                        (step, of),
                        nth == 0,
                        append,
                        Arc::clone(&watermarks),
                    )?);
                }
            }
            let mut instance = Instance::new(Arc::clone(world), index, lanes)?;
            let restored = saved.and_then(|(manifest, _)| Some((manifest, manifest.at(index, world)?)));
            if let Some((manifest, at)) = restored {
                let lacks = || Error::new(Code::Damaged, "the manifest lacks an instance");
                let mut own = Loader::new(states.get(at).ok_or_else(lacks)?);
                instance.restore(&mut own, manifest.tasks)?;
                own.finish()?;
                let ends = manifest.sink_ends.get(at).ok_or_else(lacks)?;
                instance.outputs.read_back(ends, &world.options, &world.ports)?;
            } else {
                for lane in &mut instance.lanes {
                    let member = world.members.get(&lane.table.name, lane.partition);
                    if let Some(watermark) = member.and_then(|m| m.watermark) {
                        lane.begin(watermark);
                    }
                }
                if let Some((manifest, _)) = saved {
                    // Whatever it wrote lies behind the cut: it was not there yet. The first task has all outputs
                    // that it has.
                    let mut ends = manifest.sink_ends.first().cloned().unwrap_or_default();
                    ends.retain(|name, _| instance.outputs.writers.contains_key(name));
                    instance.outputs.read_back(&ends, &world.options, &world.ports)?;
                }
            }
            world.told.fetch_max(instance.outputs.told(), Ordering::Relaxed);
            if let Some(share) = &world.share {
                share.take_over(&mut instance)?;
            }
            instance.catch_up()?;
            for lane in &mut instance.lanes {
                let partition = partitions[lane.source].iter().find(|p| p.number == lane.partition);
                let partition =
                    partition.ok_or_else(|| Error::new(Code::Internal, "a lane without a partition"))?;
                lane.open(&world.ports, partition, restored.is_some())?;
            }
            Ok(instance)
        };
        // At once: each opens writers of its own, and a broker takes its time over each (a fence, a look at
        // the end); one after the other they would be the longest part of a restart.
        // A copy has nothing to do with the writers of partitions that are not its own.
        let mine = |index: &usize| world.share.as_ref().is_none_or(|s| s.kept.contains_key(&(*index as u32)));
        let built = std::thread::scope(|scope| {
            let one = &one;
            let indexes = (0..instances).filter(mine);
            let started: Vec<_> = indexes.map(|index| scope.spawn(move || one(index))).collect();
            let done = started.into_iter().map(|thread| match thread.join() {
                Ok(instance) => instance,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            done.collect::<Vec<_>>()
        });
        for instance in built {
            self.instances.push(Arc::new(Mutex::new(instance?)));
        }
        // The outputs' ends are known before anything is written.
        if saved.is_none_or(|(manifest, _)| manifest.tasks < self.world.graph.tasks)
            && let Some(refused) = self.checkpoint()?
        {
            return Err(refused);
        }
        Ok(())
    }
}

/// Gives partitions the ends that the control log has for them. The first start writes them there; who
/// comes later, a replay too, reads no further than that one.
fn fix_ends(controls: &Controls, table: &str, identity: &str, partitions: &mut [Partition]) -> Result<()> {
    if controls.ends(table)?.is_none() {
        controls.append_shared(&Control::Ends {
            table: table.to_owned(),
            identity: identity.to_owned(),
            ends: partitions.iter().map(|p| (p.number, p.end)).collect(),
        })?;
        controls.refresh()?;
    }
    let fixed = controls.ends(table)?.ok_or_else(|| {
        Error::new(Code::ControlLog, "the ends of a bounded read were written and not found")
    })?;
    if fixed.identity != identity {
        return Err(Error::new(
            Code::Recreated,
            format!("the log of `{table}` is not the one whose ends the control log has fixed"),
        )
        .expected(format!("{}, found {identity}", fixed.identity)));
    }
    for partition in partitions {
        // One that came after the ends were fixed is no part of this read.
        partition.end = fixed.ends.get(&partition.number).copied().unwrap_or(partition.start);
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_taken_is_told_from_one_that_cannot_be_had() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path(), "p").unwrap();
        assert_eq!(lock(dir.path(), "p").unwrap_err().code(), Code::SecondProcess);
        drop(held);
        lock(dir.path(), "p").unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(lock(&file, "p").unwrap_err().code(), Code::Io);
    }
}
