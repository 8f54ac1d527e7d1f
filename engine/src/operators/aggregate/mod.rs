//! Answers of groups: `tumble`, `hop`, and `GROUP BY` with an event-time column among the keys.
//!
//! In:   rows (`Single`, `Partial`) or states (`Final`), in any order, none below its frontier.
//! Out:  one final row for each group of a window, or for each group; in `Partial`, states.
//! Owns: which pane a row is in, what is final, output order, output frontiers. Not hashing and
//!       accumulating (`table`), nor the grid (`panes`), nor what waits (`runs`).
//!
//! G1  Rows are accumulated on arrival and never kept. States merge exactly in any order, so the
//!     answer depends on the rows alone, however they were chopped, split over lanes or restored.
//! G2  A window is given once, when the frontier of the row time reached its end; a group when the
//!     frontier of its first event-time key passed it: no row of it can come after that.
//! G3  Output as a whole ascends by window end or first event-time key, then by the groups, NULLs first.
//! G4  A push costs its rows, whatever is held; an advance that closes nothing costs O(1).
//!
//! | part     | push                        | advance                                        | snapshot   |
//! |----------|-----------------------------|------------------------------------------------|------------|
//! | `table`  | groups by (keys, pane)      | emptied into a run when a group in it is final | emptied    |
//! | `runs`   | –                           | final stretches are merged and answered        | written    |
//!
//! **One table with the pane as a key column**, not a table for each pane: a batch that spans many
//! panes (a sparse stream, a replay) is interned in one call, and nothing is built for each pane. What
//! leaves it as states is merged for each window. Measured over 5 M rows of 16 bytes in memory, batches
//! of 8192, an advance after each, count by one BIGINT key, one core of a shared 2-core AMD EPYC,
//! profile `quick` (this code at opt-level 1 with overflow checks); beside it DataFusion's batch
//! answer (one partition, starts by `unnest`, no order) in the same process:
//!
//! | window (slide, size), keys         | here    | of it answers | DataFusion | ratio | held at most |
//! |------------------------------------|---------|---------------|------------|-------|--------------|
//! | hop 2 s, 10 s; 1 000               | 0.05 s  | 0.005 s       | 0.58 s     | 0.1   | 0.5 MiB      |
//! | hop 2 s, 10 s; 100 000             | 0.46 s  | 0.35 s        | 1.83 s     | 0.25  | 11 MiB       |
//! | hop 2 s, 10 s; 1 M (20 M rows out) | 2.47 s  | 2.19 s        | 3.39 s     | 0.7   | 13 MiB       |
//! | tumble 10 s; 100 000               | 0.12 s  | 0.05 s        | 0.31 s     | 0.4   | 7 MiB        |
//! | hop 2 ms, 10 ms (82 panes a batch) | 0.39 s  | 0.24 s        | 0.73 s     | 0.5   | 0.2 MiB      |
//!
//! Not in these numbers: decoding, watermarks, exchange. A table for each pane was not measured; pushing
//! into 82 panes a batch costs 0.15 s against 0.05 s for one or two, which bounds what it could save.
//!
//! Start at `Aggregate::push`. Tests: `tests.rs`; grids in `panes.rs`.

mod answer;
mod layout;
mod panes;
mod runs;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use weir_contract::{Code, Error, Result};

use self::answer::{Answers, Part};
use self::layout::{Layout, time_array, time_values};
pub use self::layout::{PANE_COLUMN, TIME_COLUMN, partial_schema};
use self::panes::{Panes, TIME_MAX};
use self::runs::Runs;
use self::table::{Table, evaluate_on};
use super::{Operator, Out};
use crate::base::{FOREVER, NOTHING, StreamSchema, internal_arrow, shift};
use crate::state::{Loader, Saver};

/// Bytes of states that a lane holds before it sends what is not final yet.
/// 8 MiB: about 100 000 groups of two keys and one count, so that partial aggregation still folds
/// nearly every row of a batch, and a table that does not fit a core's share of cache is not grown.
pub const PARTIAL_BYTES_MAX: usize = 8 << 20;
/// Groups in the table where an accumulator looks at all its groups at each batch. 16 384 take
/// about as long as two batches of 8192 rows; beyond, the table is emptied into a run.
pub const SCANNED_GROUPS_MAX: usize = 16_384;
/// States merged at once when many windows close together: bounds memory beside the state, yet
/// sparse windows share one hash table and one sort. Eyeballed.
pub const ANSWER_ROWS: usize = 65_536;

/// Which part of the work is done here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Rows to answers.
    Single,
    /// Rows of one lane to states.
    Partial,
    /// States of any number of lanes to answers.
    Final,
}

