//! The streaming plan: relational nodes over streams, in an order in which inputs come first.
//!
//! One plan has two physical forms: operators (`run::compile`) and one DataFusion query over the
//! finished rows (`batch`). Expressions name columns of the node's input by their unique names, so
//! that both forms share them.
//!
//! P1  Inputs of node n are below n.
//! P2  Column names of a node are unique; hidden ones start with `__`.
//! P3  `delays`, like `stream.times`, has one entry for each event-time column.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::logical_expr::{Expr, LogicalPlan};
use weir_contract::Span;
use weir_contract::event::version_of;

use crate::base::StreamSchema;
use crate::detect::Detector;
use crate::sql::catalog::{InsertSpec, RuleSpec, TableSpec};

pub type NodeId = usize;

/// What a node does with its inputs.
#[derive(Debug, Clone)]
pub enum Op {
    /// Processed rows of a source table: those of its columns that the node's schema has.
    Source(Arc<TableSpec>),
    /// `columns` are all output columns; `times` gives for each output time its input and shift.
    Project {
        columns: Vec<(Expr, String)>,
        times: Vec<(usize, Span)>,
    },
    Filter(Expr),
    /// Output: group columns (the window struct at `window.position`), aggregates, `__t` for windows.
    Aggregate {
        window: Option<Window>,
        group: Vec<Expr>,
        time_keys: Vec<(usize, usize)>,
        aggregates: Vec<Expr>,
    },
    /// Output: input columns, then one column a function.
    Over {
        partition_by: Vec<Expr>,
        order_time: usize,
        functions: Vec<OverExpr>,
    },
    /// Output: left columns, then right ones. `residual` names output columns;
    /// `outer` keeps left rows without a match.
    IntervalJoin {
        outer: bool,
        on: Vec<(Expr, Expr)>,
        times: (usize, usize),
        before: Span,
        after: Span,
        residual: Option<Expr>,
    },
    AsofJoin {
        outer: bool,
        on: Vec<(Expr, Expr)>,
        times: (usize, usize),
        max_age: Span,
        strict: bool,
    },
    ReferenceJoin {
        outer: bool,
        on: Vec<(Expr, Expr)>,
        relation: usize,
        residual: Option<Expr>,
    },
    /// Output: columns of the input, then those of a found thing. `uri` names an image that is NULL;
    /// `residual` names output columns; `outer` keeps rows in whose image nothing is kept.
    Detect {
        outer: bool,
        detector: Arc<dyn Detector>,
        image: Expr,
        uri: Option<Expr>,
        residual: Option<Expr>,
    },
    /// Rows of all inputs, which have the same columns.
    Union,
}

impl Op {
    /// The word for it in `weir explain`.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Source(_) => "source",
            Op::Project { .. } => "project",
            Op::Filter(_) => "filter",
            Op::Aggregate { .. } => "aggregate",
            Op::Over { .. } => "over",
            Op::IntervalJoin { .. } => "interval join",
            Op::AsofJoin { .. } => "as-of join",
            Op::ReferenceJoin { .. } => "reference join",
            Op::Detect { .. } => "detect",
            Op::Union => "union",
        }
    }
}

/// `tumble(size)` has `slide == size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub slide: Span,
    pub size: Span,
    /// Where the window struct stands among the group columns.
    pub position: usize,
}

#[derive(Debug, Clone)]
pub enum OverExpr {
    /// An `Expr::AggregateFunction`.
    Aggregate {
        function: Expr,
        preceding: Span,
    },
    Lag {
        value: Expr,
        n: usize,
        default: Option<Expr>,
        preceding: Span,
    },
}

/// Where the rows of a node are, for tasks and exchanges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the task of their source partition.
    Task,
    /// In the shard of a hash over these columns.
    Shard(Vec<usize>),
}

#[derive(Debug, Clone)]
pub struct Node {
    pub op: Op,
    pub inputs: Vec<NodeId>,
    /// For each input, key expressions to exchange by before this node; None: as they are.
    pub exchange: Vec<Option<Vec<Expr>>>,
    pub stream: StreamSchema,
    /// How long after a value of each event-time column it is final, lateness included.
    pub delays: Vec<Span>,
    /// Window struct columns and the entry of `times` that is their `.end − 1 µs`.
    pub windows: Vec<(usize, usize)>,
    /// Event-time range of each table that a row depends on: (before, after) its row time.
    pub ranges: BTreeMap<String, (Span, Span)>,
    pub place: Place,
}

/// A query over reference and memory tables only: versioned, run anew at each change.
#[derive(Debug, Clone)]
pub struct Relation {
    pub name: String,
    pub plan: LogicalPlan,
    /// Reference tables it reads, by name.
    pub tables: Vec<String>,
    pub schema: datafusion::arrow::datatypes::SchemaRef,
    /// Columns that give its canonical order: the primary key of a bare table, else all.
    pub order: Vec<usize>,
}

/// A rule, or an `INSERT INTO`, at the end of the plan.
#[derive(Debug, Clone)]
pub enum Output {
    Rule { spec: Arc<RuleSpec>, node: NodeId },
    Insert { spec: Arc<InsertSpec>, node: NodeId, target: Arc<TableSpec>, stateless: bool },
}

impl Output {
    pub fn node(&self) -> NodeId {
        match self {
            Output::Rule { node, .. } | Output::Insert { node, .. } => *node,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Output::Rule { spec, .. } => &spec.name,
            Output::Insert { spec, .. } => &spec.table,
        }
    }

    /// What tells it from another output of the same name, in ids: of an INSERT its text.
    pub fn statement(&self) -> String {
        match self {
            Output::Rule { spec, .. } => spec.name.clone(),
            Output::Insert { spec, .. } => version_of(&spec.text),
        }
    }
}

/// A planned program.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub nodes: Vec<Node>,
    pub relations: Vec<Relation>,
    pub outputs: Vec<Output>,
    /// Source tables in the order of their input ordinal.
    pub sources: Vec<Arc<TableSpec>>,
    /// Reference and memory tables.
    pub references: Vec<Arc<TableSpec>>,
    /// Visible columns of each planned view that the node has: its node and the node's columns, in view
    /// order.
    pub views: BTreeMap<String, (NodeId, Vec<usize>)>,
}

impl Plan {
    /// Which nodes run: those that an output needs, and every source, whose fates are counted whether or
    /// not anybody reads it.
    pub fn used(&self) -> Vec<bool> {
        let mut used: Vec<bool> = self.nodes.iter().map(|n| matches!(n.op, Op::Source(_))).collect();
        self.outputs.iter().for_each(|output| used[output.node()] = true);
        for id in (0..self.nodes.len()).rev() {
            if used[id] {
                self.nodes[id].inputs.iter().for_each(|i| used[*i] = true);
            }
        }
        used
    }
}
