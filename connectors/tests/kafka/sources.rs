//! Reading: positions, gaps, append times, retention, identity, bounded reads.

use std::time::Duration;

use rdkafka::producer::Producer;
use weir_connectors::kafka::{Admin, KafkaOptions, KafkaSource, TimestampType, TopicSetup};
use weir_contract::Code;
use weir_engine::source::{FetchLimit, NO_APPEND, Source};
use weir_engine::sql::catalog::AppendTime;

use super::*;

/// Three committed transactions with an aborted one (a writer that died) between them.
fn with_gaps(options: &KafkaOptions) {
    let mut first = writer(options, "w");
    for part in [0..10, 10..20] {
        first.write(records(part)).unwrap();
        first.commit().unwrap();
    }
    let crashed = half(options, "w", 900..950);
    let mut second = writer(options, "w");
    drop(crashed);
    second.write(records(20..30)).unwrap();
    second.commit().unwrap();
}

#[test]
fn gaps_are_markers_and_aborted_records_and_the_end_is_reached() {
    let _broker = steady();
    let options = topic("gaps", 1);
    with_gaps(&options);
    let source = source(&options);
    let end = source.partitions().unwrap()[0].end;
    for rows in [1, 2, 7, 63] {
        let mut reader = source.open(0, 0).unwrap();
        let (offsets, values, next) = drain(reader.as_mut(), FetchLimit { rows, bytes: 1 << 20 });
        assert_eq!(values, numbers(0..30), "batches of {rows}");
        assert!(offsets.windows(2).all(|w| w[0] < w[1]));
        assert!(offsets.windows(2).any(|w| w[0] + 1 < w[1]), "markers leave gaps");
        assert_eq!(next, end, "the position passes the last marker");
    }
}

#[test]
fn a_reader_goes_on_from_any_position_it_gave() {
    let _broker = steady();
    let options = topic("resume", 1);
    with_gaps(&options);
    let source = source(&options);
    let mut positions = vec![0];
    let mut reader = source.open(0, 0).unwrap();
    loop {
        let fetched = reader.fetch(FetchLimit { rows: 7, bytes: 1 << 20 }, WAIT).unwrap();
        positions.push(fetched.next);
        if fetched.caught_up {
            break;
        }
    }
    let whole = drain(source.open(0, 0).unwrap().as_mut(), WIDE);
    for position in positions {
        let part = drain(source.open(0, position).unwrap().as_mut(), WIDE);
        let from = whole.0.partition_point(|offset| *offset < position);
        assert_eq!(part.1, whole.1[from..], "from {position}");
    }
}

#[test]
fn bytes_limit_a_batch_but_never_below_one_record() {
    let _broker = steady();
    let options = topic("bytes", 1);
    let mut out = writer(&options, "w");
    let sized = |n: u64, size: usize| OutRecord { value: vec![b'x'; size], ..record(n) };
    let sizes = [10, 10, 5_000, 10, 10, 10];
    out.write(sizes.iter().enumerate().map(|(n, size)| sized(n as u64, *size)).collect()).unwrap();
    out.commit().unwrap();
    let mut reader = source(&options).open(0, 0).unwrap();
    let limit = FetchLimit { rows: 100, bytes: 25 };
    let mut lengths = Vec::new();
    while lengths.iter().sum::<usize>() < sizes.len() {
        let fetched = reader.fetch(limit, WAIT).unwrap();
        let Some(batch) = fetched.batch else { continue };
        // The position after the last record, or, where the fetch saw it, after the transaction's marker.
        let after = batch.offsets[batch.len() - 1] + 1;
        let marker = i64::from(after == sizes.len() as i64);
        assert!((after..=after + marker).contains(&fetched.next), "{} after {after}", fetched.next);
        lengths.push(batch.len());
    }
    assert_eq!(lengths, [2, 1, 2, 1]);
}

#[test]
fn an_open_transaction_is_not_the_end() {
    let _broker = steady();
    let options = topic("open", 1);
    let out = half(&options, "w", 0..5);
    let source = source(&options);
    let mut reader = source.open(0, 0).unwrap();
    for _ in 0..3 {
        let fetched = reader.fetch(WIDE, Duration::from_millis(50)).unwrap();
        assert!(fetched.batch.is_none() && !fetched.caught_up, "below the high watermark");
    }
    out.commit_transaction(Duration::from_secs(20)).unwrap();
    let mut got = Vec::new();
    while got.len() < 5 {
        got.extend(drain(reader.as_mut(), WIDE).1);
    }
    assert_eq!(got, numbers(0..5));
}

