//! What is planted where and when, decided before the day begins.
//!
//! In:   options and the floor.
//! Out:  spans of faults per station, troubles per warehouse's buffers, the latecomer's times.
//! Owns: the places. What happens inside them is `stations` and `buffers`.
//!
//! P1  Nothing is planted in the last ten minutes, nor ends there.
//! P2  Spans of one station, and troubles that share a line or a workpool, keep their distance.
//! P3  Masks of unseen kinds cover at most `MASK_LIMIT` of station time and of unit time.

use crate::floor::{Floor, INDUCT, LATECOMER, PATHS_PER_WAREHOUSE, WORKPOOLS};
use crate::options::{DayOptions, IncidentRates, MINUTE, QUIET_END};
use crate::rng::Rng;

const SECOND: i64 = 1_000_000;

/// Share of station time and of unit time, in thousandths, that masks may take: 5 % is the law.
pub const MASK_LIMIT: i64 = 45;
/// A mask goes on after an unseen incident of a station.
pub const STATION_MASK: i64 = MINUTE;
/// A mask goes on after an unseen incident of a unit.
pub const UNIT_MASK: i64 = 10 * MINUTE;

/// What is wrong with a station for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    SilentCamera,
    DeadAgent,
    /// No network: everything arrives, late, when it is back.
    Offline,
    /// The clock is off by so many microseconds.
    ClockOff(i64),
    /// The clock gains so many microseconds each second, then is set right.
    Drift(i64),
    Duplicates,
    Disorder,
    Stragglers,
    Corrupt,
    /// The clock is ahead (or, below 0, behind) by so many microseconds, less than a second.
    ClockSkew(i64),
    /// Nobody sets the clock, nobody knows how far it is off. It is right all the same.
    Unsynced,
    /// So many frames a second wait in the spool, until three fifths of the span; then they drain.
    Backlog(i64),
    /// So many records are given up between two health records.
    Refused(i64),
    NoDisk,
    Hot,
    FullDisk,
    HotAndFull,
    BatteryLow,
}

impl Fault {
    pub fn kind(self) -> &'static str {
        match self {
            Fault::SilentCamera => "silent_camera",
            Fault::DeadAgent => "dead_agent",
            Fault::Offline => "offline",
            Fault::ClockOff(_) => "clock_off",
            Fault::Drift(_) => "drift",
            Fault::Duplicates => "duplicates",
            Fault::Disorder => "disorder",
            Fault::Stragglers => "stragglers",
            Fault::Corrupt => "corrupt",
            Fault::ClockSkew(_) => "clock_skew",
            Fault::Unsynced => "unsynced",
            Fault::Backlog(_) => "backlog",
            Fault::Refused(_) => "refused",
            Fault::NoDisk => "no_disk",
            Fault::Hot => "hot",
            Fault::FullDisk => "full_disk",
            Fault::HotAndFull => "hot_and_full",
            Fault::BatteryLow => "battery_low",
        }
    }

    /// The scored kinds that it is found by; none where it is unseen.
    pub fn found_by(self) -> &'static [&'static str] {
        match self {
            Fault::SilentCamera => &["silent_camera"],
            Fault::DeadAgent => &["dead_agent"],
            Fault::ClockSkew(_) | Fault::Unsynced => &["clock_skew"],
            Fault::Backlog(_) => &["spool_growing", "device_behind"],
            Fault::Refused(_) | Fault::NoDisk => &["spool_growing"],
            Fault::Hot | Fault::FullDisk | Fault::HotAndFull => &["hot_or_full"],
            Fault::BatteryLow => &["battery_low"],
            _ => &[],
        }
    }

    /// The reason that its finder of that kind gives first; empty where any will do.
    pub fn reason(self, kind: &str) -> &'static str {
        match self {
            Fault::ClockSkew(off) if off < 0 => "behind",
            Fault::ClockSkew(_) => "ahead",
            Fault::Unsynced => "unsynced",
            Fault::Backlog(_) if kind == "device_behind" => "behind",
            Fault::Backlog(_) => "filling",
            Fault::Refused(_) => "losing",
            Fault::NoDisk => "in_memory",
            Fault::Hot => "hot",
            Fault::FullDisk => "full",
            Fault::HotAndFull => "hot_and_full",
            Fault::BatteryLow => "low",
            _ => "",
        }
    }

    pub fn scored(self) -> bool {
        !self.found_by().is_empty()
    }

    /// Whether it shows in anything but health records.
    pub fn disturbs(self) -> bool {
        let board = matches!(self, Fault::Hot | Fault::FullDisk | Fault::HotAndFull | Fault::BatteryLow);
        let spool = matches!(self, Fault::Backlog(_) | Fault::Refused(_) | Fault::NoDisk);
        !(board || spool || self == Fault::Unsynced)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: i64,
    pub to: i64,
    pub fault: Fault,
}

