//! GENERATED columns: expressions over the table's other columns, planned once.
//!
//! In:   the other columns of a batch. Out: the generated ones, in DDL order.
//! Owns: nothing but their values. A cast or an integer division that fails on a row gives NULL, as in
//! views. Where a function fails on a batch, its rows are tried alone, and those it fails on are rejects.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, new_null_array};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::{Expr, TryCast, Volatility};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::ExprWithAlias;
use weir_contract::{Code, Error, Result};

use super::Reject;
use crate::base::{internal, internal_arrow};
use crate::sql::catalog::{ColumnSource, ColumnSpec};
use crate::sql::plan::expr::{plan_error, resolve};

/// Generated columns in DDL order; rejects by row of the batch, ascending.
pub(super) type Evaluated = (Vec<ArrayRef>, Vec<(usize, Reject)>);

/// The generated columns of one table.
#[derive(Debug)]
pub(super) struct Generated {
    /// The columns that expressions read, and where they stand in the table.
    inputs: SchemaRef,
    indices: Vec<usize>,
    columns: Vec<(String, DataType, Arc<dyn PhysicalExpr>)>,
}

impl Generated {
    /// None where the table generates nothing.
    ///
    /// # Errors
    /// At the column: unknown names, types that do not fit, functions of the clock or of chance.
    pub fn plan(columns: &[ColumnSpec]) -> Result<Option<Generated>> {
        let is_generated = |c: &&ColumnSpec| matches!(c.source, ColumnSource::Generated(_));
        if !columns.iter().any(|c| is_generated(&c)) {
            return Ok(None);
        }
        let fields: Vec<Field> = columns
            .iter()
            .filter(|c| !is_generated(c))
            .map(|c| Field::new(&c.name, c.data_type.clone(), true))
            .collect();
        let inputs: SchemaRef = Arc::new(Schema::new(fields));
        let names = DFSchema::try_from(Arc::clone(&inputs)).map_err(internal)?;
        let state = SessionContext::new().state();
        let mut resolved = Vec::new();
        for column in columns {
            let ColumnSource::Generated(sql) = &column.source else { continue };
            let at = |error: Error| error.or_at(column.place.clone());
            let sql = ExprWithAlias { expr: sql.clone(), alias: None };
            let expr =
                state.create_logical_expr_from_sql_expr(sql, &names).map_err(plan_error).map_err(at)?;
            let volatile = expr
                .exists(|e| {
                    Ok(matches!(e, Expr::ScalarFunction(f)
                        if f.func.signature().volatility != Volatility::Immutable))
                })
                .map_err(internal)?;
            if volatile {
                return Err(Error::new(
                    Code::NotImmutable,
                    format!("`{}` is not the same each time", column.name),
                )
                .at(column.place.clone())
                .expected("an expression over the record's columns alone"));
            }
            let map: Vec<usize> = (0..inputs.fields().len()).collect();
            let expr = unnormalize_col(resolve(&expr, &names, &map, &inputs).map_err(at)?);
            let cast = Expr::TryCast(TryCast::new(Box::new(expr), column.data_type.clone()));
            resolved.push((column, cast));
        }
        // Nothing else is built for them.
        let read =
            |c: &&ColumnSpec| resolved.iter().any(|(_, e)| e.column_refs().iter().any(|r| r.name == c.name));
        let indices: Vec<usize> = columns
            .iter()
            .enumerate()
            .filter(|(_, c)| !is_generated(c) && read(c))
            .map(|(index, _)| index)
            .collect();
        let fields = indices.iter().map(|index| &columns[*index]);
        let fields: Vec<Field> = fields.map(|c| Field::new(&c.name, c.data_type.clone(), true)).collect();
        let inputs: SchemaRef = Arc::new(Schema::new(fields));
        let names = DFSchema::try_from(Arc::clone(&inputs)).map_err(internal)?;
        let physical = |(column, expr): (&ColumnSpec, Expr)| {
            let planned = state.create_physical_expr(expr, &names).map_err(plan_error);
            let planned = planned.map_err(|e| e.or_at(column.place.clone()))?;
            Ok((column.name.clone(), column.data_type.clone(), planned))
        };
        let columns = resolved.into_iter().map(physical).collect::<Result<_>>()?;
        Ok(Some(Generated { inputs, indices, columns }))
    }

    /// The table's columns that the expressions read.
    pub fn inputs(&self) -> impl Iterator<Item = usize> {
        self.indices.iter().copied()
    }

    /// Evaluates over `rows` rows of the table's columns.
    pub fn evaluate(&self, columns: &[Option<ArrayRef>], rows: usize) -> Result<Evaluated> {
        let input = |index: &usize| columns.get(*index).cloned().flatten();
        let inputs: Vec<ArrayRef> = self.indices.iter().filter_map(input).collect();
        let options = datafusion::arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.inputs), inputs, &options)
            .map_err(internal_arrow)?;
        let mut rejects = Vec::new();
        let mut columns = Vec::new();
        for (name, data_type, expr) in &self.columns {
            let mut parts = Vec::new();
            pieces(&batch, 0, name, data_type, expr, &mut parts, &mut rejects)?;
            let parts: Vec<&dyn datafusion::arrow::array::Array> = parts.iter().map(AsRef::as_ref).collect();
            columns.push(match parts.len() {
                0 => new_null_array(data_type, 0),
                _ => concat(&parts).map_err(internal_arrow)?,
            });
        }
        rejects.sort_by_key(|(row, _)| *row);
        rejects.dedup_by_key(|(row, _)| *row);
        Ok((columns, rejects))
    }
}

/// Evaluates a batch whole; where that fails, its halves, down to the single rows at fault.
fn pieces(
    batch: &RecordBatch,
    from: usize,
    name: &str,
    data_type: &DataType,
    expr: &Arc<dyn PhysicalExpr>,
    parts: &mut Vec<ArrayRef>,
    rejects: &mut Vec<(usize, Reject)>,
) -> Result<()> {
    let rows = batch.num_rows();
    if rows == 0 {
        return Ok(());
    }
    match expr.evaluate(batch).and_then(|value| value.into_array(rows)) {
        Ok(array) => parts.push(array),
        Err(error) if rows == 1 => {
            rejects
                .push((from, Reject::new(Code::BadRecord, format!("`{name}`: {}", error.strip_backtrace()))));
            parts.push(new_null_array(data_type, 1));
        }
        Err(_) => {
            let half = rows / 2;
            pieces(&batch.slice(0, half), from, name, data_type, expr, parts, rejects)?;
            pieces(&batch.slice(half, rows - half), from + half, name, data_type, expr, parts, rejects)?;
        }
    }
    Ok(())
}