/// `tumble` or `hop`; times in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSpec {
    pub slide: i64,
    /// Equal to `slide` for `tumble`; need be no multiple of it.
    pub size: i64,
    /// Where the window's struct column stands among the group columns of the answers.
    pub position: usize,
}

/// A group column that is event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeKey {
    /// Index into `AggregateSpec::group`.
    pub group: usize,
    /// Index into the input's `times`: its frontier.
    pub time: usize,
}

/// What to aggregate.
#[derive(Debug, Clone)]
pub struct AggregateSpec {
    pub input: StreamSchema,
    /// Answers: the group columns with the window at its position, the aggregates, and with a window
    /// `__t`, its end minus 1 us. In `Partial`: [`partial_schema`].
    pub output: StreamSchema,
    pub phase: Phase,
    /// Windows take the input's row time.
    pub window: Option<WindowSpec>,
    /// Without the window; names and types are the output's. Not evaluated in `Final`.
    pub group: Vec<Arc<dyn PhysicalExpr>>,
    /// Without a window at least one; the first one orders the output.
    pub time_keys: Vec<TimeKey>,
    pub aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// One for each aggregate.
    pub filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
}

impl AggregateSpec {
    /// Splits a `Single` specification into `Partial` (one for each lane) and `Final`.
    pub fn two_phase(&self) -> Result<(AggregateSpec, AggregateSpec)> {
        let between = partial_schema(self)?;
        let first = usize::from(self.window.is_some());
        let partial = AggregateSpec { phase: Phase::Partial, output: between.clone(), ..self.clone() };
        let time_keys = self.time_keys.iter().enumerate();
        let time_keys = time_keys.map(|(k, key)| TimeKey { time: first + k, ..*key }).collect();
        let last = AggregateSpec { phase: Phase::Final, input: between, time_keys, ..self.clone() };
        Ok((partial, last))
    }
}

/// The operator; one input port.
pub struct Aggregate {
    phase: Phase,
    input: StreamSchema,
    group: Vec<Arc<dyn PhysicalExpr>>,
    layout: Arc<Layout>,
    /// None in `Partial`.
    answers: Option<Answers>,
    /// Indexes into the input's `times`: of the time, and of each time key.
    time_input: usize,
    key_inputs: Vec<usize>,
    /// Of each output time: the time key it is, or none for the window's (`__t`, `__w`).
    out_times: Vec<Option<usize>>,
    table: Table,
    runs: Runs,
    /// Lowest time (pane end or first key) and time keys in the table; `FOREVER` where it is empty.
    table_low: i64,
    key_lows: Vec<i64>,
    /// The frontier of the time that was given last; rows below it break the contract.
    frontier: i64,
    /// Windows that end here or before were given.
    closed: i64,
}

impl Aggregate {
    /// # Errors
    /// `W0209` for an aggregate whose value needs the order of arrival, `W0208` without a window and
    /// a time key, `W0212` for a window that cannot be, `W0302` where the shapes do not fit.
    pub fn new(spec: AggregateSpec) -> Result<Aggregate> {
        let layout = Arc::new(Layout::new(&spec)?);
        let wrong = |what: String| Error::new(Code::Internal, what);
        let time_input = match (spec.window, spec.time_keys.first()) {
            (None, Some(first)) => first.time,
            _ => spec.input.row_time,
        };
        let key_inputs: Vec<usize> = spec.time_keys.iter().map(|k| k.time).collect();
        if let Some(time) = key_inputs.iter().find(|&&t| t >= spec.input.times.len()) {
            return Err(wrong(format!("time key on input time {time} of {}", spec.input.times.len())));
        }
        if spec.phase == Phase::Final && spec.input.schema.fields().len() != layout.schema.fields().len() {
            return Err(wrong("states of another shape".into()).expected(format!("{}", layout.schema)));
        }
        let answers = match spec.phase {
            Phase::Partial => None,
            _ => {
                let schema = Arc::clone(&spec.output.schema);
                Some(Answers::new(Arc::clone(&layout), schema, spec.window)?)
            }
        };
        let out_times = spec.output.times.iter().map(|&column| {
            let group = match (spec.phase, spec.window) {
                (Phase::Partial, _) | (_, None) => column,
                (_, Some(w)) => column - usize::from(column > w.position),
            };
            let last = spec.output.schema.fields().len() - 1;
            let pane = if spec.phase == Phase::Partial { layout.groups } else { last };
            match layout.time_keys.iter().position(|&k| k == group) {
                Some(key) => Ok(Some(key)),
                None if spec.window.is_some() && column == pane => Ok(None),
                None => Err(wrong(format!("output column {column} is no event time of an aggregate"))),
            }
        });
        Ok(Aggregate {
            phase: spec.phase,
            out_times: out_times.collect::<Result<_>>()?,
            group: spec.group,
            input: spec.input,
            answers,
            time_input,
            key_lows: vec![FOREVER; key_inputs.len()],
            key_inputs,
            table: Table::new(Arc::clone(&layout.functions), layout.key_schema())?,
            runs: Runs::new(Arc::clone(&layout)),
            table_low: FOREVER,
            frontier: NOTHING,
            closed: NOTHING,
            layout,
        })
    }

