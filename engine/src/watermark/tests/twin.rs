//! A seeded log, and a lane that takes one record at a time with serde_json.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};
use weir_contract::EventTime;

use super::super::Counts;
use crate::base::NOTHING;
use crate::source::NO_APPEND;
use crate::sql::catalog::AppendTime;

/// splitmix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

#[derive(Debug, Clone)]
pub struct Raw {
    pub offset: i64,
    pub append_us: i64,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(&'static str, String)>,
    /// Offsets before it are missing.
    pub gap: bool,
}

pub struct World {
    pub records: Vec<Raw>,
    /// Offset and watermark, ascending by offset.
    pub marks: Vec<(i64, i64)>,
    pub end: i64,
    pub append: AppendTime,
}

const START: i64 = 1_772_352_000_000_000;
/// Coarse, so that times often equal the watermark and the horizon to the microsecond.
const TICK: i64 = 100_000;

impl World {
    pub fn seeded(seed: u64) -> World {
        let mut dice = Dice(seed);
        let append = if dice.below(4) == 0 { AppendTime::Untrusted } else { AppendTime::Producer };
        let count = dice.below(260);
        let (mut records, mut marks, mut offset, mut now) =
            (Vec::new(), Vec::new(), dice.below(3) as i64, START);
        for _ in 0..count {
            now += dice.below(5) as i64 * TICK;
            if dice.below(40) == 0 {
                now += dice.below(40) as i64 * TICK;
                marks.push((offset, now - dice.below(30) as i64 * TICK));
            }
            let gap = dice.below(12) == 0;
            offset += i64::from(gap) * 2;
            records.push(record(&mut dice, offset, now, gap));
            offset += 1;
        }
        let end = offset + dice.below(2) as i64;
        World { records, marks, end, append }
    }
}

fn record(dice: &mut Dice, offset: i64, now: i64, gap: bool) -> Raw {
    let append_us = if dice.below(9) == 0 { NO_APPEND } else { now / 1_000 * 1_000 };
    let mut headers = Vec::new();
    if dice.below(5) == 0 {
        headers.push(("h", dice.pick(&["a", "b", "\u{e9}"]).to_owned()));
    }
    let time = match dice.below(20) {
        0 => now - 20_000_000,
        1 => now + 5_000_000,
        2 => now + 2_500_000,
        3 => now - 7,
        _ => now - dice.below(35) as i64 * TICK,
    };
    if dice.below(9) == 0 {
        let text = EventTime(time).to_string();
        headers.push(("weir-heartbeat", if dice.below(6) == 0 { "x".to_owned() } else { text }));
        return Raw { offset, append_us, value: (dice.below(2) == 0).then(|| b"?".to_vec()), headers, gap };
    }
    let mut fields = Vec::new();
    let id = dice.pick(&["\"a\"", "\"b\"", "\"c\"", "\"d\\u00e9\"", "\"e\"", "\"f\"", "\"g\"", "null", "5"]);
    let n = dice.pick(&[
        "1",
        "-2",
        "2147483647",
        "30",
        "4",
        "5",
        "6",
        "7",
        "8",
        "2147483648",
        "1.5",
        "\"9\"",
        "null",
    ]);
    let t = match dice.below(16) {
        0 => "null".to_owned(),
        1 => "\"yesterday\"".to_owned(),
        2 => "9007199254740993000".to_owned(),
        3..=6 => time.to_string(),
        7 => format!("\"{}\"", EventTime(time).to_string().replace('Z', "+00:00")),
        _ => format!("\"{}\"", EventTime(time)),
    };
    let x = dice.pick(&["1.5", "-0.25", "3", "1e3", "\"NaN\"", "null", "0.1", "false"]);
    let tags = dice.pick(&["[]", "[\"p\",null]", "[\"q\\n\"]", "null", "[1]"]);
    let j = dice.pick(&["{\"k\":[1, 2 ]}", "\"s\"", "null", "0.5"]);
    for (name, value, often) in [
        ("id", id, 14),
        ("n", n, 30),
        ("t", t.as_str(), 30),
        ("x", x, 2),
        ("tags", tags, 2),
        ("j", j, 3),
        ("zz", j, 3),
    ] {
        if dice.below(often) > 0 {
            fields.push(format!("\"{name}\":{value}"));
        }
    }
    if dice.below(30) == 0 && !fields.is_empty() {
        fields.push(fields[0].clone());
    }
    let mut swap = fields.len();
    while swap > 1 && dice.below(2) == 0 {
        swap -= 1;
        fields.swap(swap, dice.below(swap as u64) as usize);
    }
    let mut value = format!("{{{}}}", fields.join(dice.pick(&[",", ", ", " ,\n"]))).into_bytes();
    match dice.below(60) {
        0 => value.truncate(dice.below(value.len() as u64) as usize),
        1 => value.push(b'}'),
        2 => value[0] = 0xff,
        3 => value.extend(std::iter::repeat_n(b' ', 200)),
        4 => return Raw { offset, append_us, value: None, headers, gap },
        _ => {}
    }
    Raw { offset, append_us, value: Some(value), headers, gap }
}

/// An object's keys and values in order, those given twice twice.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Pairs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

#[derive(Default)]
pub struct Twin {
    pub rows: Vec<Value>,
    pub late: Vec<(i64, i64)>,
    pub rejected: Vec<(i64, String)>,
    pub counts: Counts,
    pub watermark: i64,
    pub highest: i64,
    seen: BTreeMap<String, i64>,
}

const S: i64 = 1_000_000;

impl Twin {
    pub fn run(world: &World) -> Twin {
        let mut twin = Twin { watermark: NOTHING, highest: NOTHING, ..Twin::default() };
        for record in &world.records {
            twin.marks(world, record.offset);
            twin.counts.records += 1;
            let append =
                Some(record.append_us).filter(|a| *a != NO_APPEND && world.append != AppendTime::Untrusted);
            if let Err(code) = twin.one(record, append) {
                twin.counts.rejects += 1;
                twin.rejected.push((record.offset, code.into()));
            }
        }
        twin.marks(world, world.end);
        twin
    }

