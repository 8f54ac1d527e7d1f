//! A simulated day through the rule pack, in memory: no decode of files, no network, no disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use weir_contract::event::EventsHash;
use weir_contract::{Code, Error, Result, WallClock};
use weir_engine::connect::memory::{MemoryLog, MemoryRecord};
use weir_engine::control::{Control, RowChange};
use weir_engine::run::{Options, Ports, ReferenceChange, ReferenceTail, Report, Stop, run};
use weir_engine::sql::plan::plan;
use weir_engine::sql::{load, read};
use weir_sim::{Day, DayOptions, Item, Score, Topic, Truth};

/// What a day gave.
pub struct Outcome {
    pub report: Report,
    pub events: Vec<String>,
    pub sha256: String,
    pub score: Score,
    pub truth: Truth,
    pub records: u64,
}

struct Seed(Vec<RowChange>);

impl ReferenceTail for Seed {
    fn first(&mut self) -> Result<(i64, Vec<RowChange>)> {
        Ok((0, std::mem::take(&mut self.0)))
    }

    fn since(&mut self, _: i64) -> Result<Vec<ReferenceChange>> {
        Ok(Vec::new())
    }
}

/// The day's records in a log of their own.
pub struct Loaded {
    log: MemoryLog,
    reference: Vec<RowChange>,
    truth: Truth,
    records: u64,
}

const CONTROL: &str = "control";

pub fn load_day(options: DayOptions) -> Result<Loaded> {
    let log = MemoryLog::new();
    let partitions = options.partitions;
    for topic in Topic::of_day(options.shop) {
        log.create(topic.name(), partitions);
    }
    let control = log.control(CONTROL, 65);
    let mut day = Day::new(options);
    let insert = |(table, row): (&str, _)| RowChange { table: table.into(), before: None, after: Some(row) };
    let reference = day.reference_rows().into_iter().map(insert).collect();
    let (mut records, mut changes_seen) = (0, 0);
    while let Some(item) = day.next_item() {
        match item {
            Item::Record(r) => {
                records += 1;
                let mut record = MemoryRecord::value(r.value).at(r.append_us);
                if let Some(key) = r.key {
                    record = record.key(key);
                }
                for (name, value) in r.headers {
                    record = record.header(name, value);
                }
                log.append(r.topic, r.partition, record)?;
            }
            Item::Reference { effective_at, changes } => {
                changes_seen += 1;
                let changes = changes
                    .into_iter()
                    .map(|c| RowChange { table: c.table.into(), before: c.before, after: c.after })
                    .collect();
                let effective_at = Some(effective_at.0);
                control.append(
                    0,
                    &Control::Reference { change: changes_seen, asked_at: None, effective_at, changes },
                )?;
            }
            Item::Tick(_) => {}
        }
    }
    Ok(Loaded { log, reference, truth: day.truth().clone(), records })
}

/// Runs the rules of a folder over a loaded day.
pub fn run_day(loaded: &Loaded, rules: &Path, mut options: Options) -> Result<Outcome> {
    let one = |errors: Vec<Error>| {
        Error::new(Code::Plan, errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    let plan = plan(&read(&load(rules)?).map_err(one)?).map_err(one)?;
    options.external_control = true;
    let lines: Arc<Mutex<(EventsHash, Vec<String>)>> = Arc::default();
    let told = Arc::clone(&lines);
    let mut sources = BTreeMap::new();
    for table in &plan.sources {
        sources.insert(table.name.clone(), loaded.log.source(&table.name)?);
    }
    let ports = Ports {
        sources,
        targets: BTreeMap::new(),
        outputs: None,
        // Each run reads the day's changes after a first load of its own.
        control: Arc::new(First::new(loaded.log.control(CONTROL, 65), loaded.reference.clone())),
        reference: Some(Box::new(Seed(loaded.reference.clone()))),
        observer: Some(Arc::new(move |event| {
            if let Ok(mut held) = told.lock() {
                held.0.add(event);
                held.1.push(event.to_json_line());
            }
        })),
        clock: Arc::new(WallClock),
        until: None,
    };
    let stop = Stop::default();
    stop.drain();
    let report = run(plan, ports, options, &stop)?;
    let mut held = lines.lock().map_err(|_| Error::new(Code::Internal, "poisoned"))?;
    let events = std::mem::take(&mut held.1);
    let parsed: Vec<Value> = events.iter().filter_map(|l| serde_json::from_str(l).ok()).collect();
    Ok(Outcome {
        sha256: held.0.sha256(),
        score: Score::of(&loaded.truth, &parsed),
        truth: loaded.truth.clone(),
        records: loaded.records,
        events,
        report,
    })
}

/// A control log whose shared partition starts with the first load of the reference tables.
struct First {
    log: Arc<dyn weir_engine::control::ControlLog>,
    first: Control,
}

impl First {
    fn new(log: Arc<dyn weir_engine::control::ControlLog>, changes: Vec<RowChange>) -> Self {
        Self {
            log,
            first: Control::Reference { change: 0, asked_at: None, effective_at: Some(i64::MIN), changes },
        }
    }
}

impl weir_engine::control::ControlLog for First {
    fn append(&self, partition: u32, record: &Control) -> Result<i64> {
        self.log.append(partition, record)
    }

    fn read(&self, partition: u32, from: i64) -> Result<(Vec<(i64, Control)>, i64)> {
        if partition > 0 {
            return self.log.read(partition, from);
        }
        let (mut records, end) = self.log.read(0, (from - 1).max(0))?;
        if from == 0 {
            records.insert(0, (0, self.first.clone()));
        }
        Ok((records, end + 1))
    }

    fn partitions(&self) -> Result<u32> {
        self.log.partitions()
    }
}
