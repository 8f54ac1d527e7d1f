//! Boxes: overlap, suppression, and the way from a model's square input back to the frame.
//!
//! In:   boxes as a model gives them.
//! Out:  boxes in pixels of the frame, x to the right, y down, (0, 0) the frame's upper left corner.
//! Owns: geometry only; what a class means is the detector's.
//!
//! B1  Suppression depends on the boxes and their order alone: equal scores keep their order.
//! B2  Of two kept boxes of one class, no pair overlaps by more than the limit.

#[cfg(test)]
mod tests;

/// A rectangle by its corners.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    pub x1: f32,
    pub y1: f32,
    pub x2: f32,
    pub y2: f32,
}

impl Area {
    pub fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Area {
        Area { x1, y1, x2, y2 }
    }

    /// All four numbers finite, and something inside.
    pub fn is_real(&self) -> bool {
        [self.x1, self.y1, self.x2, self.y2].iter().all(|v| v.is_finite())
            && self.x2 > self.x1
            && self.y2 > self.y1
    }

    pub fn width(&self) -> f32 {
        self.x2 - self.x1
    }

    pub fn height(&self) -> f32 {
        self.y2 - self.y1
    }

    /// Square pixels; 0 where the box is not real.
    pub fn size(&self) -> f32 {
        if self.is_real() { self.width() * self.height() } else { 0.0 }
    }

    /// Intersection over union, 0 to 1; 0 where a box is not real.
    pub fn overlap(&self, other: &Area) -> f32 {
        let (a, b) = (self.size(), other.size());
        if a <= 0.0 || b <= 0.0 {
            return 0.0;
        }
        let width = (self.x2.min(other.x2) - self.x1.max(other.x1)).max(0.0);
        let height = (self.y2.min(other.y2) - self.y1.max(other.y1)).max(0.0);
        let both = width * height;
        both / (a + b - both)
    }

    /// Larger by `part` of each side at each end, within a frame.
    pub fn grown(&self, part: f32, width: u32, height: u32) -> Area {
        let (dx, dy) = (self.width() * part, self.height() * part);
        Area::new(self.x1 - dx, self.y1 - dy, self.x2 + dx, self.y2 + dy).within(width, height)
    }

    /// Cut to a frame; not real where nothing is left.
    pub fn within(&self, width: u32, height: u32) -> Area {
        let (width, height) = (width as f32, height as f32);
        Area::new(
            self.x1.clamp(0.0, width),
            self.y1.clamp(0.0, height),
            self.x2.clamp(0.0, width),
            self.y2.clamp(0.0, height),
        )
    }
}

/// A box with its class and score, before names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    pub class: u32,
    pub score: f32,
    pub area: Area,
}

/// Keeps the best box of each heap: per class, a box that overlaps a better kept one by more than
/// `overlap_max` goes. At most `keep_max` boxes stay, best first.
///
/// Cost: sort, then boxes × kept boxes.
pub fn suppress(mut found: Vec<Scored>, overlap_max: f32, keep_max: usize) -> Vec<Scored> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Scored> = Vec::new();
    for one in found {
        if kept.len() == keep_max {
            break;
        }
        let beaten = |k: &Scored| k.class == one.class && k.area.overlap(&one.area) > overlap_max;
        if !kept.iter().any(beaten) {
            kept.push(one);
        }
    }
    kept
}

/// How a frame lies in a model's input: scaled by one factor to fit, centred, grey around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letterbox {
    /// The frame, in its own pixels.
    pub frame: (u32, u32),
    /// The model's input.
    pub input: (u32, u32),
    /// The frame in the input: size, and its upper left corner.
    pub scaled: (u32, u32),
    pub corner: (u32, u32),
}

impl Letterbox {
    /// Sides of zero are taken as one.
    pub fn new(frame: (u32, u32), input: (u32, u32)) -> Letterbox {
        let frame = (frame.0.max(1), frame.1.max(1));
        let input = (input.0.max(1), input.1.max(1));
        let scale = (f64::from(input.0) / f64::from(frame.0)).min(f64::from(input.1) / f64::from(frame.1));
        let side = |from: u32, to: u32| ((f64::from(from) * scale).round() as u32).clamp(1, to);
        let scaled = (side(frame.0, input.0), side(frame.1, input.1));
        let corner = ((input.0 - scaled.0) / 2, (input.1 - scaled.1) / 2);
        Letterbox { frame, input, scaled, corner }
    }

    fn factors(&self) -> (f32, f32) {
        let (x, y) = (self.frame.0 as f32 / self.scaled.0 as f32, self.frame.1 as f32 / self.scaled.1 as f32);
        (x, y)
    }

    /// From pixels of the input to pixels of the frame; may lie outside of it.
    pub fn to_frame(&self, area: Area) -> Area {
        let (fx, fy) = self.factors();
        let (cx, cy) = (self.corner.0 as f32, self.corner.1 as f32);
        Area::new((area.x1 - cx) * fx, (area.y1 - cy) * fy, (area.x2 - cx) * fx, (area.y2 - cy) * fy)
    }

    /// From pixels of the frame to pixels of the input.
    pub fn to_input(&self, area: Area) -> Area {
        let (fx, fy) = self.factors();
        let (cx, cy) = (self.corner.0 as f32, self.corner.1 as f32);
        Area::new(area.x1 / fx + cx, area.y1 / fy + cy, area.x2 / fx + cx, area.y2 / fy + cy)
    }
}
