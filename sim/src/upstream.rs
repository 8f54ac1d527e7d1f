//! What warehouse management, controllers and labour systems tell about one warehouse's buffers.
//!
//! In:   the buffers, second by second.
//! Out:  rows of `wms_levels`, `plc_counters`, `labor_staffing`.
//! Owns: when each is read and sent. Noise is in time only; values are true unless planted.

use crate::buffers::Buffers;
use crate::floor::{Floor, LINE_NAMES, PATHS_PER_WAREHOUSE, WORKPOOLS};
use crate::plan::{Trouble, UnitPlan};
use crate::record::{Json, Outbox, Sent, Topic};
use crate::rng::Rng;

const SECOND: i64 = 1_000_000;

#[derive(Debug)]
struct Counter {
    next: i64,
    boot: u32,
    seq: u64,
    /// Totals at the controller's last start.
    in_base: i64,
    out_base: i64,
}

/// The three upstream systems of one warehouse.
#[derive(Debug)]
pub struct Upstream {
    warehouse: usize,
    rng: Rng,
    counters: Vec<Counter>,
    /// When the next level of each path is taken, and by how much it is wrong.
    levels: Vec<(i64, i64)>,
    level_seq: u64,
    labor_seq: u64,
    /// Planted faults of this warehouse: trouble, path (0 to 6), from, to, begun.
    faults: Vec<(Trouble, usize, i64, i64, bool)>,
}

impl Upstream {
    pub fn new(seed: u64, floor: &Floor, warehouse: usize, plans: &[UnitPlan], start: i64) -> Upstream {
        let mut rng = Rng::of(seed, &format!("upstream {}", floor.warehouses[warehouse].id));
        let counters = (0..PATHS_PER_WAREHOUSE)
            .map(|p| Counter {
                next: start + SECOND + p as i64 * 1_300_000,
                boot: 1,
                seq: 0,
                in_base: -rng.range(0, 90_000),
                out_base: -rng.range(0, 90_000),
            })
            .collect();
        let levels =
            (0..PATHS_PER_WAREHOUSE).map(|_| (start + rng.range(12_000, 40_000) * 1000, 0)).collect();
        let faults = plans
            .iter()
            .filter(|p| !p.trouble.scored())
            .map(|p| (p.trouble, p.paths[0] % PATHS_PER_WAREHOUSE, p.from, p.to, false))
            .collect();
        Upstream { warehouse, rng, counters, levels, level_seq: 0, labor_seq: 0, faults }
    }

    /// Sends what falls due in the second after `now`; call it after `Buffers::step(now)`.
    pub fn step(&mut self, floor: &Floor, buffers: &Buffers, now: i64, out: &mut Outbox) {
        self.begin_faults(buffers, now);
        for p in 0..PATHS_PER_WAREHOUSE {
            if self.counters[p].next < now + SECOND {
                self.count(floor, buffers, p, out);
            }
            if self.levels[p].0 < now + SECOND {
                self.tell_level(floor, buffers, p, out);
            }
        }
        if now % (60 * SECOND) == 0 {
            for pool in 0..WORKPOOLS.len() {
                self.staff(floor, buffers, pool, now, out);
            }
        }
    }

    fn begin_faults(&mut self, buffers: &Buffers, now: i64) {
        for (trouble, p, from, to, begun) in &mut self.faults {
            if *begun || now < *from {
                continue;
            }
            *begun = true;
            match *trouble {
                Trouble::CounterReset => {
                    let (_, ins, outs) = buffers.path(*p);
                    let counter = &mut self.counters[*p];
                    counter.boot += 1;
                    (counter.seq, counter.in_base, counter.out_base) = (0, ins, outs);
                }
                Trouble::StaleLevel => self.levels[*p].0 = *to,
                Trouble::WrongLevel(off) => self.levels[*p] = (now, off),
                _ => {}
            }
        }
    }

    fn delay(&mut self, least: i64, most: i64) -> i64 {
        self.rng.range(least, most) * 1000
    }

