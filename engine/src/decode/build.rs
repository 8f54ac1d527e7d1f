//! Columns that grow slot by slot, nested ones too.
//!
//! In:   checked [`Slot`]s. Out: Arrow arrays. Owns: no checks; a slot of another kind is a bug of weir's
//! (`W0302`), not a reject.

use std::sync::Arc;

use base64::Engine;
use datafusion::arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int16Builder,
    Int32Builder, Int64Builder, ListArray, NullBufferBuilder, StringBuilder, StructArray,
    TimestampMicrosecondBuilder,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, FieldRef, Fields};
use weir_contract::{Code, Error, Result};

use super::Reject;
use super::kind::{Kind, Scratch, Slot, field_of};
use super::record::Member;
use super::scan::Scanner;
use crate::base::internal_arrow;

/// One column under construction.
pub(super) enum Builder {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Date(Date32Builder),
    Time(TimestampMicrosecondBuilder),
    /// A STRUCT whose fields have slots of their own: of each its slot and its column.
    Fields {
        fields: Fields,
        children: Vec<(usize, Builder)>,
        nulls: NullBufferBuilder,
    },
    List {
        field: FieldRef,
        kind: Kind,
        element: Box<Builder>,
        offsets: Vec<i32>,
        nulls: NullBufferBuilder,
    },
    /// A STRUCT inside an array, read from its text.
    Struct {
        fields: Fields,
        kinds: Vec<(String, Kind)>,
        children: Vec<Builder>,
        nulls: NullBufferBuilder,
    },
}

fn bug(what: &str) -> Error {
    Error::new(Code::Internal, format!("decode: {what}"))
}

fn checked(reject: Reject) -> Error {
    bug(&format!("a checked value was refused: {}", reject.reason))
}

impl Builder {
    pub fn new(data_type: &DataType, kind: &Kind, rows: usize) -> Result<Builder> {
        Ok(match (kind, data_type) {
            (Kind::Bool, _) => Builder::Bool(BooleanBuilder::with_capacity(rows)),
            (Kind::Int16, _) => Builder::Int16(Int16Builder::with_capacity(rows)),
            (Kind::Int32, _) => Builder::Int32(Int32Builder::with_capacity(rows)),
            (Kind::Int64, _) => Builder::Int64(Int64Builder::with_capacity(rows)),
            (Kind::Float64, _) => Builder::Float64(Float64Builder::with_capacity(rows)),
            (Kind::Decimal { .. }, _) => {
                Builder::Decimal(Decimal128Builder::with_capacity(rows).with_data_type(data_type.clone()))
            }
            (Kind::Text | Kind::Json, _) => Builder::Text(StringBuilder::with_capacity(rows, rows * 16)),
            (Kind::Binary, _) => Builder::Binary(BinaryBuilder::with_capacity(rows, rows * 16)),
            (Kind::Date, _) => Builder::Date(Date32Builder::with_capacity(rows)),
            (Kind::Time { .. }, _) => Builder::Time(TimestampMicrosecondBuilder::with_capacity(rows)),
            (Kind::List(element), DataType::List(field)) => Builder::List {
                field: Arc::clone(field),
                kind: element.as_ref().clone(),
                element: Box::new(Builder::new(field.data_type(), element, rows)?),
                offsets: vec![0],
                nulls: NullBufferBuilder::new(rows),
            },
            (Kind::Struct(kinds), DataType::Struct(fields)) => Builder::Struct {
                fields: fields.clone(),
                kinds: kinds.clone(),
                children: fields
                    .iter()
                    .zip(kinds)
                    .map(|(f, (_, kind))| Builder::new(f.data_type(), kind, rows))
                    .collect::<Result<_>>()?,
                nulls: NullBufferBuilder::new(rows),
            },
            _ => return Err(bug("a kind and its type differ")),
        })
    }

    /// The column, or the field, that a member is built as.
    pub fn of(member: &Member, rows: usize) -> Result<Builder> {
        let data_type = member.built.as_ref().ok_or_else(|| bug("a member without a type"))?;
        let (Some(members), DataType::Struct(fields)) = (&member.fields, data_type) else {
            return Builder::new(data_type, &member.kind, rows);
        };
        let child = |name: &str| {
            let member = members.by_name(name).ok_or_else(|| bug("a field that the table has not"))?;
            Ok((member.slot, Builder::of(member, rows)?))
        };
        let children = fields.iter().map(|f| child(f.name())).collect::<Result<_>>()?;
        Ok(Builder::Fields { fields: fields.clone(), children, nulls: NullBufferBuilder::new(rows) })
    }

