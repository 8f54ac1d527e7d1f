//! Logs drawn from a seed, and runs over them under a drawn shape.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use weir_contract::{EventTime, WallClock};
use weir_engine::connect::memory::{MemoryLog, MemoryRecord};
use weir_engine::control::{Control, RowChange};
use weir_engine::operators::Unmatched;
use weir_engine::run::{Options, Ports, Stop, run};
use weir_engine::sql::plan::ir::{Output, Plan};
use weir_engine::sql::plan::narrow;
use weir_engine::watermark::Counts;

/// Topics that weir writes beside the program's own.
const SIDE: [&str; 6] =
    ["t.events.laws", "t.decisions", "t.a.late", "t.b.late", "t.a.rejected", "t.b.rejected"];
const PARTITIONS: u32 = 3;
const SECOND: i64 = 1_000_000;
/// 2026-03-01T08:00:00Z.
const START: i64 = 1_772_352_000_000_000;

/// A small generator (SplitMix64, S. Vigna).
#[derive(Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// How a run is computed; none of it may show.
#[derive(Debug, Clone)]
pub struct Shape {
    pub workers: usize,
    pub shards: usize,
    pub batch_rows: usize,
    memory_bytes: usize,
    /// Releases records to the readers step by step.
    trickle: Option<u64>,
    breaks: Vec<Break>,
    /// The sources end, which closes every window.
    bounded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// Ends cleanly once that share (of 256) of each partition is read.
    Stop(u64),
    /// Dies some time after that share was released.
    Kill(u64),
}

impl Shape {
    pub fn reference() -> Self {
        Self {
            workers: 1,
            shards: 1,
            batch_rows: 8192,
            memory_bytes: 64 << 20,
            trickle: None,
            breaks: vec![],
            bounded: false,
        }
    }

    /// The reference over sources that end.
    #[allow(dead_code)]
    pub fn bounded() -> Self {
        Self { bounded: true, ..Self::reference() }
    }

    pub fn drawn(seed: u64, n: u64) -> Self {
        let mut chance = Chance::new(seed * 2 + n + 77);
        // Workers, shards and batch size go through all combinations; the rest is by chance.
        let turn = (seed * 2 + n) as usize;
        let breaks = (0..chance.below(3))
            .map(|_| {
                let share = chance.below(256);
                if chance.one_in(2) { Break::Stop(share) } else { Break::Kill(share) }
            })
            .collect();
        Self {
            workers: [1, 2, 4][turn % 3],
            shards: [1, 3][turn / 3 % 2],
            batch_rows: [1, 7, 64, 8192][turn / 6 % 4],
            memory_bytes: if chance.one_in(3) { 1 } else { 64 << 20 },
            trickle: chance.one_in(2).then(|| chance.next()),
            breaks,
            bounded: false,
        }
    }
}

pub struct Outcome {
    /// Sorted records of each topic.
    pub outputs: BTreeMap<String, Vec<String>>,
    pub counts: BTreeMap<String, Counts>,
    /// Keys that reference tables did not hold.
    pub unknown: BTreeMap<String, Unmatched>,
    /// Expressions that failed.
    pub failed: BTreeMap<String, u64>,
    /// Rows that inner reference joins dropped, by output and table.
    pub unmatched: BTreeMap<String, BTreeMap<String, u64>>,
}

