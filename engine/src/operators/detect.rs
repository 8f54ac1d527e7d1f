//! Frames to detections: a row for each thing that a model finds in an image.
//!
//! In:   rows with an image, or the uri of one.
//! Out:  for each row, in its order, the found things that the condition keeps; of a LEFT JOIN, a row
//!       with NULLs where none is kept. Rows whose image was refused, to the side stream of the output.
//! Owns: nothing from row to row but a count. Not the model (`detect::Detector`), nor what an image may cost.
//!
//! E1  What comes out depends on the rows alone: the detector answers each image by itself.
//! E2  A refused image gives no row at all: "nothing is there" must not come from half a picture.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Builder, Int64Builder, RecordBatch, StringBuilder,
    UInt32Array, as_boolean_array,
};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::physical_expr::PhysicalExpr;
use serde_json::{Map, Value};
use weir_contract::{Code, Error, Result};

use super::{Operator, Out};
use crate::base::{StreamSchema, internal, internal_arrow};
use crate::detect::{Detector, Found, Image};
use crate::source::NO_APPEND;
use crate::sql::plan::detect::FOUND;
use crate::sql::plan::{OFFSET, PARTITION};
use crate::state::{Loader, Saver, json};
use crate::watermark::{SIDE_BYTES_MAX, SideRecord, SideWhy};

/// First word of the snapshot: "detect", version 1.
const TAG: u64 = 0x6465_7465_6374_0001;

pub struct DetectSpec {
    pub detector: Arc<dyn Detector>,
    pub input: StreamSchema,
    /// Columns of the input, by name, then those of a found thing.
    pub output: StreamSchema,
    /// BYTEA over the input.
    pub image: Arc<dyn PhysicalExpr>,
    /// TEXT over the input: where the image is, if it is NULL.
    pub uri: Option<Arc<dyn PhysicalExpr>>,
    /// Keeps rows that have nothing found.
    pub outer: bool,
    /// Over the output: which found things are kept.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
}

/// Runs a model over each row's image.
pub struct Detect {
    spec: DetectSpec,
    /// Columns of the input that the output has, in its order.
    kept: Vec<usize>,
    partition: usize,
    offset: usize,
    rejected: u64,
}

impl Detect {
    /// # Errors
    /// `W0302` where the planner lost a column.
    pub fn new(spec: DetectSpec) -> Result<Self> {
        let lost = |name: &str| Error::new(Code::Internal, format!("detect: no column `{name}`"));
        let at = |name: &str| spec.input.schema.index_of(name).map_err(|_| lost(name));
        let fields = spec.output.schema.fields();
        let width = fields.len().checked_sub(FOUND.len()).ok_or_else(|| lost(FOUND[0]))?;
        let kept = fields[..width].iter().map(|f| at(f.name())).collect::<Result<_>>()?;
        let (partition, offset) = (at(PARTITION)?, at(OFFSET)?);
        Ok(Self { kept, partition, offset, rejected: 0, spec })
    }

    /// An answer for each row.
    fn answers(&self, batch: &RecordBatch) -> Result<Vec<Result<Vec<Found>>>> {
        let column = |e: &Arc<dyn PhysicalExpr>| {
            e.evaluate(batch).and_then(|v| v.into_array(batch.num_rows())).map_err(internal)
        };
        let images = column(&self.spec.image)?;
        let images = images.as_binary::<i32>();
        let uris = self.spec.uri.as_ref().map(column).transpose()?;
        let uris = uris.as_ref().map(|u| u.as_string::<i32>());
        let image = |row: usize| match uris {
            _ if images.is_valid(row) => Some(Image::Inline(images.value(row))),
            Some(uris) if uris.is_valid(row) => Some(Image::Stored(uris.value(row))),
            _ => None,
        };
        let all: Vec<Option<Image<'_>>> = (0..batch.num_rows()).map(image).collect();
        let there: Vec<Image<'_>> = all.iter().flatten().copied().collect();
        let given = self.spec.detector.detect(&there)?;
        if given.len() != there.len() {
            let what = format!("a detector gave {} answers for {} images", given.len(), there.len());
            return Err(Error::new(Code::Internal, what));
        }
        let mut given = given.into_iter();
        let none = || Err(Error::new(Code::BadImage, "the row has no image and no uri of one"));
        Ok(all.iter().map(|i| i.and_then(|_| given.next()).unwrap_or_else(none)).collect())
    }

    /// The kept columns of rows, then found things; both lists are as long as the result.
    fn joined(&self, batch: &RecordBatch, rows: &UInt32Array, found: Vec<ArrayRef>) -> Result<RecordBatch> {
        let left = self.kept.iter().map(|c| take(batch.column(*c), rows, None));
        let mut columns = left.collect::<std::result::Result<Vec<_>, _>>().map_err(internal_arrow)?;
        columns.extend(found);
        RecordBatch::try_new(Arc::clone(&self.spec.output.schema), columns).map_err(internal_arrow)
    }

