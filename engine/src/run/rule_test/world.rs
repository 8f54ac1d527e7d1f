//! The world of one test: its rows in a log in memory, the engine over them.
//!
//! In:   given rows, the script cut to them, its plan.
//! Out:  events and decisions as JSON objects, in the order of (event time, warehouse, key, seq).
//! Owns: the test's clock: which heartbeats come when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use weir_contract::event::{Event, canonical};
use weir_contract::time::SECOND;
use weir_contract::{Code, Error, EventTime, Result, WallClock, wire};

use super::file::RuleTest;
use super::given::{Change, Given, Row};
use crate::connect::memory::{MemoryLog, MemoryRecord};
use crate::control::{Control, RowChange};
use crate::run::options::{Options, Ports, Stop};
use crate::sql::catalog::TableSpec;
use crate::sql::plan::ir::Plan;

/// How far time runs after the last row given, where the test does not say.
const AFTER: i64 = 3_600 * SECOND;
const CONTROL: &str = "control";
const ENV: &str = "test";

/// What came, each as the JSON object of its contract.
#[derive(Debug, Default)]
pub struct Came {
    pub events: Vec<Map<String, Value>>,
    pub decisions: Vec<Map<String, Value>>,
}

pub fn run(given: &Given, plan: Plan, test: &RuleTest) -> Result<Came> {
    let log = MemoryLog::new();
    let last = given.streams.values().flatten().map(|r| r.append).max();
    let end = match (test.until, last) {
        (Some(until), _) => until.0,
        (None, Some(last)) => last + AFTER,
        (None, None) => {
            return Err(Error::new(Code::BadTest, "no stream is given, so the test has no time")
                .expected("a row in one of the streams that the rule reads, or a line `-- until: TIME`"));
        }
    };
    let mut sources = BTreeMap::new();
    for table in &plan.sources {
        log.create(&table.name, 1);
        let rows = given.streams.get(&table.name).map_or(&[][..], Vec::as_slice);
        fill(&log, table, rows, end)?;
        sources.insert(table.name.clone(), log.source(&table.name)?);
    }
    let control = log.control(CONTROL, 65);
    for record in changes(&given.references) {
        control.append(0, &record)?;
    }
    let told: Arc<Mutex<Vec<Event>>> = Arc::default();
    let hear = Arc::clone(&told);
    let outputs = log.clone();
    let ports = Ports {
        sources,
        targets: BTreeMap::new(),
        outputs: Some(Arc::new(move |topic: &str| {
            if outputs.partition_count(topic).is_err() {
                outputs.create(topic, 1);
            }
            outputs.sink(topic)
        })),
        control,
        reference: None,
        observer: Some(Arc::new(move |event| {
            hear.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
        })),
        clock: Arc::new(WallClock),
        until: None,
    };
    let options = Options {
        env: ENV.into(),
        program: "test".into(),
        workers: 1,
        shards: 1,
        external_control: true,
        decisions: true,
        ..Options::default()
    };
    let stop = Stop::default();
    stop.drain();
    let report = crate::run::run(plan, ports, options, &stop)?;
    for (table, counts) in &report.sources {
        if counts.rejects > 0 {
            let what =
                format!("{} rows of `given.{table}` cannot be read as rows of the table", counts.rejects);
            return Err(Error::new(Code::BadTest, what).expected("values that fit the columns"));
        }
    }
    let mut events = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    events.sort_by_key(|e| (e.event_time, e.warehouse.clone(), canonical(&e.key), e.seq));
    let object = |line: &str| match serde_json::from_str(line) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(Error::new(Code::Internal, "an event is not a JSON object")),
    };
    let events = events.iter().map(|e| object(&e.to_json_line())).collect::<Result<_>>()?;
    let mut decisions: Vec<Map<String, Value>> = Vec::new();
    let topic = format!("{ENV}.decisions");
    for partition in 0..log.partition_count(&topic).unwrap_or(0) {
        for (_, record) in log.records(&topic, partition)? {
            decisions.push(object(&String::from_utf8_lossy(&record.value.unwrap_or_default()))?);
        }
    }
    // Of one rule, so they stand in the order in which they were made: by time.
    let time = |d: &Map<String, Value>| {
        d.get("event_time").and_then(Value::as_str).and_then(EventTime::parse).map(|t| t.0)
    };
    decisions.sort_by_key(time);
    Ok(Came { events, decisions })
}

/// The rows in order of arrival, up to the end. A heartbeat in front of a row that comes late makes it late; the last one
/// brings the watermark to the end.
fn fill(log: &MemoryLog, table: &TableSpec, rows: &[Row], end: i64) -> Result<()> {
    let beat = |at: i64| {
        let time = EventTime(at).to_string();
        MemoryRecord::value("").at(at).header(wire::HEARTBEAT, time)
    };
    for row in rows.iter().filter(|r| r.append <= end) {
        if row.append > row.time {
            log.append(&table.name, 0, beat(row.append))?;
        }
        let value = Value::Object(row.value.clone()).to_string();
        // Whole milliseconds, rounded up: no row is ahead of its append time.
        let append = row.append.saturating_add(999);
        log.append(&table.name, 0, MemoryRecord::value(value).at(append))?;
    }
    let lateness = table.watermark.as_ref().map_or(0, |w| w.lateness);
    let last = end.saturating_add(lateness);
    log.append(&table.name, 0, beat(last).at(last.saturating_add(999)))?;
    Ok(())
}

/// The first load, then each change at its time.
fn changes(references: &BTreeMap<String, Vec<Change>>) -> Vec<Control> {
    let mut by_time: BTreeMap<i64, Vec<RowChange>> = BTreeMap::from([(i64::MIN, Vec::new())]);
    for (table, changes) in references {
        for change in changes {
            let rows = change.rows.iter();
            let insert = |row: &Map<String, Value>| RowChange {
                table: table.clone(),
                before: None,
                after: Some(row.clone()),
            };
            by_time.entry(change.effective_at).or_default().extend(rows.map(insert));
        }
    }
    let numbered = (0..).zip(by_time);
    let record = |(change, (at, changes))| Control::Reference {
        change,
        asked_at: None,
        effective_at: Some(at),
        changes,
    };
    numbered.map(record).collect()
}
