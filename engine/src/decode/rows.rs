//! Rows of columnar files: columns by name, cast to the DDL's types.
//!
//! In:   a column of the file. Out: an array of the DDL's type and the rows whose value does not fit it.
//! Owns: which cast keeps a value's meaning. Text is never read as a number, a fraction never cut.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use datafusion::arrow::datatypes::{DataType, TimestampMicrosecondType};
use weir_contract::{Code, Result};

use super::Reject;
use super::kind::{TIME_MAX, TIME_MIN};
use crate::base::internal_arrow;

/// A cast column.
pub(super) struct CastColumn {
    pub array: ArrayRef,
    /// Set where the file's value does not fit.
    pub misfits: Option<BooleanBuffer>,
}

/// Casts one column. `Err` inside: no value of the file's type can be one of the DDL's.
pub(super) fn cast_column(
    array: &ArrayRef,
    target: &DataType,
) -> Result<std::result::Result<CastColumn, Reject>> {
    let from = array.data_type();
    if !keeps_meaning(from, target) {
        return Ok(Err(Reject::new(Code::BadRecord, format!("the file has {from}, the table {target}"))));
    }
    if from == target && !matches!(target, DataType::Timestamp(..)) {
        return Ok(Ok(CastColumn { array: ArrayRef::clone(array), misfits: None }));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let cast = cast_with_options(array, target, &options).map_err(internal_arrow)?;
    let before = array.logical_nulls();
    let after = cast.logical_nulls();
    let lost = |i: usize| {
        after.as_ref().is_some_and(|n| n.is_null(i)) && before.as_ref().is_none_or(|n| n.is_valid(i))
    };
    let outside = |i: usize| match target {
        DataType::Timestamp(..) => {
            let times = cast.as_primitive::<TimestampMicrosecondType>();
            times.is_valid(i) && !(TIME_MIN..=TIME_MAX).contains(&times.value(i))
        }
        _ => false,
    };
    let misfits = BooleanBuffer::collect_bool(cast.len(), |i| lost(i) || outside(i));
    let misfits = (misfits.count_set_bits() > 0).then_some(misfits);
    Ok(Ok(CastColumn { array: cast, misfits }))
}

fn keeps_meaning(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    match (from, to) {
        _ if from == to => true,
        (D::Null, _) => true,
        (D::Dictionary(_, values), _) => keeps_meaning(values, to),
        (D::Utf8 | D::LargeUtf8 | D::Utf8View, D::Utf8) => true,
        (D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_), D::Binary) => true,
        (D::Date32 | D::Date64, D::Date32) => true,
        (D::Timestamp(..), D::Timestamp(..)) => true,
        (_, D::Float64) => from.is_integer() || from.is_floating(),
        (_, D::Decimal128(..)) => from.is_integer() || from.is_decimal(),
        (_, D::Int16 | D::Int32 | D::Int64) => from.is_integer(),
        (D::List(a) | D::LargeList(a), D::List(b)) => {
            keeps_meaning(a.data_type(), b.data_type()) && can_cast_types(from, to)
        }
        (D::Struct(_), D::Struct(_)) => can_cast_types(from, to),
        _ => false,
    }
}
