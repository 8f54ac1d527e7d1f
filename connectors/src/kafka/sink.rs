//! A topic as an output: short transactions, read back after a restart.
//!
//! In:   records in order. Out: the same records, once, visible to readers of committed records.
//! Owns: the transaction and the records that are not committed yet. Not what was sent before a
//!       restart: the caller reads that back and drops it by id.
//!
//! K1  `transactional.id` is the writer's name: opening waits for or aborts what an older one left,
//!     and from then on the older one is refused with `W0503`.
//! K2  Records stay in memory until their commit is known. An aborted transaction is sent again whole.
//! K3  A commit without an answer is asked again until it has one; no record is sent meanwhile.
//! K4  `commit` returns when a reader of committed records can see everything (last stable offset).
//! K5  A transaction whose end the brokers lost is ended by another one of the same writer, and sent again
//!     (`unseen`), or read back by the next writer of the name (`back`).
//!
//! Records are sent when `commit` is called, so that a transaction is open for milliseconds: one that
//! stays open for longer than `transaction.timeout.ms` looks like a newer writer to librdkafka.
//!
//! | phase      | meaning                            | next step of `commit`                 |
//! |------------|------------------------------------|---------------------------------------|
//! | Idle       | no transaction                     | begin, send, commit                   |
//! | Open       | some records are sent              | send the rest, commit                 |
//! | Committing | the coordinator was asked          | ask again                             |
//! | Aborting   | the transaction cannot be finished | abort, then everything from the start |

mod back;
mod landed;
mod unseen;

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use weir_contract::event::Id;
use weir_contract::wire;
use weir_contract::{Clock, Code, Error, Result, WallClock};
use weir_engine::sink::{OutRecord, Sink, SinkEnds, SinkFactory};

use self::landed::{Delivery, Landed};
use self::unseen::Unseen;
use super::admin::{Admin, TopicSetup};
use super::asker::{Asker, number};
use super::client::Client;
use super::config::{Context, Health, KafkaOptions};
use super::fault;

/// Bytes of records held until their commit. At the limit `write` commits by itself.
const PENDING_BYTES_MAX: usize = 16 << 20;
/// Longest one `commit` works on its records before it gives `W0401`; they are kept, it may be called
/// again. A run that is asked to stop while the brokers are away waits for this.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);
/// Longest an opening at a start waits for what an older writer left, and for a read back to move on. Under
/// a run it is [`COMMIT_PATIENCE`]: others wait for the one who opens.
const OPEN_PATIENCE: Duration = Duration::from_secs(60);
/// Longest a coordinator keeps a transaction open, so also the longest outage in the middle of a commit
/// that a writer outlives. Kafka's default for the most that a broker allows.
const TRANSACTION_TIMEOUT_MS: &str = "900000";
/// Longest one record is tried before its transaction is aborted and sent again.
const MESSAGE_TIMEOUT_MS: &str = "30000";
/// One wait of librdkafka for the coordinator.
const STEP: Duration = Duration::from_secs(5);
/// Bytes that a record's bookkeeping counts beside its own.
const RECORD_OVERHEAD: usize = 128;

/// Opens transactional writers of one topic.
pub struct KafkaSink {
    options: Arc<KafkaOptions>,
    /// Answers with high watermarks.
    asker: Arc<Asker>,
    /// Answers with last stable offsets.
    stable: Arc<Asker>,
    health: Health,
}

impl KafkaSink {
    /// Makes the topic where it is missing and the options say `create`.
    ///
    /// # Errors
    /// `W0404` where the topic is missing.
    pub fn new(options: KafkaOptions) -> Result<Self> {
        let health = Health::default();
        if options.create {
            let mut setup = TopicSetup::new(&options.topic, options.partitions);
            setup.replication = options.replication;
            // The event's own time stands in the record (semantics 10 reads it back).
            setup.timestamps = super::admin::TimestampType::Create;
            Admin::new(&options)?.create(&setup)?;
        }
        let asker = Arc::new(Asker::new(&options, false, &health)?);
        asker.partitions(options.timeout)?;
        let stable = Arc::new(Asker::new(&options, true, &health)?);
        Ok(Self { options: Arc::new(options), asker, stable, health })
    }
}

impl SinkFactory for KafkaSink {
    fn open(&self, writer: &str) -> Result<Box<dyn Sink>> {
        Ok(Box::new(self.writer(writer, OPEN_PATIENCE)?))
    }

