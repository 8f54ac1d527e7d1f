//! What an instance owes: records without fates, a mark, outputs, while a peer or a disk is away.
//!
//! In:   errors of outputs and of the control log.
//! Out:  the same again, in the same order and with the same words, until it is done.
//!
//! O1  Nothing is taken in and nothing moves on while something is owed: an append whose answer was lost
//!     may be in the log already, and says nothing new the second time.
//! O2  Time in which an instance stood still is no silence of its sources.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weir_contract::{Error, Result};

use super::Instance;
use crate::run::away::{Who, passes};
use crate::run::controls::Mark;
use crate::run::lanes::TaskLane;
use crate::source::Fetched;

/// Pause between two tries while somebody is away.
const AGAIN: Duration = Duration::from_millis(100);

/// What waits in an instance between two steps.
#[derive(Default)]
pub(super) struct Feed {
    /// Fetched by the lane of this number, without fates so far.
    pub fetched: Vec<(usize, Fetched)>,
    /// A mark whose append has no answer.
    unwritten: Option<Mark>,
    owed: Option<(Error, Duration)>,
    /// Why the program's loop lets it stand.
    stands: Option<Error>,
}

impl Feed {
    pub fn is_empty(&self) -> bool {
        self.fetched.is_empty() && self.owed.is_none() && self.stands.is_none()
    }
}

impl Instance {
    /// Why this instance stands still, where it does.
    pub fn owes(&self) -> Option<&Error> {
        self.feed.owed.as_ref().map(|(error, _)| error).or(self.feed.stands.as_ref())
    }

    /// Lets it stand still for a reason that is not its own, or go on.
    pub fn stand(&mut self, why: Option<Error>) {
        self.feed.stands = why;
        self.say();
    }

    /// Says to all whether it stands.
    fn say(&self) {
        self.world.stands[self.index].store(self.owes().is_some(), Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Duration {
        self.world.ports.clock.monotonic()
    }

    /// A peer did what it was asked for at this time.
    pub(super) fn answered(&self, since: Duration) {
        self.world.away.answered(self.now().saturating_sub(since));
    }

    /// Stands still from now on where the cause passes by itself; else a fault.
    pub(super) fn owe(&mut self, error: Error, since: Duration) -> Result<()> {
        if !passes(&error) {
            return Err(error);
        }
        self.world.away.met(Who::Instance(self.index), &error, since);
        self.feed.owed = Some((error, self.now() + AGAIN));
        self.say();
        Ok(())
    }

    /// The next try is now.
    pub fn try_now(&mut self) {
        if let Some((_, again)) = &mut self.feed.owed {
            *again = Duration::ZERO;
        }
    }

    /// Tries again what is owed. True where nothing is owed any more.
    pub(super) fn pay(&mut self) -> Result<bool> {
        if let Some((_, again)) = &self.feed.owed {
            if self.now() < *again {
                return Ok(false);
            }
            self.write_mark()?;
            if self.feed.unwritten.is_none() {
                self.deliver()?;
            }
        }
        Ok(self.owes().is_none())
    }

    /// Nothing is owed any more, whoever tried it again: a step, a cut or the end.
    fn paid(&mut self) {
        if self.feed.owed.take().is_some() {
            self.say();
            self.world.away.over(&Who::Instance(self.index));
            // Nobody looked meanwhile: what was silent has to prove it anew.
            self.lanes.iter_mut().for_each(TaskLane::stir);
        }
    }

    /// Commits what was handed to the outputs; owed where a peer or the disk is away. With that an
    /// instance has paid, unless a mark is still to be written.
    pub fn deliver(&mut self) -> Result<()> {
        let (world, since) = (Arc::clone(&self.world), self.now());
        // A side stream's writer is opened late and so fenced late: a replaced owner must not come so far.
        let looked = match (self.outputs.has_sides(), &world.share) {
            (true, Some(share)) => share.progress.check(),
            (true, None) if world.ports.until.is_none() => world.controls.refresh(),
            _ => Ok(()),
        };
        match looked.and_then(|()| self.outputs.commit(&world.ports)) {
            Ok(()) => {
                self.answered(since);
                if self.feed.unwritten.is_none() {
                    self.paid();
                }
                Ok(())
            }
            Err(error) => self.owe(error, since),
        }
    }

    /// Makes a mark durable, then applies it.
    pub(super) fn tell_mark(&mut self, mark: Mark) -> Result<()> {
        self.feed.unwritten = Some(mark);
        self.write_mark()
    }

    fn write_mark(&mut self) -> Result<()> {
        let (world, since) = (Arc::clone(&self.world), self.now());
        let Some(mark) = self.feed.unwritten.take() else { return Ok(()) };
        if let Err(error) = world.controls.append_own(self.index, &mark.record()) {
            self.feed.unwritten = Some(mark);
            return self.owe(error, since);
        }
        self.answered(since);
        for lane in self.lanes.iter_mut().filter(|l| l.is_of(&mark)) {
            lane.mark(&mark);
            lane.marked();
            lane.publish();
        }
        Ok(())
    }
}
