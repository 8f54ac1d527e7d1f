//! Numbers for join keys: equal keys have equal numbers.
//!
//! In:   batches, and the expressions that give a side's key columns.
//! Out:  one number a row, `NONE` where a key column is NULL (NULL never matches).
//! Owns: the keys seen. It cannot forget one: whoever holds the rows clears it and begins anew.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use weir_contract::{Code, Error, Result};

use super::join_rows::NONE;
use crate::base::internal;

/// Keys that are kept without a row before the numbers are made anew. Eyeballed.
const SPARE_KEYS: usize = 4096;

/// See the module.
pub struct JoinKeys {
    schema: SchemaRef,
    values: Option<Box<dyn GroupValues>>,
    numbers: Vec<usize>,
}

impl JoinKeys {
    /// For key expressions over `left` and `right`, pairwise of one type.
    pub fn new(
        left: (&[Arc<dyn PhysicalExpr>], &Schema),
        right: (&[Arc<dyn PhysicalExpr>], &Schema),
    ) -> Result<Self> {
        let types = |(exprs, schema): (&[Arc<dyn PhysicalExpr>], &Schema)| {
            exprs.iter().map(|e| e.data_type(schema).map_err(internal)).collect::<Result<Vec<DataType>>>()
        };
        let (left, right) = (types(left)?, types(right)?);
        if left != right {
            return Err(Error::new(
                Code::Internal,
                format!("a join compares keys of types {left:?} and {right:?}"),
            )
            .expected("casts in the plan"));
        }
        let fields: Vec<Field> =
            left.into_iter().enumerate().map(|(i, t)| Field::new(format!("k{i}"), t, true)).collect();
        let mut keys = Self { schema: Arc::new(Schema::new(fields)), values: None, numbers: Vec::new() };
        keys.clear()?;
        Ok(keys)
    }

    /// Forgets all keys; numbers begin at 0 again.
    pub fn clear(&mut self) -> Result<()> {
        if !self.schema.fields().is_empty() {
            let values = new_group_values(Arc::clone(&self.schema), &GroupOrdering::None);
            self.values = Some(values.map_err(internal)?);
        }
        Ok(())
    }

    /// Keys numbered so far: numbers are below it.
    pub fn count(&self) -> usize {
        self.values.as_ref().map_or(1, |v| v.len())
    }

    /// Whether most keys must belong to no row of `rows` any more.
    pub fn overgrown(&self, rows: usize) -> bool {
        self.count() > 2 * rows + SPARE_KEYS
    }

    pub fn bytes(&self) -> usize {
        self.values.as_ref().map_or(0, |v| v.size())
    }

    /// The numbers of a batch's rows, in row order.
    pub fn number(
        &mut self,
        exprs: &[Arc<dyn PhysicalExpr>],
        batch: &RecordBatch,
        into: &mut Vec<u32>,
    ) -> Result<()> {
        into.clear();
        let rows = batch.num_rows();
        let Some(values) = &mut self.values else {
            into.resize(rows, 0);
            return Ok(());
        };
        let columns = exprs
            .iter()
            .map(|e| e.evaluate(batch).and_then(|v| v.into_array(rows)).map_err(internal))
            .collect::<Result<Vec<ArrayRef>>>()?;
        values.intern(&columns, &mut self.numbers).map_err(internal)?;
        if values.len() >= NONE as usize {
            return Err(Error::new(Code::Internal, "a join holds more than 4 billion keys"));
        }
        let nulls = columns.iter().fold(None, |all: Option<NullBuffer>, c| {
            NullBuffer::union(all.as_ref(), c.logical_nulls().as_ref())
        });
        match nulls.filter(|n| n.null_count() > 0) {
            None => into.extend(self.numbers.iter().map(|n| *n as u32)),
            Some(nulls) => into.extend(
                self.numbers.iter().zip(nulls.iter()).map(|(n, valid)| if valid { *n as u32 } else { NONE }),
            ),
        }
        Ok(())
    }
}
