//! How long a source partition is known to have been silent.
//!
//! In:   looks at the log's end: something came, or nothing; how often a peer was in trouble so far.
//! Out:  the confirmed silence, once it is long enough for an idle mark.
//!
//! Time between two looks counts: what came meanwhile would lie there at the second one. A worker looks
//! once a round, and a round may take seconds. It does not count where a peer was in trouble meanwhile: a
//! broker that was away has kept its producers waiting, too; their rows are not to be late.

use std::time::Duration;

/// A longer wait for a peer is a trouble, and between looks closer than this the reader itself says so.
/// Eyeballed.
pub const LOOKS: Duration = Duration::from_millis(500);
/// A longer time between two looks with a trouble in it ends a silence. Longer than a cut takes. Eyeballed.
const BREAK: Duration = Duration::from_secs(3);
/// No round is longer: who did not look for so long did not run (a machine that slept), and nobody knows
/// what slept with it. Ten instances of one worker with 3 s each, as `detect()` may take. Eyeballed.
const ROUND: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub struct Silence {
    /// Confirmed, and in no mark so far.
    length: Duration,
    /// The last look, where nothing came since, and the troubles up to it.
    seen: Option<(Duration, u64)>,
}

impl Silence {
    /// The end of the log was seen, and nothing new.
    pub fn confirm(&mut self, now: Duration, troubles: u64) {
        let (seen, before) = self.seen.unwrap_or((now, troubles));
        let gap = now.saturating_sub(seen);
        let disturbed = gap > LOOKS && troubles != before;
        if gap > if disturbed { BREAK } else { ROUND } {
            self.length = Duration::ZERO;
        } else if !disturbed {
            self.length += gap;
        }
        self.seen = Some((now, troubles));
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
        (0..=times).for_each(|n| silence.confirm(Duration::from_millis(n * every_ms), 0));
        silence
    }

    #[test]
    fn time_between_looks_counts_and_is_told_once() {
        let mut silence = looks(100, 9);
        assert_eq!(silence.due(Duration::from_secs(1)), None);
        silence.confirm(Duration::from_millis(1_000), 0);
        assert_eq!(silence.due(Duration::from_secs(1)), Some(Duration::from_secs(1)));
        assert_eq!(silence.due(Duration::from_millis(1)), None);
        silence.confirm(Duration::from_millis(1_200), 0);
        silence.told();
        assert_eq!(silence.due(Duration::from_millis(1)), None);
    }

    #[test]
    fn a_slow_round_is_silence() {
        for every_ms in [600, 3_000, 12_000] {
            let mut silence = looks(every_ms, 4);
            let all = Duration::from_millis(4 * every_ms);
            assert_eq!(silence.due(all), Some(all), "a look every {every_ms} ms");
        }
        let mut silence = looks(500, 2);
        silence.confirm(Duration::from_millis(31_100), 0);
        assert_eq!(silence.due(Duration::from_millis(1)), None, "it did not run at all");
    }

    #[test]
    fn an_outage_between_two_looks_is_no_silence() {
        let mut silence = looks(500, 2);
        silence.confirm(Duration::from_millis(3_900), 1);
        assert_eq!(silence.due(Duration::from_secs(1)), Some(Duration::from_secs(1)));
        silence.confirm(Duration::from_millis(4_900), 1);
        assert_eq!(silence.due(Duration::from_secs(1)), Some(Duration::from_secs(1)), "it was before");
        let mut silence = looks(500, 2);
        silence.confirm(Duration::from_millis(4_100), 1);
        assert_eq!(silence.due(Duration::from_millis(1)), None, "a long one ends it");
    }

    #[test]
    fn whatever_comes_begins_it_anew() {
        let mut silence = looks(500, 4);
        silence.stir();
        assert_eq!(silence.due(Duration::ZERO), None);
        silence.confirm(Duration::from_millis(2_100), 0);
        assert_eq!(silence.due(Duration::from_millis(1)), None);
    }
}
