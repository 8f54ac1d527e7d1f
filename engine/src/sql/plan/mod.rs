//! From a script to a streaming plan.
//!
//! In:   a checked `Script`.
//! Out:  an `ir::Plan`: nodes for each view (once), rule and insert.
//! Owns: names, types and event time. Not how a node runs: `run::compile`; not the batch form: `batch`.
//!
//! Start at `plan`.

mod aggregate;
pub mod batch;
mod build;
pub mod detect;
mod errors;
pub mod explain;
pub mod expr;
pub mod functions;
pub mod ir;
mod join;
mod narrow;
mod over;
mod refuse;
mod session;
mod stream;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast;
use weir_contract::{Code, Error, Place as Where, Result};

use self::build::{Builder, Rel};
pub use self::errors::place_of;
use self::errors::placed;
use self::ir::{Node, Op, Output, Place, Plan};
pub use self::narrow::narrow;
use self::refuse::{Names, refuse};
pub use self::session::{Session, context};
pub use self::stream::{OFFSET, PARTITION, stream_schema};
use crate::detect::{Detector, Detectors, NoDetectors};
use crate::sql::catalog::{
    Format, InsertSpec, MAX_AHEAD_DEFAULT, MAX_RECORD_BYTES_DEFAULT, QuerySpec, RuleSpec, Script, TableKind,
    TableSpec, ViewSpec,
};

/// Plans a whole program, without the columns that nobody reads. All errors are collected; each stands at
/// its statement's place. `detect()` is refused: see [`plan_with`].
pub fn plan(script: &Script) -> std::result::Result<Plan, Vec<Error>> {
    plan_with(script, &NoDetectors)
}

/// The same with models for `detect()`, which are opened here.
pub fn plan_with(script: &Script, detectors: &dyn Detectors) -> std::result::Result<Plan, Vec<Error>> {
    narrow(whole(script, detectors)?).map_err(|e| vec![e])
}

/// The plan in which every node has all its columns; its nodes have the ids of `plan`'s.
pub fn plan_whole(script: &Script) -> std::result::Result<Plan, Vec<Error>> {
    whole(script, &NoDetectors)
}

fn whole(script: &Script, detectors: &dyn Detectors) -> std::result::Result<Plan, Vec<Error>> {
    let mut planner = match Planner::new(script, detectors) {
        Ok(planner) => planner,
        Err(error) => return Err(vec![error]),
    };
    let mut errors = Vec::new();
    for view in views_in_order(script, &mut errors) {
        if planner.waits(&view.query) {
            planner.failed.insert(view.name.clone());
        } else if let Err(error) = planner.view(view) {
            planner.failed.insert(view.name.clone());
            errors.push(placed(error, &view.text, &view.place));
        }
    }
    for rule in script.rules.iter().filter(|r| r.options.enabled) {
        if planner.waits(&rule.query) {
            continue;
        }
        if let Err(error) = planner.rule(rule) {
            errors.push(placed(error, &rule.text, &rule.place));
        }
    }
    for insert in script.inserts.iter().filter(|i| !planner.waits(&i.query)).collect::<Vec<_>>() {
        if let Err(error) = planner.insert(insert) {
            errors.push(placed(error, &insert.text, &insert.place));
        }
    }
    for query in script.queries.iter().filter(|q| !planner.waits(&q.query)).collect::<Vec<_>>() {
        if let Err(error) = planner.plain(query) {
            errors.push(placed(error, &query.text, &query.place));
        }
    }
    if errors.is_empty() { Ok(planner.plan) } else { Err(errors) }
}

struct Planner<'a> {
    detectors: &'a dyn Detectors,
    /// What `detect()` of the statement at hand runs.
    detector: Option<Arc<dyn Detector>>,
    /// The program has rules: the detector is no part of it.
    rules: bool,
    session: Session,
    plan: Plan,
    streams: BTreeMap<String, Rel>,
    references: BTreeMap<String, Vec<String>>,
    tables: BTreeMap<String, Arc<TableSpec>>,
    /// Views with an error of their own: what reads them says nothing more.
    failed: BTreeSet<String>,
}

