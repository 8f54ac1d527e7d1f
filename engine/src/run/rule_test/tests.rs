//! Rule tests tested: what passes, what fails and how it is told, what is broken, what is blessed.

use std::path::Path;

use super::*;

/// A program with a stream, a view over it, reference tables and three rules in two files.
const STREAMS: &str = "
CREATE TABLE levels (
    event_id TEXT NOT NULL, warehouse TEXT NOT NULL, unit_id TEXT NOT NULL, fill DOUBLE, items BIGINT,
    at_ts TIMESTAMP NOT NULL,
    WATERMARK FOR at_ts AS at_ts - INTERVAL '2 seconds'
) WITH (topic = 'levels', dedup = 'event_id', dedup_within = INTERVAL '10 minutes') PARTITIONED BY (warehouse);
CREATE TABLE units (unit_id TEXT NOT NULL, capacity DOUBLE NOT NULL, active BOOLEAN NOT NULL, PRIMARY KEY (unit_id))
WITH (connector = 'reference');
CREATE VIEW ratios AS
SELECT l.warehouse, l.unit_id, l.at_ts, l.fill / u.capacity AS ratio
FROM levels AS l INNER JOIN units AS u ON l.unit_id = u.unit_id WHERE u.active;
CREATE VIEW active_units AS SELECT unit_id, capacity FROM units WHERE active;
";
const FULL: &str = "
CREATE RULE full_unit
WITH (kind = 'condition', key = 'unit_id', fire_after = '20 seconds', clear_after = '1 minute', no_data = '5 minutes')
AS SELECT warehouse, unit_id, at_ts AS event_time, ratio, ratio >= 0.9 AS fire, ratio < 0.8 AS clear FROM ratios;
";
const SEEN: &str = "
CREATE RULE seen WITH (kind = 'event', key = 'unit_id')
AS SELECT warehouse, unit_id, at_ts AS event_time, fill FROM levels;
CREATE RULE big WITH (kind = 'event', key = 'unit_id')
AS SELECT l.warehouse, l.unit_id, l.at_ts AS event_time, a.capacity
   FROM levels AS l INNER JOIN active_units AS a ON l.unit_id = a.unit_id WHERE a.capacity > 50;
";

fn source(name: &str, text: &str) -> SourceFile {
    SourceFile { name: name.into(), folder: "rules".into(), text: text.into() }
}

