//! One simulated day, minute by minute.
//!
//! In:   options. Out: items in append order; at their end the truth.
//! Owns: the order in which stations, buffers and upstream systems are played, and the truth.
//!
//! D1  Equal options give equal bytes.
//! D2  Every minute's records are made before any of them is given, so that a heartbeat knows the
//!     records it must wait for.
//! D3  Heartbeats go on for `TAIL_S` seconds after the floor stops, so that everything is final.

use weir_contract::EventTime;

use crate::buffers::Buffers;
use crate::floor::{Floor, Limits, Station};
use crate::observer::{LimitChange, observe};
use crate::options::{DayOptions, IncidentRates, MINUTE};
use crate::plan::{Plan, STATION_MASK, Trouble, UNIT_MASK, UnitPlan};
use crate::record::{Change, Item, Lane, Outbox, Topic};
use crate::reference;
use crate::shop::Shop;
use crate::stations::Desk;
use crate::truth::{Incident, Truth};
use crate::upstream::Upstream;

const SECOND: i64 = 1_000_000;

/// Seconds of heartbeats after the floor stops: above every lateness.
pub const TAIL_S: i64 = 10;

/// A change of reference tables that waits for its time.
#[derive(Debug)]
struct Due {
    at: i64,
    changes: Vec<Change>,
}

/// A seeded day of the floor.
#[derive(Debug)]
pub struct Day {
    options: DayOptions,
    floor: Floor,
    plan: Plan,
    /// Plans of each warehouse.
    plans: Vec<Vec<UnitPlan>>,
    desks: Vec<Desk>,
    buffers: Vec<Buffers>,
    upstream: Vec<Upstream>,
    shops: Vec<Shop>,
    limit_changes: Vec<LimitChange>,
    due: Vec<Due>,
    outbox: Outbox,
    /// Everything before it is made.
    made_to: i64,
    truth: Truth,
    oddities: Vec<String>,
    finished: bool,
}

impl Day {
    pub fn new(options: DayOptions) -> Day {
        let floor = Floor::new(options.warehouses, options.stations_per_warehouse, options.partitions);
        let plan = Plan::new(&options, &floor);
        let (start, sites) = (options.from_us(), floor.warehouses.len());
        let plans: Vec<Vec<UnitPlan>> =
            (0..sites).map(|w| plan.units.iter().filter(|p| p.warehouse == w).cloned().collect()).collect();
        let mut desks: Vec<Desk> = floor
            .stations
            .iter()
            .zip(&plan.stations)
            .map(|(s, spans)| {
                let site = &floor.warehouses[s.warehouse].id;
                Desk::new(&options, s, site, s.warehouse, spans.clone(), start)
            })
            .collect();
        let (late_site, late_station) = floor.latecomer();
        let mut lanes: Vec<Lane> = floor
            .warehouses
            .iter()
            .map(|w| Lane { partition: w.partition, key: Some(w.id.clone()), heartbeats: true })
            .collect();
        lanes.push(Lane {
            partition: late_site.partition,
            key: Some(late_site.id.clone()),
            heartbeats: false,
        });
        lanes.extend((sites as u32..floor.partitions).map(|partition| Lane {
            partition,
            key: None,
            heartbeats: true,
        }));
        let (mut due, limit_changes) = planned_changes(&floor, &plan);
        if let Some(late) = plan.latecomer {
            // Nobody knows its parcels yet, so nothing is planted on them.
            let healthy = DayOptions { rates: IncidentRates::healthy(), ..options.clone() };
            desks.push(Desk::new(&healthy, &late_station, &late_site.id, sites, Vec::new(), late.from));
            let insert = |table, after| Change { table, before: None, after: Some(after) };
            due.push(Due {
                at: late.inserted_at,
                changes: vec![
                    insert("warehouses", reference::warehouse(&late_site)),
                    insert("stations", reference::station(&late_station, &late_site.id)),
                ],
            });
        }
        due.sort_by_key(|d| d.at);
        let truth = Truth {
            seed: options.seed,
            from: EventTime(start),
            to: EventTime(options.to_us()),
            stations: floor.stations.len() as u32,
            units: floor.units.len() as u32,
            incidents: Vec::new(),
        };
        Day {
            buffers: (0..sites).map(|w| Buffers::new(options.seed, &floor, w, plans[w].clone())).collect(),
            shops: (0..if options.shop { sites } else { 0 })
                .map(|w| Shop::new(options.seed, &floor, w, start))
                .collect(),
            upstream: (0..sites).map(|w| Upstream::new(options.seed, &floor, w, &plans[w], start)).collect(),
            outbox: Outbox::new(lanes, Topic::of_day(options.shop)),
            made_to: start,
            oddities: Vec::new(),
            finished: false,
            options,
            floor,
            plan,
            plans,
            desks,
            limit_changes,
            due,
            truth,
        }
    }

