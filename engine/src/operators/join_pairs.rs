//! Makes a join's output of pairs of rows: further conditions, unmatched rows, columns.
//!
//! In:   a batch of left rows in canonical order; for each in turn, its candidates on the right.
//! Out:  batches of the output's schema: left row by left row, its matches in the right's order.
//! Owns: the candidates of the left rows not written yet.
//!
//! P1  A left row's candidates are written together, so that a condition decides on all of them.
//! P2  A condition sees only the columns that it names; each output column is gathered once.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::PhysicalExpr;
use weir_contract::{Code, Error, Result};

use super::join_rows::{CHUNK_ROWS, Gather, RowOrder, Spot, gather_column};
use super::{JoinKind, Out};
use crate::base::{internal, internal_arrow};

/// A condition on pairs, over the columns that it names.
struct Residual {
    expr: Arc<dyn PhysicalExpr>,
    /// Output columns, in the order in which `expr` counts them.
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl Residual {
    fn new(expr: &Arc<dyn PhysicalExpr>, output: &SchemaRef) -> Result<Self> {
        let mut columns: Vec<usize> = collect_columns(expr).iter().map(Column::index).collect();
        columns.sort_unstable();
        columns.dedup();
        let fields = |c: &usize| output.fields().get(*c).map(|f| f.as_ref().clone().with_nullable(true));
        let fields: Option<Vec<_>> = columns.iter().map(fields).collect();
        let fields =
            fields.ok_or_else(|| Error::new(Code::Internal, "a join condition names a column it has not"))?;
        let renumber = |e: Arc<dyn PhysicalExpr>| {
            let new = e.downcast_ref::<Column>().and_then(|column| {
                let at = columns.binary_search(&column.index()).ok()?;
                Some(Arc::new(Column::new(column.name(), at)) as Arc<dyn PhysicalExpr>)
            });
            Ok(new.map_or_else(|| Transformed::no(Arc::clone(&e)), Transformed::yes))
        };
        let expr = Arc::clone(expr).transform_down(renumber).data().map_err(internal)?;
        Ok(Self { expr, columns, schema: Arc::new(Schema::new(fields)) })
    }
}

/// See the module.
pub struct JoinPairs {
    kind: JoinKind,
    output: SchemaRef,
    left_columns: usize,
    /// Columns of the right by which a left row's candidates still have to be ordered.
    sort_by: Vec<usize>,
    residual: Option<Residual>,
    left: Vec<u32>,
    right: Vec<Spot>,
    /// First left row that is not written yet.
    from: u32,
}

impl JoinPairs {
    /// `output` has the left's columns, then the right's. `sort_by`: right columns; empty where
    /// candidates come in the right's order.
    pub fn new(
        kind: JoinKind,
        output: SchemaRef,
        (left, right): (&SchemaRef, &SchemaRef),
        sort_by: Vec<usize>,
        residual: Option<&Arc<dyn PhysicalExpr>>,
    ) -> Result<Self> {
        let types =
            |s: &SchemaRef| -> Vec<DataType> { s.fields().iter().map(|f| f.data_type().clone()).collect() };
        let inputs: Vec<DataType> = types(left).into_iter().chain(types(right)).collect();
        if types(&output) != inputs {
            return Err(Error::new(Code::Internal, "a join's output has not the columns of its inputs")
                .expected(format!("{inputs:?}")));
        }
        let residual = residual.map(|r| Residual::new(r, &output)).transpose()?;
        Ok(Self {
            kind,
            output,
            left_columns: left.fields().len(),
            sort_by,
            residual,
            left: Vec::new(),
            right: Vec::new(),
            from: 0,
        })
    }

    /// Adds a candidate. Left rows ascend; one left row's candidates come one after the other.
    #[inline]
    pub fn add(&mut self, left: u32, right: Spot) {
        self.left.push(left);
        self.right.push(right);
    }

    /// Whether to write before the next left row.
    pub fn full(&self) -> bool {
        self.left.len() >= CHUNK_ROWS
    }

