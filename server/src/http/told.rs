//! What the operator is told of the port: faults and their ends, and who was refused what.
//!
//! In:   appends that fail and succeed, answers that refuse, the time.
//! Out:  one warning for each kind of fault that lasts, and one when it is over, whatever the number of requests; a
//!       line of what was refused, at most one each `EVERY`; the counts of all of it at the end.
//! Owns: these counts. A device is named as its grant names it; a token that nobody has is `unknown`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use ureq_proto::http::StatusCode;
use weir_contract::{Clock, Code, Error};

/// Shorter troubles are not told. Eyeballed, as a run's.
const LASTS: Duration = Duration::from_secs(1);
/// Between two lines about refusals.
const EVERY: Duration = Duration::from_secs(60);
/// Whose token was not looked at, or is nobody's.
pub const UNKNOWN: &str = "unknown";

/// A kind of fault.
struct Outage {
    since: Duration,
    seen: Duration,
    told: bool,
}

#[derive(Default)]
struct Counts {
    /// Records by topic.
    taken: BTreeMap<String, u64>,
    /// Answers by device and status: at most the devices of the grants, times the answers that there are.
    refused: BTreeMap<(String, u16), u64>,
    /// Those that a line has named.
    named: BTreeMap<(String, u16), u64>,
    named_at: Option<Duration>,
    /// Topics whose last append failed: the first error, and when.
    away: BTreeMap<String, (Error, Duration)>,
    outages: BTreeMap<Code, Outage>,
}

/// Counts, and what was said of them.
pub struct Told {
    clock: Arc<dyn Clock>,
    counts: Mutex<Counts>,
}

impl Told {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, counts: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A topic took records.
    pub fn taken(&self, topic: &str, records: usize) {
        let mut counts = self.lock();
        counts.away.remove(topic);
        let known = counts.taken.get_mut(topic).map(|n| *n += records as u64);
        if known.is_none() {
            counts.taken.insert(topic.into(), records as u64);
        }
    }

    /// A topic could not take records; the first error of an outage is the one that is told.
    pub fn failed(&self, topic: &str, error: &Error) {
        let now = self.clock.monotonic();
        self.lock().away.entry(topic.into()).or_insert_with(|| (error.clone(), now));
    }

    pub fn refused(&self, device: &str, status: StatusCode) {
        *self.lock().refused.entry((device.into(), status.as_u16())).or_default() += 1;
    }

    /// Says what is new.
    pub fn look(&self) {
        for line in self.lines(self.clock.monotonic()) {
            tracing::warn!("{line}");
        }
    }

    pub fn lines(&self, now: Duration) -> Vec<String> {
        let mut counts = self.lock();
        let mut lines = faults(&mut counts, now);
        lines.extend(refusals(&mut counts, now));
        lines
    }

    /// All counts, as one JSON object.
    pub fn summary(&self) -> Value {
        let counts = self.lock();
        let mut refused: Map<String, Value> = Map::new();
        for ((device, status), times) in &counts.refused {
            let of = refused.entry(device.clone()).or_insert_with(|| json!({}));
            if let Value::Object(of) = of {
                of.insert(status.to_string(), json!(times));
            }
        }
        json!({ "program": "log-server", "records": counts.taken, "refused": refused })
    }
}

fn faults(counts: &mut Counts, now: Duration) -> Vec<String> {
    let mut lines = Vec::new();
    for (topic, (error, since)) in &counts.away {
        let fresh = Outage { since: *since, seen: now, told: false };
        let outage = counts.outages.entry(error.code()).or_insert(fresh);
        outage.seen = now;
        outage.since = outage.since.min(*since);
        if !outage.told && now.saturating_sub(outage.since) >= LASTS {
            outage.told = true;
            let now = "devices are answered 503 and send again; what was acknowledged stays. weir goes on by itself.";
            lines.push(format!("{error}\n  topic     {topic}\n  now       {now}"));
        }
    }
    let away: Vec<Code> = counts.away.values().map(|(error, _)| error.code()).collect();
    counts.outages.retain(|code, outage| {
        if now.saturating_sub(outage.seen) < LASTS || away.contains(code) {
            return true;
        }
        if outage.told {
            let seconds = outage.seen.saturating_sub(outage.since).as_secs_f64();
            lines.push(format!("{code} is over after {seconds:.0} s: the log is written again"));
        }
        false
    });
    lines
}

fn refusals(counts: &mut Counts, now: Duration) -> Option<String> {
    if counts.named_at.is_some_and(|at| now.saturating_sub(at) < EVERY) || counts.refused == counts.named {
        return None;
    }
    let mut text = String::new();
    for (of, times) in &counts.refused {
        let new = times - counts.named.get(of).copied().unwrap_or_default();
        if new > 0 {
            let (device, status) = of;
            let comma = if text.is_empty() { "" } else { ", " };
            text += &format!("{comma}{device} {status} ({new} times)");
        }
    }
    counts.named = counts.refused.clone();
    counts.named_at = Some(now);
    Some(format!("refused, by device and status: {text}"))
}

#[cfg(test)]
mod tests {
    use weir_contract::clock::ManualClock;

    use super::*;

    fn full() -> Error {
        Error::new(Code::DiskFull, "no space is left")
    }

    #[test]
    fn a_fault_is_told_once_and_so_is_its_end() {
        let (clock, at) = (Arc::new(ManualClock::at(0)), Duration::from_millis);
        let told = Told::new(clock);
        let begun = told.clock.monotonic();
        told.failed("scans", &full());
        assert!(told.lines(begun + at(500)).is_empty(), "it may be over at once");
        told.failed("frames", &full());
        let said = told.lines(begun + at(1_000));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("W0505") && said[0].contains("503"), "{said:?}");
        told.failed("scans", &full());
        assert!(told.lines(begun + at(5_000)).is_empty(), "not once a request");
        told.taken("scans", 1);
        assert!(told.lines(begun + at(9_000)).is_empty(), "frames are still away");
        told.taken("frames", 2);
        assert!(told.lines(begun + at(9_200)).is_empty(), "it may come again at once");
        assert_eq!(told.lines(begun + at(11_000)), ["W0505 is over after 9 s: the log is written again"]);
        assert!(told.lines(begun + at(99_000)).is_empty());
        assert_eq!(told.summary()["records"], json!({ "scans": 1, "frames": 2 }));
    }

    #[test]
    fn refusals_are_counted_and_named_once_a_minute() {
        let told = Told::new(Arc::new(ManualClock::at(0)));
        let at = Duration::from_secs;
        assert!(told.lines(at(0)).is_empty());
        told.refused("d1", StatusCode::FORBIDDEN);
        told.refused(UNKNOWN, StatusCode::UNAUTHORIZED);
        told.refused(UNKNOWN, StatusCode::UNAUTHORIZED);
        let said = told.lines(at(1));
        assert_eq!(said, ["refused, by device and status: d1 403 (1 times), unknown 401 (2 times)"]);
        told.refused("d1", StatusCode::FORBIDDEN);
        assert!(told.lines(at(60)).is_empty());
        assert_eq!(told.lines(at(61)), ["refused, by device and status: d1 403 (1 times)"]);
        assert!(told.lines(at(200)).is_empty());
        let all = json!({ "d1": { "403": 2 }, "unknown": { "401": 2 } });
        assert_eq!(told.summary()["refused"], all);
    }
}
