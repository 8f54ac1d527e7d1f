//! Truth against events, by kind, key and time; nothing of the engine.
//!
//! In:   a truth, and the events as the JSON objects of the event contract.
//! Out:  per kind planted, found, missed, false, unseen, masked; onset-to-NEW times per rule; one line
//!       for each miss and each false event.
//! Owns: the mapping from rule and reason to kind, and the tolerances.
//!
//! K1  `NEW` speaks, and `NO_DATA` of `device_silent`; other labels belong to something told before.
//! K2  An event matches every scored incident of its kind, warehouse and entity whose time it meets, and
//!     whose reason it gives, where the incident has one.
//! K3  An event that matches none is masked where an unseen incident touches its key then, else
//!     false. A scored incident that such a mask meets is masked, not planted.
//! K4  found + missed = planted. Each speaking event is matched, masked or false, or (a brand event
//!     with reason `camera_silent` inside a silence) explained.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_contract::EventTime;

use crate::truth::{Incident, SCORED_KINDS, Truth};

const SECOND: i64 = 1_000_000;

/// Microseconds by which an event may lie before the start and after the end of an incident.
///
/// Parcels: the event has the time of the scan; neighbours are 6 s away. Silences: the rule waits
/// (15 s and a heartbeat of 10 s; 30 s). Buffers: what upstream systems tell is up to 30 s old, and
/// the rule waits 20 s, two minutes for a jam. Devices: a record each 10 s, and the rule waits up to 30 s.
pub fn tolerance(kind: &str) -> (i64, i64) {
    match kind {
        "silent_camera" => (0, 30 * SECOND),
        "dead_agent" => (0, 45 * SECOND),
        "overflow" | "starvation" => (0, 60 * SECOND),
        "clock_skew" | "device_behind" | "spool_growing" | "hot_or_full" | "battery_low" => (0, 60 * SECOND),
        "jam" => (0, 120 * SECOND),
        _ => (SECOND, SECOND),
    }
}

/// The kind that an event of a rule with a reason claims; none where no scored kind belongs to it.
pub fn kind_of(rule: &str, reason: &str) -> Option<&'static str> {
    let rule = rule.strip_prefix("buffer_").unwrap_or(rule);
    let wanted = match (rule, reason) {
        ("brand_mismatch", "mismatch" | "low_confidence") => "wrong_brand",
        ("brand_mismatch", "mixed") => "mixed_brands",
        ("brand_mismatch", "no_detection") => "empty_frame",
        ("brand_mismatch" | "camera_silent", _) => "silent_camera",
        ("device_silent", _) => "dead_agent",
        ("barcode", reason) => reason,
        (rule, _) => rule,
    };
    SCORED_KINDS.into_iter().find(|kind| *kind == wanted)
}

/// An event as far as the score reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Spoken {
    kind: &'static str,
    rule: String,
    reason: String,
    warehouse: String,
    /// Texts of the key.
    key: Vec<String>,
    at: EventTime,
    decided_at: EventTime,
}

/// Onset to NEW of one rule: microseconds, by event time and by the time of the decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delays {
    pub event: Vec<i64>,
    pub decided: Vec<i64>,
}

/// The `part`-th of 100 parts of `sorted`, nearest rank.
fn rank(sorted: &[i64], part: usize) -> Option<i64> {
    let n = (sorted.len() * part).div_ceil(100).max(1);
    sorted.get(n - 1).copied()
}

/// The result for one day, or of several pooled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Score {
    pub planted: BTreeMap<String, u64>,
    pub found: BTreeMap<String, u64>,
    pub missed: BTreeMap<String, u64>,
    pub false_events: BTreeMap<String, u64>,
    pub unseen: BTreeMap<String, u64>,
    /// Masked events and masked scored incidents, by kind.
    pub masked: BTreeMap<String, u64>,
    pub delays: BTreeMap<String, Delays>,
    /// One line per missed incident.
    pub misses: Vec<String>,
    /// One line per false event.
    pub falses: Vec<String>,
    /// Events that no kind belongs to, by rule and label: not scored.
    pub unscored: BTreeMap<String, u64>,
}

fn add(map: &mut BTreeMap<String, u64>, kind: &str) {
    *map.entry(kind.to_owned()).or_default() += 1;
}