    fn count(&mut self, floor: &Floor, buffers: &Buffers, p: usize, out: &mut Outbox) {
        let path = &floor.paths[self.warehouse * PATHS_PER_WAREHOUSE + p];
        let site = &floor.warehouses[self.warehouse].id;
        let delay_us = self.delay(100, 1500);
        let jitter = self.rng.range(-150_000, 150_000);
        let counter = &mut self.counters[p];
        let at = counter.next;
        // The beat is kept, the jitter is not carried on.
        counter.next = at - at.rem_euclid(SECOND) + 10 * SECOND + (500_000 + jitter).clamp(0, 999_999);
        counter.seq += 1;
        let (_, ins, outs) = buffers.path(p);
        let device =
            format_args!("{site}-PLC-{}{}", WORKPOOLS[path.workpool], LINE_NAMES[path.line]).to_string();
        let mut json = Json::new();
        json.show("event_id", format_args!("{device}/{}/{}", counter.boot, counter.seq))
            .text("warehouse", site)
            .text("device", &device)
            .text("workpool", WORKPOOLS[path.workpool])
            .text("path", &path.id)
            .int("in_total", ins - counter.in_base)
            .int("out_total", outs - counter.out_base)
            .time("counted_at", at);
        let sent = Sent { made_us: at, delay_us, fault: false };
        out.row(Topic::PlcCounters, self.warehouse, sent, json.finish());
    }

    fn tell_level(&mut self, floor: &Floor, buffers: &Buffers, p: usize, out: &mut Outbox) {
        let path = &floor.paths[self.warehouse * PATHS_PER_WAREHOUSE + p];
        let site = &floor.warehouses[self.warehouse].id;
        let (at, off) = self.levels[p];
        let (fill, _, _) = buffers.path(p);
        let items = (fill + path.capacity * off / 1000).max(0);
        // A wrong level is set right at the end of its incident, a true one holds 1 to 5 minutes.
        let wrong_until = self
            .faults
            .iter()
            .find(|(t, q, from, to, _)| {
                matches!(t, Trouble::WrongLevel(_)) && *q == p && off != 0 && (*from..=*to).contains(&at)
            })
            .map(|(_, _, _, to, _)| *to);
        let usual = at + self.rng.range(60_000, 300_000) * 1000;
        self.levels[p] = (wrong_until.unwrap_or(usual), 0);
        if let Some((_, _, _, to, _)) = self
            .faults
            .iter()
            .find(|(t, q, from, to, _)| *t == Trouble::StaleLevel && *q == p && *from <= usual && usual < *to)
        {
            self.levels[p].0 = *to;
        }
        self.level_seq += 1;
        let delay_us = self.delay(200, 3000);
        let mut json = Json::new();
        json.show("event_id", format_args!("{site}-WMS/1/{}", self.level_seq))
            .text("warehouse", site)
            .show("device", format_args!("{site}-WMS"))
            .text("workpool", WORKPOOLS[path.workpool])
            .text("path", &path.id)
            .int("items", items)
            .time("taken_at", at);
        let sent = Sent { made_us: at, delay_us, fault: false };
        out.row(Topic::WmsLevels, self.warehouse, sent, json.finish());
    }

    fn staff(&mut self, floor: &Floor, buffers: &Buffers, pool: usize, now: i64, out: &mut Outbox) {
        let site = &floor.warehouses[self.warehouse].id;
        let (active, planned) = buffers.people(pool, now);
        let at = now + 200_000 + pool as i64 * 90_000;
        let delay_us = self.delay(200, 2000);
        self.labor_seq += 1;
        let mut json = Json::new();
        json.show("event_id", format_args!("{site}-LABOR/1/{}", self.labor_seq))
            .text("warehouse", site)
            .show("device", format_args!("{site}-LABOR"))
            .text("workpool", WORKPOOLS[pool])
            .int("active_stations", active)
            .int("planned_stations", planned)
            .milli("rated_per_min", 12_000)
            .time("at_ts", at);
        let sent = Sent { made_us: at, delay_us, fault: false };
        out.row(Topic::LaborStaffing, self.warehouse, sent, json.finish());
    }
}
