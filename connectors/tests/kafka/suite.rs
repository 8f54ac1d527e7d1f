//! The suites that every source and every sink passes.

use std::sync::Arc;

use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use weir_connectors::compliance::{Holds, Rec, SinkHarness, SourceHarness, read_all};
use weir_connectors::kafka::{Admin, KafkaOptions, KafkaSink, KafkaSource};
use weir_connectors::{compliance, kafka};
use weir_engine::sink::SinkFactory;
use weir_engine::source::Source;
use weir_engine::sql::catalog::AppendTime;

use super::*;

/// A topic with the producer's times.
struct Log(Option<KafkaOptions>);

impl Log {
    fn options(&self) -> KafkaOptions {
        let mut options = self.0.clone().unwrap();
        options.append_time = Some(AppendTime::Producer);
        options
    }
}

impl SourceHarness for Log {
    fn holds(&self) -> Holds {
        Holds { envelopes: true, append_time: true, bounded: false }
    }

    fn make(&mut self, partitions: &[Vec<Rec>]) -> Arc<dyn Source> {
        let options = match &self.0 {
            None => fresh("suite"),
            Some(made) => {
                Admin::new(made).unwrap().delete(&made.topic).unwrap();
                made.clone()
            }
        };
        let mut setup = kafka::TopicSetup::new(&options.topic, u32::try_from(partitions.len()).unwrap());
        setup.timestamps = kafka::TimestampType::Create;
        let admin = Admin::new(&options).unwrap();
        let start = WallClock.monotonic();
        // A deletion takes effect some time after its answer.
        while !admin.create(&setup).is_ok_and(|made| made) {
            assert!(WallClock.monotonic().saturating_sub(start) < Duration::from_secs(20), "not made");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.0 = Some(options);
        for (partition, records) in (0..).zip(partitions) {
            self.append(partition, records);
        }
        self.reopen()
    }

    fn reopen(&mut self) -> Arc<dyn Source> {
        Arc::new(KafkaSource::new(self.options()).unwrap())
    }

    fn append(&mut self, partition: u32, records: &[Rec]) -> bool {
        let options = self.options();
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", &options.bootstrap)
            .set("enable.idempotence", "true")
            .create()
            .unwrap();
        for record in records {
            let mut headers = OwnedHeaders::new();
            for (name, value) in &record.headers {
                headers = headers.insert(Header { key: name, value: Some(value) });
            }
            let mut out = BaseRecord::<[u8], [u8]>::to(&options.topic)
                .partition(partition.cast_signed())
                .timestamp(record.append_us / 1_000)
                .headers(headers);
            if let Some(key) = &record.key {
                out = out.key(key);
            }
            if let Some(value) = &record.value {
                out = out.payload(value);
            }
            producer.send(out).unwrap_or_else(|(e, _)| panic!("{e}"));
        }
        producer.flush(Duration::from_secs(20)).unwrap();
        true
    }

    fn trim(&mut self, partition: u32) -> Option<i64> {
        let options = self.options();
        Admin::new(&options).unwrap().delete_records(&options.topic, partition, 25).unwrap();
        Some(25)
    }
}

/// A topic that transactions write.
struct Output(Option<KafkaOptions>);

impl SinkHarness for Output {
    fn envelopes(&self) -> bool {
        true
    }

    fn make(&mut self, partitions: u32) -> Arc<dyn SinkFactory> {
        self.0 = Some(topic("output", partitions));
        self.reopen()
    }

    fn reopen(&mut self) -> Arc<dyn SinkFactory> {
        Arc::new(KafkaSink::new(self.0.clone().unwrap()).unwrap())
    }

    fn visible(&mut self) -> Vec<Vec<Rec>> {
        read_all(&source(&self.0.clone().unwrap()))
    }
}

#[test]
fn it_is_a_source_like_all_others() {
    let _broker = steady();
    compliance::source(&mut Log(None));
}

#[test]
fn it_is_a_sink_like_all_others() {
    let _broker = steady();
    compliance::sink(&mut Output(None));
}
