//! What an output holds since a checkpoint, read back by its next writer.
//!
//! In:   positions. Out: ids and times of the committed records behind them.
//! Owns: the end of a transaction that an older writer of the name left, and that the coordinator has forgotten.
//!
//! Opening a writer makes the coordinator end what it knows to be open (K1). It may know of nothing: Kafka 4.3.1
//! gives up the end of a transaction in a partition that has no leader at that moment, as after the crash of its
//! broker ("these partitions are likely deleted already and hence can be skipped"), and counts it as ended. Readers
//! of committed records then stop there for good. A broker keeps one open transaction a producer and partition,
//! so the end of another one of the same producer ends both: this writer, which has the producer's id, writes one
//! record there and aborts. Seen by test: `connectors/tests/kafka/forgotten.rs`.

use std::time::Duration;

use rdkafka::Message;
use rdkafka::message::Headers;
use weir_contract::event::Id;
use weir_contract::{Clock, Code, Result, WallClock, wire};
use weir_engine::sink::{FROM_START, NOT_READ, SinkEnds};

use super::Writer;
use crate::kafka::cursor::Cursor;

/// How long a read back stands before an older transaction of this writer is looked for. Transactions of live
/// writers are open for milliseconds.
const STANDS: Duration = Duration::from_secs(2);

impl Writer {
    pub(super) fn back(&mut self, from: &SinkEnds, seen: &mut dyn FnMut(Id, Option<i64>)) -> Result<()> {
        let timeout = self.options.timeout;
        for partition in self.asker.partitions(timeout)? {
            // A partition that came later than the recorded ends is read whole.
            let start = match from.iter().find(|(p, _)| *p == partition) {
                Some((_, NOT_READ)) => continue,
                Some((_, start)) => *start,
                None if from.is_empty() => continue,
                None => FROM_START,
            };
            self.back_of(partition, start, seen)?;
        }
        Ok(())
    }

    pub(super) fn back_of(
        &mut self,
        partition: u32,
        from: i64,
        seen: &mut dyn FnMut(Id, Option<i64>),
    ) -> Result<()> {
        let timeout = self.options.timeout;
        let (start, high) = match from {
            FROM_START => self.asker.ends(partition, timeout)?,
            from => (from, self.asker.check(partition, from, timeout)?.1),
        };
        if start == high {
            return Ok(());
        }
        let cursor = Cursor::open(&self.options, partition, start, &self.health)?;
        let mut each = |message: &rdkafka::message::BorrowedMessage<'_>| {
            if message.offset() < high
                && let Some(id) = id_of(message.headers())
            {
                let time = message.timestamp().to_millis();
                seen(id, time.and_then(|ms| ms.checked_mul(1_000)?.checked_add(999)));
            }
            Ok(())
        };
        match cursor.scan(high, STANDS.min(self.patience), &mut each) {
            Err(stands) if stands.code() == Code::Connect => {}
            done => return done.map(drop),
        }
        // Brokers that are away answer nothing here, and are waited for below.
        if self.stable.ends(partition, self.options.timeout).is_ok_and(|(_, stable)| stable < high) {
            // What another producer has open there stays open.
            self.probe(partition)?;
            self.settle(WallClock.monotonic() + self.patience)?;
            let topic = &self.options.topic;
            tracing::info!(writer = %self.name, "{topic}/{partition}: ended what an older writer may have left");
        }
        cursor.scan(high, self.patience, &mut each).map(drop)
    }
}

/// The id that weir wrote; none on heartbeats and on records that others wrote.
fn id_of(headers: Option<&impl Headers>) -> Option<Id> {
    let headers = headers?;
    let id = headers.iter().find(|header| header.key == wire::ID)?;
    Id::parse(std::str::from_utf8(id.value?).ok()?)
}
