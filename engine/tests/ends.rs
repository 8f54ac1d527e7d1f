//! A bounded read of a log that goes on (`until = 'end'`) reads to the ends of its first start, however
//! often it starts again and whoever replays it.

#[allow(dead_code, reason = "shared with other tests")]
mod small;

use small::{SECOND, START, Small, row};
use weir_contract::Code;
use weir_engine::control::Control;
use weir_engine::run::{Options, Stop, run};

const PARTITIONS: u32 = 3;

const PROGRAM: &str = "
CREATE TABLE a (id TEXT NOT NULL, warehouse TEXT NOT NULL, k TEXT, n BIGINT, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '1 second')
WITH (connector = 'memory', type = 'source', append_time = 'producer') PARTITIONED BY (warehouse);
CREATE TABLE o_rows (i TEXT, n BIGINT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_rows SELECT id, n FROM a;
CREATE TABLE o_windows (k TEXT, e TIMESTAMP, c BIGINT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_windows SELECT k, slot.end, c FROM (
  SELECT k, tumble(INTERVAL '5 seconds') AS slot, count(*) AS c FROM a GROUP BY k, tumble(INTERVAL '5 seconds')) AS q;
";

fn append(small: &Small, from: i64, count: i64) {
    for partition in 0..PARTITIONS {
        for n in from..from + count {
            small.log.append("a", partition, row(partition, n, START + n * SECOND / 2)).unwrap();
        }
    }
}

fn world(records: i64) -> Small {
    let small = Small::new(PROGRAM, PARTITIONS);
    small.log.set_until_end("a", true).unwrap();
    append(&small, 0, records);
    small
}

fn stopped() -> Stop {
    let stop = Stop::default();
    stop.stop();
    stop
}

/// What a read of the first `records` of each partition gives.
fn wanted(records: i64) -> Small {
    let small = world(records);
    assert!(small.run(Small::options(None), &Stop::default()).ended);
    small
}

#[test]
fn records_after_the_first_start_are_not_read() {
    let wanted = wanted(40).outputs();
    assert!(wanted["o_rows"].len() == 120 && wanted["o_windows"].len() > 10, "{wanted:?}");
    let small = world(40);
    let data = tempfile::tempdir().unwrap();
    // Begins, and ends before it read anything.
    let report = small.run(Small::options(Some(data.path())), &stopped());
    assert_eq!(report.sources["a"].records, 0);
    append(&small, 40, 30);
    // Goes on from the checkpoint; dies after some batches; goes on again.
    let tiny = Options { batch_rows: 7, ..Small::options(Some(data.path())) };
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| small.run(tiny.clone(), &stop));
        while small.lines("o_rows").is_empty() && !running.is_finished() {
            std::thread::yield_now();
        }
        stop.kill();
    });
    small.out.kill();
    append(&small, 70, 30);
    let report = small.run(tiny, &Stop::default());
    assert!(report.ended);
    assert_eq!(report.sources["a"].records, 120);
    assert!(report.positions.values().all(|p| *p == 40), "{:?}", report.positions);
    assert_eq!(small.outputs(), wanted);

    // Once it ended, it has ended.
    append(&small, 100, 10);
    let again = small.run(Small::options(Some(data.path())), &Stop::default());
    assert!(again.ended);
    assert_eq!(small.outputs(), wanted);

    // From nothing but the logs: another data folder, and a replay.
    let cold = small.beside();
    let other = tempfile::tempdir().unwrap();
    assert!(cold.run(Small::options(Some(other.path())), &Stop::default()).ended);
    assert_eq!(cold.outputs(), wanted);
    for shards in [1, 3] {
        let (replayed, report) = small.replay(Options { shards, workers: 1, ..Small::options(None) });
        assert!(report.ended);
        assert_eq!(replayed.outputs(), wanted);
    }
}

#[test]
fn the_ends_are_in_the_control_log_before_the_first_record_has_effect() {
    let small = world(5);
    small.run(Small::options(None), &stopped());
    assert!(small.outputs().is_empty());
    let ends = |small: &Small| {
        let (records, _) = small.control().read(0, 0).unwrap();
        records.into_iter().filter(|(_, r)| matches!(r, Control::Ends { .. })).collect::<Vec<_>>()
    };
    let first = ends(&small);
    let (table, expected) = ("a".to_owned(), (0..PARTITIONS).map(|p| (p, 5)).collect::<Vec<_>>());
    assert!(
        matches!(&first[..], [(_, Control::Ends { table: t, ends, .. })] if *t == table && *ends == expected),
        "{first:?}"
    );
    append(&small, 5, 5);
    small.run(Small::options(None), &Stop::default());
    assert_eq!(ends(&small), first, "written once");
}

#[test]
fn ends_of_another_log_are_refused() {
    let small = world(5);
    small.run(Small::options(None), &stopped());
    small.log.create("a", PARTITIONS);
    small.log.set_until_end("a", true).unwrap();
    let refused = run(small.plan.clone(), small.ports(), Small::options(None), &Stop::default());
    assert_eq!(refused.err().map(|e| e.code()), Some(Code::Recreated));
}