/// What happens to buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Rush,
    Slow,
    Jam,
    /// A jam; the path after it runs empty.
    Cascade,
    Work,
    People,
    CounterReset,
    StaleLevel,
    /// One told level is off by so many thousandths of the capacity.
    WrongLevel(i64),
    ThresholdChange,
    RouteChange,
}

impl Trouble {
    pub fn scored(self) -> bool {
        matches!(
            self,
            Trouble::Rush | Trouble::Slow | Trouble::Jam | Trouble::Cascade | Trouble::Work | Trouble::People
        )
    }

    /// The kind in the truth file; a scored trouble names the cause, its kinds follow from the truth.
    pub fn name(self) -> &'static str {
        match self {
            Trouble::Rush => "rush",
            Trouble::Slow => "slow",
            Trouble::Jam => "jam",
            Trouble::Cascade => "upstream",
            Trouble::Work => "work",
            Trouble::People => "people",
            Trouble::CounterReset => "counter_reset",
            Trouble::StaleLevel => "stale_level",
            Trouble::WrongLevel(_) => "wrong_level",
            Trouble::ThresholdChange => "threshold_change",
            Trouble::RouteChange => "route_change",
        }
    }
}

/// A trouble with its place. `paths` are indexes into `Floor::paths`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitPlan {
    pub trouble: Trouble,
    pub warehouse: usize,
    pub paths: Vec<usize>,
    /// The path that runs empty behind a `Cascade`.
    pub starved: Option<usize>,
    pub from: i64,
    /// All is well again by then.
    pub to: i64,
    /// Thousandths of the capacity per minute at which the level moves.
    pub pace: i64,
    /// Seconds at the worst level.
    pub hold_s: i64,
    lines: u8,
    pools: u8,
}

/// The warehouse that nobody has inserted yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latecomer {
    pub from: i64,
    pub inserted_at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Per station of `Floor::stations`, by start.
    pub stations: Vec<Vec<Span>>,
    /// By warehouse, then by start.
    pub units: Vec<UnitPlan>,
    pub latecomer: Option<Latecomer>,
}

struct Budget {
    left: i64,
}

impl Budget {
    fn of(entities: usize, minutes: u32) -> Budget {
        Budget { left: entities as i64 * i64::from(minutes) * MINUTE * MASK_LIMIT / 1000 }
    }

    fn take(&mut self, cost: i64) -> bool {
        let fits = cost <= self.left;
        if fits {
            self.left -= cost;
        }
        fits
    }
}

impl Plan {
    pub fn new(options: &DayOptions, floor: &Floor) -> Plan {
        let mut station_time = Budget::of(floor.stations.len(), options.minutes);
        let mut unit_time = Budget::of(floor.units.len(), options.minutes);
        let latecomer = plan_latecomer(options);
        if let Some(late) = latecomer {
            station_time.left -= late.inserted_at + STATION_MASK - late.from;
        }
        let stations =
            floor.stations.iter().map(|s| plan_station(options, &s.id, &mut station_time)).collect();
        let units = (0..floor.warehouses.len())
            .flat_map(|w| plan_warehouse(options, floor, w, &mut unit_time))
            .collect();
        Plan { stations, units, latecomer }
    }
}

/// A start for something of `length`, after `lead`, so that it ends before the quiet end.
fn place(options: &DayOptions, rng: &mut Rng, lead: i64, length: i64) -> Option<i64> {
    let first = options.from_us() + lead;
    let last = options.to_us() - QUIET_END - length;
    (first <= last).then(|| rng.range(first / 1000, last / 1000) * 1000)
}

fn plan_latecomer(options: &DayOptions) -> Option<Latecomer> {
    let mut rng = Rng::of(options.seed, &format!("plan {LATECOMER}"));
    let span = rng.range(180, 300) * SECOND;
    let wanted = rng.count(options.rates.unknown_warehouse, options.minutes) > 0;
    let from = place(options, &mut rng, 3 * MINUTE, span + MINUTE)?;
    wanted.then_some(Latecomer { from, inserted_at: from + span })
}

