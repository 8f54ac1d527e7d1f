//! Peers and disks that are away: what a run waits for, and how it says so.
//!
//! In:   who could not do its work, why, and since when.
//! Out:  one warning for each kind of trouble that lasts, and one when it is over, whatever the number
//!       of outputs, partitions and tries.
//! Owns: which errors a run outlives. Whoever meets one keeps what it has, does it again, and takes
//!       nothing new meanwhile; everything else is a fault.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use weir_contract::{Code, Error};

use super::silence::LOOKS;

/// Shorter troubles are not told: a reconnect is no outage. Eyeballed.
const LASTS: Duration = Duration::from_secs(1);

/// Whether a run waits for the cause of an error to pass.
pub fn passes(error: &Error) -> bool {
    matches!(error.code(), Code::Connect | Code::DiskFull)
}

/// Who waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The outputs and the own control records of an instance.
    Instance(usize),
    /// The reader of the shared control records.
    Control,
    Checkpoint,
    Reference,
    /// A table's log.
    Source(String),
}

/// What is away now, by who met it: the error, and since when.
#[derive(Default)]
pub struct Away {
    held: Mutex<BTreeMap<Who, (Error, Duration)>>,
    troubles: AtomicU64,
}

impl Away {
    /// The first error of an outage is the one that is told.
    pub fn met(&self, who: Who, error: &Error, since: Duration) {
        if error.code() == Code::Connect {
            self.troubles.fetch_add(1, Ordering::Relaxed);
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.entry(who).or_insert_with(|| (error.clone(), since));
    }

    pub fn over(&self, who: &Who) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(who);
    }

    /// A peer did what it was asked for after so long: one that was waited for was away, too.
    pub fn answered(&self, after: Duration) {
        if after > LOOKS {
            self.troubles.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often a peer could not be reached so far, or only after a wait. Not how many outages there were.
    pub fn troubles(&self) -> u64 {
        self.troubles.load(Ordering::Relaxed)
    }

    /// The earliest of each kind.
    fn kinds(&self) -> BTreeMap<Code, (Error, Duration)> {
        let mut kinds: BTreeMap<Code, (Error, Duration)> = BTreeMap::new();
        for (error, since) in self.held.lock().unwrap_or_else(PoisonError::into_inner).values() {
            match kinds.get(&error.code()) {
                Some((_, earlier)) if earlier <= since => {}
                _ => {
                    kinds.insert(error.code(), (error.clone(), *since));
                }
            }
        }
        kinds
    }
}

struct Outage {
    since: Duration,
    seen: Duration,
    told: bool,
}

/// Tells outages, each once.
#[derive(Default)]
pub struct Teller(BTreeMap<Code, Outage>);

impl Teller {
    /// Looks at what is away now and says what is new.
    pub fn look(&mut self, away: &Away, now: Duration) {
        for line in self.lines(away, now) {
            tracing::warn!("{line}");
        }
    }

    fn lines(&mut self, away: &Away, now: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        let kinds = away.kinds();
        for (code, (error, since)) in &kinds {
            let outage = self.0.entry(*code).or_insert(Outage { since: *since, seen: now, told: false });
            outage.seen = now;
            if !outage.told && now.saturating_sub(outage.since) >= LASTS {
                outage.told = true;
                lines.push(format!("{error}\n  now       {}", meanwhile(*code)));
            }
        }
        self.0.retain(|code, outage| {
            if now.saturating_sub(outage.seen) < LASTS || kinds.contains_key(code) {
                return true;
            }
            if outage.told {
                let seconds = outage.seen.saturating_sub(outage.since).as_secs_f64();
                lines.push(format!("{code} is over after {seconds:.0} s: weir goes on"));
            }
            false
        });
        lines
    }
}

/// What a run does while it waits.
fn meanwhile(code: Code) -> &'static str {
    match code {
        Code::DiskFull | Code::Io => {
            "the last checkpoint stays; weir tries again and goes on by itself. Nothing is lost."
        }
        Code::Reference => "the rows that are known stay in use; changes wait in the database.",
        _ => "weir waits and goes on by itself. Nothing is lost.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: Code) -> Error {
        Error::new(code, "why")
    }

    #[test]
    fn an_outage_is_told_once_and_so_is_its_end() {
        let (away, mut teller) = (Away::default(), Teller::default());
        let at = Duration::from_millis;
        away.met(Who::Instance(1), &error(Code::Connect), at(100));
        assert!(teller.lines(&away, at(200)).is_empty(), "it may be over at once");
        away.met(Who::Control, &error(Code::Connect), at(900));
        let said = teller.lines(&away, at(1_100));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("W0401") && said[0].contains("goes on by itself"), "{said:?}");
        away.met(Who::Instance(1), &error(Code::Connect), at(5_000));
        assert!(teller.lines(&away, at(5_000)).is_empty(), "not once a try");
        away.over(&Who::Instance(1));
        assert!(teller.lines(&away, at(20_000)).is_empty(), "somebody still waits");
        away.over(&Who::Control);
        assert!(teller.lines(&away, at(20_200)).is_empty(), "it may come again at once");
        away.met(Who::Control, &error(Code::Connect), at(20_400));
        assert!(teller.lines(&away, at(20_400)).is_empty(), "the same outage");
        away.over(&Who::Control);
        assert_eq!(teller.lines(&away, at(30_100)), ["W0401 is over after 20 s: weir goes on"]);
        assert!(teller.lines(&away, at(40_000)).is_empty());
    }

    #[test]
    fn two_kinds_are_two_outages() {
        let (away, mut teller) = (Away::default(), Teller::default());
        away.met(Who::Checkpoint, &error(Code::DiskFull), Duration::ZERO);
        away.met(Who::Source("t".into()), &error(Code::Connect), Duration::ZERO);
        assert_eq!(teller.lines(&away, Duration::from_secs(2)).len(), 2);
        away.over(&Who::Checkpoint);
        assert_eq!(teller.lines(&away, Duration::from_secs(9)), ["W0505 is over after 2 s: weir goes on"]);
    }

    #[test]
    fn what_passes_is_waited_for() {
        for (code, waits) in [
            (Code::Connect, true),
            (Code::DiskFull, true),
            (Code::Io, false),
            (Code::Retention, false),
            (Code::ControlLog, false),
            (Code::Internal, false),
        ] {
            assert_eq!(passes(&error(code)), waits, "{code:?}");
        }
    }
}
