//! The log in memory under the suite: the engine's own tests rest on it.

use weir_engine::connect::memory::{MemoryLog, MemoryRecord};

use super::*;

#[derive(Default)]
struct Harness(MemoryLog);

impl SourceHarness for Harness {
    fn holds(&self) -> Holds {
        Holds { envelopes: true, append_time: true, bounded: false }
    }

    fn make(&mut self, partitions: &[Vec<Rec>]) -> Arc<dyn Source> {
        self.0.create("t", partitions.len() as u32);
        for (p, records) in partitions.iter().enumerate() {
            SourceHarness::append(self, p as u32, records);
        }
        SourceHarness::reopen(self)
    }

    fn reopen(&mut self) -> Arc<dyn Source> {
        self.0.source("t").unwrap()
    }

    fn append(&mut self, partition: u32, records: &[Rec]) -> bool {
        for r in records.iter().cloned() {
            let record =
                MemoryRecord { append_us: r.append_us, key: r.key, headers: r.headers, value: r.value };
            self.0.append("t", partition, record).unwrap();
        }
        true
    }

    fn trim(&mut self, partition: u32) -> Option<i64> {
        self.0.trim("t", partition, 11).unwrap();
        Some(11)
    }
}

impl SinkHarness for Harness {
    fn envelopes(&self) -> bool {
        true
    }

    fn make(&mut self, partitions: u32) -> Arc<dyn SinkFactory> {
        self.0.create("t", partitions);
        SinkHarness::reopen(self)
    }

    fn reopen(&mut self) -> Arc<dyn SinkFactory> {
        self.0.sink("t").unwrap()
    }

    fn visible(&mut self) -> Vec<Vec<Rec>> {
        read_all(&*self.0.source("t").unwrap())
    }

    fn kill(&mut self, _sink: Box<dyn Sink>) {
        self.0.kill();
    }
}

#[test]
fn source_complies() {
    source(&mut Harness::default());
}

#[test]
fn sink_complies() {
    sink(&mut Harness::default());
}