fn plan_station(options: &DayOptions, station: &str, budget: &mut Budget) -> Vec<Span> {
    let r = &options.rates;
    let kinds: [(&str, u32); 18] = [
        ("silent_camera", r.silent_camera),
        ("dead_agent", r.dead_agent),
        ("offline", r.offline),
        ("clock_off", r.clock_off),
        ("drift", r.drift),
        ("duplicates", r.duplicates),
        ("disorder", r.disorder),
        ("stragglers", r.stragglers),
        ("corrupt", r.corrupt),
        ("clock_skew", r.clock_skew),
        ("backlog", r.backlog),
        ("hot", r.hot),
        ("full_disk", r.full_disk),
        ("battery_low", r.battery_low),
        ("unsynced", r.unsynced),
        ("refused", r.refused),
        ("no_disk", r.no_disk),
        ("hot_and_full", r.hot_and_full),
    ];
    let mut spans: Vec<Span> = Vec::new();
    for (kind, rate) in kinds {
        let mut rng = Rng::of(options.seed, &format!("plan {station} {kind}"));
        for _ in 0..rng.count(rate, options.minutes) {
            let (fault, length) = draw_fault(kind, &mut rng);
            for _ in 0..20 {
                let Some(from) = place(options, &mut rng, 2 * MINUTE, length + STATION_MASK) else { break };
                let to = from + length;
                let free = |s: &Span| to + 3 * MINUTE < s.from || s.to + 3 * MINUTE < from;
                if spans.iter().all(free) {
                    if fault.scored() || budget.take(length + 5 * SECOND + STATION_MASK) {
                        spans.push(Span { from, to, fault });
                    }
                    break;
                }
            }
        }
    }
    spans.sort_by_key(|s| s.from);
    spans
}

fn draw_fault(kind: &str, rng: &mut Rng) -> (Fault, i64) {
    let brief = rng.range(4, 12) * SECOND;
    match kind {
        "silent_camera" => (Fault::SilentCamera, rng.range(70_000, 180_000) * 1000),
        "dead_agent" => (Fault::DeadAgent, rng.range(70_000, 180_000) * 1000),
        "offline" => (Fault::Offline, 10 * MINUTE),
        "clock_off" => {
            let off = match rng.below(6) {
                0 | 1 => rng.range(4, 20),
                2 => -rng.range(8, 30),
                3 => rng.range(7, 40) * 60,
                4 => -rng.range(2, 40) * 60,
                _ => rng.range(-2, 1) * 2 * 31_557_600 + 31_557_600,
            };
            (Fault::ClockOff(off * SECOND), rng.range(40, 100) * SECOND)
        }
        "drift" => (Fault::Drift(rng.range(10_000, 25_000)), rng.range(120, 240) * SECOND),
        "duplicates" => (Fault::Duplicates, brief),
        "disorder" => (Fault::Disorder, brief),
        "stragglers" => (Fault::Stragglers, brief),
        "clock_skew" => {
            let off = if rng.chance(1, 2) { rng.range(600, 900) } else { -rng.range(520, 650) };
            (Fault::ClockSkew(off * 1000), rng.range(90, 200) * SECOND)
        }
        "backlog" => {
            let per_s = rng.range(2, 5);
            (Fault::Backlog(per_s), rng.range(240, 420) * SECOND)
        }
        "unsynced" => (Fault::Unsynced, rng.range(90, 240) * SECOND),
        "refused" => (Fault::Refused(rng.range(1, 9)), rng.range(90, 240) * SECOND),
        "no_disk" => (Fault::NoDisk, rng.range(90, 240) * SECOND),
        "hot" => (Fault::Hot, rng.range(90, 240) * SECOND),
        "full_disk" => (Fault::FullDisk, rng.range(90, 240) * SECOND),
        "hot_and_full" => (Fault::HotAndFull, rng.range(90, 240) * SECOND),
        "battery_low" => (Fault::BatteryLow, rng.range(120, 300) * SECOND),
        _ => (Fault::Corrupt, brief),
    }
}

