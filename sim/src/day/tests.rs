//! A day is a function of its options, keeps its laws, and shows in its records what it planted.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::twin::Twin;
use super::*;
use crate::score::Score;
use crate::truth::SCORED_KINDS;

/// Records of a day, its twin, its truth, its oddities.
struct Played {
    twin: Twin,
    truth: Truth,
    oddities: Vec<String>,
    hash: u64,
    per_minute: BTreeMap<i64, u64>,
}

fn play(options: DayOptions) -> Played {
    let mut day = Day::new(options);
    let mut twin = Twin::default();
    twin.reference(day.reference_rows());
    let mut hash = DefaultHasher::new();
    let mut per_minute = BTreeMap::new();
    let (mut last, mut ticks) = (i64::MIN, 0);
    while let Some(item) = day.next_item() {
        assert!(last <= item.at_us(), "append times go back");
        last = item.at_us();
        match &item {
            Item::Record(r) => {
                *per_minute.entry(r.append_us / MINUTE).or_default() += 1;
                (r.topic, r.partition, r.append_us, &r.key, &r.headers, &r.value).hash(&mut hash);
                twin.take(r);
            }
            Item::Reference { effective_at, changes } => {
                format!("{changes:?}").hash(&mut hash);
                twin.change(effective_at.0, changes);
            }
            Item::Tick(_) => ticks += 1,
        }
    }
    assert_eq!(ticks, i64::from(day.options().minutes) * 60 + TAIL_S + 1);
    Played {
        twin,
        truth: day.truth().clone(),
        oddities: day.oddities().to_vec(),
        hash: hash.finish(),
        per_minute,
    }
}

#[test]
fn equal_seeds_give_equal_bytes_and_others_do_not() {
    let [a, b, c] = [7, 7, 8].map(|seed| play(DayOptions::seeded(seed, 40)));
    assert_eq!(a.hash, b.hash);
    assert_eq!(a.truth.to_json(), b.truth.to_json());
    assert_ne!(a.hash, c.hash);
}

#[test]
fn a_rate_moves_its_own_kind_only() {
    let planted = |rates: IncidentRates| {
        let played = play(DayOptions { rates, ..DayOptions::seeded(3, 60) });
        let mut kinds: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
        for i in played.truth.incidents {
            kinds.entry(i.kind).or_default().push((i.key, i.from.0));
        }
        kinds
    };
    let usual = IncidentRates { offline: 0, silent_camera: 0, dead_agent: 0, ..IncidentRates::default() };
    let before = planted(usual.clone());
    let after = planted(IncidentRates { double_scan: 0, overflow_rush: 0, ..usual });
    assert!(before.contains_key("double_scan"));
    assert!(!after.contains_key("double_scan"));
    for kind in ["drift", "corrupt", "clock_off", "wrong_brand", "unknown_barcode"] {
        assert_eq!(before.get(kind), after.get(kind), "{kind}");
    }
}

