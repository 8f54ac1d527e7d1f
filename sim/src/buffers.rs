//! The buffers of one warehouse as queues, second by second.
//!
//! In:   the plan of the warehouse and the second.
//! Out:  level, items in and items out of each path; people at work; when each trouble was over.
//! Owns: the queues. Not what upstream systems tell about them (`upstream`).
//!
//! Items enter at the picking paths and the induct by an arrival process with rush hours, and pass
//! PICK, PACK, SHIP of their line. People keep every level near its target: they work as fast as
//! items come in, a little faster where the level is high. A trouble takes single paths out of that.
//!
//! B1  Level = items in − items out, never below 0.
//! B2  A path without trouble stays between 0.2 and 0.5 of its capacity: its inflow is throttled from
//!     0.4 on, its outflow below 0.25.
//! B3  A trouble ends by itself: people throttle a rush, repair a jam, bring work.

use crate::floor::{Floor, INDUCT, PATHS_PER_WAREHOUSE, WORKPOOLS};
use crate::plan::{Trouble, UnitPlan};
use crate::rng::Rng;

const SECOND: i64 = 1_000_000;
/// Rates are in millionths of an item per second.
const ITEM: i64 = 1_000_000;

/// Thousandths of a picking path's capacity that arrive per minute, by local hour.
const ARRIVALS: [i64; 24] =
    [40, 40, 40, 40, 42, 46, 52, 60, 68, 72, 70, 64, 56, 52, 56, 64, 70, 72, 66, 60, 54, 48, 44, 40];

/// What people and machines do at one path.
///
/// | drive  | level | ends when                       | then   |
/// |--------|-------|---------------------------------|--------|
/// | Normal | held  | a trouble starts                |        |
/// | Fill   | rises | full                            | Hold   |
/// | Hold   | held  | people throttle the inflow      | Relief |
/// | Jam    | rises | full                            | Stuck  |
/// | Stuck  | held  | the jam is repaired             | Relief |
/// | Relief | falls | near the target                 | Normal |
/// | Drain  | falls | empty                           | Empty  |
/// | Empty  | held  | work, people or upstream return | Refill |
/// | Refill | rises | near the target                 | Normal |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drive {
    Normal,
    Fill,
    Hold { until: i64 },
    Jam,
    Stuck { until: i64 },
    Relief,
    Drain,
    Empty { until: i64 },
    Refill,
}

#[derive(Debug)]
struct Queue {
    capacity: i64,
    drive: Drive,
    /// The plan that drives it, index into `plans`.
    plan: usize,
    fill: i64,
    /// Items since the beginning of the day.
    in_total: i64,
    out_total: i64,
    in_now: i64,
    out_now: i64,
    /// Smoothed inflow.
    in_rate: i64,
    in_credit: i64,
    out_credit: i64,
}

/// The state of one path at the end of a ten-second slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub fill: i64,
    pub out_total: i64,
}

#[derive(Debug)]
pub struct Buffers {
    queues: Vec<Queue>,
    plans: Vec<UnitPlan>,
    /// Per plan: when it was over.
    pub done: Vec<Option<i64>>,
    started: Vec<bool>,
    first: usize,
    utc_offset_us: i64,
    rng: Rng,
    /// Per path of the warehouse, one value per ten seconds from the start of the day.
    pub slots: Vec<Vec<Slot>>,
    /// Per workpool, the same times.
    pub active: Vec<Vec<i64>>,
}

fn clamp_share(value: i64, span: i64) -> i64 {
    (value * 1000 / span.max(1)).clamp(0, 1000)
}

impl Buffers {
    /// Buffers of `warehouse`; `plans` are its own, by start.
    pub fn new(seed: u64, floor: &Floor, warehouse: usize, plans: Vec<UnitPlan>) -> Buffers {
        let site = &floor.warehouses[warehouse];
        let mut rng = Rng::of(seed, &format!("buffers {}", site.id));
        let first = warehouse * PATHS_PER_WAREHOUSE;
        let queues = floor.paths[first..first + PATHS_PER_WAREHOUSE]
            .iter()
            .map(|p| {
                let fill = p.capacity * rng.range(300, 350) / 1000;
                Queue {
                    capacity: p.capacity,
                    drive: Drive::Normal,
                    plan: 0,
                    fill,
                    in_total: fill,
                    out_total: 0,
                    in_now: 0,
                    out_now: 0,
                    in_rate: p.capacity * 55 * ITEM / 60_000,
                    in_credit: 0,
                    out_credit: 0,
                }
            })
            .collect();
        Buffers {
            queues,
            done: vec![None; plans.len()],
            started: vec![false; plans.len()],
            plans,
            first,
            utc_offset_us: site.utc_offset_h * 3600 * SECOND,
            rng,
            slots: vec![Vec::new(); PATHS_PER_WAREHOUSE],
            active: vec![Vec::new(); WORKPOOLS.len()],
        }
    }

