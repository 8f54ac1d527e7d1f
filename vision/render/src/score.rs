//! Found boxes against true ones.
//!
//! In:   per frame, the truth and what a detector found.
//! Out:  average precision per class, precision and recall at a threshold.
//! Owns: what a hit is: in order of score, the found box takes the free true box of its class that it
//!       overlaps most, if by at least `iou_min`.
//!
//! Average precision is the area under precision over recall, precision made non-increasing from the
//! right (all points). A class that the truth never shows has none, and is left out of the mean.

use serde::{Deserialize, Serialize};

use crate::geometry::Bounds;

/// A box of a class (its index); for a found one with a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Boxed {
    pub class: usize,
    pub bounds: Bounds,
    pub score: f32,
}

#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub truth: Vec<Boxed>,
    pub found: Vec<Boxed>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    pub true_boxes: usize,
    /// Absent where the truth has none of this class.
    pub average_precision: Option<f64>,
    /// At the threshold; absent where nothing was found.
    pub precision: Option<f64>,
    pub recall: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    pub iou_min: f32,
    pub threshold: f32,
    pub frames: usize,
    /// Mean over the classes that the truth shows; 0 if it shows none.
    pub mean_average_precision: f64,
    pub classes: Vec<ClassScore>,
}

/// A found box of one class: its score, and whether it hit.
type Judged = (f32, bool);

