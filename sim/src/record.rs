//! Records as a log gets them, and the order in which they reach it.
//!
//! In:   rows with an event time and the moment at which their producer appends them.
//! Out:  items in append order over all topics, with a heartbeat per second, topic and lane.
//! Owns: records made and not yet appended.
//!
//! A lane is one producer of a topic: a warehouse, or a partition that holds none. A heartbeat's time
//! is the lesser of the clock and the oldest unsent record of its topic and lane. Records that a
//! planted fault holds back do not count there: their device cannot speak for itself.
//!
//! O1  Append times never go back.
//! O2  A record without a fault is never late: no heartbeat of its lane overtakes it, and its delay
//!     is below the lateness of its topic, so no neighbour in its partition does either.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt::Write as _;

use serde_json::{Map, Value};
use weir_contract::EventTime;

/// A topic of the simulated floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    Scans,
    Detections,
    DeviceHealth,
    WmsLevels,
    PlcCounters,
    LaborStaffing,
    OrderLines,
    InventoryEvents,
}

/// All topics, in the order of `Topic`; the last two only where the shop is asked for.
pub const TOPICS: [Topic; 8] = [
    Topic::Scans,
    Topic::Detections,
    Topic::DeviceHealth,
    Topic::WmsLevels,
    Topic::PlcCounters,
    Topic::LaborStaffing,
    Topic::OrderLines,
    Topic::InventoryEvents,
];

impl Topic {
    /// The topics of a day.
    pub fn of_day(shop: bool) -> &'static [Topic] {
        if shop { &TOPICS } else { &TOPICS[..6] }
    }

    pub fn name(self) -> &'static str {
        match self {
            Topic::Scans => "scans",
            Topic::Detections => "detections",
            Topic::DeviceHealth => "device_health",
            Topic::WmsLevels => "wms_levels",
            Topic::PlcCounters => "plc_counters",
            Topic::LaborStaffing => "labor_staffing",
            Topic::OrderLines => "order_lines",
            Topic::InventoryEvents => "inventory_events",
        }
    }

    /// The column that holds the event time.
    pub fn time_column(self) -> &'static str {
        match self {
            Topic::Scans => "scanned_at",
            Topic::Detections => "captured_at",
            Topic::DeviceHealth => "sent_at",
            Topic::WmsLevels => "taken_at",
            Topic::PlcCounters => "counted_at",
            Topic::LaborStaffing => "at_ts",
            Topic::OrderLines => "created_at",
            Topic::InventoryEvents => "occurred_at",
        }
    }

    /// Lateness in microseconds.
    pub fn lateness_us(self) -> i64 {
        match self {
            Topic::Scans => 1_000_000,
            Topic::Detections => 3_000_000,
            Topic::OrderLines => 10_000_000,
            Topic::InventoryEvents => 60_000_000,
            _ => 5_000_000,
        }
    }
}

/// The header that makes a record a heartbeat.
pub const HEARTBEAT: &str = "weir-heartbeat";

/// One record as a producer appends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimRecord {
    pub topic: &'static str,
    pub partition: u32,
    /// The warehouse; none in a heartbeat of a partition that holds no warehouse.
    pub key: Option<String>,
    pub headers: Vec<(&'static str, String)>,
    /// JSON; empty in a heartbeat.
    pub value: Vec<u8>,
    /// Whole milliseconds, by the producer's own clock.
    pub append_us: i64,
    /// A planted fault touched it: it may be a reject, late or a duplicate.
    pub fault: bool,
}

/// A change of one row of a reference table: `None` before is an insert, `None` after a delete.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub table: &'static str,
    pub before: Option<Map<String, Value>>,
    pub after: Option<Map<String, Value>>,
}

/// What the day gives, in append order.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Record(SimRecord),
    /// One transaction on the reference tables, to take effect at a time no earlier than any append
    /// before it. Make it durable before the next record is appended.
    Reference {
        effective_at: EventTime,
        changes: Vec<Change>,
    },
    /// The simulated clock, each second.
    Tick(EventTime),
}

impl Item {
    pub fn at_us(&self) -> i64 {
        match self {
            Item::Record(record) => record.append_us,
            Item::Reference { effective_at, .. } => effective_at.0,
            Item::Tick(at) => at.0,
        }
    }
}

