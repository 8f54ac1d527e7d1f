//! The frames that events rest on, kept outside the log: what was seen, with boxes, and the frame itself.
//!
//! In:   a topic of events; the topics of detections and frames, while they still hold what the events saw.
//! Out:  per event an annotated JPEG, and the frame's own bytes in a store named by content.
//! Owns: which frame shows an event. Drawing is `weir_vision::evidence`'s.
//!
//! E1  An event's frames are those of its station from `BEFORE_US` before it to `AFTER_US` after it. Of these
//!     the one is shown that has what the event speaks of most surely: the seen brand, else any brand, else
//!     the nearest in time.
//! E2  The same logs give the same files. An event's picture appears whole, behind its frame in the store,
//!     and is not made again: once it is there, the log may forget what it rests on.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::Array;
use serde_json::Value;
use weir_contract::{Code, Error, EventTime, Result};
use weir_engine::connect::Registry;
use weir_engine::source::{Payload, RawBatch};
use weir_vision::boxes::Area;
use weir_vision::decode::{Limits, decode};
use weir_vision::evidence::{Mark, Shape, Tone, annotate, jpeg};
use weir_vision::store::Store;

use crate::wire::at::LogAt;
use crate::wire::topic::each;

/// What the brand rule looks at, too.
const BEFORE_US: i64 = 2_000_000;
const AFTER_US: i64 = 3_000_000;
const QUALITY: u8 = 88;
/// Bytes of one stored frame.
const FRAME_BYTES_MAX: usize = 32 << 20;

/// Where everything is.
pub struct Topics<'a> {
    pub events: &'a str,
    pub detections: &'a str,
    pub frames: &'a str,
}

/// One event with a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub event_id: String,
    /// The first part of the event's key.
    pub key: String,
    pub at: EventTime,
    pub reason: String,
    pub path: PathBuf,
}

/// An event whose frame can be had no more, or not be read.
#[derive(Debug)]
pub struct Lost {
    pub event_id: String,
    pub frame_id: String,
    pub why: Error,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Kept {
    /// Made now, in order of time.
    pub pictures: Vec<Picture>,
    /// Events whose picture was there already.
    pub before: u64,
    /// Events without any frame of a station around them.
    pub without: u64,
    /// In order of time.
    pub lost: Vec<Lost>,
}

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    brand: Option<String>,
    confidence: f64,
    area: [f32; 4],
}

struct Told {
    event_id: String,
    rule: String,
    reason: String,
    warehouse: String,
    /// Texts of the key; one of them may name a station.
    key: Vec<String>,
    at: i64,
    expected: Option<String>,
    wrong: Option<String>,
    /// By frame: when, and what was found in it.
    frames: BTreeMap<String, (i64, Vec<Seen>)>,
}

impl Told {
    /// New events; which of them are of a station shows by the detections.
    fn of(event: &Value) -> Option<Told> {
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let extra = |name: &str| text(&event["extra"][name]);
        let key = event["key"].as_array().into_iter().flatten().filter_map(text).collect();
        (event["label"] == "NEW").then_some(())?;
        Some(Told {
            event_id: text(&event["event_id"])?,
            rule: text(&event["rule"])?,
            reason: text(&event["reason"]).unwrap_or_default(),
            warehouse: text(&event["warehouse"])?,
            key,
            at: EventTime::parse(event["event_time"].as_str()?)?.0,
            expected: extra("expected_brand"),
            wrong: extra("seen_brand"),
            frames: BTreeMap::new(),
        })
    }

    fn looks_at(&self, warehouse: &str, station: &str, at: i64) -> bool {
        let near = (self.at - BEFORE_US..=self.at + AFTER_US).contains(&at);
        near && self.warehouse == warehouse && self.key.iter().any(|k| k == station)
    }

    /// What the event is of, for people.
    fn key(&self) -> &str {
        self.key.first().map_or("", String::as_str)
    }

    /// The frame that shows it.
    fn frame(&self) -> Option<(&str, &[Seen])> {
        let worth = |seen: &[Seen]| {
            let of = |wanted: &dyn Fn(&Seen) -> bool| {
                seen.iter().filter(|s| wanted(s)).map(|s| (s.confidence * 1e6) as i64).max().unwrap_or(-1)
            };
            let wrong = of(&|s| s.brand.is_some() && s.brand == self.wrong);
            (wrong, of(&|s| s.brand.is_some()))
        };
        let best = self.frames.iter().max_by_key(|(id, (at, seen))| {
            (worth(seen), -(at - self.at).abs(), std::cmp::Reverse(id.as_str()))
        });
        best.map(|(id, (_, seen))| (id.as_str(), seen.as_slice()))
    }

    fn file(&self) -> String {
        let at = EventTime(self.at).to_string().replace(':', "");
        let why = if self.reason.is_empty() { &self.rule } else { &self.reason };
        let short = self.event_id.get(..8).unwrap_or(&self.event_id);
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        format!("{at}_{}_{why}_{short}.jpg", self.key()).chars().map(plain).collect()
    }

