//! Turns states that are final into the operator's rows.
//!
//! In:   batches of states, each for a window or for none. Out: rows of the output schema.
//! Owns: the output's columns and their order.
//!
//! A1  Rows come in canonical order: window end or first time key, then the groups ascending, NULLs
//!     first. Calls with ascending windows or times give one ordered sequence.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StructArray, UInt32Array};
use datafusion::arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::row::{RowConverter, SortField};
use weir_contract::{Code, Error, Result};

use super::WindowSpec;
use super::layout::{Layout, MICROS, PANE_COLUMN, time_array, time_values};
use super::table::Table;
use crate::base::internal_arrow;

const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: true };

/// States that belong to one window, by its end; 0 where there are no windows.
pub type Part = (i64, RecordBatch);

/// How output rows are made.
pub struct Answers {
    layout: Arc<Layout>,
    schema: SchemaRef,
    /// Place of the window column, its fields and its size.
    window: Option<(usize, Fields, i64)>,
}

impl Answers {
    pub fn new(layout: Arc<Layout>, schema: SchemaRef, window: Option<WindowSpec>) -> Result<Answers> {
        let columns = layout.groups + layout.functions.len() + 2 * usize::from(window.is_some());
        if schema.fields().len() != columns || window.is_some_and(|w| w.position > layout.groups) {
            return Err(Error::new(
                Code::Internal,
                format!("an aggregate with {} columns", schema.fields().len()),
            )
            .expected(format!("{columns}: groups, window, aggregates, __t")));
        }
        let window = window.map(|w| match schema.field(w.position).data_type() {
            DataType::Struct(fields)
                if fields.len() == 2 && fields.iter().all(|f| f.data_type() == &MICROS) =>
            {
                Ok((w.position, fields.clone(), w.size))
            }
            other => Err(Error::new(Code::Internal, format!("a window column of type {other}"))
                .expected("Struct<start: Timestamp(us), end: Timestamp(us)>")),
        });
        Ok(Answers { layout, schema, window: window.transpose()? })
    }

    /// Answers of parts that hold all states of their windows (or of their groups).
    pub fn of(&self, parts: &[Part]) -> Result<RecordBatch> {
        let groups = self.layout.groups;
        let same_window = parts.windows(2).all(|p| p[0].0 == p[1].0);
        let unique = match self.window {
            // Slices of one run hold a key once; a window may stand in several runs.
            Some(_) if self.layout.panes.is_some_and(|p| p.tumbling()) => {
                parts.windows(2).all(|p| p[0].0 < p[1].0)
            }
            _ => parts.len() < 2 && self.window.is_none(),
        };
        let (mut columns, ends) = if unique {
            self.of_unique(parts)?
        } else if same_window && groups > 0 {
            let columns = self.merged(parts, false)?;
            let ends = parts.first().map(|(end, _)| vec![*end; columns[0].len()]).unwrap_or_default();
            (columns, ends)
        } else {
            let mut columns = self.merged(parts, true)?;
            let ends = time_values(&columns.remove(groups))?.to_vec();
            (columns, ends)
        };
        let order = self.order(&columns, &ends, same_window)?;
        for column in &mut columns {
            *column = take(column, &order, None).map_err(internal_arrow)?;
        }
        if let Some((position, fields, size)) = &self.window {
            let ends: Vec<i64> = order.values().iter().map(|&row| ends[row as usize]).collect();
            let start = time_array(ends.iter().map(|end| end - size).collect());
            let time = time_array(ends.iter().map(|end| end - 1).collect());
            let window = StructArray::try_new(fields.clone(), vec![start, time_array(ends)], None);
            columns.insert(*position, Arc::new(window.map_err(internal_arrow)?));
            columns.push(time);
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(internal_arrow)
    }

    /// Groups and answers where no key stands twice; the window ends beside them.
    fn of_unique(&self, parts: &[Part]) -> Result<(Vec<ArrayRef>, Vec<i64>)> {
        let whole = match parts {
            [(_, only)] => only.clone(),
            _ => concat_batches(&self.layout.schema, parts.iter().map(|(_, b)| b)).map_err(internal_arrow)?,
        };
        let ends = parts.iter().flat_map(|(end, b)| std::iter::repeat_n(*end, b.num_rows())).collect();
        let (keys, states) = whole.columns().split_at(self.layout.keys);
        let mut columns = keys[..self.layout.groups].to_vec();
        columns.extend(self.layout.functions.answers_of_unique(states, whole.num_rows())?);
        Ok((columns, ends))
    }

    /// Groups, window ends where asked for, and answers.
    fn merged(&self, parts: &[Part], with_ends: bool) -> Result<Vec<ArrayRef>> {
        let mut fields = self.layout.schema.fields()[..self.layout.groups].to_vec();
        if with_ends && self.window.is_some() {
            fields.push(Arc::new(Field::new(PANE_COLUMN, MICROS, false)));
        }
        let mut table = Table::new(Arc::clone(&self.layout.functions), Arc::new(Schema::new(fields)))?;
        for (end, batch) in parts {
            let (keys, states) = batch.columns().split_at(self.layout.keys);
            let mut keys = keys[..self.layout.groups].to_vec();
            if with_ends && self.window.is_some() {
                keys.push(time_array(vec![*end; batch.num_rows()]));
            }
            table.merge(&keys, states)?;
        }
        table.take_answers()
    }

    /// The canonical order of rows.
    fn order(&self, columns: &[ArrayRef], ends: &[i64], same_window: bool) -> Result<UInt32Array> {
        let groups = &columns[..self.layout.groups];
        let mut by: Vec<ArrayRef> = Vec::with_capacity(groups.len() + 1);
        match self.window {
            Some(_) if same_window && !groups.is_empty() => by.extend_from_slice(groups),
            Some(_) => {
                by.push(time_array(ends.to_vec()));
                by.extend_from_slice(groups);
            }
            None => {
                by.push(Arc::clone(&groups[self.layout.time]));
                by.extend(
                    groups
                        .iter()
                        .enumerate()
                        .filter(|(g, _)| *g != self.layout.time)
                        .map(|(_, c)| Arc::clone(c)),
                );
            }
        }
        if let [single] = by.as_slice()
            && single.data_type().is_primitive()
        {
            let column = SortColumn { values: Arc::clone(single), options: Some(ASCENDING) };
            return lexsort_to_indices(&[column], None).map_err(internal_arrow);
        }
        let fields =
            by.iter().map(|c| SortField::new_with_options(c.data_type().clone(), ASCENDING)).collect();
        let rows = RowConverter::new(fields).and_then(|c| c.convert_columns(&by)).map_err(internal_arrow)?;
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
        order.sort_unstable_by_key(|&row| rows.row(row as usize));
        Ok(order.into())
    }
}
