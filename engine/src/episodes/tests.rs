//! Decide against its naive twin, worked episodes, and one golden line of each label.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use sha2::{Digest, Sha256};
use weir_contract::event::{Event, Label};
use weir_contract::time::SECOND;
use weir_contract::{Code, EventTime, Place};

use super::twin::{self, Row, Told};
use super::*;
use crate::base::{FOREVER, StreamSchema};
use crate::rules::Rule;
use crate::sql::catalog::{RuleKind, RuleOptions, RuleSpec};
use crate::state::{Loader, Saver};

const KEYS: [&str; 3] = ["MAD1_A", "MAD1_B", "MAD2_A"];
const T0: i64 = 1_772_352_000 * SECOND; // 2026-03-01 08:00:00

/// A small generator of its own: the same worlds on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }
}

fn options(kind: RuleKind) -> RuleOptions {
    RuleOptions {
        kind,
        key: vec!["unit_id".into()],
        severity: Some("high".into()),
        fire_after: 0,
        clear_after: 0,
        no_data: None,
        owner: None,
        runbook: None,
        explain: None,
        enabled: true,
        later: BTreeMap::new(),
    }
}

fn schema(kind: RuleKind, clear: bool) -> SchemaRef {
    let us = DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut fields = vec![
        Field::new("warehouse", DataType::Utf8, true),
        Field::new("__o", DataType::Int64, false),
        Field::new("unit_id", DataType::Utf8, true),
        Field::new("event_time", us, false),
        Field::new("severity", DataType::Utf8, true),
        Field::new("recommendation", DataType::Utf8, true),
        Field::new("quantity", DataType::Float64, true),
        Field::new("reason", DataType::Utf8, true),
    ];
    let says = if kind == RuleKind::Condition { &["fire", "clear"][..1 + usize::from(clear)] } else { &[] };
    fields.extend(says.iter().map(|name| Field::new(*name, DataType::Boolean, true)));
    Arc::new(Schema::new(fields))
}

fn rows(schema: &SchemaRef, rows: &[(i64, Row)]) -> RecordBatch {
    let text = |f: &dyn Fn(&Row) -> Option<&'static str>| -> ArrayRef {
        Arc::new(rows.iter().map(|(_, r)| f(r)).collect::<StringArray>())
    };
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "warehouse" => text(&|r| Some(&KEYS[r.key][..4])),
            "unit_id" => text(&|r| Some(KEYS[r.key])),
            "severity" => text(&|r| r.severity),
            "recommendation" => text(&|r| r.recommendation),
            "reason" => text(&|r| r.recommendation),
            "__o" => Arc::new(rows.iter().map(|(o, _)| Some(*o)).collect::<Int64Array>()),
            "event_time" => Arc::new(
                rows.iter().map(|(_, r)| Some(T0 + r.at * SECOND)).collect::<TimestampMicrosecondArray>(),
            ),
            "quantity" => {
                Arc::new(rows.iter().map(|(o, _)| Some(*o as f64 / 10.0)).collect::<Float64Array>())
            }
            "fire" => Arc::new(rows.iter().map(|(_, r)| r.fire).collect::<BooleanArray>()),
            _ => Arc::new(rows.iter().map(|(_, r)| r.clear).collect::<BooleanArray>()),
        }
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).expect("a batch")
}

fn decide(options: RuleOptions, schema: &SchemaRef) -> Decide {
    let query = Parser::new(&PostgreSqlDialect {}).try_with_sql("SELECT 1").and_then(|mut p| p.parse_query());
    let spec = RuleSpec {
        name: "overflow".into(),
        options,
        query: *query.expect("a query"),
        text: "CREATE RULE overflow AS SELECT 1".into(),
        folder: "buffers".into(),
        place: Place::Path("overflow.sql".into()),
    };
    let input = StreamSchema {
        schema: schema.clone(),
        times: vec![3],
        row_time: 0,
        order: vec![3, 1],
        partition_key: vec![0],
    };
    let rule = Arc::new(Rule::new(&spec, &input).expect("a rule"));
    let inputs = vec![InputRange { table: "buffer_fill".into(), before: 10 * SECOND, after: 0 }];
    let spec = DecideSpec { rule, input, event_time: 0, delay: 5 * SECOND, inputs, keep_decisions: true };
    Decide::new(spec).expect("a decider")
}

