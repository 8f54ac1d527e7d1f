//! DataFusion's two accumulator ports over exact moments: one state, and one state per group.
//!
//! In:   Float64 columns, group indices, filters; state columns.
//! Out:  Float64 (UInt64 for `regr_count`); the state as one Binary column.
//! Owns: the states. A NULL argument, or one in either of two, leaves a row out.
//!
//! A1  The hot loops know at compile time which sums they keep; nothing is dispatched per row.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, Float64Array, Float64Builder, UInt64Array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::Float64Type;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::moments::{Moments, Statistic, X, XX, XY, Y, YY};

/// Builds `$build::<T, K>($statistic)` with the sums that the statistic needs.
macro_rules! with_terms {
    ($statistic:expr, $build:ident) => {{
        use Statistic::*;
        match $statistic {
            Count => $build::<0, 0>($statistic),
            Sum | Avg | AvgX | AvgY => $build::<X, 1>($statistic),
            VarSample | VarPopulation | StddevSample | StddevPopulation | Sxx | Syy => {
                $build::<{ X | XX }, 2>($statistic)
            }
            CovarSample | CovarPopulation | Sxy => $build::<{ X | Y | XY }, 3>($statistic),
            Slope | Intercept => $build::<{ X | Y | XX | XY }, 4>($statistic),
            Corr | R2 => $build::<{ X | Y | XX | XY | YY }, 5>($statistic),
        }
    }};
}

fn one<const T: u8, const K: usize>(statistic: Statistic) -> Box<dyn Accumulator> {
    Box::new(One::<T, K> { statistic, moments: Moments::default() })
}

fn many<const T: u8, const K: usize>(statistic: Statistic) -> Box<dyn GroupsAccumulator> {
    Box::new(Many::<T, K> { statistic, groups: Vec::new(), heap: 0 })
}

/// The accumulator of one group; it takes rows back, in any order.
pub(super) fn accumulator(statistic: Statistic) -> Box<dyn Accumulator> {
    with_terms!(statistic, one)
}

/// The accumulator of many groups.
pub(super) fn groups_accumulator(statistic: Statistic) -> Box<dyn GroupsAccumulator> {
    with_terms!(statistic, many)
}

/// The arguments of a statistic as (x, y), and where both are there.
struct Columns<'a> {
    x: &'a Float64Array,
    y: &'a Float64Array,
    valid: Option<NullBuffer>,
}

impl<'a> Columns<'a> {
    fn new(statistic: Statistic, values: &'a [ArrayRef]) -> Result<Self> {
        let column = |at: usize| -> Result<&'a Float64Array> {
            values.get(at).and_then(|v| v.as_primitive_opt::<Float64Type>()).ok_or_else(|| {
                DataFusionError::Internal(format!("{statistic:?} needs Float64 in argument {at}"))
            })
        };
        let (first, second) = (column(0)?, column(usize::from(statistic.is_pair()))?);
        let (x, y) = if statistic.x_first() { (first, second) } else { (second, first) };
        Ok(Self { x, y, valid: NullBuffer::union(x.nulls(), y.nulls()) })
    }

    /// Leaves out the rows for which the filter is not true.
    fn only(mut self, filter: Option<&BooleanArray>) -> Self {
        if let Some(filter) = filter {
            let pass = NullBuffer::new(filter.values().clone());
            let pass = NullBuffer::union(Some(&pass), filter.nulls());
            self.valid = NullBuffer::union(self.valid.as_ref(), pass.as_ref());
        }
        self
    }

    /// Calls `row` with row number, x and y of each row that counts, in order.
    #[inline]
    fn each(&self, mut row: impl FnMut(usize, f64, f64)) {
        let (x, y) = (self.x.values(), self.y.values());
        match &self.valid {
            None => x.iter().zip(y.iter()).enumerate().for_each(|(at, (x, y))| row(at, *x, *y)),
            Some(valid) => valid.valid_indices().for_each(|at| row(at, x[at], y[at])),
        }
    }
}

