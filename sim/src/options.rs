//! What a simulated day is asked to be: seed, size, length, and a rate for each planted kind.

use weir_contract::EventTime;
use weir_contract::time::SECOND;

/// Microseconds in one minute.
pub const MINUTE: i64 = 60 * SECOND;

/// Nothing is planted in these last microseconds of a day.
pub const QUIET_END: i64 = 10 * MINUTE;

/// 2026-03-02T07:00:00Z, a Monday: the start of a day that does not say another.
pub const DEFAULT_START: EventTime = EventTime(1_772_434_800 * SECOND);

/// The size of a day. Equal options give equal bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayOptions {
    pub seed: u64,
    /// Simulated minutes in which the floor works; heartbeats go on for some seconds after.
    pub minutes: u32,
    pub warehouses: u32,
    pub stations_per_warehouse: u32,
    /// Partitions of every topic; warehouse i writes to partition i mod n.
    pub partitions: u32,
    /// Cut to a whole minute.
    pub start: EventTime,
    /// Also writes `order_lines` and `inventory_events`, which no rule of the first pack reads.
    pub shop: bool,
    pub rates: IncidentRates,
}

impl Default for DayOptions {
    fn default() -> Self {
        DayOptions {
            seed: 7,
            minutes: 120,
            warehouses: 3,
            stations_per_warehouse: 4,
            partitions: 3,
            start: DEFAULT_START,
            shop: false,
            rates: IncidentRates::default(),
        }
    }
}

impl DayOptions {
    /// The demo's floor with the usual rates.
    pub fn seeded(seed: u64, minutes: u32) -> Self {
        DayOptions { seed, minutes, ..DayOptions::default() }
    }

    /// Microseconds at which the floor starts.
    pub fn from_us(&self) -> i64 {
        self.start.0 - self.start.0.rem_euclid(MINUTE)
    }

    /// Microseconds at which the floor stops.
    pub fn to_us(&self) -> i64 {
        self.from_us() + i64::from(self.minutes) * MINUTE
    }
}

/// How often each kind is planted. A rate is an expectation: what finds no free place in the day is
/// not planted, so that incidents of one station or unit never disturb each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentRates {
    // Per 10 000 parcels of a station; scored.
    pub wrong_brand: u32,
    pub mixed_brands: u32,
    pub empty_frame: u32,
    pub unknown_barcode: u32,
    pub bad_check_digit: u32,
    pub double_scan: u32,
    // Per 1 000 station hours; scored.
    pub silent_camera: u32,
    pub dead_agent: u32,
    /// A clock that is off by less than a second, either way: nothing is late by it yet.
    pub clock_skew: u32,
    /// A clock that nobody sets and nobody can compare.
    pub unsynced: u32,
    /// A link too narrow for frames: they wait in the spool.
    pub backlog: u32,
    /// A log that refuses some records: the agent gives them up.
    pub refused: u32,
    /// A disk that refuses: what waits is in memory only.
    pub no_disk: u32,
    pub hot: u32,
    pub full_disk: u32,
    pub hot_and_full: u32,
    pub battery_low: u32,
    // Per 1 000 station hours; unseen.
    pub offline: u32,
    pub clock_off: u32,
    pub drift: u32,
    pub duplicates: u32,
    pub disorder: u32,
    pub stragglers: u32,
    pub corrupt: u32,
    // Per 1 000 warehouse hours; scored.
    pub overflow_rush: u32,
    /// A rush on every path of one workpool: the total overflows too.
    pub overflow_wide: u32,
    /// A jam that its neighbours outlast.
    pub overflow_jam: u32,
    pub overflow_slow: u32,
    pub starvation_work: u32,
    pub starvation_people: u32,
    /// A jam whose next path runs empty.
    pub starvation_upstream: u32,
    // Per 1 000 warehouse hours; unseen.
    pub counter_reset: u32,
    pub stale_level: u32,
    pub wrong_level: u32,
    pub threshold_change: u32,
    pub route_change: u32,
    /// Per 1 000 hours of the whole floor; at most one in a day; unseen.
    pub unknown_warehouse: u32,
}

impl Default for IncidentRates {
    fn default() -> Self {
        IncidentRates {
            wrong_brand: 40,
            mixed_brands: 30,
            empty_frame: 30,
            unknown_barcode: 30,
            bad_check_digit: 30,
            double_scan: 30,
            silent_camera: 350,
            dead_agent: 300,
            clock_skew: 150,
            unsynced: 100,
            backlog: 150,
            refused: 60,
            no_disk: 60,
            hot: 80,
            full_disk: 80,
            hot_and_full: 60,
            battery_low: 150,
            offline: 40,
            clock_off: 120,
            drift: 40,
            duplicates: 160,
            disorder: 120,
            stragglers: 120,
            corrupt: 120,
            overflow_rush: 300,
            overflow_wide: 150,
            overflow_jam: 250,
            overflow_slow: 250,
            starvation_work: 250,
            starvation_people: 200,
            starvation_upstream: 250,
            counter_reset: 150,
            stale_level: 150,
            wrong_level: 150,
            threshold_change: 150,
            route_change: 100,
            unknown_warehouse: 500,
        }
    }
}

impl IncidentRates {
    /// Nothing is planted: the rules must be silent.
    pub fn healthy() -> Self {
        IncidentRates {
            wrong_brand: 0,
            mixed_brands: 0,
            empty_frame: 0,
            unknown_barcode: 0,
            bad_check_digit: 0,
            double_scan: 0,
            silent_camera: 0,
            dead_agent: 0,
            clock_skew: 0,
            unsynced: 0,
            backlog: 0,
            refused: 0,
            no_disk: 0,
            hot: 0,
            full_disk: 0,
            hot_and_full: 0,
            battery_low: 0,
            offline: 0,
            clock_off: 0,
            drift: 0,
            duplicates: 0,
            disorder: 0,
            stragglers: 0,
            corrupt: 0,
            overflow_rush: 0,
            overflow_wide: 0,
            overflow_jam: 0,
            overflow_slow: 0,
            starvation_work: 0,
            starvation_people: 0,
            starvation_upstream: 0,
            counter_reset: 0,
            stale_level: 0,
            wrong_level: 0,
            threshold_change: 0,
            route_change: 0,
            unknown_warehouse: 0,
        }
    }
}
