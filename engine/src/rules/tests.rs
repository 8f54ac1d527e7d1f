//! What a rule may look like, and what is said where it does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use weir_contract::{Code, Place};

use super::*;
use crate::sql::catalog::RuleSpec;

const US: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn spec(kind: RuleKind, key: &[&str]) -> RuleSpec {
    let text = "CREATE RULE r WITH (kind = 'x') AS SELECT 1";
    let query = Parser::new(&PostgreSqlDialect {}).try_with_sql("SELECT 1").and_then(|mut p| p.parse_query());
    RuleSpec {
        name: "r".into(),
        options: RuleOptions {
            kind,
            key: key.iter().map(|k| (*k).into()).collect(),
            severity: Some("high".into()),
            fire_after: 0,
            clear_after: 0,
            no_data: None,
            owner: None,
            runbook: None,
            explain: None,
            enabled: true,
            later: BTreeMap::new(),
        },
        query: *query.expect("a query"),
        text: text.into(),
        folder: "buffers".into(),
        place: Place::Script { file: "rules/r.sql".into(), line: 3, column: 1 },
    }
}

/// A stream whose event-time columns are those of the names in `times`.
fn stream(columns: &[(&str, DataType)], times: &[&str]) -> StreamSchema {
    let fields: Vec<Field> = columns.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect();
    let at = |name: &&str| columns.iter().position(|(n, _)| n == name).expect("a column");
    let times: Vec<usize> = times.iter().map(at).collect();
    let schema = Arc::new(Schema::new(fields));
    StreamSchema { schema, order: times.clone(), times, row_time: 0, partition_key: vec![] }
}

fn condition() -> Vec<(&'static str, DataType)> {
    vec![
        ("__o", DataType::Int64),
        ("warehouse", DataType::Utf8),
        ("unit_id", DataType::Utf8),
        ("event_time", US),
        ("fire", DataType::Boolean),
        ("fill_ratio", DataType::Float64),
    ]
}

fn error(spec: &RuleSpec, stream: &StreamSchema) -> (Code, String, String) {
    let e = Rule::new(spec, stream).expect_err("an error");
    assert_eq!(e.place(), Some(&spec.place));
    (e.code(), e.what().into(), e.expectation().unwrap_or_default().into())
}

#[test]
fn columns_are_found_and_the_rest_is_extra() {
    let rule = Rule::new(&spec(RuleKind::Condition, &["unit_id"]), &stream(&condition(), &["event_time"]));
    let rule = rule.expect("a rule");
    let c = &rule.columns;
    assert_eq!((c.warehouse, c.event_time, c.time, c.fire, c.clear), (1, 3, 0, Some(4), None));
    assert_eq!((c.key.clone(), c.unit_id, c.extra.clone()), (vec![2], Some(2), vec![5]));
    let kept = c.project(&[1, 2, 3, 4, 5]).expect("all visible columns");
    assert_eq!((kept.warehouse, kept.event_time, kept.fire, kept.extra), (0, 2, Some(3), vec![4]));
    assert_eq!(c.project(&[0]).map_err(|e| e.code()), Err(Code::Internal));
    assert_eq!(rule.folder, "buffers");
}

