//! Scripts in, catalog or exact error text out.

use super::catalog::*;
use super::*;

fn files(script: &str) -> Vec<SourceFile> {
    vec![SourceFile { name: "a.sql".into(), folder: "devices".into(), text: script.into() }]
}

fn script(text: &str) -> Script {
    read(&files(text)).unwrap_or_else(|errors| panic!("{}", show_errors(&errors)))
}

fn show_errors(errors: &[weir_contract::Error]) -> String {
    errors
        .iter()
        .map(|e| {
            let place = e.place().map_or(String::new(), ToString::to_string);
            let expected = e.expectation().map_or(String::new(), |x| format!(" | {x}"));
            format!("{} {place} {}{expected}\n", e.code(), e.what())
        })
        .collect()
}

fn show_table(t: &TableSpec) -> String {
    let mut out = format!("{:?} {} [{}] {:?}", t.kind, t.name, t.connector, t.format);
    if let Some(w) = &t.watermark {
        out += &format!(" watermark {} - {}us", w.column, w.lateness);
    }
    if let Some(d) = &t.dedup {
        out += &format!(" dedup {} {}us", d.column, d.within);
    }
    if let Some(idle) = t.idle_after {
        out += &format!(" idle {idle}us");
    }
    if !t.primary_key.is_empty() {
        out += &format!(" key {}", t.primary_key.join(","));
    }
    if !t.partitioned_by.is_empty() {
        out += &format!(" by {}", t.partitioned_by.join(","));
    }
    for (name, value) in &t.options {
        out += &format!(" {name}={value}");
    }
    out.push('\n');
    for c in &t.columns {
        let source = match &c.source {
            ColumnSource::Value => String::new(),
            ColumnSource::Json => " json".into(),
            ColumnSource::Metadata(key) => format!(" from {key:?}"),
            ColumnSource::Generated(expr) => format!(" as {expr}"),
        };
        let null = if c.nullable { "" } else { " not null" };
        out += &format!("  {} {}{null}{source}\n", c.name, c.data_type);
    }
    out
}

/// Every table of a script as text.
fn tables(text: &str) -> String {
    script(text).tables.iter().map(show_table).collect()
}

fn errors(text: &str) -> String {
    match read(&files(text)) {
        Ok(script) => panic!("no error in {script:?}"),
        Err(errors) => show_errors(&errors),
    }
}

#[track_caller]
fn same(got: &str, want: &str) {
    assert!(got == want, "--- got\n{got}--- want\n{want}");
}

const SCANS: &str = "CREATE TABLE scans (
  event_id TEXT NOT NULL, warehouse TEXT NOT NULL, station TEXT NOT NULL, scan_id TEXT NOT NULL,
  barcode TEXT NOT NULL, scanned_at TIMESTAMP NOT NULL,
  kafka_offset BIGINT METADATA FROM 'offset_id',
  WATERMARK FOR scanned_at AS scanned_at - INTERVAL '1 second'
) WITH (connector = 'kafka', topic = 'scans', type = 'source', format = 'json', idle_after = INTERVAL '5 seconds',
        dedup = 'event_id', dedup_within = INTERVAL '10 minutes')
PARTITIONED BY (warehouse);";

#[test]
fn the_scans_table_of_the_design() {
    same(
        &tables(SCANS),
        "Source scans [kafka] Json watermark scanned_at - 1000000us dedup event_id 600000000us idle 5000000us \
         by warehouse topic=scans
  event_id Utf8 not null
  warehouse Utf8 not null
  station Utf8 not null
  scan_id Utf8 not null
  barcode Utf8 not null
  scanned_at Timestamp(µs) not null
  kafka_offset Int64 from Offset
",
    );
}

