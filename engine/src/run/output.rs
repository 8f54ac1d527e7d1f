//! The end of the plan: rows become events or records and go to their sinks.
//!
//! Owns: one writer of each output, and which re-made records are there already (semantics 10).
//!
//! O1  A record whose id was read back after the restart is dropped, and counted.
//! O2  Nothing is committed after a fault.

mod rows;
mod writer;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use weir_contract::event::{Event, Id};
use weir_contract::{Code, Error, EventTime, Result, wire};

use self::rows::records;
pub use self::rows::row_json;
pub use self::writer::Writer;
use super::options::{Options, Ports};
use crate::base::{FOREVER, NOTHING, StreamSchema};
use crate::episodes::{Decide, DecideSpec, Decision, InputRange};
use crate::rules::Rule;
use crate::sink::{FROM_START, OutRecord, SinkEnds};
use crate::sql::plan::ir::{Output, Plan};
use crate::state::{Loader, Saver};

/// An INSERT writes its frontier as a heartbeat when it moved this far.
const HEARTBEAT_EVERY: i64 = weir_contract::time::SECOND;

enum End {
    Rule { decide: Box<Decide>, rule: String, time: usize },
    Insert { stream: StreamSchema, visible: usize, version: String, rows: u64, heartbeat: i64, frontier: i64 },
}

/// What an instance is called towards outputs. It stays so for the life of a program, however many tasks join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The output partition of rows and heartbeats.
    pub partition: u32,
    /// The last word of its writers' names.
    pub name: String,
}

impl Seat {
    pub fn of_task(task: usize) -> Self {
        Self { partition: task as u32, name: task.to_string() }
    }

    /// Shards write behind the tasks that the program began with.
    pub fn of_shard(shard: usize, initial: usize) -> Self {
        Self { partition: (initial + shard) as u32, name: format!("shard-{shard}") }
    }

    fn writer(&self, options: &Options, topic: &str) -> String {
        format!("{}.{}.{topic}.{}", options.env, options.program, self.name)
    }
}

/// All outputs of one instance.
pub struct Outputs {
    ends: Vec<Option<(End, String)>>,
    pub writers: BTreeMap<String, Writer>,
    pub events: BTreeMap<String, u64>,
    seat: Seat,
    /// The run goes on from a checkpoint.
    restored: bool,
    /// Highest time of what an earlier process told beyond the cut; side streams do not count.
    told: i64,
    /// Ids from the checkpoint, until their writers are open.
    remembered: BTreeMap<String, HashSet<Id>>,
    /// The topic of decisions, where they are asked for.
    decisions: String,
    /// Records of side streams (late, rejected) that are not open yet, with their writer's name.
    sides: BTreeMap<String, (String, Vec<OutRecord>)>,
    /// Records of side streams were handed over since the last commit.
    sided: bool,
}

/// The topic of a rule's events.
pub fn topic_of(env: &str, program: &str, folder: &str) -> String {
    format!("{env}.events.{}", if folder.is_empty() { program } else { folder })
}

/// Columns that SQL sees: those before the first hidden one.
pub fn visible_columns(stream: &StreamSchema) -> usize {
    stream.schema.fields().iter().take_while(|f| !f.name().starts_with("__")).count()
}