    fn open_late(&self, writer: &str) -> Result<Box<dyn Sink>> {
        Ok(Box::new(self.writer(writer, COMMIT_PATIENCE)?))
    }
}

impl KafkaSink {
    fn writer(&self, writer: &str, patience: Duration) -> Result<Writer> {
        let mut config = self.options.writer();
        config.set("transactional.id", writer);
        for (name, value) in
            [("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS), ("message.timeout.ms", MESSAGE_TIMEOUT_MS)]
        {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        let landed = Arc::new(Landed::default());
        let context = Delivery { context: Context { health: self.health.clone() }, landed: landed.clone() };
        let doing = || format!("opening writer {writer} of topic {}", self.options.topic);
        let producer: ThreadedProducer<Delivery> =
            ThreadedProducer::from_config_and_context(&config, context)
                .map_err(|e| fault::of(&e, &doing()))?;
        let producer = Client::new(producer);
        let start = WallClock.monotonic();
        while let Err(error) = producer.init_transactions(STEP) {
            let ours = fault::of(&error, &doing());
            if !matches!(&error, KafkaError::Transaction(e) if e.is_retriable()) {
                return Err(fault::for_good(ours));
            }
            if WallClock.monotonic().saturating_sub(start) > patience {
                return Err(ours);
            }
        }
        Ok(Writer {
            options: self.options.clone(),
            patience,
            name: writer.to_owned(),
            producer,
            landed,
            asker: self.asker.clone(),
            stable: self.stable.clone(),
            health: self.health.clone(),
            partitions: count(&self.asker.partitions(self.options.timeout)?)?,
            unchecked: None,
            pending: Vec::new(),
            pending_bytes: 0,
            sent: 0,
            phase: Phase::Idle,
            unseen: Unseen::default(),
            away: false,
            dead: None,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Open,
    Committing,
    Aborting,
}

/// What went wrong with a transaction, by what has to follow.
enum Trouble {
    /// The same call again.
    Again(Error),
    /// Abort, and everything again.
    Abort(Error),
    /// This writer is over.
    Fatal(Error),
}

struct Writer {
    options: Arc<KafkaOptions>,
    /// Longest a read back waits to move on.
    patience: Duration,
    name: String,
    producer: Client<ThreadedProducer<Delivery>>,
    landed: Arc<Landed>,
    asker: Arc<Asker>,
    stable: Arc<Asker>,
    health: Health,
    /// How many the topic was seen to have.
    partitions: u32,
    /// A partition that was written to while nobody could say whether it is there.
    unchecked: Option<u32>,
    /// Not known to be committed, in order.
    pending: Vec<OutRecord>,
    pending_bytes: usize,
    /// How many of `pending` are in the running transaction.
    sent: usize,
    phase: Phase,
    /// What readers of committed records were not seen to reach.
    unseen: Unseen,
    /// A commit within `write` found the brokers away.
    away: bool,
    dead: Option<Error>,
}

impl Writer {
    fn doing(&self, what: &str) -> String {
        format!("{what} as {} to topic {}", self.name, self.options.topic)
    }

    fn alive(&self) -> Result<()> {
        self.dead.clone().map_or(Ok(()), Err)
    }

    /// From now on every call gives this error, so it is never one that is waited for: a run that ends on it
    /// goes on at its next start.
    fn die(&mut self, error: Error) -> Error {
        let error = fault::for_good(error);
        self.dead = Some(error.clone());
        error
    }

    /// What an error of a transactional call asks for.
    fn judge(&self, error: &KafkaError, doing: &str) -> Trouble {
        let ours = fault::of(error, &self.doing(doing));
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            return Trouble::Fatal(fault::of_code(code, &format!("{} ({reason})", self.doing(doing))));
        }
        match error {
            KafkaError::Transaction(e) if e.is_fatal() => Trouble::Fatal(ours),
            KafkaError::Transaction(e) if e.txn_requires_abort() => Trouble::Abort(ours),
            KafkaError::Transaction(e) if e.is_retriable() => Trouble::Again(ours),
            KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut) => Trouble::Again(ours),
            KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => Trouble::Again(ours),
            KafkaError::MessageProduction(RDKafkaErrorCode::State) => Trouble::Abort(ours),
            _ => Trouble::Fatal(ours),
        }
    }

    /// Refuses a partition that the topic does not have: librdkafka says so only after the fact, by
    /// failing the whole transaction.
    fn check_partition(&mut self, highest: Option<u32>) -> Result<()> {
        let Some(beyond) = highest.filter(|p| *p >= self.partitions) else { return Ok(()) };
        self.partitions = count(&self.asker.partitions(self.options.timeout)?)?;
        if beyond < self.partitions {
            return Ok(());
        }
        Err(Error::new(Code::NoTopic, self.doing("writing"))
            .expected(format!("a partition below {}, not {beyond}", self.partitions)))
    }

    /// Begins where needed and sends what was not sent; waits while librdkafka's queue is full.
    fn pump(&mut self, until: Duration) -> Result<(), Trouble> {
        if self.sent == self.pending.len() {
            return Ok(());
        }
        if self.phase == Phase::Idle {
            self.landed.clear();
            self.producer.begin_transaction().map_err(|e| self.judge(&e, "beginning a transaction"))?;
            self.phase = Phase::Open;
        }
        while let Some(record) = self.pending.get(self.sent) {
            match send(&self.producer, &self.options.topic, record, self.sent) {
                Ok(()) => self.sent += 1,
                Err(error) => match self.judge(&error, "sending") {
                    Trouble::Again(why) if WallClock.monotonic() > until => return Err(Trouble::Again(why)),
                    // The queue drains on librdkafka's own threads.
                    Trouble::Again(_) => std::thread::sleep(Duration::from_millis(2)),
                    other => return Err(other),
                },
            }
        }
        Ok(())
    }

    /// Sends and commits everything, or aborts what has to be aborted.
    fn settle(&mut self, until: Duration) -> Result<()> {
        while !self.pending.is_empty() || self.phase == Phase::Aborting {
            let why = match self.step(until) {
                Ok(()) => continue,
                Err(Trouble::Again(why)) => why,
                Err(Trouble::Abort(why)) => {
                    tracing::info!(writer = %self.name, "a transaction is aborted and sent again: {}", why.what());
                    self.phase = Phase::Aborting;
                    why
                }
                Err(Trouble::Fatal(why)) => return Err(self.die(why)),
            };
            if WallClock.monotonic() > until {
                return Err(why);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Begins a transaction with one record that is never to be committed, and leaves it to be aborted. Its
    /// coordinator takes that only once it counts the one before as ended. False: the record did not land.
    fn probe(&mut self, partition: u32) -> Result<bool> {
        self.landed.clear();
        if let Err(error) = self.producer.begin_transaction() {
            return Err(match self.judge(&error, "ending an older transaction") {
                Trouble::Again(why) | Trouble::Abort(why) => why,
                Trouble::Fatal(why) => self.die(why),
            });
        }
        self.phase = Phase::Aborting;
        let record = BaseRecord::<str, [u8], usize>::with_opaque_to(&self.options.topic, 0);
        // A topic that is compacted refuses a record without a key.
        let sent = self.producer.send(record.partition(number(partition)?).key("weir"));
        Ok(sent.is_ok() && self.landed.wait(1, STEP) && !self.landed.places().is_empty())
    }

    /// One step towards an empty `pending`.
    fn step(&mut self, until: Duration) -> Result<(), Trouble> {
        if self.phase == Phase::Aborting {
            self.producer.abort_transaction(STEP).map_err(|e| match self.judge(&e, "aborting") {
                // An abort has nothing to abort but itself.
                Trouble::Abort(why) => Trouble::Again(why),
                other => other,
            })?;
            self.phase = Phase::Idle;
            self.sent = 0;
            if self.pending.is_empty() {
                return Ok(());
            }
        }
        if self.phase != Phase::Committing {
            self.pump(until)?;
        }
        // rdkafka's flush sleeps in steps of 100 ms where its own thread takes the last report, so
        // everything has to have landed before it is called.
        if self.phase == Phase::Open {
            if !self.landed.wait(self.sent, STEP) {
                return Err(Trouble::Again(Error::new(Code::Connect, self.doing("waiting for the brokers"))));
            }
            while self.producer.in_flight_count() > 0 {
                if WallClock.monotonic() > until {
                    let what = self.doing("waiting for the last report");
                    return Err(Trouble::Again(Error::new(Code::Connect, what)));
                }
                std::thread::yield_now();
            }
        }
        match self.producer.commit_transaction(STEP) {
            Ok(()) => {}
            Err(error) => {
                let trouble = self.judge(&error, "committing");
                // Once the coordinator was asked, only asking again tells what became of it.
                if matches!(&error, KafkaError::Transaction(_)) && matches!(trouble, Trouble::Again(_)) {
                    self.phase = Phase::Committing;
                }
                return Err(trouble);
            }
        }
        self.committed();
        self.phase = Phase::Idle;
        Ok(())
    }
}

impl Sink for Writer {
    fn ends(&mut self) -> Result<SinkEnds> {
        let timeout = self.options.timeout;
        let partitions = self.asker.partitions(timeout)?;
        partitions.into_iter().map(|p| Ok((p, self.asker.ends(p, timeout)?.1))).collect()
    }

    fn read_back(&mut self, from: &SinkEnds, seen: &mut dyn FnMut(Id, Option<i64>)) -> Result<()> {
        self.back(from, seen)
    }

    fn end(&mut self, partition: u32) -> Result<Option<i64>> {
        match self.asker.ends(partition, self.options.timeout) {
            Err(error) if error.code() == Code::NoTopic => Ok(None),
            ends => ends.map(|(_, high)| Some(high)),
        }
    }

    fn read_back_one(
        &mut self,
        partition: u32,
        from: i64,
        seen: &mut dyn FnMut(Id, Option<i64>),
    ) -> Result<()> {
        self.back_of(partition, from, seen)
    }

    fn write(&mut self, records: Vec<OutRecord>) -> Result<()> {
        self.alive()?;
        let highest = records.iter().filter_map(|r| r.partition).max();
        if self.away || self.unchecked.is_some() {
            self.unchecked = self.unchecked.max(highest);
        } else {
            match self.check_partition(highest) {
                // Asked again by the commit.
                Err(away) if away.code() == Code::Connect => self.unchecked = highest,
                checked => checked?,
            }
        }
        self.pending_bytes += records.iter().map(bytes_of).sum::<usize>();
        self.pending.extend(records);
        // A wait here is one under the lock of an instance, for each write of a step: one is enough. The
        // caller's own commit ends the step, and takes in nothing while it fails.
        if self.away || self.pending_bytes <= PENDING_BYTES_MAX {
            return Ok(());
        }
        match self.commit() {
            Err(away) if away.code() == Code::Connect => {
                self.away = true;
                Ok(())
            }
            done => done,
        }
    }

    fn commit(&mut self) -> Result<()> {
        self.alive()?;
        self.away = false;
        self.check_partition(self.unchecked)?;
        self.unchecked = None;
        let until = WallClock.monotonic() + COMMIT_PATIENCE;
        loop {
            self.settle(until)?;
            if self.await_visible(until)? {
                return Ok(());
            }
        }
    }
}

fn count(partitions: &[u32]) -> Result<u32> {
    u32::try_from(partitions.len()).map_err(|e| Error::new(Code::Internal, e.to_string()))
}

fn bytes_of(record: &OutRecord) -> usize {
    record.key.len() + record.value.len() + RECORD_OVERHEAD
}

/// Hands one record to librdkafka, with its id and the contract's version as headers. It is the `nth` of its
/// transaction.
fn send(
    producer: &ThreadedProducer<Delivery>,
    topic: &str,
    record: &OutRecord,
    nth: usize,
) -> Result<(), KafkaError> {
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len() + 2);
    if let Some(id) = record.id {
        headers = headers.insert(Header { key: wire::ID, value: Some(id.to_string().as_bytes()) });
        if !record.headers.iter().any(|(name, _)| name == wire::VERSION) {
            let version = wire::EVENT_VERSION.to_string();
            headers = headers.insert(Header { key: wire::VERSION, value: Some(version.as_bytes()) });
        }
    }
    for (name, value) in &record.headers {
        headers = headers.insert(Header { key: name, value: Some(value.as_slice()) });
    }
    let mut out =
        BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, nth).payload(&record.value).headers(headers);
    if !record.key.is_empty() {
        out = out.key(&record.key);
    }
    if let Some(partition) = record.partition {
        let unknown = |_| KafkaError::MessageProduction(RDKafkaErrorCode::UnknownPartition);
        out = out.partition(number(partition).map_err(unknown)?);
    }
    if let Some(time) = record.time_us {
        out = out.timestamp(time.div_euclid(1000));
    }
    producer.send(out).map_err(|(error, _)| error)
}

#[cfg(test)]
mod tests;
