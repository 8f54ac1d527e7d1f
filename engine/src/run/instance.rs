//! One task or shard: its lanes and operators, stepped by one thread at a time.
//!
//! In:   fetched records (tasks), rows and frontiers from other instances (shards), control records.
//! Out:  rows and frontiers to other instances, events and records to sinks.
//!
//! I1  Steps run in topological order, so one pass settles everything inside the instance.
//! I2  A frontier is sent after the rows that it makes final.
//! I3  Where a peer or a disk is away, the instance stands still with all it has, between two steps,
//!     and takes nothing new until what it owes is written: no fault, and no part of a cut.
//! Start at [`Instance::step`]; `instance/fetch` brings records, `instance/control` what was decided,
//! `instance/feed` keeps what waits.

mod control;
mod feed;
mod fetch;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::arrow::record_batch::RecordBatch;
use weir_contract::{Code, Error, Result};

use self::feed::Feed;
use super::exchange::{Message, split};
use super::graph::{Consumer, Flow, Port, Site, StepId};
use super::lanes::TaskLane;
use super::output::{Outputs, Seat};
use super::world::World;
use crate::base::{FOREVER, NOTHING};
use crate::operators::failures::Failures;
use crate::operators::{Operator, Out, Unmatched};

struct Running {
    operator: Option<Box<dyn Operator>>,
    pending: Vec<(usize, RecordBatch)>,
    /// Frontiers of each port.
    frontiers: Vec<Vec<i64>>,
    moved: bool,
    given: Vec<i64>,
    /// Expressions that failed on a row.
    failures: Failures,
}

pub struct Instance {
    pub index: usize,
    site: Site,
    world: Arc<World>,
    steps: BTreeMap<StepId, Running>,
    pub lanes: Vec<TaskLane>,
    pub outputs: Outputs,
    /// Frontiers of each edge by sending instance.
    senders: BTreeMap<usize, Vec<Vec<i64>>>,
    marks: usize,
    versions: usize,
    /// When changes took effect here, from this instance's own control records.
    effective: BTreeMap<i64, i64>,
    unmatched: BTreeMap<StepId, Unmatched>,
    /// Rows given by each step, for `explain` and metrics.
    pub rows_out: BTreeMap<StepId, u64>,
    /// A step began and did not come to its end.
    faulted: bool,
    feed: Feed,
}

impl Instance {
    pub fn new(world: Arc<World>, index: usize, lanes: Vec<TaskLane>) -> Result<Self> {
        let site = world.graph.site(index);
        let mut steps = BTreeMap::new();
        let mut here = Vec::new();
        let mut senders = BTreeMap::new();
        for (id, step) in world.graph.steps.iter().enumerate().filter(|(_, s)| s.site == site) {
            here.extend(
                step.consumers
                    .iter()
                    .filter_map(|c| if let Consumer::Output(o) = c { Some(*o) } else { None }),
            );
            for port in &step.ports {
                if let Port::Edge(edge) = port {
                    let count = match world.graph.edges[*edge].from {
                        Site::Task => world.graph.tasks,
                        Site::Shard => world.graph.shards,
                    };
                    senders.insert(*edge, vec![vec![NOTHING; world.graph.edges[*edge].times]; count]);
                }
            }
            let failures = Failures::default();
            steps.insert(
                id,
                Running {
                    operator: world.graph.build(step, &failures)?,
                    failures,
                    pending: Vec::new(),
                    frontiers: step.port_times.iter().map(|n| vec![NOTHING; *n]).collect(),
                    moved: false,
                    given: vec![NOTHING; step.stream.times.len()],
                },
            );
        }
        let plan = Arc::clone(&world.graph.plan);
        let options = &world.options;
        let seat = match site {
            Site::Task => Seat::of_task(index),
            Site::Shard => Seat::of_shard(index - world.graph.tasks, world.controls.initial()),
        };
        let outputs = Outputs::new(&plan, &here, seat, options, &world.ports)?;
        let mut instance = Self {
            index,
            site,
            world,
            steps,
            lanes,
            outputs,
            senders,
            marks: 0,
            versions: 0,
            effective: BTreeMap::new(),
            unmatched: BTreeMap::new(),
            rows_out: BTreeMap::new(),
            faulted: false,
            feed: Feed::default(),
        };
        instance.absent_sources()?;
        Ok(instance)
    }

    /// A table without this partition has nothing to wait for here.
    fn absent_sources(&mut self) -> Result<()> {
        let world = Arc::clone(&self.world);
        for (id, step) in world.graph.steps.iter().enumerate() {
            if step.source.is_some() && self.site == Site::Task && !self.lanes.iter().any(|l| l.step == id) {
                self.give_frontier(id, vec![FOREVER; step.stream.times.len()])?;
            }
        }
        Ok(())
    }