#[test]
fn who_reads_to_the_end_now_does_not_wait_for_a_transaction_that_nobody_ends() {
    let _broker = steady();
    let options = topic("dangling", 2);
    let mut told = writer(&options, "told");
    told.write(records(0..8)).unwrap();
    told.commit().unwrap();
    let stable = source(&options).partitions().unwrap()[0].end;
    let left = half(&options, "left", 8..12);
    // What another writer commits behind it cannot be read before it either.
    half(&options, "behind", 12..15).commit_transaction(Duration::from_secs(20)).unwrap();
    let there = source(&options);
    let ends: Vec<i64> = there.partitions().unwrap().iter().map(|p| p.end).collect();
    assert_eq!(ends, [stable, 0]);
    let mut reader = there.open(0, 0).unwrap();
    let (mut values, mut next) = (Vec::new(), 0);
    while next < stable {
        let fetched = reader.fetch(WIDE, WAIT).unwrap();
        values.extend(fetched.batch.iter().flat_map(|batch| texts(&batch.payload)));
        next = fetched.next;
    }
    assert_eq!((values, next), (numbers(0..8), stable));
    left.abort_transaction(Duration::from_secs(20)).unwrap();
    assert_eq!(read_all(&options), [numbers(0..8), numbers(12..15)].concat());
}

#[test]
fn append_time_is_the_brokers_or_the_one_that_the_table_trusts() {
    let _broker = steady();
    let created = topic("created", 1);
    let stamped = fresh("stamped");
    let mut setup = TopicSetup::new(&stamped.topic, 1);
    setup.timestamps = TimestampType::LogAppend;
    Admin::new(&stamped).unwrap().create(&setup).unwrap();
    for options in [&created, &stamped] {
        let mut out = writer(options, "w");
        out.write(records(3..4)).unwrap();
        out.commit().unwrap();
    }
    let first = |options: &KafkaOptions, append_time| {
        let mut options = options.clone();
        options.append_time = append_time;
        let mut reader = KafkaSource::new(options).unwrap().open(0, 0).unwrap();
        loop {
            if let Some(batch) = reader.fetch(WIDE, WAIT).unwrap().batch {
                return batch.append_us[0];
            }
        }
    };
    assert_eq!(first(&created, None), NO_APPEND);
    assert_eq!(first(&created, Some(AppendTime::Producer)), 1_000_003_000);
    assert_eq!(first(&stamped, Some(AppendTime::Untrusted)), NO_APPEND);
    for trusted in [None, Some(AppendTime::Broker)] {
        let stamp = first(&stamped, trusted);
        assert!(stamp.abs_diff(WallClock.now_us()) < 600_000_000 && stamp % 1000 == 0, "{stamp}");
    }
}

#[test]
fn a_cut_log_is_a_fault_at_the_start_and_in_the_middle() {
    let _broker = steady();
    let options = topic("cut", 1);
    let mut out = writer(&options, "w");
    for n in 0..20 {
        out.write(records(n..n + 1)).unwrap();
        out.commit().unwrap();
    }
    let source = source(&options);
    let mut reader = source.open(0, 0).unwrap();
    // A reader that stands at 0 and has fetched nothing yet when the log is cut.
    Admin::new(&options).unwrap().delete_records(&options.topic, 0, 10).unwrap();
    let partition = &source.partitions().unwrap()[0];
    assert_eq!(partition.start, 10);
    for lost in [0, 9] {
        assert_eq!(source.open(0, lost).err().map(|e| e.code()), Some(Code::Retention));
    }
    assert_eq!(drain(source.open(0, 10).unwrap().as_mut(), WIDE).1, numbers(5..20));
    // It may have fetched before the cut; then it has everything. Else it faults, and goes on faulting.
    let mut got = Vec::new();
    for _ in 0..100 {
        match reader.fetch(WIDE, WAIT) {
            Ok(fetched) => {
                got.extend(fetched.batch.iter().flat_map(|batch| texts(&batch.payload)));
                if fetched.caught_up {
                    break;
                }
            }
            Err(error) => {
                assert_eq!(error.code(), Code::Retention, "{error}");
                assert_eq!(reader.fetch(WIDE, WAIT).err().map(|e| e.code()), Some(Code::Retention));
                got.clear();
                break;
            }
        }
    }
    assert!(got.is_empty() || got == numbers(0..20), "a jump over the cut: {got:?}");
}

