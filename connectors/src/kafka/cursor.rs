//! One assigned partition, read forward at `read_committed`.
//!
//! In:   a position. Out: messages in offset order, and the position after what was given.
//! Owns: which of librdkafka's errors end the reading and which are an outage to wait through.
//!
//! R1  A position that the log does not hold ends the reading (`auto.offset.reset=error`).
//! R2  Brokers that are away end nothing: nothing is given, [`Health`] says why, librdkafka retries.
//! R3  The position counts transaction markers, so that it can reach the high watermark.

use std::time::Duration;

use rdkafka::Message;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use weir_contract::{Clock, Code, Error, Place, Result, WallClock};

use super::asker::number;
use super::client::Client;
use super::config::{Context, Health, KafkaOptions};
use super::fault;

/// What one poll gave.
pub enum Polled<'a> {
    Message(BorrowedMessage<'a>),
    /// The end of what is committed was reached just now; said once for each end.
    End,
    Nothing,
}

/// A consumer with one partition assigned. Dropping it closes its connections.
pub struct Cursor {
    consumer: Client<BaseConsumer<Context>>,
    topic: String,
    partition: u32,
    from: i64,
    health: Health,
}

impl Cursor {
    /// Does not ask the broker: a wrong position shows at the first poll.
    pub fn open(options: &KafkaOptions, partition: u32, from: i64, health: &Health) -> Result<Self> {
        let doing = || format!("opening {}/{partition} at {from}", options.topic);
        let consumer: BaseConsumer<Context> =
            BaseConsumer::from_config_and_context(&options.reader(), Context { health: health.clone() })
                .map_err(|e| fault::of(&e, &doing()))?;
        let consumer = Client::new(consumer);
        let mut assignment = TopicPartitionList::with_capacity(1);
        assignment
            .add_partition_offset(&options.topic, number(partition)?, Offset::Offset(from))
            .and_then(|()| consumer.assign(&assignment))
            .map_err(|e| fault::of(&e, &doing()))?;
        Ok(Self { consumer, topic: options.topic.clone(), partition, from, health: health.clone() })
    }

    /// Waits at most `wait` for a message.
    ///
    /// # Errors
    /// `W0403` where the position is not in the log, `W0404` where the topic is gone, `W0402` where it
    /// may not be read. The cursor gives nothing after any of them.
    pub fn poll(&self, wait: Duration) -> Result<Polled<'_>> {
        let error = match self.consumer.poll(wait) {
            None => return Ok(Polled::Nothing),
            Some(Ok(message)) => return Ok(Polled::Message(message)),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Polled::End),
            Some(Err(error)) => error,
        };
        let doing = format!("reading {}/{} at {}", self.topic, self.partition, self.next());
        let ours = fault::of(&error, &doing);
        // Health carries outages alone: who hears of it waits.
        if ours.code() != Code::Connect || matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            return Err(fault::for_good(ours).at(Place::Position {
                topic: self.topic.clone(),
                partition: self.partition,
                offset: self.next(),
            }));
        }
        self.health.trouble(ours);
        Ok(Polled::Nothing)
    }

    /// The position after everything that polls gave, markers included.
    pub fn next(&self) -> i64 {
        let position = self.consumer.position().ok();
        let offset = position.and_then(|list| list.elements().first().map(|element| element.offset()));
        match offset {
            Some(Offset::Offset(offset)) => offset.max(self.from),
            _ => self.from,
        }
    }

    /// Gives every message below `until` and returns the position reached, `until` or after it.
    ///
    /// # Errors
    /// As [`Cursor::poll`]; `W0401` where nothing moves for `patience`.
    pub fn scan(
        &self,
        until: i64,
        patience: Duration,
        each: &mut dyn FnMut(&BorrowedMessage<'_>) -> Result<()>,
    ) -> Result<i64> {
        let mut at = self.next();
        let mut moved = WallClock.monotonic();
        while at < until {
            let next = match self.poll(Duration::from_millis(100))? {
                Polled::Message(message) => {
                    each(&message)?;
                    message.offset() + 1
                }
                Polled::End | Polled::Nothing => self.next(),
            };
            if next > at {
                at = next;
                moved = WallClock.monotonic();
            } else if WallClock.monotonic().saturating_sub(moved) > patience {
                let what =
                    format!("{}/{} stands at {at} and does not reach {until}", self.topic, self.partition);
                return Err(self.health.get().unwrap_or_else(|| Error::new(Code::Connect, what)));
            }
        }
        self.health.well();
        Ok(at)
    }
}
