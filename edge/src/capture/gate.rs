//! Which frames are kept.
//!
//! In:   frames and triggers, each with its monotonic time. Out: whether a frame is kept, and why.
//! Owns: nothing but when the next one is due. A pure function of what it was told.

use crate::config::Trigger;

/// Triggers that wait for their frames; more at once than any belt brings. Eyeballed.
const SHOTS_MAX: usize = 8;

/// Decides frame by frame.
#[derive(Debug)]
pub struct Gate {
    trigger: Trigger,
    idle_every_us: i64,
    next_due_us: i64,
    /// Open shots: from when, and how many frames more.
    shots: Vec<(i64, u32)>,
    /// Triggers that came while `SHOTS_MAX` were open.
    pub missed: u64,
}

impl Gate {
    pub fn new(trigger: Trigger, idle_every_us: i64) -> Self {
        Self { trigger, idle_every_us, next_due_us: i64::MIN, shots: Vec::new(), missed: 0 }
    }

    /// An edge or a scan came.
    pub fn trigger(&mut self, now_us: i64) {
        let (settle_us, burst) = match self.trigger {
            Trigger::Gpio { settle_us, burst } | Trigger::Scan { settle_us, burst } => (settle_us, burst),
            Trigger::Continuous { .. } => return,
        };
        if self.shots.len() == SHOTS_MAX {
            self.missed += 1;
            return;
        }
        self.shots.push((now_us + settle_us, burst));
    }

    /// Whether a frame of this time is kept, and the word for the column `trigger`.
    pub fn frame(&mut self, now_us: i64) -> Option<&'static str> {
        if let Trigger::Continuous { rate } = self.trigger {
            return self.due(now_us, (1e6 / rate) as i64).then_some("continuous");
        }
        let mut hit = false;
        for (from, left) in &mut self.shots {
            if now_us >= *from {
                // A frame serves all open shots.
                *left -= 1;
                hit = true;
            }
        }
        self.shots.retain(|(_, left)| *left > 0);
        if hit {
            self.next_due_us = now_us + self.idle_every_us;
            return Some(if matches!(self.trigger, Trigger::Gpio { .. }) { "gpio" } else { "scan" });
        }
        self.due(now_us, self.idle_every_us).then_some("idle")
    }

    fn due(&mut self, now_us: i64, every_us: i64) -> bool {
        if now_us < self.next_due_us {
            return false;
        }
        // Frames come in their own steps: the rate is kept on average, but nothing is caught up.
        let kept = self.next_due_us.saturating_add(every_us);
        self.next_due_us = if kept > now_us { kept } else { now_us + every_us };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames 20 times a second for ten seconds; the kept ones.
    fn kept(gate: &mut Gate, triggers: &[i64]) -> Vec<(i64, &'static str)> {
        let mut kept = Vec::new();
        for frame in 0..200 {
            let now = frame * 50_000;
            triggers.iter().filter(|t| (now - 50_000..now).contains(*t)).for_each(|t| gate.trigger(*t));
            kept.extend(gate.frame(now).map(|why| (now / 1_000, why)));
        }
        kept
    }

    #[test]
    fn so_many_a_second() {
        let kept = kept(&mut Gate::new(Trigger::Continuous { rate: 3.0 }, 1), &[]);
        assert!((29..=31).contains(&kept.len()), "{}", kept.len());
    }

    #[test]
    fn after_an_edge_settled_and_in_a_burst_else_now_and_then() {
        let mut gate = Gate::new(Trigger::Gpio { settle_us: 150_000, burst: 3 }, 2_000_000);
        let kept = kept(&mut gate, &[3_010_000]);
        assert_eq!(
            kept,
            [
                (0, "idle"),
                (2_000, "idle"),
                (3_200, "gpio"),
                (3_250, "gpio"),
                (3_300, "gpio"),
                (5_300, "idle"),
                (7_300, "idle"),
                (9_300, "idle")
            ]
        );
    }

    #[test]
    fn two_parcels_close_together_share_frames_and_too_many_are_counted() {
        let mut gate = Gate::new(Trigger::Scan { settle_us: 0, burst: 2 }, i64::MAX / 2);
        gate.frame(0);
        gate.trigger(10);
        assert_eq!(gate.frame(20), Some("scan"));
        gate.trigger(25);
        assert_eq!((gate.frame(30), gate.frame(40), gate.frame(50)), (Some("scan"), Some("scan"), None));
        (0..10).for_each(|_| gate.trigger(60));
        assert_eq!(gate.missed, 2);
    }
}