impl Outputs {
    /// `here` says which outputs end in this instance.
    pub fn new(plan: &Plan, here: &[usize], seat: Seat, options: &Options, ports: &Ports) -> Result<Self> {
        let (env, program) = (&options.env, &options.program);
        let mut ends: Vec<Option<(End, String)>> = plan.outputs.iter().map(|_| None).collect();
        let mut writers = BTreeMap::new();
        for at in here {
            let node = &plan.nodes[plan.outputs[*at].node()];
            let (end, name, factory) = match &plan.outputs[*at] {
                Output::Rule { spec, .. } => {
                    let rule = Arc::new(Rule::new(spec, &node.stream)?);
                    let event_time = rule.columns.time;
                    let decide = Decide::new(DecideSpec {
                        delay: node.delays[event_time],
                        event_time,
                        inputs: node
                            .ranges
                            .iter()
                            .map(|(table, (before, after))| InputRange {
                                table: table.clone(),
                                before: *before,
                                after: *after,
                            })
                            .collect(),
                        input: node.stream.clone(),
                        rule,
                        keep_decisions: options.decisions,
                    })?;
                    let topic = topic_of(env, program, &spec.folder);
                    let factory = ports.outputs.as_ref().map(|open| open(&topic)).transpose()?;
                    (
                        End::Rule { decide: Box::new(decide), rule: spec.name.clone(), time: event_time },
                        topic,
                        factory,
                    )
                }
                Output::Insert { target, .. } => {
                    let end = End::Insert {
                        visible: visible_columns(&node.stream),
                        stream: node.stream.clone(),
                        version: plan.outputs[*at].statement(),
                        rows: 0,
                        heartbeat: NOTHING,
                        frontier: NOTHING,
                    };
                    (end, target.name.clone(), ports.targets.get(&target.name).cloned())
                }
            };
            if !writers.contains_key(&name) {
                let writer = Writer::open(factory.as_ref(), &seat.writer(options, &name))?;
                writers.insert(name.clone(), writer);
            }
            ends[*at] = Some((end, name));
        }
        let decisions = format!("{env}.decisions");
        if options.decisions && ends.iter().flatten().any(|(end, _)| matches!(end, End::Rule { .. })) {
            let factory = ports.outputs.as_ref().map(|open| open(&decisions)).transpose()?;
            let writer = Writer::open(factory.as_ref(), &seat.writer(options, &decisions))?;
            writers.insert(decisions.clone(), writer);
        }
        Ok(Self {
            ends,
            writers,
            events: BTreeMap::new(),
            seat,
            restored: false,
            told: NOTHING,
            remembered: BTreeMap::new(),
            decisions,
            sides: BTreeMap::new(),
            sided: false,
        })
    }

    /// Records for a side stream (late, rejected) of a table. A commit opens it at its first record:
    /// only there may a peer be away.
    pub fn side(&mut self, topic: &str, records: Vec<OutRecord>, options: &Options) -> Result<()> {
        self.sided = true;
        if let Some(writer) = self.writers.get_mut(topic) {
            return writer.write(records);
        }
        let writer = || (self.seat.writer(options, topic), Vec::new());
        let (_, waiting) = self.sides.entry(topic.to_owned()).or_insert_with(writer);
        waiting.extend(records);
        Ok(())
    }

    /// Whether a commit writes to side streams.
    pub fn has_sides(&self) -> bool {
        self.sided
    }

    fn open_sides(&mut self, ports: &Ports) -> Result<()> {
        while let Some((topic, (name, _))) = self.sides.first_key_value() {
            let (topic, name) = (topic.clone(), name.clone());
            let factory = ports.outputs.as_ref().map(|open| open(&topic)).transpose()?;
            let mut writer = Writer::open_late(factory.as_ref(), &name)?;
            if self.restored {
                // First opened after the checkpoint: whatever is there may be re-made.
                let whole = writer.ends()?.into_iter().map(|(p, _)| (p, FROM_START)).collect();
                writer.read_back(&whole)?;
            }
            if let Some((_, records)) = self.sides.remove(&topic) {
                writer.write(records)?;
            }
            self.writers.insert(topic, writer);
        }
        Ok(())
    }

    pub fn push(&mut self, output: usize, batch: RecordBatch) -> Result<()> {
        let Some((end, name)) = &mut self.ends[output] else { return Ok(()) };
        match end {
            End::Rule { decide, .. } => decide.push(batch),
            End::Insert { stream, visible, version, rows, .. } => {
                *rows += batch.num_rows() as u64;
                let Some(writer) = self.writers.get_mut(name) else { return Ok(()) };
                if writer.discards {
                    writer.written += batch.num_rows() as u64;
                    return Ok(());
                }
                let records = records(stream, *visible, version, self.seat.partition, &batch)?;
                writer.write(records)
            }
        }
    }

