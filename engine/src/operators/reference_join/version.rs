//! One version of a reference table: its rows in order, and which of them a key has.
//!
//! In:   the whole table.
//! Out:  the rows of a key, in the table's order.
//! Owns: the rows and an index by key, built once. Not until when the version holds.

use std::sync::Arc;

use datafusion::arrow::array::UInt32Array;
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::physical_plan::PhysicalExpr;
use weir_contract::{Code, Error, Result};

use crate::base::internal_arrow;
use crate::operators::join_keys::JoinKeys;
use crate::operators::join_rows::{NONE, RowOrder, bytes_of};

/// See the module.
pub struct Version {
    /// Row time from which it holds.
    pub from: i64,
    rows: RecordBatch,
    right_keys: Vec<Arc<dyn PhysicalExpr>>,
    keys: JoinKeys,
    /// Rows by key, those of one key in the table's order.
    by_key: Vec<u32>,
    /// Rows of key number k: `by_key[starts[k]..starts[k + 1]]`.
    starts: Vec<u32>,
}

impl Version {
    /// O(n log n) for n rows; rows that are equal in `order` stand by all their columns.
    pub fn new(
        from: i64,
        rows: &RecordBatch,
        order: &[usize],
        right_keys: &[Arc<dyn PhysicalExpr>],
        mut keys: JoinKeys,
    ) -> Result<Self> {
        if rows.num_rows() >= NONE as usize {
            return Err(Error::new(Code::Internal, "a reference table has more than 4 billion rows"));
        }
        let all = order.iter().copied().chain(0..rows.num_columns());
        let order = RowOrder::of_comparable(&all.map(|c| Arc::clone(rows.column(c))).collect::<Vec<_>>());
        let mut sorted: Vec<u32> = (0..rows.num_rows() as u32).collect();
        sorted.sort_by(|a, b| order.compare(*a as usize, *b as usize));
        let rows = take_record_batch(rows, &UInt32Array::from(sorted)).map_err(internal_arrow)?;
        let mut numbers = Vec::new();
        keys.number(right_keys, &rows, &mut numbers)?;
        let mut starts = vec![0; keys.count() + 1];
        for number in numbers.iter().filter(|n| **n != NONE) {
            starts[*number as usize + 1] += 1;
        }
        for k in 1..starts.len() {
            starts[k] += starts[k - 1];
        }
        let mut ends = starts.clone();
        let mut by_key = vec![0; starts[starts.len() - 1] as usize];
        for (row, number) in numbers.iter().enumerate().filter(|(_, n)| **n != NONE) {
            let end = &mut ends[*number as usize];
            by_key[*end as usize] = row as u32;
            *end += 1;
        }
        Ok(Self { from, rows, right_keys: right_keys.to_vec(), keys, by_key, starts })
    }

    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// Numbers left rows; a number that is new belongs to a key without rows.
    pub fn number(
        &mut self,
        exprs: &[Arc<dyn PhysicalExpr>],
        left: &RecordBatch,
        into: &mut Vec<u32>,
    ) -> Result<()> {
        if self.keys.overgrown(self.rows.num_rows()) {
            // Same rows, same order: the same numbers again.
            self.keys.clear()?;
            self.keys.number(&self.right_keys, &self.rows, into)?;
        }
        self.keys.number(exprs, left, into)
    }

    /// The rows of a key, in the table's order.
    pub fn rows_of(&self, number: u32) -> &[u32] {
        let number = number as usize;
        match self.starts.get(number..number + 2) {
            Some([start, end]) => &self.by_key[*start as usize..*end as usize],
            _ => &[],
        }
    }

    pub fn bytes(&self) -> usize {
        bytes_of(&self.rows) + 4 * (self.by_key.len() + self.starts.len()) + self.keys.bytes()
    }
}
