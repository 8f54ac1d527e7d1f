//! The port through which results leave: written, committed, read back after a restart.

use weir_contract::Result;
use weir_contract::event::Id;

/// One record to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutRecord {
    /// Deterministic id, sent as header `weir-id`; a heartbeat has none.
    pub id: Option<Id>,
    /// Output partition; None: by the key (murmur2, as Kafka's own clients do).
    pub partition: Option<u32>,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// Written as the record's timestamp where the log takes one from the producer; microseconds.
    pub time_us: Option<i64>,
}

/// As an end to read back from: the first record that the log still holds.
pub const FROM_START: i64 = -1;

/// As an end to read back from: nothing of this partition is read.
pub const NOT_READ: i64 = -2;

/// End positions of the partitions that a sink may write, ascending by partition.
pub type SinkEnds = Vec<(u32, i64)>;

/// One writer of an output. Exactly one exists per `writer` name; opening fences an older one.
pub trait Sink: Send {
    /// The output's end positions now.
    fn ends(&mut self) -> Result<SinkEnds>;

    /// Gives the committed records from `from` to the end now: each one's id, and its `time_us` where the
    /// log keeps it, or up to a millisecond more. A log start above `from` is `W0403`, but for [`FROM_START`].
    fn read_back(&mut self, from: &SinkEnds, seen: &mut dyn FnMut(Id, Option<i64>)) -> Result<()>;

    /// The end position of one partition now; none where the output has no such partition.
    fn end(&mut self, partition: u32) -> Result<Option<i64>> {
        Ok(self.ends()?.into_iter().find(|(p, _)| *p == partition).map(|(_, end)| end))
    }

    /// The same as `read_back`, of one partition: the others are other writers'.
    fn read_back_one(
        &mut self,
        partition: u32,
        from: i64,
        seen: &mut dyn FnMut(Id, Option<i64>),
    ) -> Result<()> {
        let own = |(p, _): (u32, i64)| (p, if p == partition { from } else { NOT_READ });
        let from = self.ends()?.into_iter().map(own).collect();
        self.read_back(&from, seen)
    }

    /// Takes records in order; may send them at once or at `commit`. A peer that is away is no error
    /// here: the records are taken.
    fn write(&mut self, records: Vec<OutRecord>) -> Result<()>;

    /// Returns when everything written is durable and visible to a reader of committed records.
    /// Without records since the last commit it costs nothing. After `W0401` or `W0505` it may be
    /// called again: the records are kept, and none is written twice.
    fn commit(&mut self) -> Result<()>;
}

/// Opens writers of one output.
pub trait SinkFactory: Send + Sync {
    /// `writer` is stable over restarts, `{env}.{program}.{sink}.{p}`.
    fn open(&self, writer: &str) -> Result<Box<dyn Sink>>;

    /// The same under a run, which stands meanwhile and asks again: `W0401` comes soon.
    fn open_late(&self, writer: &str) -> Result<Box<dyn Sink>> {
        self.open(writer)
    }

    /// Whether it throws everything away: rows are then counted, never encoded.
    fn discards(&self) -> bool {
        false
    }
}
