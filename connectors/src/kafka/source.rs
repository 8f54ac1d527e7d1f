//! A topic as a source: partitions, positions, append times.
//!
//! In:   committed records of a topic. Out: [`RawBatch`]es, each built in bulk.
//! Owns: append time (trusted or not), the answer to "is this the end", the end of a bounded read.
//!       Not silence, not watermarks: those are the engine's.
//!
//! S1  Records come once, in offset order, none skipped: a gap holds transaction markers and aborted
//!     records only. A position that retention took is `W0403`.
//! S2  `caught_up` is said only after the broker confirmed it, asked after the last poll.
//! S3  The end of an unbounded partition is where a reader of committed records comes now.
//! S4  While the brokers are away a fetch gives nothing, and [`KafkaSource::trouble`] says why.
//!
//! Start at `Reader::fetch`. Tests: `connectors/tests/kafka.rs`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datafusion::arrow::array::{ArrayBuilder, BinaryBuilder};
use rdkafka::Message;
use rdkafka::message::{Headers, OwnedMessage, Timestamp};
use weir_contract::{Clock, Code, Error, Result, WallClock};
use weir_engine::source::{
    FetchLimit, Fetched, Header, NO_APPEND, Partition, PartitionReader, Payload, RawBatch, Source,
};
use weir_engine::sql::catalog::AppendTime;

use super::asker::Asker;
use super::config::{Health, KafkaOptions};
use super::cursor::{Cursor, Polled};

/// Least and most that a fetch asks for the end position where its own wait is shorter; a broker that is away
/// costs this.
const ASK_MIN: Duration = Duration::from_millis(50);
const ASK_MAX: Duration = Duration::from_secs(1);
/// After a question without an answer, none is asked for so long.
const ASK_PAUSE: Duration = Duration::from_millis(250);

/// A topic. Cheap to open again and again; one consumer for each open reader.
pub struct KafkaSource {
    options: Arc<KafkaOptions>,
    asker: Arc<Asker>,
    health: Health,
    /// Ends of a bounded read, fixed by the first look at the partitions.
    fixed: Mutex<Option<Vec<Partition>>>,
}

impl KafkaSource {
    /// Does not ask the broker.
    pub fn new(options: KafkaOptions) -> Result<Self> {
        let health = Health::default();
        let asker = Arc::new(Asker::new(&options, false, &health)?);
        Ok(Self { options: Arc::new(options), asker, health, fixed: Mutex::new(None) })
    }

    /// What is there now. Nobody has read beyond the last stable offset, and what lies there may stay undecided
    /// for as long as a writer's transaction may be open: whoever reads to the end now stops before it. A bounded
    /// read takes it in and waits, since it is never repeated: records that were sent before its start are there.
    fn look(&self) -> Result<Vec<Partition>> {
        let bounded = self.options.until_end;
        let asker = Asker::new(&self.options, !bounded, &self.health)?;
        let numbers = asker.partitions(self.options.timeout)?;
        numbers
            .into_iter()
            .map(|number| {
                let (start, end) = asker.ends(number, self.options.timeout)?;
                Ok(Partition { number, start, end, bounded })
            })
            .collect()
    }
}

impl Source for KafkaSource {
    fn partitions(&self) -> Result<Vec<Partition>> {
        if !self.options.until_end {
            return self.look();
        }
        let mut fixed = self.fixed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(partitions) = &*fixed {
            return Ok(partitions.clone());
        }
        let partitions = self.look()?;
        *fixed = Some(partitions.clone());
        Ok(partitions)
    }

    fn count(&self) -> Result<u32> {
        let numbers = self.asker.partitions(ASK_MAX)?;
        Ok(numbers.last().map_or(0, |last| last + 1))
    }

