//! Which columns of a table are built.
//!
//! In:   a table and the columns that somebody reads. Out: for each column of the DDL a type, or nothing.
//! Owns: nothing of a record's fate: a column that is not built is checked like one that is.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StructArray};
use datafusion::arrow::datatypes::{DataType, Schema};
use weir_contract::{Code, Error, Result};

use crate::base::internal_arrow;
use crate::sql::catalog::TableSpec;

/// The type that each column of a table is built with, in DDL order; None: it is not built. A STRUCT may
/// have fewer fields than the DDL gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reads(Vec<Option<DataType>>);

impl Reads {
    /// Every column, whole.
    pub fn all(table: &TableSpec) -> Reads {
        Reads(table.columns.iter().map(|c| Some(c.data_type.clone())).collect())
    }

    /// The columns that a schema names, with its types.
    pub fn of(table: &TableSpec, schema: &Schema) -> Reads {
        let read = |name: &str| schema.field_with_name(name).ok().map(|f| f.data_type().clone());
        Reads(table.columns.iter().map(|c| read(&c.name)).collect())
    }

    /// One more column, whole.
    pub fn also(&mut self, table: &TableSpec, column: usize) {
        self.0[column] = Some(table.columns[column].data_type.clone());
    }

    pub(super) fn data_type(&self, column: usize) -> Option<&DataType> {
        self.0.get(column)?.as_ref()
    }
}

/// A column with the fields of a narrower type alone.
pub fn narrowed(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let DataType::Struct(fields) = to else { return Ok(array.clone()) };
    if array.data_type() == to {
        return Ok(array.clone());
    }
    let lost = |what: &str| Error::new(Code::Internal, format!("decode: {what}"));
    let whole = array.as_struct_opt().ok_or_else(|| lost("a column is no STRUCT"))?;
    let child = |name: &str| whole.column_by_name(name).ok_or_else(|| lost("a field was not built"));
    let children =
        fields.iter().map(|f| narrowed(child(f.name())?, f.data_type())).collect::<Result<Vec<_>>>()?;
    let built =
        StructArray::try_new_with_length(fields.clone(), children, whole.nulls().cloned(), whole.len());
    Ok(std::sync::Arc::new(built.map_err(internal_arrow)?))
}
