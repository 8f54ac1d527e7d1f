//! Where each node runs and who takes its output: the plan, laid out over tasks and shards.
//!
//! In:   a plan and the number of partitions of each source.
//! Out:  steps in topological order, each at one site, with edges inside an instance and exchanges
//!       between instances.
//!
//! G1  A step's inputs come before it.
//! G2  An aggregate behind an exchange is two steps: partial where its input is, final in the shards.
//! G3  What a task does for its own outputs and what it does for an exchange share no step: a table or
//!     view that both need runs twice, from a reader each, so that neither ever waits for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use weir_contract::{Code, Error, Result};

use super::compile::{between, operator, physical};
use crate::base::StreamSchema;
use crate::operators::Operator;
use crate::operators::aggregate::Phase;
use crate::operators::failures::Failures;
use crate::sql::plan::ir::{Node, NodeId, Op, Place, Plan};

pub type StepId = usize;
pub type EdgeId = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    Task,
    Shard,
}

/// What a step of a task works for. All steps of shards are behind an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flow {
    /// Outputs of the task itself.
    Task,
    /// An exchange.
    Exchange,
}

/// Where a port's rows come from.
#[derive(Debug, Clone, Copy)]
pub enum Port {
    /// A step of the same instance.
    Step(StepId),
    Edge(EdgeId),
}

/// Who takes a step's rows inside its instance.
#[derive(Debug, Clone, Copy)]
pub enum Consumer {
    Port {
        step: StepId,
        port: usize,
    },
    Edge(EdgeId),
    /// Index into the plan's outputs.
    Output(usize),
}

pub struct Step {
    pub node: NodeId,
    pub site: Site,
    pub flow: Flow,
    /// The same node runs for the task's own outputs, too: what counts once is counted there.
    pub twin: bool,
    pub phase: Phase,
    pub ports: Vec<Port>,
    pub consumers: Vec<Consumer>,
    /// Shape of what it gives.
    pub stream: StreamSchema,
    /// Entries of the times of each port.
    pub port_times: Vec<usize>,
    /// The source table, by its index in the plan, where the step is one.
    pub source: Option<usize>,
    /// The relation that a reference join reads.
    pub relation: Option<usize>,
}

/// Rows that go to the shard of a hash over `keys`.
pub struct Edge {
    pub from: Site,
    pub to: StepId,
    pub port: usize,
    pub times: usize,
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
}

pub struct Graph {
    pub plan: Arc<Plan>,
    pub steps: Vec<Step>,
    pub edges: Vec<Edge>,
    pub tasks: usize,
    pub shards: usize,
    /// Partitions of each source, by its index in the plan.
    pub partitions: Vec<u32>,
}

