//! The lane against a twin that takes one record at a time, whatever the chopping.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BinaryArray};
use datafusion::arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use serde_json::json;

use self::twin::{Raw, Twin, World};
use super::*;
use crate::base::{FOREVER, NOTHING};
use crate::source::{Header, NO_APPEND, Payload, RawBatch};
use crate::sql::catalog::{AppendTime, TableSpec};
use crate::state::{Loader, Saver};

mod twin;

const DDL: &str = "CREATE TABLE scans (id TEXT, n INT NOT NULL, x DOUBLE, tags TEXT[], j JSON, t TIMESTAMP,
    o BIGINT METADATA FROM 'offset', h TEXT METADATA FROM 'header.h', g BIGINT GENERATED ALWAYS AS (n * 2),
    WATERMARK FOR t AS t - INTERVAL '2 seconds')
    WITH (dedup = 'id', dedup_within = '5 seconds', max_ahead = '3 seconds', max_record_bytes = 200)
    PARTITIONED BY (id)";

fn table(ddl: &str) -> Arc<TableSpec> {
    let file = crate::sql::SourceFile { name: "t.sql".into(), folder: String::new(), text: ddl.into() };
    Arc::new(crate::sql::read(&[file]).unwrap_or_else(|e| panic!("{}", e[0])).tables.remove(0))
}

fn lane(table: &Arc<TableSpec>, append: AppendTime) -> Lane {
    let stream = stream_schema(table).unwrap_or_else(|e| panic!("{e}"));
    let spec = LaneSpec { table: Arc::clone(table), input: 3, partition: 1, append, stream };
    Lane::new(spec).unwrap_or_else(|e| panic!("{e}"))
}

fn batch(records: &[Raw]) -> RawBatch {
    let headers = records.iter().enumerate().flat_map(|(row, r)| {
        r.headers.iter().map(move |(name, value)| Header {
            row: row as u32,
            name: (*name).into(),
            value: value.clone().into_bytes(),
        })
    });
    RawBatch {
        offsets: records.iter().map(|r| r.offset).collect(),
        append_us: records.iter().map(|r| r.append_us).collect(),
        payload: Payload::Bytes(BinaryArray::from_iter(records.iter().map(|r| r.value.as_deref()))),
        keys: None,
        headers: headers.collect(),
    }
}

/// Rows as JSON, floats by their bits.
fn show(rows: &RecordBatch) -> Vec<serde_json::Value> {
    let text = |c: usize, r: usize| {
        let a = rows.column(c).as_string::<i32>();
        a.is_valid(r).then(|| a.value(r).to_owned())
    };
    let long = |c: usize, r: usize| rows.column(c).as_primitive::<Int64Type>().value(r);
    let int = |c: usize, r: usize| rows.column(c).as_primitive::<Int32Type>().value(r);
    let row = |r: usize| {
        let x = rows.column(2).as_primitive::<Float64Type>();
        let tags = rows.column(3).as_list::<i32>();
        let tags = tags.is_valid(r).then(|| {
            let inner = tags.value(r);
            let inner = inner.as_string::<i32>();
            inner.iter().map(|t| t.map(str::to_owned)).collect::<Vec<_>>()
        });
        json!([
            text(0, r),
            int(1, r),
            x.is_valid(r).then(|| x.value(r).to_bits()),
            tags,
            text(4, r)
                .map(|j| serde_json::from_str::<serde_json::Value>(&j).unwrap_or_else(|e| panic!("{e}"))),
            rows.column(5).as_primitive::<TimestampMicrosecondType>().value(r),
            long(6, r),
            text(7, r),
            long(8, r),
            [i64::from(int(9, r)), i64::from(int(10, r)), long(11, r)],
        ])
    };
    (0..rows.num_rows()).map(row).collect()
}

/// Everything a lane said about a log.
#[derive(Debug, Default, PartialEq)]
struct Said {
    rows: Vec<serde_json::Value>,
    late: Vec<(i64, i64)>,
    rejected: Vec<(i64, String)>,
    reasons: Vec<String>,
    counts: Counts,
    watermark: i64,
    highest: i64,
    snapshot: Vec<u8>,
}