    /// The frontiers of an output's stream moved.
    pub fn advance(
        &mut self,
        output: usize,
        frontiers: &[i64],
        observer: Option<&super::options::Observer>,
    ) -> Result<()> {
        let Some((end, name)) = &mut self.ends[output] else { return Ok(()) };
        match end {
            End::Rule { decide, rule, time } => {
                let mut events = Vec::new();
                decide.advance(frontiers[*time], &mut events)?;
                tell(&mut self.events, rule, &events, observer);
                record(self.writers.get_mut(&self.decisions), decide.take_decisions())?;
                send(self.writers.get_mut(name), events)
            }
            End::Insert { stream, heartbeat, frontier, .. } => {
                *frontier = frontiers[stream.row_time];
                let due = *frontier != FOREVER
                    && *frontier != NOTHING
                    && *frontier >= heartbeat.saturating_add(HEARTBEAT_EVERY);
                let Some(writer) = self.writers.get_mut(name).filter(|w| due && !w.discards) else {
                    return Ok(());
                };
                // A heartbeat may not pass a row that is still to come: the frontier is the next row's least time.
                *heartbeat = *frontier;
                let time = EventTime(*frontier).to_string();
                writer.write(vec![OutRecord {
                    id: None,
                    partition: Some(self.seat.partition),
                    key: Vec::new(),
                    value: Vec::new(),
                    headers: vec![(wire::HEARTBEAT.into(), time.into_bytes())],
                    time_us: Some(*frontier),
                }])
            }
        }
    }

    /// The bounded inputs ended: timers run to the highest event time of the program.
    pub fn finish(&mut self, highest: i64, observer: Option<&super::options::Observer>) -> Result<()> {
        for (end, name) in self.ends.iter_mut().flatten() {
            if let End::Rule { decide, rule, .. } = end {
                let mut events = Vec::new();
                decide.finish(highest, &mut events)?;
                tell(&mut self.events, rule, &events, observer);
                record(self.writers.get_mut(&self.decisions), decide.take_decisions())?;
                send(self.writers.get_mut(name), events)?;
            }
        }
        Ok(())
    }

    /// Everything that was handed over is durable and visible when it returns. After `W0401` or
    /// `W0505` it may be called again.
    pub fn commit(&mut self, ports: &Ports) -> Result<()> {
        self.open_sides(ports)?;
        self.writers.values_mut().try_for_each(Writer::commit)?;
        self.sided = false;
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        self.ends
            .iter()
            .flatten()
            .map(|(end, _)| if let End::Rule { decide, .. } = end { decide.bytes() } else { 0 })
            .sum()
    }

    pub fn sink_ends(&mut self) -> Result<BTreeMap<String, SinkEnds>> {
        self.writers.iter_mut().map(|(name, w)| Ok((name.clone(), w.ends()?))).collect()
    }

    /// Learns what the outputs hold since a checkpoint; its side streams are opened again.
    pub fn read_back(
        &mut self,
        from: &BTreeMap<String, SinkEnds>,
        options: &Options,
        ports: &Ports,
    ) -> Result<()> {
        self.restored = true;
        for (name, from) in from {
            let side = !self.writers.contains_key(name);
            if side {
                let factory = ports.outputs.as_ref().map(|open| open(name)).transpose()?;
                let writer = Writer::open(factory.as_ref(), &self.seat.writer(options, name))?;
                self.writers.insert(name.clone(), writer);
            }
            if let Some(writer) = self.writers.get_mut(name) {
                writer.read_back(from)?;
                self.told = if side { self.told } else { self.told.max(writer.told) };
                writer.seen.extend(self.remembered.remove(name).unwrap_or_default());
            }
        }
        // Asked for since that checkpoint: whatever is there may be re-made.
        if let Some(writer) =
            self.writers.get_mut(&self.decisions).filter(|_| !from.contains_key(&self.decisions))
        {
            let whole = writer.ends()?.into_iter().map(|(p, _)| (p, FROM_START)).collect();
            writer.read_back(&whole)?;
        }
        Ok(())
    }

    /// Learns what the outputs of a copy's partition hold since another one kept their ends.
    pub fn take_over(&mut self, ends: &BTreeMap<String, i64>) -> Result<()> {
        self.restored = true;
        let partition = self.seat.partition;
        self.writers.iter_mut().try_for_each(|(name, writer)| {
            writer.take_over(partition, ends.get(name).copied().unwrap_or(FROM_START))
        })
    }

