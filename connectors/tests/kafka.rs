//! The Kafka connector against a real broker: `scripts/with-services.sh cargo test -p weir-connectors`.
//!
//! Needs `WEIR_KAFKA=host:port` (and `WEIR_KAFKA_PID` for the outages); without it every test fails.
//! Each test uses topics of its own. Outages stop the broker for everybody, so they run alone.

#[path = "ends/mod.rs"]
mod bounded;
#[path = "kafka/control.rs"]
mod control;
#[path = "kafka/ends.rs"]
mod ends;
#[path = "kafka/forgotten.rs"]
mod forgotten;
#[path = "kafka/outage.rs"]
mod outage;
#[path = "kafka/sinks.rs"]
mod sinks;
#[path = "kafka/suite.rs"]
mod suite;
#[path = "kafka/sources.rs"]
mod sources;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use weir_connectors::kafka::{Admin, KafkaOptions, KafkaSink, KafkaSource, TimestampType, TopicSetup};
use weir_contract::event::Id;
use weir_contract::{Clock, WallClock};
use weir_engine::sink::{OutRecord, Sink, SinkFactory};
use weir_engine::source::{FetchLimit, PartitionReader, Payload, Source};

static BROKER: RwLock<()> = RwLock::new(());

/// The broker runs undisturbed while this is held.
fn steady() -> RwLockReadGuard<'static, ()> {
    BROKER.read().unwrap_or_else(PoisonError::into_inner)
}

/// Nobody else uses the broker while this is held.
fn alone() -> RwLockWriteGuard<'static, ()> {
    BROKER.write().unwrap_or_else(PoisonError::into_inner)
}

fn bootstrap() -> String {
    std::env::var("WEIR_KAFKA").unwrap_or_else(|_| {
        panic!(
            "WEIR_KAFKA is not set: these tests need a broker. Run them with \
             `scripts/with-services.sh cargo test -p weir-connectors --test kafka`"
        )
    })
}

/// Options for a topic whose name nobody else uses; the topic is not made.
fn fresh(name: &str) -> KafkaOptions {
    let unique = RandomState::new().build_hasher().finish();
    KafkaOptions::new(bootstrap(), format!("test-{name}-{unique:016x}"))
}

/// A fresh topic that takes the producer's times.
fn topic(name: &str, partitions: u32) -> KafkaOptions {
    let options = fresh(name);
    let mut setup = TopicSetup::new(&options.topic, partitions);
    setup.timestamps = TimestampType::Create;
    assert!(Admin::new(&options).unwrap().create(&setup).unwrap());
    options
}

fn id(n: u64) -> Id {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    Id(bytes)
}

/// A record whose id and value say `n`, for partition 0.
fn record(n: u64) -> OutRecord {
    OutRecord {
        id: Some(id(n)),
        partition: Some(0),
        key: b"k".to_vec(),
        value: n.to_string().into_bytes(),
        headers: Vec::new(),
        time_us: Some(1_000_000_000 + n.cast_signed() * 1_000),
    }
}

fn records(range: std::ops::Range<u64>) -> Vec<OutRecord> {
    range.map(record).collect()
}

fn writer(options: &KafkaOptions, name: &str) -> Box<dyn Sink> {
    KafkaSink::new(options.clone()).unwrap().open(&format!("{}.{name}", options.topic)).unwrap()
}

/// A transaction in partition 0 that is neither committed nor aborted; the records are in the log.
fn half(
    options: &KafkaOptions,
    name: &str,
    range: std::ops::Range<u64>,
) -> ThreadedProducer<DefaultProducerContext> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", &options.bootstrap)
        .set("transactional.id", format!("{}.{name}", options.topic))
        .create()
        .unwrap();
    producer.init_transactions(Duration::from_secs(20)).unwrap();
    producer.begin_transaction().unwrap();
    for n in numbers(range) {
        producer.send(BaseRecord::<str, str>::to(&options.topic).partition(0).payload(&n)).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    producer
}

fn source(options: &KafkaOptions) -> KafkaSource {
    KafkaSource::new(options.clone()).unwrap()
}

const WIDE: FetchLimit = FetchLimit { rows: 10_000, bytes: 1 << 20 };
const WAIT: Duration = Duration::from_millis(200);

/// Reads until the broker confirms the end; offsets and values. Fails after 30 s.
fn drain(reader: &mut dyn PartitionReader, limit: FetchLimit) -> (Vec<i64>, Vec<String>, i64) {
    let start = WallClock.monotonic();
    let (mut offsets, mut values) = (Vec::new(), Vec::new());
    loop {
        let fetched = reader.fetch(limit, WAIT).unwrap();
        if let Some(batch) = &fetched.batch {
            assert!(batch.len() <= limit.rows && !batch.is_empty());
            offsets.extend(&batch.offsets);
            values.extend(texts(&batch.payload));
        }
        if fetched.caught_up {
            return (offsets, values, fetched.next);
        }
        let waited = WallClock.monotonic().saturating_sub(start);
        assert!(waited < Duration::from_secs(30), "never caught up; {} records", offsets.len());
    }
}

fn texts(payload: &Payload) -> Vec<String> {
    let Payload::Bytes(values) = payload else { panic!("Kafka gives bytes") };
    values.iter().map(|v| String::from_utf8(v.unwrap_or(b"NULL").to_vec()).unwrap()).collect()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Everything committed in partition 0, from its start.
fn read_all(options: &KafkaOptions) -> Vec<String> {
    let source = source(options);
    let start = source.partitions().unwrap()[0].start;
    drain(source.open(0, start).unwrap().as_mut(), WIDE).1
}
