//! Functions of rule tests: rows made up, faults named, fixtures read.
//!
//! | function | gives |
//! |---|---|
//! | `ramp(start, step, k)` | `n` BIGINT from 0 to k − 1, `ts` TIMESTAMP = start + n · step |
//! | `noise(seed, n)` | a DOUBLE in [−1, 1), the same for the same arguments |
//! | `gap(stream, from, to)` | a fault: rows with event time in [from, to) never come |
//! | `duplicate(stream, from, to)` | a fault: these rows come twice |
//! | `late(stream, from, to, by)` | a fault: these rows come that much later |
//! | `read_parquet(path)`, `read_json(path)` | the rows of a file; a path stands beside the test's own |
//!
//! A fault is one row `(kind, stream, from_time, to_time, by)` of `given.faults`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, IntervalMonthDayNanoArray, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::json::reader::infer_json_schema_from_seekable;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DFSchema, ScalarValue, exec_err, plan_err};
use datafusion::datasource::MemTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::prelude::SessionContext;
use weir_contract::EventTime;

use crate::sql::types::TIMESTAMP;

/// Rows of one `ramp`, and of one fixture: eyeballed; a test is read by people.
const ROWS_MAX: i64 = 1_000_000;

/// Registers the functions; relative paths of fixtures start at `folder`.
pub fn register(context: &SessionContext, folder: &Path) {
    context.register_udtf("ramp", Arc::new(Ramp));
    for kind in ["gap", "duplicate", "late"] {
        context.register_udtf(kind, Arc::new(Fault(kind)));
    }
    for parquet in [true, false] {
        let name = if parquet { "read_parquet" } else { "read_json" };
        context.register_udtf(name, Arc::new(Fixture { folder: folder.into(), parquet }));
    }
    let noise = create_udf(
        "noise",
        vec![DataType::Int64, DataType::Int64],
        DataType::Float64,
        Volatility::Immutable,
        Arc::new(noise),
    );
    context.register_udf(noise);
}

fn one_batch(schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<Arc<dyn TableProvider>> {
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

/// The arguments as constants.
fn constants(args: &TableFunctionArgs<'_, '_>) -> Result<Vec<ScalarValue>> {
    let one_row = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        vec![],
        &datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(1)),
    )?;
    let schema = DFSchema::empty();
    let mut out = Vec::new();
    for expr in args.exprs() {
        let physical = args.session().create_physical_expr(expr.clone(), &schema)?;
        out.push(match physical.evaluate(&one_row)? {
            ColumnarValue::Scalar(value) => value,
            ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0)?,
        });
    }
    Ok(out)
}

fn text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

/// Microseconds of a text or timestamp.
fn time(value: &ScalarValue) -> Result<i64> {
    if let Some(text) = text(value) {
        return match EventTime::parse(text) {
            Some(time) => Ok(time.0),
            None => plan_err!("`{text}` is not a time such as '2026-03-01 08:00'"),
        };
    }
    match value.cast_to(&TIMESTAMP)? {
        ScalarValue::TimestampMicrosecond(Some(us), _) => Ok(us),
        _ => plan_err!("a time is NULL"),
    }
}

/// Microseconds of an INTERVAL of fixed length, or of a text such as '20 seconds'.
pub fn span(value: &ScalarValue) -> Result<i64> {
    if let Some(text) = text(value) {
        return match weir_contract::time::parse_span(text) {
            Some(span) => Ok(span),
            None => plan_err!("`{text}` is not a span such as '20 seconds'"),
        };
    }
    match value.cast_to(&DataType::Interval(datafusion::arrow::datatypes::IntervalUnit::MonthDayNano))? {
        ScalarValue::IntervalMonthDayNano(Some(i)) if i.months == 0 => {
            Ok(i64::from(i.days) * 86_400_000_000 + i.nanoseconds / 1_000)
        }
        _ => plan_err!("a span has a fixed length, such as INTERVAL '1 minute'"),
    }
}

#[derive(Debug)]
struct Ramp;