/// The words of severity and recommendation as an event shows them.
fn told(event: &Event) -> Told {
    let known = |t: &Option<String>| {
        t.as_deref().map(|t| *["high", "low", "throttle", "stop"].iter().find(|k| **k == t).expect("a word"))
    };
    let key = KEYS.iter().position(|k| event.unit_id.as_deref() == Some(*k)).expect("a key");
    let first = event_first(event, key);
    Told {
        at: (event.event_time.0 - T0) / SECOND,
        key,
        label: event.label.as_str(),
        seq: event.seq,
        first,
        severity: known(&event.severity),
        recommendation: known(&event.recommendation),
    }
}

/// The first PENDING time whose hash is the episode's id, found by trying: ids are the contract's.
fn event_first(event: &Event, key: usize) -> i64 {
    let id_of = |text: String| -> String {
        Sha256::digest(text.as_bytes())[..16].iter().map(|b| format!("{b:02x}")).collect()
    };
    let episode = event.episode_id.to_string();
    assert_eq!(event.event_id.to_string(), id_of(format!("[\"{episode}\",{}]", event.seq)));
    let (unit, warehouse) = (KEYS[key], &KEYS[key][..4]);
    (0..3_600)
        .find(|s| {
            id_of(format!("[\"overflow\",\"{warehouse}\",[\"{unit}\"],{}]", T0 + s * SECOND)) == episode
        })
        .expect("an id of the contract")
}

fn world(dice: &mut Dice, seconds: i64, severity: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    // Long stretches of one answer, so that timers of every length can run out.
    let mut mood = [(None, None); 3];
    for at in 0..seconds {
        for (key, mood) in mood.iter_mut().enumerate() {
            if dice.roll(4) == 0 {
                let answers = [None, Some(true), Some(false), Some(true), Some(false)];
                *mood = (dice.pick(&answers), dice.pick(&answers));
            }
            for _ in 0..dice.pick(&[0, 0, 0, 1, 1, 2]) {
                rows.push(Row {
                    at,
                    key,
                    fire: mood.0,
                    clear: mood.1,
                    severity: if severity {
                        dice.pick(&[Some("high"), Some("high"), Some("low")])
                    } else {
                        Some("high")
                    },
                    recommendation: dice.pick(&[
                        Some("throttle"),
                        Some("throttle"),
                        Some("throttle"),
                        Some("stop"),
                        None,
                    ]),
                });
                if dice.roll(3) == 0 {
                    let n = rows.len();
                    rows[n - 1].fire = dice.pick(&[None, Some(true), Some(false)]);
                }
            }
        }
    }
    rows
}

/// Pushes rows in any order and chopping that the frontiers allow, and restores from a snapshot now and
/// then; ends at `last` without an end of the input, or with one.
fn play(
    dice: &mut Dice,
    world: &[Row],
    options: &RuleOptions,
    schema: &SchemaRef,
    last: i64,
    end: Option<i64>,
) -> (Vec<Event>, u64) {
    let mut frontiers: Vec<i64> = (0..dice.roll(12)).map(|_| dice.roll(last as u64) as i64).collect();
    frontiers.push(last);
    frontiers.sort_unstable();
    let mut waiting: Vec<(usize, i64, Row)> = world
        .iter()
        .enumerate()
        .map(|(o, r)| {
            let due = frontiers.iter().position(|f| *f > r.at).unwrap_or(frontiers.len() - 1);
            (dice.roll(due as u64 + 1) as usize, o as i64, r.clone())
        })
        .collect();
    for i in (1..waiting.len()).rev() {
        waiting.swap(i, dice.roll(i as u64 + 1) as usize);
    }
    let mut d = decide(options.clone(), schema);
    let mut events = Vec::new();
    for (stage, frontier) in frontiers.iter().enumerate() {
        let now: Vec<(i64, Row)> =
            waiting.iter().filter(|w| w.0 == stage).map(|w| (w.1, w.2.clone())).collect();
        let mut rest = now.as_slice();
        while !rest.is_empty() {
            let n = (dice.pick(&[1, 2, 7, 63, 64, 65]) as usize).min(rest.len());
            d.push(rows(schema, &rest[..n])).expect("rows are taken");
            rest = &rest[n..];
        }
        if dice.roll(3) == 0 {
            d = restarted(&mut d, options, schema);
        }
        d.advance(T0 + frontier * SECOND, &mut events).expect("time goes on");
        if dice.roll(3) == 0 {
            d = restarted(&mut d, options, schema);
        }
    }
    if let Some(highest) = end {
        d.finish(T0 + highest * SECOND, &mut events).expect("an end");
    }
    (events, d.evaluations())
}

