//! A table's decoder: records of any payload to the table's columns.
//!
//! Start at [`Decoder::decode`]: slots (`record`, `envelope`) or cast columns (`rows`), then GENERATED
//! columns, then the filter for what those made wrong.

use datafusion::arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, UInt32Array, new_null_array};
use datafusion::arrow::compute::{filter, take};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::RecordBatch;
use weir_contract::time::SECOND;
use weir_contract::{Code, Error, Result};

use super::Reject;
use super::build::Builder;
use super::envelope::Origin;
use super::generated::Generated;
use super::kind::{Kind, Scratch, Slot};
use super::reads::{Reads, narrowed};
use super::record::{Member, Members};
use super::rows::cast_column;
use crate::base::internal_arrow;
use crate::source::{Payload, RawBatch};
use crate::sql::catalog::{ColumnSource, Format, MetadataKey, TIMESTAMP_UNIT, TableSpec};

/// What came of the records of a batch.
#[derive(Debug)]
pub struct Decoded {
    /// Index in the batch of each row's record, ascending.
    pub records: Vec<u32>,
    /// The table's columns in DDL order, each with one value a row; None where it is not built.
    pub columns: Vec<Option<ArrayRef>>,
    /// Index in the batch and reason, ascending.
    pub rejects: Vec<(u32, Reject)>,
}

enum From {
    Value,
    Metadata(MetadataKey),
    Generated,
}

struct Column {
    name: String,
    data_type: DataType,
    kind: Kind,
    from: From,
    nullable: bool,
    /// The type that it is built with; None: it is checked only.
    built: Option<DataType>,
}

/// Reads records of one table from one partition.
pub struct Decoder {
    columns: Vec<Column>,
    event: usize,
    members: Members,
    /// The column that is the whole value, where the format is `raw_bytes`.
    whole: Option<usize>,
    generated: Option<Generated>,
    topic: String,
    partition: u32,
    trusted: bool,
    scratch: Scratch,
    /// One for each column, then those of fields.
    slots: usize,
}

impl Decoder {
    /// Builds the columns of `reads`, the event time and what GENERATED columns are made of.
    ///
    /// # Errors
    /// A GENERATED expression that cannot be planned, or a table without event time.
    pub fn new(table: &TableSpec, partition: u32, trusted: bool, reads: &Reads) -> Result<Decoder> {
        let unit_us = match table.options.get(TIMESTAMP_UNIT).map(String::as_str) {
            None | Some("us") => 1,
            Some("ms") => 1_000,
            Some("s") => SECOND,
            Some(other) => {
                return Err(Error::new(Code::BadOption, format!("`{TIMESTAMP_UNIT}` cannot be '{other}'"))
                    .at(table.place.clone())
                    .expected("us, ms or s"));
            }
        };
        let event =
            table.watermark.as_ref().and_then(|w| table.columns.iter().position(|c| c.name == w.column));
        let event = event.ok_or_else(|| {
            Error::new(Code::NotEventTime, format!("table `{}` has no event time", table.name))
                .at(table.place.clone())
                .expected("WATERMARK FOR column")
        })?;
        let generated = Generated::plan(&table.columns)?;
        let mut reads = reads.clone();
        let inputs = generated.iter().flat_map(Generated::inputs);
        inputs.chain([event]).for_each(|column| reads.also(table, column));
        let columns = table
            .columns
            .iter()
            .enumerate()
            .map(|(index, c)| {
                let json = matches!(c.source, ColumnSource::Json);
                let from = match &c.source {
                    ColumnSource::Value | ColumnSource::Json => From::Value,
                    ColumnSource::Metadata(key) => From::Metadata(key.clone()),
                    ColumnSource::Generated(_) => From::Generated,
                };
                Ok(Column {
                    name: c.name.clone(),
                    data_type: c.data_type.clone(),
                    kind: Kind::of(&c.data_type, json, unit_us).map_err(|e| e.or_at(c.place.clone()))?,
                    from,
                    nullable: c.nullable,
                    built: reads.data_type(index).cloned(),
                })
            })
            .collect::<Result<Vec<Column>>>()?;
        let mut slots = columns.len();
        let members = columns
            .iter()
            .enumerate()
            .filter(|(_, c)| matches!(c.from, From::Value))
            .map(|(slot, c)| Member::new(&c.name, &c.kind, slot, c.built.as_ref(), &mut slots))
            .collect();
        let value = || columns.iter().position(|c| matches!(c.from, From::Value));
        Ok(Decoder {
            event,
            whole: if table.format == Format::RawBytes { value() } else { None },
            members: Members::new(members),
            generated,
            topic: table.options.get("topic").unwrap_or(&table.name).clone(),
            partition,
            trusted,
            scratch: Scratch::default(),
            slots,
            columns,
        })
    }

