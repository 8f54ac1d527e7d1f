//! A writer against the broker that librdkafka has within itself, which gives errors on request.

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use weir_contract::{Clock, Error, WallClock};
use weir_engine::run::away::passes;
use weir_engine::sink::{OutRecord, Sink, SinkFactory};

use super::unseen::Unseen;
use super::{KafkaSink, OPEN_PATIENCE, Writer};
use crate::kafka::KafkaOptions;

fn record(value: &str) -> OutRecord {
    OutRecord {
        id: None,
        partition: Some(0),
        key: Vec::new(),
        value: value.into(),
        headers: Vec::new(),
        time_us: None,
    }
}

#[test]
fn a_dead_writer_is_not_waited_for() {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic("events", 1, 1).unwrap();
    let mut options = KafkaOptions::new(brokers.bootstrap_servers(), "events");
    options.timeout = Duration::from_secs(60);
    let factory = KafkaSink::new(options).unwrap();
    let mut writer = factory.open("dead").unwrap();
    writer.write(vec![record("one")]).unwrap();
    writer.commit().unwrap();
    let lost = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE;
    brokers.request_errors(RDKafkaApiKey::EndTxn, &[lost]);
    writer.write(vec![record("two")]).unwrap();
    let first = writer.commit().unwrap_err();
    assert!(!passes(&first), "{first}");
    assert!(first.to_string().contains("start the program again"), "{first}");
    // The broker is well again, the writer is not.
    let again = |said: Result<(), Error>| assert_eq!(said.unwrap_err().code(), first.code());
    again(writer.commit());
    again(writer.write(vec![record("three")]));
    // A new one of the same name, as after a restart, is.
    let mut next = factory.open("dead").unwrap();
    next.write(vec![record("two")]).unwrap();
    next.commit().unwrap();
}

#[test]
fn what_readers_never_see_is_committed_again() {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic("events", 1, 1).unwrap();
    let factory = KafkaSink::new(KafkaOptions::new(brokers.bootstrap_servers(), "events")).unwrap();
    let mut writer = factory.writer("lost", OPEN_PATIENCE).unwrap();
    writer.write(vec![record("one")]).unwrap();
    writer.commit().unwrap();
    writer.unseen.patience = Duration::ZERO;
    let end = |writer: &mut Writer| writer.ends().unwrap()[0].1;
    let (until, before) = (WallClock.monotonic() + Duration::from_millis(50), end(&mut writer));
    // Readers stand before a transaction of somebody else: that is waited for.
    let places = |at: i64| [(0, 0, at), (1, 0, at + 2)];
    writer.unseen.add([record("two"), record("three")].into_iter(), &places(before + 1));
    assert!(passes(&writer.await_visible(until).unwrap_err()));
    assert_eq!(end(&mut writer), before, "nothing was written");
    // They stand in what was committed here, also once the next transaction was taken.
    writer.unseen = Unseen::default();
    writer.unseen.patience = Duration::ZERO;
    writer.unseen.add([record("two"), record("three")].into_iter(), &places(before - 1));
    writer.unseen.add([record("four")].into_iter(), &[(0, 0, before + 2)]);
    while !writer.pending.iter().map(|r| r.value.as_slice()).eq([&b"two"[..], b"three", b"four"]) {
        assert!(!writer.await_visible(until + OPEN_PATIENCE).unwrap());
    }
    writer.commit().unwrap();
    assert_eq!((writer.pending.len(), writer.pending_bytes, writer.unseen.is_empty()), (0, 0, true));
    assert!(end(&mut writer) >= before + 3, "{} {before}", end(&mut writer));
}

#[test]
fn one_wait_is_enough_until_the_next_commit() {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic("events", 1, 1).unwrap();
    let mut options = KafkaOptions::new(brokers.bootstrap_servers(), "events");
    options.timeout = Duration::from_secs(60);
    let factory = KafkaSink::new(options).unwrap();
    let mut writer = factory.writer("away", OPEN_PATIENCE).unwrap();
    brokers.broker_down(1).unwrap();
    // The records of a step: the limit's commit waits, in vain.
    let large = "x".repeat(500_000);
    writer.write((0..34).map(|_| record(&large)).collect()).unwrap();
    assert_eq!((writer.away, writer.pending.len()), (true, 34));
    brokers.broker_up(1).unwrap();
    writer.write(vec![record("one more")]).unwrap();
    assert_eq!(writer.pending.len(), 35, "it was only taken");
    // The caller's own commit tries again, as often as it needs.
    while let Err(error) = writer.commit() {
        assert!(passes(&error), "{error}");
    }
    assert_eq!((writer.away, writer.pending.len(), writer.pending_bytes), (false, 0, 0));
}
