//! Files in and out: what only they promise.

use std::time::Duration;

use datafusion::arrow::array::Array;
use weir_contract::event::Id;
use weir_engine::sink::{OutRecord, SinkFactory};
use weir_engine::source::{FetchLimit, PartitionReader, Payload};

use super::lines::{Lines, count};
use super::sink::FileSinks;

fn read(reader: &mut dyn PartitionReader, rows: usize) -> Vec<(i64, String)> {
    let mut out = Vec::new();
    loop {
        let got = reader.fetch(FetchLimit { rows, bytes: 64 }, Duration::ZERO).unwrap();
        if let Some(batch) = got.batch {
            assert!(batch.len() <= rows);
            let Payload::Bytes(values) = &batch.payload else { panic!("bytes") };
            for (n, offset) in batch.offsets.iter().enumerate() {
                out.push((*offset, String::from_utf8(values.value(n).to_vec()).unwrap()));
            }
            assert_eq!(values.null_count(), 0);
        }
        assert_eq!(got.ended, got.caught_up);
        if got.ended {
            return out;
        }
    }
}

#[test]
fn lines_are_the_same_from_any_position_in_any_chopping() {
    let dir = tempfile::tempdir().unwrap();
    for tail in ["", "\n", "\r\n\n"] {
        let path = dir.path().join("a.json");
        let text: Vec<String> = (0..100)
            .map(|n| if n % 7 == 3 { " ".into() } else { format!("{{\"n\":{n}}}{}", "x".repeat(n)) })
            .collect();
        std::fs::write(&path, text.join("\n") + tail).unwrap();
        let whole = read(&mut Lines::open(&path, 0).unwrap(), 1000);
        assert_eq!(whole.len(), 86);
        assert!(count(&path).unwrap() >= 100);
        for rows in [1, 2, 7, 63, 64, 65] {
            for from in [0, 1, 50, 99, 100] {
                let rest = read(&mut Lines::open(&path, from).unwrap(), rows);
                let wanted: Vec<_> = whole.iter().filter(|(o, _)| *o >= from).cloned().collect();
                assert_eq!(rest, wanted, "{rows} rows from {from}");
            }
        }
        assert!(Lines::open(&path, 200).is_err(), "a file that became shorter is told");
    }
}

fn record(n: u8) -> OutRecord {
    OutRecord {
        id: Some(Id([n; 16])),
        partition: None,
        key: vec![],
        value: format!("{{\"n\":{n}}}").into_bytes(),
        headers: vec![],
        time_us: None,
    }
}

#[test]
fn what_was_not_committed_is_gone_and_what_was_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.json");
    let sinks = FileSinks::one(path.clone());
    let (mut a, mut b) = (sinks.open("a").unwrap(), sinks.open("b").unwrap());
    a.write(vec![record(1)]).unwrap();
    a.commit().unwrap();
    let cut = a.ends().unwrap();
    b.write(vec![record(2)]).unwrap();
    b.commit().unwrap();
    a.write(vec![record(3), record(4)]).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2, "nothing before the commit");
    a.commit().unwrap();
    a.write(vec![record(5)]).unwrap();
    assert!(FileSinks::one(path.clone()).open("c").is_err(), "another process's lock");
    drop((a, b));
    // A torn append behind the last mark.
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + "{\"n\"").unwrap();
    let mut again = FileSinks::one(path.clone()).open("a").unwrap();
    let mut seen = Vec::new();
    again.read_back(&cut, &mut |id, _| seen.push(id.0[0])).unwrap();
    assert_eq!(seen, [3, 4]);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 4);
}