#[test]
fn a_reader_whose_position_is_cut_away_faults_instead_of_jumping() {
    let _broker = steady();
    let options = topic("slow", 1);
    let mut out = writer(&options, "w");
    // More than librdkafka fetches ahead in one answer, so that the reader has to ask again.
    let wide = |n: u64| OutRecord { value: vec![b'x'; 200_000], ..record(n) };
    for part in 0..12 {
        out.write((part * 10..part * 10 + 10).map(wide).collect()).unwrap();
        out.commit().unwrap();
    }
    let mut narrow = options.clone();
    narrow.timeout = Duration::from_secs(20);
    let source = source(&narrow);
    let mut reader = source.open(0, 0).unwrap();
    let one = FetchLimit { rows: 1, bytes: 1 };
    while reader.fetch(one, WAIT).unwrap().batch.is_none() {}
    let end = source.partitions().unwrap()[0].end;
    Admin::new(&options).unwrap().delete_records(&options.topic, 0, end).unwrap();
    let mut last = 0;
    let fault = loop {
        match reader.fetch(WIDE, WAIT) {
            Ok(fetched) => {
                assert!(!fetched.caught_up || last >= 118, "it went past the cut from {last}");
                if fetched.caught_up {
                    return; // Everything had been fetched ahead.
                }
                last = fetched.next;
            }
            Err(error) => break error,
        }
    };
    assert_eq!(fault.code(), Code::Retention, "{fault}");
}

#[test]
fn a_recreated_topic_is_another_log() {
    let _broker = steady();
    let options = topic("again", 1);
    let mut out = writer(&options, "w");
    out.write(records(0..9)).unwrap();
    out.commit().unwrap();
    let source = source(&options);
    let before = source.identity().unwrap();
    assert_eq!(source.identity().unwrap(), before);
    assert!(before.starts_with("kafka:") && before.contains(&options.topic), "{before}");
    let admin = Admin::new(&options).unwrap();
    admin.delete(&options.topic).unwrap();
    let start = WallClock.monotonic();
    while !admin.create(&TopicSetup::new(&options.topic, 1)).is_ok_and(|made| made) {
        assert!(WallClock.monotonic().saturating_sub(start) < Duration::from_secs(20), "not made again");
        std::thread::sleep(Duration::from_millis(50));
    }
    let again = KafkaSource::new(options).unwrap();
    assert_ne!(again.identity().unwrap(), before);
    assert_eq!(again.open(0, 9).err().map(|e| e.code()), Some(Code::Recreated));
}

#[test]
fn a_bounded_read_ends_where_the_log_ended_at_its_start() {
    let _broker = steady();
    let options = topic("until", 2);
    let mut out = writer(&options, "w");
    out.write(records(0..8)).unwrap();
    out.commit().unwrap();
    let mut ending = options.clone();
    ending.until_end = true;
    let bounded = source(&ending);
    let partitions = bounded.partitions().unwrap();
    assert!(partitions.iter().all(|p| p.bounded));
    out.write(records(8..20)).unwrap();
    out.commit().unwrap();
    assert_eq!(bounded.partitions().unwrap(), partitions, "the ends are fixed");
    for rows in [1, 3, 100] {
        let mut reader = bounded.open(0, 0).unwrap();
        let mut values = Vec::new();
        loop {
            let fetched = reader.fetch(FetchLimit { rows, bytes: 1 << 20 }, WAIT).unwrap();
            values.extend(fetched.batch.iter().flat_map(|batch| texts(&batch.payload)));
            if fetched.ended {
                break;
            }
        }
        assert_eq!(values, numbers(0..8));
        assert!(reader.fetch(WIDE, Duration::ZERO).unwrap().ended);
    }
    let mut empty = bounded.open(1, 0).unwrap();
    let fetched = empty.fetch(WIDE, Duration::ZERO).unwrap();
    assert!(fetched.ended && fetched.caught_up && fetched.batch.is_none());
}

#[test]
fn what_is_not_there_says_who_acts() {
    let _broker = steady();
    let missing = fresh("missing");
    let code = |error: Option<weir_contract::Error>| error.map(|e| e.code());
    assert_eq!(code(source(&missing).partitions().err()), Some(Code::NoTopic));
    assert_eq!(code(source(&missing).identity().err()), Some(Code::NoTopic));
    let options = topic("one", 1);
    assert_eq!(code(source(&options).open(7, 0).err()), Some(Code::NoTopic));
    assert_eq!(code(source(&options).open(0, 5).err()), Some(Code::Recreated));
    let mut nobody = KafkaOptions::new("127.0.0.1:1", "t");
    nobody.timeout = Duration::from_millis(300);
    let away = source(&nobody);
    assert_eq!(code(away.partitions().err()), Some(Code::Connect));
}