    /// Index of the event-time column.
    pub fn event(&self) -> usize {
        self.event
    }

    /// Decodes the records named in `wanted` (ascending). One pass over their bytes; a batch without
    /// rejects copies no column twice.
    pub fn decode(&mut self, raw: &RawBatch, wanted: &[u32]) -> Result<Decoded> {
        let origin =
            Origin { raw, topic: &self.topic.clone(), partition: self.partition, trusted: self.trusted };
        let (records, mut columns, mut rejects) = match &raw.payload {
            Payload::Bytes(values) => self.records(values, &origin, wanted)?,
            Payload::Rows(batch) => self.rows(batch, &origin, wanted)?,
        };
        let mut decoded = Decoded { records, columns: Vec::new(), rejects: Vec::new() };
        let rows = decoded.records.len();
        let mut bad: Vec<(usize, Reject)> = Vec::new();
        if let Some(generated) = &self.generated {
            let (values, failed) = generated.evaluate(&columns, rows)?;
            bad = failed;
            let mut values = values.into_iter();
            for (index, column) in self.columns.iter().enumerate() {
                if !matches!(column.from, From::Generated) {
                    continue;
                }
                let array = values.next();
                if let Some(nulls) = array.as_ref().and_then(|a| a.logical_nulls()) {
                    let missing = (0..rows).filter(|&row| nulls.is_null(row));
                    bad.extend(missing.filter_map(|row| Some((row, self.missing(index)?))));
                }
                columns[index] = array.filter(|_| column.built.is_some());
            }
        }
        decoded.columns = columns;
        if decoded.columns.iter().map(Option::is_some).ne(self.columns.iter().map(|c| c.built.is_some())) {
            return Err(Error::new(Code::Internal, "decode: not the columns that are read"));
        }
        if !bad.is_empty() {
            bad.sort_by_key(|(row, _)| *row); // stable: the first reason stays first
            bad.dedup_by_key(|(row, _)| *row);
            let mut keep = vec![true; rows];
            for (row, reject) in bad {
                keep[row] = false;
                rejects.push((decoded.records[row], reject));
            }
            let mut kept = keep.iter().copied();
            decoded.records.retain(|_| kept.next().unwrap_or(false));
            let mask = BooleanArray::from(keep);
            for column in decoded.columns.iter_mut().flatten() {
                *column = filter(column, &mask).map_err(internal_arrow)?;
            }
        }
        rejects.sort_by_key(|(record, _)| *record);
        decoded.rejects = rejects;
        Ok(decoded)
    }

    /// The reject for a NULL in a column that may not have one.
    fn missing(&self, index: usize) -> Option<Reject> {
        let column = &self.columns[index];
        if index == self.event {
            return Some(Reject::new(Code::NoEventTime, format!("`{}` is NULL", column.name)));
        }
        (!column.nullable)
            .then(|| Reject::new(Code::BadRecord, format!("`{}` is NULL and may not be", column.name)))
    }

    /// Builders of the columns that are built from a record's value or its envelope.
    fn builders(&self, rows: usize, wanted: impl Fn(&From) -> bool) -> Result<Vec<(usize, Builder)>> {
        let built = self.columns.iter().enumerate().filter(|(_, c)| wanted(&c.from));
        built
            .filter_map(|(index, c)| {
                let data_type = c.built.as_ref()?;
                Some(match self.members.by_slot(index) {
                    Some(member) => Builder::of(member, rows),
                    None => Builder::new(data_type, &c.kind, rows),
                })
                .map(|builder| builder.map(|b| (index, b)))
            })
            .collect()
    }

