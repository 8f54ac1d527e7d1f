//! Topics made, cut and removed: for the program's own topics, the demo and the tests.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use weir_contract::{Clock, Code, Error, Result, WallClock};

use super::asker::{Asker, number};
use super::client::Client;
use super::config::{Context, Health, KafkaOptions};
use super::fault;

/// `message.timestamp.type` of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's clock: `append_time = 'producer'`. Such a topic is kept forever unless its
    /// settings say `retention.ms`.
    Create,
    /// The broker's clock: `append_time = 'broker'`, what a live floor needs.
    LogAppend,
}

/// Retention goes by the records' times, and a broker refuses times an hour ahead of its own clock:
/// both would be wrong for records whose times are not now.
const PRODUCER_TIMES: [(&str, &str); 2] =
    [("retention.ms", "-1"), ("message.timestamp.after.max.ms", "9223372036854775807")];

/// A topic to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSetup {
    pub name: String,
    pub partitions: u32,
    /// −1 is the broker's default.
    pub replication: i32,
    pub timestamps: TimestampType,
    /// Further settings, as the broker names them.
    pub settings: Vec<(String, String)>,
}

impl TopicSetup {
    /// Default replication and the broker's clock.
    pub fn new(name: impl Into<String>, partitions: u32) -> Self {
        Self {
            name: name.into(),
            partitions,
            replication: -1,
            timestamps: TimestampType::LogAppend,
            settings: Vec::new(),
        }
    }

    /// Never trimmed, neither by age nor by size nor by key.
    #[must_use]
    pub fn kept_forever(mut self) -> Self {
        for (name, value) in [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")]
        {
            self.settings.push((name.into(), value.into()));
        }
        self
    }
}

/// Changes topics. Each call waits for the broker, for the options' timeout at most.
pub struct Admin {
    client: Client<AdminClient<Context>>,
    options: KafkaOptions,
    health: Health,
}

impl Admin {
    pub fn new(options: &KafkaOptions) -> Result<Self> {
        let health = Health::default();
        let client =
            AdminClient::from_config_and_context(&options.asker(false), Context { health: health.clone() })
                .map_err(|e| fault::of(&e, "connecting to Kafka"))?;
        Ok(Self { client: Client::new(client), options: options.clone(), health })
    }

    fn settings(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.options.timeout))
            .operation_timeout(Some(self.options.timeout))
    }

    /// Makes a topic where it is missing and returns when every partition answers. True: it was made.
    /// A topic that is there is left as it is.
    pub fn create(&self, setup: &TopicSetup) -> Result<bool> {
        let doing = format!("creating topic {}", setup.name);
        let stamps = match setup.timestamps {
            TimestampType::Create => "CreateTime",
            TimestampType::LogAppend => "LogAppendTime",
        };
        let mut topic =
            NewTopic::new(&setup.name, number(setup.partitions)?, TopicReplication::Fixed(setup.replication))
                .set("message.timestamp.type", stamps);
        let own = |name: &str| setup.settings.iter().any(|(own, _)| own == name);
        if setup.timestamps == TimestampType::Create {
            for (name, value) in PRODUCER_TIMES.into_iter().filter(|(name, _)| !own(name)) {
                topic = topic.set(name, value);
            }
        }
        for (name, value) in &setup.settings {
            topic = topic.set(name, value);
        }
        let answer = wait_for(self.client.create_topics([&topic], &self.settings()));
        let made = match answer.map_err(|e| fault::of(&e, &doing))?.pop() {
            Some(Ok(_)) => true,
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => false,
            Some(Err((_, code))) => return Err(fault::of_code(code, &doing)),
            None => return Err(Error::new(Code::Connect, format!("{doing}: an empty answer"))),
        };
        self.wait_until_there(&setup.name, if made { setup.partitions } else { 1 })?;
        Ok(made)
    }

    /// Adds partitions up to a count; a topic that has as many is left as it is.
    pub fn widen(&self, topic: &str, partitions: u32) -> Result<()> {
        let doing = format!("adding partitions to topic {topic}");
        let asker = Asker::new(&self.options.for_topic(topic), false, &self.health)?;
        if asker.partitions(self.options.timeout)?.len() >= partitions as usize {
            return Ok(());
        }
        let new = NewPartitions::new(topic, partitions as usize);
        let answer = wait_for(self.client.create_partitions([&new], &self.settings()));
        match answer.map_err(|e| fault::of(&e, &doing))?.pop() {
            Some(Err((_, code))) => Err(fault::of_code(code, &doing)),
            _ => self.wait_until_there(topic, partitions),
        }
    }

    /// Metadata reaches the brokers some time after the controller's answer.
    fn wait_until_there(&self, topic: &str, partitions: u32) -> Result<()> {
        let asker = Asker::new(&self.options.for_topic(topic), false, &self.health)?;
        let start = WallClock.monotonic();
        loop {
            let there = asker.partitions(self.options.timeout).and_then(|numbers| {
                numbers.iter().try_for_each(|n| asker.ends(*n, self.options.timeout).map(|_| ()))?;
                Ok(numbers.len() >= partitions as usize)
            });
            if there.as_ref().is_ok_and(|there| *there) {
                return Ok(());
            }
            if WallClock.monotonic().saturating_sub(start) > self.options.timeout {
                return there.and_then(|_| {
                    Err(Error::new(Code::Connect, format!("topic {topic} has not all its partitions yet")))
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Removes a topic and all its records.
    pub fn delete(&self, topic: &str) -> Result<()> {
        let doing = format!("deleting topic {topic}");
        let answer = wait_for(self.client.delete_topics(&[topic], &self.settings()));
        match answer.map_err(|e| fault::of(&e, &doing))?.pop() {
            Some(Err((_, code))) => Err(fault::of_code(code, &doing)),
            _ => Ok(()),
        }
    }

    /// Cuts a partition's start: records before an offset are gone, as retention would take them.
    pub fn delete_records(&self, topic: &str, partition: u32, before: i64) -> Result<()> {
        let doing = format!("cutting {topic}/{partition} at {before}");
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, number(partition)?, Offset::Offset(before))
            .map_err(|e| fault::of(&e, &doing))?;
        let answer = wait_for(self.client.delete_records(&list, &self.settings()));
        let list = answer.map_err(|e| fault::of(&e, &doing))?;
        list.elements().iter().try_for_each(|e| e.error()).map_err(|e| fault::of(&e, &doing))
    }
}

/// Wakes a parked thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs one future on this thread; librdkafka's own thread completes it. Needs no runtime, so it may
/// be called from inside one.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = TaskContext::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