fn restarted(d: &mut Decide, options: &RuleOptions, schema: &SchemaRef) -> Decide {
    let bytes = |d: &mut Decide| {
        let mut saver = Saver::default();
        d.snapshot(&mut saver).expect("a snapshot");
        saver.finish()
    };
    let saved = bytes(d);
    let mut fresh = decide(options.clone(), schema);
    let mut loader = Loader::new(&saved);
    fresh.restore(&mut loader).expect("a restore");
    loader.finish().expect("nothing is left over");
    assert_eq!(saved, bytes(&mut fresh), "a restored state saves as it was saved");
    assert_eq!((d.evaluations(), d.open_episodes()), (fresh.evaluations(), fresh.open_episodes()));
    fresh
}

#[test]
fn events_are_those_of_the_naive_twin_however_rows_come() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..120 {
        let mut dice = Dice(seed);
        let seconds = 60;
        let with_clear = dice.roll(3) > 0;
        let changes = dice.roll(2) == 0;
        let world = world(&mut dice, seconds, changes);
        let o = twin::Options {
            fire_after: dice.pick(&[0, 0, 1, 3, 5]),
            clear_after: dice.pick(&[0, 0, 1, 3, 5]),
            no_data: dice.pick(&[None, Some(1), Some(3), Some(5), Some(9)]),
            clear: with_clear,
        };
        let options = RuleOptions {
            fire_after: o.fire_after * SECOND,
            clear_after: o.clear_after * SECOND,
            no_data: o.no_data.map(|s| s * SECOND),
            ..options(RuleKind::Condition)
        };
        let schema = schema(RuleKind::Condition, with_clear);
        // Cut at a frontier: rows and timers below it, no more.
        let frontier = 40;
        let head: Vec<Row> = world.iter().filter(|r| r.at < frontier).cloned().collect();
        let expected = twin::run(&head, 3, &o, frontier - 1, |_| i64::MAX);
        let (events, evaluated) = play(&mut dice, &head, &options, &schema, frontier, None);
        assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected, "seed {seed} at a frontier");
        assert_eq!(evaluated, head.len() as u64);
        // A bounded end, once above and once below the last row.
        for highest in [seconds + 4, seconds / 2] {
            let last = |key| world.iter().filter(|r| r.key == key).map(|r| r.at).max().unwrap_or(0);
            let expected = twin::run(&world, 3, &o, seconds + 20, |key| highest.max(last(key)));
            let (events, _) = play(&mut dice, &world, &options, &schema, seconds / 2, Some(highest));
            assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected, "seed {seed} to {highest}");
            for event in &events {
                *counts.entry(event.label.as_str()).or_default() += 1;
                assert_eq!(event.decided_at.0 - event.event_time.0, 5 * SECOND);
            }
        }
    }
    assert!(
        ["NEW", "ONGOING", "CLEARED", "NO_DATA"].iter().all(|l| counts.get(l) > Some(&100)),
        "{counts:?}"
    );
}

fn tick(at: i64, fire: bool) -> Row {
    let (severity, recommendation) = (None, Some("throttle"));
    Row { at, key: 0, fire: Some(fire), clear: Some(!fire), severity, recommendation }
}

fn all(options: RuleOptions, ticks: &[Row], highest: i64) -> (Vec<Event>, Decide) {
    let schema = schema(options.kind, options.kind == RuleKind::Condition);
    let numbered: Vec<(i64, Row)> = ticks.iter().enumerate().map(|(o, r)| (o as i64, r.clone())).collect();
    let mut d = decide(options, &schema);
    d.push(rows(&schema, &numbered)).expect("rows");
    let mut events = Vec::new();
    d.advance(T0 + (highest + 1) * SECOND, &mut events).expect("time goes on");
    (events, d)
}

fn shown(events: &[Event]) -> Vec<(String, &'static str, u64)> {
    events.iter().map(|e| (e.event_time.to_string()[11..].to_owned(), e.label.as_str(), e.seq)).collect()
}

#[test]
fn the_overflow_of_the_rules_page_is_one_new_and_one_cleared() {
    // 300 + 9 n of 640 places: from minute 28 on it is full within 10 minutes; from minute 40 on it empties.
    let ticks: Vec<Row> = (0..60).map(|n| tick(n * 60, (28..40).contains(&n))).collect();
    let options = RuleOptions {
        fire_after: 20 * SECOND,
        clear_after: 180 * SECOND,
        no_data: Some(300 * SECOND),
        ..options(RuleKind::Condition)
    };
    let (events, d) = all(options, &ticks, 59 * 60);
    assert_eq!(
        shown(&events),
        [("08:28:20Z".to_string(), "NEW", 0), ("08:43:00Z".to_string(), "CLEARED", 1)]
    );
    assert_eq!(events[0].episode_id, events[1].episode_id);
    assert_eq!((events[0].severity.as_deref(), d.open_episodes()), (Some("high"), 0));
}