    /// Keys of rows, and the rows without those that lie in no window.
    fn keys_of_rows(&self, mut batch: RecordBatch) -> Result<(Vec<ArrayRef>, RecordBatch)> {
        let mut ends = None;
        if let Some(panes) = &self.layout.panes {
            let times = time_values(batch.column(self.input.row_time_column()))?;
            self.check_times(&times)?;
            let mut found = panes.ends(&times);
            if panes.size() < panes.slide() {
                let keep: BooleanArray = found.iter().map(|&end| Some(!panes.in_gap(end))).collect();
                batch = filter_record_batch(&batch, &keep).map_err(internal_arrow)?;
                found.retain(|&end| !panes.in_gap(end));
            }
            ends = Some(time_array(found));
        }
        let mut keys: Vec<ArrayRef> =
            self.group.iter().map(|g| evaluate_on(g, &batch)).collect::<Result<_>>()?;
        match ends {
            Some(ends) => keys.push(ends),
            None => self.check_times(&time_values(&keys[self.layout.time])?)?,
        }
        Ok((keys, batch))
    }

    /// Paired with the frontiers that `advance` returns upstream: a row below one would be a second
    /// answer of a window that was given.
    fn check_times(&self, times: &[i64]) -> Result<()> {
        let (mut low, mut high) = (FOREVER, NOTHING);
        for &time in times {
            low = low.min(time);
            high = high.max(time);
        }
        if low < self.frontier {
            return Err(Error::new(
                Code::Internal,
                format!("a row at {low} us after the frontier passed it"),
            )
            .expected(format!("{} us or later", self.frontier)));
        }
        if low < -TIME_MAX || high > TIME_MAX {
            return Err(Error::new(Code::Internal, format!("row times from {low} to {high} us"))
                .expected("within 2^61 us of the epoch"));
        }
        Ok(())
    }

    /// Empties the table into a run.
    fn settle(&mut self) -> Result<()> {
        if !self.table.is_empty() {
            let columns = self.table.take_states()?;
            self.runs.add(columns)?;
        }
        self.table_low = FOREVER;
        self.key_lows.fill(FOREVER);
        Ok(())
    }

    /// Answers every window that ends at or before `frontier` and was not given yet.
    fn close_windows(&mut self, panes: Panes, frontier: i64, out: &mut Out) -> Result<()> {
        let next_from = |time: i64| panes.window_end_from(time);
        // No row of the table can be in a window that closes before the first one that holds its
        // lowest pane.
        if self.table_low <= frontier && next_from(self.table_low) <= frontier {
            self.settle()?;
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut rows = 0;
        let mut end = next_from(self.closed.saturating_add(1));
        while let Some(pane) = self.runs.first_from(end.saturating_sub(panes.size()).saturating_add(1)) {
            end = end.max(next_from(pane));
            if end > frontier {
                break;
            }
            let slices = self.runs.range(end - panes.size() + 1, end + 1);
            for slice in slices {
                rows += slice.num_rows();
                parts.push((end, slice));
            }
            if rows >= ANSWER_ROWS {
                self.answer(&std::mem::take(&mut parts), out)?;
                rows = 0;
            }
            end += panes.slide();
        }
        self.answer(&parts, out)?;
        self.closed = frontier;
        let needed = match frontier {
            FOREVER => FOREVER,
            _ => next_from(frontier + 1).saturating_sub(panes.size()).saturating_add(1),
        };
        self.runs.drop_below(needed);
        Ok(())
    }

    fn answer(&self, parts: &[Part], out: &mut Out) -> Result<()> {
        if let (Some(answers), false) = (&self.answers, parts.is_empty()) {
            out.emit(answers.of(parts)?);
        }
        Ok(())
    }

    /// Takes everything below a time, final or not needed any more here.
    fn take_below(&mut self, time: i64) -> Result<Vec<RecordBatch>> {
        if self.table_low < time {
            self.settle()?;
        }
        Ok(self.runs.take_below(time))
    }

    /// The frontier of one output time, `None` the window's.
    fn out_frontier(&self, key: Option<usize>, frontiers: &[i64]) -> i64 {
        if let Some(key) = key {
            let given = frontiers[self.key_inputs[key]];
            let held = self.key_lows[key].min(self.runs.low(key).unwrap_or(FOREVER));
            return given.min(held);
        }
        let frontier = self.frontier;
        match (&self.layout.panes, frontier) {
            (_, NOTHING | FOREVER) | (None, _) => frontier,
            (Some(panes), _) if self.phase == Phase::Partial => panes.pane_end_at(frontier),
            (Some(panes), _) => {
                let last = if self.phase == Phase::Final { frontier.saturating_sub(1) } else { frontier };
                panes.window_end_from(last.saturating_add(1)).saturating_sub(1)
            }
        }
    }
}

impl Operator for Aggregate {
    fn push(&mut self, port: usize, batch: RecordBatch, out: &mut Out) -> Result<()> {
        if port != 0 {
            return Err(Error::new(Code::Internal, format!("port {port} of an aggregate")).expected("port 0"));
        }
        if self.layout.functions.scans && self.table.len() > SCANNED_GROUPS_MAX {
            self.settle()?;
        }
        let (keys, states, batch) = if self.phase == Phase::Final {
            let (keys, states) = batch.columns().split_at(self.layout.keys);
            self.check_times(&time_values(&keys[self.layout.time])?)?;
            (keys.to_vec(), states.to_vec(), batch)
        } else {
            let (keys, batch) = self.keys_of_rows(batch)?;
            (keys, Vec::new(), batch)
        };
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let lowest = |low: i64, column: &ArrayRef| -> Result<i64> {
            Ok(time_values(column)?.iter().fold(low, |low, &time| low.min(time)))
        };
        self.table_low = lowest(self.table_low, &keys[self.layout.time])?;
        for (low, &column) in self.key_lows.iter_mut().zip(&self.layout.time_keys) {
            *low = lowest(*low, &keys[column])?;
        }
        match self.phase {
            Phase::Final => self.table.merge(&keys, &states)?,
            _ => self.table.update(&keys, &batch)?,
        }
        if self.phase == Phase::Partial && self.bytes() > PARTIAL_BYTES_MAX {
            self.take_below(FOREVER)?.into_iter().for_each(|states| out.emit(states));
        }
        Ok(())
    }