fn program() -> RuleTests {
    let files = [source("streams.sql", STREAMS), source("full.sql", FULL), source("seen.sql", SEEN)];
    RuleTests::new(&files).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn outcomes(name: &str, text: &str) -> (TestFile, Vec<Outcome>) {
    let file = read_tests(&source(name, text)).unwrap_or_else(|errors| panic!("{errors:?}"));
    let outcomes = program().run(&file, None);
    (file, outcomes)
}

/// One line a test, with its report.
fn verdicts(name: &str, text: &str) -> String {
    let (_, outcomes) = outcomes(name, text);
    let line = |o: &Outcome| match &o.verdict {
        Verdict::Passed => format!("{}: passed\n", o.name),
        Verdict::Failed(report) => format!("{}: failed\n{report}", o.name),
        Verdict::Broken(errors) => {
            let told = |e: &Error| match e.expectation() {
                Some(expected) => format!("{}; expected {expected}", e.what()),
                None => e.what().to_owned(),
            };
            format!("{}: broken: {}\n", o.name, errors.iter().map(told).collect::<Vec<_>>().join("; "))
        }
    };
    outcomes.iter().map(line).collect()
}

const HEAD: &str = "
CREATE VIEW given.units AS SELECT 'U' AS unit_id, 100 AS capacity, TRUE AS active;
CREATE VIEW given.levels AS
SELECT 'W' AS warehouse, 'U' AS unit_id, 80 + 2 * r.n AS fill, r.ts AS at_ts
FROM ramp('2026-03-01 08:00', INTERVAL '1 minute', 8) AS r;
";

#[test]
fn a_condition_is_tested_through_timers_and_silence() {
    let text = format!(
        "{HEAD}
-- test: it fires and then falls silent
CREATE VIEW expect.events AS
SELECT column1 AS event_time, column2 AS unit_id, column3 AS label, column4 AS ratio
FROM (VALUES ('2026-03-01 08:05:20', 'U', 'NEW', 0.9), ('2026-03-01 08:12', 'U', 'NO_DATA', 0.94)) AS t;

-- test: time can end before the silence
-- until: 2026-03-01 08:11:59
CREATE VIEW expect.events AS SELECT '2026-03-01 08:05:20' AS event_time, 'NEW' AS label;

-- test: hysteresis, and the clearing after a minute
-- until: 2026-03-01 08:04:59
CREATE VIEW given.levels AS
SELECT 'W' AS warehouse, 'U' AS unit_id, column1 AS fill, column2 AS at_ts
FROM (VALUES
    (95, '2026-03-01 08:00'), (85, '2026-03-01 08:01'), (79, '2026-03-01 08:02'), (80, '2026-03-01 08:02:30'),
    (79, '2026-03-01 08:03')
) AS t;
CREATE VIEW expect.events AS
SELECT column1 AS event_time, column2 AS label
FROM (VALUES ('2026-03-01 08:04', 'CLEARED'), ('2026-03-01 08:00:20', 'NEW')) AS t;
CREATE VIEW expect.decisions AS
SELECT column1 AS event_time, column2 AS by, column3 AS before, column4 AS after, column5 AS label
FROM (VALUES
    ('2026-03-01 08:00:00', 'row', 'OK', 'PENDING', NULL),
    ('2026-03-01 08:00:20', 'fire_after', 'PENDING', 'ACTIVE', 'NEW'),
    ('2026-03-01 08:01:00', 'row', 'ACTIVE', 'ACTIVE', NULL),
    ('2026-03-01 08:02:00', 'row', 'ACTIVE', 'CLEARING', NULL),
    ('2026-03-01 08:02:30', 'row', 'CLEARING', 'ACTIVE', NULL),
    ('2026-03-01 08:03:00', 'row', 'ACTIVE', 'CLEARING', NULL),
    ('2026-03-01 08:04:00', 'clear_after', 'CLEARING', 'OK', 'CLEARED')
) AS t;

-- test: a given view stands for all behind it
-- until: 2026-03-01 08:01
CREATE VIEW given.ratios AS SELECT 'W' AS warehouse, 'X' AS unit_id, '2026-03-01 08:00' AS at_ts, 0.95 AS ratio;
CREATE VIEW expect.events AS SELECT 'X' AS unit_id, 'NEW' AS label;
"
    );
    let want = "it fires and then falls silent: passed\ntime can end before the silence: passed\n\
                hysteresis, and the clearing after a minute: passed\na given view stands for all behind it: passed\n";
    assert_eq!(verdicts("full.test.sql", &text), want);
}

#[test]
fn a_reference_changes_as_of_event_time() {
    let text = format!(
        "{HEAD}
-- until: 2026-03-01 08:10
CREATE VIEW given.units AS
SELECT 'U' AS unit_id, column1 AS capacity, TRUE AS active, column2 AS effective_at
FROM (VALUES (1000, NULL), (100, '2026-03-01 08:06')) AS t;
CREATE VIEW expect.events AS SELECT '2026-03-01 08:06:20' AS event_time, 'NEW' AS label, 0.92 AS ratio;
"
    )
    .replacen(
        "CREATE VIEW given.units AS SELECT 'U' AS unit_id, 100 AS capacity, TRUE AS active;\n",
        "",
        1,
    );
    assert_eq!(verdicts("full.test.sql", &text), "full: passed\n");
}

#[test]
fn faults_reach_the_lane() {
    let text = format!(
        "-- rule: seen
{HEAD}
-- test: copies are dropped, a gap is missing, what is late is late
CREATE VIEW given.faults AS
SELECT * FROM duplicate('levels', '2026-03-01 08:00', '2026-03-01 08:01')
UNION ALL SELECT * FROM gap('levels', '2026-03-01 08:02', '2026-03-01 08:04')
UNION ALL SELECT * FROM late('levels', '2026-03-01 08:05', '2026-03-01 08:06', INTERVAL '3 seconds')
UNION ALL SELECT * FROM late('levels', '2026-03-01 08:06', '2026-03-01 08:07', INTERVAL '2 seconds');
CREATE VIEW expect.events AS
SELECT column1 AS event_time, column2 AS fill
FROM (VALUES
    ('2026-03-01 08:00', 80), ('2026-03-01 08:01', 82), ('2026-03-01 08:04', 88), ('2026-03-01 08:06', 92),
    ('2026-03-01 08:07', 94)
) AS t;

-- test: a fault that hits nothing is a mistake
CREATE VIEW given.faults AS SELECT * FROM gap('levels', '2026-03-01 09:02', '2026-03-01 09:04');
CREATE VIEW expect.events AS SELECT 1 AS fill;
"
    );
    assert_eq!(
        verdicts("seen.test.sql", &text),
        "copies are dropped, a gap is missing, what is late is late: passed\n\
         a fault that hits nothing is a mistake: broken: gap hits no row of `levels`; expected a span of time in which \
         rows are given\n"
    );
}

#[test]
fn a_view_over_references_can_be_given_and_noise_is_reproducible() {
    let text = "
-- rule: big
CREATE VIEW given.active_units AS SELECT 'U' AS unit_id, 60.5 AS capacity;
CREATE VIEW given.levels AS
SELECT 'W' AS warehouse, 'U' AS unit_id, noise(7, r.n) AS fill, r.ts AS at_ts
FROM ramp(TIMESTAMP '2026-03-01 08:00:00', '30 seconds', 3) AS r WHERE noise(7, r.n) = noise(7, r.n)
    AND noise(7, r.n) >= -1 AND noise(7, r.n) < 1 AND noise(7, r.n) != noise(8, r.n);
CREATE VIEW expect.events AS
SELECT r.ts AS event_time, 60.5 AS capacity FROM ramp('2026-03-01 08:00', '30 seconds', 3) AS r;
";
    assert_eq!(verdicts("seen.test.sql", text), "seen: passed\n");
}

#[test]
fn fixtures_are_read_beside_the_test() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = "{\"warehouse\":\"W\",\"unit_id\":\"U\",\"fill\":1.5,\"at_ts\":\"2026-03-01T08:00:00Z\"}\n";
    std::fs::write(folder.path().join("rows.json"), rows).expect("a file");
    let name = folder.path().join("seen.test.sql").display().to_string();
    let text = "-- rule: seen
CREATE VIEW given.levels AS SELECT * FROM read_json('rows.json');
CREATE VIEW expect.events AS SELECT '2026-03-01 08:00' AS event_time, 1.5 AS fill;";
    assert_eq!(verdicts(&name, text), "seen: passed\n");
    assert!(!Path::new("rows.json").exists());
    let missing = verdicts(&name, &text.replace("rows.json", "none.json"));
    assert!(missing.starts_with("seen: broken: `given.levels` cannot be run: "), "{missing}");
}

