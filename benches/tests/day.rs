//! The rule pack over simulated days: it finds what it can see, says nothing false, and is silent
//! over an hour of health. Pooled over 20 seeds, as the benchmark runs them.

use std::path::{Path, PathBuf};

use weir_benches::day::{load_day, run_day};
use weir_engine::run::Options;
use weir_sim::{DayOptions, IncidentRates, SCORED_KINDS, Score};

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules")
}

#[test]
fn planted_incidents_are_found_and_nothing_else_over_twenty_seeds() {
    let mut pooled = Score::default();
    for seed in 1..=20 {
        let loaded = load_day(DayOptions::seeded(seed, 120)).unwrap();
        let outcome = run_day(&loaded, &rules(), Options::default()).unwrap();
        // Counts were checked by the run itself; here: every record that was appended was read.
        let read: u64 = outcome.report.sources.values().map(|c| c.records).sum();
        assert_eq!(read, outcome.records, "seed {seed}");
        pooled.merge(&outcome.score);
    }
    for kind in SCORED_KINDS {
        let (recall, precision) = (pooled.recall(kind), pooled.precision(kind));
        assert!(recall.is_some_and(|r| r >= 0.95), "recall of {kind} is {recall:?}: {:#?}", pooled.misses);
        assert!(
            precision.is_some_and(|p| p >= 0.95),
            "precision of {kind} is {precision:?}: {:#?}",
            pooled.falses
        );
    }
}

#[test]
fn an_hour_of_health_is_silent() {
    for seed in [3, 11] {
        let options = DayOptions { rates: IncidentRates::healthy(), ..DayOptions::seeded(seed, 60) };
        let outcome = run_day(&load_day(options).unwrap(), &rules(), Options::default()).unwrap();
        assert!(outcome.events.is_empty(), "seed {seed}: {:#?}", outcome.events);
    }
}

#[test]
fn the_day_has_the_same_events_under_any_shape() {
    let loaded = load_day(DayOptions::seeded(7, 30)).unwrap();
    let run = |workers, shards, batch_rows, memory_bytes| {
        let options = Options { workers, shards, batch_rows, memory_bytes, ..Options::default() };
        run_day(&loaded, &rules(), options).unwrap().sha256
    };
    let plain = run(1, 1, 8192, 512 << 20);
    for (workers, shards, batch_rows, memory) in [(2, 3, 7, 512 << 20), (4, 1, 64, 1), (1, 3, 333, 1)] {
        assert_eq!(
            run(workers, shards, batch_rows, memory),
            plain,
            "{workers} {shards} {batch_rows} {memory}"
        );
    }
}
