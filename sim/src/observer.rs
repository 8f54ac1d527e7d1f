//! The perfect observer: when do the buffer rules' predicates hold on the true levels?
//!
//! In:   true levels and flows per path each ten seconds, thresholds with their changes, the plans.
//! Out:  scored incidents of kinds `overflow`, `jam`, `starvation`, with cause and onset.
//! Owns: the predicates, in integers; nothing of the engine.
//!
//! V1  `overflow`: level at or above `overflow_on`; or at or above 0.6 of the capacity and, by the
//!     regression over the last 10 minutes, rising by more than 0.5 items per minute and full within
//!     `horizon_min`.
//! V2  `jam`: at or above `overflow_on`, and nothing left within the last 2 minutes.
//! V3  `starvation`: at or below `starve_on` while people are at work.

use weir_contract::EventTime;

use crate::buffers::{Buffers, Slot};
use crate::floor::{Floor, Limits, PATHS_PER_WAREHOUSE};
use crate::plan::{Trouble, UnitPlan};
use crate::truth::Incident;

const SECOND: i64 = 1_000_000;
/// Slots in the ten minutes of the trend, both ends in.
const TREND: usize = 61;
/// Slots in two minutes.
const STILL: usize = 12;
/// Slots without the predicate that end an episode: three minutes.
const APART: usize = 18;
/// Slots that a predicate must hold to be told apart from a graze: one minute.
const HELD: usize = 6;

/// A threshold change: from when, which unit, to what.
#[derive(Debug, Clone, Copy)]
pub struct LimitChange {
    pub at: i64,
    pub unit: usize,
    pub limits: Limits,
}

/// What the observer saw. `oddities` are predicates that held without a plan or for less than a
/// minute; a good day has none.
#[derive(Debug, Default)]
pub struct Seen {
    pub incidents: Vec<Incident>,
    pub oddities: Vec<String>,
}

/// The true series of one unit.
struct Series {
    fill: Vec<i64>,
    out_total: Vec<i64>,
    active: Vec<i64>,
}

/// Whether a unit of `capacity` overflows by its last levels, oldest first, ten seconds apart.
pub fn overflows(levels: &[i64], capacity: i64, limits: Limits) -> bool {
    let Some(fill) = levels.last().copied() else { return false };
    if fill * 1000 >= limits.overflow_on * capacity {
        return true;
    }
    if fill * 10 < 6 * capacity {
        return false;
    }
    let n = levels.len() as i64;
    let (mut sx, mut sy, mut sxx, mut sxy) = (0, 0, 0, 0);
    for (x, y) in (0i64..).zip(levels) {
        sx += x;
        sy += y;
        sxx += x * x;
        sxy += x * y;
    }
    // Slope per slot = rise / run; six slots are a minute.
    let (rise, run) = (n * sxy - sx * sy, n * sxx - sx * sx);
    run > 0 && 12 * rise > run && (capacity - fill) * run <= limits.horizon_min * 6 * rise
}

impl Series {
    fn of(floor: &Floor, unit: usize, buffers: &Buffers) -> Series {
        let u = &floor.units[unit];
        let slots = buffers.slots[0].len();
        let sum = |n: usize, of: fn(&Slot) -> i64| -> i64 {
            u.paths.iter().map(|p| of(&buffers.slots[p % PATHS_PER_WAREHOUSE][n])).sum()
        };
        Series {
            fill: (0..slots).map(|n| sum(n, |s| s.fill)).collect(),
            out_total: (0..slots).map(|n| sum(n, |s| s.out_total)).collect(),
            active: buffers.active[u.workpool].clone(),
        }
    }

    fn holds(&self, kind: &str, n: usize, capacity: i64, limits: Limits) -> bool {
        let full = self.fill[n] * 1000 >= limits.overflow_on * capacity;
        match kind {
            "overflow" => overflows(&self.fill[(n + 1).saturating_sub(TREND)..=n], capacity, limits),
            "jam" => full && n >= STILL && self.out_total[n] == self.out_total[n - STILL],
            _ => self.fill[n] * 1000 <= limits.starve_on * capacity && self.active[n] > 0,
        }
    }
}

/// Looks at all units of one warehouse. `done` says when each of its `plans` was over.
pub fn observe(
    floor: &Floor,
    warehouse: usize,
    start: i64,
    buffers: &Buffers,
    plans: &[UnitPlan],
    changes: &[LimitChange],
) -> Seen {
    let mut seen = Seen::default();
    for (unit, u) in floor.units.iter().enumerate().filter(|(_, u)| u.warehouse == warehouse) {
        let series = Series::of(floor, unit, buffers);
        let limits_at = |at: i64| {
            let latest = changes.iter().rfind(|c| c.unit == unit && c.at <= at);
            latest.map_or(u.limits, |c| c.limits)
        };
        // A slot's row carries its last microsecond.
        let at = |n: usize| start + n as i64 * 10 * SECOND - 1;
        for kind in ["overflow", "jam", "starvation"] {
            let held: Vec<usize> = (1..series.fill.len())
                .filter(|n| series.holds(kind, *n, u.capacity, limits_at(at(*n))))
                .collect();
            for episode in held.chunk_by(|a, b| b - a < APART) {
                let (first, last) = (at(episode[0]), at(episode[episode.len() - 1]));
                let plan = plans.iter().enumerate().find(|(n, p)| {
                    let over = buffers.done[*n].unwrap_or(p.to).max(p.to);
                    let mut paths = p.paths.iter().chain(&p.starved);
                    p.trouble.scored()
                        && p.from <= first
                        && first <= over
                        && paths.any(|path| u.paths.contains(path))
                });
                let Some((n, plan)) = plan.filter(|_| episode.len() >= HELD) else {
                    let planned = plan.map_or("no plan", |(_, p)| p.trouble.name());
                    let times = (EventTime(first), EventTime(last));
                    seen.oddities.push(format!(
                        "{kind} of {} held in {} slots from {} to {}: {planned}",
                        u.id,
                        episode.len(),
                        times.0,
                        times.1
                    ));
                    continue;
                };
                let cause = match (plan.trouble, kind) {
                    (Trouble::Cascade, "overflow" | "jam") => "jam",
                    (trouble, _) => trouble.name(),
                };
                seen.incidents.push(Incident {
                    kind: kind.into(),
                    cause: cause.into(),
                    reason: String::new(),
                    rule: kind.into(),
                    warehouse: floor.warehouses[warehouse].id.clone(),
                    key: u.id.clone(),
                    from: EventTime(plan.from),
                    to: EventTime(buffers.done[n].unwrap_or(plan.to).max(last)),
                    onset: Some(EventTime(first)),
                    scored: true,
                    touches: vec![u.id.clone()],
                    masks_to: None,
                });
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { overflow_on: 900, overflow_off: 800, starve_on: 100, starve_off: 200, horizon_min: 10 };

    #[test]
    fn a_trend_fires_before_the_threshold_and_a_flat_level_does_not() {
        let rising: Vec<i64> = (0..61).map(|n| 300 + n * 6).collect();
        // 36 items per minute; 660 of 1 000: full in 9.4 minutes.
        assert!(overflows(&rising, 1000, LIMITS));
        assert!(!overflows(&rising, 1100, LIMITS), "full in 12 minutes");
        assert!(!overflows(&[880; 61], 1000, LIMITS));
        assert!(overflows(&[900; 61], 1000, LIMITS));
        assert!(!overflows(&[700], 1000, LIMITS), "one level is no trend");
        let falling: Vec<i64> = (0..61).map(|n| 890 - n * 4).collect();
        assert!(!overflows(&falling, 1000, LIMITS));
    }
}