impl Score {
    /// Scores events against the truth. An event that lacks a column of the contract is counted in
    /// `unscored` as `malformed`.
    pub fn of<'a>(truth: &Truth, events: impl IntoIterator<Item = &'a Value>) -> Score {
        let mut score = Score::default();
        let mut spoken: Vec<Spoken> = events.into_iter().filter_map(|e| score.hear(e)).collect();
        spoken.sort_by(|a, b| (a.at, a.kind, &a.key, &a.reason).cmp(&(b.at, b.kind, &b.key, &b.reason)));
        let scored: Vec<&Incident> = truth.scored().collect();
        let hidden: Vec<&Incident> = truth.incidents.iter().filter(|i| !i.scored).collect();
        for kind in SCORED_KINDS {
            for map in [&mut score.planted, &mut score.found, &mut score.missed, &mut score.false_events] {
                map.insert(kind.into(), 0);
            }
        }
        for incident in &hidden {
            add(&mut score.unseen, &incident.kind);
        }
        let mut first: Vec<Option<&Spoken>> = vec![None; scored.len()];
        for event in &spoken {
            let mut matched = false;
            for (n, incident) in scored.iter().enumerate() {
                if !event.meets(incident) {
                    continue;
                }
                matched = true;
                // A brand event inside a silence is explained by it, but is not its rule.
                if event.rule != "brand_mismatch" || incident.kind != "silent_camera" {
                    first[n].get_or_insert(event);
                }
            }
            if matched {
                continue;
            }
            if hidden.iter().any(|h| event.masked_by(h)) {
                add(&mut score.masked, event.kind);
            } else {
                add(&mut score.false_events, event.kind);
                score.falses.push(event.explain(&truth.incidents));
            }
        }
        for (incident, event) in scored.iter().zip(first) {
            if hidden.iter().any(|h| masks(h, incident)) {
                add(&mut score.masked, &incident.kind);
                continue;
            }
            add(&mut score.planted, &incident.kind);
            let Some(event) = event else {
                add(&mut score.missed, &incident.kind);
                score.misses.push(explain_miss(incident, &spoken));
                continue;
            };
            add(&mut score.found, &incident.kind);
            if let Some(onset) = incident.onset {
                let delays = score.delays.entry(event.rule.clone()).or_default();
                delays.event.push(event.at.0 - onset.0);
                delays.decided.push(event.decided_at.0 - onset.0);
            }
        }
        score
    }

    fn hear(&mut self, event: &Value) -> Option<Spoken> {
        let text = |c: &str| event.get(c).and_then(Value::as_str).unwrap_or_default();
        let time = |c: &str| EventTime::parse(text(c));
        let (rule, label) = (text("rule"), text("label"));
        let (Some(at), Some(decided_at)) = (time("event_time"), time("decided_at")) else {
            add(&mut self.unscored, "malformed");
            return None;
        };
        let silent = rule == "device_silent";
        if !(label == "NEW" || (label == "NO_DATA" && silent)) {
            if label == "NO_DATA" {
                add(&mut self.unscored, &format!("{rule} NO_DATA"));
            }
            return None;
        }
        let Some(kind) = kind_of(rule, text("reason")) else {
            add(&mut self.unscored, &format!("{rule} {label}"));
            return None;
        };
        let texts = |v: &Value| match v {
            Value::Array(all) => all.iter().filter_map(|k| k.as_str().map(str::to_owned)).collect(),
            Value::String(one) => vec![one.clone()],
            _ => Vec::new(),
        };
        Some(Spoken {
            kind,
            rule: rule.to_owned(),
            reason: text("reason").to_owned(),
            warehouse: text("warehouse").to_owned(),
            key: event.get("key").map(texts).unwrap_or_default(),
            at,
            decided_at,
        })
    }

    /// Adds another day's score: recall and precision are pooled.
    pub fn merge(&mut self, other: &Score) {
        let maps = |s: &mut Score| -> [BTreeMap<String, u64>; 7] {
            [
                std::mem::take(&mut s.planted),
                std::mem::take(&mut s.found),
                std::mem::take(&mut s.missed),
                std::mem::take(&mut s.false_events),
                std::mem::take(&mut s.unseen),
                std::mem::take(&mut s.masked),
                std::mem::take(&mut s.unscored),
            ]
        };
        let mut other = other.clone();
        let (mut mine, theirs) = (maps(self), maps(&mut other));
        for (mine, theirs) in mine.iter_mut().zip(theirs) {
            for (kind, n) in theirs {
                *mine.entry(kind).or_default() += n;
            }
        }
        [self.planted, self.found, self.missed, self.false_events, self.unseen, self.masked, self.unscored] =
            mine;
        for (rule, delays) in other.delays {
            let to = self.delays.entry(rule).or_default();
            to.event.extend(delays.event);
            to.decided.extend(delays.decided);
        }
        self.misses.extend(other.misses);
        self.falses.extend(other.falses);
    }

    /// Found in planted; none where nothing was planted.
    pub fn recall(&self, kind: &str) -> Option<f64> {
        let planted = *self.planted.get(kind)?;
        (planted > 0).then(|| self.found.get(kind).copied().unwrap_or(0) as f64 / planted as f64)
    }

    /// Found in found and false; none where nothing was said.
    pub fn precision(&self, kind: &str) -> Option<f64> {
        let found = self.found.get(kind).copied().unwrap_or(0);
        let said = found + self.false_events.get(kind).copied().unwrap_or(0);
        (said > 0).then(|| found as f64 / said as f64)
    }

    /// The counts under the names of the demo's summary: `planted`, `found`, `missed`, `false`,
    /// `unseen`, `masked`.
    pub fn counts(&self) -> Value {
        json!({
            "planted": self.planted, "found": self.found, "missed": self.missed,
            "false": self.false_events, "unseen": self.unseen, "masked": self.masked,
        })
    }

    /// Onset to NEW per rule in seconds of event time (`event`) and of decision time (`decided`):
    /// least, median, 95th part, most, count.
    pub fn delay_table(&self) -> Value {
        let line = |times: &[i64]| {
            let mut sorted = times.to_vec();
            sorted.sort_unstable();
            let at = |part| rank(&sorted, part).map(|us| us as f64 / SECOND as f64);
            json!({"min": at(0), "median": at(50), "p95": at(95), "max": at(100), "n": sorted.len()})
        };
        let rules = self
            .delays
            .iter()
            .map(|(rule, d)| (rule.clone(), json!({"event": line(&d.event), "decided": line(&d.decided)})));
        Value::Object(rules.collect())
    }
}