#[test]
fn every_type_and_column_form() {
    same(
        &tables(
            "CREATE TABLE t (
               a SMALLINT, b INT, c INTEGER NULL, d BIGINT, e REAL, f DOUBLE PRECISION, g DECIMAL(10, 2),
               h NUMERIC, i VARCHAR, j BOOLEAN, k BYTEA, l DATE, m TIMESTAMP(3), n TIMESTAMPTZ,
               o TIMESTAMP WITH TIME ZONE, p JSON, q TEXT[], r ARRAY<ARRAY<INT>>,
               s STRUCT<x DOUBLE, y: STRUCT<z ARRAY<STRUCT<w TEXT>>>>, \"T\" TEXT,
               u TEXT METADATA FROM 'header.weir-u', v TIMESTAMP METADATA FROM 'timestamp' NOT NULL,
               w BIGINT GENERATED ALWAYS AS (d + 1) STORED, x BYTEA METADATA FROM 'key',
               PRIMARY KEY (a, b), WATERMARK FOR v)",
        ),
        "Source t [] Json watermark v - 0us key a,b
  a Int16
  b Int32
  c Int32
  d Int64
  e Float64
  f Float64
  g Decimal128(10, 2)
  h Decimal128(38, 10)
  i Utf8
  j Boolean
  k Binary
  l Date32
  m Timestamp(µs)
  n Timestamp(µs)
  o Timestamp(µs)
  p Utf8 json
  q List(Utf8)
  r List(List(Int32))
  s Struct(\"x\": Float64, \"y\": Struct(\"z\": List(Struct(\"w\": Utf8))))
  T Utf8
  u Utf8 from Header(\"weir-u\")
  v Timestamp(µs) not null from Timestamp
  w Int64 as d + 1
  x Binary from Key
",
    );
}

#[test]
fn kinds_of_tables() {
    same(
        &tables(
            "CREATE TABLE m (a INT, b TEXT);
             INSERT INTO m VALUES (1, 'x'), (2, NULL);
             INSERT INTO m (b) VALUES ('y');
             CREATE TABLE units (unit_id TEXT PRIMARY KEY, capacity DOUBLE) WITH (connector = 'reference');
             CREATE TABLE out (a INT) WITH (connector = 'stdout');
             INSERT INTO out SELECT a FROM m;
             CREATE TABLE log (t TIMESTAMP, w TEXT, WATERMARK FOR t) WITH () PARTITIONED BY (w);
             CREATE TABLE up (t TIMESTAMP, WATERMARK FOR t AS (t - INTERVAL '2' SECOND))
             WITH (type = 'sink', kafka.security.protocol = 'sasl_ssl', 'kafka.x-y' = 3, timestamp_unit = 'ms');",
        ),
        "Memory m [] Json
  a Int32
  b Utf8
Reference units [reference] Json key unit_id
  unit_id Utf8 not null
  capacity Float64
Sink out [stdout] Json
  a Int32
Source log [] Json watermark t - 0us by w
  t Timestamp(µs)
  w Utf8
Sink up [] Json watermark t - 2000000us kafka.security.protocol=sasl_ssl kafka.x-y=3 timestamp_unit=ms
  t Timestamp(µs)
",
    );
    let read = script(
        "CREATE TABLE m (a INT, b TEXT); INSERT INTO m VALUES (-1, 'x'); INSERT INTO m (b) VALUES ('y')",
    );
    let rows: Vec<String> = read.tables[0].rows.iter().map(|r| format!("{} {}", r[0], r[1])).collect();
    assert_eq!(rows, ["-1 'x'", "NULL 'y'"]);
}

#[test]
fn the_older_names_of_event_time() {
    same(
        &tables(
            "CREATE TABLE a (t TIMESTAMP, w TIMESTAMP GENERATED ALWAYS AS (t - INTERVAL '1 minute') STORED)
             WITH (event_time_field = 't', watermark_field = 'w');
             CREATE TABLE b (t TIMESTAMP) WITH (event_time_field = 't');",
        ),
        "Source a [] Json watermark t - 60000000us
  t Timestamp(µs)
  w Timestamp(µs) as t - INTERVAL '1 minute'
Source b [] Json watermark t - 0us
  t Timestamp(µs)
",
    );
}

#[test]
fn errors_of_one_table_come_together() {
    same(
        &errors(
            "CREATE TABLE scans (a TEXT, a INT, t TEXT, __x INT, o TEXT METADATA FROM 'offset',
  p INT METADATA FROM 'partitoin',
  WATERMARK FOR t AS t - INTERVAL '1 second') WITH (format = 'avro', idle_after = 'soon', dedup = 'b',
  type = 'sorce', max_record_bytes = 0, append_time = 'broker', append_time = 'broker')
PARTITIONED BY (warehous);",
        ),
        "W0206 a.sql:1:29 column `a` is declared twice
W0205 a.sql:1:44 `__x`: names that start with __ are weir's own
W0205 a.sql:1:74 metadata 'offset' does not fit TEXT | BIGINT
W0202 a.sql:2:23 a record has no metadata 'partitoin' | partition (did you mean that?)
W0205 a.sql:3:17 the event-time column `t` is TEXT | TIMESTAMP
W0209 a.sql:3:62 format 'avro' is not there yet | json, parquet, raw_bytes
W0204 a.sql:3:83 `idle_after` cannot be 'soon' | a duration such as '20 seconds'
W0204 a.sql:3:99 `dedup` needs a horizon | dedup_within = INTERVAL '…' beside it
W0204 a.sql:4:10 `type` cannot be 'sorce' | source (did you mean that?)
W0204 a.sql:4:38 `max_record_bytes` cannot be 0 | a whole number from 1
W0206 a.sql:4:65 option `append_time` is given twice
W0202 a.sql:5:17 the table has no column `warehous` | a, a, t, __x, o, p
",
    );
}