    fn side(&self, batch: &RecordBatch, row: usize, why: &Error) -> Result<SideRecord> {
        let image = self.spec.image.evaluate(batch).and_then(|v| v.into_array(batch.num_rows()));
        let image = image.map_err(internal)?;
        let image = image.as_binary::<i32>();
        let bytes = if image.is_valid(row) { image.value(row) } else { &[] };
        let mut told = Map::new();
        for column in &self.kept {
            let field = self.spec.input.schema.field(*column).clone();
            if !field.name().starts_with("__") && *field.data_type() != DataType::Binary {
                told.insert(field.name().clone(), json::value(batch.column(*column), row)?);
            }
        }
        let partition = batch.column(self.partition).as_primitive::<Int32Type>().value(row);
        let time = batch.column(self.spec.input.row_time_column());
        let time = time.as_primitive::<TimestampMicrosecondType>();
        Ok(SideRecord {
            // Which output it is, the run knows.
            table: "".into(),
            partition: u32::try_from(partition).unwrap_or_default(),
            offset: batch.column(self.offset).as_primitive::<Int64Type>().value(row),
            append_us: if time.is_valid(row) { time.value(row) } else { NO_APPEND },
            why: SideWhy::Rejected { code: why.code(), reason: why.what().to_owned() },
            bytes: bytes[..bytes.len().min(SIDE_BYTES_MAX)].to_vec(),
            size: bytes.len(),
            row: Some(Value::Object(told)),
            statement: None,
        })
    }

    /// Which of all found things are kept.
    fn mask(&self, batch: &RecordBatch, answers: &[Result<Vec<Found>>]) -> Result<Option<BooleanArray>> {
        let Some(residual) = &self.spec.residual else { return Ok(None) };
        let mut table = Table::default();
        for (row, answer) in answers.iter().enumerate() {
            for (number, found) in answer.iter().flatten().enumerate() {
                table.add(row, Some((number, found)));
            }
        }
        let (rows, columns) = table.finish();
        let pairs = self.joined(batch, &rows, columns)?;
        let kept =
            residual.evaluate(&pairs).and_then(|v| v.into_array(pairs.num_rows())).map_err(internal)?;
        Ok(Some(as_boolean_array(&kept).clone()))
    }
}

/// Rows of the output under construction.
#[derive(Default)]
struct Table {
    rows: Vec<u32>,
    label: StringBuilder,
    numbers: [Float64Builder; 5],
    ordinality: Int64Builder,
}

impl Table {
    fn add(&mut self, row: usize, found: Option<(usize, &Found)>) {
        self.rows.push(row as u32);
        self.label.append_option(found.map(|(_, f)| f.label.as_ref()));
        let numbers = found.map(|(_, f)| [f.confidence, f.x1, f.y1, f.x2, f.y2]);
        for (at, builder) in self.numbers.iter_mut().enumerate() {
            builder.append_option(numbers.map(|n| n[at]));
        }
        self.ordinality.append_option(found.map(|(number, _)| number as i64 + 1));
    }

    fn finish(mut self) -> (UInt32Array, Vec<ArrayRef>) {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.label.finish())];
        columns.extend(self.numbers.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        columns.push(Arc::new(self.ordinality.finish()));
        (UInt32Array::from(self.rows), columns)
    }
}

impl Operator for Detect {
    fn push(&mut self, _port: usize, batch: RecordBatch, out: &mut Out) -> Result<()> {
        let answers = self.answers(&batch)?;
        let mask = self.mask(&batch, &answers)?;
        let kept = |at: usize| mask.as_ref().is_none_or(|m| m.is_valid(at) && m.value(at));
        let mut table = Table::default();
        let mut at = 0;
        for (row, answer) in answers.iter().enumerate() {
            match answer {
                Ok(list) => {
                    let before = table.rows.len();
                    for (number, found) in list.iter().enumerate() {
                        if kept(at) {
                            table.add(row, Some((number, found)));
                        }
                        at += 1;
                    }
                    if self.spec.outer && table.rows.len() == before {
                        table.add(row, None);
                    }
                }
                Err(why) => {
                    self.rejected += 1;
                    out.rejected.push(self.side(&batch, row, why)?);
                }
            }
        }
        let (rows, columns) = table.finish();
        out.emit(self.joined(&batch, &rows, columns)?);
        Ok(())
    }

    fn advance(&mut self, frontiers: &[&[i64]], _out: &mut Out) -> Result<Vec<i64>> {
        Ok(frontiers[0].to_vec())
    }

    fn rejected(&self) -> u64 {
        self.rejected
    }

    fn bytes(&self) -> usize {
        0
    }

    fn snapshot(&mut self, into: &mut Saver) -> Result<()> {
        into.u64(TAG);
        into.u64(self.rejected);
        Ok(())
    }

    fn restore(&mut self, from: &mut Loader<'_>) -> Result<()> {
        if from.u64()? != TAG {
            return Err(Error::new(Code::Damaged, "a detector's snapshot has another form"));
        }
        self.rejected = from.u64()?;
        Ok(())
    }
}
