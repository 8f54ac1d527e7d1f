//! A writer against the broker that librdkafka has within itself, which gives errors on request.

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use weir_contract::{Clock, Code, Error, WallClock};
use weir_engine::run::away::passes;
use weir_engine::sink::{OutRecord, Sink, SinkFactory};

use super::{KafkaSink, OPEN_PATIENCE};
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
fn a_commit_that_is_never_seen_ends_its_writer() {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic("events", 1, 1).unwrap();
    let factory = KafkaSink::new(KafkaOptions::new(brokers.bootstrap_servers(), "events")).unwrap();
    let mut writer = factory.writer("lost", OPEN_PATIENCE).unwrap();
    writer.write(vec![record("one")]).unwrap();
    writer.commit().unwrap();
    writer.marker_patience = Duration::ZERO;
    // Readers stand before a transaction of somebody else: that is waited for.
    let until = WallClock.monotonic() + Duration::from_millis(50);
    writer.unseen.insert(0, (5, 7));
    assert!(passes(&writer.await_visible(until).unwrap_err()));
    // They stand in what was committed here.
    writer.unseen.insert(0, (0, 7));
    let lost = writer.commit().unwrap_err();
    assert_eq!(lost.code(), Code::Locked, "{lost}");
    for words in ["lost the end of a transaction at 0/", "start the program again"] {
        assert!(lost.to_string().contains(words), "{lost}");
    }
    assert_eq!(writer.write(vec![record("two")]).unwrap_err().code(), Code::Locked, "it is over");
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