    /// Writes the left rows before `until`, all of whose candidates were added. `end`: the batch
    /// ends there, the next one begins at row 0. Gives the number of left rows without a match.
    pub fn write(
        &mut self,
        left: &RecordBatch,
        until: u32,
        rights: &[&RecordBatch],
        end: bool,
        out: &mut Out,
    ) -> Result<u64> {
        if !self.sort_by.is_empty() {
            self.sort_candidates(rights)?;
        }
        if let Some(residual) = &self.residual
            && !self.left.is_empty()
        {
            let keep = self.holds(residual, left, rights)?;
            let mut at = keep.iter();
            self.left.retain(|_| at.next() == Some(&true));
            let mut at = keep.iter();
            self.right.retain(|_| at.next() == Some(&true));
        }
        let unmatched = self.add_unmatched(until);
        if !self.left.is_empty() {
            let (l, r) = (Gather::rows(&self.left), Gather::new(&self.right));
            let all = 0..self.output.fields().len();
            let columns = all.map(|c| self.column(c, left, rights, &l, &r)).collect::<Result<Vec<_>>>()?;
            out.emit(RecordBatch::try_new(Arc::clone(&self.output), columns).map_err(internal_arrow)?);
        }
        self.left.clear();
        self.right.clear();
        self.from = if end { 0 } else { until };
        Ok(unmatched)
    }

    fn column(
        &self,
        column: usize,
        left: &RecordBatch,
        rights: &[&RecordBatch],
        l: &Gather,
        r: &Gather,
    ) -> Result<ArrayRef> {
        let data_type = self.output.field(column).data_type();
        match column.checked_sub(self.left_columns) {
            None => gather_column(&[left], column, data_type, l),
            Some(column) => gather_column(rights, column, data_type, r),
        }
    }

    fn holds(&self, residual: &Residual, left: &RecordBatch, rights: &[&RecordBatch]) -> Result<Vec<bool>> {
        let (l, r) = (Gather::rows(&self.left), Gather::new(&self.right));
        let columns = residual
            .columns
            .iter()
            .map(|c| self.column(*c, left, rights, &l, &r))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.left.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&residual.schema), columns, &options)
            .map_err(internal_arrow)?;
        let value = residual.expr.evaluate(&batch).map_err(internal)?;
        let holds = value.into_array(self.left.len()).map_err(internal)?;
        let holds = holds.as_boolean_opt().ok_or_else(|| {
            Error::new(Code::Internal, format!("a join condition is {}", holds.data_type()))
                .expected("Boolean")
        })?;
        Ok(holds.iter().map(|h| h == Some(true)).collect())
    }

    /// Counts the left rows without a pair; a left join gets them, each in its place.
    fn add_unmatched(&mut self, until: u32) -> u64 {
        let pairs = self.left.len();
        let matched = (0..pairs).filter(|i| *i == 0 || self.left[i - 1] != self.left[*i]).count();
        let unmatched = (until - self.from) as usize - matched;
        if self.kind == JoinKind::Inner || unmatched == 0 {
            return unmatched as u64;
        }
        let mut left = Vec::with_capacity(pairs + unmatched);
        let mut right = Vec::with_capacity(pairs + unmatched);
        let mut at = 0;
        for row in self.from..until {
            let start = at;
            while at < pairs && self.left[at] == row {
                left.push(row);
                right.push(self.right[at]);
                at += 1;
            }
            if at == start {
                left.push(row);
                right.push(Spot::NULLS);
            }
        }
        (self.left, self.right) = (left, right);
        unmatched as u64
    }

    fn sort_candidates(&mut self, rights: &[&RecordBatch]) -> Result<()> {
        if self.left.windows(2).all(|w| w[0] != w[1]) {
            return Ok(());
        }
        let spots = self.right.clone();
        let gather = Gather::new(&spots);
        let column = |c: &usize| {
            let data_type = self.output.field(self.left_columns + c).data_type();
            gather_column(rights, *c, data_type, &gather)
        };
        let order = RowOrder::new(&self.sort_by.iter().map(column).collect::<Result<Vec<_>>>()?)?;
        let mut ranks: Vec<usize> = (0..spots.len()).collect();
        for run in ranks.chunk_by_mut(|a, b| self.left[*a] == self.left[*b]) {
            run.sort_by(|a, b| order.compare(*a, *b));
        }
        for (spot, rank) in self.right.iter_mut().zip(ranks) {
            *spot = spots[rank];
        }
        Ok(())
    }
}