    fn open(&self, partition: u32, from: i64) -> Result<Box<dyn PartitionReader>> {
        self.asker.check(partition, from, self.options.timeout)?;
        let end = if self.options.until_end {
            let partitions = self.partitions()?;
            let end = partitions.iter().find(|p| p.number == partition).map(|p| p.end);
            Some(end.ok_or_else(|| {
                Error::new(Code::NoTopic, format!("{} has no partition {partition}", self.options.topic))
            })?)
        } else {
            None
        };
        let cursor = Cursor::open(&self.options, partition, from, &self.health)?;
        Ok(Box::new(Reader {
            cursor,
            partition,
            append_time: self.options.append_time.unwrap_or(AppendTime::Broker),
            asker: self.asker.clone(),
            health: self.health.clone(),
            stash: None,
            next: from,
            end,
            fault: None,
            ask: Ask::default(),
            ask_after: Duration::ZERO,
        }))
    }

    fn identity(&self) -> Result<String> {
        self.asker.identity(self.options.timeout)
    }

    fn until_end(&self) -> bool {
        self.options.until_end
    }

    fn trouble(&self) -> Option<Error> {
        self.health.get()
    }

    fn troubles(&self) -> u64 {
        self.health.met()
    }
}

struct Reader {
    cursor: Cursor,
    partition: u32,
    append_time: AppendTime,
    asker: Arc<Asker>,
    health: Health,
    /// Taken from the queue, but over the last fetch's limit.
    stash: Option<OwnedMessage>,
    next: i64,
    /// Where a bounded read ends.
    end: Option<i64>,
    /// What ended the reading; given again and again.
    fault: Option<Error>,
    ask: Ask,
    /// Monotonic time before which the end is not asked for.
    ask_after: Duration,
}

/// How long the end is asked for: a broker that is far must not be taken for one that is away.
struct Ask(Duration);

impl Default for Ask {
    fn default() -> Self {
        Self(ASK_MIN)
    }
}

impl Ask {
    /// Several times what the last answer took.
    fn answered(&mut self, took: Duration) {
        self.0 = (took * 4).clamp(ASK_MIN, ASK_MAX);
    }

    fn missed(&mut self) {
        self.0 = (self.0 * 2).min(ASK_MAX);
    }
}

impl Reader {
    fn ended(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// Whether nothing lies between the position and the high watermark, confirmed now.
    fn confirm_end(&mut self, wait: Duration) -> Result<bool> {
        if WallClock.monotonic() < self.ask_after {
            return Ok(false);
        }
        let start = WallClock.monotonic();
        let answer = self.asker.ends(self.partition, wait.clamp(self.ask.0, ASK_MAX));
        let now = WallClock.monotonic();
        match answer {
            Ok((_, high)) => {
                self.ask.answered(now.saturating_sub(start));
                Ok(self.next >= high)
            }
            Err(error) if error.code() == Code::NoTopic || error.code() == Code::Refused => Err(error),
            Err(_) => {
                self.ask.missed();
                self.ask_after = now + ASK_PAUSE;
                Ok(false)
            }
        }
    }

    /// Names the missing range where retention took the position: the reader knows its own end of it.
    fn whole(&self, fault: Error) -> Error {
        match self.asker.check(self.partition, self.next, ASK_MAX) {
            Err(named) if fault.code() == Code::Retention && named.code() == Code::Retention => named,
            _ => fault,
        }
    }

    /// Fills a batch from the stash and the queue. True: the end of what is committed was met.
    fn fill(&mut self, batch: &mut Batch, limit: FetchLimit, wait: Duration) -> Result<bool> {
        if let Some(message) = self.stash.take() {
            self.next = batch.push(&message, self.append_time);
        }
        let start = WallClock.monotonic();
        let mut remaining = wait;
        while !batch.full(limit) {
            let wait = if batch.offsets.is_empty() { remaining } else { Duration::ZERO };
            match self.cursor.poll(wait)? {
                Polled::Message(message) => {
                    assert!(message.offset() >= self.next, "librdkafka went back");
                    if self.end.is_some_and(|end| message.offset() >= end) {
                        self.next = message.offset();
                        return Ok(true);
                    }
                    if batch.over(&message, limit) {
                        self.next = message.offset();
                        self.stash = Some(message.detach());
                        return Ok(false);
                    }
                    self.next = batch.push(&message, self.append_time);
                }
                Polled::End => {
                    self.next = self.next.max(self.cursor.next());
                    return Ok(true);
                }
                Polled::Nothing => {
                    remaining = wait.saturating_sub(WallClock.monotonic().saturating_sub(start));
                    if !batch.offsets.is_empty() || remaining.is_zero() {
                        self.next = self.next.max(self.cursor.next());
                        return Ok(false);
                    }
                }
            }
        }
        Ok(false)
    }
}

impl PartitionReader for Reader {
    fn fetch(&mut self, limit: FetchLimit, wait: Duration) -> Result<Fetched> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let mut batch = Batch::default();
        if !self.ended()
            && let Err(fault) = self.fill(&mut batch, limit, wait)
        {
            let fault = self.whole(fault);
            self.fault = Some(fault.clone());
            // What came before the fault is whole, and is given first.
            if batch.offsets.is_empty() {
                return Err(fault);
            }
        }
        let ended = self.ended();
        if !batch.offsets.is_empty() {
            self.health.well();
            return Ok(Fetched { batch: Some(batch.finish()), next: self.next, caught_up: false, ended });
        }
        let caught_up = ended || self.confirm_end(wait)?;
        Ok(Fetched { batch: None, next: self.next, caught_up, ended })
    }
}

