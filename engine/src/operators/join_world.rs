//! A world for tests of joins: rows as plain structs, inputs pushed and advanced at random.
//!
//! In:   rows of each port, a seed.
//! Out:  what an operator said, as plain rows, in its own order; frontiers checked on the way.
//! Owns: nothing that an operator uses: the naive twins are written over `Row` alone.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{
    DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::PhysicalExpr;

use super::{JoinKind, Operator, Out};
use crate::base::{FOREVER, NOTHING, StreamSchema};
use crate::state::{Loader, Saver};

/// Batch sizes that every join is driven with.
pub const SIZES: [usize; 6] = [1, 2, 7, 63, 64, 65];
/// Columns of a row.
pub const WIDTH: usize = 7;

/// A row: two keys, two event times, a value, and its place in the canonical order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub k1: Option<i64>,
    pub k2: Option<String>,
    pub ts: i64,
    pub other: i64,
    pub value: Option<i64>,
    pub partition: i32,
    pub offset: i64,
}

impl Row {
    /// Event time number 0 or 1.
    pub fn time(&self, which: usize) -> i64 {
        [self.ts, self.other][which]
    }

    pub fn order(&self) -> (i64, i32, i64) {
        (self.ts, self.partition, self.offset)
    }

    /// Whether the first `keys` keys are equal to another row's, none of them NULL.
    pub fn same_key(&self, other: &Row, keys: usize) -> bool {
        (keys < 1 || (self.k1.is_some() && self.k1 == other.k1))
            && (keys < 2 || (self.k2.is_some() && self.k2 == other.k2))
    }
}

/// A generator with a fixed sequence for a seed.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// Random rows: few keys, some of them NULL, times within `span`, many of them equal.
pub fn some_rows(rng: &mut Rng, rows: usize, keys: u64, span: u64) -> Vec<Row> {
    let row = |offset: usize, rng: &mut Rng| {
        let ts = rng.below(span) as i64;
        Row {
            k1: (!rng.chance(12)).then(|| rng.below(keys) as i64),
            k2: (!rng.chance(12)).then(|| format!("key {}", rng.below(2))),
            ts,
            other: ts + rng.below(9) as i64 - 4,
            value: (!rng.chance(12)).then(|| rng.below(10) as i64),
            partition: rng.below(3) as i32,
            offset: offset as i64,
        }
    };
    (0..rows).map(|offset| row(offset, rng)).collect()
}

pub fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("k1", DataType::Int64, true),
        Field::new("k2", DataType::Utf8, true),
        Field::new("ts", time.clone(), true),
        Field::new("other", time, true),
        Field::new("value", DataType::Int64, true),
        Field::new("__p", DataType::Int32, true),
        Field::new("__o", DataType::Int64, true),
    ]))
}

pub fn stream() -> StreamSchema {
    StreamSchema {
        schema: schema(),
        times: vec![2, 3],
        row_time: 0,
        order: vec![2, 5, 6],
        partition_key: Vec::new(),
    }
}

/// The columns of two such inputs, side by side.
pub fn joined(times: &[usize]) -> StreamSchema {
    let one = schema();
    let right = one.fields().iter().map(|f| f.as_ref().clone().with_name(format!("r_{}", f.name())));
    let fields: Vec<Field> = one.fields().iter().map(|f| f.as_ref().clone()).chain(right).collect();
    StreamSchema {
        schema: Arc::new(Schema::new(fields)),
        times: times.to_vec(),
        row_time: 0,
        order: vec![2, 5, 6, 9, 12, 13],
        partition_key: Vec::new(),
    }
}

pub fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.k1))),
        Arc::new(StringArray::from_iter(rows.iter().map(|r| r.k2.as_deref()))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.ts))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.other))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.value))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.partition))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.offset))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// Reads the row whose columns begin at `first`; None where its place is NULL.
pub fn row_at(batch: &RecordBatch, first: usize, i: usize) -> Option<Row> {
    let long = |c: usize| {
        let a = batch.column(first + c).as_primitive::<Int64Type>();
        a.is_valid(i).then(|| a.value(i))
    };
    let time = |c: usize| batch.column(first + c).as_primitive::<TimestampMicrosecondType>().value(i);
    let text = batch.column(first + 1).as_string::<i32>();
    Some(Row {
        offset: long(6)?,
        k1: long(0),
        k2: text.is_valid(i).then(|| text.value(i).to_owned()),
        ts: time(2),
        other: time(3),
        value: long(4),
        partition: batch.column(first + 5).as_primitive::<Int32Type>().value(i),
    })
}

pub type Pair = (Row, Option<Row>);

pub fn pairs_of(batches: &[RecordBatch]) -> Vec<Pair> {
    let rows = batches.iter().flat_map(|b| (0..b.num_rows()).map(move |i| (b, i)));
    rows.map(|(b, i)| (row_at(b, 0, i).unwrap(), row_at(b, WIDTH, i))).collect()
}

