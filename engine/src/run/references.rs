//! Reference tables over event time: what each query over them gives after each change.
//!
//! In:   reference records of the control log, in order.
//! Out:  versions: for each change, the rows of every relation that it touches.
//! Owns: the tables' rows now. Not when a version takes effect: that is the instance's.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use serde_json::{Map, Value};
use weir_contract::{Code, Error, Result};

use crate::base::{internal, internal_arrow};
use crate::control::RowChange;
use crate::sql::catalog::{TableKind, TableSpec};
use crate::sql::plan::context;
use crate::sql::plan::ir::{Plan, Relation};

/// One change, for all that reads reference tables.
#[derive(Debug)]
pub struct Version {
    pub change: i64,
    pub asked_at: Option<i64>,
    /// Set where the writer of the record chose it for every task.
    pub effective_at: Option<i64>,
    /// Relation index and its rows from then on; empty once everybody has them.
    pub relations: Vec<(usize, RecordBatch)>,
}

struct Table {
    spec: Arc<TableSpec>,
    schema: SchemaRef,
    /// By the JSON of the primary key.
    rows: BTreeMap<String, Map<String, Value>>,
    /// Of a memory table.
    constant: Option<RecordBatch>,
}

/// The rows of all reference tables, and the queries over them.
pub struct References {
    tables: BTreeMap<String, Table>,
    relations: Vec<Relation>,
    context: SessionContext,
    runtime: tokio::runtime::Runtime,
    pub versions: Vec<Arc<Version>>,
    /// How many of the first ones were let go.
    gone: usize,
}

impl References {
    pub fn new(plan: &Plan) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|e| Error::new(Code::Internal, format!("no runtime: {e}")))?;
        let context = context();
        let mut tables = BTreeMap::new();
        for spec in &plan.references {
            let fields: Vec<Field> =
                spec.columns.iter().map(|c| Field::new(&c.name, c.data_type.clone(), true)).collect();
            let schema = Arc::new(Schema::new(fields));
            let constant = match spec.kind {
                TableKind::Memory => Some(runtime.block_on(memory_rows(&context, spec, &schema))?),
                _ => None,
            };
            let table = Table { spec: Arc::clone(spec), schema, rows: BTreeMap::new(), constant };
            tables.insert(spec.name.clone(), table);
        }
        Ok(Self {
            tables,
            relations: plan.relations.clone(),
            context,
            runtime,
            versions: Vec::new(),
            gone: 0,
        })
    }

    /// Names of the tables whose rows come through the control log.
    pub fn followed(&self) -> impl Iterator<Item = &str> {
        self.tables.values().filter(|t| t.constant.is_none()).map(|t| t.spec.name.as_str())
    }

    /// Takes one reference record; the first one gives every relation its first rows. A change that was
    /// told already (by an owner that had been replaced) is passed over: it is the same transaction, and
    /// so is a second first load, by a process that started at the same time.
    pub fn apply(
        &mut self,
        change: i64,
        asked_at: Option<i64>,
        effective_at: Option<i64>,
        changes: &[RowChange],
    ) -> Result<()> {
        let told = self.versions.iter().map(|v| v.change).max();
        if told.is_some_and(|last| change <= last || effective_at == Some(i64::MIN)) {
            return Ok(());
        }
        for row in changes {
            let Some(table) = self.tables.get_mut(&row.table) else { continue };
            if let Some(before) = &row.before {
                table.rows.remove(&key(&table.spec, before));
            }
            if let Some(after) = &row.after {
                table.rows.insert(key(&table.spec, after), after.clone());
            }
        }
        let first = self.versions.is_empty();
        let mut relations = Vec::new();
        for (index, relation) in self.relations.iter().enumerate() {
            let touched = relation.tables.iter().any(|t| changes.iter().any(|c| c.table == *t));
            if first || touched {
                relations.push((index, self.evaluate(relation)?));
            }
        }
        self.versions.push(Arc::new(Version { change, asked_at, effective_at, relations }));
        Ok(())
    }

    /// Lets the rows of the first `taken` versions go: nobody asks for them again.
    pub fn let_go(&mut self, taken: usize) {
        let taken = taken.min(self.versions.len());
        for version in self.versions.get_mut(self.gone..taken).unwrap_or_default() {
            let Version { change, asked_at, effective_at, .. } = **version;
            *version = Arc::new(Version { change, asked_at, effective_at, relations: Vec::new() });
        }
        self.gone = self.gone.max(taken);
    }

    fn evaluate(&self, relation: &Relation) -> Result<RecordBatch> {
        let plan = relation
            .plan
            .clone()
            .transform_up(|node| match node {
                LogicalPlan::TableScan(mut scan) => {
                    let name = scan.table_name.table();
                    let table = self.tables.get(name).ok_or_else(|| {
                        datafusion::error::DataFusionError::Internal(format!("no reference table {name}"))
                    })?;
                    let rows = table
                        .batch()
                        .map_err(|e| datafusion::error::DataFusionError::External(Box::new(e)))?;
                    let memory = MemTable::try_new(Arc::clone(&table.schema), vec![vec![rows]])?;
                    scan.source = provider_as_source(Arc::new(memory));
                    Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
                }
                other => Ok(Transformed::no(other)),
            })
            .map_err(internal)?
            .data;
        let batches = self
            .runtime
            .block_on(async { self.context.execute_logical_plan(plan).await?.collect().await })
            .map_err(|e| {
                Error::new(
                    Code::Reference,
                    format!("the query over {} failed: {}", relation.name, e.strip_backtrace()),
                )
            })?;
        let columns = match batches.first() {
            None => return Ok(RecordBatch::new_empty(Arc::clone(&relation.schema))),
            Some(first) => {
                concat_batches(&first.schema(), &batches).map_err(internal_arrow)?.columns().to_vec()
            }
        };
        RecordBatch::try_new(Arc::clone(&relation.schema), columns).map_err(internal_arrow)
    }
}

