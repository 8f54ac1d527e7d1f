//! Everything that a topic holds now, in order of each partition.
//!
//! In:   a log and the name of a topic.
//! Out:  its batches, one after the other; bounded by one fetch.

use std::time::Duration;

use weir_contract::Result;
use weir_engine::connect::Registry;
use weir_engine::source::{FetchLimit, RawBatch};
use weir_engine::sql::catalog::TableKind;

use super::at::LogAt;
use super::ports::connector_of;

const LIMIT: FetchLimit = FetchLimit { rows: 1_000, bytes: 4 << 20 };
const WAIT: Duration = Duration::from_millis(100);

/// Reads a topic from its first record to the ends that its partitions have now.
///
/// # Errors
/// `W0404` where there is no such topic; whatever `take` says.
pub fn each(
    log: &LogAt,
    registry: &Registry,
    topic: &str,
    take: &mut dyn FnMut(&RawBatch) -> Result<()>,
) -> Result<()> {
    let table = log.topic(topic, TableKind::Source, None)?;
    let source = connector_of(registry, &table)?.source(&table)?;
    for partition in source.partitions()? {
        let mut reader = source.open(partition.number, partition.start)?;
        let mut next = partition.start;
        while next < partition.end {
            let fetched = reader.fetch(LIMIT, WAIT)?;
            next = fetched.next;
            if let Some(batch) = fetched.batch {
                take(&batch)?;
            }
            if fetched.ended {
                break;
            }
        }
    }
    Ok(())
}