    fn draw(&self, bytes: &[u8], seen: &[Seen]) -> Result<Vec<u8>> {
        let frame = decode(bytes, &Limits::default())?;
        let marks: Vec<Mark> = seen
            .iter()
            .filter_map(|s| {
                let brand = s.brand.as_ref()?;
                let tone = match &self.expected {
                    Some(expected) if expected == brand => Tone::AsExpected,
                    Some(_) => Tone::Mismatch,
                    None => Tone::Plain,
                };
                let [x1, y1, x2, y2] = s.area;
                let text = format!("{brand} {:.2}", s.confidence);
                Some(Mark { shape: Shape::Box(Area::new(x1, y1, x2, y2)), text, tone })
            })
            .collect();
        let expected = self.expected.as_ref().map(|e| format!("expected {e}"));
        let first = format!("{} {} {}", self.key(), self.rule, self.reason);
        let second = [Some(EventTime(self.at).to_string()), expected].into_iter().flatten();
        let second = second.collect::<Vec<_>>().join("  ");
        jpeg(&annotate(&frame, &marks, &[&first, &second]), QUALITY)
    }
}

/// Keeps the pictures of all events of a topic under `out`.
///
/// # Errors
/// Topics that are not there, a disk that refuses. A frame that is gone or cannot be read is told in what
/// comes back.
pub fn keep(
    log: &LogAt,
    registry: &Registry,
    topics: &Topics<'_>,
    stored: Option<&Path>,
    out: &Path,
) -> Result<Kept> {
    std::fs::create_dir_all(out).map_err(|e| failed(out, &e))?;
    let mut kept = Kept::default();
    let mut told = events(log, registry, topics.events)?;
    told.retain(|event| {
        let there = out.join(event.file()).exists();
        kept.before += u64::from(there);
        !there
    });
    if told.is_empty() {
        return Ok(kept);
    }
    detections(log, registry, topics.detections, &mut told)?;
    let mut wanted: BTreeMap<String, Vec<&Told>> = BTreeMap::new();
    for event in &told {
        match event.frame() {
            Some((frame, _)) => wanted.entry(frame.to_owned()).or_default().push(event),
            None => kept.without += 1,
        }
    }
    let store = Store::new(out.join("frames"));
    let elsewhere = stored.map(Store::new);
    let lost = |event: &Told, frame_id: &str, why: &Error| {
        let (event_id, frame_id) = (event.event_id.clone(), frame_id.to_owned());
        Lost { event_id, frame_id, why: why.clone() }
    };
    each(log, registry, topics.frames, &mut |batch| {
        frames(batch, &mut |frame_id, uri, bytes| {
            // A frame that was sent twice is looked at once.
            let Some(events) = wanted.remove(frame_id) else { return Ok(()) };
            let bytes = match (bytes, uri, &elsewhere) {
                (Some(bytes), ..) => Ok(bytes.to_vec()),
                (None, Some(uri), Some(store)) => store.get(uri, FRAME_BYTES_MAX),
                (None, Some(uri), None) => Err(Error::new(Code::NoFrame, format!("{uri} is not in the log"))
                    .expected("the folder of stored frames: --stored or WEIR_FRAMES")
                    .act("operator: name it.")),
                (None, None, _) => Err(Error::new(Code::NoFrame, "its record has neither bytes nor a uri")),
            };
            for event in events {
                let seen = event.frame().map(|(_, seen)| seen).unwrap_or_default();
                let drawn = bytes.as_ref().map_err(Error::clone).and_then(|b| Ok((b, event.draw(b, seen)?)));
                let (bytes, drawn) = match drawn {
                    Ok(both) => both,
                    Err(why) => {
                        kept.lost.push(lost(event, frame_id, &why));
                        continue;
                    }
                };
                store.put(bytes)?;
                let path = out.join(event.file());
                write(&path, &drawn).map_err(|e| failed(&path, &e))?;
                kept.pictures.push(Picture {
                    event_id: event.event_id.clone(),
                    key: event.key().to_owned(),
                    at: EventTime(event.at),
                    reason: event.reason.clone(),
                    path,
                });
            }
            Ok(())
        })
    })?;
    let gone = Error::new(Code::NoFrame, format!("topic {} does not hold it any more", topics.frames));
    for (frame_id, events) in &wanted {
        kept.lost.extend(events.iter().map(|event| lost(event, frame_id, &gone)));
    }
    kept.pictures.sort_by(|a, b| (a.at, &a.path).cmp(&(b.at, &b.path)));
    let order: BTreeMap<&str, usize> = told.iter().enumerate().map(|(n, t)| (&*t.event_id, n)).collect();
    kept.lost.sort_by_key(|l| order.get(&*l.event_id).copied());
    Ok(kept)
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::of_io(error, path)
}

/// Whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = std::fs::File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)
}

fn objects(batch: &RawBatch, take: &mut dyn FnMut(&Value)) {
    let Payload::Bytes(values) = &batch.payload else { return };
    for value in values.iter().flatten().filter(|v| !v.is_empty()) {
        // What is no JSON was rejected by whoever reads it for its rules.
        if let Ok(object) = serde_json::from_slice::<Value>(value) {
            take(&object);
        }
    }
}