#[test]
fn planted_incidents_show_in_the_records_and_nothing_else_does() {
    let mut all = Score::default();
    let mut reasons = BTreeSet::new();
    for seed in 0..SEEDS {
        let mut played = play(DayOptions::seeded(seed, 120));
        reasons.extend(played.truth.scored().map(|i| i.reason.clone()));
        assert!(played.twin.wronged.is_empty(), "seed {seed}: {:#?}", &played.twin.wronged);
        assert!(played.oddities.is_empty(), "seed {seed}: {:#?}", played.oddities);
        let fates = played.twin.fates;
        assert_eq!(
            fates.records,
            fates.heartbeats + fates.rejects + fates.duplicates + fates.late + fates.processed
        );
        let most = played.per_minute.values().max().copied().unwrap_or(0);
        assert!(most <= 4_500, "seed {seed}: {most} records in a minute");
        let (stations, units) = played.truth.masked_share();
        assert!(stations <= 50 && units <= 50, "seed {seed}: masks cover {stations} and {units} thousandths");
        let quiet = played.truth.to.0 - 10 * MINUTE;
        for i in &played.truth.incidents {
            assert!(i.from.0 < quiet && i.to.0 <= quiet, "seed {seed}: planted near the end: {i:?}");
            assert!(
                !matches!(i.kind.as_str(), "silent_camera" | "dead_agent") || i.to.0 - i.from.0 >= 60_000_000
            );
        }
        let events = played.twin.events();
        all.merge(&Score::of(&played.truth, &events));
    }
    let planted = [
        "",
        "ahead",
        "behind",
        "filling",
        "full",
        "hot",
        "hot_and_full",
        "in_memory",
        "losing",
        "low",
        "unsynced",
    ];
    assert_eq!(reasons, planted.map(String::from).into());
    println!("{:#}", all.counts());
    println!("{}", all.delay_table());
    for kind in SCORED_KINDS {
        assert!(all.planted[kind] >= 2 * SEEDS, "{kind}: {}", all.planted[kind]);
        let (recall, precision) = (all.recall(kind).unwrap(), all.precision(kind).unwrap());
        assert!(recall >= 0.99, "{kind}: recall {recall}: {:#?}", all.misses);
        assert!(precision >= 0.99, "{kind}: precision {precision}: {:#?}", all.falses);
    }
    for (rule, delays) in &all.delays {
        assert!(delays.event.iter().all(|d| (-15_000_000..=140_000_000).contains(d)), "{rule}: {delays:?}");
    }
    assert!(all.unscored.is_empty(), "{:?}", all.unscored);
    for kind in ["offline", "clock_off", "drift", "duplicates", "disorder", "stragglers", "corrupt"] {
        assert!(all.unseen.contains_key(kind), "{kind} is never planted: {:?}", all.unseen);
    }
    for kind in [
        "counter_reset",
        "stale_level",
        "wrong_level",
        "threshold_change",
        "route_change",
        "unknown_warehouse",
    ] {
        assert!(all.unseen.contains_key(kind), "{kind} is never planted: {:?}", all.unseen);
    }
}

/// Days of the big test.
const SEEDS: u64 = 3;

#[test]
fn an_hour_of_health_is_silent() {
    for seed in 0..3 {
        let rates = IncidentRates::healthy();
        let mut played = play(DayOptions { rates, ..DayOptions::seeded(seed, 60) });
        assert_eq!(played.truth.incidents, [], "seed {seed}");
        assert!(played.oddities.is_empty(), "seed {seed}: {:?}", played.oddities);
        let fates = played.twin.fates;
        assert_eq!((fates.rejects, fates.duplicates, fates.late), (0, 0, 0));
        assert!(fates.processed > 40_000, "{fates:?}");
        assert_eq!(played.twin.events(), Vec::<serde_json::Value>::new(), "seed {seed}");
    }
}

#[test]
fn unseen_faults_end_as_rejects_duplicates_and_late_rows() {
    let rates = IncidentRates {
        offline: 200,
        clock_off: 400,
        duplicates: 400,
        stragglers: 400,
        corrupt: 400,
        unknown_warehouse: 1_000,
        ..IncidentRates::healthy()
    };
    let mut played = play(DayOptions { rates, ..DayOptions::seeded(5, 120) });
    let fates = played.twin.fates;
    assert!(fates.rejects > 20 && fates.duplicates > 20 && fates.late > 200, "{fates:?}");
    let score = Score::of(&played.truth, &played.twin.events());
    assert_eq!(score.planted.values().sum::<u64>(), 0);
    assert_eq!(score.falses, Vec::<String>::new());
    assert!(score.masked.values().sum::<u64>() > 0, "an outage is heard, and masked");
    assert_eq!(score.unseen.get("unknown_warehouse"), Some(&1));
}

#[test]
fn any_size_of_floor_and_night_plays() {
    let shapes = [(1, 1, 1), (1, 3, 4), (4, 2, 3), (7, 1, 2)];
    for (warehouses, stations_per_warehouse, partitions) in shapes {
        let options = DayOptions {
            warehouses,
            stations_per_warehouse,
            partitions,
            shop: true,
            start: EventTime::parse("2026-03-02T21:30:20Z").unwrap(),
            ..DayOptions::seeded(11, 45)
        };
        let played = play(options);
        let rows = |topic: &str| played.twin.rows.get(topic).map_or(0, Vec::len);
        assert!(rows("order_lines") > 100 && rows("inventory_events") > 400, "{:?}", played.twin.fates);
        assert!(played.twin.wronged.is_empty(), "{:?}", played.twin.wronged);
        assert!(played.oddities.is_empty(), "{:?}", played.oddities);
    }
    let empty = play(DayOptions { warehouses: 0, ..DayOptions::seeded(1, 2) });
    assert!(empty.twin.fates.heartbeats > 0, "partitions without a warehouse have heartbeats too");
}