    /// Fetches, works everything off, hands results on. True where anything happened.
    ///
    /// # Errors
    /// After one, what the instance holds is no state that a checkpoint may keep: see `sound`.
    pub fn step(&mut self, fetch: bool) -> Result<bool> {
        self.sound()?;
        self.faulted = true;
        let busy = if self.pay()? { self.step_through(fetch)? } else { false };
        self.faulted = false;
        Ok(busy)
    }

    /// An error where a step of this instance failed before it came to its end.
    pub fn sound(&self) -> Result<()> {
        if self.faulted {
            Err(Error::new(Code::Internal, "an instance goes on after a fault"))
        } else {
            Ok(())
        }
    }

    fn step_through(&mut self, fetch: bool) -> Result<bool> {
        let mut busy = self.receive()?;
        if self.site == Site::Task {
            busy |= self.take_in(fetch)?;
        }
        if self.owes().is_none() {
            busy |= self.control()?;
        }
        if self.owes().is_none() {
            busy |= self.frontiers_of_lanes()?;
            busy |= self.settle()?;
        }
        if busy && self.owes().is_none() {
            self.deliver()?;
            self.account();
        }
        Ok(busy)
    }

    fn account(&self) {
        let (mut own, mut feed) = (self.outputs.bytes(), 0);
        for (id, running) in &self.steps {
            let held = running.operator.as_ref().map_or(0, |o| o.bytes());
            *if self.feeds(self.world.graph.steps[*id].flow) { &mut feed } else { &mut own } += held;
        }
        for lane in &self.lanes {
            *if self.feeds(lane.flow) { &mut feed } else { &mut own } += lane.lane().bytes();
        }
        self.world.bytes[self.index].store(own, Ordering::Relaxed);
        if self.site == Site::Task {
            self.world.feed_bytes[self.index].store(feed, Ordering::Relaxed);
        }
    }

    /// Whether a task holds it for an exchange; shards are one account with what is before them.
    fn feeds(&self, flow: Flow) -> bool {
        self.site == Site::Task && flow == Flow::Exchange
    }

    fn receive(&mut self) -> Result<bool> {
        let messages = self.world.inboxes[self.index].take()?;
        let busy = !messages.is_empty();
        for (edge, from, message) in messages {
            let target = &self.world.graph.edges[edge];
            let (to, port) = (target.to, target.port);
            match message {
                Message::Rows(batch) => self.running(to)?.pending.push((port, batch)),
                Message::Frontier(frontiers) => {
                    let senders = self
                        .senders
                        .get_mut(&edge)
                        .ok_or_else(|| Error::new(Code::Internal, "an edge without senders"))?;
                    senders[from] = frontiers;
                    let least = (0..target.times)
                        .map(|t| senders.iter().map(|s| s[t]).min().unwrap_or(NOTHING))
                        .collect();
                    self.set_frontier(to, port, least)?;
                }
            }
        }
        Ok(busy)
    }

    fn running(&mut self, step: StepId) -> Result<&mut Running> {
        self.steps.get_mut(&step).ok_or_else(|| Error::new(Code::Internal, "a step that is not here"))
    }

    fn set_frontier(&mut self, step: StepId, port: usize, frontiers: Vec<i64>) -> Result<()> {
        let running = self.running(step)?;
        if running.frontiers[port] != frontiers {
            debug_assert!(
                running.frontiers[port].iter().zip(&frontiers).all(|(a, b)| a <= b),
                "a frontier moved back"
            );
            running.frontiers[port] = frontiers;
            running.moved = true;
        }
        Ok(())
    }

    fn frontiers_of_lanes(&mut self) -> Result<bool> {
        // Until the first versions are there, no as-of join can answer.
        let world = Arc::clone(&self.world);
        if world.graph.plan.relations.iter().any(|_| !world.controls.has_versions()) {
            return Ok(false);
        }
        let mut busy = false;
        for at in 0..self.lanes.len() {
            let (step, watermark) = (self.lanes[at].step, self.lanes[at].watermark());
            let times = world.graph.steps[step].stream.times.len();
            if self.running(step)?.given.first() != Some(&watermark) {
                self.give_frontier(step, vec![watermark; times])?;
                busy = true;
            }
        }
        Ok(busy)
    }