#[test]
fn any_number_of_ticks_of_one_incident_is_one_new_and_one_cleared() {
    for n in [1, 2, 7, 63, 64, 65, 1000] {
        let mut ticks: Vec<Row> = (0..n).map(|at| tick(at, true)).collect();
        ticks.push(tick(n, false));
        let (events, d) = all(options(RuleKind::Condition), &ticks, n);
        assert_eq!(events.iter().map(|e| e.label).collect::<Vec<_>>(), [Label::New, Label::Cleared], "{n}");
        assert_eq!(d.keys_held(), 0, "a key in OK without a timer takes no memory");
    }
}

#[test]
fn a_silent_device_is_told_once_and_cleared_by_its_next_record() {
    let ticks: Vec<Row> = [0, 10, 20, 100, 110].map(|at| tick(at, false)).into();
    let options = RuleOptions { no_data: Some(30 * SECOND), ..options(RuleKind::Condition) };
    let (events, d) = all(options, &ticks, 200);
    assert_eq!(
        shown(&events),
        [
            ("08:00:50Z".to_string(), "NO_DATA", 0),
            ("08:01:40Z".to_string(), "CLEARED", 1),
            ("08:02:20Z".to_string(), "NO_DATA", 0)
        ]
    );
    assert_eq!(d.open_episodes(), 1);
}

#[test]
fn a_decision_says_what_decided() {
    let options = RuleOptions {
        fire_after: 20 * SECOND,
        no_data: Some(60 * SECOND),
        explain: Some("{unit_id}: {recommendation} {quantity:.2}".into()),
        ..options(RuleKind::Condition)
    };
    let (events, _) = all(options, &[tick(0, true), tick(10, true)], 30);
    let [event] = events.as_slice() else { panic!("one event: {events:?}") };
    assert_eq!(
        event.decision.to_string(),
        r#"{"after":"ACTIVE","before":"PENDING","by":"fire_after","clear":false,"fire":true,"row_time":"2026-03-01T08:00:10Z","since":"2026-03-01T08:00:00Z","timers":{"clear_after":null,"fire_after":null,"no_data":"2026-03-01T08:01:10Z"}}"#
    );
    assert_eq!(
        event.inputs.to_string(),
        r#"{"buffer_fill":{"from":"2026-03-01T07:59:50Z","to":"2026-03-01T08:00:20Z"}}"#
    );
    assert_eq!(event.explain.as_deref(), Some("MAD1_A: throttle 0.10"));
}

#[test]
fn equal_rows_of_an_event_rule_are_told_apart_by_their_ordinal() {
    let row = |at, recommendation| Row { recommendation: Some(recommendation), ..tick(at, true) };
    let ticks = [row(1, "stop"), row(1, "throttle"), row(1, "stop"), row(2, "stop")];
    let (events, d) = all(options(RuleKind::Event), &ticks, 10);
    assert_eq!(
        events.iter().map(|e| e.event_time.0 - T0).collect::<Vec<_>>(),
        [1, 1, 1, 2].map(|s| s * SECOND)
    );
    for (event, (time, reason, ordinal)) in
        events.iter().zip([(1, "stop", 0), (1, "throttle", 0), (1, "stop", 1), (2, "stop", 0)])
    {
        let text =
            format!("[\"overflow\",\"MAD1\",[\"MAD1_A\"],{},\"{reason}\",{ordinal}]", T0 + time * SECOND);
        let id: String = Sha256::digest(text.as_bytes())[..16].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!((event.event_id.to_string(), event.episode_id), (id, event.event_id));
        assert_eq!((event.label, event.seq), (Label::New, 0));
    }
    assert_eq!((d.evaluations(), d.keys_held()), (4, 0));
}