impl<'a> Planner<'a> {
    fn new(script: &Script, detectors: &'a dyn Detectors) -> Result<Self> {
        let mut planner = Planner {
            detectors,
            detector: None,
            rules: !script.rules.is_empty(),
            session: Session::new(),
            plan: Plan::default(),
            streams: BTreeMap::new(),
            references: BTreeMap::new(),
            tables: BTreeMap::new(),
            failed: BTreeSet::new(),
        };
        for table in detect::TABLES {
            planner.session.table(table, detect::fields(table))?;
        }
        for table in &script.tables {
            planner.table(Arc::new(table.clone())).map_err(|e| e.or_at(table.place.clone()))?;
        }
        Ok(planner)
    }

    fn table(&mut self, table: Arc<TableSpec>) -> Result<()> {
        self.tables.insert(table.name.clone(), Arc::clone(&table));
        match table.kind {
            TableKind::Source => {
                let stream = stream_schema(&table)?;
                let lateness = table.watermark.as_ref().map_or(0, |w| w.lateness);
                let visible = table.columns.len();
                let fields =
                    stream.schema.fields().iter().take(visible).map(|f| f.as_ref().clone()).collect();
                self.session.table(&table.name, fields)?;
                self.plan.nodes.push(Node {
                    op: Op::Source(Arc::clone(&table)),
                    inputs: vec![],
                    exchange: vec![],
                    delays: vec![lateness; stream.times.len()],
                    windows: vec![],
                    ranges: BTreeMap::from([(table.name.clone(), (0, 0))]),
                    stream,
                    place: Place::Task,
                });
                let rel = Rel { node: self.plan.nodes.len() - 1, map: (0..visible).collect() };
                self.streams.insert(table.name.clone(), rel);
                self.plan.sources.push(table);
            }
            TableKind::Reference | TableKind::Memory => {
                self.session.table(&table.name, reference_fields(&table))?;
                self.references.insert(table.name.clone(), table.primary_key.clone());
                self.plan.references.push(table);
            }
            TableKind::Sink => {}
        }
        Ok(())
    }

    /// A query as SQL says it; what the dialect does not have is refused.
    fn read(&self, query: &ast::Query) -> Result<LogicalPlan> {
        let sinks = self.tables.values().filter(|t| t.kind == TableKind::Sink).map(|t| t.name.clone());
        let found = detect::TABLES.iter().filter(|_| self.detector.is_some());
        let found = found.map(|t| (*t).to_owned());
        let names = Names {
            streams: &self.streams.keys().cloned().collect(),
            references: &self.references.keys().cloned().chain(found).collect(),
            sinks: &sinks.collect(),
        };
        refuse(query, &names)?;
        let logical = self.session.logical(query)?;
        expr::refuse_impure(&logical)?;
        Ok(logical)
    }

    /// Whether a query reads a view that has an error.
    fn waits(&self, query: &ast::Query) -> bool {
        let found = ast::visit_relations(query, |name| match self.failed.contains(&name.to_string()) {
            true => std::ops::ControlFlow::Break(()),
            false => std::ops::ControlFlow::Continue(()),
        });
        found.is_break()
    }

    fn query(&mut self, query: &ast::Query) -> Result<LogicalPlan> {
        let logical = self.read(query)?;
        self.session.prepare(logical)
    }

