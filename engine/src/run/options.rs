//! What a run is told, what it is given, and what it reports.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use weir_contract::event::Event;
use weir_contract::{Clock, Result};

use crate::control::{ControlLog, RowChange};
use crate::operators::Unmatched;
use crate::sink::SinkFactory;
use crate::source::Source;
use crate::sql::plan::ir::{Op, Plan};
use crate::watermark::Counts;

/// Settings of a run; none changes a result.
#[derive(Debug, Clone)]
pub struct Options {
    pub env: String,
    pub program: String,
    pub workers: usize,
    pub shards: usize,
    /// Rows of one fetch.
    pub batch_rows: usize,
    /// Bytes of all operators and exchanges together, at admission.
    pub memory_bytes: usize,
    /// Where checkpoints and the program's lock are; None: neither (tests, one-off replays).
    pub data: Option<PathBuf>,
    pub checkpoint_every: Duration,
    /// How often the sources are asked whether they have more partitions.
    pub look_every: Duration,
    /// Whoever writes the data writes the control log, too (the simulator): complete idle marks and
    /// reference changes, durable before later records. The engine's own marker and tail are off.
    pub external_control: bool,
    /// Writes every evaluation of every rule to `{env}.decisions`.
    pub decisions: bool,
    /// How long a start waits for an answer of the process that owns the program, before it takes it over.
    pub takeover_after: Duration,
}

/// Rows of one fetch where each costs a run of a model: a stop and a checkpoint wait for them.
const DETECT_ROWS: usize = 32;

impl Options {
    /// The same with a fetch as short as the plan's work is long.
    #[must_use]
    pub fn for_plan(self, plan: &Plan) -> Options {
        match plan.nodes.iter().any(|n| matches!(n.op, Op::Detect { .. })) {
            true => Options { batch_rows: self.batch_rows.min(DETECT_ROWS), ..self },
            false => self,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            env: "dev".into(),
            program: "program".into(),
            workers: 2,
            shards: 2,
            batch_rows: 8192,
            memory_bytes: 512 << 20,
            data: None,
            checkpoint_every: Duration::from_secs(10),
            look_every: Duration::from_secs(5),
            external_control: false,
            decisions: false,
            takeover_after: Duration::from_secs(10),
        }
    }
}

/// A change of reference tables that was committed; `asked_at` is never empty.
#[derive(Debug, Clone)]
pub struct ReferenceChange {
    pub change: i64,
    pub asked_at: i64,
    pub changes: Vec<RowChange>,
}

/// Follows the reference database.
pub trait ReferenceTail: Send + Sync {
    /// All rows now, as inserts, and the change id up to which they stand.
    fn first(&mut self) -> Result<(i64, Vec<RowChange>)>;
    /// Changes after `change`, one for each transaction, in commit order.
    fn since(&mut self, change: i64) -> Result<Vec<ReferenceChange>>;
}

/// Opens the output of a name (topic).
pub type OpenOutput = dyn Fn(&str) -> Result<Arc<dyn SinkFactory>> + Send + Sync;
/// Told of each event as it is handed to its sink; must not wait.
pub type Observer = dyn Fn(&Event) + Send + Sync;

/// The outside world of a run.
pub struct Ports {
    /// By table name.
    pub sources: BTreeMap<String, Arc<dyn Source>>,
    /// Targets of `INSERT INTO`, by table name.
    pub targets: BTreeMap<String, Arc<dyn SinkFactory>>,
    /// Event topics and side streams; None: they are counted only.
    pub outputs: Option<Arc<OpenOutput>>,
    pub control: Arc<dyn ControlLog>,
    pub reference: Option<Box<dyn ReferenceTail>>,
    pub observer: Option<Arc<Observer>>,
    pub clock: Arc<dyn Clock>,
    /// Reads the logs up to these offsets and stops there: a replay. By table, partition.
    pub until: Option<BTreeMap<(String, u32), i64>>,
}

impl Ports {
    /// The same once more, without the reference tail: there is one of it.
    pub(super) fn again(&self) -> Ports {
        Ports {
            sources: self.sources.clone(),
            targets: self.targets.clone(),
            outputs: self.outputs.clone(),
            control: Arc::clone(&self.control),
            reference: None,
            observer: self.observer.clone(),
            clock: Arc::clone(&self.clock),
            until: self.until.clone(),
        }
    }
}

/// Asks a run to end.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicU8>);

impl Stop {
    /// Ends after a last checkpoint.
    pub fn stop(&self) {
        self.0.fetch_max(2, Ordering::SeqCst);
    }

    /// Ends once everything that the logs hold now has been worked off.
    pub fn drain(&self) {
        self.0.fetch_max(1, Ordering::SeqCst);
    }

    /// Ends at once without a checkpoint or commit: what a kill does, for tests.
    pub fn kill(&self) {
        self.0.fetch_max(3, Ordering::SeqCst);
    }

    pub fn draining(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 1
    }

    pub fn stopping(&self) -> bool {
        self.0.load(Ordering::SeqCst) >= 2
    }

    pub fn killed(&self) -> bool {
        self.0.load(Ordering::SeqCst) >= 3
    }
}

/// What a run did since its start (counts of a restored run go on from the checkpoint).
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// By table.
    pub sources: BTreeMap<String, Counts>,
    /// Records handed to each output, re-made ones left out.
    pub outputs: BTreeMap<String, u64>,
    /// Events by rule.
    pub events: BTreeMap<String, u64>,
    /// Rows that inner reference joins dropped, by output (rule or target) and table. A join that several
    /// outputs share counts for each.
    pub unmatched: BTreeMap<String, BTreeMap<String, u64>>,
    /// Images that a detector refused, by output: each stands in `{output}.rejected`.
    pub rejected: BTreeMap<String, u64>,
    /// Casts and divisions that failed on a row and gave NULL, by output.
    pub failed: BTreeMap<String, u64>,
    /// The rows that joins dropped by table, each join once, with the keys that the table did not hold.
    pub unknown: BTreeMap<String, Unmatched>,
    /// Positions that all readers of a partition reached, by table and partition.
    pub positions: BTreeMap<(String, u32), i64>,
    /// Re-made records that the outputs held already.
    pub dropped_again: u64,
    pub checkpoints: u64,
    /// The source streams all ended (bounded inputs).
    pub ended: bool,
    /// Largest sum of operator bytes seen at a step.
    pub state_bytes_peak: usize,
}