/// Where a lane writes.
#[derive(Debug, Clone)]
pub struct Lane {
    pub partition: u32,
    pub key: Option<String>,
    pub heartbeats: bool,
}

#[derive(Debug)]
enum Body {
    Item(Box<Item>),
    /// A record whose event time is in `unsent` until it goes.
    Row {
        record: Box<SimRecord>,
        slot: usize,
        event_us: i64,
    },
    Beat {
        topic: Topic,
        lane: usize,
    },
}

#[derive(Debug)]
struct Pending {
    at_us: i64,
    /// Ties: ticks, then reference changes, then records in the order they were made.
    rank: (u8, u64),
    body: Body,
}

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        (self.at_us, self.rank) == (other.at_us, other.rank)
    }
}
impl Eq for Pending {}
impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Pending {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.rank).cmp(&(other.at_us, other.rank))
    }
}

/// Records made and not yet appended.
#[derive(Debug)]
pub struct Outbox {
    topics: &'static [Topic],
    lanes: Vec<Lane>,
    pending: BinaryHeap<Reverse<Pending>>,
    /// Event times of unsent records without a fault, per topic and lane.
    unsent: Vec<BTreeSet<(i64, u64)>>,
    made: u64,
}

impl Outbox {
    pub fn new(lanes: Vec<Lane>, topics: &'static [Topic]) -> Outbox {
        let unsent = vec![BTreeSet::new(); lanes.len() * TOPICS.len()];
        Outbox { topics, lanes, pending: BinaryHeap::new(), unsent, made: 0 }
    }

    fn slot(&self, topic: Topic, lane: usize) -> usize {
        topic as usize * self.lanes.len() + lane
    }

    /// Adds a row that its producer sends `delay_us` after `made_us` (true time).
    pub fn row(&mut self, topic: Topic, lane: usize, row: Sent, value: Vec<u8>) {
        self.made += 1;
        let at_us = (row.made_us + row.delay_us) / 1000 * 1000;
        let to = &self.lanes[lane];
        let record = Box::new(SimRecord {
            topic: topic.name(),
            partition: to.partition,
            key: to.key.clone(),
            headers: Vec::new(),
            value,
            append_us: at_us,
            fault: row.fault,
        });
        let rank = (2, self.made);
        let body = if row.fault {
            Body::Item(Box::new(Item::Record(*record)))
        } else {
            let slot = self.slot(topic, lane);
            self.unsent[slot].insert((row.made_us, self.made));
            Body::Row { record, slot, event_us: row.made_us }
        };
        self.pending.push(Reverse(Pending { at_us, rank, body }));
    }

    pub fn reference(&mut self, at_us: i64, changes: Vec<Change>) {
        self.made += 1;
        let item = Item::Reference { effective_at: EventTime(at_us), changes };
        let body = Body::Item(Box::new(item));
        self.pending.push(Reverse(Pending { at_us, rank: (1, self.made), body }));
    }

    /// Ticks and heartbeats of the second that starts at `second_us`.
    pub fn second(&mut self, second_us: i64) {
        let tick = Body::Item(Box::new(Item::Tick(EventTime(second_us))));
        self.pending.push(Reverse(Pending { at_us: second_us, rank: (0, 0), body: tick }));
        for topic in self.topics.iter().copied() {
            for lane in 0..self.lanes.len() {
                if self.lanes[lane].heartbeats {
                    self.made += 1;
                    // Producers do not beat in step: 37 ms apart by topic, 141 ms by lane.
                    let phase = (topic as i64 * 37 + lane as i64 * 141) % 1000 * 1000;
                    let rank = (2, self.made);
                    let body = Body::Beat { topic, lane };
                    self.pending.push(Reverse(Pending { at_us: second_us + phase, rank, body }));
                }
            }
        }
    }

    /// The next item that is appended before `until_us`.
    pub fn pop_before(&mut self, until_us: i64) -> Option<Item> {
        if self.pending.peek()?.0.at_us >= until_us {
            return None;
        }
        let Reverse(Pending { at_us, rank, body }) = self.pending.pop()?;
        Some(match body {
            Body::Item(item) => *item,
            Body::Row { record, slot, event_us } => {
                self.unsent[slot].remove(&(event_us, rank.1));
                Item::Record(*record)
            }
            Body::Beat { topic, lane } => {
                let slot = self.slot(topic, lane);
                let oldest = self.unsent[slot].first().map_or(at_us, |(event_us, _)| *event_us);
                let to = &self.lanes[lane];
                Item::Record(SimRecord {
                    topic: topic.name(),
                    partition: to.partition,
                    key: to.key.clone(),
                    headers: vec![(HEARTBEAT, EventTime(oldest.min(at_us)).to_string())],
                    value: Vec::new(),
                    append_us: at_us,
                    fault: false,
                })
            }
        })
    }
}

