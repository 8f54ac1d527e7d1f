//! Sinks without positions: `stdout` prints JSON lines, `blackhole` counts.
//!
//! Nothing can be read back from them: after a restart, records since the checkpoint come again.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_contract::event::Id;
use weir_contract::{Code, Error, Result};
use weir_engine::connect::{Connector, OptionDoc};
use weir_engine::sink::{OutRecord, Sink, SinkEnds, SinkFactory};
use weir_engine::source::Source;
use weir_engine::sql::catalog::TableSpec;

fn not_a_source(table: &TableSpec, name: &str) -> Error {
    Error::new(Code::Refused, format!("`{name}` cannot be read")).at(table.place.clone())
}

/// `connector = 'stdout'`.
#[derive(Debug, Clone, Copy, Default)]
pub struct StdoutConnector;

impl Connector for StdoutConnector {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn options(&self) -> &'static [OptionDoc] {
        &[]
    }

    fn source(&self, table: &TableSpec) -> Result<Arc<dyn Source>> {
        Err(not_a_source(table, self.name()))
    }

    fn sink(&self, _table: &TableSpec) -> Result<Arc<dyn SinkFactory>> {
        Ok(Arc::new(*self))
    }
}

impl SinkFactory for StdoutConnector {
    fn open(&self, _writer: &str) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Lines { out: std::io::stdout(), pending: Vec::new() }))
    }
}

/// Values as lines, written whole at each commit.
struct Lines<W: Write + Send> {
    out: W,
    pending: Vec<u8>,
}

impl<W: Write + Send> Sink for Lines<W> {
    fn ends(&mut self) -> Result<SinkEnds> {
        Ok(Vec::new())
    }

    fn read_back(&mut self, _from: &SinkEnds, _seen: &mut dyn FnMut(Id, Option<i64>)) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, records: Vec<OutRecord>) -> Result<()> {
        for record in records {
            self.pending.extend_from_slice(&record.value);
            self.pending.push(b'\n');
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        let written = self.out.write_all(&self.pending).and_then(|()| self.out.flush());
        self.pending.clear();
        written.map_err(|e| Error::new(Code::Io, format!("standard output: {e}")))
    }
}

/// `connector = 'blackhole'`. Clones share their counts.
#[derive(Debug, Clone, Default)]
pub struct BlackholeConnector(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    records: AtomicU64,
    bytes: AtomicU64,
}

impl BlackholeConnector {
    /// Committed records of all its sinks.
    pub fn records(&self) -> u64 {
        self.0.records.load(Ordering::Relaxed)
    }

    /// Bytes of their values.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }
}

impl Connector for BlackholeConnector {
    fn name(&self) -> &'static str {
        "blackhole"
    }

    fn options(&self) -> &'static [OptionDoc] {
        &[]
    }

    fn source(&self, table: &TableSpec) -> Result<Arc<dyn Source>> {
        Err(not_a_source(table, self.name()))
    }

    fn sink(&self, _table: &TableSpec) -> Result<Arc<dyn SinkFactory>> {
        Ok(Arc::new(self.clone()))
    }
}

impl SinkFactory for BlackholeConnector {
    fn open(&self, _writer: &str) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Hole { counts: self.0.clone(), records: 0, bytes: 0 }))
    }
}

struct Hole {
    counts: Arc<Counts>,
    records: u64,
    bytes: u64,
}

impl Sink for Hole {
    fn ends(&mut self) -> Result<SinkEnds> {
        Ok(Vec::new())
    }

    fn read_back(&mut self, _from: &SinkEnds, _seen: &mut dyn FnMut(Id, Option<i64>)) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, records: Vec<OutRecord>) -> Result<()> {
        self.records += records.len() as u64;
        self.bytes += records.iter().map(|r| r.value.len() as u64).sum::<u64>();
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.counts.records.fetch_add(std::mem::take(&mut self.records), Ordering::Relaxed);
        self.counts.bytes.fetch_add(std::mem::take(&mut self.bytes), Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &str) -> OutRecord {
        let value = value.as_bytes().to_vec();
        OutRecord { id: None, partition: None, key: vec![], value, headers: vec![], time_us: None }
    }

    #[test]
    fn lines_come_at_the_commit() {
        let mut sink = Lines { out: Vec::new(), pending: Vec::new() };
        sink.write(vec![record("{}"), record("1")]).unwrap();
        assert!(sink.out.is_empty());
        sink.commit().unwrap();
        sink.commit().unwrap();
        assert_eq!(sink.out, b"{}\n1\n");
    }

    #[test]
    fn a_hole_counts_what_was_committed() {
        let hole = BlackholeConnector::default();
        let mut sink = hole.open("w").unwrap();
        sink.write(vec![record("{}"), record("123")]).unwrap();
        assert_eq!(hole.records(), 0);
        sink.commit().unwrap();
        assert_eq!((hole.records(), hole.bytes()), (2, 5));
    }
}