    /// Runs every operator that has rows or whose frontier moved, in topological order.
    fn settle(&mut self) -> Result<bool> {
        let ids: Vec<StepId> = self.steps.keys().copied().collect();
        let mut busy = false;
        for id in ids {
            let running = self.running(id)?;
            let Some(mut operator) = running.operator.take() else { continue };
            let pending = std::mem::take(&mut running.pending);
            let moved = std::mem::take(&mut running.moved);
            let frontiers = if moved { running.frontiers.clone() } else { Vec::new() };
            let mut out = Out::default();
            let worked = || -> Result<Option<Vec<i64>>> {
                for (port, batch) in pending {
                    busy = true;
                    operator.push(port, batch, &mut out)?;
                }
                if !moved {
                    return Ok(None);
                }
                busy = true;
                let slices: Vec<&[i64]> = frontiers.iter().map(Vec::as_slice).collect();
                operator.advance(&slices, &mut out).map(Some)
            };
            let given = worked();
            self.running(id)?.operator = Some(operator);
            let given = given?;
            if out.unmatched.rows > 0 {
                self.unmatched.entry(id).or_default().merge(out.unmatched);
            }
            self.refused(id, out.rejected)?;
            self.give(id, out.batches)?;
            if let Some(given) = given {
                self.give_frontier(id, given)?;
            }
        }
        Ok(busy)
    }

    fn give(&mut self, from: StepId, batches: Vec<RecordBatch>) -> Result<()> {
        let world = Arc::clone(&self.world);
        for batch in batches {
            if batch.num_rows() == 0 {
                continue;
            }
            *self.rows_out.entry(from).or_default() += batch.num_rows() as u64;
            for consumer in &world.graph.steps[from].consumers {
                match consumer {
                    Consumer::Port { step, port } => {
                        self.running(*step)?.pending.push((*port, batch.clone()))
                    }
                    Consumer::Edge(edge) => {
                        let parts = split(&world.graph.edges[*edge], &batch, world.graph.shards)?;
                        for (shard, part) in parts.into_iter().enumerate() {
                            if let Some(part) = part {
                                let inbox = &world.inboxes[world.graph.tasks + shard];
                                inbox.send(*edge, self.sender(), Message::Rows(part))?;
                            }
                        }
                    }
                    Consumer::Output(output) => self.outputs.push(*output, batch.clone())?,
                }
            }
        }
        Ok(())
    }

    /// This instance's number among the senders of an edge.
    fn sender(&self) -> usize {
        match self.site {
            Site::Task => self.index,
            Site::Shard => self.index - self.world.graph.tasks,
        }
    }

    fn give_frontier(&mut self, from: StepId, frontiers: Vec<i64>) -> Result<()> {
        let world = Arc::clone(&self.world);
        let running = self.running(from)?;
        if running.given == frontiers {
            return Ok(());
        }
        assert!(running.given.iter().zip(&frontiers).all(|(old, new)| old <= new), "a frontier moved back");
        running.given.clone_from(&frontiers);
        for consumer in &world.graph.steps[from].consumers {
            match consumer {
                Consumer::Port { step, port } => self.set_frontier(*step, *port, frontiers.clone())?,
                Consumer::Edge(edge) => {
                    for shard in 0..world.graph.shards {
                        let inbox = &world.inboxes[world.graph.tasks + shard];
                        inbox.send(*edge, self.sender(), Message::Frontier(frontiers.clone()))?;
                    }
                }
                Consumer::Output(output) => {
                    let observer = world.ports.observer.as_deref();
                    self.outputs.advance(*output, &frontiers, observer)?;
                }
            }
        }
        Ok(())
    }

    /// Nothing waits inside this instance or in its inbox.
    pub fn quiet(&self) -> Result<bool> {
        let calm = self.steps.values().all(|s| s.pending.is_empty() && (!s.moved || s.operator.is_none()));
        Ok(calm && self.feed.is_empty() && self.world.inboxes[self.index].is_empty()?)
    }

    /// How often expressions failed, by step.
    pub fn failures(&self) -> impl Iterator<Item = (StepId, u64)> {
        self.steps.iter().map(|(step, running)| (*step, running.failures.count()))
    }

    /// How many images were refused, by step.
    pub fn rejected(&self) -> impl Iterator<Item = (StepId, u64)> {
        let of = |running: &Running| running.operator.as_ref().map_or(0, |o| o.rejected());
        self.steps.iter().map(move |(step, running)| (*step, of(running)))
    }

    pub fn unmatched(&self) -> &BTreeMap<StepId, Unmatched> {
        &self.unmatched
    }

    /// The bounded inputs ended. What it says is committed by `deliver`.
    pub fn finish(&mut self, highest: i64) -> Result<()> {
        let world = Arc::clone(&self.world);
        self.outputs.finish(highest, world.ports.observer.as_deref())
    }
}
