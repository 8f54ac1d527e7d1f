//! Holds states that left the table and are not final, or that a later window still needs.
//!
//! In:   batches of states. Out: those of a stretch of time. Owns: order by time, and how many
//! batches there are. Not what a stretch means.
//!
//! R1  The rows of a run ascend by time; within a run no two rows have equal keys.
//! R2  A run in use never moves: taking from its front moves an index, so `advance` costs
//!     O(runs × log rows + rows taken), never O(rows held).
//! R3  There are at most `RUNS_PER_LEVEL` runs of a level, each of at least that many runs of the
//!     level below, so a row is merged O(log) times in its life, and few runs are asked.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::compute::{SortOptions, sort_to_indices, take_record_batch};
use datafusion::arrow::record_batch::RecordBatch;
use weir_contract::Result;

use super::layout::{Layout, time_values};
use super::table::Table;
use crate::base::internal_arrow;

/// Runs of one level before they are merged into one of the next.
/// Eyeballed: a `hop` of up to 30 panes per window (10 s in 5 min) never merges beforehand what its
/// windows merge anyway, and asking 32 runs is 32 binary searches.
pub const RUNS_PER_LEVEL: usize = 32;

struct Run {
    batch: RecordBatch,
    times: ScalarBuffer<i64>,
    /// Rows before this one are taken.
    from: usize,
    /// For each time key beyond the time itself: the lowest value at or after each row.
    lows: Vec<Vec<i64>>,
    bytes: usize,
    level: u32,
}

impl Run {
    fn new(layout: &Layout, batch: RecordBatch, level: u32) -> Result<Run> {
        let times = time_values(batch.column(layout.time))?;
        let others = layout.time_keys.iter().filter(|&&k| k != layout.time);
        let lows = others
            .map(|&k| {
                let mut lows = time_values(batch.column(k))?.to_vec();
                (1..lows.len()).rev().for_each(|i| lows[i - 1] = lows[i - 1].min(lows[i]));
                Ok(lows)
            })
            .collect::<Result<Vec<_>>>()?;
        let bytes = batch.get_array_memory_size() + lows.len() * times.len() * size_of::<i64>();
        Ok(Run { batch, times, from: 0, lows, bytes, level })
    }

    fn open(&self) -> &[i64] {
        &self.times[self.from..]
    }

    /// Index of the first row, not taken, at or above a time.
    fn at(&self, time: i64) -> usize {
        self.from + self.open().partition_point(|&t| t < time)
    }
}

/// Runs of states, newest last.
pub struct Runs {
    layout: Arc<Layout>,
    runs: Vec<Run>,
    bytes: usize,
}

impl Runs {
    pub fn new(layout: Arc<Layout>) -> Runs {
        Runs { layout, runs: Vec::new(), bytes: 0 }
    }

    /// Adds the columns of a table that was emptied (keys, then states, any order).
    pub fn add(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        self.insert(columns, 0)?;
        let mut level = 0;
        while self.runs.iter().filter(|r| r.level == level).count() >= RUNS_PER_LEVEL {
            self.merge_level(level)?;
            level += 1;
        }
        Ok(())
    }

    fn insert(&mut self, columns: Vec<ArrayRef>, level: u32) -> Result<()> {
        let batch = self.layout.batch(columns)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let times = time_values(batch.column(self.layout.time))?;
        let batch = if times.is_sorted() {
            batch
        } else {
            let ascending = Some(SortOptions { descending: false, nulls_first: true });
            let order =
                sort_to_indices(batch.column(self.layout.time), ascending, None).map_err(internal_arrow)?;
            take_record_batch(&batch, &order).map_err(internal_arrow)?
        };
        let run = Run::new(&self.layout, batch, level)?;
        self.bytes += run.bytes;
        self.runs.push(run);
        Ok(())
    }

    fn merge_level(&mut self, level: u32) -> Result<()> {
        let mut table = Table::new(Arc::clone(&self.layout.functions), self.layout.key_schema())?;
        let (low, rest): (Vec<Run>, Vec<Run>) =
            std::mem::take(&mut self.runs).into_iter().partition(|r| r.level == level);
        self.runs = rest;
        for run in low {
            self.bytes -= run.bytes;
            let (keys, states) = run.batch.columns().split_at(self.layout.keys);
            let cut = |columns: &[ArrayRef]| -> Vec<ArrayRef> {
                columns.iter().map(|c| c.slice(run.from, run.times.len() - run.from)).collect()
            };
            table.merge(&cut(keys), &cut(states))?;
        }
        self.insert(table.take_states()?, level + 1)
    }

    /// The lowest time held at or above this one.
    pub fn first_from(&self, time: i64) -> Option<i64> {
        self.runs.iter().filter_map(|r| r.times.get(r.at(time)).copied()).min()
    }

    /// Rows with `from <= time < to`, at most one batch for each run, no copy.
    pub fn range(&self, from: i64, to: i64) -> impl Iterator<Item = RecordBatch> {
        self.runs.iter().filter_map(move |run| {
            let (start, end) = (run.at(from), run.at(to));
            (start < end).then(|| run.batch.slice(start, end - start))
        })
    }

    /// Lets go of rows below a time.
    pub fn drop_below(&mut self, time: i64) {
        self.runs.retain_mut(|run| {
            run.from = run.at(time);
            let keep = run.from < run.times.len();
            self.bytes -= if keep { 0 } else { run.bytes };
            keep
        });
    }

    /// Takes rows below a time.
    pub fn take_below(&mut self, time: i64) -> Vec<RecordBatch> {
        let taken = self.range(i64::MIN, time).collect();
        self.drop_below(time);
        taken
    }

    /// The lowest value held of a time key (an index into the layout's `time_keys`).
    pub fn low(&self, key: usize) -> Option<i64> {
        if self.layout.time_keys[key] == self.layout.time {
            return self.first_from(i64::MIN);
        }
        let skipped = self.layout.time_keys[..key].contains(&self.layout.time);
        self.runs.iter().map(|r| r.lows[key - usize::from(skipped)][r.from]).min()
    }

    /// Bytes held. A run counts whole until its last row is gone, since it is held whole.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The runs with their levels, oldest first.
    pub fn all(&self) -> impl Iterator<Item = (u32, RecordBatch)> {
        self.runs.iter().map(|r| (r.level, r.batch.slice(r.from, r.times.len() - r.from)))
    }

    /// Puts back a run that `all` gave.
    pub fn put_back(&mut self, level: u32, batch: &RecordBatch) -> Result<()> {
        self.insert(batch.columns().to_vec(), level)
    }
}