impl Spoken {
    fn touches(&self, incident: &Incident) -> bool {
        self.warehouse == incident.warehouse && self.key.iter().any(|k| incident.touches(k))
    }

    fn meets(&self, incident: &Incident) -> bool {
        let (before, after) = tolerance(self.kind);
        self.kind == incident.kind
            && (incident.reason.is_empty() || incident.reason == self.reason)
            && self.touches(incident)
            && incident.from.0 - before <= self.at.0
            && self.at.0 <= incident.to.0 + after
    }

    /// Masks name ids that are unique over warehouses.
    fn masked_by(&self, hidden: &Incident) -> bool {
        hidden.masks_to.is_some_and(|to| hidden.from <= self.at && self.at <= to)
            && self.key.iter().any(|k| hidden.touches(k))
    }

    fn explain(&self, incidents: &[Incident]) -> String {
        let near = incidents
            .iter()
            .filter(|i| self.touches(i))
            .min_by_key(|i| (self.at.0 - i.to.0).max(i.from.0 - self.at.0).max(0));
        let near = near.map_or("nothing is planted there".into(), |i| {
            format!("nearest planted: {} {} from {} to {}", i.kind, i.cause, i.from, i.to)
        });
        let reason = if self.reason.is_empty() { String::new() } else { format!(" ({})", self.reason) };
        format!("{}{reason} for {} at {}: {near}", self.rule, self.key.join(" "), self.at)
    }
}

fn masks(hidden: &Incident, scored: &Incident) -> bool {
    let Some(to) = hidden.masks_to else { return false };
    // A silence names its devices too, a buffer its unit: the key decides.
    hidden.touches(&scored.key) && hidden.from <= scored.to && scored.from <= to
}

fn explain_miss(incident: &Incident, spoken: &[Spoken]) -> String {
    let onset = incident.onset.map_or("never on the truth".into(), |t| t.to_string());
    let there = spoken.iter().filter(|e| e.touches(incident));
    let near = there.min_by_key(|e| (e.at.0 - incident.onset.unwrap_or(incident.from).0).abs());
    let heard = near.map_or("no event for this key in the whole day".into(), |e| {
        format!("nearest event: {} {} at {}", e.rule, e.reason, e.at)
    });
    let cause = if incident.cause == incident.kind { "" } else { &incident.cause };
    let words = [&incident.kind, cause, &incident.reason];
    let words: Vec<&str> = words.into_iter().filter(|w| !w.is_empty()).collect();
    format!(
        "{} of {} from {} to {}, onset {onset}: rule {} was silent; {heard}",
        words.join(" "),
        incident.key,
        incident.from,
        incident.to,
        incident.rule
    )
}

#[cfg(test)]
#[path = "score_tests.rs"]
mod tests;
