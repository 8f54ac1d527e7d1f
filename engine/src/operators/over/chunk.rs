//! Rows of one advance, grouped by key, with the functions' arguments evaluated once.
//!
//! In:   final rows in canonical order, cut down to the columns that partitioning and functions read.
//! Out:  `Chunk`: key after key, each in canonical order.
//! Owns: the narrow schema and the expressions rewritten to it.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use datafusion::arrow::compute::{cast, filter, prep_null_mask_filter};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use weir_contract::{Code, Error, Result};

use super::{OverFunction, OverSpec, microseconds};
use crate::base::{internal, internal_arrow};

/// A function over the narrow schema.
pub(super) struct Function {
    pub spec: OverFunction,
    /// The aggregate's arguments, or the one value.
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    /// The aggregate's filter.
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// LAG's default.
    default: Option<Arc<dyn PhysicalExpr>>,
    pub data_type: DataType,
}

impl Function {
    /// A fresh accumulator, for an aggregate.
    pub fn accumulator(&self) -> Result<Option<Box<dyn Accumulator>>> {
        match &self.spec {
            OverFunction::Aggregate { function, .. } => {
                let accumulator = function.create_sliding_accumulator().map_err(|e| {
                    Error::new(
                        Code::NotYet,
                        format!("{} over a moving frame: {}", function.name(), e.strip_backtrace()),
                    )
                    .expected(
                        "an aggregate that can take rows back, such as sum, avg, count, min, max, regr_slope",
                    )
                })?;
                Ok(Some(accumulator))
            }
            _ => Ok(None),
        }
    }
}

/// One function's columns in a chunk.
pub(super) struct Columns {
    /// Arguments of the rows that pass the filter.
    pub arguments: Vec<ArrayRef>,
    /// How many rows before each row pass, one entry more than rows; `None` without a filter.
    pub passed: Option<Vec<u32>>,
    /// LAG's default, for each row.
    pub default: Option<ArrayRef>,
}

impl Columns {
    /// Where the arguments of a range of rows stand.
    pub fn places(&self, from: usize, to: usize) -> (usize, usize) {
        match &self.passed {
            None => (from, to),
            Some(passed) => (passed[from] as usize, passed[to] as usize),
        }
    }
}

/// Rows grouped by key.
pub(super) struct Chunk {
    pub rows: RecordBatch,
    pub times: Int64Array,
    /// Parallel to the functions.
    pub columns: Vec<Columns>,
    /// Index of the key, first row, number of rows.
    pub segments: Vec<(u32, usize, usize)>,
    pub latest: i64,
}

impl Chunk {
    pub fn new(narrow: &Narrow, rows: RecordBatch, segments: Vec<(u32, usize, usize)>) -> Result<Self> {
        let times = microseconds(rows.column(narrow.time))?;
        let latest = datafusion::arrow::compute::max(&times).unwrap_or(i64::MIN);
        let columns = narrow.functions.iter().map(|f| columns(f, &rows)).collect::<Result<_>>()?;
        Ok(Self { rows, times, columns, segments, latest })
    }

    pub fn bytes(&self) -> usize {
        let own = |c: &Columns| c.arguments.iter().map(|a| a.get_array_memory_size()).sum::<usize>();
        self.rows.get_array_memory_size() + self.columns.iter().map(own).sum::<usize>()
    }
}

/// Evaluates an expression on a whole batch.
fn evaluate(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    expr.evaluate(rows)
        .and_then(|value| value.into_array(rows.num_rows()))
        .map_err(|e| Error::new(Code::Expression, format!("{expr} in OVER: {}", e.strip_backtrace())))
}

