//! Logs from one seed: records and control records in the order in which the world wrote them.
//!
//! In:   a seed and how many records.
//! Out:  a [`World`]: data records of tables `a`, `b`, `c` (3 partitions each) with disorder, ties, NULLs,
//!       late rows, duplicates, rejects, heartbeats, stragglers; idle marks and reference changes, complete.
//!
//! W1  A control record is valid wherever a reader stands that saw only records before it: a mark's offset is
//!     the partition's end, a change takes effect after every frontier that those records can make.

use serde_json::{Map, Value, json};
use weir_contract::time::SECOND;
use weir_contract::{EventTime, wire};
use weir_engine::connect::memory::MemoryRecord;
use weir_engine::control::{Control, RowChange};

use super::rng::Rng;

/// Partitions of each source.
pub const PARTITIONS: u32 = 3;
/// Longest window of the programs, and some more: a window's row time is ahead of the input's frontier.
const AHEAD: i64 = 7 * SECOND;
const START: i64 = 1_700_000_000 * SECOND;

/// Tables: name, event-time column, lateness.
pub const TABLES: [(&str, &str, i64); 3] =
    [("a", "ts", SECOND), ("b", "at_ts", 5 * SECOND / 2), ("c", "c_ts", 0)];

/// One thing that the world wrote.
#[derive(Debug, Clone)]
pub enum Step {
    Data { table: usize, partition: u32, record: MemoryRecord },
    Control(Control),
}

#[derive(Debug)]
pub struct World {
    pub steps: Vec<Step>,
    /// Records of each table.
    pub records: [u64; 3],
}

struct Maker {
    rng: Rng,
    now: i64,
    world: World,
    ends: [[i64; PARTITIONS as usize]; 3],
    /// Rows lately written, for copies.
    lately: Vec<(usize, u32, MemoryRecord)>,
    rows: u64,
    /// Reference rows now.
    items: [Option<Map<String, Value>>; 5],
    members: Vec<(usize, usize)>,
    changes: i64,
    /// A partition of a table that says nothing between two steps.
    silent: Option<(usize, u32, usize, usize)>,
}

