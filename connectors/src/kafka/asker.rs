//! Questions to the brokers about one topic: partitions, ends, identity.
//!
//! A client of its own, never assigned a partition, so that a question never waits behind fetched
//! records. Two isolation levels, because librdkafka answers "the end" by the client's: the high
//! watermark to one that reads uncommitted, the last stable offset to one that reads committed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use weir_contract::{Code, Error, Place, Result};

use super::client::Client;
use super::config::{Context, Health, KafkaOptions};
use super::{fault, topic_id};

/// Asks about one topic. Methods block for the timeout given at most.
pub struct Asker {
    client: Client<BaseConsumer<Context>>,
    servers: String,
    topic: String,
    health: Health,
    /// Partitions below answered once, or were in a list of the topic's. A broker that starts again, or has just
    /// heard of a topic, may not know them for a moment.
    known: AtomicU32,
}

impl Asker {
    /// `committed`: [`Asker::ends`] gives the last stable offset instead of the high watermark.
    pub fn new(options: &KafkaOptions, committed: bool, health: &Health) -> Result<Self> {
        let client = BaseConsumer::from_config_and_context(
            &options.asker(committed),
            Context { health: health.clone() },
        )
        .map_err(|e| fault::of(&e, "connecting to Kafka"))?;
        Ok(Self {
            client: Client::new(client),
            servers: options.bootstrap.clone(),
            topic: options.topic.clone(),
            health: health.clone(),
            known: AtomicU32::new(0),
        })
    }

    /// Partition numbers, ascending. `W0404` where the topic does not exist.
    pub fn partitions(&self, timeout: Duration) -> Result<Vec<u32>> {
        self.drain();
        let doing = format!("asking {} for topic {}", self.servers, self.topic);
        let answer = self.client.fetch_metadata(Some(&self.topic), timeout);
        let metadata = answer.map_err(|e| self.why(fault::of(&e, &doing), &doing))?;
        let topic = metadata.topics().iter().find(|t| t.name() == self.topic);
        let topic = topic.ok_or_else(|| Error::new(Code::NoTopic, format!("{doing}: it is unknown")))?;
        if let Some(code) = topic.error() {
            return Err(fault::of_code(code.into(), &doing));
        }
        let mut numbers = Vec::with_capacity(topic.partitions().len());
        for partition in topic.partitions() {
            numbers
                .push(u32::try_from(partition.id()).map_err(|e| Error::new(Code::Internal, e.to_string()))?);
        }
        numbers.sort_unstable();
        if numbers.is_empty() {
            return Err(Error::new(Code::NoTopic, format!("{doing}: it is unknown")));
        }
        numbers.iter().for_each(|n| self.knows(*n));
        Ok(numbers)
    }

    /// Lowest position held and the position after the last record, now. Asked freshly.
    pub fn ends(&self, partition: u32, timeout: Duration) -> Result<(i64, i64)> {
        self.drain();
        let answer = self.client.fetch_watermarks(&self.topic, number(partition)?, timeout);
        match answer {
            Ok(ends) => {
                self.health.well();
                self.knows(partition);
                Ok(ends)
            }
            Err(e) => {
                let mut error = fault::of(&e, &format!("asking for the end of {}/{partition}", self.topic));
                if error.code() == Code::NoTopic && partition < self.known.load(Ordering::Relaxed) {
                    // Where it is gone for good the reader hears so; a topic made anew has another identity.
                    error = Error::new(Code::Connect, error.what());
                }
                if error.code() == Code::Connect {
                    self.health.trouble(error.clone());
                }
                Err(error)
            }
        }
    }

    fn knows(&self, partition: u32) {
        self.known.fetch_max(partition.saturating_add(1), Ordering::Relaxed);
    }

    /// `kafka:CLUSTER/TOPIC/TOPIC_ID`. A topic that was deleted and made again has another id.
    pub fn identity(&self, timeout: Duration) -> Result<String> {
        self.drain();
        let client = self.client.client();
        let cluster = client.fetch_cluster_id(timeout).ok_or_else(|| {
            Error::new(Code::Connect, format!("asking for the cluster of topic {}: no answer", self.topic))
        })?;
        let id = topic_id::describe(client, &self.topic, timeout)?;
        Ok(format!("kafka:{cluster}/{}/{id}", self.topic))
    }

    /// Checks that a position is one the log holds (or its end).
    ///
    /// # Errors
    /// `W0403` below the start, `W0406` above the end: the topic was made again or cut back.
    pub fn check(&self, partition: u32, position: i64, timeout: Duration) -> Result<(i64, i64)> {
        let (start, end) = self.ends(partition, timeout)?;
        let place = Place::Position { topic: self.topic.clone(), partition, offset: position };
        if position < start {
            return Err(Error::new(Code::Retention, format!("records {position} to {} are gone", start - 1))
                .at(place)
                .expected(format!("a position from {start} to {end}")));
        }
        if position > end {
            return Err(Error::new(Code::Recreated, format!("the log ends at {end}, before the position"))
                .at(place)
                .expected(format!("a position from {start} to {end}")));
        }
        Ok((start, end))
    }

    /// An answer that did not come says less than the connection: a name that is not known, a closed port.
    fn why(&self, error: Error, doing: &str) -> Error {
        self.drain();
        match self.health.get().filter(|_| error.code() == Code::Connect) {
            Some(cause) => Error::new(Code::Connect, format!("{doing}: {}", cause.what())),
            None => error,
        }
    }

    /// Takes waiting log and error events, which would pile up otherwise.
    fn drain(&self) {
        for _ in 0..64 {
            // Nothing is what an empty queue gives, and a log line that was taken: neither is a reason to end.
            drop(self.client.poll(Duration::ZERO));
        }
    }
}

/// A partition number as librdkafka counts them.
pub fn number(partition: u32) -> Result<i32> {
    i32::try_from(partition)
        .map_err(|_| Error::new(Code::NoTopic, format!("there is no partition {partition}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_not_there_is_named_with_the_cause() {
        let asker =
            Asker::new(&KafkaOptions::new("127.0.0.1:1", "scans"), false, &Health::default()).unwrap();
        let error = asker.partitions(Duration::from_secs(2)).unwrap_err();
        assert_eq!(error.code(), Code::Connect, "{error}");
        for words in ["asking 127.0.0.1:1 for topic scans", "Connection refused"] {
            assert!(error.what().contains(words), "{words}: {error}");
        }
    }
}
