//! The control log on a Kafka topic.
//!
//! Partition 0 is shared, the others are the tasks' and the shards'. One record a message, JSON. The topic is
//! made where it is missing, gets partitions where tasks join, and is never trimmed. Who may write is not asked here: records carry the epoch of
//! their owner, and readers ignore those of a replaced one (the engine's `run/owner`).
//!
//! L1  `append` returns when all replicas have the record, with its offset.
//! L2  A write without an answer is looked for in the log by its own mark before it counts as failed.
//! L3  `read` gives everything up to an end that was asked for after it was called.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use weir_contract::{Code, Error, Place, Result};
use weir_engine::control::{Control, ControlLog};

use super::admin::{Admin, TopicSetup};
use super::asker::{Asker, number};
use super::client::Client;
use super::config::{Context, Health, KafkaOptions};
use super::cursor::Cursor;
use super::fault;

/// Header by which a writer finds its own record again.
const MARK: &str = "weir-append";
/// Longest an append waits for the brokers.
const APPEND_TIMEOUT_MS: &str = "10000";
/// A little more, so that librdkafka's own answer comes first.
const APPEND_PATIENCE: Duration = Duration::from_secs(15);

type Answer = Result<i64, KafkaError>;

/// A program's control log.
pub struct KafkaControlLog {
    options: KafkaOptions,
    producer: Client<ThreadedProducer<Appends>>,
    asker: Asker,
    health: Health,
    /// One open reader a partition, at the position after the last read.
    tails: RwLock<Vec<Slot>>,
    /// Random for each process, so that no two processes write the same mark.
    process: u64,
    appends: AtomicU64,
}

type Slot = Arc<Mutex<Option<Tail>>>;

struct Tail {
    cursor: Cursor,
    next: i64,
}

impl KafkaControlLog {
    /// Opens `options.topic` with one shared partition and one for each task; makes or widens it.
    pub fn open(options: &KafkaOptions, tasks: u32) -> Result<Self> {
        let health = Health::default();
        let mut setup = TopicSetup::new(&options.topic, tasks + 1).kept_forever();
        setup.replication = options.replication;
        let admin = Admin::new(options)?;
        if !admin.create(&setup)? {
            admin.widen(&options.topic, tasks + 1)?;
        }
        let asker = Asker::new(options, false, &health)?;
        let partitions = asker.partitions(options.timeout)?.len();
        let mut config = options.writer();
        config.set("message.timeout.ms", APPEND_TIMEOUT_MS);
        let context = Appends(Context { health: health.clone() });
        let producer = ThreadedProducer::from_config_and_context(&config, context)
            .map_err(|e| fault::of(&e, &format!("opening control log {}", options.topic)))?;
        Ok(Self {
            options: options.clone(),
            producer: Client::new(producer),
            asker,
            health,
            tails: RwLock::new((0..partitions).map(|_| Slot::default()).collect()),
            process: RandomState::new().build_hasher().finish(),
            appends: AtomicU64::new(0),
        })
    }

    fn tail(&self, partition: u32) -> Option<Slot> {
        self.tails.read().unwrap_or_else(PoisonError::into_inner).get(partition as usize).cloned()
    }

    fn place(&self, partition: u32, offset: i64) -> Place {
        Place::Position { topic: self.options.topic.clone(), partition, offset }
    }

    fn failed(&self, partition: u32, cause: &Error) -> Error {
        let what = format!("control log {}/{partition}: {}", self.options.topic, cause.what());
        // Brokers that are away are waited for.
        let away = cause.code() == Code::Connect;
        Error::new(if away { Code::Connect } else { Code::ControlLog }, what)
    }

    /// Sends one record and waits for the answer; `Err(None)`: there was none.
    fn send(&self, partition: i32, value: &[u8], mark: &[u8]) -> Result<Answer, Error> {
        let (sender, answer) = sync_channel(1);
        let headers = OwnedHeaders::new().insert(Header { key: MARK, value: Some(mark) });
        let record = BaseRecord::<[u8], [u8], _>::with_opaque_to(&self.options.topic, Box::new(sender))
            .partition(partition)
            .payload(value)
            .headers(headers);
        if let Err((error, _)) = self.producer.send(record) {
            return Ok(Err(error));
        }
        answer
            .recv_timeout(APPEND_PATIENCE)
            .map_err(|_| Error::new(Code::Connect, "the brokers gave no answer to an append"))
    }