    fn marks(&mut self, world: &World, offset: i64) {
        for mark in world.marks.iter().filter(|m| m.0 <= offset) {
            self.watermark = self.watermark.max(mark.1);
        }
    }

    fn moves(&mut self, time: i64, append: Option<i64>) {
        self.watermark = self.watermark.max(append.map_or(time, |a| a.min(time)) - 2 * S);
    }

    fn one(&mut self, record: &Raw, append: Option<i64>) -> Result<(), &'static str> {
        let ahead = |time: i64| append.is_some_and(|a| time > a + 3 * S);
        if let Some((_, text)) = record.headers.iter().find(|(name, _)| *name == "weir-heartbeat") {
            let time = EventTime::parse(text).ok_or("W0105")?.0;
            if ahead(time) {
                return Err("W0103");
            }
            self.counts.heartbeats += 1;
            self.highest = self.highest.max(time);
            self.moves(time, append);
            return Ok(());
        }
        let value = record.value.as_deref().unwrap_or_default();
        if value.len() > 200 {
            return Err("W0104");
        }
        let Pairs(pairs) = serde_json::from_slice(value).map_err(|_| "W0101")?;
        let mut got: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, value) in &pairs {
            if !["id", "n", "x", "tags", "j", "t"].contains(&name.as_str()) {
                continue;
            }
            if got.contains_key(name.as_str()) {
                return Err("W0101");
            }
            got.insert(name, if value.is_null() { Value::Null } else { typed(name, value)? });
        }
        let mut take = |name: &str| got.remove(name).unwrap_or(Value::Null);
        let (id, n, x, tags, j, t) = (take("id"), take("n"), take("x"), take("tags"), take("j"), take("t"));
        let Some(n) = n.as_i64() else { return Err("W0101") };
        let Some(time) = t.as_i64() else { return Err("W0102") };
        if ahead(time) {
            return Err("W0103");
        }
        self.counts.row_records += 1;
        self.counts.rows += 1;
        let key = id.as_str().map(str::to_owned);
        let known = key.as_ref().and_then(|k| self.seen.get(k));
        if known.is_some_and(|t| self.watermark == NOTHING || *t >= self.watermark - 5 * S) {
            self.counts.duplicates += 1;
        } else if time < self.watermark {
            self.counts.late += 1;
            self.late.push((record.offset, self.watermark));
        } else {
            self.counts.processed += 1;
            self.highest = self.highest.max(time);
            if let Some(key) = key {
                self.seen.insert(key, time);
            }
            let header = record.headers.iter().find(|(name, _)| *name == "h").map(|(_, v)| v.clone());
            self.rows.push(json!([
                id,
                n,
                x,
                tags,
                j,
                time,
                record.offset,
                header,
                n * 2,
                [3, 1, record.offset]
            ]));
        }
        self.moves(time, append);
        Ok(())
    }
}

/// A value of a column as the lane's rows are shown; floats by their bits.
fn typed(name: &str, value: &Value) -> Result<Value, &'static str> {
    let right = match name {
        "id" => value.is_string(),
        "j" => true,
        "n" => match value.as_i64() {
            Some(n) if i32::try_from(n).is_err() => return Err("W0106"),
            n => n.is_some(),
        },
        "x" if value == "NaN" => return Ok(json!(f64::NAN.to_bits())),
        "x" => return value.as_f64().map(|x| json!(x.to_bits())).ok_or("W0101"),
        "tags" => value.as_array().is_some_and(|a| a.iter().all(|t| t.is_null() || t.is_string())),
        _ => {
            let us = match value {
                Value::String(text) => EventTime::parse(text).map(|t| t.0),
                other => other.as_i64(),
            };
            return match us {
                Some(us) if us > 253_402_300_799_999_999 => Err("W0106"),
                Some(us) => Ok(json!(us)),
                None => Err("W0101"),
            };
        }
    };
    if right { Ok(value.clone()) } else { Err("W0101") }
}