/// How a row travels.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// True time at which it came to be; its event time unless a fault says otherwise.
    pub made_us: i64,
    pub delay_us: i64,
    pub fault: bool,
}

/// Writes one compact JSON object, columns in the order given.
#[derive(Debug)]
pub struct Json {
    text: String,
}

impl Json {
    pub fn new() -> Json {
        Json { text: String::with_capacity(384) }
    }

    fn column(&mut self, name: &str) -> &mut String {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
        &mut self.text
    }

    /// Text that needs no escape: ids, codes and names of this crate.
    pub fn text(&mut self, name: &str, value: &str) -> &mut Json {
        debug_assert!(value.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\'), "{value}");
        let out = self.column(name);
        out.push('"');
        out.push_str(value);
        out.push('"');
        self
    }

    /// Formatted text that needs no escape.
    pub fn show(&mut self, name: &str, value: std::fmt::Arguments<'_>) -> &mut Json {
        let out = self.column(name);
        out.push('"');
        // Writing to a String cannot fail.
        let _ = out.write_fmt(value);
        out.push('"');
        self
    }

    pub fn int(&mut self, name: &str, value: i64) -> &mut Json {
        let _ = write!(self.column(name), "{value}");
        self
    }

    /// A number given in thousandths.
    pub fn milli(&mut self, name: &str, value: i64) -> &mut Json {
        let (sign, rest) = (if value < 0 { "-" } else { "" }, value.abs());
        let _ = write!(self.column(name), "{sign}{}.{:03}", rest / 1000, rest % 1000);
        self
    }

    pub fn time(&mut self, name: &str, us: i64) -> &mut Json {
        self.show(name, format_args!("{}", EventTime(us)))
    }

    pub fn bool(&mut self, name: &str, value: bool) -> &mut Json {
        self.column(name).push_str(if value { "true" } else { "false" });
        self
    }

    pub fn null(&mut self, name: &str) -> &mut Json {
        self.column(name).push_str("null");
        self
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.text.push('}');
        self.text.into_bytes()
    }
}

impl Default for Json {
    fn default() -> Self {
        Json::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes() -> Vec<Lane> {
        vec![Lane { partition: 0, key: Some("W".into()), heartbeats: true }]
    }

    #[test]
    fn heartbeats_wait_for_the_oldest_unsent_record() {
        let mut outbox = Outbox::new(lanes(), &TOPICS);
        let s = 1_000_000;
        outbox.row(
            Topic::Scans,
            0,
            Sent { made_us: s - 300_500, delay_us: 700_000, fault: false },
            b"{}".to_vec(),
        );
        outbox.row(
            Topic::Scans,
            0,
            Sent { made_us: s - 900_000, delay_us: 5 * s, fault: true },
            b"{}".to_vec(),
        );
        outbox.second(s);
        outbox.second(2 * s);
        let mut beats = Vec::new();
        let mut appended = Vec::new();
        while let Some(item) = outbox.pop_before(i64::MAX) {
            appended.push(item.at_us());
            if let Item::Record(r) = item
                && r.topic == "scans"
                && let Some((_, time)) = r.headers.first()
            {
                beats.push(time.clone());
            }
        }
        assert_eq!(beats, ["1970-01-01T00:00:00.699500Z", "1970-01-01T00:00:02Z"]);
        assert!(appended.is_sorted());
        assert_eq!(*appended.last().unwrap(), 5_100_000);
    }

    #[test]
    fn json_is_compact_and_exact() {
        let mut json = Json::new();
        json.text("a", "x").int("b", -3).milli("c", -1_050).bool("d", true).null("e").time("f", 1_500_000);
        let text = String::from_utf8(json.finish()).unwrap();
        assert_eq!(text, r#"{"a":"x","b":-3,"c":-1.050,"d":true,"e":null,"f":"1970-01-01T00:00:01.500Z"}"#);
        serde_json::from_str::<Value>(&text).unwrap();
    }
}
