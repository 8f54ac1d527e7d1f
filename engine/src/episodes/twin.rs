//! The naive twin of the state machine: instant by instant, with ifs, over plain rows.
//!
//! Shares nothing with `machine`: no table, no timers, no queue. Semantics 8 read aloud. The oracle of
//! law 4 (`engine/tests/oracle.rs`) runs it over the rows of a rule's batch form.

use std::collections::{BTreeMap, BTreeSet};

/// A row in canonical order of its instant; times in any one unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub at: i64,
    pub key: usize,
    pub fire: Option<bool>,
    pub clear: Option<bool>,
    pub severity: Option<&'static str>,
    pub recommendation: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub at: i64,
    pub key: usize,
    pub label: &'static str,
    pub seq: u64,
    pub first: i64,
    pub severity: Option<&'static str>,
    pub recommendation: Option<&'static str>,
}

pub struct Options {
    pub fire_after: i64,
    pub clear_after: i64,
    pub no_data: Option<i64>,
    /// Whether the rule has a column `clear`.
    pub clear: bool,
}

#[derive(Clone, Default)]
struct Key {
    state: &'static str,
    own_silence: bool,
    since: i64,
    first: i64,
    seq: u64,
    last: Option<Row>,
    told: (Option<&'static str>, Option<&'static str>),
}

impl Key {
    fn tell(&mut self, at: i64, label: &'static str, out: &mut Vec<Told>) {
        let row = self.last.clone().expect("a row before anything is told");
        self.told = (row.severity, row.recommendation);
        out.push(Told {
            at,
            key: row.key,
            label,
            seq: self.seq,
            first: self.first,
            severity: row.severity,
            recommendation: row.recommendation,
        });
        self.seq += 1;
    }
}

/// All that is told up to and with instant `end`; a key's timers run to `timers_end(key)` at most.
pub fn run(rows: &[Row], keys: usize, o: &Options, end: i64, timers_end: impl Fn(usize) -> i64) -> Vec<Told> {
    let mut all = vec![Key { state: "OK", ..Key::default() }; keys];
    let mut out = Vec::new();
    let mut by_time: BTreeMap<i64, Vec<&Row>> = BTreeMap::new();
    rows.iter().for_each(|r| by_time.entry(r.at).or_default().push(r));
    // Nothing happens but at rows, and one timer's length after a row.
    let spans = [0, o.fire_after, o.clear_after, o.no_data.unwrap_or(0)];
    let instants: BTreeSet<i64> = by_time.keys().flat_map(|t| spans.map(|span| t + span)).collect();
    for now in instants.into_iter().take_while(|now| *now <= end) {
        let mut here: Vec<&Row> = by_time.get(&now).cloned().unwrap_or_default();
        let whole = here.clone();
        let mut i = 0;
        here.retain(|r| {
            i += 1;
            !whole[i..].iter().any(|later| later.key == r.key)
        });
        for row in here {
            let k = &mut all[row.key];
            k.last = Some(row.clone());
            if k.state == "NO_DATA" {
                if k.own_silence {
                    k.tell(now, "CLEARED", &mut out);
                    k.state = "OK";
                } else {
                    k.tell(now, "ONGOING", &mut out);
                    k.state = "ACTIVE";
                }
            }
            let clear = if o.clear { row.clear } else { Some(row.fire == Some(false)) };
            if row.fire == Some(true) {
                if k.state == "OK" {
                    (k.state, k.since, k.first, k.seq) = ("PENDING", now, now, 0);
                } else if k.state == "CLEARING" {
                    k.state = "ACTIVE";
                }
            } else if row.fire == Some(false) {
                if k.state == "PENDING" {
                    k.state = "OK";
                } else if k.state == "ACTIVE" && clear == Some(true) {
                    (k.state, k.since) = ("CLEARING", now);
                } else if k.state == "CLEARING" && clear == Some(false) {
                    k.state = "ACTIVE";
                }
            }
            if k.state == "ACTIVE" && k.told != (row.severity, row.recommendation) {
                k.tell(now, "ONGOING", &mut out);
            }
        }
        for (i, k) in all.iter_mut().enumerate() {
            if now > timers_end(i) {
                continue;
            }
            if k.state == "PENDING" && now - k.since == o.fire_after {
                k.state = "ACTIVE";
                k.tell(now, "NEW", &mut out);
            }
            if k.state == "CLEARING" && now - k.since == o.clear_after {
                k.state = "OK";
                k.tell(now, "CLEARED", &mut out);
            }
            let (Some(span), Some(last)) = (o.no_data, &k.last) else { continue };
            if now - last.at != span {
                continue;
            }
            match k.state {
                "PENDING" => k.state = "OK",
                "OK" => {
                    (k.state, k.own_silence, k.first, k.seq) = ("NO_DATA", true, now, 0);
                    k.tell(now, "NO_DATA", &mut out);
                }
                _ => {
                    (k.state, k.own_silence) = ("NO_DATA", false);
                    k.tell(now, "NO_DATA", &mut out);
                }
            }
        }
    }
    out
}