/// The logs of one case.
pub struct World {
    records: BTreeMap<(&'static str, u32), Vec<MemoryRecord>>,
    control: Vec<Control>,
}

fn row(k: &str, v: u64, g: u64) -> Map<String, Value> {
    match json!({"k": k, "v": v as f64 / 4.0, "g": format!("g{g}")}) {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut records: BTreeMap<(&'static str, u32), Vec<MemoryRecord>> = BTreeMap::new();
        for table in ["a", "b"] {
            for partition in 0..PARTITIONS {
                let count = 20 + chance.below(130);
                let list = Self::partition(&mut chance, table, partition, count);
                records.insert((table, partition), list);
            }
        }
        let control = Self::control(&mut chance, &records);
        Self { records, control }
    }

    fn partition(chance: &mut Chance, table: &str, partition: u32, count: u64) -> Vec<MemoryRecord> {
        let mut out: Vec<MemoryRecord> = Vec::new();
        let mut append = START + chance.below(4) as i64 * SECOND;
        for n in 0..count {
            append += [0, 1, 250, 400, 1_000][chance.below(5) as usize] * 1_000;
            if chance.one_in(60) {
                append += 20 * SECOND;
            }
            if n > 0 && chance.one_in(12) {
                // The producer sends it again.
                let copy = out[chance.below(n) as usize].clone();
                out.push(MemoryRecord { append_us: append, ..copy });
                continue;
            }
            let mut delay = chance.below(2_000) as i64 * 1_000;
            if chance.one_in(15) {
                delay = chance.below(20_000) as i64 * 1_000;
            }
            // Whole half seconds, so that ties occur; some miss one by the least there is.
            let miss = [0, 0, 0, 0, 0, 0, -1, 1][chance.below(8) as usize];
            let time = EventTime((append - delay).div_euclid(500_000) * 500_000 + miss);
            let warehouse = format!("W{}", partition + PARTITIONS * chance.below(2) as u32);
            let k = if chance.one_in(20) { Value::Null } else { json!(format!("k{}", chance.below(4))) };
            let x = (!chance.one_in(10)).then(|| chance.below(1_000) as f64 / 97.0);
            let value = match (table, chance.below(40)) {
                (_, 0) => "{\"warehouse\": 1".to_owned(),
                (_, 1) => {
                    json!({"warehouse": warehouse, "ts": "soon", "at_ts": "soon", "id": "x"}).to_string()
                }
                ("a", _) => json!({"warehouse": warehouse, "id": format!("{partition}/{n}"), "k": k,
                                   "n": chance.below(9), "x": x, "ts": time.to_string()})
                .to_string(),
                _ => json!({"warehouse": warehouse, "k": k, "y": x, "at_ts": time.to_string()}).to_string(),
            };
            let record = MemoryRecord::value(value).at(append);
            let beat = chance.one_in(10);
            out.push(record);
            if beat {
                let at = EventTime(append).to_string();
                out.push(MemoryRecord::value("").at(append).header(weir_contract::wire::HEARTBEAT, at));
            }
        }
        out
    }

    /// First load, changes, idle marks: complete, and there before the first record.
    fn control(
        chance: &mut Chance,
        records: &BTreeMap<(&'static str, u32), Vec<MemoryRecord>>,
    ) -> Vec<Control> {
        let mut rows: BTreeMap<String, Map<String, Value>> =
            (0..3).map(|n| (format!("k{n}"), row(&format!("k{n}"), n, n % 2))).collect();
        let change = |table: &str, before, after| RowChange { table: table.into(), before, after };
        let first = rows.values().map(|r| change("r", None, Some(r.clone()))).collect();
        let mut out = vec![Control::Reference {
            change: 0,
            asked_at: None,
            effective_at: Some(i64::MIN),
            changes: first,
        }];
        let mut at = START;
        for n in 1..=chance.below(5) as i64 {
            at += chance.below(30) as i64 * SECOND;
            let k = format!("k{}", chance.below(4));
            let before = rows.get(&k).cloned();
            let after =
                (before.is_none() || !chance.one_in(3)).then(|| row(&k, chance.below(50), chance.below(2)));
            match &after {
                Some(r) => rows.insert(k, r.clone()),
                None => rows.remove(&k),
            };
            let changes = vec![change("r", before, after)];
            out.push(Control::Reference { change: n, asked_at: None, effective_at: Some(at), changes });
        }
        for ((table, partition), list) in records {
            if chance.one_in(3) {
                let offset = chance.below(list.len() as u64) as usize;
                let watermark = list[offset].append_us - 3 * SECOND + chance.below(5) as i64 * SECOND;
                out.push(Control::Idle {
                    table: (*table).into(),
                    partition: *partition,
                    offset: offset as i64,
                    watermark,
                });
            }
        }
        out
    }

    #[allow(dead_code)]
    pub fn control_records(&self) -> &[Control] {
        &self.control
    }

    /// A log with the records of both sources.
    pub fn log(&self) -> MemoryLog {
        let log = MemoryLog::new();
        for table in ["a", "b"] {
            log.create(table, PARTITIONS);
        }
        for ((table, partition), list) in &self.records {
            for record in list {
                log.append(table, *partition, record.clone()).unwrap();
            }
        }
        log
    }

    pub fn run(&self, plan: &Plan, shape: &Shape) -> Outcome {
        let log = self.log();
        let targets: Vec<String> = plan
            .outputs
            .iter()
            .filter_map(
                |o| if let Output::Insert { target, .. } = o { Some(target.name.clone()) } else { None },
            )
            .collect();
        for table in ["a", "b"] {
            log.set_bounded(table, shape.bounded).unwrap();
        }
        for name in targets.iter().map(String::as_str).chain(SIDE) {
            log.create(name, 16);
        }
        let control = log.control("control", 16);
        for record in &self.control {
            control.append(0, record).unwrap();
        }
        let data = (!shape.breaks.is_empty()).then(|| tempfile::tempdir().unwrap());
        let options = Options {
            env: "t".into(),
            program: "laws".into(),
            workers: shape.workers,
            shards: shape.shards,
            batch_rows: shape.batch_rows,
            memory_bytes: shape.memory_bytes,
            data: data.as_ref().map(|d| d.path().to_owned()),
            checkpoint_every: Duration::from_millis(3),
            external_control: true,
            decisions: true,
            ..Options::default()
        };
        let start = |stop: &Stop| {
            let outputs = log.clone();
            let ports = Ports {
                sources: ["a", "b"].map(|t| (t.to_owned(), log.source(t).unwrap())).into(),
                targets: targets.iter().map(|t| (t.clone(), log.sink(t).unwrap())).collect(),
                outputs: Some(Arc::new(move |topic: &str| outputs.sink(topic))),
                control: log.control("control", 16),
                reference: None,
                observer: None,
                clock: Arc::new(WallClock),
                until: None,
            };
            run(narrow(plan.clone()).unwrap(), ports, options.clone(), stop).unwrap()
        };
        for place in &shape.breaks {
            let (Break::Stop(share) | Break::Kill(share)) = *place;
            for ((table, partition), list) in &self.records {
                log.release(table, *partition, Some((list.len() as u64 * share / 256) as i64)).unwrap();
            }
            let stop = Stop::default();
            match place {
                Break::Stop(_) => {
                    stop.drain();
                    start(&stop);
                }
                Break::Kill(_) => std::thread::scope(|scope| {
                    let killer = stop.clone();
                    scope.spawn(move || {
                        std::thread::sleep(Duration::from_micros(share * 97));
                        killer.kill();
                    });
                    start(&stop);
                    log.kill();
                }),
            }
        }
        let stop = Stop::default();
        let report = match shape.trickle {
            None => {
                self.release_all(&log);
                stop.drain();
                start(&stop)
            }
            Some(seed) => std::thread::scope(|scope| {
                let (feeder, stop) = (log.clone(), &stop);
                scope.spawn(move || {
                    let mut chance = Chance::new(seed);
                    let keys: Vec<_> = self.records.keys().collect();
                    let mut limits: BTreeMap<_, i64> = keys.iter().map(|k| (**k, 0)).collect();
                    for _ in 0..60 {
                        let key = *keys[chance.below(keys.len() as u64) as usize];
                        let limit = limits.entry(key).or_default();
                        *limit += chance.below(40) as i64;
                        let limit = (*limit).min(self.records[&key].len() as i64);
                        feeder.release(key.0, key.1, Some(limit)).unwrap();
                        std::thread::sleep(Duration::from_micros(chance.below(300)));
                    }
                    self.release_all(&feeder);
                    stop.drain();
                });
                start(stop)
            }),
        };
        let (unknown, failed, unmatched) = (report.unknown, report.failed, report.unmatched);
        Outcome { outputs: self.read(&log, &targets), counts: report.sources, unknown, failed, unmatched }
    }

    fn release_all(&self, log: &MemoryLog) {
        for (table, partition) in self.records.keys() {
            log.release(table, *partition, None).unwrap();
        }
    }

    /// Every record of every output, sorted: a multiset, so a doubled record shows.
    fn read(&self, log: &MemoryLog, targets: &[String]) -> BTreeMap<String, Vec<String>> {
        let topics = targets.iter().map(String::as_str);
        let topics = topics.chain(SIDE);
        let mut out = BTreeMap::new();
        for topic in topics {
            let mut lines = Vec::new();
            for partition in 0..log.partition_count(topic).unwrap_or(0) {
                for (_, record) in log.records(topic, partition).unwrap() {
                    let value = record.value.unwrap_or_default();
                    if !value.is_empty() {
                        lines.push(String::from_utf8(value).unwrap());
                    }
                }
            }
            if !lines.is_empty() {
                lines.sort();
                out.insert(topic.to_owned(), lines);
            }
        }
        out
    }
}