/// A batch while it is built: all values in one buffer, keys and headers only where there are any.
#[derive(Default)]
struct Batch {
    offsets: Vec<i64>,
    append_us: Vec<i64>,
    values: BinaryBuilder,
    keys: Option<BinaryBuilder>,
    headers: Vec<Header>,
    bytes: usize,
}

impl Batch {
    fn full(&self, limit: FetchLimit) -> bool {
        !self.offsets.is_empty() && (self.offsets.len() >= limit.rows || self.bytes >= limit.bytes)
    }

    /// Whether a further message would go over the limit; the first never does.
    fn over(&self, message: &impl Message, limit: FetchLimit) -> bool {
        !self.offsets.is_empty() && self.bytes + size(message) > limit.bytes
    }

    /// Takes a message; gives the position after it.
    fn push(&mut self, message: &impl Message, append_time: AppendTime) -> i64 {
        let row = self.offsets.len();
        self.bytes += size(message);
        self.append_us.push(append_us(message.timestamp(), append_time));
        self.values.append_option(message.payload());
        if let Some(key) = message.key() {
            let keys = self.keys.get_or_insert_with(BinaryBuilder::new);
            for _ in keys.len()..row {
                keys.append_null();
            }
            keys.append_value(key);
        }
        if let Some(headers) = message.headers() {
            self.headers.extend(headers.iter().map(|header| Header {
                row: u32::try_from(row).unwrap_or(u32::MAX),
                name: header.key.to_owned(),
                value: header.value.unwrap_or_default().to_vec(),
            }));
        }
        self.offsets.push(message.offset());
        message.offset() + 1
    }

    fn finish(mut self) -> RawBatch {
        let rows = self.offsets.len();
        let keys = self.keys.map(|mut keys| {
            for _ in keys.len()..rows {
                keys.append_null();
            }
            keys.finish()
        });
        assert_eq!(self.append_us.len(), rows, "one append time a record");
        RawBatch {
            offsets: self.offsets,
            append_us: self.append_us,
            payload: Payload::Bytes(self.values.finish()),
            keys,
            headers: self.headers,
        }
    }
}

/// Bytes of a message that count against a fetch's limit.
fn size(message: &impl Message) -> usize {
    message.payload().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len)
}