    /// Level, items in and items out since the day began of path `p` (0 to 6).
    pub fn path(&self, p: usize) -> (i64, i64, i64) {
        let q = &self.queues[p];
        (q.fill, q.in_total, q.out_total)
    }

    /// Arrivals in thousandths of a capacity per minute, and whether it is a break.
    fn load(&self, now: i64) -> (i64, bool) {
        let local = (now + self.utc_offset_us).rem_euclid(86_400 * SECOND) / SECOND;
        let (hour, rest) = ((local / 3600) as usize, local % 3600);
        let (a, b) = (ARRIVALS[hour], ARRIVALS[(hour + 1) % 24]);
        let load = a + (b - a) * rest / 3600;
        let on_break = matches!(hour, 10 | 18 | 2) && rest < 900;
        (if on_break { load * 7 / 10 } else { load }, on_break)
    }

    /// `(active, planned)` stations of a workpool.
    pub fn people(&self, workpool: usize, now: i64) -> (i64, i64) {
        let (load, on_break) = self.load(now);
        let full = 4 + load / 12 + workpool as i64;
        let planned = if on_break { full / 2 } else { full };
        let lacking = (0..2).any(|line| {
            let q = &self.queues[workpool * 2 + line];
            matches!(q.drive, Drive::Drain | Drive::Empty { .. })
                && self.plans[q.plan].trouble == Trouble::People
        });
        (if lacking { (planned / 4).max(1) } else { planned }, planned)
    }

    /// Plays the second that starts at `now`; states before it go to the slots.
    pub fn step(&mut self, now: i64) {
        if now % (10 * SECOND) == 0 {
            for (slots, q) in self.slots.iter_mut().zip(&self.queues) {
                slots.push(Slot { fill: q.fill, out_total: q.out_total });
            }
            for pool in 0..WORKPOOLS.len() {
                let (active, _) = self.people(pool, now);
                self.active[pool].push(active);
            }
        }
        self.start_plans(now);
        let (load, _) = self.load(now);
        for line in 0..INDUCT {
            let demand = self.queues[line].capacity * load * ITEM / 60_000;
            for pool in 0..WORKPOOLS.len() {
                let p = pool * 2 + line;
                let upstream = (pool > 0).then(|| self.queues[p - 2].out_now);
                let downstream = (pool + 1 < WORKPOOLS.len()).then_some(p + 2);
                self.flow(p, demand, load, upstream, downstream, now);
            }
        }
        let demand = self.queues[INDUCT + 4].capacity * load * ITEM / 60_000;
        self.flow(PATHS_PER_WAREHOUSE - 1, demand, load, None, None, now);
        self.end_plans(now);
    }

    fn start_plans(&mut self, now: i64) {
        for (n, plan) in self.plans.iter().enumerate() {
            if self.started[n] || now < plan.from || !plan.trouble.scored() {
                continue;
            }
            self.started[n] = true;
            let drive = match plan.trouble {
                Trouble::Jam | Trouble::Cascade => Drive::Jam,
                Trouble::Work | Trouble::People => Drive::Drain,
                _ => Drive::Fill,
            };
            for (path, drive) in
                plan.paths.iter().map(|p| (*p, drive)).chain(plan.starved.map(|p| (p, Drive::Drain)))
            {
                let q = &mut self.queues[path - self.first];
                (q.drive, q.plan, q.in_credit) = (drive, n, 0);
            }
        }
    }

    fn end_plans(&mut self, now: i64) {
        for (n, plan) in self.plans.iter().enumerate() {
            if self.started[n] && self.done[n].is_none() {
                let idle = |p: &usize| self.queues[*p - self.first].drive == Drive::Normal;
                if plan.paths.iter().chain(plan.starved.iter()).all(idle) {
                    self.done[n] = Some(now);
                }
            }
        }
    }

    /// Thousandths of the usual inflow that path `p` takes.
    fn admission(&self, p: usize) -> i64 {
        let q = &self.queues[p];
        match q.drive {
            Drive::Normal => clamp_share(q.capacity / 2 - q.fill, q.capacity / 10),
            Drive::Stuck { .. } => 0,
            Drive::Drain | Drive::Empty { .. } => match self.plans[q.plan].trouble {
                Trouble::Work => 0,
                Trouble::People => 300,
                _ => 1000,
            },
            _ => 1000,
        }
    }

