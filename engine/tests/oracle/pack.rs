//! Law 4 over the rule pack: the rows of all rules of `rules/`, and of its views, over a simulated floor with
//! many incidents, and the events that come of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use weir_contract::WallClock;
use weir_engine::connect::memory::{MemoryLog, MemoryRecord};
use weir_engine::control::{Control, RowChange};
use weir_engine::run::{Options, Ports, Stop, run};
use weir_engine::sql::plan::ir::{Output, Plan};
use weir_engine::sql::plan::{narrow, plan_whole};
use weir_engine::sql::{load, read};
use weir_sim::{Day, DayOptions, IncidentRates, Item, Topic};

use crate::answer::{Batch, Given, difference, lines_of, with_rule_rows};
use crate::{episodes, suite};

const MINUTES: u32 = 22;

/// The day, its records and all that its control log holds.
struct Floor {
    log: MemoryLog,
    control: Vec<Control>,
}

type Row = serde_json::Map<String, serde_json::Value>;

/// Thresholds at which a floor of some minutes already overflows and starves.
fn touchy(table: &str, mut row: Row) -> Row {
    if table == "units" {
        for (column, value) in
            [("overflow_on", 0.3), ("overflow_off", 0.25), ("starve_on", 0.5), ("starve_off", 0.55)]
        {
            row.insert(column.into(), value.into());
        }
    }
    row
}

fn floor(seed: u64) -> Floor {
    let usual = IncidentRates::default();
    let rates = IncidentRates {
        wrong_brand: 400,
        mixed_brands: 300,
        unknown_barcode: 400,
        bad_check_digit: 400,
        double_scan: 400,
        silent_camera: 1_000,
        dead_agent: 1_000,
        clock_skew: 700,
        unsynced: 400,
        backlog: 900,
        refused: 900,
        no_disk: 400,
        hot_and_full: 400,
        hot: 400,
        full_disk: 400,
        battery_low: 1_500,
        overflow_rush: 4_000,
        overflow_jam: 4_000,
        starvation_work: 4_000,
        threshold_change: 4_000,
        route_change: 2_000,
        ..usual
    };
    let mut day = Day::new(DayOptions { rates, ..DayOptions::seeded(seed, MINUTES) });
    let log = MemoryLog::new();
    for topic in Topic::of_day(false) {
        log.create(topic.name(), day.options().partitions);
        log.set_bounded(topic.name(), true).unwrap();
    }
    let rows = day.reference_rows().into_iter();
    let changes = rows.map(|(table, row)| RowChange {
        table: table.into(),
        before: None,
        after: Some(touchy(table, row)),
    });
    let mut control = vec![Control::Reference {
        change: 0,
        asked_at: None,
        effective_at: Some(i64::MIN),
        changes: changes.collect(),
    }];
    while let Some(item) = day.next_item() {
        match item {
            Item::Record(r) => {
                let mut record = MemoryRecord::value(r.value).at(r.append_us);
                if let Some(key) = r.key {
                    record = record.key(key);
                }
                for (name, value) in r.headers {
                    record = record.header(name, value);
                }
                log.append(r.topic, r.partition, record).unwrap();
            }
            Item::Reference { effective_at, changes } => {
                let changes = changes.into_iter().map(|c| RowChange {
                    table: c.table.into(),
                    before: c.before,
                    after: c.after,
                });
                control.push(Control::Reference {
                    change: control.len() as i64,
                    asked_at: None,
                    effective_at: Some(effective_at.0),
                    changes: changes.collect(),
                });
            }
            Item::Tick(_) => {}
        }
    }
    Floor { log, control }
}

/// The pack, with the rows of its rules and of its views written out.
fn pack() -> Plan {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules");
    let mut files = load(&folder).unwrap();
    files.push(weir_engine::sql::SourceFile {
        name: "views.sql".into(),
        folder: "rules".into(),
        text: suite::insert("rows_of_path_fill", "SELECT * FROM path_fill")
            + &suite::insert("rows_of_buffer_fill", "SELECT * FROM buffer_fill"),
    });
    let mut script = read(&files).unwrap_or_else(|e| panic!("{}", suite::shown(e)));
    script.tables.iter_mut().filter(|t| t.name.starts_with("rows_of_")).for_each(|t| t.columns.clear());
    // The simulator's clock stamps its records.
    for table in script.tables.iter_mut().filter(|t| t.watermark.is_some()) {
        table.append_time = Some(weir_engine::sql::catalog::AppendTime::Producer);
    }
    with_rule_rows(plan_whole(&script).unwrap_or_else(|e| panic!("{}", suite::shown(e))))
}