/// Microseconds, or [`NO_APPEND`] where the time is the producer's and the table does not trust it.
fn append_us(timestamp: Timestamp, trusted: AppendTime) -> i64 {
    let millis = match (timestamp, trusted) {
        (Timestamp::NotAvailable, _) | (_, AppendTime::Untrusted) => None,
        (Timestamp::LogAppendTime(millis), _) | (Timestamp::CreateTime(millis), AppendTime::Producer) => {
            Some(millis)
        }
        (Timestamp::CreateTime(_), AppendTime::Broker) => None,
    };
    millis.filter(|millis| *millis >= 0).and_then(|millis| millis.checked_mul(1000)).unwrap_or(NO_APPEND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::OwnedHeaders;

    fn message(offset: i64, key: Option<&str>, value: Option<&str>, headers: usize) -> OwnedMessage {
        let mut list = OwnedHeaders::new();
        for n in 0..headers {
            list = list.insert(rdkafka::message::Header { key: &format!("h{n}"), value: Some("v") });
        }
        OwnedMessage::new(
            value.map(|v| v.as_bytes().to_vec()),
            key.map(|k| k.as_bytes().to_vec()),
            "t".into(),
            Timestamp::CreateTime(offset),
            0,
            offset,
            (headers > 0).then_some(list),
        )
    }

    #[test]
    fn append_time_follows_its_type_and_the_table() {
        use AppendTime::{Broker, Producer, Untrusted};
        for (timestamp, trusted, expected) in [
            (Timestamp::LogAppendTime(7), Broker, 7_000),
            (Timestamp::LogAppendTime(7), Producer, 7_000),
            (Timestamp::CreateTime(7), Broker, NO_APPEND),
            (Timestamp::CreateTime(7), Producer, 7_000),
            (Timestamp::LogAppendTime(7), Untrusted, NO_APPEND),
            (Timestamp::CreateTime(-1), Producer, NO_APPEND),
            (Timestamp::NotAvailable, Producer, NO_APPEND),
        ] {
            assert_eq!(append_us(timestamp, trusted), expected, "{timestamp:?} {trusted:?}");
        }
    }

    #[test]
    fn the_end_of_a_log_that_is_far_is_found_in_the_end() {
        for far in [60, 200, 700].map(Duration::from_millis) {
            let mut ask = Ask::default();
            let mut misses = 0;
            while ask.0 < far && misses < 10 {
                ask.missed();
                misses += 1;
            }
            assert!((1..=4).contains(&misses), "{misses} questions without an answer, {far:?} away");
            ask.answered(far);
            assert!(ask.0 > far, "the next one is answered too");
        }
        let mut ask = Ask(ASK_MAX);
        ask.answered(Duration::from_millis(2));
        assert_eq!(ask.0, ASK_MIN, "near again");
    }

    #[test]
    fn keys_and_headers_stand_only_where_they_are() {
        let mut batch = Batch::default();
        assert_eq!(batch.push(&message(4, None, Some("a"), 0), AppendTime::Broker), 5);
        let plain = Batch { offsets: vec![4], append_us: vec![NO_APPEND], ..Batch::default() };
        assert!(plain.keys.is_none() && plain.headers.is_empty());
        batch.push(&message(5, Some("k"), None, 2), AppendTime::Broker);
        batch.push(&message(9, None, Some("ccc"), 1), AppendTime::Broker);
        let raw = batch.finish();
        assert_eq!(raw.offsets, [4, 5, 9]);
        let keys: Vec<_> = raw.keys.iter().flatten().map(|key| key.map(<[u8]>::to_vec)).collect();
        assert_eq!(keys, [None, Some(b"k".to_vec()), None]);
        let Payload::Bytes(values) = raw.payload else { panic!("bytes") };
        assert_eq!(values.iter().collect::<Vec<_>>(), [Some(&b"a"[..]), None, Some(b"ccc")]);
        assert_eq!(raw.headers.iter().map(|h| h.row).collect::<Vec<_>>(), [1, 1, 2]);
    }

    #[test]
    fn one_record_is_given_whatever_its_size() {
        let limit = FetchLimit { rows: 2, bytes: 3 };
        let mut batch = Batch::default();
        let big = message(0, None, Some("0123456789"), 0);
        assert!(!batch.full(limit) && !batch.over(&big, limit));
        batch.push(&big, AppendTime::Broker);
        assert!(batch.full(limit));
    }
}