#[test]
fn what_differs_is_shown() {
    let text = format!(
        "{HEAD}
-- until: 2026-03-01 08:08
CREATE VIEW expect.events AS
SELECT '2026-03-01 08:05:20' AS event_time, 'CLEARED' AS label, 0.9 AS ratio;
"
    );
    assert_eq!(
        verdicts("full.test.sql", &text),
        "full: failed\n  2026-03-01T08:05:20Z  label  CLEARED -> NEW\n  timeline of W [\"U\"]: \
         2026-03-01T08:05:20Z NEW\n"
    );
}

#[test]
fn tests_that_are_not_valid_say_why() {
    let broken = |given: &str, expect: &str| verdicts("full.test.sql", &format!("{given}\n{expect}"));
    let new = "CREATE VIEW expect.events AS SELECT 'NEW' AS label;";
    for (given, expect, want) in [
        (
            HEAD,
            "",
            "the test expects nothing; expected CREATE VIEW expect.events AS …; `weir test --bless` writes what comes",
        ),
        (
            "",
            new,
            "no stream is given, so the test has no time; expected a row in one of the streams that the rule \
                   reads, or a line `-- until: TIME`",
        ),
        (
            "CREATE VIEW given.level AS SELECT 1 AS x;",
            new,
            "the program has no table or view `level`; expected levels (did you mean that?)",
        ),
        (
            "CREATE VIEW given.levels AS SELECT 'W' AS warehous, '2026-03-01' AS at_ts;",
            new,
            "`levels` has no column `warehous`; expected warehouse (did you mean that?)",
        ),
        (
            "CREATE VIEW given.levels AS SELECT 'W' AS warehouse;",
            new,
            "`given.levels` has no event time; expected column at_ts",
        ),
        (
            "CREATE VIEW given.levels AS SELECT 'soon' AS at_ts;",
            new,
            "column `at_ts` of `given.levels`: `soon` is not a time; expected Timestamp(µs)",
        ),
        (
            "CREATE VIEW given.levels AS SELECT '2026-03-01' AS at_ts, 10.5 AS items;",
            new,
            "column `items` of `given.levels`: 10.5 is not a whole number; expected Int64",
        ),
        (
            HEAD,
            "CREATE VIEW expect.events AS SELECT 'NEW' AS labell;",
            "an event of this rule has no column `labell`; expected label (did you mean that?)",
        ),
        (
            "-- rule: ful_unit\n",
            new,
            "the program has no rule `ful_unit`; expected full_unit (did you mean that?)",
        ),
    ] {
        assert_eq!(broken(given, expect), format!("full: broken: {want}\n"));
    }
    assert_eq!(
        verdicts("seen.test.sql", new),
        "seen: broken: seen.sql holds 2 rules; expected a line `-- rule: NAME`\n"
    );
    assert_eq!(
        verdicts("none.test.sql", new),
        "none: broken: none.sql holds no rule of the program; expected a test beside its rule, or a line \
         `-- rule: NAME`\n"
    );
}

