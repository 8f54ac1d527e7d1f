//! How long a source partition is known to have been silent.
//!
//! In:   looks at the log's end: something came, or nothing.
//! Out:  the confirmed silence, once it is long enough for an idle mark.
//!
//! Only time between two looks that follow each other closely counts: nobody knows what came in a longer
//! gap, and a broker that was away has kept its producers waiting, too; their rows are not to be late.

use std::time::Duration;

/// Longest time between two looks that counts as silence. Eyeballed.
const LOOKS: Duration = Duration::from_millis(500);
/// A longer time between two looks ends a silence. Longer than a cut takes. Eyeballed.
const BREAK: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub struct Silence {
    /// Confirmed, and in no mark so far.
    length: Duration,
    /// The last look, where nothing came since.
    seen: Option<Duration>,
}

impl Silence {
    /// The end of the log was seen, and nothing new.
    pub fn confirm(&mut self, now: Duration) {
        let gap = now.saturating_sub(self.seen.unwrap_or(now));
        if gap > BREAK {
            self.length = Duration::ZERO;
        } else if gap <= LOOKS {
            self.length += gap;
        }
        self.seen = Some(now);
    }

    /// Something came, or may have come: silence begins anew.
    pub fn stir(&mut self) {
        *self = Self::default();
    }

    /// A mark holds the silence up to now.
    pub fn told(&mut self) {
        self.length = Duration::ZERO;
    }

    /// The silence that a mark is to tell, once it has lasted; it is told by that.
    pub fn due(&mut self, idle_after: Duration) -> Option<Duration> {
        let due = self.seen.is_some() && self.length >= idle_after;
        due.then(|| std::mem::take(&mut self.length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(every_ms: u64, times: u64) -> Silence {
        let mut silence = Silence::default();
        (0..=times).for_each(|n| silence.confirm(Duration::from_millis(n * every_ms)));
        silence
    }

    #[test]
    fn time_between_close_looks_counts_and_is_told_once() {
        let mut silence = looks(100, 9);
        assert_eq!(silence.due(Duration::from_secs(1)), None);
        silence.confirm(Duration::from_millis(1_000));
        assert_eq!(silence.due(Duration::from_secs(1)), Some(Duration::from_secs(1)));
        assert_eq!(silence.due(Duration::from_millis(1)), None);
        silence.confirm(Duration::from_millis(1_200));
        silence.told();
        assert_eq!(silence.due(Duration::from_millis(1)), None);
    }

    #[test]
    fn a_gap_counts_for_nothing_and_a_long_one_ends_the_silence() {
        let mut silence = looks(500, 2);
        silence.confirm(Duration::from_millis(3_900));
        assert_eq!(silence.due(Duration::from_secs(1)), Some(Duration::from_secs(1)));
        let mut silence = looks(500, 2);
        silence.confirm(Duration::from_millis(4_100));
        assert_eq!(silence.due(Duration::from_millis(1)), None);
    }

    #[test]
    fn whatever_comes_begins_it_anew() {
        let mut silence = looks(500, 4);
        silence.stir();
        assert_eq!(silence.due(Duration::ZERO), None);
        silence.confirm(Duration::from_millis(2_100));
        assert_eq!(silence.due(Duration::from_millis(1)), None);
    }
}
