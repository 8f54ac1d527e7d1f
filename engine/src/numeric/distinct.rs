//! `sum`, `avg`, `var*` and `stddev*` over the distinct values of a Float64 column.
//!
//! In:   one Float64 column; state columns.
//! Out:  the statistic over each value once; −0.0 and 0.0 are one value, and so are all NaN.
//! Owns: the values with their number of rows, so that rows can be taken back. The state lists the values
//!       in ascending order, without those numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Accumulator;

use super::extremes::{key, value};
use super::moments::{Moments, Statistic, X, XX};

/// Each distinct value, by the key that orders it, with its number of rows.
#[derive(Debug)]
pub(super) struct Distinct {
    statistic: Statistic,
    values: BTreeMap<i64, u64>,
}

impl Distinct {
    pub fn new(statistic: Statistic) -> Self {
        Self { statistic, values: BTreeMap::new() }
    }

    fn column(values: &ArrayRef) -> Result<&datafusion::arrow::array::Float64Array> {
        values
            .as_primitive_opt::<Float64Type>()
            .ok_or_else(|| DataFusionError::Internal("a distinct statistic needs Float64".into()))
    }

    fn add(&mut self, values: &ArrayRef) -> Result<()> {
        for value in Self::column(values)?.iter().flatten() {
            *self.values.entry(key(value)).or_default() += 1;
        }
        Ok(())
    }
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0])
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in Self::column(&values[0])?.iter().flatten() {
            let key = key(value);
            match self.values.get_mut(&key) {
                Some(rows) if *rows > 1 => *rows -= 1,
                Some(_) => {
                    self.values.remove(&key);
                }
                None => {
                    return Err(DataFusionError::Internal("a row is taken back that was never added".into()));
                }
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut moments = Moments::<{ X | XX }, 2>::default();
        for key in self.values.keys() {
            let x = value(*key);
            moments.put::<false>(x, x);
        }
        Ok(ScalarValue::Float64(moments.evaluate(self.statistic)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Vec<_> = self.values.keys().map(|k| ScalarValue::Float64(Some(value(*k)))).collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Float64))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0]
            .as_list_opt::<i32>()
            .ok_or_else(|| DataFusionError::Internal("the state of a distinct statistic is a list".into()))?;
        lists.iter().flatten().try_for_each(|list| self.add(&Arc::clone(&list)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.len() * 24
    }
}