impl Graph {
    /// The plan's outputs that a step's rows reach, ascending.
    pub fn outputs_behind(&self, step: StepId) -> Vec<usize> {
        let (mut open, mut found) = (vec![step], Vec::new());
        while let Some(at) = open.pop() {
            for consumer in &self.steps[at].consumers {
                match consumer {
                    Consumer::Port { step, .. } => open.push(*step),
                    Consumer::Edge(edge) => open.push(self.edges[*edge].to),
                    Consumer::Output(output) => found.push(*output),
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    pub fn new(plan: Arc<Plan>, partitions: Vec<u32>, shards: usize) -> Result<Self> {
        let tasks = partitions.iter().copied().max().unwrap_or(0).max(1) as usize;
        let mut graph =
            Graph { plan: Arc::clone(&plan), steps: vec![], edges: vec![], tasks, shards, partitions };
        graph.check_partitions()?;
        let mut step_of: BTreeMap<(NodeId, Flow), StepId> = BTreeMap::new();
        let flows = flows_of(&plan, &plan.used());
        for (id, flow) in flows.iter().enumerate().flat_map(|(id, f)| f.iter().map(move |f| (id, *f))) {
            let node = &plan.nodes[id];
            let twin = flow == Flow::Exchange && step_of.contains_key(&(id, Flow::Task));
            let site = if node.place == Place::Task { Site::Task } else { Site::Shard };
            let mut ports = Vec::new();
            let mut phase = Phase::Single;
            let step = graph.steps.len();
            for (port, input) in node.inputs.iter().enumerate() {
                let from = step_of[&(*input, flow)];
                match &node.exchange[port] {
                    None => ports.push(Port::Step(from)),
                    Some(_) if matches!(node.op, Op::Aggregate { .. }) => {
                        let stream = between(&plan, node)?;
                        let keys = group_keys(node, &stream);
                        let partial = graph.push(Step {
                            node: id,
                            site: graph.steps[from].site,
                            flow,
                            twin: false,
                            phase: Phase::Partial,
                            ports: vec![Port::Step(from)],
                            consumers: vec![],
                            port_times: vec![graph.steps[from].stream.times.len()],
                            stream,
                            source: None,
                            relation: None,
                        });
                        phase = Phase::Final;
                        ports.push(graph.edge(partial, partial + 1, port, keys));
                    }
                    Some(keys) => {
                        let schema = &graph.steps[from].stream.schema;
                        let keys = keys.iter().map(|k| physical(k, schema)).collect::<Result<Vec<_>>>()?;
                        ports.push(graph.edge(from, step, port, keys));
                    }
                }
            }
            let port_times = ports
                .iter()
                .map(|p| match p {
                    Port::Step(s) => graph.steps[*s].stream.times.len(),
                    Port::Edge(e) => graph.edges[*e].times,
                })
                .collect();
            let made = graph.push(Step {
                node: id,
                site,
                flow,
                twin,
                phase,
                ports,
                consumers: vec![],
                stream: node.stream.clone(),
                port_times,
                source: match &node.op {
                    Op::Source(table) => plan.sources.iter().position(|t| t.name == table.name),
                    _ => None,
                },
                relation: match &node.op {
                    Op::ReferenceJoin { relation, .. } => Some(*relation),
                    _ => None,
                },
            });
            step_of.insert((id, flow), made);
        }
        for (at, output) in plan.outputs.iter().enumerate() {
            let flow = own_flow(&plan, output.node());
            graph.steps[step_of[&(output.node(), flow)]].consumers.push(Consumer::Output(at));
        }
        Ok(graph)
    }

    fn push(&mut self, step: Step) -> StepId {
        let id = self.steps.len();
        for (port, from) in step.ports.iter().enumerate() {
            if let Port::Step(from) = from {
                self.steps[*from].consumers.push(Consumer::Port { step: id, port });
            }
        }
        self.steps.push(step);
        id
    }

    fn edge(&mut self, from: StepId, to: StepId, port: usize, keys: Vec<Arc<dyn PhysicalExpr>>) -> Port {
        let id = self.edges.len();
        let times = self.steps[from].stream.times.len();
        self.edges.push(Edge { from: self.steps[from].site, to, port, times, keys });
        self.steps[from].consumers.push(Consumer::Edge(id));
        Port::Edge(id)
    }

    pub fn build(&self, step: &Step, failures: &Failures) -> Result<Option<Box<dyn Operator>>> {
        match step.source {
            Some(_) => Ok(None),
            None => operator(&self.plan, &self.plan.nodes[step.node], step.phase, failures).map(Some),
        }
    }

    /// Instances: the tasks, then the shards where any step runs there.
    pub fn instances(&self) -> usize {
        let sharded = self.steps.iter().any(|s| s.site == Site::Shard);
        self.tasks + if sharded { self.shards } else { 0 }
    }

    pub fn site(&self, instance: usize) -> Site {
        if instance < self.tasks { Site::Task } else { Site::Shard }
    }

    /// Tables that meet inside a task must have the same number of partitions.
    fn check_partitions(&self) -> Result<()> {
        for node in &self.plan.nodes {
            if node.place != Place::Task || node.inputs.len() < 2 {
                continue;
            }
            let mut met: Vec<usize> = Vec::new();
            for input in &node.inputs {
                sources_below(&self.plan, *input, &mut met);
            }
            for pair in met.windows(2) {
                let (a, b) = (pair[0], pair[1]);
                if self.partitions[a] != self.partitions[b] {
                    let (ta, tb) = (&self.plan.sources[a], &self.plan.sources[b]);
                    return Err(Error::new(
                        Code::BadOption,
                        format!(
                            "`{}` has {} partitions and `{}` has {}, but they are joined by their partition key",
                            ta.name, self.partitions[a], tb.name, self.partitions[b]
                        ),
                    )
                    .expected("the same number of partitions and the same partitioner")
                    .at(tb.place.clone()));
                }
            }
        }
        Ok(())
    }
}

/// The columns of the groups between the two phases of an aggregate.
fn group_keys(node: &Node, between: &StreamSchema) -> Vec<Arc<dyn PhysicalExpr>> {
    let Op::Aggregate { group, .. } = &node.op else { return Vec::new() };
    (0..group.len())
        .map(|c| Arc::new(Column::new(between.schema.field(c).name(), c)) as Arc<dyn PhysicalExpr>)
        .collect()
}

/// What an output of this node belongs to.
fn own_flow(plan: &Plan, node: NodeId) -> Flow {
    if plan.nodes[node].place == Place::Task { Flow::Task } else { Flow::Exchange }
}

/// For which flows each node runs, ascending; empty where it does not run.
fn flows_of(plan: &Plan, used: &[bool]) -> Vec<Vec<Flow>> {
    let mut flows: Vec<BTreeSet<Flow>> = vec![BTreeSet::new(); plan.nodes.len()];
    for output in &plan.outputs {
        flows[output.node()].insert(own_flow(plan, output.node()));
    }
    for id in (0..plan.nodes.len()).rev().filter(|id| used[*id]) {
        let node = &plan.nodes[id];
        for (port, input) in node.inputs.iter().enumerate() {
            if node.exchange[port].is_some() || node.place != Place::Task {
                flows[*input].insert(Flow::Exchange);
            } else {
                let own = flows[id].clone();
                flows[*input].extend(own);
            }
        }
        if flows[id].is_empty() {
            flows[id].insert(Flow::Task);
        }
    }
    flows.into_iter().map(|f| f.into_iter().collect()).collect()
}

fn sources_below(plan: &Plan, node: NodeId, found: &mut Vec<usize>) {
    if let Op::Source(table) = &plan.nodes[node].op
        && let Some(at) = plan.sources.iter().position(|t| t.name == table.name)
    {
        found.push(at);
    }
    for input in &plan.nodes[node].inputs {
        sources_below(plan, *input, found);
    }
}
