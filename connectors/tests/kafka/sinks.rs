//! Writing: transactions, fencing, reading back, partitioning.

use weir_connectors::kafka::{Admin, KafkaOptions, KafkaSink};
use weir_contract::Code;
use weir_contract::event::Id;
use weir_engine::sink::SinkFactory;
use weir_engine::source::Source;

use super::*;

fn back(out: &mut dyn Sink, from: &[(u32, i64)]) -> Vec<Id> {
    let mut ids = Vec::new();
    out.read_back(&from.to_vec(), &mut |id, _| ids.push(id)).unwrap();
    ids
}

#[test]
fn records_are_seen_after_commit_and_not_before() {
    let _broker = steady();
    let options = topic("commit", 1);
    let mut out = writer(&options, "w");
    let mut reader = source(&options).open(0, 0).unwrap();
    for round in 0..5 {
        out.write(records(round * 4..round * 4 + 2)).unwrap();
        out.write(records(round * 4 + 2..round * 4 + 4)).unwrap();
        assert!(reader.fetch(WIDE, Duration::from_millis(30)).unwrap().batch.is_none(), "not committed");
        out.commit().unwrap();
        // Visible when `commit` returns: the end covers it, so the first confirmed end has it all.
        assert_eq!(drain(reader.as_mut(), WIDE).1, numbers(round * 4..round * 4 + 4));
    }
    out.commit().unwrap();
    out.write(Vec::new()).unwrap();
    out.commit().unwrap();
}

#[test]
fn an_older_writer_of_the_same_name_is_refused() {
    let _broker = steady();
    let options = topic("fence", 1);
    let mut older = writer(&options, "w");
    older.write(records(0..3)).unwrap();
    older.commit().unwrap();
    older.write(records(100..103)).unwrap();
    let mut newer = writer(&options, "w");
    newer.write(records(3..6)).unwrap();
    newer.commit().unwrap();
    let refused = older.commit().unwrap_err();
    assert_eq!(refused.code(), Code::Locked, "{refused}");
    assert_eq!(older.write(records(7..8)).unwrap_err().code(), Code::Locked, "and stays refused");
    // Another name is another writer.
    let mut other = writer(&options, "v");
    other.write(records(6..9)).unwrap();
    other.commit().unwrap();
    newer.write(records(9..10)).unwrap();
    newer.commit().unwrap();
    assert_eq!(read_all(&options), numbers(0..10));
}

#[test]
fn a_restart_reads_back_what_is_committed_since_the_ends() {
    let _broker = steady();
    let options = topic("back", 2);
    let mut out = writer(&options, "w");
    assert_eq!(out.ends().unwrap(), [(0, 0), (1, 0)]);
    out.write(records(0..5)).unwrap();
    out.commit().unwrap();
    let ends = out.ends().unwrap();
    assert!(ends[0].1 >= 5);
    let heartbeat = OutRecord { id: None, ..record(0) };
    let elsewhere = OutRecord { partition: Some(1), ..record(7) };
    out.write(vec![record(5), heartbeat, record(6), elsewhere]).unwrap();
    out.commit().unwrap();
    drop(out);
    let crashed = half(&options, "w", 50..60); // In the middle of a transaction.
    let mut again = writer(&options, "w");
    drop(crashed);
    assert_eq!(back(again.as_mut(), &ends), [id(5), id(6), id(7)]);
    assert_eq!(back(again.as_mut(), &[(0, 0), (1, 0)]), (0..8).map(id).collect::<Vec<_>>());
    let now = again.ends().unwrap();
    assert_eq!(back(again.as_mut(), &now), []);
    Admin::new(&options).unwrap().delete_records(&options.topic, 0, ends[0].1 + 1).unwrap();
    let lost = again.read_back(&ends, &mut |_, _| {}).unwrap_err();
    assert_eq!(lost.code(), Code::Retention, "{lost}");
}

#[test]
fn records_carry_id_version_headers_key_and_time() {
    let _broker = steady();
    let options = topic("headers", 1);
    let mut out = writer(&options, "w");
    let plain = OutRecord {
        id: None,
        key: Vec::new(),
        headers: vec![("weir-heartbeat".into(), b"2026-03-01T08:00:00Z".to_vec())],
        ..record(1)
    };
    out.write(vec![record(0), plain]).unwrap();
    out.commit().unwrap();
    let mut reader = source(&options).open(0, 0).unwrap();
    let batch = loop {
        if let Some(batch) = reader.fetch(WIDE, WAIT).unwrap().batch {
            break batch;
        }
    };
    let headers: Vec<_> = batch
        .headers
        .iter()
        .map(|h| (h.row, h.name.as_str(), String::from_utf8_lossy(&h.value).into_owned()))
        .collect();
    assert_eq!(
        headers,
        [
            (0, "weir-id", id(0).to_string()),
            (0, "weir-version", "1".to_owned()),
            (1, "weir-heartbeat", "2026-03-01T08:00:00Z".to_owned()),
        ]
    );
    let keys: Vec<_> = batch.keys.iter().flatten().collect();
    assert_eq!(keys, [Some(&b"k"[..]), None]);
}

