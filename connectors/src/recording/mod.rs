//! Recordings: a topic's records raw, as Parquet, to be replayed as the same partitions.
//!
//! A folder with `weir-recording.json` is one recorded topic. The file holds `version`, `topic`,
//! `identity` (the recorded log's), `bounded`, and by partition `start`, `end` and `records`. Beside it lie Parquet
//! files with the columns `partition, offset, append_us, append_trusted, key, headers, value`; where one
//! ends and the next begins means nothing. `weir-recording.json` is written last, by rename: records
//! above its ends are not part of the recording, and a file that is missing or damaged is noticed. A control log is recorded like any other topic.

mod read;
mod write;

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use serde_json::{Value, json};
use weir_contract::{Code, Error, Place, Result};

pub use read::{RecordedControl, RecordingSource};
pub use write::RecordingWriter;

const META: &str = "weir-recording.json";
const VERSION: u64 = 1;

/// What `weir-recording.json` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub topic: String,
    /// Identity of the log that was recorded.
    pub identity: String,
    /// Whether the end of a recorded partition was its end for ever.
    pub bounded: bool,
    /// By partition number.
    pub ranges: Vec<Range>,
}

/// What was recorded of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub start: i64,
    pub end: i64,
    /// Records between; fewer than positions where some hold no data.
    pub records: i64,
}

impl Recorded {
    fn to_json(&self) -> Value {
        let range = |r: &Range| json!({ "start": r.start, "end": r.end, "records": r.records });
        json!({
            "version": VERSION,
            "topic": self.topic,
            "identity": self.identity,
            "bounded": self.bounded,
            "partitions": self.ranges.iter().map(range).collect::<Vec<_>>(),
        })
    }

    /// # Errors
    /// `W0405` where the folder holds no recording that this version reads.
    fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(META);
        let fail = |why: &str| Error::new(Code::BadFile, why).at(Place::Path(path.display().to_string()));
        let bytes = std::fs::read(&path).map_err(|e| fail(&e.to_string()))?;
        let meta: Value = serde_json::from_slice(&bytes).map_err(|e| fail(&e.to_string()))?;
        if meta["version"] != VERSION {
            return Err(fail("another version of recordings").expected(VERSION.to_string()));
        }
        let text = |name: &str| meta[name].as_str().map(str::to_owned);
        let range = |value: &Value| {
            let number = |name: &str| value[name].as_i64();
            Some(Range { start: number("start")?, end: number("end")?, records: number("records")? })
        };
        let ranges = meta["partitions"].as_array().and_then(|all| all.iter().map(range).collect());
        match (text("topic"), text("identity"), meta["bounded"].as_bool(), ranges) {
            (Some(topic), Some(identity), Some(bounded), Some(ranges)) => {
                Ok(Self { topic, identity, bounded, ranges })
            }
            _ => Err(fail("a field is missing").expected("topic, identity, bounded, partitions")),
        }
    }
}

fn header_fields() -> Fields {
    Fields::from(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("value", DataType::Binary, false),
    ])
}

/// The columns of a recording's files.
fn schema() -> SchemaRef {
    let header = Arc::new(Field::new("item", DataType::Struct(header_fields()), false));
    Arc::new(Schema::new(vec![
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("append_us", DataType::Int64, true),
        Field::new("append_trusted", DataType::Boolean, false),
        Field::new("key", DataType::Binary, true),
        Field::new("headers", DataType::List(header), false),
        Field::new("value", DataType::Binary, true),
    ]))
}

#[cfg(test)]
mod tests;