/// Lines of every output topic, by topic.
fn streamed(floor: &Floor, plan: &Plan) -> BTreeMap<String, Vec<String>> {
    let log = &floor.log;
    let control = log.control("control", 16);
    for record in &floor.control {
        control.append(0, record).unwrap();
    }
    let targets: Vec<String> = plan
        .outputs
        .iter()
        .filter_map(|o| if let Output::Insert { target, .. } = o { Some(target.name.clone()) } else { None })
        .collect();
    let side = plan.sources.iter().flat_map(|t| ["late", "rejected"].map(|k| format!("dev.{}.{k}", t.name)));
    let events = ["buffers", "devices", "validation"].map(|folder| format!("dev.events.{folder}"));
    let topics: Vec<String> = targets.iter().cloned().chain(events).collect();
    topics.iter().cloned().chain(side).for_each(|topic| log.create(&topic, 16));
    let outputs = log.clone();
    let sources = plan.sources.iter().map(|t| (t.name.clone(), log.source(&t.name).unwrap()));
    let ports = Ports {
        sources: sources.collect(),
        targets: targets.iter().map(|t| (t.clone(), log.sink(t).unwrap())).collect(),
        outputs: Some(Arc::new(move |topic: &str| outputs.sink(topic))),
        control,
        reference: None,
        observer: None,
        clock: Arc::new(WallClock),
        until: None,
    };
    let options = Options { external_control: true, ..Options::default() };
    let stop = Stop::default();
    stop.drain();
    run(narrow(plan.clone()).unwrap(), ports, options, &stop).unwrap();
    let read = |topic: &String| {
        let partitions = 0..log.partition_count(topic).unwrap();
        let records = partitions.flat_map(|p| log.records(topic, p).unwrap());
        let values = records.map(|(_, record)| record.value.unwrap_or_default()).filter(|v| !v.is_empty());
        let mut lines: Vec<String> = values.map(|v| String::from_utf8(v).unwrap()).collect();
        lines.sort();
        (topic.clone(), lines)
    };
    topics.iter().map(read).collect()
}

#[test]
fn every_rule_of_the_pack_has_the_rows_of_its_batch_form() {
    let plan = pack();
    let batch = Batch::new();
    let (mut rows, mut events): (BTreeMap<String, usize>, BTreeMap<String, usize>) = Default::default();
    let mut wrong = Vec::new();
    for seed in [1] {
        let floor = floor(seed);
        let streamed = streamed(&floor, &plan);
        let given = Given::of(&floor.log, &floor.control, &plan);
        let mut by_node = BTreeMap::new();
        for output in &plan.outputs {
            let node = output.node();
            let found = by_node.entry(node).or_insert_with(|| batch.rows(&plan, node, &given));
            match output {
                Output::Insert { target, .. } => {
                    let expected = lines_of(&plan, node, found);
                    *rows.entry(target.name.clone()).or_default() += expected.len();
                    if let Some(how) = difference(&expected, &streamed[&target.name]) {
                        wrong.push(format!("seed {seed}: `{}`: {how}", target.name));
                    }
                }
                Output::Rule { spec, .. } => {
                    let stream = &plan.nodes[node].stream;
                    let expected = episodes::expected(spec, stream, found, given.highest);
                    let topic = &streamed[&format!("dev.events.{}", spec.folder)];
                    let mut told: Vec<String> =
                        topic.iter().filter_map(|l| episodes::streamed(&spec.name, l)).collect();
                    told.sort();
                    *events.entry(spec.name.clone()).or_default() += told.len();
                    if let Some(how) = difference(&expected, &told) {
                        wrong.push(format!("seed {seed}: events of `{}`: {how}", spec.name));
                    }
                }
            }
        }
    }
    println!("rows {rows:?}\nevents {events:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(rows.len(), 12 + 2, "twelve rules and two views");
    assert!(rows.values().all(|n| *n > 0), "a rule without a row: {rows:?}");
    assert_eq!(events.len(), 12);
    assert!(events.values().filter(|n| **n > 0).count() >= 11, "rules that say nothing: {events:?}");
}
