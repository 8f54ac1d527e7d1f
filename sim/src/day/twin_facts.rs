//! The twin's device rules: what a device says about itself, judged in plain Rust.

use std::collections::BTreeMap;

use serde_json::Value;

use super::twin::{S, Step, Twin, episodes, event, slope_per_min};

/// A rule over one device's records: fire, clear, reason.
type Judge = fn(&[(i64, &Value)], usize) -> Option<(bool, bool, &'static str)>;

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

fn skew(rows: &[(i64, &Value)], n: usize) -> Option<(bool, bool, &'static str)> {
    is_agent(rows[n].1)?;
    let Some(off) = rows[n].1["clock_offset_ms"].as_i64() else {
        let synced = rows[n].1["clock_synced"].as_bool()?;
        return Some((!synced, synced, "unsynced"));
    };
    Some((off.abs() >= 500, off.abs() < 250, if off < 0 { "behind" } else { "ahead" }))
}

fn behind(rows: &[(i64, &Value)], n: usize) -> Option<(bool, bool, &'static str)> {
    is_agent(rows[n].1)?;
    let oldest = rows[n].1["spool_oldest_s"].as_f64()?;
    Some((oldest >= 30.0, oldest < 10.0, if oldest < 600.0 { "behind" } else { "far_behind" }))
}

fn growing(rows: &[(i64, &Value)], n: usize) -> Option<(bool, bool, &'static str)> {
    is_agent(rows[n].1)?;
    let (now, row) = rows[n];
    let records = |(t, row): &(i64, &Value)| Some((*t, row["spool_records"].as_f64()?));
    let waiting = row["spool_records"].as_f64()?;
    let from = rows.partition_point(|(t, _)| *t < now - 120 * S);
    let window: Vec<(i64, f64)> = rows[from..=n].iter().filter_map(records).collect();
    let slope = slope_per_min(&window);
    let recent = rows.partition_point(|(t, _)| *t < now - 60 * S);
    let gone = |n: usize| rows[n].1["spool_gone"].as_i64();
    let lost = (recent.max(1)..=n).any(|n| gone(n) > gone(n - 1));
    let in_memory = row["spool_in_memory"] == true;
    let filling = waiting >= 100.0 && slope.is_some_and(|s| s >= 30.0);
    let easing = waiting < 50.0 || slope.is_some_and(|s| s <= 0.0);
    let reason = match (in_memory, lost) {
        (true, _) => "in_memory",
        (_, true) => "losing",
        _ => "filling",
    };
    Some((filling || lost || in_memory, easing && !lost && !in_memory, reason))
}

fn hot_or_full(rows: &[(i64, &Value)], n: usize) -> Option<(bool, bool, &'static str)> {
    let (temp, free) = (rows[n].1["temp_c"].as_f64()?, rows[n].1["disk_free"].as_i64()?);
    let (hot, full) = (temp >= 80.0, free < 500_000_000);
    let reason = match (hot, full) {
        (true, true) => "hot_and_full",
        (true, _) => "hot",
        _ => "full",
    };
    Some((hot || full, temp < 75.0 && free >= 1_000_000_000, reason))
}

fn battery(rows: &[(i64, &Value)], n: usize) -> Option<(bool, bool, &'static str)> {
    let left = rows[n].1["battery_pct"].as_f64()?;
    Some((left < 15.0, left >= 25.0, if left < 5.0 { "empty" } else { "low" }))
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
                let step = |n: usize| judge(&rows, n).map(|(fire, clear, why)| (rows[n].0, fire, clear, why));
                let told: Vec<_> = (0..rows.len()).filter_map(step).collect();
                let steps: Vec<Step> = told.iter().map(|(t, fire, clear, _)| (*t, *fire, *clear)).collect();
                let key = [rows[0].1["station"].as_str().unwrap(), device];
                for at in episodes(&steps, fire_after * S, clear_after * S) {
                    // A timer speaks with the latest row's columns.
                    let why = told.iter().rfind(|(t, ..)| *t <= at).unwrap().3;
                    out.push(event(rule, "NEW", why, rows[0].1, &key, at));
                }
            }
        }
        out
    }
}