impl TableFunctionImpl for Ramp {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let given = constants(&args)?;
        let [start, step, count] = given.as_slice() else {
            return plan_err!("ramp has three arguments: start, step, k");
        };
        let (start, step) = (time(start)?, span(step)?);
        let count = match count.cast_to(&DataType::Int64)? {
            ScalarValue::Int64(Some(k)) if (0..=ROWS_MAX).contains(&k) => k,
            _ => return plan_err!("k of ramp is a number from 0 to {ROWS_MAX}"),
        };
        let fields = vec![Field::new("n", DataType::Int64, false), Field::new("ts", TIMESTAMP, false)];
        let n = Int64Array::from_iter_values(0..count);
        let ts = TimestampMicrosecondArray::from_iter_values((0..count).map(|n| start + n * step));
        one_batch(Arc::new(Schema::new(fields)), vec![Arc::new(n), Arc::new(ts)])
    }
}

/// One row of `given.faults`.
#[derive(Debug)]
struct Fault(&'static str);

impl TableFunctionImpl for Fault {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let given = constants(&args)?;
        let (stream, from, to, by) = match (given.as_slice(), self.0) {
            ([stream, from, to], "gap" | "duplicate") => (stream, from, to, None),
            ([stream, from, to, by], "late") => (stream, from, to, Some(span(by)?)),
            (_, "late") => return plan_err!("late has four arguments: stream, from, to, by"),
            _ => return plan_err!("{} has three arguments: stream, from, to", self.0),
        };
        let Some(stream) = text(stream) else { return plan_err!("{} needs a stream's name", self.0) };
        let interval = DataType::Interval(datafusion::arrow::datatypes::IntervalUnit::MonthDayNano);
        let fields = vec![
            Field::new("kind", DataType::Utf8, false),
            Field::new("stream", DataType::Utf8, false),
            Field::new("from_time", TIMESTAMP, false),
            Field::new("to_time", TIMESTAMP, false),
            Field::new("by", interval, true),
        ];
        let by = by.map(|us| datafusion::arrow::datatypes::IntervalMonthDayNano::new(0, 0, us * 1_000));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![self.0])),
            Arc::new(StringArray::from(vec![stream])),
            Arc::new(TimestampMicrosecondArray::from(vec![time(from)?])),
            Arc::new(TimestampMicrosecondArray::from(vec![time(to)?])),
            Arc::new(IntervalMonthDayNanoArray::from(vec![by])),
        ];
        one_batch(Arc::new(Schema::new(fields)), columns)
    }
}

#[derive(Debug)]
struct Fixture {
    folder: PathBuf,
    parquet: bool,
}

impl TableFunctionImpl for Fixture {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let given = constants(&args)?;
        let [path] = given.as_slice() else { return plan_err!("a fixture has one argument: its path") };
        let Some(path) = text(path) else { return plan_err!("a fixture's path is a text") };
        let path = self.folder.join(path);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) => return exec_err!("cannot read {}: {e}", path.display()),
        };
        let (schema, batches) = if self.parquet { parquet_rows(file)? } else { json_rows(file)? };
        Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
    }
}

fn parquet_rows(file: File) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let outside = |e| DataFusionError::ParquetError(Box::new(e));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(outside)?;
    if reader.metadata().file_metadata().num_rows() > ROWS_MAX {
        return plan_err!("a fixture has at most {ROWS_MAX} rows");
    }
    let schema = Arc::clone(reader.schema());
    let batches = reader.build().map_err(outside)?.collect::<std::result::Result<Vec<_>, _>>()?;
    Ok((schema, batches))
}

fn json_rows(file: File) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let mut reader = BufReader::new(file);
    let (schema, _) = infer_json_schema_from_seekable(&mut reader, None)?;
    let schema = Arc::new(schema);
    let rows = ReaderBuilder::new(Arc::clone(&schema)).build(reader)?;
    Ok((schema, rows.collect::<std::result::Result<Vec<_>, _>>()?))
}

/// SplitMix64 (S. Vigna) of seed and n, its upper 53 bits as a number in [−1, 1).
fn noise(args: &[ColumnarValue]) -> Result<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(args)?;
    let whole = |i: usize| cast(&arrays[i], &DataType::Int64);
    let (seeds, ns) = (whole(0)?, whole(1)?);
    let (Some(seeds), Some(ns)) =
        (seeds.as_any().downcast_ref::<Int64Array>(), ns.as_any().downcast_ref::<Int64Array>())
    else {
        return exec_err!("noise needs whole numbers");
    };
    let one = |(seed, n): (Option<i64>, Option<i64>)| {
        let mut x = (seed? as u64).wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(n? as u64);
        x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        Some((x >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
    };
    let out: Float64Array = seeds.iter().zip(ns.iter()).map(one).collect();
    Ok(ColumnarValue::Array(Arc::new(out)))
}
