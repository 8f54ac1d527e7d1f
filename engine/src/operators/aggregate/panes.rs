//! Where windows and panes lie on the time line.
//!
//! In:   event times, microseconds. Out: ends of panes and windows. Owns: nothing.
//!
//! A window is `[end - size, end)` with `end = start + size` and `start` a multiple of `slide`. All window
//! borders are multiples of `slide`, or those plus `size`; a **pane** is the stretch between two
//! neighbouring borders. So every window is a run of whole panes, there are at most two panes per
//! slide (the common divisor of slide and size could mean thousands), and a tumbling window is one.
//!
//! P1  A time lies in exactly one pane, and `pane_end` never falls as time rises.
//! P2  A pane lies whole inside or whole outside any window.

use weir_contract::{Code, Error, Result};

/// Largest distance from the epoch that a row time may have (about 73 000 years), and the longest
/// window: sums of the two cannot overflow.
pub const TIME_MAX: i64 = 1 << 61;

/// The grid of a `tumble` or `hop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panes {
    slide: i64,
    size: i64,
    /// Where the second border of a slide lies; 0: there is none.
    cut: i64,
}

impl Panes {
    /// # Errors
    /// `W0212` where slide or size is not positive or too long to count with.
    pub fn new(slide: i64, size: i64) -> Result<Panes> {
        if slide <= 0 || size <= 0 || slide > TIME_MAX || size > TIME_MAX {
            let what = format!("a window of {size} us every {slide} us");
            return Err(Error::new(Code::Plan, what).expected("slide and size above zero, below 2^61 us"));
        }
        Ok(Panes { slide, size, cut: size % slide })
    }

    pub fn slide(&self) -> i64 {
        self.slide
    }

    pub fn size(&self) -> i64 {
        self.size
    }

    /// Whether a window is one pane, and panes are windows.
    pub fn tumbling(&self) -> bool {
        self.slide == self.size
    }

    /// The pane `[start, end)` that holds `time`, which must lie within `TIME_MAX`.
    pub fn pane(&self, time: i64) -> (i64, i64) {
        let base = time - time.rem_euclid(self.slide);
        match self.cut {
            0 => (base, base + self.slide),
            cut if time < base + cut => (base, base + cut),
            cut => (base + cut, base + self.slide),
        }
    }

    /// Whether the pane that ends here lies in no window (`hop` with a size below its slide).
    pub fn in_gap(&self, end: i64) -> bool {
        self.size < self.slide && end.rem_euclid(self.slide) == 0
    }

    /// End of the pane of each time; one division per change of pane, not per row.
    pub fn ends(&self, times: &[i64]) -> Vec<i64> {
        let (mut start, mut end) = (0, 0);
        times
            .iter()
            .map(|&time| {
                if time < start || time >= end {
                    (start, end) = self.pane(time);
                }
                end
            })
            .collect()
    }

    /// End of the pane that holds any time, `NOTHING` and `FOREVER` included; saturates.
    pub fn pane_end_at(&self, time: i64) -> i64 {
        if time > -TIME_MAX && time < TIME_MAX { self.pane(time).1 } else { time.saturating_add(1) }
    }

    /// The lowest window end at or above a time; saturates.
    pub fn window_end_from(&self, time: i64) -> i64 {
        let up = (i128::from(self.size) - i128::from(time)).rem_euclid(i128::from(self.slide));
        time.saturating_add(up as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRIDS: [(i64, i64); 7] = [(10, 10), (10, 30), (10, 35), (7, 10), (10, 3), (10, 1), (3, 100)];

    #[test]
    fn windows_are_whole_panes() {
        for (slide, size) in GRIDS {
            let panes = Panes::new(slide, size).unwrap();
            let mut last = i64::MIN;
            for time in -250..250 {
                let (start, end) = panes.pane(time);
                assert!(start <= time && time < end, "{slide} {size} {time}");
                assert!(end >= last);
                last = end;
                assert_eq!(panes.pane_end_at(time), end);
                let mut held = 0;
                for k in -300..300 {
                    let (from, to) = (k * slide, k * slide + size);
                    let inside = from <= time && time < to;
                    held += i64::from(inside);
                    assert_eq!(inside, from <= start && end <= to, "{slide} {size} {time} {from}");
                    assert_eq!(inside, end > to - size && end <= to, "slices by pane end hold the window");
                }
                assert_eq!(held == 0, panes.in_gap(end), "{slide} {size} {time}");
            }
            let times: Vec<i64> = (-250..250).rev().chain(-3..3).collect();
            assert_eq!(panes.ends(&times), times.iter().map(|&t| panes.pane(t).1).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_next_window_end_is_the_lowest() {
        for (slide, size) in GRIDS {
            let panes = Panes::new(slide, size).unwrap();
            for time in -150..150 {
                let naive = (-300..300).map(|k| k * slide + size).filter(|&e| e >= time).min();
                assert_eq!(Some(panes.window_end_from(time)), naive, "{slide} {size} {time}");
            }
            assert_eq!(panes.window_end_from(i64::MAX), i64::MAX);
        }
        assert!(Panes::new(0, 1).is_err() && Panes::new(1, -1).is_err());
    }
}