#[test]
fn values_are_checked() {
    for (text, want) in [
        (
            "CREATE TABLE t (t TIMESTAMP, WATERMARK FOR t AS t - INTERVAL '-1 second')",
            "W0204 a.sql:1:49 cannot take the lateness from `t - INTERVAL '-1 second'` | t or t - INTERVAL '…', \
             the interval not negative\n",
        ),
        (
            "CREATE TABLE t (t TIMESTAMP, WATERMARK FOR tt)",
            "W0202 a.sql:1:44 the table has no column `tt` | t (did you mean that?)\n",
        ),
        (
            "CREATE TABLE t (t TIMESTAMP, WATERMARK FOR t) WITH (dedup_within = '1 s')",
            "W0204 a.sql:1:1 `dedup_within` needs a column | dedup = 'column' beside it\n",
        ),
        (
            "CREATE TABLE t (t TIMESTAMP, WATERMARK FOR t) WITH (idle_after = INTERVAL '0 s')",
            "W0204 a.sql:1:66 `idle_after` cannot be INTERVAL '0 s' | a duration above zero\n",
        ),
        (
            "CREATE TABLE u (a TEXT) WITH (connector = 'reference', topic = 'x')",
            "W0205 a.sql:1:1 reference table `u` has no key | PRIMARY KEY (…)\n\
             W0203 a.sql:1:56 a reference table has no option `topic` | connector\n",
        ),
        (
            "CREATE TABLE t (t TIMESTAMP(9), WATERMARK FOR t)",
            "W0205 a.sql:1:19 there is no type `TIMESTAMP(9)` | TIMESTAMP(0) to TIMESTAMP(6): microseconds\n",
        ),
        (
            "CREATE TABLE t (t TIMESTMP)",
            "W0205 a.sql:1:19 there is no type `TIMESTMP` | TIMESTAMP (did you mean that?)\n",
        ),
        (
            "CREATE TABLE t (a INT) WITH (topic = 'x')",
            "W0207 a.sql:1:1 table `t` is read but has no event time | WATERMARK FOR column in it, type = 'sink', \
             or an INSERT INTO it\n",
        ),
        (
            "CREATE TABLE t (a INT);\nCREATE VIEW T AS SELECT 1",
            "W0206 a.sql:2:1 `t` is defined already | once, as at a.sql:1:1\n",
        ),
        (
            "CREATE TABLE stations (a INT);\n  INSERT INTO station VALUES (1)",
            "W0202 a.sql:2:15 there is no table `station` | stations (did you mean that?)\n",
        ),
        (
            "CREATE TABLE m (a INT); INSERT INTO m VALUES (1, 2)",
            "W0205 a.sql:1:25 a row of 2 values for 1 columns | 1 values\n",
        ),
        (
            "CREATE TABLE t (a INT",
            "W0201 a.sql:1:22 the statement ends here | NOT NULL, PRIMARY KEY, METADATA FROM \
          '…', GENERATED ALWAYS AS (…), `,` or `)`\n",
        ),
        ("SELECT 'open", "W0201 a.sql:1:8 Unterminated string literal\n"),
        (
            "DROP TABLE t",
            "W0209 a.sql:1:1 DROP is not there yet: a script says what is | the CREATE statement taken out of \
             the script\n",
        ),
    ] {
        same(&errors(text), want);
    }
}

#[test]
fn one_bad_statement_does_not_hide_the_next() {
    let mut two = files("CREAT VIEW v AS SELECT 1;\nCREATE VIEW w AS SELECT FROM;\nCREATE VUE x");
    two.push(SourceFile { name: "b.sql".into(), folder: String::new(), text: "SELECT 1 +".into() });
    let got = read(&two).map_err(|e| show_errors(&e)).expect_err("four errors");
    same(
        &got,
        "W0201 a.sql:1:1 cannot read `CREAT` here | CREATE (did you mean that?)
W0201 a.sql:2:29 cannot read `FROM` here | an expression
W0201 a.sql:3:8 cannot read `VUE` here | TABLE, VIEW or RULE
W0201 b.sql:1:11 the statement ends here | an expression
",
    );
}