    pub fn options(&self) -> &DayOptions {
        &self.options
    }

    pub fn floor(&self) -> &Floor {
        &self.floor
    }

    /// `INSERT`s of everything that stands before the day begins, each naming its columns.
    pub fn reference_sql(&self) -> Vec<String> {
        reference::inserts(&reference::rows(&self.floor))
    }

    /// The same as rows, table by table.
    pub fn reference_rows(&self) -> Vec<(&'static str, reference::Row)> {
        reference::rows(&self.floor)
    }

    /// The rest of the day, in append order.
    pub fn records(&mut self) -> impl Iterator<Item = Item> + '_ {
        std::iter::from_fn(move || self.next_item())
    }

    /// The next item; none once the day is over and the truth complete.
    pub fn next_item(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.outbox.pop_before(if self.finished { i64::MAX } else { self.made_to }) {
                return Some(item);
            }
            if self.finished {
                return None;
            }
            self.make_minute();
        }
    }

    /// Complete once `next_item` has given none; before that without incidents.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// Where a buffer rule's predicate held though nothing was planted there, or only for a moment:
    /// a fault of the model. Complete with the truth.
    pub fn oddities(&self) -> &[String] {
        &self.oddities
    }

    fn make_minute(&mut self) {
        let (from, end) = (self.made_to, self.options.to_us());
        if from >= end {
            for s in 0..=TAIL_S {
                self.outbox.second(end + s * SECOND);
            }
            self.finish();
            return;
        }
        let to = (from + MINUTE).min(end);
        for now in (from..to).step_by(SECOND as usize) {
            self.outbox.second(now);
            for (buffers, upstream) in self.buffers.iter_mut().zip(&mut self.upstream) {
                buffers.step(now);
                upstream.step(&self.floor, buffers, now, &mut self.outbox);
            }
        }
        for desk in &mut self.desks {
            desk.run_to(to, &self.floor.articles, &mut self.outbox);
        }
        for shop in &mut self.shops {
            shop.run_to(to, &self.floor, &mut self.outbox);
        }
        let ready = self.due.partition_point(|d| d.at < to);
        for due in self.due.drain(..ready) {
            self.outbox.reference(due.at, due.changes);
        }
        self.made_to = to;
    }

    fn finish(&mut self) {
        self.finished = true;
        let mut incidents = Vec::new();
        for (n, desk) in self.desks.iter().enumerate() {
            let Some(station) = self.floor.stations.get(n) else { continue };
            self.station_incidents(n, station, desk, &mut incidents);
        }
        if let Some(late) = self.plan.latecomer {
            let (site, station) = self.floor.latecomer();
            incidents.push(Incident {
                key: site.id.clone(),
                touches: entities(&station),
                masks_to: Some(EventTime(late.inserted_at + STATION_MASK)),
                ..unseen("unknown_warehouse", &site.id, late.from, late.inserted_at)
            });
        }
        for (w, plans) in self.plans.iter().enumerate() {
            let site = &self.floor.warehouses[w].id;
            for plan in plans.iter().filter(|p| !p.trouble.scored()) {
                let Some(unit) = self.floor.units.iter().position(|u| u.paths == plan.paths) else {
                    continue;
                };
                let touched = self.floor.touched(unit);
                incidents.push(Incident {
                    key: self.floor.units[unit].id.clone(),
                    touches: touched.into_iter().map(|u| self.floor.units[u].id.clone()).collect(),
                    masks_to: Some(EventTime(plan.to + UNIT_MASK)),
                    ..unseen(plan.trouble.name(), site, plan.from, plan.to)
                });
            }
            let start = self.options.from_us();
            let seen = observe(&self.floor, w, start, &self.buffers[w], plans, &self.limit_changes);
            incidents.extend(seen.incidents);
            self.oddities.extend(seen.oddities);
        }
        incidents.sort_by(|a, b| (a.from, &a.kind, &a.key, a.onset).cmp(&(b.from, &b.kind, &b.key, b.onset)));
        self.truth.incidents = incidents;
    }

    fn station_incidents(&self, n: usize, station: &Station, desk: &Desk, out: &mut Vec<Incident>) {
        let site = &self.floor.warehouses[station.warehouse].id;
        for parcel in &desk.planted {
            let barcode = matches!(parcel.kind, "unknown_barcode" | "bad_check_digit" | "double_scan");
            out.push(Incident {
                kind: parcel.kind.into(),
                cause: parcel.kind.into(),
                reason: String::new(),
                rule: if barcode { "barcode" } else { "brand_mismatch" }.into(),
                warehouse: site.clone(),
                key: station.id.clone(),
                from: EventTime(parcel.at),
                to: EventTime(parcel.at),
                onset: Some(EventTime(parcel.at)),
                scored: true,
                touches: vec![station.id.clone()],
                masks_to: None,
            });
        }
        for span in &self.plan.stations[n] {
            let cause = span.fault.kind();
            for kind in span.fault.found_by() {
                out.push(Incident {
                    cause: cause.into(),
                    reason: span.fault.reason(kind).into(),
                    rule: match *kind {
                        "silent_camera" => "camera_silent",
                        "dead_agent" => "device_silent",
                        rule => rule,
                    }
                    .into(),
                    key: station.id.clone(),
                    onset: desk.onsets.get(&(span.from, *kind)).map(|t| EventTime(*t)),
                    scored: true,
                    touches: entities(station),
                    ..unseen(kind, site, span.from, span.to)
                });
            }
            if !span.fault.scored() {
                // The window of a scan just before the fault may reach into it.
                out.push(Incident {
                    key: station.id.clone(),
                    touches: entities(station),
                    masks_to: Some(EventTime(span.to + STATION_MASK)),
                    ..unseen(cause, site, span.from - 5 * SECOND, span.to)
                });
            }
        }
    }
}

