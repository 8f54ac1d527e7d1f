//! Rows of one input port that are not final yet.
//!
//! In:   batches in any order and chopping.
//! Out:  what became final, in canonical order: event time, then the order columns.
//! Owns: rows at or above the last release. Not keys, not matches.
//!
//! W1  The releases put one after the other are one sequence that depends on the rows alone.
//! W2  A row is copied at most three times: with its small neighbours, out of a run that is mostly
//!     released, and into the release. A push costs O(its rows), never O(rows held).
//! W3  A run with nothing to release costs nothing in a release: runs wait in a heap.
//!
//! Start at `Waiting::release`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use datafusion::arrow::array::UInt32Array;
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use weir_contract::Result;

use super::join_rows::{
    CHUNK_ROWS, Gather, RowOrder, Spot, bytes_of, check_time, gather_column, gather_rows, lowest, times_of,
};
use crate::base::{FOREVER, internal_arrow};

/// Fresh rows that make a run even where none of them is released yet. Eyeballed: large enough that
/// single-row batches cost no more than their rows.
const RUN_ROWS: usize = 4096;

/// Rows sealed together, each run with its own order by time.
#[derive(Debug)]
struct Run {
    batch: RecordBatch,
    times: ScalarBuffer<i64>,
    /// Rows by time; None where they stand so already.
    sorted: Option<Vec<u32>>,
    /// Rows released so far, in that order.
    at: usize,
    /// Lowest value of each tracked column.
    lows: Vec<i64>,
    bytes: usize,
}

impl Run {
    fn row(&self, at: usize) -> u32 {
        self.sorted.as_ref().map_or(at as u32, |s| s[at])
    }

    fn time(&self, at: usize) -> i64 {
        self.times[self.row(at) as usize]
    }

    /// How many rows, in time order, are below a time.
    fn below(&self, time: i64) -> usize {
        let (mut low, mut high) = (self.at, self.batch.num_rows());
        while low < high {
            let middle = low.midpoint(high);
            if self.time(middle) < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// Part of a run that leaves.
struct Piece {
    slot: usize,
    from: usize,
    to: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Waiting {
    schema: SchemaRef,
    time: usize,
    order: Vec<usize>,
    /// Columns whose lowest waiting value is asked for.
    tracked: Vec<usize>,
    fresh: Vec<RecordBatch>,
    fresh_rows: usize,
    fresh_low: i64,
    fresh_lows: Vec<i64>,
    fresh_bytes: usize,
    runs: Vec<Option<Run>>,
    free: Vec<usize>,
    /// Runs by the time of their next row.
    queue: BinaryHeap<Reverse<(i64, usize)>>,
    run_bytes: usize,
}

impl Waiting {
    /// Released by column `time`, rows of one time by the columns `order`.
    pub fn new(schema: SchemaRef, time: usize, order: &[usize], tracked: Vec<usize>) -> Result<Self> {
        check_time(&schema, time)?;
        tracked.iter().try_for_each(|c| check_time(&schema, *c))?;
        Ok(Self {
            fresh_lows: vec![FOREVER; tracked.len()],
            order: order.iter().copied().filter(|c| *c != time).collect(),
            schema,
            time,
            tracked,
            fresh: Vec::new(),
            fresh_rows: 0,
            fresh_low: FOREVER,
            fresh_bytes: 0,
            runs: Vec::new(),
            free: Vec::new(),
            queue: BinaryHeap::new(),
            run_bytes: 0,
        })
    }

    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.fresh_low = self.fresh_low.min(lowest(&times_of(&batch, self.time)?));
        for (low, column) in self.fresh_lows.iter_mut().zip(&self.tracked) {
            *low = (*low).min(lowest(&times_of(&batch, *column)?));
        }
        let bytes = bytes_of(&batch);
        self.fresh_rows += batch.num_rows();
        self.fresh_bytes += bytes;
        // A slice of a much larger buffer would hold all of it.
        let alone = batch.get_array_memory_size() <= 4 * bytes + (1 << 16);
        self.fresh.push(if alone { batch } else { copy_rows(&batch, 0..batch.num_rows() as u32)? });
        if self.fresh_rows >= RUN_ROWS {
            self.seal()?;
        }
        Ok(())
    }

    /// The time of the first row that waits, or `FOREVER`.
    pub fn low(&self) -> i64 {
        self.fresh_low.min(self.queue.peek().map_or(FOREVER, |Reverse((t, _))| *t))
    }

    /// The lowest waiting value of tracked column number `i`; `FOREVER` without rows. Exact: a frontier
    /// made of it depends on the rows alone, and so does what is given when a log ends. O(1) for the
    /// column released by, else O(rows of runs that were released in part).
    pub fn lowest_tracked(&self, i: usize) -> i64 {
        let column = self.tracked[i];
        if column == self.time {
            return self.low();
        }
        let exact = |run: &Run| match times_of(&run.batch, column) {
            Ok(values) if run.at > 0 => {
                let rest = (run.at..run.batch.num_rows()).map(|at| values[run.row(at) as usize]);
                rest.min().unwrap_or(FOREVER)
            }
            _ => run.lows[i],
        };
        self.runs.iter().flatten().map(exact).fold(self.fresh_lows[i], i64::min)
    }

    /// Takes the rows with a time below `frontier`, in canonical order, in batches of at most
    /// `CHUNK_ROWS` rows. O(n log n) for n rows taken.
    pub fn release(&mut self, frontier: i64) -> Result<Vec<RecordBatch>> {
        let pieces = self.pieces(frontier)?;
        let released = self.sorted(&pieces)?;
        self.leave(&pieces)?;
        Ok(released)
    }

    /// Forgets the rows with a time below `bound`; no later row may be below it either.
    pub fn discard(&mut self, bound: i64) -> Result<()> {
        let pieces = self.pieces(bound)?;
        self.leave(&pieces)
    }

    /// All waiting rows, in no order.
    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        let mut batches = self.fresh.clone();
        for run in self.runs.iter().flatten() {
            batches.push(rest_of(run)?);
        }
        Ok(batches)
    }

    pub fn bytes(&self) -> usize {
        self.fresh_bytes + self.run_bytes
    }

    fn seal(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.fresh);
        let batch = match batches.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            many => concat_batches(&self.schema, many).map_err(internal_arrow)?,
        };
        (self.fresh_rows, self.fresh_low, self.fresh_bytes) = (0, FOREVER, 0);
        let lows = std::mem::replace(&mut self.fresh_lows, vec![FOREVER; self.tracked.len()]);
        self.add_run(batch, lows)
    }

