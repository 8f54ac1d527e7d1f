//! Topics of a real broker: made for a test, and read to their end.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use weir_contract::{EventTime, wire};

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Makes a topic of one partition, by the producer's clock; gives its name, which is like no other.
pub fn make(brokers: &str, name: &str) -> String {
    let topic = format!("edge-{name}-{:016x}", RandomState::new().build_hasher().finish());
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    finish(
        admin.create_topics(&[NewTopic::new(&topic, 1, TopicReplication::Fixed(1))], &AdminOptions::new()),
    );
    topic
}

fn finish(making: impl Future<Output = KafkaResult<Vec<TopicResult>>>) {
    let mut making = pin!(making);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match making.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return assert!(done.unwrap().iter().all(Result::is_ok)),
            Poll::Pending => std::thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

/// A record of a topic: its number, or the time of a heartbeat; its event time.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Record(u64, i64),
    Heartbeat(i64),
}

/// All of a topic.
pub fn read(brokers: &str, topic: &str) -> Vec<Seen> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "edge-test")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let mut seen = Vec::new();
    loop {
        match consumer.poll(Duration::from_secs(20)).expect("an answer") {
            Ok(message) => {
                let time = |name: &str| {
                    let header = message.headers()?.iter().find(|h| h.key == name)?;
                    Some(EventTime::parse(std::str::from_utf8(header.value?).ok()?)?.0)
                };
                assert_eq!(message.key(), Some(&b"W1"[..]));
                seen.push(match time(wire::HEARTBEAT) {
                    Some(time) => Seen::Heartbeat(time),
                    None => {
                        let value = message.payload().unwrap();
                        Seen::Record(u64::from_le_bytes(value[..8].try_into().unwrap()), time("t").unwrap())
                    }
                });
            }
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => return seen,
            Err(e) => panic!("{e}"),
        }
    }
}