fn plan_warehouse(
    options: &DayOptions,
    floor: &Floor,
    warehouse: usize,
    budget: &mut Budget,
) -> Vec<UnitPlan> {
    let r: &IncidentRates = &options.rates;
    let site = &floor.warehouses[warehouse].id;
    let kinds: [(&str, u32); 12] = [
        ("rush", r.overflow_rush),
        ("wide", r.overflow_wide),
        ("jam", r.overflow_jam),
        ("slow", r.overflow_slow),
        ("work", r.starvation_work),
        ("people", r.starvation_people),
        ("upstream", r.starvation_upstream),
        ("counter_reset", r.counter_reset),
        ("stale_level", r.stale_level),
        ("wrong_level", r.wrong_level),
        ("threshold_change", r.threshold_change),
        ("route_change", r.route_change),
    ];
    let mut wanted: Vec<(u64, UnitPlan)> = Vec::new();
    for (kind, rate) in kinds {
        let mut rng = Rng::of(options.seed, &format!("plan {site} {kind}"));
        for _ in 0..rng.count(rate, options.minutes) {
            let plan = draw_trouble(kind, warehouse, &mut rng);
            wanted.push((rng.next_u64(), plan));
        }
    }
    wanted.sort_by_key(|(order, _)| *order);
    let mut rng = Rng::of(options.seed, &format!("plan {site} places"));
    let mut placed: Vec<UnitPlan> = Vec::new();
    for (_, mut plan) in wanted {
        let length = plan.to;
        let tail = if plan.trouble.scored() { 0 } else { UNIT_MASK };
        for _ in 0..40 {
            let Some(from) = place(options, &mut rng, 4 * MINUTE, length + tail) else { break };
            (plan.from, plan.to) = (from, from + length);
            let gap = 4 * MINUTE;
            let free = |o: &UnitPlan| {
                let o_tail = if o.trouble.scored() { 0 } else { UNIT_MASK };
                (plan.lines & o.lines == 0 && plan.pools & o.pools == 0)
                    || plan.to + tail + gap < o.from
                    || o.to + o_tail + gap < plan.from
            };
            if !placed.iter().all(free) {
                continue;
            }
            let unit = floor.units.iter().position(|u| u.paths == plan.paths);
            let touched = unit.map_or(0, |u| floor.touched(u).len()) as i64;
            if plan.trouble.scored() || budget.take(touched * (length + UNIT_MASK)) {
                placed.push(plan);
            }
            break;
        }
    }
    placed.sort_by_key(|p| p.from);
    placed
}

/// A trouble of a kind, without its place: `to` holds its length.
fn draw_trouble(kind: &str, warehouse: usize, rng: &mut Rng) -> UnitPlan {
    let first = warehouse * PATHS_PER_WAREHOUSE;
    let line = rng.below(2) as usize;
    let pool = rng.below(3) as usize;
    let induct = rng.chance(1, 4);
    let path = |pool: usize| vec![first + pool * 2 + line];
    let both = |pool: usize| vec![first + pool * 2, first + pool * 2 + 1];
    let single = if induct { (vec![first + 6], 1 << INDUCT, 1) } else { (path(pool), 1 << line, 1 << pool) };
    let source = if induct { single.clone() } else { (path(0), 1 << line, 1) };
    let minutes = |m: i64| m * MINUTE;
    let (trouble, (paths, lines, pools), length, pace, hold_s) = match kind {
        "rush" => (Trouble::Rush, single, minutes(30), rng.range(70, 100), rng.range(150, 240)),
        "wide" => {
            let wide = (both(pool), 3, 1 << pool);
            (Trouble::Rush, wide, minutes(30), rng.range(75, 95), rng.range(240, 300))
        }
        "jam" => (Trouble::Jam, single, minutes(32), rng.range(70, 95), rng.range(270, 400)),
        "slow" => (Trouble::Slow, single, minutes(48), rng.range(20, 26), rng.range(90, 180)),
        "work" => (Trouble::Work, source, minutes(30), rng.range(70, 90), rng.range(180, 300)),
        "people" => {
            let all = (both(pool), 3, 1 << pool);
            (Trouble::People, all, minutes(34), rng.range(70, 90), rng.range(270, 360))
        }
        "upstream" => {
            let pool = rng.below(2) as usize;
            let chain = (path(pool), 1 << line, 3 << pool);
            (Trouble::Cascade, chain, minutes(36), rng.range(70, 90), rng.range(300, 400))
        }
        "counter_reset" => (Trouble::CounterReset, source, 0, 0, 0),
        "stale_level" => (Trouble::StaleLevel, source, rng.range(420, 560) * SECOND, 0, 0),
        "wrong_level" => {
            let off = rng.range(250, 400) * if rng.chance(1, 2) { -1 } else { 1 };
            (Trouble::WrongLevel(off), source, rng.range(70, 150) * SECOND, 0, 0)
        }
        "threshold_change" => (Trouble::ThresholdChange, source, 0, 0, 0),
        _ => (Trouble::RouteChange, (path(0), 1 << line, 1), 0, 0, 0),
    };
    let starved = (trouble == Trouble::Cascade).then(|| paths[0] + 2);
    UnitPlan { trouble, warehouse, paths, starved, from: 0, to: length, pace, hold_s, lines, pools }
}

const _: () = assert!(WORKPOOLS.len() * 2 + 1 == PATHS_PER_WAREHOUSE);