/// Scores frames for classes 0 to below `classes`. Boxes of other classes are ignored.
pub fn evaluate(frames: &[Frame], classes: usize, iou_min: f32, threshold: f32) -> Score {
    let per_class: Vec<ClassScore> =
        (0..classes).map(|class| score_class(frames, class, iou_min, threshold)).collect();
    let known: Vec<f64> = per_class.iter().filter_map(|c| c.average_precision).collect();
    let mean = if known.is_empty() { 0.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
    Score { iou_min, threshold, frames: frames.len(), mean_average_precision: mean, classes: per_class }
}

fn score_class(frames: &[Frame], class: usize, iou_min: f32, threshold: f32) -> ClassScore {
    let mut judged: Vec<Judged> = frames.iter().flat_map(|f| judge(f, class, iou_min)).collect();
    // Equal scores: misses first, so that ties never flatter.
    judged.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let true_boxes = frames.iter().flat_map(|f| &f.truth).filter(|t| t.class == class).count();
    let above = judged.iter().take_while(|(score, _)| *score >= threshold);
    let (said, right) = above.fold((0, 0), |(n, hits), (_, hit)| (n + 1, hits + usize::from(*hit)));
    let ratio = |of: usize, among: usize| (among > 0).then(|| of as f64 / among as f64);
    ClassScore {
        true_boxes,
        average_precision: (true_boxes > 0).then(|| area(&judged, true_boxes)),
        precision: ratio(right, said),
        recall: ratio(right, true_boxes),
    }
}

fn judge(frame: &Frame, class: usize, iou_min: f32) -> Vec<Judged> {
    let truth: Vec<&Boxed> = frame.truth.iter().filter(|t| t.class == class).collect();
    let mut found: Vec<&Boxed> = frame.found.iter().filter(|f| f.class == class).collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut taken = vec![false; truth.len()];
    found
        .into_iter()
        .map(|f| {
            let free = truth.iter().enumerate().filter(|(i, _)| !taken[*i]);
            let best = free
                .map(|(i, t)| (i, t.bounds.iou(&f.bounds)))
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .filter(|(_, iou)| *iou >= iou_min);
            if let Some((i, _)) = best {
                taken[i] = true;
            }
            (f.score, best.is_some())
        })
        .collect()
}

fn area(judged: &[Judged], true_boxes: usize) -> f64 {
    let mut points = Vec::with_capacity(judged.len());
    let mut hits = 0;
    for (number, (_, hit)) in (1..).zip(judged) {
        hits += usize::from(*hit);
        points.push((hits as f64 / true_boxes as f64, f64::from(hits as u32) / f64::from(number)));
    }
    let mut best = 0.0_f64;
    for point in points.iter_mut().rev() {
        best = best.max(point.1);
        point.1 = best;
    }
    let mut before = 0.0;
    points
        .into_iter()
        .map(|(recall, precision)| {
            let step = (recall - before) * precision;
            before = recall;
            step
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(class: usize, x: f32, score: f32) -> Boxed {
        Boxed { class, bounds: Bounds { x1: x, y1: 0.0, x2: x + 10.0, y2: 10.0 }, score }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn all_right_is_one() {
        let frame = Frame { truth: vec![boxed(0, 0.0, 0.0)], found: vec![boxed(0, 1.0, 0.4)] };
        let score = evaluate(&[frame], 2, 0.5, 0.5);
        assert!(close(score.mean_average_precision, 1.0));
        assert_eq!(score.classes[0].recall, Some(0.0), "0.4 is below the threshold");
        assert_eq!(score.classes[0].precision, None);
        assert_eq!(score.classes[1].average_precision, None, "a class without truth is left out");
    }

    /// Four true boxes; found by score: hit, miss, hit, miss, hit. By hand: precision at the hits is
    /// 1, 2/3, 3/5, each for a quarter of recall; the fourth box is never found.
    #[test]
    fn a_case_by_hand() {
        let truth = (0..4).map(|i| boxed(0, 100.0 * i as f32, 0.0)).collect();
        let found = vec![
            boxed(0, 0.0, 0.9),
            boxed(0, 50.0, 0.8),
            boxed(0, 100.0, 0.7),
            boxed(0, 150.0, 0.6),
            boxed(0, 200.0, 0.5),
        ];
        let score = evaluate(&[Frame { truth, found }], 1, 0.5, 0.65);
        let class = &score.classes[0];
        assert!(close(class.average_precision.unwrap(), 0.25 * (1.0 + 2.0 / 3.0 + 3.0 / 5.0)));
        assert!(close(class.precision.unwrap(), 2.0 / 3.0) && close(class.recall.unwrap(), 0.5));
    }

    /// By hand: found are miss, hit, hit of two true boxes: precisions 0, 1/2, 2/3 become 2/3 from the right.
    #[test]
    fn precision_never_rises_with_recall() {
        let truth = vec![boxed(0, 0.0, 0.0), boxed(0, 100.0, 0.0)];
        let found = vec![boxed(0, 300.0, 0.9), boxed(0, 0.0, 0.8), boxed(0, 100.0, 0.7)];
        let score = evaluate(&[Frame { truth, found }], 1, 0.5, 0.0);
        assert!(close(score.mean_average_precision, 2.0 / 3.0));
    }

    #[test]
    fn a_true_box_is_hit_once_and_by_its_own_class_and_frame() {
        let twice = Frame {
            truth: vec![boxed(0, 0.0, 0.0)],
            found: vec![boxed(0, 0.0, 0.9), boxed(0, 1.0, 0.8), boxed(1, 0.0, 0.99)],
        };
        let elsewhere = Frame { truth: vec![], found: vec![boxed(0, 0.0, 0.95)] };
        let score = evaluate(&[twice, elsewhere], 2, 0.5, 0.0);
        assert!(close(score.mean_average_precision, 0.5), "the first of three is a miss");
        assert!(close(score.classes[0].precision.unwrap(), 1.0 / 3.0));
        assert_eq!(score.classes[1].precision, Some(0.0));
    }

    #[test]
    fn overlap_below_the_limit_is_a_miss() {
        // Shifted by 4 of 10: 6 shared of 14, IoU 0.43.
        let frame = Frame { truth: vec![boxed(0, 0.0, 0.0)], found: vec![boxed(0, 4.0, 0.9)] };
        assert!(close(evaluate(std::slice::from_ref(&frame), 1, 0.5, 0.0).mean_average_precision, 0.0));
        assert!(close(evaluate(&[frame], 1, 0.4, 0.0).mean_average_precision, 1.0));
    }

    #[test]
    fn no_frames_score_nothing() {
        let score = evaluate(&[], 3, 0.5, 0.5);
        assert_eq!((score.mean_average_precision, score.frames), (0.0, 0));
    }
}
