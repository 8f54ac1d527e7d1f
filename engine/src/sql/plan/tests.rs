//! Plans of small queries: where nodes run, what they delay, what is refused and why.

use std::path::Path;

use datafusion::arrow::datatypes::{DataType, FieldRef, Fields};

use crate::sql::{load, read};

use super::ir::{Op, Place, Plan};
use super::plan;

fn planned(sql: &str) -> Result<Plan, String> {
    let file = crate::sql::SourceFile { name: "t.sql".into(), folder: String::new(), text: sql.into() };
    let shown = |errors: Vec<weir_contract::Error>| {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    plan(&read(&[file]).map_err(shown)?).map_err(shown)
}

const TABLES: &str = "
CREATE TABLE a (warehouse TEXT NOT NULL, k TEXT, x DOUBLE, n BIGINT, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '1 second') WITH (connector = 'memory', type = 'source') PARTITIONED BY (warehouse);
CREATE TABLE b (warehouse TEXT NOT NULL, k TEXT, y DOUBLE, at_ts TIMESTAMP NOT NULL,
  WATERMARK FOR at_ts AS at_ts - INTERVAL '3 seconds') WITH (connector = 'memory', type = 'source') PARTITIONED BY (warehouse);
CREATE TABLE r (k TEXT NOT NULL, v DOUBLE, PRIMARY KEY (k)) WITH (connector = 'reference');
";

/// Plans one query; the last node with an operator of its own.
fn query(sql: &str) -> Result<Plan, String> {
    planned(&format!("{TABLES}\n{sql};"))
}

#[test]
fn the_rule_pack_plans_without_an_exchange() {
    let files = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules")).unwrap();
    let script = read(&files)
        .unwrap_or_else(|e| panic!("{}", e.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")));
    let plan = plan(&script)
        .unwrap_or_else(|e| panic!("{}", e.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")));
    assert!(plan.nodes.iter().all(|n| n.place == Place::Task && n.exchange.iter().all(Option::is_none)));
    assert_eq!(plan.outputs.len(), script.rules.len());
    assert!(!plan.outputs.is_empty());
}

#[test]
fn delays_follow_lateness_and_intervals() {
    let plan = query(
        "SELECT a.ts, b.y FROM a LEFT JOIN b ON a.warehouse = b.warehouse
           AND b.at_ts BETWEEN a.ts - INTERVAL '2 seconds' AND a.ts + INTERVAL '4 seconds'",
    )
    .unwrap();
    let join = plan.nodes.iter().find(|n| matches!(n.op, Op::IntervalJoin { .. })).unwrap();
    assert!(
        matches!(join.op, Op::IntervalJoin { outer: true, before: 2_000_000, after: 4_000_000, .. }),
        "{:?}",
        join.op
    );
    assert_eq!(join.delays, [7_000_000], "lateness of b and the interval after");
    assert_eq!(join.place, Place::Task);
    assert_eq!(join.ranges["b"], (2_000_000, 4_000_000));
}

/// What the operator's frontiers say, the plan's delays say too: both columns wait for the left row's last match.
#[test]
fn the_right_time_of_an_inner_join_waits_for_undecided_left_rows() {
    let plan = query(
        "SELECT a.ts, b.at_ts FROM a JOIN b ON a.warehouse = b.warehouse
           AND b.at_ts BETWEEN a.ts - INTERVAL '2 seconds' AND a.ts + INTERVAL '4 seconds'",
    )
    .unwrap();
    let join = plan.nodes.iter().find(|n| matches!(n.op, Op::IntervalJoin { .. })).unwrap();
    assert_eq!(join.delays, [7_000_000, 9_000_000], "lateness of b, 4 s after; and 2 s before");
}

#[test]
fn keys_without_the_partition_key_go_behind_an_exchange() {
    let plan = query("SELECT k, count(*) FROM a GROUP BY k, tumble(INTERVAL '10 seconds')").unwrap();
    let aggregate = plan.nodes.iter().find(|n| matches!(n.op, Op::Aggregate { .. })).unwrap();
    assert!(aggregate.exchange[0].is_some());
    let held =
        query("SELECT warehouse, k, count(*) FROM a GROUP BY warehouse, k, tumble(INTERVAL '10 seconds')")
            .unwrap();
    assert!(held.nodes.iter().all(|n| n.place == Place::Task));
}

#[test]
fn what_has_no_end_or_no_event_time_is_refused() {
    for (sql, wanted) in [
        ("SELECT k, count(*) FROM a GROUP BY k", "W0208"),
        ("SELECT a.k FROM a JOIN b ON a.k = b.k", "W0208"),
        ("SELECT a.k FROM a ASOF JOIN b ON a.k = b.k AND a.ts >= b.at_ts", "W0208"),
        ("SELECT DISTINCT k FROM a", "W0208"),
        ("SELECT k FROM a ORDER BY k", "W0209"),
        ("SELECT k, now() FROM a", "W0210"),
        ("SELECT k, random() FROM a", "W0210"),
        (
            "SELECT sum(x) OVER (PARTITION BY k ORDER BY x RANGE BETWEEN INTERVAL '1 second' PRECEDING AND CURRENT ROW) FROM a",
            "W02",
        ),
        ("SELECT lag(x) OVER (PARTITION BY k ORDER BY ts) FROM a", "W0208"),
        ("SELECT array_agg(x) FROM a GROUP BY tumble(INTERVAL '1 second')", "W0209"),
        ("SELECT nothing FROM a", "W0202"),
        ("SELECT k FROM a WHERE x > (SELECT max(v) FROM r)", "W0209"),
    ] {
        let error = query(sql).err().unwrap_or_else(|| panic!("planned: {sql}"));
        assert!(error.contains(wanted), "{sql}\n{error}");
    }
}

#[test]
fn event_time_passes_projections_with_its_shift() {
    let plan = query(
        "SELECT k, count(*) FROM (SELECT warehouse, k, slot.end - INTERVAL '1 microsecond' AS t FROM
           (SELECT warehouse, k, hop(INTERVAL '10 seconds', INTERVAL '30 seconds') AS slot FROM a
            GROUP BY warehouse, k, hop(INTERVAL '10 seconds', INTERVAL '30 seconds')) AS w) AS v
         GROUP BY warehouse, k, t",
    )
    .unwrap();
    let keys: Vec<usize> = plan
        .nodes
        .iter()
        .filter_map(
            |n| if let Op::Aggregate { time_keys, .. } = &n.op { Some(time_keys.len()) } else { None },
        )
        .collect();
    assert_eq!(keys, [0, 1]);
}

#[test]
fn an_error_stands_at_the_word_it_is_about() {
    for (sql, wanted) in [
        ("SELECT k,\n  nothing\nFROM a", "t.sql:9:3"),
        ("SELECT k\nFROM a\nWHERE now() > ts", "t.sql:10:7"),
        ("SELECT k FROM\n   nowhere", "t.sql:9:4"),
    ] {
        let error = query(sql).err().unwrap_or_else(|| panic!("planned: {sql}"));
        assert!(error.contains(wanted), "{wanted}\n{error}");
    }
}

#[test]
fn an_output_has_the_columns_that_its_query_names() {
    for (sql, wanted) in [
        // The first columns of a table, in their order: nothing has to be computed.
        ("SELECT warehouse, k FROM a", vec!["warehouse", "k"]),
        ("SELECT k, warehouse FROM a WHERE x > 1", vec!["k", "warehouse"]),
        ("SELECT warehouse FROM a UNION ALL SELECT warehouse FROM a", vec!["warehouse"]),
    ] {
        let plan = query(sql).unwrap();
        let stream = &plan.nodes[plan.outputs[0].node()].stream;
        let names = stream.schema.fields().iter().map(|f| f.name().as_str());
        assert_eq!(names.take_while(|n| !n.starts_with("__")).collect::<Vec<_>>(), wanted, "{sql}");
    }
}

/// The columns of a source, with the fields of STRUCTs, without position.
fn read_of(plan: &Plan, table: &str) -> String {
    fn shown(fields: &Fields) -> Vec<String> {
        let inner = |f: &FieldRef| match f.data_type() {
            DataType::Struct(fields) => format!("{}({})", f.name(), shown(fields).join(", ")),
            _ => f.name().clone(),
        };
        fields.iter().map(inner).collect()
    }
    let node = plan.nodes.iter().find(|n| matches!(&n.op, Op::Source(t) if t.name == table)).unwrap();
    let names = shown(node.stream.schema.fields());
    let (read, position) = names.split_at(names.len() - 3);
    assert_eq!(position, ["__i", "__p", "__o"]);
    read.join(", ")
}

#[test]
fn a_source_has_the_columns_that_somebody_reads() {
    let nested =
        "CREATE TABLE s (warehouse TEXT NOT NULL, v STRUCT<a BIGINT, b STRUCT<c TEXT, d TEXT>>, w TEXT,
        ts TIMESTAMP NOT NULL, WATERMARK FOR ts) WITH (connector = 'memory', type = 'source')
        PARTITIONED BY (warehouse);
        CREATE VIEW both AS SELECT warehouse, k, x, ts FROM a UNION ALL SELECT warehouse, k, y, at_ts FROM b;
        CREATE VIEW unread AS SELECT n + 1 AS more, ts, warehouse FROM a;
        CREATE VIEW wide AS SELECT a.warehouse, k, x + 1 AS x1, n + 1 AS n1, v['b'] AS b, s.ts FROM a
          JOIN s ON a.warehouse = s.warehouse AND s.ts BETWEEN a.ts AND a.ts + INTERVAL '1 second';";
    for (sql, table, wanted) in [
        ("SELECT k FROM a WHERE x > 1", "a", "warehouse, k, x, ts"),
        ("SELECT * FROM a", "a", "warehouse, k, x, n, ts"),
        ("SELECT k FROM a", "b", "warehouse, at_ts"),
        ("SELECT k, sum(n) FROM a WHERE x > 1 GROUP BY k, tumble(INTERVAL '1 second')", "a", "warehouse, k, x, n, ts"),
        ("SELECT count(*) FROM a GROUP BY warehouse, tumble(INTERVAL '1 second')", "a", "warehouse, ts"),
        ("SELECT v['b']['c'] FROM s WHERE v['a'] > 1", "s", "warehouse, v(a, b(c)), ts"),
        ("SELECT v['a'] FROM s WHERE v IS NOT NULL", "s", "warehouse, v(a, b(c, d)), ts"),
        ("SELECT k FROM both", "a", "warehouse, k, ts"),
        ("SELECT x FROM both WHERE warehouse = 'W'", "b", "warehouse, y, at_ts"),
        ("SELECT b['d'], k FROM wide", "s", "warehouse, v(b(d)), ts"),
        ("SELECT n1 FROM wide", "a", "warehouse, n, ts"),
        ("SELECT a.n FROM a JOIN r ON a.k = r.k AND r.v < a.x", "a", "warehouse, k, x, n, ts"),
        (
            "SELECT lag(x) OVER (PARTITION BY warehouse ORDER BY ts RANGE BETWEEN INTERVAL '1 second' PRECEDING
               AND CURRENT ROW) FROM a",
            "a",
            "warehouse, x, ts",
        ),
        ("SELECT a.k FROM a ASOF JOIN b ON a.warehouse = b.warehouse AND a.ts >= b.at_ts
            AND b.at_ts >= a.ts - INTERVAL '1 second'", "b", "warehouse, at_ts"),
    ] {
        let plan = query(&format!("{nested}\n{sql}")).unwrap_or_else(|e| panic!("{sql}\n{e}"));
        assert_eq!(read_of(&plan, table), wanted, "{sql}");
    }
}
