//! What was committed and is not seen by readers of committed records so far.
//!
//! In:   the places of a committed transaction's records, and its records. Out: whether all are seen.
//! Owns: those records until then, and what follows where the brokers lost a transaction's end.
//!
//! A coordinator answers a commit before it writes the transaction's markers, and writes them within milliseconds,
//! after a start of its broker within seconds. Kafka 4.3.1 gives one up for good where a partition has no leader at
//! that moment (`back` has the rest). The coordinator then counts the transaction as ended, so that it takes
//! another one of the same writer. That one's abort ends both; what had not been seen is sent again.
//!
//! U1  A record is sent again only where the readers still stood before it when the coordinator had taken the next
//!     transaction: by then it had written all markers that it ever would.

use std::time::Duration;

use weir_contract::{Clock, Code, Error, Result, WallClock};
use weir_engine::sink::OutRecord;

use super::Writer;

/// How long the brokers may answer that a committed transaction has no end, before that is looked into.
const MARKER_PATIENCE: Duration = Duration::from_secs(3);

pub struct Unseen {
    /// Partition, offset and record, in the order of sending.
    records: Vec<(i32, i64, OutRecord)>,
    /// Since when readers stand within these records, as the brokers say.
    stands: Option<Duration>,
    pub patience: Duration,
}

impl Default for Unseen {
    fn default() -> Self {
        Self { records: Vec::new(), stands: None, patience: MARKER_PATIENCE }
    }
}

impl Unseen {
    /// Takes the records of a committed transaction.
    pub fn add(&mut self, records: impl Iterator<Item = OutRecord>, places: &[(usize, i32, i64)]) {
        let mut of = vec![None; places.len()];
        for (nth, partition, offset) in places {
            if let Some(place) = of.get_mut(*nth) {
                *place = Some((*partition, *offset));
            }
        }
        // All have landed: the coordinator commits nothing else.
        self.records.extend(records.zip(of).filter_map(|(r, of)| of.map(|(p, at)| (p, at, r))));
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Partition, first and last offset of what is to be seen next.
    fn next(&self) -> Option<(i32, i64, i64)> {
        let (partition, first, _) = self.records.first()?;
        let last = self.records.iter().filter(|(p, ..)| p == partition).map(|(_, at, _)| *at).max();
        Some((*partition, *first, last.unwrap_or(*first)))
    }

    /// Readers are behind an offset.
    fn seen(&mut self, partition: i32, stable: i64) {
        self.records.retain(|(p, at, _)| *p != partition || *at >= stable);
        self.stands = None;
    }

    /// Takes out what readers never saw of a partition.
    fn lost(&mut self, partition: i32) -> Vec<OutRecord> {
        let of = |(p, _, _): &mut (i32, i64, OutRecord)| *p == partition;
        self.stands = None;
        self.records.extract_if(.., of).map(|(_, _, record)| record).collect()
    }
}

impl Writer {
    /// The transaction is committed.
    pub(super) fn committed(&mut self) {
        let places = self.landed.places();
        self.unseen.add(self.pending.drain(..self.sent), &places);
        self.pending_bytes = self.pending.iter().map(super::bytes_of).sum();
        self.sent = 0;
    }

    /// Waits until readers see what was committed. False: some of it has to be committed again.
    pub(super) fn await_visible(&mut self, until: Duration) -> Result<bool> {
        while let Some((partition, first, last)) = self.unseen.next() {
            let now = WallClock.monotonic();
            match self.stable_end(partition) {
                Ok(stable) if stable > last => {
                    self.unseen.seen(partition, stable);
                    continue;
                }
                // What holds readers up is in here: not another one's transaction before it.
                Ok(stable) if stable >= first => {
                    let since = *self.unseen.stands.get_or_insert(now);
                    if now.saturating_sub(since) > self.unseen.patience {
                        self.end_lost(partition, (first, last))?;
                        return Ok(false);
                    }
                }
                Err(error) if error.code() != Code::Connect => return Err(error),
                _ => self.unseen.stands = None,
            }
            if now > until {
                let what = self.doing("waiting for a committed transaction to become visible");
                return Err(self.health.get().unwrap_or_else(|| Error::new(Code::Connect, what)));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(true)
    }

    fn stable_end(&self, partition: i32) -> Result<i64> {
        let partition = u32::try_from(partition).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        self.stable.ends(partition, self.options.timeout).map(|(_, stable)| stable)
    }

    /// Ends a transaction whose end the brokers lost in a partition, and takes its records up again there.
    fn end_lost(&mut self, partition: i32, (first, last): (i64, i64)) -> Result<()> {
        let number = u32::try_from(partition).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        self.unseen.stands = None;
        if !self.probe(number)? {
            // Aborted with nothing in it; looked into again.
            return Ok(());
        }
        // Without an answer nobody here can tell what the abort will end: the next start reads it back.
        let stable = self.stable_end(partition).map_err(|why| {
            let what = self.doing(&format!(
                "looking for the end of a transaction at {partition}/{first}: {}",
                why.what()
            ));
            self.die(Error::new(Code::Connect, what))
        })?;
        if (first..=last).contains(&stable) {
            let lost = self.unseen.lost(partition);
            let topic = &self.options.topic;
            tracing::warn!(
                writer = %self.name,
                "the brokers lost the end of a transaction at {topic}/{partition}/{stable}; its {} records are \
                 written again",
                lost.len()
            );
            self.pending_bytes += lost.iter().map(super::bytes_of).sum::<usize>();
            self.pending.splice(..0, lost);
        }
        Ok(())
    }
}