/// Runs a world through a lane, cut by `cut`, saved and restored now and then, marks given early or late.
fn run(world: &World, seed: u64, cut: &dyn Fn(&mut twin::Dice) -> usize) -> Said {
    let table = table(DDL);
    let mut dice = twin::Dice(seed);
    let mut lane = lane(&table, world.append);
    let mut said = Said::default();
    let mut marks = world.marks.iter().peekable();
    let (mut at, mut floor) = (0, NOTHING);
    while at < world.records.len() {
        let end = (at + cut(&mut dice).max(1)).min(world.records.len());
        let records = &world.records[at..end];
        // A mark must be known before a record at or behind its offset is taken; some are known earlier.
        while let Some(mark) =
            marks.next_if(|m| m.0 <= records[records.len() - 1].offset || dice.below(4) == 0)
        {
            lane.mark(mark.0, mark.1);
        }
        let next =
            world.records.get(end).map_or(world.end, |r| r.offset - i64::from(dice.below(2) == 0 && r.gap));
        let taken = lane.take(batch(records), next).unwrap_or_else(|e| panic!("{e}"));
        said.rows.extend(taken.rows.iter().flat_map(show));
        for side in taken.late.iter().chain(&taken.rejected) {
            match &side.why {
                SideWhy::Late { watermark, .. } => said.late.push((side.offset, *watermark)),
                SideWhy::Rejected { code, reason } => {
                    said.rejected.push((side.offset, code.to_string()));
                    said.reasons.push(reason.clone());
                }
            }
        }
        assert!(lane.watermark() >= floor, "the watermark moved back");
        floor = lane.watermark();
        assert_eq!(lane.position(), next);
        if dice.below(3) == 0 {
            let bytes = snapshot(&mut lane);
            let mut fresh = self::lane(&table, world.append);
            let mut loader = Loader::new(&bytes);
            fresh.restore(&mut loader).and_then(|()| loader.finish()).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(snapshot(&mut fresh), bytes);
            lane = fresh;
        }
        at = end;
    }
    for mark in marks {
        lane.mark(mark.0, mark.1);
    }
    lane.reach(world.end);
    said.counts = lane.counts();
    said.watermark = lane.watermark();
    said.highest = lane.highest();
    said.snapshot = snapshot(&mut lane);
    said
}

fn snapshot(lane: &mut Lane) -> Vec<u8> {
    let mut saver = Saver::default();
    lane.snapshot(&mut saver).unwrap_or_else(|e| panic!("{e}"));
    saver.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_chopping_gives_what_the_twin_gives(seed in any::<u64>()) {
        let world = World::seeded(seed);
        let twin = Twin::run(&world);
        let mut first: Option<Said> = None;
        for size in [1, 2, 7, 63, 64, 65, 0] {
            let cut = move |dice: &mut twin::Dice| if size > 0 { size } else { 1 + dice.below(90) as usize };
            let said = run(&world, seed ^ size as u64, &cut);
            prop_assert_eq!(&said.rows, &twin.rows);
            prop_assert_eq!(&said.late, &twin.late);
            prop_assert_eq!(&said.rejected, &twin.rejected);
            prop_assert_eq!(said.counts, twin.counts);
            prop_assert_eq!((said.watermark, said.highest), (twin.watermark, twin.highest));
            let first = first.get_or_insert_with(|| run(&world, seed, &cut));
            prop_assert_eq!(&said.reasons, &first.reasons);
            prop_assert_eq!(&said.snapshot, &first.snapshot);
        }
    }
}

/// The property above means something: its worlds hold every fate and every code.
#[test]
fn the_worlds_hold_every_fate() {
    let mut counts = Counts::default();
    let mut codes = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let twin = Twin::run(&World::seeded(seed));
        counts += twin.counts;
        codes.extend(twin.rejected.into_iter().map(|(_, code)| code));
    }
    counts.check().unwrap_or_else(|e| panic!("{e}"));
    let least =
        counts.heartbeats.min(counts.rejects).min(counts.processed).min(counts.late).min(counts.duplicates);
    assert!(least > 100, "{counts:?}");
    let want = ["W0101", "W0102", "W0103", "W0104", "W0105", "W0106"];
    assert_eq!(codes.iter().map(String::as_str).collect::<Vec<_>>(), want);
}