    fn add_run(&mut self, batch: RecordBatch, lows: Vec<i64>) -> Result<()> {
        let times = times_of(&batch, self.time)?;
        let sorted = (!times.is_sorted()).then(|| {
            let mut rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
            rows.sort_by_key(|row| times[*row as usize]);
            rows
        });
        let bytes = bytes_of(&batch) + sorted.as_ref().map_or(0, |s| s.len() * size_of::<u32>());
        let run = Run { batch, times, sorted, at: 0, lows, bytes };
        let next = run.time(0);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.runs.push(None);
            self.runs.len() - 1
        });
        self.run_bytes += bytes;
        self.runs[slot] = Some(run);
        self.queue.push(Reverse((next, slot)));
        Ok(())
    }

    /// Takes the runs that have rows below a time out of the heap.
    fn pieces(&mut self, below: i64) -> Result<Vec<Piece>> {
        if self.fresh_low < below {
            self.seal()?;
        }
        let mut pieces = Vec::new();
        while let Some(Reverse((next, slot))) = self.queue.peek().copied()
            && next < below
        {
            self.queue.pop();
            if let Some(run) = &self.runs[slot] {
                pieces.push(Piece { slot, from: run.at, to: run.below(below) });
            }
        }
        Ok(pieces)
    }

    /// Marks pieces as gone and puts what is left of their runs back into the heap.
    fn leave(&mut self, pieces: &[Piece]) -> Result<()> {
        for piece in pieces {
            let Some(mut run) = self.runs[piece.slot].take() else { continue };
            run.at = piece.to;
            let left = run.batch.num_rows() - run.at;
            if left == 0 || left * 2 < run.batch.num_rows() {
                self.run_bytes -= run.bytes;
                self.free.push(piece.slot);
                if left > 0 {
                    let rest = rest_of(&run)?;
                    let lows = self.lows_of(&rest)?;
                    self.add_run(rest, lows)?;
                }
                continue;
            }
            self.queue.push(Reverse((run.time(run.at), piece.slot)));
            self.runs[piece.slot] = Some(run);
        }
        if self.queue.is_empty() {
            self.runs.clear();
            self.free.clear();
        }
        Ok(())
    }

    fn lows_of(&self, batch: &RecordBatch) -> Result<Vec<i64>> {
        self.tracked.iter().map(|c| Ok(lowest(&times_of(batch, *c)?))).collect()
    }

    fn sorted(&self, pieces: &[Piece]) -> Result<Vec<RecordBatch>> {
        let mut rows: Vec<(i64, Spot)> = Vec::with_capacity(pieces.iter().map(|p| p.to - p.from).sum());
        let mut runs = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let Some(run) = &self.runs[piece.slot] else { continue };
            let batch = runs.len() as u32;
            runs.push(&run.batch);
            rows.extend((piece.from..piece.to).map(|at| {
                let row = run.row(at);
                (run.times[row as usize], Spot { batch, row })
            }));
        }
        if runs.len() > 1 {
            rows.sort_by_key(|(time, _)| *time);
        }
        if order_ties(&mut rows, |spots| self.order_of(&runs, spots))? {
            order_ties(&mut rows, |spots| self.whole_order(&runs, spots))?;
        }
        let mut released = Vec::with_capacity(rows.len().div_ceil(CHUNK_ROWS));
        let mut spots = Vec::with_capacity(rows.len().min(CHUNK_ROWS));
        for chunk in rows.chunks(CHUNK_ROWS) {
            spots.clear();
            spots.extend(chunk.iter().map(|(_, spot)| *spot));
            let mut gather = Gather::new(&spots);
            if let Gather::Slice { batch, rows, .. } = &gather
                && rows * 2 < runs[*batch].num_rows()
            {
                // A small slice would hold the whole run.
                let rows = UInt32Array::from_iter_values(spots.iter().map(|s| s.row));
                gather = Gather::One { batch: *batch, rows };
            }
            released.push(gather_rows(&self.schema, &runs, &gather)?);
        }
        Ok(released)
    }

    fn order_of(&self, runs: &[&RecordBatch], spots: &Gather) -> Result<RowOrder> {
        let column = |c: &usize| gather_column(runs, *c, self.schema.field(*c).data_type(), spots);
        RowOrder::new(&self.order.iter().map(column).collect::<Result<Vec<_>>>()?)
    }

    /// The order columns, then all others: rows that are still equal are the same row.
    fn whole_order(&self, runs: &[&RecordBatch], spots: &Gather) -> Result<RowOrder> {
        let all = self.order.iter().copied().chain(0..self.schema.fields().len());
        let column = |c: usize| gather_column(runs, c, self.schema.field(c).data_type(), spots);
        Ok(RowOrder::of_comparable(&all.map(column).collect::<Result<Vec<_>>>()?))
    }
}

