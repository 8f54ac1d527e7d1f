//! A bounded read of a real log that goes on: to the ends of its first start, after restarts and in a
//! replay, too. For any connector: the test gives sources as a fresh process would open them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use weir_contract::WallClock;
use weir_engine::connect::memory::MemoryLog;
use weir_engine::control::ControlLog;
use weir_engine::run::{Options, Ports, Report, Stop, run};
use weir_engine::source::Source;
use weir_engine::sql::plan::ir::Plan;
use weir_engine::sql::{SourceFile, plan, read};

const PROGRAM: &str = "
CREATE TABLE a (n BIGINT NOT NULL, warehouse TEXT NOT NULL, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '1 second')
WITH (connector = 'memory', type = 'source', append_time = 'producer') PARTITIONED BY (warehouse);
CREATE TABLE o (n BIGINT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o SELECT n FROM a;
CREATE TABLE c (e TIMESTAMP, c BIGINT) WITH (connector = 'memory', type = 'sink');
INSERT INTO c SELECT slot.end, c FROM (
  SELECT tumble(INTERVAL '5 seconds') AS slot, count(*) AS c FROM a GROUP BY tumble(INTERVAL '5 seconds')) AS q;
";

/// Record n, a second after the one before.
pub fn value(n: u64) -> String {
    format!("{{\"n\":{n},\"warehouse\":\"W\",\"ts\":\"2026-03-01T08:{:02}:{:02}Z\"}}", n / 60, n % 60)
}

fn planned() -> Plan {
    let file = SourceFile { name: "ends.sql".into(), folder: String::new(), text: PROGRAM.into() };
    plan::plan(&read(&[file]).unwrap()).unwrap()
}

/// One process: its own source and control log, outputs in a log that outlives it.
fn process(
    source: Arc<dyn Source>,
    control: Arc<dyn ControlLog>,
    out: &MemoryLog,
    data: Option<&Path>,
    until: Option<BTreeMap<(String, u32), i64>>,
    stop: &Stop,
) -> Report {
    let ports = Ports {
        sources: [("a".to_owned(), source)].into(),
        targets: ["o", "c"].map(|t| (t.to_owned(), out.sink(t).unwrap())).into(),
        outputs: None,
        control,
        reference: None,
        observer: None,
        clock: Arc::new(WallClock),
        until,
    };
    let options = Options { data: data.map(Path::to_owned), program: "ends".into(), ..Options::default() };
    run(planned(), ports, options, stop).unwrap_or_else(|e| panic!("{e}"))
}

fn outputs() -> MemoryLog {
    let out = MemoryLog::new();
    ["o", "c"].iter().for_each(|t| out.create(t, 8));
    out
}

fn lines(out: &MemoryLog) -> Vec<String> {
    let all = ["o", "c"].iter().flat_map(|t| (0..8).flat_map(move |p| out.records(t, p).unwrap()));
    let text = |r: Vec<u8>| String::from_utf8(r).unwrap();
    let mut lines: Vec<String> =
        all.filter_map(|(_, r)| r.id().map(|_| text(r.value.unwrap_or_default()))).collect();
    lines.sort();
    lines
}

/// `append` adds records of that many numbers to partition 0; `source` and `control` open as a fresh
/// process does, the source with `until = 'end'`.
pub fn bounded_read_holds(
    mut append: impl FnMut(std::ops::Range<u64>),
    source: impl Fn() -> Arc<dyn Source>,
    control: impl Fn() -> Arc<dyn ControlLog>,
) {
    let (out, data) = (outputs(), tempfile::tempdir().unwrap());
    append(0..40);
    let stopped = Stop::default();
    stopped.stop();
    process(source(), control(), &out, Some(data.path()), None, &stopped);
    assert!(lines(&out).is_empty(), "the first start was stopped before it read");
    append(40..60);
    let report = process(source(), control(), &out, Some(data.path()), None, &Stop::default());
    assert!(report.ended);
    assert_eq!(report.sources["a"].records, 40, "the ends are those of the first start");
    let wanted = lines(&out);
    assert_eq!(wanted.len(), 40 + 8, "{wanted:?}");
    append(60..70);
    let again = process(source(), control(), &out, Some(data.path()), None, &Stop::default());
    assert!(again.ended);
    assert_eq!(lines(&out), wanted);
    // From the logs alone: another data folder, and a replay.
    for (data, until) in [(tempfile::tempdir().ok(), None), (None, Some(BTreeMap::new()))] {
        let fresh = outputs();
        let data = data.as_ref().map(tempfile::TempDir::path);
        let report = process(source(), control(), &fresh, data, until, &Stop::default());
        assert!(report.ended);
        assert_eq!(lines(&fresh), wanted);
    }
}
