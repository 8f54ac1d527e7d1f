//! Files under the suites of sources and sinks.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::parquet::arrow::ArrowWriter;
use tempfile::TempDir;
use weir_engine::sink::SinkFactory;
use weir_engine::source::Source;
use weir_engine::sql::catalog::Format;

use super::sink::FileSinks;
use super::{Files, files_in};
use crate::compliance::{self, Holds, Rec, SinkHarness, SourceHarness};

struct Harness {
    root: TempDir,
    format: Format,
    /// Sinks: one file a table, or one a writer.
    folder: bool,
    generation: u32,
    sinks: Option<Arc<FileSinks>>,
}

impl Harness {
    fn new(format: Format, folder: bool) -> Self {
        Self { root: tempfile::tempdir().unwrap(), format, folder, generation: 0, sinks: None }
    }

    fn place(&self) -> PathBuf {
        self.root.path().join(self.generation.to_string())
    }

    fn out(&self) -> PathBuf {
        if self.folder { self.place() } else { self.place().join("out.json") }
    }
}

fn value(record: &Rec) -> &str {
    std::str::from_utf8(record.value.as_deref().unwrap()).unwrap()
}

impl SourceHarness for Harness {
    fn holds(&self) -> Holds {
        Holds { envelopes: false, append_time: false, bounded: true }
    }

    fn make(&mut self, partitions: &[Vec<Rec>]) -> Arc<dyn Source> {
        let folder = self.root.path().join("in");
        let _there_may_be_none = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, records) in partitions.iter().enumerate() {
            let values: Vec<&str> = records.iter().map(value).collect();
            if self.format == Format::Json {
                std::fs::write(folder.join(format!("{number}.json")), values.join("\n")).unwrap();
                continue;
            }
            let column = Arc::new(StringArray::from(values));
            let rows = RecordBatch::try_from_iter([("v", column as _)]).unwrap();
            let file = std::fs::File::create(folder.join(format!("{number}.parquet"))).unwrap();
            let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
            writer.write(&rows).unwrap();
            writer.close().unwrap();
        }
        SourceHarness::reopen(self)
    }

    fn reopen(&mut self) -> Arc<dyn Source> {
        let root = self.root.path().join("in");
        Arc::new(Files { files: files_in(&root, self.format).unwrap(), root, format: self.format })
    }

    fn append(&mut self, _partition: u32, _records: &[Rec]) -> bool {
        false
    }

    fn trim(&mut self, _partition: u32) -> Option<i64> {
        None
    }
}

impl SinkHarness for Harness {
    fn envelopes(&self) -> bool {
        false
    }

    fn make(&mut self, _partitions: u32) -> Arc<dyn SinkFactory> {
        self.generation += 1;
        std::fs::create_dir_all(self.place()).unwrap();
        let sinks = if self.folder { FileSinks::folder(self.out()) } else { FileSinks::one(self.out()) };
        self.sinks = Some(Arc::new(sinks));
        SinkHarness::reopen(self)
    }

    fn reopen(&mut self) -> Arc<dyn SinkFactory> {
        self.sinks.clone().unwrap()
    }

    fn visible(&mut self) -> Vec<Vec<Rec>> {
        let root = self.place();
        match files_in(&root, Format::Json) {
            Ok(files) => compliance::read_all(&Files { root, files, format: Format::Json }),
            Err(_) => Vec::new(),
        }
    }
}

#[test]
fn sources_comply() {
    compliance::source(&mut Harness::new(Format::Json, true));
    compliance::source(&mut Harness::new(Format::Parquet, true));
}

#[test]
fn sinks_comply() {
    compliance::sink(&mut Harness::new(Format::Json, false));
    compliance::sink(&mut Harness::new(Format::Json, true));
}
