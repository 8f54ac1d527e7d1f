//! The control log on a topic.

use std::sync::Arc;

use weir_connectors::kafka::{Admin, KafkaControlLog};
use weir_contract::Code;
use weir_engine::control::{Control, ControlLog};

use super::*;

fn idle(offset: i64) -> Control {
    Control::Idle { table: "scans".into(), partition: 0, offset, watermark: offset * 10 }
}

#[test]
fn what_is_appended_is_read_by_everybody_from_any_offset() {
    let _broker = steady();
    let options = fresh("control");
    let log = KafkaControlLog::open(&options, 2).unwrap();
    assert_eq!(log.partitions().unwrap(), 3);
    assert_eq!(log.read(0, 0).unwrap(), (Vec::new(), 0));
    let offsets: Vec<i64> = (0..6).map(|n| log.append(0, &idle(n)).unwrap()).collect();
    assert!(offsets.windows(2).all(|w| w[0] < w[1]));
    log.append(2, &idle(9)).unwrap();
    let other = KafkaControlLog::open(&options, 2).unwrap();
    for from in 0..=6 {
        let expected: Vec<_> = (from..6).map(|n| (offsets[n as usize], idle(n))).collect();
        for log in [&log, &other] {
            assert_eq!(
                log.read(0, offsets.get(from as usize).copied().unwrap_or(6)).unwrap(),
                (expected.clone(), 6)
            );
        }
    }
    // A reader that follows sees each record once, at the end that was asked for.
    let mut at = 6;
    for n in 6..20 {
        let written = other.append(0, &idle(n)).unwrap();
        let (records, next) = log.read(0, at).unwrap();
        assert_eq!(records, [(written, idle(n))]);
        at = next;
    }
    assert_eq!(log.read(2, 0).unwrap().0.len(), 1);
    assert!(log.read(1, 0).unwrap().0.is_empty());
    assert_eq!(log.read(5, 0).unwrap_err().code(), Code::ControlLog);
}

#[test]
fn more_tasks_widen_it_and_a_cut_one_is_a_fault() {
    let _broker = steady();
    let options = fresh("widen");
    let log = KafkaControlLog::open(&options, 1).unwrap();
    log.append(1, &idle(1)).unwrap();
    let wider = KafkaControlLog::open(&options, 4).unwrap();
    assert_eq!(wider.partitions().unwrap(), 5);
    wider.append(4, &idle(4)).unwrap();
    assert_eq!(wider.read(1, 0).unwrap().0.len(), 1);
    Admin::new(&options).unwrap().delete_records(&options.topic, 1, 1).unwrap();
    assert_eq!(wider.read(1, 0).unwrap_err().code(), Code::Retention);
}

#[test]
fn many_writers_share_the_shared_partition() {
    let _broker = steady();
    let options = fresh("shared");
    let log = Arc::new(KafkaControlLog::open(&options, 0).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|writer| {
            let log = log.clone();
            std::thread::spawn(move || {
                (0..25)
                    .map(|n| (log.append(0, &idle(writer * 100 + n)).unwrap(), idle(writer * 100 + n)))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let mut written: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    written.sort_by_key(|(offset, _)| *offset);
    assert_eq!(log.read(0, 0).unwrap(), (written, 100));
}
