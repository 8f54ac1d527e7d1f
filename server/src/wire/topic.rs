//! Everything that a topic holds now, in order of each partition.
//!
//! In:   a log and the name of a topic.
//! Out:  its batches, one after the other; bounded by one fetch. Ends where the topic ends now, or where nothing
//!       comes for `PATIENCE`.

use std::time::Duration;

use weir_contract::{Clock, Code, Error, Result, WallClock};
use weir_engine::connect::Registry;
use weir_engine::source::{FetchLimit, RawBatch};
use weir_engine::sql::catalog::TableKind;

use super::at::LogAt;
use super::ports::connector_of;

const LIMIT: FetchLimit = FetchLimit { rows: 1_000, bytes: 4 << 20 };
const WAIT: Duration = Duration::from_millis(100);
/// Longest the next record of a topic that has one is waited for: a peer that is away.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads a topic from its first record to the ends that its partitions have now.
///
/// # Errors
/// `W0404` where there is no such topic, `W0401` where a peer is away for long; whatever `take` says.
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
        let (mut next, mut moved) = (partition.start, WallClock.monotonic());
        while next < partition.end {
            let fetched = reader.fetch(LIMIT, WAIT)?;
            let now = WallClock.monotonic();
            if fetched.next > next {
                (next, moved) = (fetched.next, now);
            } else if now.saturating_sub(moved) > PATIENCE {
                let (number, end) = (partition.number, partition.end);
                let what = format!("{topic}/{number} stands at {next} and does not reach {end}");
                return Err(source.trouble().unwrap_or_else(|| Error::new(Code::Connect, what)));
            }
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
