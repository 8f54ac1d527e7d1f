//! From DataFusion's logical plan of one query to nodes of the streaming plan.
//!
//! In:   an analysed logical plan over tables and views that are planned already.
//! Out:  nodes appended to the plan, and which node column each output column is.
//! Owns: projections, filters, unions and what travels hidden. Joins are in `join`, GROUP BY and
//!       OVER in `aggregate` and `over`.
//!
//! A projection of plain columns costs nothing: it only changes the map. Hidden columns (row time,
//! order) are added where a real projection would lose them.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection};
use weir_contract::{Code, Error, Result, Span};

use crate::base::StreamSchema;
use crate::detect::Detector;

use super::expr::{and_all, column, conjuncts, plain_column, resolve, time_of, type_of, within};
use super::ir::{Node, NodeId, Op, Place, Plan, Relation};

/// A node and, for each column of the logical plan's output, the node's column.
#[derive(Debug, Clone)]
pub struct Rel {
    pub node: NodeId,
    pub map: Vec<usize>,
}

/// Builds nodes; `streams` says what a scanned name is.
pub struct Builder<'a> {
    pub plan: &'a mut Plan,
    pub streams: &'a BTreeMap<String, Rel>,
    /// Names of reference and memory tables.
    pub references: &'a BTreeMap<String, Vec<String>>,
    /// What `detect()` of the query at hand runs.
    pub detector: Option<Arc<dyn Detector>>,
}

/// Unique names: the second `x` becomes `x:1`.
pub fn unique(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    names
        .into_iter()
        .map(|name| {
            let mut candidate = name.clone();
            let mut n = 1;
            while !seen.insert(candidate.clone()) {
                candidate = format!("{name}:{n}");
                n += 1;
            }
            candidate
        })
        .collect()
}

/// A nullable field: after a softened expression any column may be NULL.
pub fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