    /// The ends that a copy keeps; side streams have none, and are read back whole.
    pub fn kept(&mut self, watermark: i64) -> Result<BTreeMap<String, i64>> {
        let partition = self.seat.partition;
        let ends = self.writers.iter_mut().map(|(name, writer)| {
            Ok(writer.kept(partition, name, watermark)?.map(|end| (name.clone(), end)))
        });
        ends.filter_map(Result::transpose).collect()
    }

    /// A change of reference tables may not take effect at or below this time: rows up to it were told.
    pub fn told(&self) -> i64 {
        self.told
    }

    /// Whether an earlier process told something beyond its last cut: some of it may not be made again so far.
    pub fn repeats(&self) -> bool {
        self.told != NOTHING || self.writers.values().any(|writer| !writer.seen.is_empty())
    }

    pub fn snapshot(&mut self, into: &mut Saver) -> Result<()> {
        into.i64(self.told);
        for (end, _) in self.ends.iter_mut().flatten() {
            match end {
                End::Rule { decide, .. } => decide.snapshot(into)?,
                End::Insert { heartbeat, frontier, rows, .. } => {
                    into.i64(*heartbeat);
                    into.i64(*frontier);
                    into.u64(*rows);
                }
            }
        }
        into.u64(self.events.len() as u64);
        for (rule, count) in &self.events {
            into.text(rule);
            into.u64(*count);
        }
        // Records that stand in an output beyond this cut and were not made again yet: the ends in the
        // manifest are behind them, so that reading back alone would not find them a second time.
        into.u64(self.writers.len() as u64);
        for (name, writer) in &self.writers {
            into.text(name);
            into.u64(writer.seen.len() as u64);
            writer.seen.iter().for_each(|id| into.bytes(&id.0));
        }
        Ok(())
    }

    pub fn restore(&mut self, from: &mut Loader<'_>) -> Result<()> {
        self.told = from.i64()?;
        for (end, _) in self.ends.iter_mut().flatten() {
            match end {
                End::Rule { decide, .. } => decide.restore(from)?,
                End::Insert { heartbeat, frontier, rows, .. } => {
                    *heartbeat = from.i64()?;
                    *frontier = from.i64()?;
                    *rows = from.u64()?;
                }
            }
        }
        for _ in 0..from.u64()? {
            let rule = from.text()?.to_owned();
            self.events.insert(rule, from.u64()?);
        }
        for _ in 0..from.u64()? {
            let name = from.text()?.to_owned();
            for _ in 0..from.u64()? {
                let id = from.bytes()?.try_into().map_err(|_| Error::new(Code::Damaged, "not an id"))?;
                self.remembered.entry(name.clone()).or_default().insert(Id(id));
            }
        }
        Ok(())
    }
}

fn tell(
    counts: &mut BTreeMap<String, u64>,
    rule: &str,
    events: &[Event],
    observer: Option<&super::options::Observer>,
) {
    if events.is_empty() {
        return;
    }
    *counts.entry(rule.to_owned()).or_default() += events.len() as u64;
    if let Some(observer) = observer {
        events.iter().for_each(observer);
    }
}

fn record(writer: Option<&mut Writer>, decisions: Vec<Decision>) -> Result<()> {
    let Some(writer) = writer.filter(|_| !decisions.is_empty()) else { return Ok(()) };
    let record = |decision: Decision| OutRecord {
        id: Some(decision.id),
        partition: None,
        key: decision.key.into_bytes(),
        value: decision.line.into_bytes(),
        headers: vec![],
        time_us: Some(decision.decided_at),
    };
    writer.write(decisions.into_iter().map(record).collect())
}

fn send(writer: Option<&mut Writer>, events: Vec<Event>) -> Result<()> {
    let Some(writer) = writer.filter(|_| !events.is_empty()) else { return Ok(()) };
    let records = events
        .iter()
        .map(|event| OutRecord {
            id: Some(event.event_id),
            partition: None,
            key: event.message_key().into_bytes(),
            value: event.to_json_line().into_bytes(),
            headers: vec![(wire::VERSION.into(), wire::EVENT_VERSION.to_string().into_bytes())],
            time_us: Some(event.decided_at.0),
        })
        .collect();
    writer.write(records)
}
