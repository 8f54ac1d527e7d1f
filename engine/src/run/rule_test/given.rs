//! What a test gives: its views run by DataFusion, as rows of the program's tables.
//!
//! In:   the views of a test, the program's script and plan.
//! Out:  a script in which the given names are tables of the test, and the rows of each.
//! Owns: how a view's rows become records. A row's append time is its event time, plus what a fault adds.
//!
//! A given name is a source table, a reference or memory table, or a view: it is cut out with all that
//! stands before it, and its rows are given. Columns that are not given are NULL.

use std::collections::BTreeMap;
use std::path::Path;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options, concat_batches};
use datafusion::arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{ScalarValue, TableReference};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use serde_json::{Map, Value};
use weir_contract::{Code, Error, EventTime, Result};

use super::functions;
use crate::base::{internal, internal_arrow};
use crate::sql::catalog::{
    AppendTime, ColumnSource, ColumnSpec, Format, MAX_AHEAD_DEFAULT, MAX_RECORD_BYTES_DEFAULT, Script,
    TableKind, TableSpec, ViewSpec, Watermark,
};
use crate::sql::nearest::suggest;
use crate::sql::plan::context;
use crate::sql::plan::ir::Plan;
use crate::sql::types::TIMESTAMP;
use crate::state::json;

/// The view with the faults.
pub const FAULTS: &str = "faults";
/// Column of a given reference table: from when on a row holds.
const EFFECTIVE: &str = "effective_at";

/// A row that a stream brings.
#[derive(Debug, Clone)]
pub struct Row {
    pub time: i64,
    pub append: i64,
    pub value: Map<String, Value>,
}

/// Rows of a reference table that hold from one time on; `i64::MIN` is the first load.
#[derive(Debug, Clone)]
pub struct Change {
    pub effective_at: i64,
    pub rows: Vec<Map<String, Value>>,
}

/// Queries of one test.
pub struct Queries {
    context: SessionContext,
    runtime: tokio::runtime::Runtime,
}

impl Queries {
    /// `folder` is where relative paths of fixtures start.
    pub fn new(folder: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|e| Error::new(Code::Internal, format!("no runtime: {e}")))?;
        let context = context();
        functions::register(&context, folder);
        for schema in ["given", "expect"] {
            let catalog = context.catalog("datafusion").ok_or_else(|| no_catalog(schema))?;
            let empty = std::sync::Arc::new(datafusion::catalog::MemorySchemaProvider::new());
            catalog.register_schema(schema, empty).map_err(internal)?;
        }
        Ok(Self { context, runtime })
    }

    /// The rows of a view; later views of the test can read it as `given.name`.
    pub fn rows(&self, view: &ViewSpec, schema: &str) -> Result<RecordBatch> {
        let bad = |e: datafusion::error::DataFusionError| {
            let what = format!("`{schema}.{}` cannot be run: {}", view.name, e.strip_backtrace());
            Error::new(Code::BadTest, what).at(view.place.clone())
        };
        let statement = datafusion::sql::parser::Statement::Statement(Box::new(
            datafusion::sql::sqlparser::ast::Statement::Query(Box::new(view.query.clone())),
        ));
        let (plan_schema, batches) = self
            .runtime
            .block_on(async {
                let plan = self.context.state().statement_to_plan(statement).await?;
                let frame = self.context.execute_logical_plan(plan).await?;
                let schema = std::sync::Arc::new(frame.schema().as_arrow().clone());
                Ok((schema, frame.collect().await?))
            })
            .map_err(bad)?;
        let plan_schema = batches.first().map_or(plan_schema, RecordBatch::schema);
        let batch = concat_batches(&plan_schema, &batches).map_err(internal_arrow)?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch.clone()]]).map_err(internal)?;
        let name = TableReference::partial(schema.to_owned(), view.name.clone());
        self.context.register_table(name, std::sync::Arc::new(table)).map_err(bad)?;
        Ok(batch)
    }
}

fn no_catalog(schema: &str) -> Error {
    Error::new(Code::Internal, format!("no catalog for the schema `{schema}`"))
}

/// What a test's run reads.
#[derive(Debug, Default)]
pub struct Given {
    pub streams: BTreeMap<String, Vec<Row>>,
    pub references: BTreeMap<String, Vec<Change>>,
}

