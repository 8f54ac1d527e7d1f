//! A cut: everything worked off, committed, and published as a checkpoint.
//!
//! In:   the instances, held by the program's loop.
//! Out:  a manifest, or why there is none this time.
//! Owns: the order of these. A cut is not taken while an instance owes something.

use std::sync::Mutex;

use weir_contract::{Code, Error, Result};

use super::Program;
use crate::run::away::passes;
use crate::run::checkpoint::Manifest;
use crate::run::instance::Instance;
use crate::run::worker::{held, panicked};
use crate::state::Saver;

impl Program {
    /// Lets whoever stands still try once more, whenever that was to be: it may be the last chance. All at once:
    /// what one has committed is visible only when no older transaction of another is open before it.
    ///
    /// # Errors
    /// Where one of them still stands.
    pub(in crate::run) fn pay(&self) -> Result<()> {
        let tries = std::thread::scope(|scope| {
            let started: Vec<_> = self.instances.iter().map(|i| scope.spawn(|| pay_one(i))).collect();
            started.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
        });
        let mut waits = Ok(());
        for tried in tries {
            match tried.unwrap_or_else(|payload| Err(panicked(&payload))) {
                Err(error) if passes(&error) => waits = waits.and(Err(error)),
                done => done?,
            }
        }
        waits
    }

    /// Works off everything that was fetched, in this thread.
    ///
    /// # Errors
    /// Where an instance stands still because somebody is away: there is no cut then.
    pub(in crate::run) fn settle(&self, fetch: bool) -> Result<()> {
        loop {
            let mut busy = false;
            for instance in &self.instances {
                let mut instance = held(instance)?;
                busy |= instance.step(fetch)?;
                if let Some(error) = instance.owes() {
                    return Err(error.clone());
                }
            }
            // A worker may have been inside a step while the pass went by, and have sent something to
            // an instance that had been looked at already.
            let quiet = || self.instances.iter().try_fold(true, |all, i| Ok(all && held(i)?.quiet()?));
            if !busy && quiet()? {
                return Ok(());
            }
        }
    }

    /// Commits and publishes a cut. Gives the error where only the checkpoint's own folder refused it:
    /// the older ones stay, and the run may go on.
    pub(in crate::run) fn checkpoint(&mut self) -> Result<Option<Error>> {
        if self.store.is_none() {
            for instance in &self.instances {
                let mut instance = held(instance)?;
                instance.sound()?;
                delivered(&mut instance)?;
            }
            return self.keep().map(|()| None);
        }
        let (manifest, state) = self.cut()?;
        self.publish(manifest, &state)
    }

    /// Publishes a cut where there is a data folder.
    pub(super) fn publish(&mut self, manifest: Manifest, state: &[u8]) -> Result<Option<Error>> {
        let Some(store) = &mut self.store else { return Ok(None) };
        match store.save(manifest, state) {
            Ok(_) => self.checkpoints += 1,
            Err(error) if matches!(error.code(), Code::DiskFull | Code::Io) => return Ok(Some(error)),
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// Commits everything and gives the state behind it.
    pub(super) fn cut(&self) -> Result<(Manifest, Vec<u8>)> {
        let mut state = Saver::default();
        let mut sink_ends = Vec::new();
        let mut guards = self.instances.iter().map(|i| held(i)).collect::<Result<Vec<_>>>()?;
        for instance in &mut guards {
            instance.sound()?;
            delivered(instance)?;
            sink_ends.push(instance.outputs.sink_ends()?);
            let mut own = Saver::default();
            instance.snapshot(&mut own)?;
            state.bytes(&own.finish());
        }
        let manifest = Manifest {
            version: 0,
            number: 0,
            program: self.world.options.program.clone(),
            plan: self.plan_version.clone(),
            tasks: self.world.graph.tasks,
            shards: self.world.graph.shards,
            identities: self.identities.clone(),
            sink_ends,
            state_bytes: 0,
            state_crc32c: 0,
        };
        Ok((manifest, state.finish()))
    }
}

fn pay_one(instance: &Mutex<Instance>) -> Result<()> {
    let mut instance = held(instance)?;
    if instance.owes().is_some() {
        instance.try_now();
        instance.step(false)?;
    }
    instance.owes().map_or(Ok(()), |error| Err(error.clone()))
}

/// Commits what an instance handed to its outputs; an error where somebody is away.
fn delivered(instance: &mut Instance) -> Result<()> {
    instance.deliver()?;
    instance.owes().map_or(Ok(()), |error| Err(error.clone()))
}