fn row(offset: i64, id: &str, second: i64) -> Raw {
    let value = format!("{{\"id\":\"{id}\",\"n\":1,\"t\":{}}}", second * 1_000_000);
    Raw { offset, append_us: NO_APPEND, value: Some(value.into_bytes()), headers: vec![], gap: false }
}

fn beat(offset: i64, text: &str) -> Raw {
    Raw {
        offset,
        append_us: NO_APPEND,
        value: None,
        headers: vec![("weir-heartbeat", text.into())],
        gap: false,
    }
}

/// The order of fates, and the horizon, one step at a time.
#[test]
fn duplicates_come_before_late_and_are_forgotten() {
    let table = table(DDL);
    let mut lane = lane(&table, AppendTime::Broker);
    for (offset, record, fate, watermark) in [
        (0, row(0, "a", 10), "processed", 8),
        (1, row(1, "a", 11), "duplicate", 9), // moves the watermark all the same
        (2, row(2, "b", 8), "late", 9),
        (3, row(3, "b", 8), "late", 9), // the copy of a late row is late
        (4, row(4, "b", 9), "processed", 9),
        (5, row(5, "c", 17), "processed", 15),
        (6, row(6, "a", 10), "duplicate", 15), // 10 >= 15 - 5: still known, though below the watermark
        (7, row(7, "b", 9), "late", 15),       // 9 < 15 - 5: forgotten, so only late
        (8, row(8, "a", 16), "duplicate", 15),
        (9, beat(9, "1970-01-01T00:00:18Z"), "beat", 16),
        (10, row(10, "a", 16), "processed", 16), // 10 < 16 - 5
        (11, row(11, "a", 10), "duplicate", 16), // of the row at 16
        (12, beat(12, "1970-01-01T00:00:01Z"), "beat", 16),
        (13, beat(13, "noon"), "W0105", 16),
    ] {
        let before = lane.counts();
        let taken = lane.take(batch(&[record]), offset + 1).unwrap_or_else(|e| panic!("{e}"));
        let after = lane.counts();
        let got = if after.processed > before.processed {
            "processed".into()
        } else if after.duplicates > before.duplicates {
            "duplicate".into()
        } else if after.heartbeats > before.heartbeats {
            "beat".into()
        } else if let Some(SideWhy::Rejected { code, .. }) = taken.rejected.first().map(|r| &r.why) {
            code.to_string()
        } else {
            "late".to_owned()
        };
        assert_eq!((got.as_str(), lane.watermark()), (fate, watermark * 1_000_000), "offset {offset}");
    }
    assert_eq!(lane.highest(), 18_000_000, "the heartbeat");
    lane.end();
    assert_eq!((lane.watermark(), lane.highest()), (FOREVER, 18_000_000));
    assert_eq!(lane.bytes(), lane.bytes().min(4096), "the dedup state is given back");
}

/// A clock that is ahead by less than max_ahead does not make its neighbours late.
#[test]
fn append_time_bounds_the_watermark() {
    let table = table(DDL);
    let at = |append: i64, mut raw: Raw| {
        raw.append_us = append * 1_000_000;
        raw
    };
    let records =
        [at(10, row(0, "a", 13)), at(10, row(1, "b", 14)), at(11, row(2, "c", 8)), at(11, row(3, "d", 7))];
    let mut trusted = lane(&table, AppendTime::Producer);
    let taken = trusted.take(batch(&records), 4).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(taken.rejected.iter().map(|r| r.offset).collect::<Vec<_>>(), [1], "4 s ahead");
    assert_eq!(taken.late.iter().map(|r| r.offset).collect::<Vec<_>>(), [3], "below 10 - 2");
    assert_eq!(trusted.watermark(), 8_000_000, "the reject moved nothing");
    let mut untrusted = lane(&table, AppendTime::Untrusted);
    let taken = untrusted.take(batch(&records), 4).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((taken.rejected.len(), taken.late.len(), untrusted.watermark()), (0, 2, 12_000_000));
}

