//! Topics and records, made with a client of the tests' own.

use std::future::Future;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use weir_contract::{Clock, WallClock};

const PATIENCE: Duration = Duration::from_secs(60);

/// Makes and fills topics of one broker.
pub struct Topics {
    at: String,
    producer: ThreadedProducer<DefaultProducerContext>,
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

impl Topics {
    pub fn at(broker: &str) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", broker)
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("reconnect.backoff.max.ms", "200")
            .set("message.max.bytes", "8000000")
            .create()
            .unwrap();
        Self { at: broker.to_owned(), producer }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.at).create().unwrap()
    }

    /// A topic whose records bear the broker's time, as a live floor's do.
    pub fn create(&self, name: &str, partitions: i32) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "LogAppendTime")
            .set("max.message.bytes", "8000000");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let made = wait(self.admin().create_topics([&topic], &options)).unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        self.wait_until_there(name, partitions);
    }

    /// Adds partitions up to a count.
    pub fn widen(&self, name: &str, partitions: i32) {
        let new = NewPartitions::new(name, partitions as usize);
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let made = wait(self.admin().create_partitions([&new], &options)).unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        self.wait_until_there(name, partitions);
    }

    /// The broker hears of a topic some time after the controller has made it.
    fn wait_until_there(&self, name: &str, partitions: i32) {
        let client = self.producer.client();
        let end = WallClock.monotonic() + PATIENCE;
        // Asked anew: a client that wrote to the topic goes by the partitions that it had then.
        let there = || {
            let heard = client.fetch_metadata(Some(name), PATIENCE);
            heard.is_ok_and(|h| h.topics()[0].partitions().len() >= partitions as usize)
        };
        while !there() || (0..partitions).any(|n| client.fetch_watermarks(name, n, PATIENCE).is_err()) {
            assert!(WallClock.monotonic() < end, "the broker does not know {name}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Takes the records before an offset, as retention does.
    pub fn cut(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).unwrap();
        let done = wait(self.admin().delete_records(&list, &AdminOptions::new())).unwrap();
        done.elements().iter().for_each(|e| e.error().unwrap());
    }

    /// Hands a record to the client; `flush` waits for it.
    pub fn send(&self, topic: &str, partition: i32, value: &[u8]) {
        self.send_with(topic, partition, Some(value), None);
    }

    pub fn send_with(
        &self,
        topic: &str,
        partition: i32,
        value: Option<&[u8]>,
        header: Option<(&str, &[u8])>,
    ) {
        self.send_all(topic, partition, value, header.as_slice());
    }

    pub fn send_all(&self, topic: &str, partition: i32, value: Option<&[u8]>, headers: &[(&str, &[u8])]) {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
        if let Some(value) = value {
            record = record.payload(value);
        }
        if !headers.is_empty() {
            let add = |all: OwnedHeaders, (key, value): &(&str, &[u8])| {
                all.insert(Header { key, value: Some(*value) })
            };
            record = record.headers(headers.iter().fold(OwnedHeaders::new(), add));
        }
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
    }

    /// A transaction that is neither committed nor aborted, for longer than any test lasts; its record is in the log.
    pub fn undecided(
        &self,
        topic: &str,
        partition: i32,
        value: &[u8],
    ) -> ThreadedProducer<DefaultProducerContext> {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.at)
            .set("transactional.id", format!("{topic}.undecided"))
            .set("transaction.timeout.ms", "900000")
            .create()
            .unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(PATIENCE).unwrap();
        producer
    }

    /// Returns when everything that was sent is durable.
    pub fn flush(&self) {
        self.producer.flush(PATIENCE).unwrap();
    }
}