/// Runs the given views and puts tables in their place.
pub fn give(queries: &Queries, views: &[ViewSpec], script: &mut Script, plan: &Plan) -> Result<Given> {
    let mut given = Given::default();
    let mut faults = None;
    for view in views {
        let batch = queries.rows(view, "given")?;
        if view.name == FAULTS {
            faults = Some((view, batch));
            continue;
        }
        let spec = table_for(view, &batch, script, plan)?;
        let batch = typed(view, &spec, &batch)?;
        match spec.kind {
            TableKind::Reference => {
                given.references.insert(view.name.clone(), changes(view, &spec, &batch)?);
            }
            _ => {
                given.streams.insert(view.name.clone(), rows(view, &spec, &batch)?);
            }
        }
        script.views.retain(|v| v.name != view.name);
        script.tables.retain(|t| t.name != view.name);
        script.tables.push(spec);
    }
    if let Some((view, batch)) = faults {
        apply(view, &batch, &mut given.streams)?;
    }
    for rows in given.streams.values_mut() {
        rows.sort_by_key(|r| r.append);
    }
    for table in script.tables.iter_mut().filter(|t| t.kind == TableKind::Source) {
        as_given(table);
    }
    Ok(given)
}

/// The table that stands for a given name.
fn table_for(view: &ViewSpec, batch: &RecordBatch, script: &Script, plan: &Plan) -> Result<TableSpec> {
    if let Some(table) = script.tables.iter().find(|t| t.name == view.name) {
        let mut table = table.clone();
        match table.kind {
            TableKind::Reference | TableKind::Memory => {
                table.kind = TableKind::Reference;
                table.rows.clear();
            }
            TableKind::Source | TableKind::Sink => {}
        }
        for column in &mut table.columns {
            column.nullable = true;
        }
        return Ok(table);
    }
    let mut table = TableSpec {
        name: view.name.clone(),
        columns: vec![],
        primary_key: vec![],
        partitioned_by: vec![],
        watermark: None,
        kind: TableKind::Source,
        connector: String::new(),
        format: Format::Json,
        idle_after: None,
        max_ahead: MAX_AHEAD_DEFAULT,
        append_time: Some(AppendTime::Producer),
        dedup: None,
        max_record_bytes: MAX_RECORD_BYTES_DEFAULT,
        options: BTreeMap::new(),
        rows: vec![],
        place: view.place.clone(),
    };
    let column = |name: &str, data_type: &DataType| ColumnSpec {
        name: name.into(),
        data_type: data_type.clone(),
        nullable: true,
        source: ColumnSource::Value,
        place: view.place.clone(),
    };
    if let Some((node, columns)) = plan.views.get(&view.name) {
        let stream = &plan.nodes[*node].stream;
        let field = |c: &usize| stream.schema.field(*c);
        table.columns = columns.iter().map(|c| column(field(c).name(), field(c).data_type())).collect();
        let visible = |c: usize| columns.contains(&c).then(|| stream.schema.field(c).name().clone());
        let times = std::iter::once(stream.row_time_column()).chain(stream.times.iter().copied());
        let Some(time) = times.filter_map(visible).next() else {
            let what = format!("view `{}` shows no event time, so its rows cannot be given", view.name);
            return Err(Error::new(Code::BadTest, what)
                .at(view.place.clone())
                .expected("the tables that it reads, given"));
        };
        table.watermark = Some(Watermark { column: time, lateness: 0 });
        if table.columns.iter().any(|c| c.name == "warehouse") {
            table.partitioned_by = vec!["warehouse".into()];
        }
        return Ok(table);
    }
    if script.views.iter().any(|v| v.name == view.name) {
        // A view over reference tables: its rows are given with the types that the test gives them.
        let schema = batch.schema();
        let shown = schema.fields().iter().filter(|f| f.name() != EFFECTIVE);
        table.columns = shown.map(|f| column(f.name(), f.data_type())).collect();
        table.primary_key = table.columns.iter().map(|c| c.name.clone()).collect();
        table.kind = TableKind::Reference;
        return Ok(table);
    }
    let tables = script.tables.iter().map(|t| t.name.as_str());
    let names: Vec<&str> = tables.chain(script.views.iter().map(|v| v.name.as_str())).collect();
    Err(Error::new(Code::BadTest, format!("the program has no table or view `{}`", view.name))
        .at(view.place.clone())
        .expected(suggest(&view.name, names)))
}

