//! A graph's numbers to boxes in pixels of its input.
//!
//! | layout | shape | rows |
//! |---|---|---|
//! | `Rows` | `[N, K, 6]` | corners, score, class: `boxes-v1`, and Ultralytics' exports with suppression inside |
//! | `Raw` | `[N, 4 + classes, A]` | columns of centre, size and a score for each class: YOLOv8, YOLO11 |

use weir_contract::{Code, Error, Result};

use super::Settings;
use super::engine::{Facts, Given, bad};
use crate::boxes::{Area, Scored, suppress};

/// Boxes that go into suppression: the best of those above the limit. YOLO at 640 has 8,400 in all.
const CANDIDATES_MAX: usize = 30_000;

const EXPECTED: &str = "an output [N, boxes, 6] of corners, score and class, or [N, 4 + classes, boxes] as YOLOv8 \
                        and YOLO11 export it";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Rows,
    Raw,
}

/// A checked output: the numbers of one frame are a slice of it.
pub struct Rows<'a> {
    given: &'a Given,
    batch: usize,
}

/// One frame's numbers: `down` × `across`.
pub struct One<'a> {
    data: &'a [f32],
    down: usize,
    across: usize,
}

impl Rows<'_> {
    pub fn of(&self, number: usize) -> Result<One<'_>> {
        let each = self.given.data.len() / self.batch.max(1);
        let data = self.given.data.get(number * each..(number + 1) * each);
        let data = data.ok_or_else(|| Error::new(Code::Inference, "it gave fewer frames than it got"))?;
        if !data.iter().all(|v| v.is_finite()) {
            let what = "it gave a number that is not finite";
            return Err(Error::new(Code::Inference, what).expected("finite numbers"));
        }
        Ok(One { data, down: self.given.shape[1], across: self.given.shape[2] })
    }
}

impl Layout {
    /// Told by the metadata where weir made the file, else by the shape that it gave for grey frames.
    pub fn of(shape: &[usize], batch: usize, classes: usize, facts: &Facts) -> Result<Layout> {
        let said = facts.metadata.get("weir_format").map(String::as_str);
        if let Some(other) = said.filter(|f| *f != "boxes-v1") {
            return Err(bad(format!("its weir_format is `{other}`"), "boxes-v1"));
        }
        let wrong =
            || bad(format!("its output is {shape:?} for {batch} frames and {classes} classes"), EXPECTED);
        match shape {
            [n, _, 6] if *n == batch => Ok(Layout::Rows),
            [n, rows, _] if *n == batch && *rows == classes + 4 && said.is_none() => Ok(Layout::Raw),
            _ => Err(wrong()),
        }
    }

    /// The same shape as at opening; the number of boxes may change.
    pub fn check<'a>(self, given: &'a Given, batch: usize) -> Result<Rows<'a>> {
        let whole = given.shape.iter().product::<usize>() == given.data.len();
        let same = given.shape.len() == 3 && given.shape[0] == batch;
        let six = self != Layout::Rows || given.shape.get(2) == Some(&6);
        if !(whole && same && six) {
            let what = format!("its output is {:?} for {batch} frames", given.shape);
            return Err(
                Error::new(Code::Inference, what).expected("the shape that it had when it was opened")
            );
        }
        Ok(Rows { given, batch })
    }

    /// Best first; at most `settings.boxes_max`.
    pub fn boxes(self, one: One<'_>, classes: usize, settings: &Settings) -> Result<Vec<Scored>> {
        match self {
            Layout::Rows => {
                let mut found = rows(&one, classes, settings.confidence_min)?;
                found.sort_by(|a, b| b.score.total_cmp(&a.score));
                found.truncate(settings.boxes_max);
                Ok(found)
            }
            Layout::Raw => {
                if one.down != classes + 4 {
                    return Err(Error::new(Code::Inference, format!("it gave {} rows a box", one.down)));
                }
                let found = raw(&one, settings.confidence_min);
                Ok(suppress(found, settings.overlap_max, settings.boxes_max))
            }
        }
    }
}

fn rows(one: &One<'_>, classes: usize, confidence_min: f32) -> Result<Vec<Scored>> {
    let mut found = Vec::new();
    for row in one.data.chunks_exact(6) {
        let (score, class) = (row[4], row[5]);
        if score < confidence_min {
            continue;
        }
        // Classes are whole numbers in a float; half a step off is another class.
        let index = class.round();
        if (class - index).abs() > 0.01 || index < 0.0 || index as usize >= classes {
            let what = format!("it gave class {class}, and there are {classes} names");
            return Err(Error::new(Code::Inference, what).expected("an index of a name"));
        }
        let area = Area::new(row[0], row[1], row[2], row[3]);
        if area.is_real() {
            found.push(Scored { class: index as u32, score, area });
        }
    }
    Ok(found)
}

fn raw(one: &One<'_>, confidence_min: f32) -> Vec<Scored> {
    let count = one.across;
    let row = |number: usize| &one.data[number * count..(number + 1) * count];
    let (cx, cy, w, h) = (row(0), row(1), row(2), row(3));
    let mut found = Vec::new();
    for at in 0..count {
        // The first of equal classes, as `argmax` takes it.
        let (mut class, mut score) = (0, f32::NEG_INFINITY);
        for number in 4..one.down {
            let value = one.data[number * count + at];
            if value > score {
                (class, score) = (number - 4, value);
            }
        }
        if score < confidence_min {
            continue;
        }
        let (dx, dy) = (w[at] / 2.0, h[at] / 2.0);
        let area = Area::new(cx[at] - dx, cy[at] - dy, cx[at] + dx, cy[at] + dy);
        if area.is_real() {
            found.push(Scored { class: class as u32, score, area });
        }
    }
    if found.len() > CANDIDATES_MAX {
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found.truncate(CANDIDATES_MAX);
    }
    found
}
