//! Bounded reads (`until = 'end'`) of the embedded log.

#[path = "ends/mod.rs"]
mod bounded;

use std::sync::Arc;

use weir_connectors::log::{LogConnector, LogSource, Topic};
use weir_connectors::paths::Roots;
use weir_contract::WallClock;
use weir_engine::sink::{OutRecord, SinkFactory};
use weir_engine::sql::catalog::AppendTime;

#[test]
fn the_embedded_log_is_read_to_the_ends_of_the_first_start() {
    let root = tempfile::tempdir().unwrap();
    let connector = || LogConnector::new(root.path(), Roots::new([]).unwrap(), Arc::new(WallClock));
    let writer = connector();
    let append = |numbers: std::ops::Range<u64>| {
        let mut sink = writer.sink_of("a", 1, AppendTime::Producer).unwrap().open("w").unwrap();
        let record = |n: u64| OutRecord {
            id: None,
            partition: Some(0),
            key: Vec::new(),
            value: bounded::value(n).into_bytes(),
            headers: Vec::new(),
            time_us: Some(1_772_352_000_000_000 + n as i64 * 1_000_000),
        };
        sink.write(numbers.map(record).collect()).unwrap();
        sink.commit().unwrap();
    };
    let source = || {
        let topic = Topic::open(root.path(), "a").unwrap();
        Arc::new(LogSource::new(topic, AppendTime::Producer, true)) as Arc<_>
    };
    let control = || Arc::new(connector().control("dev.ends.control", 3).unwrap()) as Arc<_>;
    bounded::bounded_read_holds(append, source, control);
}
