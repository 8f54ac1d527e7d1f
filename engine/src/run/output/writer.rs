//! One output's writer in one instance.
//!
//! In:   records in order; what the output held at the restart.
//! Out:  records to the sink, but for those that stand there already.

use std::collections::HashSet;
use std::sync::Arc;

use weir_contract::Result;
use weir_contract::event::Id;

use crate::base::NOTHING;
use crate::run::copies::there;
use crate::sink::{OutRecord, Sink, SinkEnds, SinkFactory};

/// One writer and what it must not write again.
pub struct Writer {
    sink: Option<Box<dyn Sink>>,
    pub(super) discards: bool,
    pub(super) seen: HashSet<Id>,
    /// Highest time of what was read back; `NOTHING` where nothing was.
    pub(super) told: i64,
    dirty: bool,
    /// Of a copy: where the next one has to read back from.
    from: Option<i64>,
    pub written: u64,
    pub dropped_again: u64,
}

impl Writer {
    pub(super) fn open(factory: Option<&Arc<dyn SinkFactory>>, writer: &str) -> Result<Self> {
        let discards = factory.is_none_or(|f| f.discards());
        Ok(Self::of(factory.map(|f| f.open(writer)).transpose()?, discards))
    }

    /// The same in the middle of a run.
    pub(super) fn open_late(factory: Option<&Arc<dyn SinkFactory>>, writer: &str) -> Result<Self> {
        let discards = factory.is_none_or(|f| f.discards());
        Ok(Self::of(factory.map(|f| f.open_late(writer)).transpose()?, discards))
    }

    fn of(sink: Option<Box<dyn Sink>>, discards: bool) -> Self {
        Self {
            sink,
            discards,
            seen: HashSet::new(),
            told: NOTHING,
            dirty: false,
            from: None,
            written: 0,
            dropped_again: 0,
        }
    }

    pub(super) fn write(&mut self, mut records: Vec<OutRecord>) -> Result<()> {
        if !self.seen.is_empty() {
            let before = records.len();
            let seen = &mut self.seen;
            records.retain(|r| r.id.is_none_or(|id| !seen.remove(&id)));
            self.dropped_again += (before - records.len()) as u64;
        }
        self.written += records.iter().filter(|r| r.id.is_some()).count() as u64;
        if let Some(sink) = &mut self.sink
            && !records.is_empty()
        {
            self.dirty = true;
            sink.write(records)?;
        }
        Ok(())
    }

    pub(super) fn commit(&mut self) -> Result<()> {
        if self.dirty
            && let Some(sink) = &mut self.sink
        {
            sink.commit()?;
        }
        self.dirty = false;
        Ok(())
    }

    pub(super) fn ends(&mut self) -> Result<SinkEnds> {
        self.sink.as_mut().map_or(Ok(Vec::new()), |s| s.ends())
    }

    /// Learns what one partition holds from a position on; the others are other copies'.
    pub(super) fn take_over(&mut self, partition: u32, from: i64) -> Result<()> {
        self.from = Some(from);
        let (seen, told) = (&mut self.seen, &mut self.told);
        let Some(sink) = &mut self.sink else { return Ok(()) };
        sink.read_back_one(partition, from, &mut |id, time| learn(seen, told, id, time))
    }

    /// Where the next copy has to read back from: as before while something that stands there may still
    /// be made again, else from the end. None: no copy's.
    pub(super) fn kept(&mut self, partition: u32, output: &str, watermark: i64) -> Result<Option<i64>> {
        if self.from.is_none() || self.discards {
            return Ok(None);
        }
        // Rows to come are at or above the watermark: none of them was told.
        if self.told != NOTHING && watermark > self.told {
            self.seen.clear();
        }
        if self.seen.is_empty() {
            let Some(sink) = &mut self.sink else { return Ok(None) };
            self.from = Some(there(sink.end(partition)?, partition, output)?);
        }
        Ok(self.from)
    }

    pub(super) fn read_back(&mut self, from: &SinkEnds) -> Result<()> {
        let (seen, told) = (&mut self.seen, &mut self.told);
        match &mut self.sink {
            Some(sink) => sink.read_back(from, &mut |id, time| learn(seen, told, id, time)),
            None => Ok(()),
        }
    }
}

fn learn(seen: &mut HashSet<Id>, told: &mut i64, id: Id, time: Option<i64>) {
    seen.insert(id);
    *told = (*told).max(time.unwrap_or(NOTHING));
}