impl Table {
    fn batch(&self) -> Result<RecordBatch> {
        if let Some(constant) = &self.constant {
            return Ok(constant.clone());
        }
        rows_to_batch(&self.schema, self.rows.values()).map_err(|e| e.or_at(self.spec.place.clone()))
    }
}

/// JSON objects to rows of a schema; missing columns are NULL.
pub fn rows_to_batch<'a>(
    schema: &SchemaRef,
    rows: impl Iterator<Item = &'a Map<String, Value>>,
) -> Result<RecordBatch> {
    let rows: Vec<&Map<String, Value>> = rows.collect();
    if rows.is_empty() {
        return Ok(RecordBatch::new_empty(Arc::clone(schema)));
    }
    let bad = |e: datafusion::arrow::error::ArrowError| {
        Error::new(Code::Reference, format!("a reference row does not fit its table: {e}"))
    };
    let mut decoder =
        ReaderBuilder::new(Arc::clone(schema)).with_batch_size(rows.len()).build_decoder().map_err(bad)?;
    decoder.serialize(&rows).map_err(bad)?;
    let batch = decoder.flush().map_err(bad)?;
    Ok(batch.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(schema))))
}

fn key(spec: &TableSpec, row: &Map<String, Value>) -> String {
    let values = spec.primary_key.iter().map(|c| row.get(c).cloned().unwrap_or(Value::Null)).collect();
    Value::Array(values).to_string()
}

async fn memory_rows(context: &SessionContext, spec: &TableSpec, schema: &SchemaRef) -> Result<RecordBatch> {
    if spec.rows.is_empty() {
        return Ok(RecordBatch::new_empty(Arc::clone(schema)));
    }
    let rows: Vec<String> = spec
        .rows
        .iter()
        .map(|row| format!("({})", row.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
        .collect();
    let refused = |e: datafusion::error::DataFusionError| {
        Error::new(Code::Plan, format!("the rows of `{}` cannot be read: {}", spec.name, e.strip_backtrace()))
            .at(spec.place.clone())
    };
    let query = format!("VALUES {}", rows.join(", "));
    let batches = context.sql(&query).await.map_err(refused)?.collect().await.map_err(refused)?;
    let all = concat_batches(&batches[0].schema(), &batches).map_err(internal_arrow)?;
    if all.num_columns() != schema.fields().len() {
        return Err(Error::new(
            Code::Plan,
            format!("the rows of `{}` have {} values", spec.name, all.num_columns()),
        )
        .expected(format!("{} values", schema.fields().len()))
        .at(spec.place.clone()));
    }
    let columns = all
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(c, f)| datafusion::arrow::compute::cast(c, f.data_type()))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| Error::new(Code::Plan, e.to_string()).at(spec.place.clone()))?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(internal_arrow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{SourceFile, plan, read};

    const PROGRAM: &str = "
        CREATE TABLE r (k TEXT NOT NULL, v BIGINT, PRIMARY KEY (k)) WITH (connector = 'reference');
        CREATE TABLE a (k TEXT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts)
        WITH (connector = 'memory', type = 'source');
        CREATE TABLE o (k TEXT, v BIGINT) WITH (connector = 'memory', type = 'sink');
        INSERT INTO o SELECT a.k, r.v FROM a JOIN r ON a.k = r.k;";

    #[test]
    fn rows_of_versions_that_everybody_has_are_let_go() {
        let file = SourceFile { name: "r.sql".into(), folder: String::new(), text: PROGRAM.into() };
        let plan = plan::plan(&read(&[file]).unwrap()).unwrap();
        let mut references = References::new(&plan).unwrap();
        for change in 0..5i64 {
            let row = serde_json::json!({"k": format!("k{change}"), "v": change});
            let row = row.as_object().cloned();
            let changes = [RowChange { table: "r".into(), before: None, after: row }];
            references.apply(change, Some(change), None, &changes).unwrap();
        }
        let rows = |references: &References| -> Vec<usize> {
            let of = |v: &Arc<Version>| v.relations.iter().map(|(_, rows)| rows.num_rows()).sum();
            references.versions.iter().map(of).collect()
        };
        assert_eq!(rows(&references), [1, 2, 3, 4, 5]);
        for (taken, left) in [(2, [0, 0, 3, 4, 5]), (1, [0, 0, 3, 4, 5]), (4, [0, 0, 0, 0, 5])] {
            references.let_go(taken);
            assert_eq!(rows(&references), left, "{taken} were taken");
        }
        references.let_go(usize::MAX);
        assert_eq!(rows(&references), [0; 5]);
        let changes: Vec<_> = references.versions.iter().map(|v| (v.change, v.asked_at)).collect();
        assert_eq!(changes, (0..5).map(|n| (n, Some(n))).collect::<Vec<_>>(), "what was told stays known");
    }
}
