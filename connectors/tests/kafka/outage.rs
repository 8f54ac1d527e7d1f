//! The broker goes away and comes back: nothing lost, nothing doubled, no failure.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_contract::Code;
use weir_engine::source::Source;

use super::*;

/// The broker's process, stopped while this lives.
struct Stopped(String);

impl Stopped {
    fn new() -> Self {
        let pid = std::env::var("WEIR_KAFKA_PID").unwrap_or_else(|_| {
            panic!("WEIR_KAFKA_PID is not set: scripts/with-services.sh sets it for a broker that it starts")
        });
        signal("-STOP", &pid);
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

fn signal(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success(), "kill {signal} {pid}");
}

#[test]
fn nothing_is_lost_or_doubled_while_the_broker_is_away() {
    let _broker = alone();
    let options = topic("away", 1);
    let source = source(&options);
    let mut reader = source.open(0, 0).unwrap();
    let mut out = writer(&options, "w");
    let done = Arc::new(AtomicBool::new(false));
    let feeder = {
        let done = done.clone();
        std::thread::spawn(move || {
            let mut n = 0;
            while !done.load(Ordering::SeqCst) {
                out.write(records(n..n + 10)).unwrap();
                out.commit().unwrap();
                n += 10;
            }
            n
        })
    };
    let mut got = Vec::new();
    let mut troubled = false;
    for _ in 0..2 {
        let until = got.len() + 50;
        while got.len() < until {
            let fetched = reader.fetch(WIDE, WAIT).unwrap();
            got.extend(fetched.batch.iter().flat_map(|batch| texts(&batch.payload)));
        }
        let stopped = Stopped::new();
        let start = WallClock.monotonic();
        while WallClock.monotonic().saturating_sub(start) < Duration::from_secs(4) {
            let fetched = reader.fetch(WIDE, WAIT).unwrap();
            got.extend(fetched.batch.iter().flat_map(|batch| texts(&batch.payload)));
            assert!(!fetched.caught_up, "no broker confirmed the end");
            troubled |= source.trouble().is_some_and(|e| e.code() == Code::Connect);
        }
        drop(stopped);
    }
    done.store(true, Ordering::SeqCst);
    let written = feeder.join().unwrap();
    got.extend(drain(reader.as_mut(), WIDE).1);
    assert_eq!(got, numbers(0..written));
    assert!(troubled, "an outage shows as W0401");
    assert!(source.trouble().is_none(), "and is over when the broker answers");
}
