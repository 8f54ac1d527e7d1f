//! The twin's device rules: what a device says about itself, judged in plain Rust.

use std::collections::BTreeMap;

use serde_json::Value;

use super::twin::{S, Step, Twin, episodes, event, slope_per_min};

/// A rule over one device's records: fire, clear.
type Judge = fn(&[(i64, &Value)], usize) -> Option<(bool, bool)>;

/// Rule, `fire_after` and `clear_after` in seconds, what it says of a record among those before it.
const RULES: [(&str, i64, i64, Judge); 5] = [
    ("clock_skew", 20, 30, skew),
    ("device_behind", 20, 30, behind),
    ("spool_growing", 20, 60, growing),
    ("hot_or_full", 30, 60, hot_or_full),
    ("battery_low", 30, 30, battery),
];

fn is_agent(row: &Value) -> Option<()> {
    (row["kind"] == "agent").then_some(())
}

fn skew(rows: &[(i64, &Value)], n: usize) -> Option<(bool, bool)> {
    is_agent(rows[n].1)?;
    let off = rows[n].1["clock_offset_ms"].as_i64()?.abs();
    Some((off >= 500, off < 250))
}

fn behind(rows: &[(i64, &Value)], n: usize) -> Option<(bool, bool)> {
    is_agent(rows[n].1)?;
    let oldest = rows[n].1["spool_oldest_s"].as_f64()?;
    Some((oldest >= 30.0, oldest < 10.0))
}

fn growing(rows: &[(i64, &Value)], n: usize) -> Option<(bool, bool)> {
    is_agent(rows[n].1)?;
    let records = |(t, row): &(i64, &Value)| Some((*t, row["spool_records"].as_f64()?));
    let (now, waiting) = records(&rows[n])?;
    let from = rows.partition_point(|(t, _)| *t < now - 120 * S);
    let window: Vec<(i64, f64)> = rows[from..=n].iter().filter_map(records).collect();
    let slope = slope_per_min(&window);
    Some((
        waiting >= 100.0 && slope.is_some_and(|s| s >= 30.0),
        waiting < 50.0 || slope.is_some_and(|s| s <= 0.0),
    ))
}

fn hot_or_full(rows: &[(i64, &Value)], n: usize) -> Option<(bool, bool)> {
    let (temp, free) = (rows[n].1["temp_c"].as_f64()?, rows[n].1["disk_free"].as_i64()?);
    Some((temp >= 80.0 || free < 500_000_000, temp < 75.0 && free >= 1_000_000_000))
}

fn battery(rows: &[(i64, &Value)], n: usize) -> Option<(bool, bool)> {
    let left = rows[n].1["battery_pct"].as_f64()?;
    Some((left < 15.0, left >= 25.0))
}

impl Twin {
    pub(super) fn facts(&self) -> Vec<Value> {
        let mut devices: BTreeMap<&str, Vec<(i64, &Value)>> = BTreeMap::new();
        for (t, row) in self.topic("device_health") {
            devices.entry(row["device"].as_str().unwrap()).or_default().push((*t, row));
        }
        let mut out = Vec::new();
        for (device, rows) in devices {
            for (rule, fire_after, clear_after, judge) in RULES {
                let step = |n: usize| judge(&rows, n).map(|(fire, clear)| (rows[n].0, fire, clear));
                let steps: Vec<Step> = (0..rows.len()).filter_map(step).collect();
                let key = [rows[0].1["station"].as_str().unwrap(), device];
                let news = episodes(&steps, fire_after * S, clear_after * S);
                out.extend(news.into_iter().map(|at| event(rule, "NEW", "", rows[0].1, &key, at)));
            }
        }
        out
    }
}
