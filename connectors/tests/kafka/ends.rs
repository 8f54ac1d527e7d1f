//! Bounded reads (`until = 'end'`).

use std::sync::Arc;

use weir_connectors::kafka::KafkaControlLog;
use weir_engine::sink::OutRecord;
use weir_engine::sql::catalog::AppendTime;

use super::bounded::{bounded_read_holds, value};
use super::*;

#[test]
fn a_topic_is_read_to_the_ends_of_the_first_start() {
    let _broker = steady();
    let options = topic("ends", 1);
    let control = fresh("ends-control");
    let mut out = writer(&options, "w");
    let append = |numbers: std::ops::Range<u64>| {
        let at = |n: u64| Some(1_772_352_000_000_000 + n.cast_signed() * 1_000_000);
        let of = |n: u64| OutRecord { value: value(n).into_bytes(), time_us: at(n), ..record(n) };
        out.write(numbers.map(of).collect()).unwrap();
        out.commit().unwrap();
    };
    let source = || {
        let mut until_end = options.clone();
        (until_end.until_end, until_end.append_time) = (true, Some(AppendTime::Producer));
        Arc::new(KafkaSource::new(until_end).unwrap()) as Arc<dyn Source>
    };
    bounded_read_holds(append, source, || Arc::new(KafkaControlLog::open(&control, 3).unwrap()));
}
