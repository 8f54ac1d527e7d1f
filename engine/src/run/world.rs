//! What all instances of a running program share: the graph, the inboxes, the ports, and the figures
//! that admission goes by. Owns nothing that decides a result.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use super::controls::Controls;
use super::exchange::Inbox;
use super::graph::Graph;
use super::options::{Options, Ports};

/// What all instances of a program share.
pub struct World {
    pub graph: Graph,
    pub inboxes: Vec<Inbox>,
    pub controls: Controls,
    pub ports: Ports,
    pub options: Options,
    /// Lowest watermark of each task's lanes, for admission.
    pub task_frontiers: Vec<AtomicI64>,
    /// Bytes held by each instance after its last step.
    pub bytes: Vec<AtomicUsize>,
}

impl World {
    /// Bytes behind exchanges: in sharded operators and on the way to them.
    pub fn sharded_bytes(&self) -> usize {
        let tasks = self.graph.tasks;
        let held: usize = self.bytes[tasks..].iter().map(|b| b.load(Ordering::Relaxed)).sum();
        held + self.inboxes.iter().map(Inbox::bytes).sum::<usize>()
    }
}