#[test]
fn a_rule_with_all_its_options() {
    let read = script(
        "-- first\nCREATE RULE r WITH (kind = 'condition', key = 'station, warehouse , Scan_id', severity = 'high',
         fire_after = INTERVAL '1 minute', clear_after = '90 seconds', no_data = '5 minutes', owner = 'o',
         runbook = 'b.md', explain = 'at {station}', enabled = FALSE, suppress = '20 minutes', renotify = '1 hour',
         inhibited_by = 'a,  b', shadow = true) AS SELECT 1 AS x ; SELECT 2",
    );
    let rule = &read.rules[0];
    assert_eq!((rule.name.as_str(), rule.folder.as_str()), ("r", "devices"));
    assert!(rule.text.starts_with("CREATE RULE r") && rule.text.ends_with("SELECT 1 AS x"), "{}", rule.text);
    assert_eq!(rule.place.to_string(), "a.sql:2:1");
    assert_eq!(
        rule.options,
        RuleOptions {
            kind: RuleKind::Condition,
            key: vec!["station".into(), "scan_id".into()],
            severity: Some("high".into()),
            fire_after: 60_000_000,
            clear_after: 90_000_000,
            no_data: Some(300_000_000),
            owner: Some("o".into()),
            runbook: Some("b.md".into()),
            explain: Some("at {station}".into()),
            enabled: false,
            later: [
                ("suppress", "20 min"),
                ("renotify", "1 h"),
                ("inhibited_by", "a, b"),
                ("shadow", "true"),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        }
    );
    assert_eq!(read.queries[0].text, "SELECT 2");
}

#[test]
fn wrong_rules() {
    same(
        &errors(
            "CREATE RULE a WITH (fireafter = '1 s', key = 'x', kind = 'condition') AS SELECT 1;
CREATE RULE b AS SELECT 1;
CREATE RULE c WITH (kind = 'event', key = 'x,', severity = 'hihg', fire_after = '-1 s') AS SELECT 1;
CREATE RULE d WITH (kind = 'condition', key = 'x', severity = 'emergency', suppress = '1 s') AS SELECT 1",
        ),
        "W0203 a.sql:1:21 a rule has no option `fireafter` | fire_after (did you mean that?)
W0211 a.sql:2:15 rule `b` needs the option `kind` | kind = 'event' or kind = 'condition'
W0211 a.sql:2:15 rule `b` needs the option `key` | key = 'column, …': what tells one episode from another, beside \
         warehouse
W0211 a.sql:3:15 `fire_after` has no meaning where every row is an event | kind = 'condition'
W0204 a.sql:3:43 `key` cannot be 'x,' | column names with commas between them
W0204 a.sql:3:60 `severity` cannot be 'hihg' | high (did you mean that?)
W0204 a.sql:3:81 `fire_after` cannot be '-1 s' | a duration, not negative
W0211 a.sql:4:15 an emergency is never suppressed | no option `suppress`, or a lower severity
",
    );
}

#[test]
fn asof_joins_take_one_form() {
    let tables = "CREATE TABLE a (k INT, t TIMESTAMP, WATERMARK FOR t) WITH (); CREATE TABLE b (k INT, t TIMESTAMP, \
                  WATERMARK FOR t) WITH ();";
    for (from, want) in [
        (
            "a ASOF LEFT JOIN b ON a.k = b.k AND a.t >= b.t WHERE a.k > 0",
            "a LEFT JOIN b ON __asof() AND (a.k = b.k AND a.t >= b.t) WHERE a.k > 0",
        ),
        (
            "a asof JOIN (SELECT * FROM b) AS c ON a.t >= c.t OR a.k = c.k OR TRUE",
            "a JOIN (SELECT * FROM b) AS c ON __asof() AND (a.t >= c.t OR a.k = c.k OR true)",
        ),
        (
            "a ASOF INNER JOIN b ON a.t >= b.t ASOF LEFT JOIN b AS c ON a.t >= c.t LEFT JOIN b AS d ON a.k = d.k",
            "a INNER JOIN b ON __asof() AND (a.t >= b.t) LEFT JOIN b AS c ON __asof() AND (a.t >= c.t) LEFT JOIN b \
             AS d ON a.k = d.k",
        ),
        (
            "a ASOF JOIN b MATCH_CONDITION (a.t >= b.t) ON a.k = b.k",
            "a LEFT JOIN b ON __asof() AND ((a.k = b.k) AND a.t >= b.t)",
        ),
        (
            "(SELECT * FROM a ASOF JOIN b ON a.t >= b.t)",
            "(SELECT * FROM a JOIN b ON __asof() AND (a.t >= b.t))",
        ),
        ("(a ASOF JOIN b ON a.t >= b.t)", "(a JOIN b ON __asof() AND (a.t >= b.t))"),
        ("a AS asof", "a AS asof"),
    ] {
        let read = script(&format!("{tables} SELECT * FROM {from}"));
        assert_eq!(read.queries[0].query.to_string(), format!("SELECT * FROM {want}"));
        assert!(read.queries[0].text.ends_with(from), "the text stays as written");
    }
    same(
        &errors(
            "SELECT * FROM a\n ASOF RIGHT JOIN b ON a.t >= b.t;\nSELECT * FROM a ASOF JOIN b USING (k, t)",
        ),
        "W0209 a.sql:2:2 an as-of join keeps rows of its left side only | ASOF JOIN or ASOF LEFT JOIN
W0201 a.sql:3:17 an as-of join has no ON of its own | a ASOF [LEFT] JOIN b ON a.k = b.k AND a.ts >= b.ts AND \
         b.ts >= a.ts - INTERVAL '…'
",
    );
    // Tokens that follow the mark keep their places.
    same(
        &errors("SELECT * FROM a ASOF JOIN b ON a.t >= b.t AND"),
        "W0201 a.sql:1:46 the statement ends here | an expression\n",
    );
}

