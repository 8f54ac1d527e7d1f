//! A program is one process: a second is refused while the first answers, and replaces it where not.

#[allow(dead_code, reason = "shared with other tests")]
mod small;

use std::time::Duration;

use small::{SECOND, START, Small, row};
use weir_contract::Code;
use weir_engine::control::Control;
use weir_engine::run::{Options, Stop, run};

const PROGRAM: &str = "
CREATE TABLE a (id TEXT NOT NULL, warehouse TEXT NOT NULL, k TEXT, n BIGINT, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '1 second')
WITH (connector = 'memory', type = 'source', append_time = 'producer') PARTITIONED BY (warehouse);
CREATE TABLE o_rows (i TEXT, n BIGINT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_rows SELECT id, n FROM a;
";

fn feed(small: &Small, numbers: std::ops::Range<i64>) {
    for n in numbers {
        small.log.append("a", 0, row(0, n, START + n * SECOND)).unwrap();
    }
}

fn until(small: &Small, lines: usize) {
    let mut waited = 0;
    while small.lines("o_rows").len() < lines {
        assert!(waited < 20_000, "{} of {lines}", small.lines("o_rows").len());
        std::thread::sleep(Duration::from_millis(2));
        waited += 2;
    }
}

#[test]
fn a_second_process_is_refused_while_the_first_answers() {
    let small = Small::new(PROGRAM, 1);
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| small.run(Small::options(Some(first.path())), &stop));
        feed(&small, 0..5);
        until(&small, 5);
        let options = Small::options(Some(second.path()));
        let refused = run(small.plan.clone(), small.ports(), options, &Stop::default());
        assert_eq!(refused.err().map(|e| e.code()), Some(Code::SecondProcess));
        // The refused one touched nothing: the first's writers are not fenced.
        feed(&small, 5..9);
        until(&small, 9);
        stop.stop();
        running.join().unwrap();
    });
    // The first has let go.
    let options =
        Options { takeover_after: Duration::from_secs(3600), ..Small::options(Some(second.path())) };
    let stop = Stop::default();
    stop.stop();
    small.run(options, &stop);
}

#[test]
fn a_process_that_does_not_answer_is_replaced_and_notices() {
    let small = Small::new(PROGRAM, 1);
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stop = Stop::default();
    let quick = Options { takeover_after: Duration::ZERO, ..Small::options(Some(second.path())) };
    let beside = small.beside();
    std::thread::scope(|scope| {
        let replaced = scope.spawn(|| {
            run(small.plan.clone(), small.ports(), Small::options(Some(first.path())), &Stop::default())
        });
        feed(&small, 0..5);
        until(&small, 5);
        let owner = scope.spawn(|| beside.run(quick, &stop));
        let error = replaced.join().unwrap().err().map(|e| e.code());
        assert_eq!(error, Some(Code::SecondProcess));
        feed(&small, 5..9);
        until(&beside, 9);
        assert_eq!(small.lines("o_rows").len(), 5, "the replaced one goes on");
        stop.stop();
        owner.join().unwrap();
    });
    let claims = small.control().read(0, 0).unwrap().0;
    let claims: Vec<i64> =
        claims.into_iter().filter(|(_, r)| matches!(r, Control::Claim { .. })).map(|(o, _)| o).collect();
    assert_eq!(claims.len(), 2);
}
