//! What all instances of a running program share: the graph, the inboxes, the ports, and the figures
//! that admission goes by. Owns nothing that decides a result.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use super::away::Away;
use super::controls::Controls;
use super::copies::Share;
use super::exchange::Inbox;
use super::graph::Graph;
use super::members::Members;
use super::options::{Options, Ports};
use crate::base::NOTHING;

/// What all instances of a program share.
pub struct World {
    pub graph: Graph,
    pub inboxes: Vec<Inbox>,
    pub controls: Controls,
    /// Partitions that are read, where the control log names them.
    pub members: Members,
    /// Peers and disks that are waited for.
    pub away: Away,
    pub ports: Ports,
    /// Of a copy: its partitions, and where their positions are kept.
    pub share: Option<Share>,
    pub options: Options,
    /// Highest time of what was told before this start, beyond the checkpoint.
    pub told: AtomicI64,
    /// Lowest watermark of each task's lanes that read for exchanges, for admission.
    pub feed_frontiers: Vec<AtomicI64>,
    /// Bytes held by each instance after its last step; of a task, what it holds for its own outputs.
    pub bytes: Vec<AtomicUsize>,
    /// Bytes that each task holds for exchanges: lanes and operators before them.
    pub feed_bytes: Vec<AtomicUsize>,
    /// Whether an instance stands still, so that its inbox only grows.
    pub stands: Vec<AtomicBool>,
}

impl World {
    /// Bytes of the exchanges' account: before them in tasks, on the way, and in the shards.
    pub fn exchange_bytes(&self) -> usize {
        let held = self.bytes[self.graph.tasks..].iter().chain(&self.feed_bytes);
        held.map(|b| b.load(Ordering::Relaxed)).sum::<usize>()
            + self.inboxes.iter().map(Inbox::bytes).sum::<usize>()
    }

    /// Whether a shard stands still: nothing that is read for it makes anything smaller.
    pub fn shard_stands(&self) -> bool {
        self.stands[self.graph.tasks..].iter().any(|s| s.load(Ordering::Relaxed))
    }

    /// The earliest time at which a change of reference tables may take effect where `passed` is the
    /// highest frontier that was passed: nothing that was told before a restart is decided anew.
    pub fn effective_from(&self, asked_at: Option<i64>, passed: i64) -> i64 {
        let told = self.told.load(Ordering::Relaxed);
        let told = if told == NOTHING { NOTHING } else { told.saturating_add(1) };
        asked_at.unwrap_or(NOTHING).max(passed).max(told)
    }

    /// Bytes of all operators and lanes.
    pub fn held_bytes(&self) -> usize {
        self.bytes.iter().chain(&self.feed_bytes).map(|b| b.load(Ordering::Relaxed)).sum()
    }
}