#[test]
fn a_key_goes_where_kafkas_own_clients_put_it() {
    let _broker = steady();
    // murmur2 of Kafka's own test vectors.
    let vectors =
        [("21", -973_932_308_i32), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)];
    let options = topic("keys", 7);
    let mut out = writer(&options, "w");
    let keyed = |key: &str| OutRecord {
        partition: None,
        key: key.as_bytes().to_vec(),
        value: key.as_bytes().to_vec(),
        ..record(0)
    };
    out.write(vectors.iter().map(|(key, _)| keyed(key)).collect()).unwrap();
    out.commit().unwrap();
    let source = source(&options);
    for (key, hash) in vectors {
        let partition = (hash & i32::MAX).cast_unsigned() % 7;
        let values = drain(source.open(partition, 0).unwrap().as_mut(), WIDE).1;
        assert!(values.contains(&key.to_owned()), "{key} is not in {partition}: {values:?}");
    }
}

#[test]
fn many_records_go_through_a_small_memory() {
    let _broker = steady();
    let options = topic("many", 1);
    let mut out = writer(&options, "w");
    let padded = |n: u64| OutRecord { headers: vec![("pad".into(), vec![b'x'; 600])], ..record(n) };
    for part in 0..30 {
        out.write((part * 2_000..part * 2_000 + 2_000).map(padded).collect()).unwrap();
    }
    out.commit().unwrap();
    assert_eq!(read_all(&options), numbers(0..60_000));
}

#[test]
fn a_record_that_no_broker_takes_is_refused_and_the_topic_stays_clean() {
    let _broker = steady();
    let options = topic("huge", 1);
    let mut out = writer(&options, "w");
    out.write(records(0..2)).unwrap();
    let huge = OutRecord { value: vec![b'x'; 3 << 20], ..record(2) };
    let refused = out.write(vec![huge]).and_then(|()| out.commit()).unwrap_err();
    assert_eq!(refused.code(), Code::Refused, "{refused}");
    drop(out);
    let mut next = writer(&options, "w");
    next.write(records(0..2)).unwrap();
    next.commit().unwrap();
    assert_eq!(read_all(&options), numbers(0..2));
}

#[test]
fn an_output_is_made_where_asked_and_missed_otherwise() {
    let _broker = steady();
    let missing = fresh("output");
    assert_eq!(KafkaSink::new(missing.clone()).err().map(|e| e.code()), Some(Code::NoTopic));
    let mut made = missing;
    (made.create, made.partitions) = (true, 3);
    KafkaSink::new(made.clone()).unwrap().open("w").unwrap();
    assert_eq!(source(&made).partitions().unwrap().len(), 3);
    KafkaSink::new(made).unwrap();
}

#[test]
fn a_commit_long_after_its_records_loses_nothing() {
    let _broker = steady();
    let made = topic("timeout", 1);
    let given = [
        ("bootstrap_servers", made.bootstrap.as_str()),
        ("kafka.transaction.timeout.ms", "1500"),
        ("kafka.message.timeout.ms", "1000"),
    ];
    let given = given.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect();
    let options = KafkaOptions::of_options(&given, &made.topic).unwrap();
    let mut out = writer(&options, "w");
    out.write(records(0..5)).unwrap();
    // Longer than the transaction's time and the coordinator's look at it.
    std::thread::sleep(Duration::from_millis(3_000));
    out.write(records(5..8)).unwrap();
    out.commit().unwrap();
    out.write(records(8..9)).unwrap();
    out.commit().unwrap();
    assert_eq!(read_all(&options), numbers(0..9));
}

#[test]
fn a_partition_that_is_not_there_is_refused_at_once_and_a_new_one_is_found() {
    let _broker = steady();
    let options = topic("beyond", 1);
    let mut out = writer(&options, "w");
    let beyond = OutRecord { partition: Some(1), ..record(1) };
    let refused = out.write(vec![record(0), beyond.clone()]).unwrap_err();
    assert_eq!(refused.code(), Code::NoTopic, "{refused}");
    Admin::new(&options).unwrap().widen(&options.topic, 2).unwrap();
    out.write(vec![record(0), beyond]).unwrap();
    out.commit().unwrap();
    assert_eq!(read_all(&options), numbers(0..1), "nothing of the refused call was kept");
    assert_eq!(drain(source(&options).open(1, 0).unwrap().as_mut(), WIDE).1, numbers(1..2));
}