    fn noisy(&mut self, rate: i64) -> i64 {
        rate * self.rng.range(750, 1250) / 1000
    }

    /// One second of path `p`: `demand` is its line's usual flow, `upstream` what came from there.
    fn flow(
        &mut self,
        p: usize,
        demand: i64,
        load: i64,
        upstream: Option<i64>,
        downstream: Option<usize>,
        now: i64,
    ) {
        let admission = self.admission(p);
        let (drive, plan, capacity) = (self.queues[p].drive, self.queues[p].plan, self.queues[p].capacity);
        let pace = self.plans.get(plan).map_or(0, |plan| plan.pace) * capacity * ITEM / 60_000;
        // Items that come in: what upstream sent, or arrivals, or as much as the trouble wants.
        let came = upstream.unwrap_or(0);
        let wanted = match drive {
            Drive::Fill => Some(demand + pace),
            Drive::Jam => Some(pace.max(demand)),
            _ if upstream.is_some() => None,
            Drive::Refill => Some(demand * 13 / 10),
            _ => Some(demand * admission / 1000),
        };
        let wanted = wanted.map(|rate| self.noisy(rate));
        let target = capacity * (300 + (load - 40) * 2) / 1000;
        let surge = self.rng.range(750, 1250);
        let room = downstream.map_or(1000, |d| self.admission(d));
        // A path that lacks people is sent a share of the usual flow, whatever waits upstream.
        let feed = downstream.filter(|_| room < 1000).filter(|d| self.queues[*d].drive != Drive::Normal);
        let q = &mut self.queues[p];
        q.in_now = came;
        if let Some(rate) = wanted {
            q.in_credit = (q.in_credit + rate - came * ITEM).max(-5 * ITEM);
            let extra = (q.in_credit / ITEM).max(0);
            q.in_credit -= extra * ITEM;
            q.in_now += extra;
        }
        q.in_rate += (q.in_now * ITEM - q.in_rate) / 45;
        // Items that go out.
        let rate = match drive {
            Drive::Normal => {
                let low = clamp_share(q.fill - capacity / 5, capacity / 20);
                (q.in_rate + (q.fill - target) * ITEM / 120).clamp(0, 3 * demand) * low / 1000 * surge / 1000
            }
            Drive::Fill => demand,
            Drive::Relief => q.in_rate + capacity * 70 * ITEM / 60_000,
            Drive::Drain => q.in_rate + pace,
            Drive::Refill => (q.in_rate - capacity * 60 * ITEM / 60_000).max(demand / 4),
            Drive::Hold { .. } | Drive::Empty { .. } | Drive::Jam | Drive::Stuck { .. } => 0,
        };
        let rate = match feed {
            Some(_) => rate.min(demand * room / 1000),
            None => rate * room / 1000,
        };
        q.out_credit += rate;
        let mut out = (q.out_credit / ITEM).max(0);
        q.out_credit -= out * ITEM;
        if matches!(drive, Drive::Hold { .. } | Drive::Empty { .. }) {
            out = q.in_now;
        }
        q.out_now = out.min(q.fill + q.in_now);
        q.fill += q.in_now - q.out_now;
        q.in_total += q.in_now;
        q.out_total += q.out_now;
        let share = q.fill * 1000 / capacity;
        self.turn(p, share, target * 1000 / capacity, now);
    }

    /// The next drive of path `p`, whose level is `share` thousandths.
    fn turn(&mut self, p: usize, share: i64, target: i64, now: i64) {
        let q = &self.queues[p];
        let Some(plan) = self.plans.get(q.plan) else { return };
        let until = now + plan.hold_s * SECOND;
        let blocked = plan.starved == Some(self.first + p)
            && matches!(self.queues[p - 2].drive, Drive::Jam | Drive::Stuck { .. });
        let next = match q.drive {
            Drive::Fill if share >= 955 => Drive::Hold { until },
            Drive::Jam if share >= 960 => Drive::Stuck { until },
            Drive::Hold { until } | Drive::Stuck { until } if now >= until => Drive::Relief,
            Drive::Relief if share <= target + 30 => Drive::Normal,
            Drive::Drain if share <= 25 => Drive::Empty { until },
            Drive::Empty { until } if now >= until && !blocked => Drive::Refill,
            Drive::Refill if share >= target - 30 => Drive::Normal,
            same => same,
        };
        self.queues[p].drive = next;
    }
}