#[test]
fn files_that_are_no_tests_are_refused_with_their_places() {
    let text = "-- test:\nCREATE VIEW given.a AS SELECT 1;\nCREATE VIEW b AS SELECT 1;\n\
                -- until: soon\nSELECT 1;\nCREATE VIEW expect.event AS SELECT 1;";
    let errors = read_tests(&source("x.test.sql", text)).expect_err("not a test");
    let told: Vec<String> = errors
        .iter()
        .map(|e| format!("{} {}", e.place().map(ToString::to_string).unwrap_or_default(), e.what()))
        .collect();
    assert_eq!(
        told,
        [
            "x.test.sql:1:1 a test has no name",
            "x.test.sql:4:1 `soon` is not a time",
            "x.test.sql:5:1 a test holds views only",
            "x.test.sql:3:1 view `b` is neither given nor expected",
            "x.test.sql:6:1 there is no `expect.event`",
        ]
    );
}

#[test]
fn what_is_blessed_passes() {
    let text = format!(
        "{HEAD}
-- test: a wrong answer
CREATE VIEW expect.events AS SELECT 'x' AS unit_id, 1 AS ratio, 'y' AS label;

-- test: no answer
-- until: 2026-03-01 08:07

-- test: nothing happens
-- until: 2026-03-01 08:01
CREATE VIEW expect.events AS SELECT 'NEW' AS label;
"
    );
    let (file, first) = outcomes("full.test.sql", &text);
    assert!(first.iter().all(|o| !matches!(o.verdict, Verdict::Passed)));
    let answered = blessed(&file, &first).expect("answers");
    let (file, second) = outcomes("full.test.sql", &answered);
    assert!(second.iter().all(|o| matches!(o.verdict, Verdict::Passed)), "{second:?}\n{answered}");
    assert_eq!(blessed(&file, &second), None);
    assert!(answered.contains("('U', 0.9, 'NEW'),\n        ('U', 0.94, 'NO_DATA')"), "{answered}");
}