/// A source whose records the test makes: the clock of the test tells the append time.
fn as_given(table: &mut TableSpec) {
    table.append_time = Some(AppendTime::Producer);
    table.idle_after = None;
    table.format = Format::Json;
    table.connector.clear();
}

/// The batch in the types of the table; a column that the table has not is an error.
fn typed(view: &ViewSpec, spec: &TableSpec, batch: &RecordBatch) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let reference = spec.kind == TableKind::Reference;
        let data_type = match spec.columns.iter().find(|c| c.name == *field.name()) {
            Some(column) => column.data_type.clone(),
            None if reference && field.name() == EFFECTIVE => TIMESTAMP,
            None => {
                let names = spec.columns.iter().map(|c| c.name.as_str());
                let what = format!("`{}` has no column `{}`", spec.name, field.name());
                return Err(Error::new(Code::BadTest, what)
                    .at(view.place.clone())
                    .expected(suggest(field.name(), names)));
            }
        };
        let array = converted(array, &data_type).map_err(|what| {
            let what = format!("column `{}` of `given.{}`: {what}", field.name(), view.name);
            Error::new(Code::BadTest, what).at(view.place.clone()).expected(format!("{data_type}"))
        })?;
        fields.push(datafusion::arrow::datatypes::Field::new(field.name(), data_type, true));
        columns.push(array);
    }
    let schema = std::sync::Arc::new(datafusion::arrow::datatypes::Schema::new(fields));
    let options = datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(internal_arrow)
}

/// Texts become times in every form that weir reads.
fn converted(array: &ArrayRef, to: &DataType) -> std::result::Result<ArrayRef, String> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    let plain = |a: &ArrayRef, to: &DataType| {
        cast_with_options(a, to, &CastOptions { safe: false, ..Default::default() })
            .map_err(|e| e.to_string())
    };
    let texts = matches!(array.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    if *to == TIMESTAMP && texts {
        let texts = plain(array, &DataType::Utf8)?;
        let read = |t: Option<&str>| match t {
            None => Ok(None),
            Some(t) => EventTime::parse(t).map(|t| Some(t.0)).ok_or(format!("`{t}` is not a time")),
        };
        let times: Vec<Option<i64>> = texts.as_string::<i32>().iter().map(read).collect::<Result<_, _>>()?;
        let times = datafusion::arrow::array::TimestampMicrosecondArray::from(times);
        return Ok(std::sync::Arc::new(times));
    }
    let whole = plain(array, to)?;
    if array.data_type().is_floating() && to.is_integer() {
        // A cast would cut the fraction off, and the test would give another value than it says.
        let (said, back) = (plain(array, &DataType::Float64)?, plain(&whole, &DataType::Float64)?);
        let (said, back) = (said.as_primitive::<Float64Type>(), back.as_primitive::<Float64Type>());
        if let Some((said, _)) = said.iter().flatten().zip(back.iter().flatten()).find(|(a, b)| a != b) {
            return Err(format!("{said} is not a whole number"));
        }
    }
    Ok(whole)
}

fn object(batch: &RecordBatch, row: usize) -> Result<Map<String, Value>> {
    let schema = batch.schema();
    let named = schema.fields().iter().zip(batch.columns());
    named.map(|(field, array)| Ok((field.name().clone(), json::value(array, row)?))).collect()
}

fn rows(view: &ViewSpec, spec: &TableSpec, batch: &RecordBatch) -> Result<Vec<Row>> {
    let bad = |what: String, expected: &str| {
        Err(Error::new(Code::BadTest, what).at(view.place.clone()).expected(expected))
    };
    let Some(watermark) = &spec.watermark else {
        return bad(format!("`{}` is only written to", spec.name), "a table or view that the rule reads");
    };
    let Some(times) = batch.column_by_name(&watermark.column) else {
        return bad(
            format!("`given.{}` has no event time", view.name),
            &format!("column {}", watermark.column),
        );
    };
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let mut out = Vec::new();
    for row in 0..batch.num_rows() {
        if times.is_null(row) {
            return bad(
                format!("row {} of `given.{}` has no event time", row + 1, view.name),
                &format!("a value in {}", watermark.column),
            );
        }
        let mut value = object(batch, row)?;
        // A record's own id, where the test does not care.
        if let Some(dedup) = &spec.dedup {
            value.entry(&dedup.column).or_insert_with(|| format!("given/{}/{row}", view.name).into());
        }
        let time = times.value(row);
        out.push(Row { time, append: time, value });
    }
    // Given in any order, they come in order of event time.
    out.sort_by_key(|r| r.time);
    Ok(out)
}