/// A station and its devices.
fn entities(station: &Station) -> Vec<String> {
    vec![station.id.clone(), station.agent.clone(), station.camera.clone(), station.scanner.clone()]
}

fn unseen(kind: &str, site: &str, from: i64, to: i64) -> Incident {
    Incident {
        kind: kind.into(),
        cause: kind.into(),
        reason: String::new(),
        rule: String::new(),
        warehouse: site.to_owned(),
        key: String::new(),
        from: EventTime(from),
        to: EventTime(to),
        onset: None,
        scored: false,
        touches: Vec::new(),
        masks_to: None,
    }
}

/// Changes of thresholds and routes, as transactions and as what the observer must know.
fn planned_changes(floor: &Floor, plan: &Plan) -> (Vec<Due>, Vec<LimitChange>) {
    let (mut due, mut limits, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    for p in &plan.units {
        let Some(unit) = floor.units.iter().position(|u| u.paths == p.paths) else { continue };
        let u = &floor.units[unit];
        let change = match p.trouble {
            Trouble::ThresholdChange => {
                let new = Limits { overflow_on: 850, overflow_off: 750, ..u.limits };
                // A second change takes the first one back.
                let old =
                    limits.iter().rfind(|c: &&LimitChange| c.unit == unit).map_or(u.limits, |c| c.limits);
                let new = if old == new { u.limits } else { new };
                limits.push(LimitChange { at: p.from, unit, limits: new });
                Change {
                    table: "units",
                    before: Some(reference::unit(floor, u, old)),
                    after: Some(reference::unit(floor, u, new)),
                }
            }
            Trouble::RouteChange => {
                let path = p.paths[0];
                // The induct path is the last of its warehouse; a second change finds it in place.
                let induct = Some(crate::floor::PATHS_PER_WAREHOUSE * (p.warehouse + 1) - 1);
                let (old, new) = (if moved.contains(&path) { induct } else { None }, induct);
                moved.push(path);
                Change {
                    table: "paths",
                    before: Some(reference::path(floor, path, old)),
                    after: Some(reference::path(floor, path, new)),
                }
            }
            _ => continue,
        };
        due.push(Due { at: p.from, changes: vec![change] });
    }
    (due, limits)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;
#[cfg(test)]
mod twin_facts;
