//! Projection and filter: stateless, row by row, on arrival.
//!
//! In and out: one stream. Rows keep their order; frontiers pass with constant shifts.

use std::sync::Arc;

use datafusion::arrow::array::{BooleanArray, as_boolean_array};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::physical_expr::PhysicalExpr;
use weir_contract::{Code, Error, Result, Span};

use super::{Operator, Out};
use crate::base::{internal, internal_arrow, shift};
use crate::state::{Loader, Saver};

/// Computes columns.
pub struct Project {
    columns: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    /// For each output time: the input's entry and a constant added to it.
    times: Vec<(usize, Span)>,
}

impl Project {
    pub fn new(columns: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef, times: Vec<(usize, Span)>) -> Self {
        Self { columns, schema, times }
    }
}

impl Operator for Project {
    fn push(&mut self, _port: usize, batch: RecordBatch, out: &mut Out) -> Result<()> {
        let rows = batch.num_rows();
        let columns = self
            .columns
            .iter()
            .map(|e| e.evaluate(&batch).and_then(|v| v.into_array(rows)))
            .collect::<datafusion::error::Result<Vec<_>>>()
            .map_err(failed)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        out.emit(
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
                .map_err(internal_arrow)?,
        );
        Ok(())
    }

    fn advance(&mut self, frontiers: &[&[i64]], _out: &mut Out) -> Result<Vec<i64>> {
        Ok(self.times.iter().map(|(time, by)| shift(frontiers[0][*time], *by)).collect())
    }

    fn bytes(&self) -> usize {
        0
    }

    fn snapshot(&mut self, _into: &mut Saver) -> Result<()> {
        Ok(())
    }

    fn restore(&mut self, _from: &mut Loader<'_>) -> Result<()> {
        Ok(())
    }
}

/// Keeps the rows whose predicate is true; NULL is not.
pub struct Filter {
    predicate: Arc<dyn PhysicalExpr>,
}

impl Filter {
    pub fn new(predicate: Arc<dyn PhysicalExpr>) -> Self {
        Self { predicate }
    }
}

impl Operator for Filter {
    fn push(&mut self, _port: usize, batch: RecordBatch, out: &mut Out) -> Result<()> {
        let kept =
            self.predicate.evaluate(&batch).and_then(|v| v.into_array(batch.num_rows())).map_err(failed)?;
        let kept: &BooleanArray = as_boolean_array(&kept);
        if kept.true_count() == batch.num_rows() {
            out.emit(batch);
        } else {
            out.emit(filter_record_batch(&batch, kept).map_err(internal_arrow)?);
        }
        Ok(())
    }

    fn advance(&mut self, frontiers: &[&[i64]], _out: &mut Out) -> Result<Vec<i64>> {
        Ok(frontiers[0].to_vec())
    }

    fn bytes(&self) -> usize {
        0
    }

    fn snapshot(&mut self, _into: &mut Saver) -> Result<()> {
        Ok(())
    }

    fn restore(&mut self, _from: &mut Loader<'_>) -> Result<()> {
        Ok(())
    }
}

/// Rows of several streams of one shape as one stream.
pub struct Union {
    schema: SchemaRef,
}

impl Union {
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }
}

impl Operator for Union {
    fn push(&mut self, _port: usize, batch: RecordBatch, out: &mut Out) -> Result<()> {
        out.emit(
            RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())
                .map_err(internal_arrow)?,
        );
        Ok(())
    }

    fn advance(&mut self, frontiers: &[&[i64]], _out: &mut Out) -> Result<Vec<i64>> {
        let least = |at: usize| frontiers.iter().map(|port| port[at]).min().unwrap_or(crate::base::NOTHING);
        Ok((0..frontiers[0].len()).map(least).collect())
    }

    fn bytes(&self) -> usize {
        0
    }

    fn snapshot(&mut self, _into: &mut Saver) -> Result<()> {
        Ok(())
    }

    fn restore(&mut self, _from: &mut Loader<'_>) -> Result<()> {
        Ok(())
    }
}

fn failed(error: datafusion::error::DataFusionError) -> Error {
    match error {
        datafusion::error::DataFusionError::Internal(_) => internal(error),
        other => Error::new(Code::Expression, other.strip_backtrace()),
    }
}