impl Builder<'_> {
    pub fn node(&self, id: NodeId) -> &Node {
        &self.plan.nodes[id]
    }

    pub fn add(&mut self, node: Node) -> NodeId {
        debug_assert_eq!(node.stream.times.len(), node.delays.len());
        debug_assert_eq!(node.inputs.len(), node.exchange.len());
        self.plan.nodes.push(node);
        self.plan.nodes.len() - 1
    }

    pub fn build(&mut self, logical: &LogicalPlan) -> Result<Rel> {
        match logical {
            LogicalPlan::TableScan(scan) => {
                let name = scan.table_name.table();
                let rel = self.streams.get(name).ok_or_else(|| {
                    Error::new(
                        Code::NotYet,
                        format!("`{name}` is not a stream, and stands where only a stream can"),
                    )
                    .expected("reference and memory tables on the right side of a join")
                })?;
                let map = match &scan.projection {
                    Some(columns) => columns.iter().map(|c| rel.map[*c]).collect(),
                    None => rel.map.clone(),
                };
                Ok(Rel { node: rel.node, map })
            }
            LogicalPlan::SubqueryAlias(alias) => self.build(&alias.input),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Window(window) => self.over(window),
            LogicalPlan::Union(union) => {
                let mut branches = Vec::new();
                for (number, input) in (0i32..).zip(&union.inputs) {
                    let rel = self.build(input)?;
                    let names = union.schema.fields().iter().map(|f| f.name().clone()).collect();
                    branches.push(self.branch(rel, names, number)?);
                }
                self.union(branches, union.schema.fields().len())
            }
            LogicalPlan::Sort(_) => {
                Err(Error::new(Code::NotYet, "ORDER BY of a stream has no end to wait for")
                    .expected("ORDER BY inside OVER or inside an aggregate"))
            }
            LogicalPlan::Limit(_) => Err(Error::new(Code::NotYet, "LIMIT of a stream is not there yet")
                .expected("WHERE, or a window and an aggregate")),
            LogicalPlan::Distinct(_) => {
                Err(Error::new(Code::Unbounded, "DISTINCT over a stream would keep every row for ever")
                    .expected("GROUP BY with an event-time column or a window"))
            }
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => {
                Err(Error::new(Code::NotYet, "rows of constants stand where only a stream can").expected(
                    "a table without WITH, filled by INSERT INTO … VALUES, on the right side of a join",
                ))
            }
            other => {
                let form = other.display().to_string();
                let form = form.split([':', '(']).next().unwrap_or_default().trim().to_lowercase();
                Err(Error::new(Code::NotYet, format!("a query of the form `{form}` is not there yet"))
                    .expected("the forms of docs/SQL.md"))
            }
        }
    }

    fn projection(&mut self, projection: &Projection) -> Result<Rel> {
        let rel = self.build(&projection.input)?;
        let schema = Arc::clone(&self.node(rel.node).stream.schema);
        let exprs = projection
            .expr
            .iter()
            .map(|e| resolve(e, projection.input.schema(), &rel.map, &schema))
            .collect::<Result<Vec<_>>>()?;
        if let Some(map) = exprs.iter().map(|e| plain_column(e, &schema)).collect::<Option<Vec<_>>>() {
            return Ok(Rel { node: rel.node, map });
        }
        let names = projection.schema.fields().iter().map(|f| f.name().clone());
        self.project(rel.node, exprs.into_iter().zip(names).collect())
    }

    /// A projection node: the given columns, and hidden ones for what would be lost.
    pub fn project(&mut self, input: NodeId, visible: Vec<(Expr, String)>) -> Result<Rel> {
        let from = self.node(input).clone();
        let old = &from.stream;
        let count = visible.len();
        let plain: Vec<Option<usize>> = visible.iter().map(|(e, _)| plain_column(e, &old.schema)).collect();
        let mut columns: Vec<(Expr, String)> = visible;
        let mut kept: BTreeMap<usize, usize> = BTreeMap::new();
        for (at, source) in plain.iter().enumerate() {
            if let Some(source) = source {
                kept.entry(*source).or_insert(at);
            }
        }
        let mut keep = |index: usize, columns: &mut Vec<(Expr, String)>| -> usize {
            *kept.entry(index).or_insert_with(|| {
                let name = old.schema.field(index).name();
                let hidden = if name.starts_with("__") { name.clone() } else { format!("__{name}") };
                columns.push((column(name), hidden));
                columns.len() - 1
            })
        };
        let row_time = keep(old.row_time_column(), &mut columns);
        let order: Vec<usize> = old.order.iter().map(|c| keep(*c, &mut columns)).collect();
        let partition_key: Vec<usize> = old.partition_key.iter().map(|c| keep(*c, &mut columns)).collect();
        let place = match &from.place {
            Place::Task => Place::Task,
            Place::Shard(keys) => Place::Shard(keys.iter().map(|c| keep(*c, &mut columns)).collect()),
        };
        let names = unique(columns.iter().map(|(_, name)| name.clone()));
        let columns: Vec<(Expr, String)> = columns.into_iter().map(|(e, _)| e).zip(names).collect();
        let fields = columns
            .iter()
            .map(|(e, name)| Ok(field(name, type_of(e, &old.schema)?)))
            .collect::<Result<Vec<_>>>()?;
        let (mut times, mut shifts, mut delays): (Vec<usize>, Vec<(usize, Span)>, Vec<Span>) =
            Default::default();
        for (at, (e, _)) in columns.iter().enumerate() {
            if let Some((time, by)) = time_of(e, &from) {
                times.push(at);
                shifts.push((time, by));
                delays.push(from.delays[time] - by);
            }
        }
        let row_time = times.iter().position(|t| *t == row_time).ok_or_else(|| lost("row time"))?;
        let windows = columns
            .iter()
            .enumerate()
            .filter_map(|(at, (e, _))| {
                let source = plain_column(e, &old.schema)?;
                let (_, time) = from.windows.iter().find(|(c, _)| *c == source)?;
                let kept = shifts.iter().position(|(t, by)| t == time && *by == 0)?;
                Some((at, kept))
            })
            .collect();
        let node = self.add(Node {
            op: Op::Project { columns, times: shifts },
            inputs: vec![input],
            exchange: vec![None],
            stream: StreamSchema {
                schema: Arc::new(Schema::new(fields)),
                times,
                row_time,
                order,
                partition_key,
            },
            delays,
            windows,
            ranges: from.ranges,
            place,
        });
        Ok(Rel { node, map: (0..count).collect() })
    }

    /// Drops columns that nobody reads before an operator that holds rows.
    pub fn prune(&mut self, rel: Rel, also: &[usize]) -> Result<Rel> {
        let node = self.node(rel.node);
        let old = Arc::clone(&node.stream.schema);
        let mut used: Vec<usize> = rel.map.iter().chain(also).copied().collect();
        used.sort_unstable();
        used.dedup();
        let hidden: Vec<usize> = node
            .stream
            .order
            .iter()
            .chain([&node.stream.row_time_column()])
            .chain(&node.stream.partition_key)
            .copied()
            .collect();
        if (0..old.fields().len()).all(|c| used.contains(&c) || hidden.contains(&c)) {
            return Ok(rel);
        }
        let visible =
            used.iter().map(|c| (column(old.field(*c).name()), old.field(*c).name().clone())).collect();
        let pruned = self.project(rel.node, visible)?;
        let position = |c: &usize| used.binary_search(c).map_err(|_| lost("column"));
        Ok(Rel { node: pruned.node, map: rel.map.iter().map(position).collect::<Result<_>>()? })
    }

    /// A node whose visible columns are exactly the output, under the given names.
    pub fn materialise(&mut self, rel: Rel, names: Vec<String>) -> Result<Rel> {
        let schema = Arc::clone(&self.node(rel.node).stream.schema);
        let names = unique(names);
        let same = rel.map.iter().enumerate().all(|(at, c)| at == *c)
            && schema.fields().get(rel.map.len()).is_none_or(|f| f.name().starts_with("__"))
            && names.iter().zip(schema.fields()).all(|(name, f)| name == f.name());
        if same {
            return Ok(rel);
        }
        let visible =
            rel.map.iter().zip(names).map(|(c, name)| (column(schema.field(*c).name()), name)).collect();
        self.project(rel.node, visible)
    }

    fn filter(&mut self, filter: &Filter) -> Result<Rel> {
        // Conjuncts over the left side of a join hold as well below it, where rows are fewer.
        if let LogicalPlan::Join(join) = filter.input.as_ref() {
            let (below, above): (Vec<_>, Vec<_>) =
                conjuncts(&filter.predicate).into_iter().partition(|c| within(c, join.left.schema()));
            if let Some(predicate) = and_all(below) {
                let mut lowered = join.clone();
                let left =
                    Filter::try_new(predicate, Arc::clone(&join.left)).map_err(super::expr::plan_error)?;
                lowered.left = Arc::new(LogicalPlan::Filter(left));
                let lowered = LogicalPlan::Join(lowered);
                return match and_all(above) {
                    None => self.build(&lowered),
                    Some(predicate) => {
                        let rel = self.build(&lowered)?;
                        self.keep_where(rel, &predicate, lowered.schema())
                    }
                };
            }
        }
        let rel = self.build(&filter.input)?;
        self.keep_where(rel, &filter.predicate, filter.input.schema())
    }

    fn keep_where(&mut self, rel: Rel, predicate: &Expr, from: &DFSchema) -> Result<Rel> {
        let input = self.node(rel.node).clone();
        let predicate = resolve(predicate, from, &rel.map, &input.stream.schema)?;
        let node = self.add(Node {
            op: Op::Filter(predicate),
            inputs: vec![rel.node],
            exchange: vec![None],
            ..input
        });
        Ok(Rel { node, map: rel.map })
    }

    /// A branch of a UNION ALL: its number ends the canonical order, so that a row that comes through
    /// two branches is two rows.
    fn branch(&mut self, rel: Rel, names: Vec<String>, number: i32) -> Result<Rel> {
        let schema = Arc::clone(&self.node(rel.node).stream.schema);
        let mut visible: Vec<(Expr, String)> =
            rel.map.iter().map(|c| column(schema.field(*c).name())).zip(unique(names)).collect();
        visible.push((datafusion::logical_expr::lit(number), "__u".into()));
        let last = visible.len() - 1;
        let branch = self.project(rel.node, visible)?;
        self.plan.nodes[branch.node].stream.order.push(last);
        Ok(branch)
    }

    fn union(&mut self, branches: Vec<Rel>, visible: usize) -> Result<Rel> {
        let first = self.node(branches[0].node).clone();
        let alike = branches.iter().all(|b| {
            let node = self.node(b.node);
            let types = |s: &SchemaRef| s.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
            types(&node.stream.schema) == types(&first.stream.schema)
                && node.stream.times == first.stream.times
                && node.stream.row_time == first.stream.row_time
                && node.stream.order == first.stream.order
                && node.place == first.place
        });
        if !alike {
            return Err(Error::new(
                Code::NotYet,
                "the branches of UNION ALL have different event-time columns or orders",
            )
            .expected(
                "branches that each read one stream, with the same event-time columns at the same places",
            ));
        }
        let mut node = Node {
            op: Op::Union,
            inputs: branches.iter().map(|b| b.node).collect(),
            exchange: vec![None; branches.len()],
            windows: Vec::new(),
            ..first
        };
        for branch in &branches[1..] {
            let other = &self.plan.nodes[branch.node];
            for (mine, theirs) in node.delays.iter_mut().zip(&other.delays) {
                *mine = (*mine).max(*theirs);
            }
            if other.stream.partition_key != node.stream.partition_key {
                node.stream.partition_key.clear();
            }
            let ranges = other.ranges.clone();
            widen(&mut node.ranges, &ranges, 0, 0);
        }
        let node = self.add(node);
        Ok(Rel { node, map: (0..visible).collect() })
    }

    /// Whether a subplan reads reference and memory tables only; gives their names.
    pub fn relation_tables(&self, logical: &LogicalPlan) -> Option<Vec<String>> {
        use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
        let mut tables = Some(Vec::new());
        logical
            .apply(|node| {
                if let LogicalPlan::TableScan(scan) = node {
                    let name = scan.table_name.table().to_owned();
                    match (&mut tables, self.references.contains_key(&name)) {
                        (Some(list), true) => list.push(name),
                        _ => tables = None,
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
            .ok()?;
        tables.map(|mut list| {
            list.sort();
            list.dedup();
            list
        })
    }

    /// Registers a reference-only subplan.
    pub fn relation(&mut self, logical: &LogicalPlan, tables: Vec<String>) -> usize {
        let shown = logical.display_indent().to_string();
        if let Some(known) =
            self.plan.relations.iter().position(|r| r.plan.display_indent().to_string() == shown)
        {
            return known;
        }
        let names = unique(logical.schema().fields().iter().map(|f| f.name().clone()));
        let fields: Vec<Field> = logical
            .schema()
            .fields()
            .iter()
            .zip(&names)
            .map(|(f, name)| field(name, f.data_type().clone()))
            .collect();
        let key = match tables.as_slice() {
            [one] => self.references.get(one).cloned().unwrap_or_default(),
            _ => Vec::new(),
        };
        let by_key: Option<Vec<usize>> = key.iter().map(|k| names.iter().position(|n| n == k)).collect();
        let order = by_key.filter(|k| !k.is_empty()).unwrap_or_else(|| (0..fields.len()).collect());
        self.plan.relations.push(Relation {
            name: tables.join(", "),
            plan: logical.clone(),
            tables,
            schema: Arc::new(Schema::new(fields)),
            order,
        });
        self.plan.relations.len() - 1
    }
}

/// A part of a stream that the planner itself must not lose.
pub fn lost(what: &str) -> Error {
    Error::new(Code::Internal, format!("the planner lost a {what}"))
}

/// Unites event-time ranges, the other's widened by `before` and `after`.
pub fn widen(
    into: &mut BTreeMap<String, (Span, Span)>,
    other: &BTreeMap<String, (Span, Span)>,
    before: Span,
    after: Span,
) {
    for (table, (b, a)) in other {
        let entry = into.entry(table.clone()).or_insert((b + before, a + after));
        *entry = (entry.0.max(b + before), entry.1.max(a + after));
    }
}
