//! `min` and `max` over floats: one total order, one zero, one NaN.
//!
//! In:   Float64 or Float32 columns.
//! Out:  the same type. −0.0 is 0.0. NaN is one value and greater than +∞: `max` is NaN when any row is,
//!       `min` only when all are. NULL rows are left out; no rows give NULL.
//! Owns: an ordered key per group, or a multiset of keys where rows are taken back.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// A float type whose values can be ordered as integers.
pub(super) trait Float: ArrowPrimitiveType + std::fmt::Debug + Send + Sync {
    fn widen(value: Self::Native) -> f64;
    fn narrow(value: f64) -> Self::Native;
}

impl Float for Float64Type {
    fn widen(value: f64) -> f64 {
        value
    }
    fn narrow(value: f64) -> f64 {
        value
    }
}

impl Float for Float32Type {
    fn widen(value: f32) -> f64 {
        value.into()
    }
    fn narrow(value: f64) -> f32 {
        value as f32
    }
}

/// An integer that orders as the float does; equal floats, and all NaN, have one key. Neither
/// `i64::MIN` nor `i64::MAX` is a key.
#[inline]
pub(super) fn key(value: f64) -> i64 {
    let one = if value.is_nan() { f64::NAN.abs() } else { value + 0.0 };
    flip(one.to_bits().cast_signed())
}

/// The float of a key.
pub(super) fn value(key: i64) -> f64 {
    f64::from_bits(flip(key).cast_unsigned())
}

fn flip(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// For the group in which nothing was seen: what every key beats.
const fn none(max: bool) -> i64 {
    if max { i64::MIN } else { i64::MAX }
}

fn column<F: Float>(values: &[ArrayRef]) -> Result<&PrimitiveArray<F>> {
    let column = values.first().and_then(|v| v.as_primitive_opt::<F>());
    column.ok_or_else(|| DataFusionError::Internal(format!("min or max needs {}", F::DATA_TYPE)))
}

fn scalar<F: Float>(key: Option<i64>) -> Result<ScalarValue> {
    ScalarValue::new_primitive::<F>(key.map(|k| F::narrow(value(k))), &F::DATA_TYPE)
}

fn unsupported(data_type: &DataType) -> DataFusionError {
    DataFusionError::Internal(format!("min or max of floats asked for {data_type}"))
}

/// Whether this module has `min` and `max` of the type.
pub(super) fn supports(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float64 | DataType::Float32)
}

/// The accumulator of one group; rows are only added.
pub(super) fn accumulator(data_type: &DataType, max: bool) -> Result<Box<dyn Accumulator>> {
    match data_type {
        DataType::Float64 if max => Ok(Box::new(Best::<Float64Type, true>::default())),
        DataType::Float64 => Ok(Box::new(Best::<Float64Type, false>::default())),
        DataType::Float32 if max => Ok(Box::new(Best::<Float32Type, true>::default())),
        DataType::Float32 => Ok(Box::new(Best::<Float32Type, false>::default())),
        other => Err(unsupported(other)),
    }
}

/// The accumulator of one group from which rows can be taken back, in any order.
pub(super) fn sliding_accumulator(data_type: &DataType, max: bool) -> Result<Box<dyn Accumulator>> {
    match data_type {
        DataType::Float64 if max => Ok(Box::new(Sliding::<Float64Type, true>::default())),
        DataType::Float64 => Ok(Box::new(Sliding::<Float64Type, false>::default())),
        DataType::Float32 if max => Ok(Box::new(Sliding::<Float32Type, true>::default())),
        DataType::Float32 => Ok(Box::new(Sliding::<Float32Type, false>::default())),
        other => Err(unsupported(other)),
    }
}

/// The accumulator of many groups.
pub(super) fn groups_accumulator(data_type: &DataType, max: bool) -> Result<Box<dyn GroupsAccumulator>> {
    match data_type {
        DataType::Float64 if max => Ok(Box::new(Many::<Float64Type, true>::default())),
        DataType::Float64 => Ok(Box::new(Many::<Float64Type, false>::default())),
        DataType::Float32 if max => Ok(Box::new(Many::<Float32Type, true>::default())),
        DataType::Float32 => Ok(Box::new(Many::<Float32Type, false>::default())),
        other => Err(unsupported(other)),
    }
}