fn changes(view: &ViewSpec, spec: &TableSpec, batch: &RecordBatch) -> Result<Vec<Change>> {
    let own = spec.columns.iter().any(|c| c.name == EFFECTIVE);
    let times = batch.column_by_name(EFFECTIVE).filter(|_| !own);
    let mut by_time: BTreeMap<i64, Vec<Map<String, Value>>> = BTreeMap::new();
    for row in 0..batch.num_rows() {
        let mut value = object(batch, row)?;
        let at = match times.map(|t| t.as_primitive::<TimestampMicrosecondType>()) {
            Some(times) if !times.is_null(row) => times.value(row),
            _ => i64::MIN,
        };
        if !own {
            value.remove(EFFECTIVE);
        }
        let rows = by_time.entry(at).or_default();
        let key = |r: &Map<String, Value>| -> Vec<Value> {
            spec.primary_key.iter().map(|c| r.get(c).cloned().unwrap_or(Value::Null)).collect()
        };
        if rows.iter().any(|r| key(r) == key(&value)) {
            let what = format!("`given.{}` has two rows with the key {:?}", view.name, key(&value));
            return Err(Error::new(Code::BadTest, what)
                .at(view.place.clone())
                .expected(format!("one row for each {}", spec.primary_key.join(", "))));
        }
        rows.push(value);
    }
    Ok(by_time.into_iter().map(|(effective_at, rows)| Change { effective_at, rows }).collect())
}

/// Lets the faults have their way with the rows.
fn apply(view: &ViewSpec, faults: &RecordBatch, streams: &mut BTreeMap<String, Vec<Row>>) -> Result<()> {
    let bad = |what: String, expected: String| {
        Error::new(Code::BadTest, what).at(view.place.clone()).expected(expected)
    };
    let column = |name: &str, to: &DataType| -> Result<ArrayRef> {
        let Some(array) = faults.column_by_name(name) else {
            return Err(bad(
                format!("`given.faults` has no column `{name}`"),
                "rows of gap(…), duplicate(…), late(…)".into(),
            ));
        };
        converted(array, to)
            .map_err(|what| bad(format!("column `{name}` of `given.faults`: {what}"), to.to_string()))
    };
    let (kinds, names) = (column("kind", &DataType::Utf8)?, column("stream", &DataType::Utf8)?);
    let (from, to) = (column("from_time", &TIMESTAMP)?, column("to_time", &TIMESTAMP)?);
    let by = faults.column_by_name("by");
    for row in 0..faults.num_rows() {
        let (kind, name) = (kinds.as_string::<i32>().value(row), names.as_string::<i32>().value(row));
        let times = |a: &ArrayRef| a.as_primitive::<TimestampMicrosecondType>().value(row);
        let within = times(&from)..times(&to);
        let known: Vec<String> = streams.keys().cloned().collect();
        let Some(rows) = streams.get_mut(name) else {
            let near = suggest(name, known.iter().map(String::as_str));
            return Err(bad(format!("no stream `{name}` is given"), near));
        };
        if !rows.iter().any(|r| within.contains(&r.time)) {
            let what = format!("{kind} hits no row of `{name}`");
            return Err(bad(what, "a span of time in which rows are given".into()));
        }
        match kind {
            "gap" => rows.retain(|r| !within.contains(&r.time)),
            "duplicate" => {
                let copies: Vec<Row> = rows.iter().filter(|r| within.contains(&r.time)).cloned().collect();
                rows.extend(copies);
            }
            "late" => {
                let value = by.map_or(Ok(ScalarValue::Null), |a| ScalarValue::try_from_array(a, row));
                let by = value.and_then(|v| functions::span(&v)).map_err(|e| {
                    bad(
                        format!("column `by` of `given.faults`: {}", e.strip_backtrace()),
                        "an INTERVAL".into(),
                    )
                })?;
                rows.iter_mut().filter(|r| within.contains(&r.time)).for_each(|r| r.append += by);
            }
            other => {
                let near = suggest(other, ["gap", "duplicate", "late"]);
                return Err(bad(format!("there is no fault `{other}`"), near));
            }
        }
    }
    Ok(())
}