    /// Looks for a record that may have been written, from a position on.
    fn find(&self, partition: u32, from: i64, mark: &[u8]) -> Result<Option<i64>> {
        let (_, end) = self.asker.ends(partition, self.options.timeout)?;
        let cursor = Cursor::open(&self.options, partition, from, &self.health)?;
        let mut found = None;
        cursor.scan(end, self.options.timeout, &mut |message| {
            if found.is_none() && mark_of(message) == Some(mark) {
                found = Some(message.offset());
            }
            Ok(())
        })?;
        Ok(found)
    }
}

impl ControlLog for KafkaControlLog {
    fn append(&self, partition: u32, record: &Control) -> Result<i64> {
        let value = record.to_bytes()?;
        let count = self.appends.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{:016x}-{count}", self.process);
        let target = number(partition)?;
        let cause = match self.send(target, &value, mark.as_bytes()) {
            Ok(Ok(offset)) => return Ok(offset),
            Ok(Err(error)) => fault::of(&error, "appending"),
            Err(silence) => silence,
        };
        if cause.code() != Code::Connect {
            return Err(self.failed(partition, &cause));
        }
        // The answer was lost, perhaps not the record. It can only stand after what was read before.
        let from = self.tail(partition).map_or(0, |tail| {
            tail.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |tail| tail.next)
        });
        match self.find(partition, from, mark.as_bytes()) {
            Ok(Some(offset)) => Ok(offset),
            Ok(None) => Err(self.failed(partition, &cause)),
            Err(error) => Err(self.failed(partition, &error)),
        }
    }

    fn read(&self, partition: u32, from: i64) -> Result<(Vec<(i64, Control)>, i64)> {
        let slot = self.tail(partition).ok_or_else(|| {
            Error::new(Code::ControlLog, format!("{} has no partition {partition}", self.options.topic))
        })?;
        // Held while reading: two readers of one partition take turns.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let timeout = self.options.timeout;
        let (_, end) = self.asker.check(partition, from, timeout).map_err(|error| match error.code() {
            Code::Connect => self.failed(partition, &error),
            _ => error,
        })?;
        if from == end {
            return Ok((Vec::new(), end));
        }
        let tail = match slot.take() {
            Some(tail) if tail.next == from => tail,
            _ => Tail { cursor: Cursor::open(&self.options, partition, from, &self.health)?, next: from },
        };
        let mut records = Vec::new();
        let next = tail
            .cursor
            .scan(end, timeout, &mut |message| {
                records.push((
                    message.offset(),
                    decode(message).map_err(|error| error.at(self.place(partition, message.offset())))?,
                ));
                Ok(())
            })
            .map_err(
                |error| if error.code() == Code::Connect { self.failed(partition, &error) } else { error },
            )?;
        *slot = Some(Tail { next, ..tail });
        Ok((records, next))
    }

    fn partitions(&self) -> Result<u32> {
        let tails = self.tails.read().unwrap_or_else(PoisonError::into_inner);
        u32::try_from(tails.len()).map_err(|e| Error::new(Code::Internal, e.to_string()))
    }

    fn widen(&self, partitions: u32) -> Result<()> {
        let wide = partitions as usize;
        if self.partitions()? >= partitions {
            return Ok(());
        }
        let (topic, timeout) = (&self.options.topic, self.options.timeout);
        Admin::new(&self.options)?.widen(topic, partitions)?;
        // The writer goes by what it heard of the topic last, which may be minutes old.
        let doing = format!("asking for the partitions of {topic}");
        let heard = self.producer.client().fetch_metadata(Some(topic), timeout);
        let heard = heard.map_err(|e| fault::of(&e, &doing))?;
        let there = heard.topics().iter().find(|t| t.name() == topic).map_or(0, |t| t.partitions().len());
        if there < wide {
            return Err(Error::new(Code::Connect, format!("{doing}: {there} of {wide} so far")));
        }
        let mut tails = self.tails.write().unwrap_or_else(PoisonError::into_inner);
        let wide = tails.len().max(there);
        tails.resize_with(wide, Slot::default);
        Ok(())
    }
}

fn decode(message: &BorrowedMessage<'_>) -> Result<Control> {
    Control::from_bytes(message.payload().unwrap_or_default())
}

fn mark_of<'a>(message: &'a BorrowedMessage<'_>) -> Option<&'a [u8]> {
    message.headers()?.iter().find(|header| header.key == MARK)?.value
}

/// Brings each record's offset back to its sender.
struct Appends(Context);

impl ClientContext for Appends {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.0.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Appends {
    type DeliveryOpaque = Box<SyncSender<Answer>>;

    fn delivery(&self, result: &DeliveryResult<'_>, sender: Self::DeliveryOpaque) {
        let answer = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.clone()),
        };
        // A sender that gave up is not there any more; its record is looked for in the log.
        let _ = sender.try_send(answer);
    }
}