/// The first `n` key columns.
pub fn keys(n: usize) -> Vec<Arc<dyn PhysicalExpr>> {
    ["k1", "k2"][..n].iter().enumerate().map(|(i, k)| Arc::new(Column::new(k, i)) as _).collect()
}

/// A naive twin's answer: left rows in order, each with the matches found.
pub fn answer(
    left: &[Row],
    time: usize,
    kind: JoinKind,
    mut matches: impl FnMut(&Row) -> Vec<Row>,
) -> (Vec<Pair>, u64) {
    let mut left = left.to_vec();
    left.sort_by_key(|a| (a.time(time), a.order()));
    let (mut pairs, mut unmatched) = (Vec::new(), 0);
    for a in left {
        let found = matches(&a);
        if found.is_empty() {
            unmatched += 1;
            if kind == JoinKind::Left {
                pairs.push((a, None));
            }
        } else {
            pairs.extend(found.into_iter().map(|b| (a.clone(), Some(b))));
        }
    }
    (pairs, unmatched)
}

/// Versions of a reference table, ascending in the time from which each holds.
pub type Versions = Vec<(i64, Vec<Row>)>;

/// Pushes the rows of each port in a random order, of random sizes, with random advances, and now
/// and then a restart from a snapshot. `times` are the output's event-time columns.
pub fn drive(
    make: &dyn Fn() -> Box<dyn Operator>,
    ports: &[Vec<Row>],
    versions: &Versions,
    times: &[usize],
    rng: &mut Rng,
) -> (Vec<Pair>, u64) {
    let jitter = rng.pick(&[1, 10, 1000]);
    let mut left: Vec<Vec<Row>> = ports.to_vec();
    for rows in &mut left {
        // Backwards: rows are taken from the end.
        rows.sort_by_cached_key(|r| -(r.ts + rng.below(jitter) as i64));
    }
    let size = rng.pick(&SIZES);
    let mut versions = versions.iter().peekable();
    let mut op = make();
    let (mut pairs, mut unmatched) = (Vec::new(), 0);
    let mut given = vec![[NOTHING; 2]; ports.len()];
    let mut promised = vec![NOTHING; times.len()];
    let mut done = false;
    while !done {
        let mut out = Out::default();
        let open: Vec<usize> = (0..left.len()).filter(|p| !left[*p].is_empty()).collect();
        done = open.is_empty();
        if !done {
            let port = rng.pick(&open);
            let from = left[port].len().saturating_sub(size);
            let rows = left[port].split_off(from);
            op.push(port, batch(&rows), &mut out).unwrap();
        }
        if done || rng.chance(3) {
            for (port, rows) in left.iter().enumerate() {
                // A port may stand still, for long.
                if done || rng.chance(2) {
                    for (time, given) in given[port].iter_mut().enumerate() {
                        let low = rows.iter().map(|r| r.time(time)).min().unwrap_or(FOREVER);
                        let held = if low == FOREVER { low } else { low - rng.pick(&[0, 0, 3]) };
                        *given = held.max(*given);
                    }
                }
            }
            while versions.peek().is_some_and(|(t, _)| *t < given[0][0] || rng.chance(4)) {
                let (t, rows) = versions.next().unwrap();
                assert!(op.passed() <= *t);
                op.version(*t, &batch(rows)).unwrap();
            }
            let slices: Vec<&[i64]> = given.iter().map(|g| g.as_slice()).collect();
            let promise = op.advance(&slices, &mut out).unwrap();
            assert_eq!(promise.len(), times.len());
            for b in &out.batches {
                for (column, low) in times.iter().zip(&promised) {
                    let values = b.column(*column).as_primitive::<TimestampMicrosecondType>();
                    assert!(values.iter().flatten().all(|v| v >= *low), "column {column} below {low}");
                }
            }
            assert!(promise.iter().zip(&promised).all(|(new, old)| new >= old), "{promise:?} {promised:?}");
            promised = promise;
        }
        assert!(out.batches.iter().all(|b| b.num_rows() > 0));
        pairs.extend(pairs_of(&out.batches));
        unmatched += out.unmatched.rows;
        // About ten restarts a run, however small the batches.
        if rng.chance(2 + (ports.iter().map(Vec::len).sum::<usize>() / size / 10) as u64) {
            let mut saver = Saver::default();
            op.snapshot(&mut saver).unwrap();
            let bytes = saver.finish();
            op = make();
            let mut loader = Loader::new(&bytes);
            op.restore(&mut loader).unwrap();
            loader.finish().unwrap();
        }
    }
    assert!(promised.iter().all(|p| *p == FOREVER), "{promised:?}");
    (pairs, unmatched)
}
