//! Who runs a program: one process at a time, told by the control log alone.
//!
//! In:   claims, knocks and answers of the shared partition.
//! Out:  this process's epoch; an error once another one has taken the program over.
//!
//! | a start finds                             | it                                                    |
//! |-------------------------------------------|-------------------------------------------------------|
//! | no claim, or one that was released        | claims                                                |
//! | a claim of the data folder that it locked | claims: whoever made it is dead                       |
//! | another claim                             | knocks; refused where the owner answers, else claims  |
//!
//! Knocking only keeps two live processes from taking the program from each other. What is right rests
//! on the epochs: after a claim nothing that an older owner decides is in effect.
//!
//! E1  An owner's record holds only where no claim came before it was durable: it is appended, then the
//!     shared partition is read. Its own partition gets the new epoch before it is read.
//! E2  A replaced owner's events meet fenced sinks, and its side records are written only after the
//!     shared partition was read; so what it still writes was right when it was decided.

use std::time::Duration;

use weir_contract::{Clock, Code, Error, Result};

use super::controls::Controls;
use crate::control::{Claimant, Control};

/// How often a knocking process looks for the answer.
const LOOK: Duration = Duration::from_millis(50);

/// What the shared partition says about owners.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// The newest claim: its offset, which is the epoch, and whose it is.
    last: Option<(i64, Claimant)>,
    released: bool,
    /// Offset of the newest answer of the newest owner.
    answered: i64,
    /// Somebody knocks and has no answer yet.
    knocked: bool,
    /// This process's epoch; none before its claim, and in a replay.
    own: Option<i64>,
}

impl Owners {
    /// Takes a record of the shared partition that is about owners.
    pub fn take(&mut self, offset: i64, record: &Control) {
        let newest = self.newest();
        match record {
            Control::Claim { by } => {
                *self = Self { last: Some((offset, by.clone())), own: self.own, ..Self::default() };
            }
            Control::Knock => self.knocked = true,
            Control::Alive { epoch } if newest == Some(*epoch) => {
                self.answered = offset;
                self.knocked = false;
            }
            Control::Release { epoch } if newest == Some(*epoch) => self.released = true,
            _ => {}
        }
    }

    /// # Errors
    /// `W0303` where a newer process took the program over.
    pub fn check(&self) -> Result<()> {
        match (&self.last, self.own) {
            (Some((epoch, by)), Some(own)) if *epoch > own => Err(Error::new(
                Code::SecondProcess,
                format!("{} took this program over", named(by)),
            )
            .act("operator: nothing where that was meant; this process stops and what it did since is ignored.")),
            _ => Ok(()),
        }
    }

    /// Whether to answer a knock, with this epoch; said once.
    pub fn knocked(&mut self) -> Option<i64> {
        std::mem::take(&mut self.knocked).then_some(self.own).flatten()
    }

    /// The answer could not be written: it is owed again.
    pub fn unanswered(&mut self) {
        self.knocked = true;
    }

    /// Epoch of the newest claim.
    pub fn newest(&self) -> Option<i64> {
        self.last.as_ref().map(|(epoch, _)| *epoch)
    }

    /// This process's claim, where it is the newest.
    pub fn claimed(&self) -> Option<(i64, Claimant)> {
        self.last.clone().filter(|(epoch, _)| self.own == Some(*epoch))
    }

    pub fn own(&self) -> Option<i64> {
        self.own
    }

    pub fn set_own(&mut self, epoch: i64) {
        self.own = Some(epoch);
    }

    /// The owner that has to be asked first.
    fn to_ask(&self, me: &Claimant) -> Option<Claimant> {
        let (_, by) = self.last.as_ref().filter(|_| !self.released)?;
        let same = !me.folder.is_empty() && by.folder == me.folder;
        (!same).then(|| by.clone())
    }
}

fn named(by: &Claimant) -> String {
    let folder = if by.folder.is_empty() { "none" } else { &by.folder };
    format!("process {} (data folder {folder})", by.process)
}

/// Makes this process the owner.
///
/// # Errors
/// `W0303` where another process answers that it owns the program.
pub(super) fn claim(controls: &Controls, me: &Claimant, patience: Duration, clock: &dyn Clock) -> Result<()> {
    if let Some(other) = controls.with_owners(|o| o.to_ask(me))? {
        let asked = controls.append_shared(&Control::Knock)?;
        let start = clock.monotonic();
        loop {
            controls.refresh()?;
            if controls.with_owners(|o| o.answered > asked)? {
                return Err(Error::new(
                    Code::SecondProcess,
                    format!("the program runs already: {}", named(&other)),
                ));
            }
            if controls.with_owners(|o| o.to_ask(me).is_none())? {
                break;
            }
            if clock.monotonic().saturating_sub(start) >= patience {
                tracing::warn!("{} does not answer and is replaced", named(&other));
                break;
            }
            std::thread::sleep(LOOK);
        }
    }
    // Before the claim: who cannot write must not replace who can.
    controls.take_own()?;
    let epoch = controls.append_shared(&Control::Claim { by: me.clone() })?;
    controls.with_owners(|o| o.set_own(epoch))?;
    controls.claim_own(&Control::Claim { by: me.clone() })?;
    controls.refresh()
}

/// Goes on under the claim that this process made before.
///
/// # Errors
/// `W0303` where another process took the program over since.
pub(super) fn go_on(controls: &Controls, epoch: i64) -> Result<()> {
    controls.with_owners(|o| o.set_own(epoch))?;
    controls.refresh()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(process: u32) -> Claimant {
        Claimant { process, folder: format!("f{process}") }
    }

    #[test]
    fn the_newest_claim_owns_until_it_is_released() {
        let mut owners = Owners::default();
        assert_eq!(owners.to_ask(&by(1)), None);
        owners.take(3, &Control::Claim { by: by(1) });
        owners.set_own(3);
        assert!(owners.check().is_ok());
        assert_eq!(owners.to_ask(&by(1)), None, "the folder's lock says that its process is dead");
        assert_eq!(owners.to_ask(&by(2)), Some(by(1)));
        assert_eq!(owners.to_ask(&Claimant { process: 2, folder: String::new() }), Some(by(1)));
        owners.take(4, &Control::Release { epoch: 2 });
        assert_eq!(owners.to_ask(&by(2)), Some(by(1)), "of an older owner");
        owners.take(5, &Control::Release { epoch: 3 });
        assert_eq!(owners.to_ask(&by(2)), None);
        owners.take(6, &Control::Claim { by: by(2) });
        assert_eq!(owners.check().map_err(|e| e.code()), Err(Code::SecondProcess));
        assert_eq!(owners.to_ask(&by(1)), Some(by(2)));
    }

    #[test]
    fn a_knock_is_answered_once_and_only_the_newest_owner_counts() {
        let mut owners = Owners::default();
        owners.take(0, &Control::Claim { by: by(1) });
        owners.take(1, &Control::Knock);
        assert_eq!(owners.knocked(), None, "not by a process that owns nothing");
        owners.set_own(0);
        owners.take(2, &Control::Knock);
        assert_eq!((owners.knocked(), owners.knocked()), (Some(0), None));
        owners.take(3, &Control::Alive { epoch: 0 });
        assert_eq!(owners.answered, 3);
        owners.take(4, &Control::Claim { by: by(2) });
        owners.take(5, &Control::Alive { epoch: 0 });
        assert_eq!(owners.answered, 0);
    }
}
