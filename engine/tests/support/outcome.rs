//! What a run left behind: every output topic, and the report.
//!
//! Two outcomes of the same logs must be equal, whatever the run was like (law 1).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir_contract::event::{EventsHash, Id};
use weir_contract::{EventTime, wire};
use weir_engine::connect::memory::{MemoryLog, MemoryRecord};
use weir_engine::run::Report;
use weir_engine::watermark::Counts;

/// The outputs of a finished run, in a form that may be compared.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// By topic: lines, with their ids where they are not events; sorted.
    pub lines: BTreeMap<String, Vec<String>>,
    pub counts: BTreeMap<String, Counts>,
    pub events: BTreeMap<String, u64>,
    pub unmatched: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Outcome {
    /// Reads every output topic back.
    ///
    /// # Panics
    /// Where an id comes twice, an order is broken, or a row stands behind a heartbeat that passed it.
    pub fn read(log: &MemoryLog, topics: &[String], report: &Report) -> Outcome {
        let mut outcome = Outcome {
            counts: report.sources.clone(),
            events: report.events.clone(),
            unmatched: report.unmatched.clone(),
            ..Outcome::default()
        };
        for topic in topics {
            let mut records: Vec<Vec<MemoryRecord>> = Vec::new();
            for partition in 0..log.partition_count(topic).unwrap() {
                let read = log.records(topic, partition).unwrap();
                records.push(read.into_iter().map(|(_, record)| record).collect());
            }
            check_ids(topic, records.iter().flatten());
            let lines = if topic.contains(".events.") {
                event_lines(topic, &records)
            } else {
                records.iter().for_each(|r| check_heartbeats(topic, r));
                let mut lines: Vec<String> = records.iter().flatten().filter_map(line).collect();
                lines.sort();
                lines
            };
            outcome.lines.insert(topic.clone(), lines);
        }
        outcome
    }

    /// Where two outcomes differ first, in words; None where they are equal.
    pub fn difference(&self, other: &Outcome) -> Option<String> {
        for (topic, mine) in &self.lines {
            let theirs = other.lines.get(topic)?;
            if mine == theirs {
                continue;
            }
            let (a, b) = (mine.iter().collect::<BTreeSet<_>>(), theirs.iter().collect::<BTreeSet<_>>());
            let show =
                |of: Vec<&&String>| of.iter().take(3).map(|l| format!("\n    {l}")).collect::<String>();
            return Some(format!(
                "{topic}: {} and {} lines\n  only in the first:{}\n  only in the second:{}",
                mine.len(),
                theirs.len(),
                show(a.difference(&b).collect()),
                show(b.difference(&a).collect()),
            ));
        }
        for (what, same) in [
            (format!("counts {:?}\n{:?}", self.counts, other.counts), self.counts == other.counts),
            (format!("events {:?}\n{:?}", self.events, other.events), self.events == other.events),
            (
                format!("unmatched {:?}\n{:?}", self.unmatched, other.unmatched),
                self.unmatched == other.unmatched,
            ),
        ] {
            if !same {
                return Some(what);
            }
        }
        None
    }
}

fn line(record: &MemoryRecord) -> Option<String> {
    let id: Id = record.id()?;
    let value = String::from_utf8(record.value.clone().unwrap_or_default()).unwrap();
    Some(format!("{value} {id}"))
}

fn check_ids<'a>(topic: &str, records: impl Iterator<Item = &'a MemoryRecord>) {
    let mut seen = BTreeSet::new();
    for record in records {
        if let Some(id) = record.id() {
            let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
            assert!(seen.insert(id), "{topic}: id {id} is there twice: {value}");
        }
    }
}

/// No row stands behind a heartbeat that had passed its time.
fn check_heartbeats(topic: &str, records: &[MemoryRecord]) {
    let mut passed = i64::MIN;
    for record in records {
        match record.headers.iter().find(|(name, _)| name == wire::HEARTBEAT) {
            Some(_) => passed = passed.max(record.append_us),
            None => {
                let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
                assert!(
                    record.append_us >= passed || topic.starts_with("test."),
                    "{topic}: a row of {} stands behind a heartbeat of {}: {value}",
                    EventTime(record.append_us),
                    EventTime(passed)
                );
            }
        }
    }
}

/// The lines as their hash takes them. Events of one rule and key come by (decided_at, seq).
fn event_lines(topic: &str, partitions: &[Vec<MemoryRecord>]) -> Vec<String> {
    let mut hash = EventsHash::default();
    let mut last: BTreeMap<String, (i64, u64)> = BTreeMap::new();
    for record in partitions.iter().flatten() {
        let line = String::from_utf8(record.value.clone().unwrap_or_default()).unwrap();
        assert!(hash.add_line(&line).is_some(), "{topic}: not an event: {line}");
        let event: Value = serde_json::from_str(&line).unwrap();
        let decided = EventTime::parse(event["decided_at"].as_str().unwrap()).unwrap().0;
        let key = format!("{} {} {}", event["rule"], event["warehouse"], event["key"]);
        let place = (decided, event["seq"].as_u64().unwrap());
        if let Some(before) = last.insert(key, place) {
            assert!(before.0 <= decided, "{topic}: events of one key out of order: {line}");
        }
    }
    hash.sorted_lines().map(str::to_owned).collect()
}