    fn records(&mut self, values: &BinaryArray, origin: &Origin<'_>, wanted: &[u32]) -> Result<Parts> {
        let mut builders = self.builders(wanted.len(), |from| !matches!(from, From::Generated))?;
        let mut slots = vec![Slot::Absent; self.slots];
        let (mut records, mut rejects) = (Vec::with_capacity(wanted.len()), Vec::new());
        for &record in wanted {
            slots.fill(Slot::Absent);
            match self.fill(values, origin, record, &mut slots) {
                Ok(()) => {
                    records.push(record);
                    for (index, builder) in &mut builders {
                        builder.append(slots[*index], &slots, &mut self.scratch)?;
                    }
                }
                Err(reject) => rejects.push((record, reject)),
            }
        }
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.columns.len()];
        for (index, builder) in &mut builders {
            columns[*index] = Some(builder.finish()?);
        }
        Ok((records, columns, rejects))
    }

    fn fill<'a>(
        &mut self,
        values: &'a BinaryArray,
        origin: &Origin<'a>,
        record: u32,
        slots: &mut [Slot<'a>],
    ) -> std::result::Result<(), Reject> {
        let index = record as usize;
        match self.whole {
            // A client that cannot send no value sends an empty one.
            Some(column) if values.is_null(index) || values.value(index).is_empty() => {
                slots[column] = Slot::Null;
            }
            Some(column) => slots[column] = Slot::Bytes(values.value(index)),
            None if values.is_null(index) => {
                return Err(Reject::new(Code::BadRecord, "the record has no value"));
            }
            None => {
                let text = std::str::from_utf8(values.value(index)).map_err(|e| {
                    Reject::new(Code::BadRecord, format!("byte {}: not UTF-8", e.valid_up_to()))
                })?;
                self.members.read(text, slots, &mut self.scratch)?;
            }
        }
        self.envelope(origin, record, slots)?;
        for (index, (column, slot)) in self.columns.iter().zip(slots.iter()).enumerate() {
            if matches!(slot, Slot::Absent | Slot::Null) && !matches!(column.from, From::Generated) {
                self.missing(index).map_or(Ok(()), Err)?;
            }
        }
        Ok(())
    }

    fn envelope<'a>(
        &self,
        origin: &Origin<'a>,
        record: u32,
        slots: &mut [Slot<'a>],
    ) -> std::result::Result<(), Reject> {
        for (column, slot) in self.columns.iter().zip(slots) {
            if let From::Metadata(key) = &column.from {
                *slot = origin
                    .slot(key, &column.kind, record)
                    .map_err(|r| Reject::new(r.code, format!("`{}`: {}", column.name, r.reason)))?;
            }
        }
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, origin: &Origin<'_>, wanted: &[u32]) -> Result<Parts> {
        let mut cast = Vec::with_capacity(self.columns.len());
        let mut hopeless: Option<Reject> = None;
        for column in &self.columns {
            let found = match column.from {
                From::Value => match batch.column_by_name(&column.name) {
                    Some(array) => match cast_column(array, &column.data_type)? {
                        Ok(column) => Some(column),
                        Err(reject) => {
                            hopeless.get_or_insert(Reject::new(
                                reject.code,
                                format!("`{}`: {}", column.name, reject.reason),
                            ));
                            None
                        }
                    },
                    None => Some(super::rows::CastColumn {
                        array: new_null_array(&column.data_type, batch.num_rows()),
                        misfits: None,
                    }),
                },
                _ => None,
            };
            cast.push(found);
        }
        let mut builders = self.builders(wanted.len(), |from| matches!(from, From::Metadata(_)))?;
        let mut slots = vec![Slot::Absent; self.columns.len()];
        let (mut records, mut rejects) = (Vec::with_capacity(wanted.len()), Vec::new());
        for &record in wanted {
            let row = record as usize;
            let wrong = hopeless.clone().or_else(|| {
                let misfit = |(i, c): (usize, &Option<super::rows::CastColumn>)| {
                    let lost = c.as_ref()?.misfits.as_ref()?.value(row);
                    let name = &self.columns[i].name;
                    lost.then(|| Reject::new(Code::OutOfRange, format!("`{name}` does not fit its type")))
                };
                cast.iter().enumerate().find_map(misfit)
            });
            let wrong = wrong.or_else(|| self.envelope(origin, record, &mut slots).err()).or_else(|| {
                (0..self.columns.len()).find_map(|i| {
                    let null = match (&self.columns[i].from, &cast[i]) {
                        (From::Value, Some(c)) => c.array.is_null(row),
                        (From::Metadata(_), _) => matches!(slots[i], Slot::Null | Slot::Absent),
                        _ => false,
                    };
                    if null { self.missing(i) } else { None }
                })
            });
            if let Some(reject) = wrong {
                rejects.push((record, reject));
                continue;
            }
            records.push(record);
            for (index, builder) in &mut builders {
                builder.append(slots[*index], &slots, &mut self.scratch)?;
            }
        }
        let indices = UInt32Array::from(records.clone());
        let whole = records.len() == batch.num_rows();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.columns.len()];
        for ((slot, column), found) in columns.iter_mut().zip(&self.columns).zip(cast) {
            let Some(data_type) = column.built.as_ref().filter(|_| matches!(column.from, From::Value)) else {
                continue;
            };
            *slot = Some(match found {
                Some(c) => {
                    let array = narrowed(&c.array, data_type)?;
                    if whole { array } else { take(&array, &indices, None).map_err(internal_arrow)? }
                }
                None => new_null_array(data_type, 0), // no record is a row
            });
        }
        for (index, builder) in &mut builders {
            columns[*index] = Some(builder.finish()?);
        }
        Ok((records, columns, rejects))
    }
}

/// Row records, columns (None: not built, or generated later), rejects.
type Parts = (Vec<u32>, Vec<Option<ArrayRef>>, Vec<(u32, Reject)>);
