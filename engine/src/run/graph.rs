//! Where each node runs and who takes its output: the plan, laid out over tasks and shards.
//!
//! In:   a plan and the number of partitions of each source.
//! Out:  steps in topological order, each at one site, with edges inside an instance and exchanges
//!       between instances.
//!
//! G1  A step's inputs come before it.
//! G2  An aggregate behind an exchange is two steps: partial where its input is, final in the shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use weir_contract::{Code, Error, Result};

use super::compile::{between, operator, physical};
use crate::base::StreamSchema;
use crate::operators::Operator;
use crate::operators::aggregate::Phase;
use crate::operators::failures::Failures;
use crate::sql::plan::ir::{NodeId, Op, Place, Plan};

pub type StepId = usize;
pub type EdgeId = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    Task,
    Shard,
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
        let mut step_of: BTreeMap<NodeId, StepId> = BTreeMap::new();
        let used = used_nodes(&plan);
        for (id, node) in plan.nodes.iter().enumerate().filter(|(id, _)| used[*id]) {
            let site = if node.place == Place::Task { Site::Task } else { Site::Shard };
            let mut ports = Vec::new();
            let mut phase = Phase::Single;
            let step = graph.steps.len();
            for (port, input) in node.inputs.iter().enumerate() {
                let from = step_of[input];
                match &node.exchange[port] {
                    None => ports.push(Port::Step(from)),
                    Some(_) if matches!(node.op, Op::Aggregate { .. }) => {
                        let stream = between(&plan, node)?;
                        let groups = match &node.op {
                            Op::Aggregate { group, .. } => group.len(),
                            _ => 0,
                        };
                        let keys = (0..groups)
                            .map(|c| {
                                Arc::new(Column::new(stream.schema.field(c).name(), c))
                                    as Arc<dyn PhysicalExpr>
                            })
                            .collect();
                        let partial = graph.push(Step {
                            node: id,
                            site: graph.steps[from].site,
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
            step_of.insert(id, made);
        }
        for (at, output) in plan.outputs.iter().enumerate() {
            graph.steps[step_of[&output.node()]].consumers.push(Consumer::Output(at));
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

fn used_nodes(plan: &Plan) -> Vec<bool> {
    let mut used = vec![false; plan.nodes.len()];
    for output in &plan.outputs {
        used[output.node()] = true;
    }
    for id in (0..plan.nodes.len()).rev() {
        if used[id] {
            plan.nodes[id].inputs.iter().for_each(|i| used[*i] = true);
        }
    }
    // Every source runs: its fates are counted whether or not anybody reads it.
    for (id, node) in plan.nodes.iter().enumerate() {
        used[id] |= matches!(node.op, Op::Source(_));
    }
    used
}