#[test]
fn connector_options_are_checked() {
    use crate::connect::OptionDoc;
    let known = [
        OptionDoc { name: "topic", required: true, doc: "the topic" },
        OptionDoc { name: "bootstrap_servers", required: true, doc: "host:port, …" },
        OptionDoc { name: "kafka.*", required: false, doc: "passed on" },
    ];
    let read = script(
        "CREATE TABLE t (t TIMESTAMP, WATERMARK FOR t) WITH (connector = 'kafka', topik = 'x', idle_aftr = '1 s',
         kafka.linger.ms = 5, bootstrap_servers = 'h:1', timestamp_unit = 'ms')",
    );
    same(
        &show_errors(&check_options(&read.tables[0], &known)),
        "W0203 a.sql:1:1 connector 'kafka' has no option `idle_aftr` | idle_after (did you mean that?)
W0203 a.sql:1:1 connector 'kafka' has no option `topik` | topic (did you mean that?)
W0204 a.sql:1:1 connector 'kafka' needs the option `topic` | topic = …: the topic
",
    );
    assert_eq!(check_options(&script(SCANS).tables[0], &known).len(), 1, "bootstrap_servers is missing");
}

#[test]
fn the_floor_and_the_worked_rules_read() {
    let read = |name: &str, text: &str| -> Script {
        let file = SourceFile { name: name.into(), folder: "rules".into(), text: text.into() };
        super::read(&[file]).unwrap_or_else(|errors| panic!("{}", show_errors(&errors)))
    };
    let show = |script: &Script| -> String {
        let views = script.views.iter().map(|v| format!("view {} {}\n", v.name, v.place));
        let rules = script.rules.iter().map(|r| {
            let o = &r.options;
            format!(
                "rule {} {} {:?} [{}] fire {} clear {} no_data {:?} {:?} {:?}\n",
                r.name,
                r.place,
                o.kind,
                o.key.join(","),
                o.fire_after,
                o.clear_after,
                o.no_data,
                o.severity.as_deref().unwrap_or_default(),
                o.later
            )
        });
        views.chain(rules).collect()
    };
    let floor = read("floor.sql", include_str!("testdata/floor.sql"));
    same(
        &show(&floor),
        "view plc_runs floor.sql:4:1
view level_marks floor.sql:18:1
view path_rows floor.sql:35:1
view path_fill floor.sql:53:1
view unit_paths floor.sql:69:1
view buffer_fill floor.sql:72:1
rule camera_silent floor.sql:90:1 Condition [station] fire 15000000 clear 10000000 no_data None \"high\" {}
rule barcode floor.sql:101:1 Event [station,scan_id] fire 0 clear 0 no_data None \"medium\" {}
",
    );
    let marks = floor.views.iter().filter(|v| v.query.to_string().contains("__asof() AND (")).count();
    assert_eq!(marks, 3, "level_marks, path_rows and buffer_fill join as of a time");
    same(
        &show(&read("rules.sql", include_str!("testdata/rules.sql"))),
        "rule brand_mismatch rules.sql:1:1 Event [station,scan_id] fire 0 clear 0 no_data None \"high\" \
         {\"inhibited_by\": \"camera_silent, device_silent\"}
rule buffer_overflow rules.sql:66:1 Condition [unit_id] fire 20000000 clear 180000000 no_data Some(300000000) \"high\" \
         {\"suppress\": \"20 min\"}
rule buffer_starvation rules.sql:128:1 Condition [unit_id] fire 20000000 clear 120000000 no_data Some(300000000) \
         \"medium\" {\"suppress\": \"15 min\"}
",
    );
}