/// Puts rows of one time into the order that `order_of` gives for all rows; says whether some rows
/// are equal in it, too.
fn order_ties(rows: &mut [(i64, Spot)], order_of: impl FnOnce(&Gather) -> Result<RowOrder>) -> Result<bool> {
    if rows.windows(2).all(|w| w[0].0 != w[1].0) {
        return Ok(false);
    }
    let spots: Vec<Spot> = rows.iter().map(|(_, spot)| *spot).collect();
    let order = order_of(&Gather::new(&spots))?;
    let (mut from, mut equal) = (0, false);
    let mut ranks: Vec<usize> = Vec::new();
    while from < rows.len() {
        let time = rows[from].0;
        let to = from + rows[from..].iter().take_while(|r| r.0 == time).count();
        if to - from > 1 {
            ranks.clear();
            ranks.extend(from..to);
            ranks.sort_by(|a, b| order.compare(*a, *b));
            for (row, rank) in rows[from..to].iter_mut().zip(&ranks) {
                row.1 = spots[*rank];
            }
            equal = equal || ranks.windows(2).any(|w| order.compare(w[0], w[1]).is_eq());
        }
        from = to;
    }
    Ok(equal)
}

fn rest_of(run: &Run) -> Result<RecordBatch> {
    if run.at == 0 {
        return Ok(run.batch.clone());
    }
    copy_rows(&run.batch, (run.at..run.batch.num_rows()).map(|at| run.row(at)))
}

fn copy_rows(batch: &RecordBatch, rows: impl IntoIterator<Item = u32>) -> Result<RecordBatch> {
    take_record_batch(batch, &UInt32Array::from_iter_values(rows)).map_err(internal_arrow)
}

#[cfg(test)]
mod tests;
