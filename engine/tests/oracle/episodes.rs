//! Events from a rule's batch rows by the naive twin, to be held against the events that were streamed.
//!
//! In:   a rule, the rows of its query in batch form, how far timers run.
//! Out:  for each event what identifies it and what it says, as text, sorted.

use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::arrow::record_batch::RecordBatch;
use serde_json::{Value, json};
use weir_contract::EventTime;
use weir_contract::event::Id;
use weir_engine::base::StreamSchema;
use weir_engine::rules::Rule;
use weir_engine::run::output::{row_json, visible_columns};
use weir_engine::sql::catalog::RuleSpec;

use crate::twin;

/// What is compared of an event that was streamed; None for another rule's.
pub fn streamed(rule: &str, line: &str) -> Option<String> {
    let event: Value = serde_json::from_str(line).unwrap();
    (event["rule"] == rule).then(|| {
        let said = |c: &str| event[c].clone();
        json!([
            said("event_id"),
            said("warehouse"),
            said("key"),
            said("label"),
            said("seq"),
            said("event_time"),
            said("severity"),
            said("recommendation"),
            said("reason"),
        ])
        .to_string()
    })
}

/// One row of the rule's query, as JSON, in canonical order.
struct Row {
    at: i64,
    value: Value,
}

fn ordered(stream: &StreamSchema, time: usize, rows: &[RecordBatch]) -> Vec<Row> {
    let Some(first) = rows.first() else { return Vec::new() };
    let all = concat_batches(&first.schema(), rows).unwrap();
    let by = std::iter::once(time).chain(stream.order.iter().copied());
    let by: Vec<SortColumn> =
        by.map(|c| SortColumn { values: all.column(c).clone(), options: None }).collect();
    let all = take_record_batch(&all, &lexsort_to_indices(&by, None).unwrap()).unwrap();
    let times = all.column(time).as_primitive::<TimestampMicrosecondType>().clone();
    assert_eq!(times.null_count(), 0, "a rule's event time is never NULL");
    (0..all.num_rows())
        .map(|row| {
            let line = row_json(stream, visible_columns(stream), &all, row).unwrap();
            Row { at: times.value(row), value: serde_json::from_str(&line).unwrap() }
        })
        .collect()
}

/// All events of a rule over its whole rows.
pub fn expected(spec: &RuleSpec, stream: &StreamSchema, rows: &[RecordBatch], highest: i64) -> Vec<String> {
    let rule = Rule::new(spec, stream).unwrap();
    let rows = ordered(stream, rule.columns.event_time, rows);
    let rows: Vec<Row> = rows.into_iter().filter(|r| !r.value["warehouse"].is_null()).collect();
    let keys_of = |row: &Row| -> (Value, Value) {
        let key = spec.options.key.iter().map(|c| row.value[c].clone()).collect();
        (row.value["warehouse"].clone(), Value::Array(key))
    };
    let mut told = if rule.is_condition() {
        conditions(&rule, &rows, highest, keys_of)
    } else {
        singles(&rule, &rows, keys_of)
    };
    told.sort();
    told
}

fn id(parts: Value) -> Id {
    Id::of(&parts)
}

/// `kind = 'event'`: a row is an event; equals at one instant are numbered.
fn singles(rule: &Rule, rows: &[Row], keys_of: impl Fn(&Row) -> (Value, Value)) -> Vec<String> {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let said = |row: &Row, column: &str| row.value.get(column).cloned().unwrap_or(Value::Null);
    rows.iter()
        .map(|row| {
            let (warehouse, key) = keys_of(row);
            let reason = said(row, "reason");
            let equal = json!([warehouse, key, row.at, reason]).to_string();
            let ordinal = seen.entry(equal).and_modify(|n| *n += 1).or_insert(0);
            let is = id(json!([rule.name, warehouse, key, row.at, reason, ordinal])).to_string();
            let severity = match said(row, "severity") {
                Value::Null => json!(rule.options.severity),
                given => given,
            };
            let recommendation = said(row, "recommendation");
            let time = EventTime(row.at).to_string();
            json!([is, warehouse, key, "NEW", 0, time, severity, recommendation, reason]).to_string()
        })
        .collect()
}

/// The twin's rows borrow for ever: a test has few words.
fn kept(text: Option<&str>) -> Option<&'static str> {
    text.map(|t| &*Box::leak(t.to_owned().into_boxed_str()))
}

fn conditions(
    rule: &Rule,
    rows: &[Row],
    highest: i64,
    keys_of: impl Fn(&Row) -> (Value, Value),
) -> Vec<String> {
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let mut keys: Vec<(Value, Value)> = Vec::new();
    let mut last: Vec<i64> = Vec::new();
    let mut given = Vec::new();
    let mut reasons: BTreeMap<(usize, i64), Value> = BTreeMap::new();
    for row in rows {
        let of = keys_of(row);
        let number = *numbers.entry(json!([of.0, of.1]).to_string()).or_insert_with(|| {
            keys.push(of);
            last.push(row.at);
            keys.len() - 1
        });
        last[number] = row.at;
        reasons.insert((number, row.at), row.value.get("reason").cloned().unwrap_or(Value::Null));
        let severity = row.value["severity"].as_str().or(rule.options.severity.as_deref());
        given.push(twin::Row {
            at: row.at,
            key: number,
            fire: row.value["fire"].as_bool(),
            clear: row.value["clear"].as_bool(),
            severity: kept(severity),
            recommendation: kept(row.value["recommendation"].as_str()),
        });
    }
    let o = &rule.options;
    let options = twin::Options {
        fire_after: o.fire_after,
        clear_after: o.clear_after,
        no_data: o.no_data,
        clear: rule.columns.clear.is_some(),
    };
    let told = twin::run(&given, keys.len(), &options, i64::MAX, |key| highest.max(last[key]));
    told.into_iter()
        .map(|t| {
            let (warehouse, key) = &keys[t.key];
            let episode = id(json!([rule.name, warehouse, key, t.first])).to_string();
            let event = id(json!([episode, t.seq])).to_string();
            // The reason is that of the key's latest row.
            let reason = reasons.range((t.key, i64::MIN)..=(t.key, t.at)).next_back().map(|(_, r)| r.clone());
            let time = EventTime(t.at).to_string();
            let said = (t.label, t.seq, time, t.severity, t.recommendation, reason);
            json!([event, warehouse, key, said.0, said.1, said.2, said.3, said.4, said.5]).to_string()
        })
        .collect()
}
