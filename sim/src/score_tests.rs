//! Each line of the scoring rules on a truth of a few incidents.

use super::*;

const MINUTE: i64 = 60 * SECOND;

fn incident(kind: &str, key: &str, from: i64, to: i64) -> Incident {
    Incident {
        kind: kind.into(),
        cause: kind.into(),
        reason: String::new(),
        rule: "r".into(),
        warehouse: "W".into(),
        key: key.into(),
        from: EventTime(from),
        to: EventTime(to),
        onset: Some(EventTime(from)),
        scored: true,
        touches: vec![key.into()],
        masks_to: None,
    }
}

fn hidden(kind: &str, key: &str, from: i64, to: i64) -> Incident {
    Incident { scored: false, onset: None, masks_to: Some(EventTime(to)), ..incident(kind, key, from, to) }
}

fn truth(incidents: Vec<Incident>) -> Truth {
    Truth { seed: 1, from: EventTime(0), to: EventTime(60 * MINUTE), stations: 1, units: 1, incidents }
}

fn event(rule: &str, label: &str, reason: &str, key: &[&str], at: i64) -> Value {
    json!({"rule": rule, "label": label, "reason": reason, "key": key, "warehouse": "W",
           "event_time": EventTime(at).to_string(), "decided_at": EventTime(at + SECOND).to_string()})
}

#[test]
fn parcels_are_found_by_time_and_station() {
    let t = truth(vec![
        incident("wrong_brand", "S1", MINUTE, MINUTE),
        incident("wrong_brand", "S1", 2 * MINUTE, 2 * MINUTE),
    ]);
    let events = [
        event("brand_mismatch", "NEW", "low_confidence", &["S1", "x"], MINUTE),
        event("brand_mismatch", "NEW", "mismatch", &["S2", "y"], 2 * MINUTE),
        event("brand_mismatch", "NEW", "mixed", &["S1", "y"], 2 * MINUTE),
    ];
    let score = Score::of(&t, &events);
    assert_eq!(
        (score.planted["wrong_brand"], score.found["wrong_brand"], score.missed["wrong_brand"]),
        (2, 1, 1)
    );
    assert_eq!((score.false_events["wrong_brand"], score.false_events["mixed_brands"]), (1, 1));
    assert_eq!(score.recall("wrong_brand"), Some(0.5));
    assert_eq!(score.precision("wrong_brand"), Some(0.5));
    assert_eq!(score.recall("jam"), None);
    assert_eq!(score.delays["brand_mismatch"], Delays { event: vec![0], decided: vec![SECOND] });
    assert!(score.misses[0].contains("nearest event: brand_mismatch mixed"), "{}", score.misses[0]);
    assert!(score.falses.iter().any(|f| f.contains("nothing is planted there")), "{:?}", score.falses);
}

#[test]
fn a_wrong_reason_misses_and_is_false() {
    let full = Incident { reason: "full".into(), ..incident("hot_or_full", "S1", MINUTE, 2 * MINUTE) };
    let t = truth(vec![full]);
    let told = |reason: &str| {
        let score = Score::of(&t, [&event("hot_or_full", "NEW", reason, &["S1"], MINUTE + SECOND)]);
        let [found, missed, wrong] =
            [&score.found, &score.missed, &score.false_events].map(|m| m["hot_or_full"]);
        (found, missed, wrong, score.misses.join(""))
    };
    assert_eq!(told("full"), (1, 0, 0, String::new()));
    let (found, missed, wrong, miss) = told("hot");
    assert_eq!((found, missed, wrong), (0, 1, 1));
    assert!(miss.starts_with("hot_or_full full of S1") && miss.contains("hot_or_full hot at"), "{miss}");
}