/// The world of a seed with about `size` records.
pub fn world(seed: u64, size: usize) -> World {
    let mut maker = Maker {
        rng: Rng::of(seed, "world"),
        now: START,
        world: World { steps: Vec::new(), records: [0; 3] },
        ends: [[0; 3]; 3],
        lately: Vec::new(),
        rows: 0,
        items: [const { None }; 5],
        members: Vec::new(),
        changes: 0,
        silent: None,
    };
    maker.first_rows();
    let rng = &mut maker.rng;
    if rng.percent(50) {
        let from = rng.below(size);
        let length = rng.below(size);
        maker.silent = Some((rng.below(3), rng.below(3) as u32, from, from + length));
    }
    // How fast the day goes: many ties, or few rows a window.
    let pace = rng.pick(&[20_000, 60_000, 150_000]);
    for at in 0..size {
        if maker.rng.percent(70) {
            maker.now += maker.rng.range(0, 2 * pace / 10_000) * 10_000;
        }
        maker.step(at);
    }
    // The last word is the control log's: whoever ends has to have read it.
    (0..PARTITIONS).for_each(|partition| maker.mark(0, partition));
    maker.world
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

impl Maker {
    fn step(&mut self, at: usize) {
        let (table, partition) = (self.rng.below(3), self.rng.below(PARTITIONS as usize) as u32);
        if self
            .silent
            .is_some_and(|(t, p, from, to)| (t, p) == (table, partition) && (from..to).contains(&at))
        {
            if self.rng.percent(10) {
                self.mark(table, partition);
            }
            return;
        }
        match self.rng.below(100) {
            0..82 => self.row(table, partition),
            82..87 => self.heartbeat(table, partition),
            87..92 => self.copy(),
            92..95 => self.reject(table, partition),
            95..97 => self.mark(table, partition),
            _ => self.change(),
        }
    }

    fn append(&mut self, table: usize, partition: u32, record: MemoryRecord) {
        self.ends[table][partition as usize] += 1;
        self.world.records[table] += 1;
        self.world.steps.push(Step::Data { table, partition, record });
    }

    fn event_time(&mut self, table: usize) -> i64 {
        let lateness = TABLES[table].2;
        let time = match self.rng.below(20) {
            0..8 => self.now,
            8..17 => self.now - self.rng.range(0, lateness),
            17 => self.now - lateness - self.rng.range(0, 5 * SECOND),
            18 => self.now - 60 * SECOND,
            _ => self.now + self.rng.range(0, 3 * SECOND),
        };
        time.div_euclid(50_000) * 50_000
    }

    fn row(&mut self, table: usize, partition: u32) {
        let time = EventTime(self.event_time(table)).to_string();
        let rng = &mut self.rng;
        // Partition p holds the warehouses whose number is p modulo the partitions.
        let warehouse = format!("W{}", u64::from(partition) + 3 * rng.below(2) as u64);
        let k = if rng.percent(5) { Value::Null } else { json!(format!("k{}", rng.below(6))) };
        let x = match rng.below(20) {
            0 => Value::Null,
            1 => json!(1e16),
            2 => json!(-1e16),
            3 => json!(1e-7),
            _ => json!(rng.range(-10, 30) as f64 / 10.0),
        };
        let n = if rng.percent(6) { Value::Null } else { json!(rng.range(-3, 6)) };
        self.rows += 1;
        let id = format!("e{}", self.rows);
        let (_, column, _) = TABLES[table];
        let mut row = object(json!({"event_id": id, "warehouse": warehouse, "k": k, column: time}));
        match table {
            0 => {
                row.insert("x".into(), x);
                row.insert("n".into(), n);
            }
            1 => drop(row.insert("y".into(), x)),
            _ => drop(row.insert("z".into(), n)),
        }
        let record = MemoryRecord::value(Value::Object(row).to_string()).at(self.now).key(warehouse);
        self.lately.push((table, partition, record.clone()));
        self.append(table, partition, record);
    }

    fn heartbeat(&mut self, table: usize, partition: u32) {
        let time = self.now - self.rng.pick(&[0, 0, SECOND]);
        let record =
            MemoryRecord::value("").at(self.now).header(wire::HEARTBEAT, EventTime(time).to_string());
        self.append(table, partition, record);
    }

    /// The same bytes again, from now.
    fn copy(&mut self) {
        let from = self.lately.len().saturating_sub(40);
        if let Some((table, partition, record)) = self.lately.get(from + self.rng.below(40)).cloned() {
            self.append(table, partition, record.at(self.now));
        }
    }

    fn reject(&mut self, table: usize, partition: u32) {
        let column = TABLES[table].1;
        let value = match self.rng.below(4) {
            0 => "{\"warehouse\": ".to_owned(),
            1 => json!({"event_id": "r", "warehouse": "W0", column: null}).to_string(),
            2 => json!({"event_id": "r", "warehouse": "W0", column: EventTime(self.now + 400 * SECOND).to_string()})
                .to_string(),
            _ => json!({"event_id": "r", column: EventTime(self.now).to_string()}).to_string(),
        };
        self.append(table, partition, MemoryRecord::value(value).at(self.now));
    }

    fn mark(&mut self, table: usize, partition: u32) {
        let (name, _, lateness) = TABLES[table];
        let watermark = self.now - lateness - self.rng.range(0, SECOND);
        let offset = self.ends[table][partition as usize];
        let mark = Control::Idle { table: name.into(), partition, offset, watermark };
        self.world.steps.push(Step::Control(mark));
    }

    fn item(&mut self, k: usize) -> Map<String, Value> {
        let rng = &mut self.rng;
        let grp = if rng.percent(20) { Value::Null } else { json!(format!("g{}", rng.below(3))) };
        let factor = json!(rng.range(1, 9) as f64 / 10.0);
        object(json!({"k": format!("k{k}"), "grp": grp, "factor": factor, "floor": rng.range(-3, 3)}))
    }

    fn member((k, unit): (usize, usize)) -> Map<String, Value> {
        object(json!({"k": format!("k{k}"), "unit_id": format!("u{unit}")}))
    }

    fn first_rows(&mut self) {
        let mut changes = Vec::new();
        for k in 0..4 {
            let item = self.item(k);
            self.items[k] = Some(item.clone());
            changes.push(RowChange { table: "items".into(), before: None, after: Some(item) });
        }
        for member in [(0, 0), (1, 0), (2, 0), (2, 1), (3, 1)] {
            self.members.push(member);
            changes.push(RowChange {
                table: "members".into(),
                before: None,
                after: Some(Self::member(member)),
            });
        }
        let first = Control::Reference { change: 0, asked_at: None, effective_at: Some(i64::MIN), changes };
        self.world.steps.push(Step::Control(first));
    }

    /// One transaction on the reference tables, in effect after everything that can be final now.
    fn change(&mut self) {
        let mut changes = Vec::new();
        for _ in 0..=self.rng.below(2) {
            if self.rng.percent(60) {
                let k = self.rng.below(5);
                let after = if self.rng.percent(25) { None } else { Some(self.item(k)) };
                let before = std::mem::replace(&mut self.items[k], after.clone());
                if before.is_some() || after.is_some() {
                    changes.push(RowChange { table: "items".into(), before, after });
                }
            } else {
                let member = (self.rng.below(5), self.rng.below(3));
                let known = self.members.iter().position(|m| *m == member);
                let row = Some(Self::member(member));
                let (before, after) = match known {
                    Some(at) => {
                        self.members.remove(at);
                        (row, None)
                    }
                    None => {
                        self.members.push(member);
                        (None, row)
                    }
                };
                changes.push(RowChange { table: "members".into(), before, after });
            }
        }
        if changes.is_empty() {
            return;
        }
        self.changes += 1;
        let effective_at = Some(self.now + AHEAD + self.changes);
        let record =
            Control::Reference { change: self.changes, asked_at: effective_at, effective_at, changes };
        self.world.steps.push(Step::Control(record));
    }
}