fn events(log: &LogAt, registry: &Registry, topic: &str) -> Result<Vec<Told>> {
    let mut told = Vec::new();
    each(log, registry, topic, &mut |batch| {
        objects(batch, &mut |event| told.extend(Told::of(event)));
        Ok(())
    })?;
    told.sort_by(|a: &Told, b| (a.at, &a.event_id).cmp(&(b.at, &b.event_id)));
    Ok(told)
}

fn detections(log: &LogAt, registry: &Registry, topic: &str, told: &mut [Told]) -> Result<()> {
    // Events by time: those around a detection stand together.
    each(log, registry, topic, &mut |batch| {
        objects(batch, &mut |row| {
            let text = |name: &str| row[name].as_str();
            let (Some(at), Some(frame), Some(station), Some(warehouse)) = (
                text("captured_at").and_then(EventTime::parse),
                text("frame_id"),
                text("station"),
                text("warehouse"),
            ) else {
                return;
            };
            let first = told.partition_point(|t| t.at < at.0 - AFTER_US);
            let around = told[first..].iter_mut().take_while(|t| t.at <= at.0 + BEFORE_US);
            for event in around.filter(|t| t.looks_at(warehouse, station, at.0)) {
                let number = |name: &str| row[name].as_f64().unwrap_or(0.0);
                let seen = Seen {
                    brand: text("brand").map(str::to_owned),
                    confidence: number("confidence"),
                    area: ["x1", "y1", "x2", "y2"].map(|name| number(name) as f32),
                };
                let entry = event.frames.entry(frame.to_owned()).or_insert_with(|| (at.0, Vec::new()));
                // A record that was sent twice says the same.
                if !entry.1.contains(&seen) {
                    entry.1.push(seen);
                }
            }
        });
        Ok(())
    })
}

/// Frames of a batch: id, uri, bytes.
fn frames(
    batch: &RawBatch,
    take: &mut dyn FnMut(&str, Option<&str>, Option<&[u8]>) -> Result<()>,
) -> Result<()> {
    let Payload::Bytes(values) = &batch.payload else { return Ok(()) };
    let mut headers = batch.headers.iter().peekable();
    for row in 0..values.len() {
        let (mut id, mut uri) = (None, None);
        while let Some(header) = headers.next_if(|h| h.row as usize <= row) {
            match header.name.as_str() {
                "frame_id" => id = std::str::from_utf8(&header.value).ok(),
                "frame_uri" => uri = std::str::from_utf8(&header.value).ok(),
                _ => {}
            }
        }
        if let Some(id) = id {
            let bytes = values.is_valid(row).then(|| values.value(row)).filter(|b| !b.is_empty());
            take(id, uri, bytes)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(reason: &str) -> Told {
        Told::of(&json!({
            "event_id": "0123456789abcdef", "rule": "brand_mismatch", "reason": reason, "label": "NEW",
            "warehouse": "W1", "key": ["P1", "s"],
            "event_time": "2026-03-02T07:00:10Z", "extra": {"expected_brand": "Alba", "seen_brand": "Duna"},
        }))
        .unwrap()
    }

    fn seen(brand: Option<&str>, confidence: f64) -> Seen {
        Seen { brand: brand.map(str::to_owned), confidence, area: [1.0, 1.0, 9.0, 9.0] }
    }

    #[test]
    fn the_surest_frame_of_the_seen_brand_shows_an_event() {
        let mut event = told("mismatch");
        assert_eq!(event.frame(), None);
        let at = event.at;
        event.frames.insert("near".into(), (at, vec![seen(None, 0.0)]));
        assert_eq!(event.frame().unwrap().0, "near");
        event.frames.insert("far".into(), (at + 2_000_000, vec![seen(None, 0.0)]));
        assert_eq!(event.frame().unwrap().0, "near");
        event.frames.insert("right".into(), (at + 1_000_000, vec![seen(Some("Alba"), 0.99)]));
        assert_eq!(event.frame().unwrap().0, "right");
        event.frames.insert("wrong".into(), (at + 2_000_000, vec![seen(Some("Duna"), 0.6)]));
        event.frames.insert("surer".into(), (at + 2_500_000, vec![seen(Some("Duna"), 0.9)]));
        assert_eq!(event.frame().unwrap().0, "surer");
        assert_eq!(event.file(), "2026-03-02T070010Z_P1_mismatch_01234567.jpg");
    }

    #[test]
    fn only_new_events_of_a_station_look_at_its_frames() {
        let event = told("mixed");
        assert!(event.looks_at("W1", "P1", event.at - 2_000_000));
        assert!(event.looks_at("W1", "P1", event.at + 3_000_000));
        assert!(!event.looks_at("W1", "P1", event.at - 2_000_001));
        assert!(!event.looks_at("W1", "P2", event.at) && !event.looks_at("W2", "P1", event.at));
        let mut event = json!({"event_id": "e", "rule": "r", "label": "CLEARED", "warehouse": "W1",
            "key": ["P1"], "event_time": "2026-03-02T07:00:10Z", "extra": {}});
        assert!(Told::of(&event).is_none());
        event["label"] = json!("NEW");
        assert!(Told::of(&event).is_some());
    }
}