    fn builder(&mut self) -> Builder<'_> {
        Builder {
            plan: &mut self.plan,
            streams: &self.streams,
            references: &self.references,
            detector: self.detector.clone(),
        }
    }

    fn view(&mut self, view: &ViewSpec) -> Result<()> {
        let raw = self.read(&view.query)?;
        if let Some(tables) = self.builder().relation_tables(&raw) {
            // A view over reference tables only is itself versioned; it stands where it is used.
            self.session.view(&view.name, raw)?;
            self.references.insert(view.name.clone(), Vec::new());
            let _ = tables;
            return Ok(());
        }
        let names: Vec<String> = raw.schema().fields().iter().map(|f| f.name().clone()).collect();
        let logical = self.session.prepare(raw)?;
        let mut builder = self.builder();
        let rel = builder.build(&logical)?;
        let rel = builder.materialise(rel, names)?;
        let schema = Arc::clone(&self.plan.nodes[rel.node].stream.schema);
        self.session.table(&view.name, rel.map.iter().map(|c| schema.field(*c).clone()).collect())?;
        self.plan.views.insert(view.name.clone(), (rel.node, rel.map.clone()));
        self.streams.insert(view.name.clone(), rel);
        Ok(())
    }

    fn rule(&mut self, rule: &RuleSpec) -> Result<()> {
        let rel = self.output(&rule.query)?;
        let rel = self.keyed(rel, rule)?;
        self.plan.outputs.push(Output::Rule { spec: Arc::new(rule.clone()), node: rel.node });
        Ok(())
    }

    /// Episodes of one key need all its rows in one place: by the task where the key holds the
    /// partition key, else by an exchange.
    fn keyed(&mut self, rel: Rel, rule: &RuleSpec) -> Result<Rel> {
        let node = &self.plan.nodes[rel.node];
        let schema = Arc::clone(&node.stream.schema);
        let wanted = std::iter::once("warehouse").chain(rule.options.key.iter().map(String::as_str));
        let keys: Vec<usize> = wanted.filter_map(|name| schema.index_of(name).ok()).collect();
        let held = match &node.place {
            Place::Task => {
                let by = &node.stream.partition_key;
                !by.is_empty() && by.iter().all(|c| same_column(&keys, *c, &schema))
            }
            Place::Shard(by) => by.iter().all(|c| keys.contains(c)),
        };
        if held {
            return Ok(rel);
        }
        let moved = Node {
            op: Op::Project {
                columns: schema.fields().iter().map(|f| (expr::column(f.name()), f.name().clone())).collect(),
                times: (0..node.stream.times.len()).map(|t| (t, 0)).collect(),
            },
            inputs: vec![rel.node],
            exchange: vec![Some(keys.iter().map(|c| expr::column(schema.field(*c).name())).collect())],
            place: Place::Shard(keys),
            ..node.clone()
        };
        self.plan.nodes.push(moved);
        Ok(Rel { node: self.plan.nodes.len() - 1, map: rel.map })
    }

    /// A query's node whose first columns are its output columns under their names.
    fn output(&mut self, query: &ast::Query) -> Result<Rel> {
        let logical = self.query(query)?;
        let names: Vec<String> = logical.schema().fields().iter().map(|f| f.name().clone()).collect();
        let mut builder = self.builder();
        let rel = builder.build(&logical)?;
        builder.materialise(rel, names)
    }

    fn insert(&mut self, insert: &InsertSpec) -> Result<()> {
        let target = self.tables.get(&insert.table).cloned().ok_or_else(|| {
            Error::new(Code::UnknownName, format!("table `{}` is not declared", insert.table))
                .expected("a CREATE TABLE with type = 'sink'")
        })?;
        if target.format == Format::RawBytes {
            let what = format!("`{}` cannot be written as raw_bytes", target.name);
            return Err(Error::new(Code::NotYet, what).expected("format = 'json'"));
        }
        let rewritten = detect::rewrite(&insert.query, self.detectors)?;
        if rewritten.model.is_some() && self.rules {
            let what = "the detector is a program of its own, and this one has rules";
            return Err(
                detect::misplaced(what).expected("rules that read the table it writes, in another program")
            );
        }
        self.detector = rewritten.model.as_deref().map(|m| self.detectors.open(m)).transpose()?;
        let rel = self.output(&rewritten.query);
        let detects = self.detector.is_some();
        let rel = rel
            .and_then(|rel| if detects { self.builder().refuse_images(&rel).map(|()| rel) } else { Ok(rel) });
        self.detector = None;
        let rel = rel?;
        let given = rel.map.len();
        let wanted = target.columns.len();
        if given != wanted && wanted > 0 {
            return Err(Error::new(Code::Plan, format!("the query gives {given} columns"))
                .expected(format!("{wanted} columns, as `{}` has", target.name)));
        }
        let stateless = self.stateless(rel.node);
        self.plan.outputs.push(Output::Insert {
            spec: Arc::new(insert.clone()),
            node: rel.node,
            target,
            stateless,
        });
        Ok(())
    }

    /// A query on its own goes to standard output.
    fn plain(&mut self, query: &QuerySpec) -> Result<()> {
        let rel = self.output(&query.query)?;
        let stateless = self.stateless(rel.node);
        let target = Arc::new(standard_output(query.place.clone()));
        let spec = InsertSpec {
            table: target.name.clone(),
            query: query.query.clone(),
            text: query.text.clone(),
            place: query.place.clone(),
        };
        self.plan.outputs.push(Output::Insert { spec: Arc::new(spec), node: rel.node, target, stateless });
        Ok(())
    }

    fn stateless(&self, node: usize) -> bool {
        let node = &self.plan.nodes[node];
        matches!(node.op, Op::Source(_) | Op::Project { .. } | Op::Filter(_) | Op::Detect { .. })
            && node.inputs.iter().all(|i| self.stateless(*i))
    }
}