    /// Appends one value; `slots` has the fields of a STRUCT.
    pub fn append(&mut self, slot: Slot<'_>, slots: &[Slot<'_>], scratch: &mut Scratch) -> Result<()> {
        macro_rules! put {
            ($builder:expr, $($pattern:pat => $value:expr),+) => {
                match slot {
                    Slot::Null | Slot::Absent => $builder.append_null(),
                    $($pattern => $builder.append_value($value),)+
                    _ => return Err(bug("a slot is of another kind")),
                }
            };
        }
        let narrow = |_| bug("an integer was not narrowed");
        match self {
            Builder::Bool(b) => put!(b, Slot::Bool(v) => v),
            Builder::Int16(b) => put!(b, Slot::Int(v) => i16::try_from(v).map_err(narrow)?),
            Builder::Int32(b) => put!(b, Slot::Int(v) => i32::try_from(v).map_err(narrow)?),
            Builder::Int64(b) => put!(b, Slot::Int(v) => v),
            Builder::Float64(b) => put!(b, Slot::Float(v) => v),
            Builder::Decimal(b) => put!(b, Slot::Decimal(v) => v),
            Builder::Text(b) => put!(b, Slot::Text(v) => v.unescape(&mut scratch.text), Slot::Raw(v) => v),
            Builder::Binary(b) => match slot {
                Slot::Base64(text) => {
                    scratch.bytes.clear();
                    base64::engine::general_purpose::STANDARD
                        .decode_vec(text.unescape(&mut scratch.text), &mut scratch.bytes)
                        .map_err(|_| bug("checked base64 was refused"))?;
                    b.append_value(&scratch.bytes);
                }
                _ => put!(b, Slot::Bytes(v) => v),
            },
            Builder::Date(b) => put!(b, Slot::Int(v) => i32::try_from(v).map_err(narrow)?),
            Builder::Time(b) => put!(b, Slot::Int(v) => v),
            Builder::Fields { children, nulls, .. } => {
                for (at, child) in children {
                    child.append(slots[*at], slots, scratch)?;
                }
                nulls.append(matches!(slot, Slot::Raw(_)));
            }
            Builder::List { kind, element, offsets, nulls, .. } => {
                let mut length = offsets.last().copied().unwrap_or(0);
                if let Slot::Raw(text) = slot {
                    let mut failed = None;
                    let read = Scanner::new(text).array(|s| {
                        let slot = kind.value(s, scratch)?;
                        length += 1;
                        keep_first(&mut failed, element.append(slot, &[], scratch));
                        Ok(())
                    });
                    read.map_err(checked)?;
                    failed.map_or(Ok(()), Err)?;
                }
                offsets.push(length);
                nulls.append(matches!(slot, Slot::Raw(_)));
            }
            Builder::Struct { kinds, children, nulls, .. } => {
                let mut slots = vec![Slot::Null; kinds.len()];
                if let Slot::Raw(text) = slot {
                    let read = Scanner::new(text).object(|s, key| {
                        match field_of(kinds, key.unescape(&mut scratch.key)) {
                            Some(index) => slots[index] = kinds[index].1.value(s, scratch)?,
                            None => s.skip()?,
                        }
                        Ok(())
                    });
                    read.map_err(checked)?;
                }
                for (child, slot) in children.iter_mut().zip(slots) {
                    child.append(slot, &[], scratch)?;
                }
                nulls.append(matches!(slot, Slot::Raw(_)));
            }
        }
        Ok(())
    }

    pub fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Builder::Bool(b) => Arc::new(b.finish()),
            Builder::Int16(b) => Arc::new(b.finish()),
            Builder::Int32(b) => Arc::new(b.finish()),
            Builder::Int64(b) => Arc::new(b.finish()),
            Builder::Float64(b) => Arc::new(b.finish()),
            Builder::Decimal(b) => Arc::new(b.finish()),
            Builder::Text(b) => Arc::new(b.finish()),
            Builder::Binary(b) => Arc::new(b.finish()),
            Builder::Date(b) => Arc::new(b.finish()),
            Builder::Time(b) => Arc::new(b.finish()),
            Builder::List { field, element, offsets, nulls, .. } => {
                let offsets = OffsetBuffer::new(std::mem::replace(offsets, vec![0]).into());
                let list = ListArray::try_new(Arc::clone(field), offsets, element.finish()?, nulls.finish());
                Arc::new(list.map_err(internal_arrow)?)
            }
            Builder::Fields { fields, children, nulls } => {
                structs(fields, children.iter_mut().map(|(_, child)| child), nulls)?
            }
            Builder::Struct { fields, children, nulls, .. } => structs(fields, children.iter_mut(), nulls)?,
        })
    }
}

fn structs<'b>(
    fields: &Fields,
    children: impl Iterator<Item = &'b mut Builder>,
    nulls: &mut NullBufferBuilder,
) -> Result<ArrayRef> {
    let length = nulls.len();
    let children = children.map(Builder::finish).collect::<Result<Vec<_>>>()?;
    let built = StructArray::try_new_with_length(fields.clone(), children, nulls.finish(), length);
    Ok(Arc::new(built.map_err(internal_arrow)?))
}

fn keep_first(failed: &mut Option<Error>, result: Result<()>) {
    if let Err(error) = result {
        failed.get_or_insert(error);
    }
}