#[test]
fn rows_that_break_the_port_are_refused_and_rows_without_warehouse_counted() {
    let schema = schema(RuleKind::Condition, true);
    let mut d = decide(options(RuleKind::Condition), &schema);
    let mut events = Vec::new();
    d.advance(T0 + 5 * SECOND, &mut events).expect("time goes on");
    let late = rows(&schema, &[(0, tick(4, true))]);
    assert_eq!(d.push(late.clone()).map_err(|e| e.code()), Err(Code::Internal));
    assert_eq!(d.push(late.project(&[0, 1]).expect("a batch")).map_err(|e| e.code()), Err(Code::Internal));
    let on_time = rows(&schema, &[(0, tick(5, true)), (1, tick(6, true))]);
    let mut columns = on_time.columns().to_vec();
    columns[0] = Arc::new(StringArray::from(vec![None, Some("MAD1")]));
    d.push(RecordBatch::try_new(schema.clone(), columns).expect("a batch")).expect("rows");
    d.advance(FOREVER, &mut events).expect("an end");
    assert_eq!((d.evaluations(), d.without_warehouse(), events.len()), (1, 1, 1));
}

#[test]
fn a_damaged_snapshot_is_refused_and_never_panics() {
    let schema = schema(RuleKind::Condition, true);
    let options = RuleOptions { no_data: Some(60 * SECOND), ..options(RuleKind::Condition) };
    let (_, mut d) = all(options.clone(), &[tick(0, true), tick(3, true), tick(90, false)], 5);
    let mut saver = Saver::default();
    d.snapshot(&mut saver).expect("a snapshot");
    let bytes = saver.finish();
    for cut in (0..bytes.len()).step_by(97) {
        let error = decide(options.clone(), &schema).restore(&mut Loader::new(&bytes[..cut]));
        assert_eq!(error.map_err(|e| e.code()), Err(Code::Damaged), "cut at {cut}");
    }
}

#[test]
fn many_keys_pin_no_batch_and_are_forgotten() {
    let schema = schema(RuleKind::Condition, true);
    let mut d = decide(RuleOptions { no_data: Some(SECOND), ..options(RuleKind::Condition) }, &schema);
    let one = rows(&schema, &[(0, tick(1, false))]);
    let ids: ArrayRef = Arc::new((0..10_000).map(|i| Some(format!("U{i}"))).collect::<StringArray>());
    let batch = concat_batches(&schema, std::iter::repeat_n(&one, 10_000)).expect("a batch");
    let mut columns = batch.columns().to_vec();
    columns[2] = ids;
    let batch = RecordBatch::try_new(schema.clone(), columns).expect("a batch");
    let pushed = batch.get_array_memory_size();
    d.push(batch).expect("rows");
    assert!(d.bytes() >= pushed);
    let mut events = Vec::new();
    d.advance(T0 + 2 * SECOND, &mut events).expect("time goes on");
    assert!((10_000 * 200..10_000 * 1_000).contains(&d.bytes()), "{} bytes", d.bytes());
    d.advance(T0 + 10 * SECOND, &mut events).expect("time goes on");
    assert_eq!((events.len(), d.open_episodes(), d.keys_held()), (10_000, 10_000, 10_000));
    let mut sorted: Vec<&str> = events.iter().filter_map(|e| e.unit_id.as_deref()).collect();
    assert!(sorted.is_sorted(), "timers of one instant run in the order of their keys");
    sorted.dedup();
    assert_eq!(sorted.len(), 10_000);
}

/// Compares with `testdata/events.jsonl`; the lines are the published form of an event.
#[test]
fn one_line_of_each_label_is_golden() {
    let change = |at, severity, recommendation| Row {
        severity: Some(severity),
        recommendation: Some(recommendation),
        ..tick(at, true)
    };
    let ticks =
        [change(0, "high", "throttle"), change(10, "low", "stop"), tick(100, false), tick(101, false)];
    let condition = RuleOptions {
        fire_after: 5 * SECOND,
        no_data: Some(30 * SECOND),
        explain: Some("{unit_id} {severity}: {quantity:.1}".into()),
        ..options(RuleKind::Condition)
    };
    let (mut events, _) = all(condition, &ticks, 110);
    events.extend(all(options(RuleKind::Event), &ticks[..1], 110).0);
    let labels: Vec<&str> = events.iter().map(|e| e.label.as_str()).collect();
    assert_eq!(labels, ["NEW", "ONGOING", "NO_DATA", "ONGOING", "CLEARED", "NEW"]);
    let mut suppressed = events[0].clone();
    suppressed.label = Label::Suppressed;
    events.push(suppressed);
    let lines: Vec<String> = events.iter().map(Event::to_json_line).collect();
    let golden = include_str!("testdata/events.jsonl");
    assert_eq!(lines, golden.lines().collect::<Vec<_>>(), "\n{}\n", lines.join("\n"));
    assert_eq!(events[0].event_time, EventTime(T0 + 5 * SECOND));
}