fn columns(function: &Function, rows: &RecordBatch) -> Result<Columns> {
    let mut arguments = function.arguments.iter().map(|e| evaluate(e, rows)).collect::<Result<Vec<_>>>()?;
    let cast_default = |e| cast(&evaluate(e, rows)?, &function.data_type).map_err(internal_arrow);
    let default = function.default.as_ref().map(cast_default).transpose()?;
    let mut passed = None;
    if let Some(expr) = &function.filter {
        let pass = evaluate(expr, rows)?;
        let pass = pass.as_boolean_opt().ok_or_else(|| {
            Error::new(Code::Internal, format!("the FILTER {expr} is {} and not boolean", pass.data_type()))
        })?;
        let pass = if pass.null_count() > 0 { prep_null_mask_filter(pass) } else { pass.clone() };
        let mut count = 0u32;
        let counts = std::iter::once(0).chain(pass.values().iter().map(|p| {
            count += u32::from(p);
            count
        }));
        passed = Some(counts.collect());
        for argument in &mut arguments {
            *argument = filter(argument, &pass).map_err(internal_arrow)?;
        }
    }
    Ok(Columns { arguments, passed, default })
}

/// The columns that OVER has to keep, and its expressions over them.
pub(super) struct Narrow {
    schema: SchemaRef,
    /// The input's columns that are kept, ascending.
    columns: Vec<usize>,
    /// The ORDER BY column among those.
    pub time: usize,
    partition_by: Vec<Arc<dyn PhysicalExpr>>,
    pub functions: Vec<Function>,
}

impl Narrow {
    pub fn new(spec: &OverSpec, time: usize) -> Result<Self> {
        let parts = |function: &OverFunction| match function {
            OverFunction::Aggregate { function, filter, .. } => {
                (function.expressions(), filter.clone(), None)
            }
            OverFunction::Lag { value, default, .. } => (vec![Arc::clone(value)], None, default.clone()),
            OverFunction::FirstValue { value, .. } | OverFunction::LastValue { value, .. } => {
                (vec![Arc::clone(value)], None, None)
            }
        };
        let mut columns = vec![time];
        let mut note =
            |expr: &Arc<dyn PhysicalExpr>| columns.extend(collect_columns(expr).iter().map(Column::index));
        spec.partition_by.iter().for_each(&mut note);
        for (arguments, filter, default) in spec.functions.iter().map(parts) {
            arguments.iter().chain(&filter).chain(&default).for_each(&mut note);
        }
        columns.sort_unstable();
        columns.dedup();
        let schema = spec.input.schema.project(&columns).map_err(internal_arrow)?;
        let moved = |expr: &Arc<dyn PhysicalExpr>| narrowed(expr, &columns);
        let mut functions = Vec::with_capacity(spec.functions.len());
        let width = spec.input.schema.fields().len();
        for (at, function) in spec.functions.iter().enumerate() {
            let (arguments, filter, default) = parts(function);
            functions.push(Function {
                spec: function.clone(),
                arguments: arguments.iter().map(moved).collect::<Result<_>>()?,
                filter: filter.as_ref().map(moved).transpose()?,
                default: default.as_ref().map(moved).transpose()?,
                data_type: spec.output.schema.field(width + at).data_type().clone(),
            });
        }
        let partition_by = spec.partition_by.iter().map(moved).collect::<Result<_>>()?;
        let time = columns.partition_point(|c| *c < time);
        Ok(Self { schema: Arc::new(schema), columns, time, partition_by, functions })
    }

    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Types of the partition key.
    pub fn key_types(&self) -> Result<Vec<DataType>> {
        let schema: &Schema = &self.schema;
        self.partition_by.iter().map(|e| e.data_type(schema).map_err(internal)).collect()
    }

    /// The partition key of rows of the narrow schema.
    pub fn key(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.partition_by.iter().map(|e| evaluate(e, rows)).collect()
    }
}

/// The expression with its columns counted in the narrow schema.
fn narrowed(expr: &Arc<dyn PhysicalExpr>, columns: &[usize]) -> Result<Arc<dyn PhysicalExpr>> {
    let moved = Arc::clone(expr).transform_up(|node| {
        let Some(column) = node.downcast_ref::<Column>() else {
            return Ok(Transformed::no(node));
        };
        let at = columns.partition_point(|c| *c < column.index());
        let moved: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), at));
        Ok(Transformed::yes(moved))
    });
    moved.map(|t| t.data).map_err(internal)
}
