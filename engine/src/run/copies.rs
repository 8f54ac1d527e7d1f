//! Copies of a stateless program: each runs some partitions of the one table that they share.
//!
//! In:   the partitions that this copy was given, and what was kept of each.
//! Out:  how far each of them is, for whoever hands them out to keep.
//! Owns: what a copy hands over, and when. Who gets which partition is not decided here.
//!
//! There is no control log and no checkpoint. A copy marks no silence: a silent partition makes readers wait.
//!
//! C1  A position is kept only after everything before it is committed: at least once.
//! C2  A copy that takes a partition over fences the writers of the one before, then reads the outputs back
//!     from the kept ends, and drops what stands there already: a row is not told again. So no row meets a
//!     reader a second time, later than its horizon of duplicates reaches.
//! C3  The watermark is kept with the position. What is told after a take-over has the fate that it would
//!     have had without one, and lies above every frontier that was told: it is late for no reader whose
//!     lateness is not below the source's.
//! C4  What a copy knew of duplicates is not kept. The second of two equal records of a device, where a
//!     take-over lies between them, is told again (a reader with `dedup` drops it), or is late.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_contract::{Code, Error, Place, Result};

use super::instance::Instance;
use super::program::Program;
use super::worker::held;
use crate::base::NOTHING;
use crate::source::Partition;

/// How far a partition is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Identity of the source's log; empty where nobody said.
    pub log: String,
    /// The offset to go on from.
    pub position: i64,
    pub watermark: i64,
    /// Where to read each output back from, in the partition of the same number. One that is missing is read
    /// back whole.
    pub ends: BTreeMap<String, i64>,
}

impl Kept {
    /// A position of which nothing else is known.
    pub fn only(position: i64) -> Self {
        Self { log: String::new(), position, watermark: NOTHING, ends: BTreeMap::new() }
    }
}

/// Where positions are kept.
pub trait Progress: Send + Sync {
    /// Keeps how far partitions are. `W0401`: it is not known to be kept, and asked again with what is newer.
    ///
    /// # Errors
    /// `W0503` where a partition is another copy's by now.
    fn keep(&self, kept: &BTreeMap<u32, Kept>) -> Result<()>;

    /// Asks whether what was kept last could be kept again: whether the partitions are this copy's now.
    fn check(&self) -> Result<()>;
}

/// What a copy was given.
pub struct Share {
    /// By partition; None: nobody began it.
    pub kept: BTreeMap<u32, Option<Kept>>,
    pub progress: Arc<dyn Progress>,
}

impl Share {
    /// Leaves the given partitions of a table, each from where it was kept.
    pub(super) fn narrow(&self, partitions: &mut Vec<Partition>, table: &str, identity: &str) -> Result<()> {
        partitions.retain(|p| self.kept.contains_key(&p.number));
        if partitions.len() != self.kept.len() {
            let given: Vec<u32> = self.kept.keys().copied().collect();
            let found: Vec<u32> = partitions.iter().map(|p| p.number).collect();
            return Err(Error::new(
                Code::NoTopic,
                format!("`{table}` lacks partitions that this copy was given"),
            )
            .expected(format!("{given:?}, found {found:?}")));
        }
        for partition in partitions {
            let Some(Some(kept)) = self.kept.get(&partition.number) else { continue };
            if !kept.log.is_empty() && kept.log != identity {
                let what = format!("the log of `{table}` is not the one whose positions were kept");
                return Err(Error::new(Code::Recreated, what)
                    .expected(format!("{}, found {identity}", kept.log))
                    .act("operator: restore the topic, or delete the offsets of the consumer group."));
            }
            partition.start = kept.position;
        }
        Ok(())
    }

    /// Brings a new instance to where its partition is (C2, C3).
    pub(super) fn take_over(&self, instance: &mut Instance) -> Result<()> {
        let kept = self.kept.get(&(instance.index as u32)).and_then(Option::as_ref);
        let none = BTreeMap::new();
        instance.outputs.take_over(kept.map_or(&none, |kept| &kept.ends))?;
        if let Some(kept) = kept {
            instance.lanes.iter_mut().for_each(|lane| lane.begin(kept.watermark));
        }
        Ok(())
    }
}

impl Instance {
    /// How far its partition is, once everything was delivered.
    fn progress(&mut self, identities: &BTreeMap<String, String>) -> Result<Kept> {
        let [lane] = self.lanes.as_slice() else {
            return Err(Error::new(Code::Internal, "a copy reads one table, once"));
        };
        let (table, position, watermark) = (&lane.table.name, lane.lane().position(), lane.watermark());
        let log = identities.get(table).cloned().unwrap_or_default();
        Ok(Kept { log, position, watermark, ends: self.outputs.kept(watermark)? })
    }
}

impl Program {
    /// Keeps how far a copy's partitions are.
    pub(super) fn keep(&mut self) -> Result<()> {
        let Some(share) = &self.world.share else { return Ok(()) };
        let mut kept = BTreeMap::new();
        for instance in &self.instances {
            let mut instance = held(instance)?;
            kept.insert(instance.index as u32, instance.progress(&self.identities)?);
        }
        share.progress.keep(&kept)?;
        self.checkpoints += 1;
        Ok(())
    }
}

/// The end of one partition of an output, which has to have it.
pub(super) fn there(end: Option<i64>, partition: u32, output: &str) -> Result<i64> {
    end.ok_or_else(|| {
        Error::new(Code::NoTopic, format!("`{output}` has no partition {partition}"))
            .expected("as many partitions as the table that the copies share")
            .at(Place::Path(output.to_owned()))
    })
}