#[test]
fn a_brand_event_inside_a_silence_is_explained_but_does_not_find_it() {
    let t = truth(vec![incident("silent_camera", "S1", MINUTE, 3 * MINUTE)]);
    let brand = event("brand_mismatch", "NEW", "camera_silent", &["S1", "x"], 2 * MINUTE);
    let score = Score::of(&t, [&brand]);
    assert_eq!((score.found["silent_camera"], score.missed["silent_camera"]), (0, 1));
    assert_eq!(score.false_events["silent_camera"], 0);
    let rule = event("camera_silent", "NEW", "", &["S1"], 2 * MINUTE);
    let score = Score::of(&t, [&brand, &rule]);
    assert_eq!((score.found["silent_camera"], score.false_events["silent_camera"]), (1, 0));
    let outside = event("brand_mismatch", "NEW", "camera_silent", &["S1", "x"], 5 * MINUTE);
    assert_eq!(Score::of(&t, [&outside]).false_events["silent_camera"], 1);
}

#[test]
fn only_speaking_labels_count_and_no_data_only_for_devices() {
    let t = truth(vec![
        incident("dead_agent", "S1", MINUTE, 2 * MINUTE),
        incident("overflow", "U", MINUTE, 9 * MINUTE),
    ]);
    let events = [
        event("device_silent", "NO_DATA", "", &["S1", "S1-CAM"], MINUTE + 30 * SECOND),
        event("device_silent", "CLEARED", "", &["S1", "S1-CAM"], 20 * MINUTE),
        event("buffer_overflow", "ONGOING", "", &["U"], 30 * MINUTE),
        event("overflow", "NO_DATA", "", &["U"], 40 * MINUTE),
        event("something", "NEW", "", &["U"], 40 * MINUTE),
        json!({"rule": "overflow", "label": "NEW"}),
    ];
    let score = Score::of(&t, &events);
    assert_eq!((score.found["dead_agent"], score.found["overflow"], score.missed["overflow"]), (1, 0, 1));
    assert_eq!(score.false_events.values().sum::<u64>(), 0);
    let unscored: Vec<&str> = score.unscored.keys().map(String::as_str).collect();
    assert_eq!(unscored, ["malformed", "overflow NO_DATA", "something NEW"]);
}

#[test]
fn masks_take_events_and_incidents_but_no_longer_than_they_last() {
    let t = truth(vec![
        incident("jam", "U", 3 * MINUTE, 4 * MINUTE),
        hidden("stale_level", "U", 2 * MINUTE, 10 * MINUTE),
        hidden("drift", "S1", 2 * MINUTE, 10 * MINUTE),
    ]);
    let events = [
        event("overflow", "NEW", "", &["U"], 9 * MINUTE),
        event("overflow", "NEW", "", &["U"], 11 * MINUTE),
        event("barcode", "NEW", "double_scan", &["S1", "x"], 5 * MINUTE),
        event("barcode", "NEW", "double_scan", &["S2", "x"], 5 * MINUTE),
    ];
    let score = Score::of(&t, &events);
    assert_eq!(
        (score.planted["jam"], score.masked["jam"]),
        (0, 1),
        "an incident under a mask is not planted"
    );
    assert_eq!((score.masked["overflow"], score.false_events["overflow"]), (1, 1));
    assert_eq!((score.masked["double_scan"], score.false_events["double_scan"]), (1, 1));
    assert_eq!(score.unseen["drift"], 1);
}

#[test]
fn days_pool() {
    let t = truth(vec![incident("jam", "U", MINUTE, 2 * MINUTE)]);
    let hit = Score::of(&t, &[event("buffer_jam", "NEW", "", &["U"], 2 * MINUTE)]);
    let mut all = Score::default();
    all.merge(&hit);
    all.merge(&Score::of(&t, &[]));
    assert_eq!((all.planted["jam"], all.found["jam"], all.missed["jam"]), (2, 1, 1));
    assert_eq!(all.recall("jam"), Some(0.5));
    assert_eq!(all.misses.len(), 1);
    let table = all.delay_table();
    assert_eq!(
        table["buffer_jam"]["event"],
        json!({"min": 60.0, "median": 60.0, "p95": 60.0, "max": 60.0, "n": 1})
    );
    assert_eq!(all.counts()["missed"]["jam"], 1);
}

#[test]
fn truth_files_read_back() {
    let t = truth(vec![incident("jam", "U", MINUTE, 2 * MINUTE), hidden("drift", "S", 0, MINUTE)]);
    assert_eq!(Truth::from_json(&t.to_json()), Some(t));
    assert_eq!(Truth::from_json("{}"), None);
}