    fn advance(&mut self, frontiers: &[&[i64]], out: &mut Out) -> Result<Vec<i64>> {
        let [frontiers] = frontiers else {
            return Err(Error::new(Code::Internal, format!("frontiers of {} ports", frontiers.len()))
                .expected("those of port 0"));
        };
        let frontier = frontiers[self.time_input];
        assert!(frontier >= self.frontier, "a frontier moved back from {} to {frontier}", self.frontier);
        self.frontier = frontier;
        match (self.layout.panes, self.phase) {
            (Some(_), Phase::Partial) => {
                let closed = self.take_below(frontier.saturating_add(1))?;
                closed.into_iter().for_each(|states| out.emit(states));
            }
            (None, Phase::Partial) => {
                self.take_below(frontier)?.into_iter().for_each(|states| out.emit(states));
            }
            // A pane that ends at the frontier of `__w` may still come; those before may not.
            (Some(panes), Phase::Final) => self.close_windows(panes, shift(frontier, -1), out)?,
            (Some(panes), Phase::Single) => self.close_windows(panes, frontier, out)?,
            (None, _) => {
                let parts: Vec<Part> = self.take_below(frontier)?.into_iter().map(|b| (0, b)).collect();
                self.answer(&parts, out)?;
            }
        }
        Ok(self.out_times.iter().map(|&key| self.out_frontier(key, frontiers)).collect())
    }

    fn bytes(&self) -> usize {
        self.table.bytes() + self.runs.bytes()
    }

    fn snapshot(&mut self, into: &mut Saver) -> Result<()> {
        self.settle()?;
        into.i64(self.frontier);
        into.i64(self.closed);
        let runs: Vec<(u32, RecordBatch)> = self.runs.all().collect();
        into.u64(runs.len() as u64);
        runs.iter().for_each(|(level, _)| into.u64(u64::from(*level)));
        into.batches(&self.layout.schema, runs.iter().map(|(_, batch)| batch))
    }

    fn restore(&mut self, from: &mut Loader<'_>) -> Result<()> {
        assert!(self.table.is_empty() && self.runs.bytes() == 0, "restore wants a fresh aggregate");
        self.frontier = from.i64()?;
        self.closed = from.i64()?;
        let count = from.u64()?;
        let levels = (0..count).map(|_| from.u64()).collect::<Result<Vec<_>>>()?;
        let batches = from.batches()?;
        if batches.len() != levels.len() {
            return Err(Error::new(Code::Damaged, format!("{} batches of {count} runs", batches.len())));
        }
        for (level, batch) in levels.into_iter().zip(&batches) {
            let level = u32::try_from(level).map_err(|_| Error::new(Code::Damaged, "a run's level"))?;
            self.runs.put_back(level, batch)?;
        }
        Ok(())
    }
}
