//! A naive twin of the pack in plain Rust: fate of records, then the rules over what is left.
//!
//! It reads records as a log would hold them and says what the rules must say, so that the tests can
//! tell whether planted incidents are visible in the records. It shares no code with the model.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};
use weir_contract::EventTime;

use crate::record::{Change, HEARTBEAT, SimRecord};

pub const S: i64 = 1_000_000;

/// What became of the records: the two sums of the semantics.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Fates {
    pub records: u64,
    pub heartbeats: u64,
    pub rejects: u64,
    pub duplicates: u64,
    pub late: u64,
    pub processed: u64,
}

#[derive(Debug)]
struct Partition {
    watermark: i64,
    ids: HashMap<String, i64>,
}

/// Rows that are on time, per topic, with their event time; reference changes by time.
#[derive(Debug, Default)]
pub struct Twin {
    partitions: BTreeMap<(&'static str, u32), Partition>,
    pub rows: BTreeMap<&'static str, Vec<(i64, Value)>>,
    pub fates: Fates,
    /// Records without a planted fault that were not processed: must stay empty.
    pub wronged: Vec<String>,
    tables: BTreeMap<&'static str, Vec<(i64, Value)>>,
}

fn lateness(topic: &str) -> (i64, &'static str) {
    match topic {
        "scans" => (S, "scanned_at"),
        "detections" => (3 * S, "captured_at"),
        "device_health" => (5 * S, "sent_at"),
        "wms_levels" => (5 * S, "taken_at"),
        "plc_counters" => (5 * S, "counted_at"),
        "order_lines" => (10 * S, "created_at"),
        "inventory_events" => (60 * S, "occurred_at"),
        _ => (5 * S, "at_ts"),
    }
}

impl Twin {
    pub fn reference(&mut self, rows: Vec<(&'static str, serde_json::Map<String, Value>)>) {
        for (table, row) in rows {
            self.tables.entry(table).or_default().push((i64::MIN, Value::Object(row)));
        }
    }

    pub fn change(&mut self, at: i64, changes: &[Change]) {
        for change in changes {
            let after = change.after.clone().expect("the day deletes nothing");
            self.tables.entry(change.table).or_default().push((at, Value::Object(after)));
        }
    }

    /// The latest row of a table by key, as of a time.
    fn look(&self, table: &str, column: &str, key: &str, at: i64) -> Option<&Value> {
        self.tables.get(table)?.iter().rfind(|(from, row)| *from <= at && row[column] == key).map(|(_, r)| r)
    }

    pub fn take(&mut self, r: &SimRecord) {
        self.fates.records += 1;
        assert_eq!(r.append_us % 1000, 0, "append times are whole milliseconds");
        let (late_by, column) = lateness(r.topic);
        let p = self
            .partitions
            .entry((r.topic, r.partition))
            .or_insert_with(|| Partition { watermark: i64::MIN, ids: HashMap::new() });
        if let Some((_, time)) = r.headers.iter().find(|(name, _)| *name == HEARTBEAT) {
            self.fates.heartbeats += 1;
            let time = EventTime::parse(time).expect("a heartbeat has a time").0;
            p.watermark = p.watermark.max(time.min(r.append_us) - late_by);
            return;
        }
        let row: Option<Value> = serde_json::from_slice(&r.value).ok();
        let time = row.as_ref().and_then(|v| EventTime::parse(v.get(column)?.as_str()?));
        let (Some(row), Some(EventTime(time))) = (row, time.filter(|t| t.0 <= r.append_us + 300 * S)) else {
            self.fates.rejects += 1;
            self.wrong(r, "rejected");
            return;
        };
        assert_eq!(row["warehouse"].as_str(), r.key.as_deref(), "the message key is the warehouse");
        let before = p.watermark;
        p.watermark = p.watermark.max(time.min(r.append_us) - late_by);
        let id = row["event_id"].as_str().expect("an event id").to_owned();
        if p.ids.get(&id).is_some_and(|t| *t >= before.saturating_sub(600 * S)) {
            self.fates.duplicates += 1;
            self.wrong(r, "a duplicate");
        } else if time < before {
            self.fates.late += 1;
            self.wrong(r, "late");
        } else {
            p.ids.insert(id, time);
            self.fates.processed += 1;
            self.rows.entry(r.topic).or_default().push((time, row));
        }
    }

    fn wrong(&mut self, r: &SimRecord, what: &str) {
        if !r.fault {
            self.wronged.push(format!("{what}: {}", String::from_utf8_lossy(&r.value)));
        }
    }

    /// All events of all rules.
    pub fn events(&mut self) -> Vec<Value> {
        for rows in self.rows.values_mut() {
            rows.sort_by_key(|(t, _)| *t);
        }
        let mut out = self.brands();
        out.extend(self.barcodes());
        out.extend(self.cameras());
        out.extend(self.devices());
        out.extend(self.facts());
        out.extend(self.buffers());
        out
    }

    pub(super) fn topic(&self, topic: &str) -> &[(i64, Value)] {
        self.rows.get(topic).map_or(&[], Vec::as_slice)
    }

    /// Detections per station, by time.
    fn frames(&self) -> HashMap<&str, Vec<(i64, &Value)>> {
        let mut frames: HashMap<&str, Vec<(i64, &Value)>> = HashMap::new();
        for (t, d) in self.topic("detections") {
            frames.entry(d["station"].as_str().unwrap()).or_default().push((*t, d));
        }
        frames
    }

    fn brands(&self) -> Vec<Value> {
        let frames = self.frames();
        let mut out = Vec::new();
        for (at, scan) in self.topic("scans") {
            let station = scan["station"].as_str().unwrap();
            let Some(item) = self.look("items", "barcode", scan["barcode"].as_str().unwrap(), *at) else {
                continue;
            };
            if self.look("stations", "station", station, *at).is_none() {
                continue;
            }
            let all = frames.get(station).map_or(&[][..], Vec::as_slice);
            let from = all.partition_point(|(t, _)| *t < at - 2 * S);
            let to = all.partition_point(|(t, _)| *t <= at + 3 * S);
            let (mut seen, mut right, mut wrong) = (false, 0.0f64, 0.0f64);
            for (_, d) in &all[from..to] {
                let Some(brand) = d["brand"].as_str() else { continue };
                seen = true;
                let best = if item["brand"] == brand { &mut right } else { &mut wrong };
                *best = best.max(d["confidence"].as_f64().unwrap());
            }
            let reason = match () {
                _ if from == to => "camera_silent",
                _ if !seen => "no_detection",
                _ if wrong >= 0.5 && right >= 0.3 => "mixed",
                _ if wrong >= 0.5 => "mismatch",
                _ if right < 0.3 => "low_confidence",
                _ => continue,
            };
            let key = [station, scan["scan_id"].as_str().unwrap()];
            out.push(event("brand_mismatch", "NEW", reason, scan, &key, *at));
        }
        out
    }

    fn barcodes(&self) -> Vec<Value> {
        let mut last: HashMap<(&str, &str), i64> = HashMap::new();
        let mut out = Vec::new();
        for (at, scan) in self.topic("scans") {
            let text = |c: &str| scan[c].as_str().unwrap();
            let (station, barcode) = (text("station"), text("barcode"));
            let before = last.insert((station, barcode), *at);
            let reason = if !checks(text("symbology"), barcode) {
                "bad_check_digit"
            } else if self.look("items", "barcode", barcode, *at).is_none() {
                "unknown_barcode"
            } else if before.is_some_and(|b| at - b <= 2 * S) {
                "double_scan"
            } else {
                continue;
            };
            out.push(event("barcode", "NEW", reason, scan, &[station, text("scan_id")], *at));
        }
        out
    }

    fn cameras(&self) -> Vec<Value> {
        let frames = self.frames();
        let mut by_station: BTreeMap<&str, Vec<(i64, bool, &Value)>> = BTreeMap::new();
        for (at, h) in self.topic("device_health").iter().filter(|(_, h)| h["kind"] == "agent") {
            let station = h["station"].as_str().unwrap();
            let all = frames.get(station).map_or(&[][..], Vec::as_slice);
            let from = all.partition_point(|(t, _)| *t < at - 10 * S);
            let blind = all.get(from).is_none_or(|(t, _)| t > at);
            by_station.entry(station).or_default().push((*at, blind, h));
        }
        let mut out = Vec::new();
        for (station, rows) in by_station {
            let steps: Vec<Step> = rows.iter().map(|(t, blind, _)| (*t, *blind, !*blind)).collect();
            let news = episodes(&steps, 15 * S, 10 * S);
            out.extend(
                news.into_iter().map(|at| event("camera_silent", "NEW", "", rows[0].2, &[station], at)),
            );
        }
        out
    }

    fn devices(&self) -> Vec<Value> {
        let mut last: BTreeMap<&str, (i64, &Value)> = BTreeMap::new();
        let mut out = Vec::new();
        for (at, h) in self.topic("device_health") {
            let device = h["device"].as_str().unwrap();
            if let Some((before, row)) = last.insert(device, (*at, h))
                && at - before > 30 * S
            {
                let key = [h["station"].as_str().unwrap(), device];
                out.push(event("device_silent", "NO_DATA", "", row, &key, before + 30 * S));
            }
        }
        out
    }

    /// `path_fill` and `buffer_fill` as `floor.sql` has them, then the three buffer rules.
    fn buffers(&self) -> Vec<Value> {
        let mut counters: BTreeMap<&str, Vec<(i64, i64, i64)>> = BTreeMap::new();
        let mut levels: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
        for (t, c) in self.topic("plc_counters") {
            let path = c["path"].as_str().unwrap();
            let total = |k: &str| c[k].as_i64().unwrap();
            counters.entry(path).or_default().push((*t, total("in_total"), total("out_total")));
        }
        for (t, l) in self.topic("wms_levels") {
            levels.entry(l["path"].as_str().unwrap()).or_default().push((*t, l["items"].as_i64().unwrap()));
        }
        let mut slots: HashMap<&str, BTreeMap<i64, (Option<i64>, i64)>> = HashMap::new();
        for (path, rows) in &counters {
            slots.insert(path, path_slots(rows, levels.get(path).map_or(&[], Vec::as_slice)));
        }
        let mut out = Vec::new();
        let units: BTreeSet<&str> =
            self.tables["units"].iter().map(|(_, u)| u["unit_id"].as_str().unwrap()).collect();
        for unit in units {
            let paths: Vec<&str> = self.tables["path_units"]
                .iter()
                .filter(|(_, r)| r["unit_id"] == unit)
                .map(|(_, r)| r["path"].as_str().unwrap())
                .collect();
            out.extend(self.unit_events(unit, &paths, &slots));
        }
        out
    }

    fn unit_events(
        &self,
        unit: &str,
        paths: &[&str],
        slots: &HashMap<&str, BTreeMap<i64, (Option<i64>, i64)>>,
    ) -> Vec<Value> {
        let mut series: Vec<(i64, f64)> = Vec::new();
        let mut steps: [Vec<Step>; 3] = Default::default();
        let times: BTreeSet<i64> = paths.iter().flat_map(|p| slots[p].keys().copied()).collect();
        let warehouse = unit.split('_').next().unwrap();
        let mut staff = self
            .topic("labor_staffing")
            .iter()
            .filter(|(_, l)| l["warehouse"] == warehouse && l["workpool"] == unit.split('_').nth(1).unwrap());
        let mut next = staff.next();
        let mut active = 0;
        for end in times {
            let at = end - 1;
            while let Some((t, l)) = next.filter(|(t, _)| *t <= at) {
                active = l["active_stations"].as_i64().unwrap();
                assert!(at - t < 300 * S);
                next = staff.next();
            }
            let parts: Vec<(Option<i64>, i64)> =
                paths.iter().map(|p| slots[p].get(&end).copied().unwrap_or((None, 0))).collect();
            let fill: Option<i64> = parts.iter().map(|(fill, _)| *fill).sum();
            let out: i64 = parts.iter().map(|(_, out)| *out).sum();
            let Some(fill) = fill.map(|f| f as f64) else { continue };
            let u = self.look("units", "unit_id", unit, at).unwrap();
            let of = |c: &str| u[c].as_f64().unwrap();
            series.push((end, fill));
            let from = series.partition_point(|(t, _)| *t < end - 600 * S);
            let slope = slope_per_min(&series[from..]);
            let (ratio, room) = (fill / of("capacity"), of("capacity") - fill);
            let to_full = slope.filter(|s| *s > 0.5).map(|s| room / s);
            let soon = to_full.is_some_and(|m| m <= of("horizon_min"));
            let far = to_full.is_none_or(|m| m > 2.0 * of("horizon_min"));
            let full = ratio >= of("overflow_on");
            steps[0].push((at, full || (ratio >= 0.6 && soon), ratio < of("overflow_off") && far));
            steps[1].push((at, full && out == 0, !full || out > 0));
            steps[2].push((
                at,
                ratio <= of("starve_on") && active > 0,
                ratio > of("starve_off") || active == 0,
            ));
        }
        let mut events = Vec::new();
        let rules = [("overflow", 20, 180), ("jam", 120, 60), ("starvation", 20, 120)];
        for ((rule, fire_after, clear_after), steps) in rules.into_iter().zip(steps) {
            for at in episodes(&steps, fire_after * S, clear_after * S) {
                events.push(event(rule, "NEW", "", &json!({"warehouse": warehouse}), &[unit], at));
            }
        }
        events
    }
}

/// Time, fire, clear.
pub(super) type Step = (i64, bool, bool);

/// Times of NEW: fire held for `fire_after`; an episode ends when clear held for `clear_after`.
pub(super) fn episodes(steps: &[Step], fire_after: i64, clear_after: i64) -> Vec<i64> {
    let (mut pending, mut clearing, mut active) = (None, None, false);
    let mut news = Vec::new();
    for (t, fire, clear) in steps {
        if let Some(since) = pending.filter(|since| !active && t - since > fire_after) {
            news.push(since + fire_after);
            (active, pending) = (true, None);
        }
        if let Some(since) = clearing.filter(|since| active && t - since > clear_after) {
            let _: i64 = since;
            (active, clearing) = (false, None);
        }
        if *fire {
            pending = if active { None } else { pending.or(Some(*t)) };
            clearing = None;
        } else {
            pending = None;
            clearing = if *clear { clearing.or(Some(*t)) } else { None };
        }
        if let Some(since) = pending.filter(|since| t - since >= fire_after) {
            news.push(since + fire_after);
            (active, pending) = (true, None);
        }
    }
    news
}

/// Per slot end: level, and items out in the last minute.
fn path_slots(rows: &[(i64, i64, i64)], levels: &[(i64, i64)]) -> BTreeMap<i64, (Option<i64>, i64)> {
    let mut values = Vec::new();
    let mut reset_at = i64::MIN;
    for (n, (t, ins, outs)) in rows.iter().enumerate() {
        if n > 0 && (*ins < rows[n - 1].1 || *outs < rows[n - 1].2) {
            reset_at = *t;
        }
        let level = levels.partition_point(|(at, _)| at <= t).checked_sub(1).map(|k| levels[k]);
        let fill = level.filter(|(at, _)| t - at <= 1800 * S).and_then(|(at, items)| {
            let k = rows.partition_point(|(c, _, _)| *c <= at).checked_sub(1);
            let base = k.map(|k| rows[k]).filter(|(c, _, _)| at - c <= 60 * S);
            match base.filter(|_| reset_at <= at) {
                Some((_, in_at, out_at)) => Some(items + (ins - in_at) - (outs - out_at)),
                None => (t - at <= 360 * S).then_some(items),
            }
        });
        let first = rows[..n].partition_point(|(c, _, _)| *c < t - 60 * S);
        let out = rows[first..=n].windows(2).map(|w| (w[1].2 - w[0].2).max(0)).sum();
        values.push((*t, fill, out));
    }
    let mut slots = BTreeMap::new();
    for (t, fill, out) in values {
        let first = t.div_euclid(10 * S) * 10 * S + 10 * S;
        for end in [first, first + 10 * S, first + 20 * S] {
            slots.insert(end, (fill, out));
        }
    }
    slots
}

pub(super) fn slope_per_min(points: &[(i64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let minutes = |t: i64| (t - points[0].0) as f64 / 60e6;
    let mean_x = points.iter().map(|(t, _)| minutes(*t)).sum::<f64>() / n;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
    let sxy: f64 = points.iter().map(|(t, y)| (minutes(*t) - mean_x) * (y - mean_y)).sum();
    let sxx: f64 = points.iter().map(|(t, _)| (minutes(*t) - mean_x).powi(2)).sum();
    (points.len() > 1).then(|| sxy / sxx)
}

fn checks(symbology: &str, barcode: &str) -> bool {
    let code = match symbology {
        "EAN13" => barcode.to_owned(),
        "UPCA" => format!("0{barcode}"),
        _ => return true,
    };
    let digits: Vec<u32> = code.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits.iter().enumerate().map(|(i, d)| if i % 2 == 0 { *d } else { 3 * d }).sum();
    code.len() == 13 && digits.len() == 13 && sum.is_multiple_of(10)
}

pub(super) fn event(rule: &str, label: &str, reason: &str, row: &Value, key: &[&str], at: i64) -> Value {
    let time = EventTime(at).to_string();
    json!({"rule": rule, "label": label, "reason": reason, "warehouse": row["warehouse"], "key": key,
           "event_time": time, "decided_at": time})
}