#[derive(Debug)]
struct Best<F, const MAX: bool> {
    best: Option<i64>,
    of: PhantomData<F>,
}

impl<F, const MAX: bool> Default for Best<F, MAX> {
    fn default() -> Self {
        Self { best: None, of: PhantomData }
    }
}

impl<F: Float, const MAX: bool> Accumulator for Best<F, MAX> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let keys = column::<F>(values)?.iter().flatten().map(|v| key(F::widen(v)));
        let found = if MAX { keys.max() } else { keys.min() };
        self.best = match (self.best, found) {
            (Some(a), Some(b)) => Some(if MAX { a.max(b) } else { a.min(b) }),
            (a, b) => a.or(b),
        };
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        scalar::<F>(self.best)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![scalar::<F>(self.best)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// Its state is the present value alone: whoever goes on taking rows back must rebuild it from rows.
#[derive(Debug)]
struct Sliding<F, const MAX: bool> {
    /// Each key with its number of rows.
    keys: BTreeMap<i64, u64>,
    of: PhantomData<F>,
}

impl<F, const MAX: bool> Default for Sliding<F, MAX> {
    fn default() -> Self {
        Self { keys: BTreeMap::new(), of: PhantomData }
    }
}

impl<F: Float, const MAX: bool> Sliding<F, MAX> {
    fn best(&self) -> Option<i64> {
        let end = if MAX { self.keys.last_key_value() } else { self.keys.first_key_value() };
        end.map(|(key, _)| *key)
    }
}

impl<F: Float, const MAX: bool> Accumulator for Sliding<F, MAX> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in column::<F>(values)?.iter().flatten() {
            *self.keys.entry(key(F::widen(value))).or_default() += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in column::<F>(values)?.iter().flatten() {
            let key = key(F::widen(value));
            match self.keys.get_mut(&key) {
                Some(rows) if *rows > 1 => *rows -= 1,
                Some(_) => {
                    self.keys.remove(&key);
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
        scalar::<F>(self.best())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![scalar::<F>(self.best())?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.keys.len() * 24
    }
}

#[derive(Debug)]
struct Many<F, const MAX: bool> {
    keys: Vec<i64>,
    of: PhantomData<F>,
}

impl<F, const MAX: bool> Default for Many<F, MAX> {
    fn default() -> Self {
        Self { keys: Vec::new(), of: PhantomData }
    }
}

impl<F: Float, const MAX: bool> Many<F, MAX> {
    fn emit(&mut self, emit_to: EmitTo) -> ArrayRef {
        let keys = emit_to.take_needed(&mut self.keys);
        let values = keys.iter().map(|k| (*k != none(MAX)).then(|| F::narrow(value(*k))));
        Arc::new(values.collect::<PrimitiveArray<F>>())
    }

    fn take(&mut self, at: usize, value: F::Native) {
        let key = key(F::widen(value));
        let best = &mut self.keys[at];
        *best = if MAX { key.max(*best) } else { key.min(*best) };
    }
}

/// Which rows count: valid, and passed by the filter.
fn pass(nulls: Option<&NullBuffer>, filter: Option<&BooleanArray>) -> Option<NullBuffer> {
    let Some(filter) = filter else { return nulls.cloned() };
    let pass = NullBuffer::union(Some(&NullBuffer::new(filter.values().clone())), filter.nulls());
    NullBuffer::union(nulls, pass.as_ref())
}

impl<F: Float, const MAX: bool> GroupsAccumulator for Many<F, MAX> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let column = column::<F>(values)?;
        self.keys.resize(total_num_groups, none(MAX));
        match pass(column.nulls(), opt_filter) {
            None => group_indices.iter().zip(column.values()).for_each(|(group, v)| self.take(*group, *v)),
            Some(valid) => {
                valid.valid_indices().for_each(|at| self.take(group_indices[at], column.value(at)));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(self.emit(emit_to))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.emit(emit_to)])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.update_batch(values, group_indices, None, total_num_groups)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let column = column::<F>(values)?;
        let valid = pass(column.nulls(), opt_filter);
        Ok(vec![Arc::new(PrimitiveArray::<F>::new(column.values().clone(), valid))])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.keys.capacity() * size_of::<i64>()
    }
}