#[test]
fn a_missing_or_wrong_column_is_named_with_what_was_expected() {
    let ok = condition();
    let without = |name: &str| ok.iter().filter(|(n, _)| *n != name).cloned().collect::<Vec<_>>();
    let with = |name: &'static str, t: DataType| {
        without(name).into_iter().chain([(name, t)]).collect::<Vec<(&str, DataType)>>()
    };
    let s = spec(RuleKind::Condition, &["unit_id"]);
    for (columns, times, code, what, expected) in [
        (without("warehouse"), vec!["event_time"], Code::BadRule, "no column `warehouse`", "warehouse"),
        (without("unit_id"), vec!["event_time"], Code::BadRule, "named by the option `key`", "unit_id"),
        (without("fire"), vec!["event_time"], Code::BadRule, "says when it fires", "`fire`"),
        (with("fire", DataType::Int64), vec!["event_time"], Code::BadRule, "`fire` is BIGINT", "BOOLEAN"),
        (with("clear", DataType::Utf8), vec!["event_time"], Code::BadRule, "`clear` is TEXT", "BOOLEAN"),
        (with("warehouse", DataType::Int32), vec!["event_time"], Code::BadRule, "`warehouse` is", "TEXT"),
        (with("quantity", DataType::Utf8), vec!["event_time"], Code::BadRule, "`quantity` is", "a number"),
        (with("severity", DataType::Int8), vec!["event_time"], Code::BadRule, "`severity` is", "TEXT"),
        (with("event_time", DataType::Utf8), vec![], Code::NotEventTime, "it is TEXT", "a WATERMARK column"),
        (with("ts", US), vec!["ts"], Code::NotEventTime, "computes it", "the query has ts"),
    ] {
        let (got, said, hint) = error(&s, &stream(&columns, &times));
        assert_eq!(got, code, "{said}");
        assert!(said.contains(what), "{said}");
        assert!(hint.contains(expected), "{said} / {hint}");
    }
    let mut twice = ok.clone();
    twice.push(("fire", DataType::Boolean));
    assert!(error(&s, &stream(&twice, &["event_time"])).1.contains("two columns are named `fire`"));
}

#[test]
fn an_event_rule_has_no_condition() {
    let s = spec(RuleKind::Event, &["unit_id"]);
    let (code, what, _) = error(&s, &stream(&condition(), &["event_time"]));
    assert!(code == Code::BadRule && what.contains("has a column `fire`"), "{what}");
    let columns: Vec<_> = condition().into_iter().filter(|(n, _)| *n != "fire").collect();
    assert!(!Rule::new(&s, &stream(&columns, &["event_time"])).expect("a rule").is_condition());
}

#[test]
fn timers_are_not_negative_and_no_data_is_not_zero() {
    let stream = stream(&condition(), &["event_time"]);
    let mut s = spec(RuleKind::Condition, &["unit_id"]);
    s.options.no_data = Some(0);
    assert_eq!(error(&s, &stream).0, Code::BadOption);
    s.options.no_data = Some(1);
    s.options.fire_after = -1;
    assert_eq!(error(&s, &stream).0, Code::BadOption);
}

#[test]
fn templates_name_columns_that_are_there() {
    let schema = stream(&condition(), &["event_time"]).schema;
    let parse = |text: &str| Template::parse("r", text, &schema);
    let column = |name: &str, digits| Piece::Column { name: name.into(), digits };
    assert_eq!(
        parse("{unit_id} is {fill_ratio:.2} full {{ok}}").expect("a template").pieces,
        [
            column("unit_id", None),
            Piece::Text(" is ".into()),
            column("fill_ratio", Some(2)),
            Piece::Text(" full {ok}".into())
        ]
    );
    assert_eq!(parse("").expect("a template").pieces, []);
    let unknown = parse("{fil_ratio}").expect_err("unknown");
    assert_eq!(unknown.code(), Code::UnknownName);
    assert!(unknown.expectation().is_some_and(|e| e.contains("fill_ratio")), "{unknown}");
    for bad in ["{unit_id", "unit_id}", "{unit_id:2}", "{unit_id:.99}"] {
        assert_eq!(parse(bad).map_err(|e| e.code()), Err(Code::BadOption), "{bad}");
    }
    assert_eq!(parse("{__o}").map_err(|e| e.code()), Err(Code::UnknownName), "hidden columns stay hidden");
}

#[test]
fn the_version_ignores_what_means_nothing() {
    let a = "CREATE RULE r WITH (key = 'Unit')\n AS SELECT a, \"B\" -- why\nFROM t;";
    let b = "create rule R with (key='Unit') as /* x */ select a,\"B\" from T";
    assert_eq!(normalised(a), normalised(b));
    for other in ["create rule r with (key='unit') as select a, \"B\" from t", "SELECT a, \"b\" FROM t"] {
        assert_ne!(normalised(a), normalised(other));
    }
    assert_eq!(normalised("SELECT 'a''b' ;;"), "select 'a''b'");
}