#[derive(Debug)]
struct One<const T: u8, const K: usize> {
    statistic: Statistic,
    moments: Moments<T, K>,
}

impl<const T: u8, const K: usize> Accumulator for One<T, K> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        Columns::new(self.statistic, values)?.each(|_, x, y| {
            self.moments.put::<false>(x, y);
        });
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        Columns::new(self.statistic, values)?.each(|_, x, y| {
            self.moments.put::<true>(x, y);
        });
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(match self.statistic {
            Statistic::Count => ScalarValue::UInt64(Some(self.moments.count)),
            statistic => ScalarValue::Float64(self.moments.evaluate(statistic)),
        })
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut bytes = Vec::new();
        self.moments.write(&mut bytes);
        Ok(vec![ScalarValue::Binary(Some(bytes))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for bytes in state_column(states)?.iter().flatten() {
            self.moments.merge(&Moments::read(bytes)?);
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.moments.heap()
    }
}

fn state_column(states: &[ArrayRef]) -> Result<&datafusion::arrow::array::BinaryArray> {
    let column = states.first().and_then(|s| s.as_binary_opt::<i32>());
    column.ok_or_else(|| DataFusionError::Internal("the state of an exact sum is one Binary column".into()))
}

#[derive(Debug)]
struct Many<const T: u8, const K: usize> {
    statistic: Statistic,
    groups: Vec<Moments<T, K>>,
    /// Bytes in the boxes of all groups.
    heap: usize,
}

impl<const T: u8, const K: usize> Many<T, K> {
    fn emit(&mut self, emit_to: EmitTo) -> Vec<Moments<T, K>> {
        let groups = emit_to.take_needed(&mut self.groups);
        if self.heap > 0 {
            self.heap -= groups.iter().map(Moments::heap).sum::<usize>();
        }
        groups
    }
}

impl<const T: u8, const K: usize> GroupsAccumulator for Many<T, K> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let columns = Columns::new(self.statistic, values)?.only(opt_filter);
        self.groups.resize_with(total_num_groups, Moments::default);
        let groups = &mut self.groups[..];
        let mut grew = 0;
        columns.each(|at, x, y| grew += groups[group_indices[at]].put::<false>(x, y));
        self.heap += grew;
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let groups = self.emit(emit_to);
        if self.statistic == Statistic::Count {
            return Ok(Arc::new(UInt64Array::from_iter_values(groups.iter().map(|g| g.count))));
        }
        let mut values = Float64Builder::with_capacity(groups.len());
        groups.iter().for_each(|group| values.append_option(group.evaluate(self.statistic)));
        Ok(Arc::new(values.finish()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = self.emit(emit_to);
        let mut states = BinaryBuilder::with_capacity(groups.len(), groups.len() * (8 + 33 * K));
        let mut bytes = Vec::new();
        for group in &groups {
            bytes.clear();
            group.write(&mut bytes);
            states.append_value(&bytes);
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize_with(total_num_groups, Moments::default);
        for (bytes, group) in state_column(values)?.iter().zip(group_indices) {
            if let Some(bytes) = bytes {
                self.heap += self.groups[*group].merge(&Moments::read(bytes)?);
            }
        }
        Ok(())
    }

    /// One state per row; NULL, which `merge_batch` skips, where the row does not count.
    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let columns = Columns::new(self.statistic, values)?.only(opt_filter);
        let rows = columns.x.len();
        let mut states = BinaryBuilder::with_capacity(rows, rows * (8 + 33 * K));
        let mut bytes = Vec::new();
        let mut filled = 0;
        columns.each(|at, x, y| {
            (filled..at).for_each(|_| states.append_null());
            filled = at + 1;
            let mut moments = Moments::<T, K>::default();
            moments.put::<false>(x, y);
            bytes.clear();
            moments.write(&mut bytes);
            states.append_value(&bytes);
        });
        (filled..rows).for_each(|_| states.append_null());
        Ok(vec![Arc::new(states.finish())])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.groups.capacity() * size_of::<Moments<T, K>>() + self.heap
    }
}