#[test]
fn marks_apply_at_their_offset() {
    let table = table(DDL);
    let mut lane = lane(&table, AppendTime::Broker);
    lane.start_watermark(1_000_000);
    lane.mark(2, 9_000_000);
    lane.mark(2, 5_000_000);
    lane.mark(3, 12_000_000);
    assert_eq!(lane.watermark(), 1_000_000);
    let taken = lane.take(batch(&[row(0, "a", 5), row(1, "b", 5)]), 2).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(taken.rows.map(|r| r.num_rows()), Some(2));
    assert_eq!(lane.watermark(), 9_000_000, "the mark at 2 applies at position 2");
    let taken = lane.take(batch(&[row(2, "c", 9), row(3, "d", 11)]), 4).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(taken.late.iter().map(|r| r.offset).collect::<Vec<_>>(), [3]);
    lane.mark(1, 3_000_000);
    lane.mark(9, 20_000_000);
    lane.reach(8);
    assert_eq!((lane.watermark(), lane.position()), (12_000_000, 8));
    lane.reach(9);
    assert_eq!(lane.watermark(), 20_000_000);
    let again = lane.take(batch(&[row(8, "a", 30)]), 9);
    assert_eq!(
        again.map_err(|e| e.code()).err(),
        Some(weir_contract::Code::Internal),
        "a record comes twice"
    );
}

#[test]
fn side_records_are_exact() {
    let table = table(DDL);
    let mut lane = lane(&table, AppendTime::Broker);
    let mut late = row(1, "b", 7);
    late.append_us = 12_345_000;
    let bad = Raw { value: Some(b"{\"n\":[1]}".to_vec()), ..row(2, "", 0) };
    let large = Raw { value: Some(vec![b'x'; SIDE_BYTES_MAX + 5]), ..row(3, "", 0) };
    let taken = lane.take(batch(&[row(0, "a", 10), late, bad, large]), 4).unwrap_or_else(|e| panic!("{e}"));
    let out = taken.late[0].record();
    assert_eq!(
        String::from_utf8_lossy(&out.value),
        "{\"bytes\":\"eyJpZCI6ImIiLCJuIjoxLCJ0Ijo3MDAwMDAwfQ==\",\"event_time\":\"1970-01-01T00:00:07Z\",\"offset\":1,\
         \"partition\":1,\"size\":28,\"table\":\"scans\",\"watermark\":\"1970-01-01T00:00:08Z\"}"
    );
    assert_eq!(out.id, Some(weir_contract::event::Id::of(&json!(["scans", 1, 1]))));
    assert_eq!((out.key.as_slice(), out.time_us), (&b"scans/1"[..], Some(12_345_000)));
    let out = taken.rejected[0].record();
    assert_eq!(
        String::from_utf8_lossy(&out.value),
        "{\"bytes\":\"eyJuIjpbMV19\",\"code\":\"W0101\",\"offset\":2,\"partition\":1,\
         \"reason\":\"`n`: expected INT, found [1]\",\"size\":9,\"table\":\"scans\"}"
    );
    assert_eq!(out.time_us, None);
    assert_eq!((taken.rejected[1].bytes.len(), taken.rejected[1].size), (SIDE_BYTES_MAX, SIDE_BYTES_MAX + 5));
}

#[test]
fn damaged_snapshots_are_refused() {
    let table = table(DDL);
    let mut full = lane(&table, AppendTime::Broker);
    full.mark(7, 1);
    full.take(batch(&[row(0, "a", 10), row(1, "b", 10)]), 2).unwrap_or_else(|e| panic!("{e}"));
    let bytes = snapshot(&mut full);
    for cut in 0..bytes.len() {
        let mut loader = Loader::new(&bytes[..cut]);
        let error = lane(&table, AppendTime::Broker).restore(&mut loader).expect_err("cut off");
        assert_eq!(error.code(), weir_contract::Code::Damaged, "cut at {cut}");
    }
    let other = self::table("CREATE TABLE scans (t TIMESTAMP, WATERMARK FOR t)");
    let error =
        lane(&other, AppendTime::Broker).restore(&mut Loader::new(&bytes)).expect_err("another table");
    assert_eq!(error.code(), weir_contract::Code::Damaged);
}