/// Whether a partition-key column is among the keys, by itself or under its visible name.
fn same_column(keys: &[usize], column: usize, schema: &datafusion::arrow::datatypes::SchemaRef) -> bool {
    let visible = schema.field(column).name().strip_prefix("__");
    keys.contains(&column) || visible.is_some_and(|n| keys.iter().any(|k| schema.field(*k).name() == n))
}

/// The sink of plain queries.
fn standard_output(place: Where) -> TableSpec {
    TableSpec {
        name: "stdout".into(),
        columns: vec![],
        primary_key: vec![],
        partitioned_by: vec![],
        watermark: None,
        kind: TableKind::Sink,
        connector: "stdout".into(),
        format: Format::Json,
        idle_after: None,
        max_ahead: MAX_AHEAD_DEFAULT,
        append_time: None,
        dedup: None,
        max_record_bytes: MAX_RECORD_BYTES_DEFAULT,
        options: BTreeMap::new(),
        rows: vec![],
        place,
    }
}

fn reference_fields(table: &TableSpec) -> Vec<datafusion::arrow::datatypes::Field> {
    table.columns.iter().map(|c| build::field(&c.name, c.data_type.clone())).collect()
}

/// Views such that a view comes after those it reads; a circle is an error.
fn views_in_order<'a>(script: &'a Script, errors: &mut Vec<Error>) -> Vec<&'a ViewSpec> {
    let by_name: BTreeMap<&str, &ViewSpec> = script.views.iter().map(|v| (v.name.as_str(), v)).collect();
    let mut state: BTreeMap<&str, bool> = BTreeMap::new();
    let mut order = Vec::new();
    fn visit<'a>(
        view: &'a ViewSpec,
        by_name: &BTreeMap<&str, &'a ViewSpec>,
        state: &mut BTreeMap<&'a str, bool>,
        order: &mut Vec<&'a ViewSpec>,
    ) -> Result<()> {
        match state.get(view.name.as_str()) {
            Some(true) => return Ok(()),
            Some(false) => {
                return Err(Error::new(Code::Plan, format!("view `{}` reads itself", view.name))
                    .expected("a view over other views and tables")
                    .at(view.place.clone()));
            }
            None => {}
        }
        state.insert(&view.name, false);
        let mut names = Vec::new();
        let _ = ast::visit_relations(&view.query, |name| {
            names.push(name.to_string());
            std::ops::ControlFlow::<()>::Continue(())
        });
        for name in names {
            if let Some(other) = by_name.get(name.as_str()).filter(|o| o.name != view.name) {
                visit(other, by_name, state, order)?;
            }
        }
        state.insert(&view.name, true);
        order.push(view);
        Ok(())
    }
    for view in &script.views {
        if let Err(error) = visit(view, &by_name, &mut state, &mut order) {
            errors.push(error);
        }
    }
    order
}
