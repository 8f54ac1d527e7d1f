//! What is said of a frame: the same words at the centre and on a device.
//!
//! In:   bytes of an image, an open model.
//! Out:  what was found, rounded; of it, the rows that a detections topic gets.
//! Owns: the rounding, which labels are brands, how a row is numbered, the model that weir ships.
//!
//! T1  One frame a run: what is said of a frame cannot depend on those beside it.
//! T2  A brand's ordinal is its place among all that was found, from 1; a frame without a brand has one row,
//!     with ordinal 0. `rules/detect.sql` says the same in SQL, and a test of the agent reads it there.

use std::sync::Arc;

use weir_contract::Result;

use crate::boxes::Area;
use crate::decode::{Frame, Limits, decode};
use crate::detector::{Detection, Detector};
use crate::stop::Stop;

/// Name and bytes of the model that weir ships.
pub const SHIPPED: (&str, &[u8]) = ("weir-floor", include_bytes!("../model/weir-floor.onnx"));

/// A barcode's label, where one may be read.
pub const BARCODE: &str = "barcode";
/// Labels that are no brands.
pub const NO_BRANDS: [&str; 2] = ["parcel", BARCODE];

/// One found thing, as it is written down. Corners in pixels of the frame, to a tenth; the score to four
/// digits: what lies below differs from machine to machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub label: Arc<str>,
    pub confidence: f64,
    pub x1: f64,
    pub y1: f64,
    pub x2: f64,
    pub y2: f64,
}

impl Told {
    pub fn of(found: Detection) -> Told {
        let at = |value: f32, steps: f64| (f64::from(value) * steps).round() / steps;
        let area = found.area;
        Told {
            label: found.label,
            confidence: at(found.confidence, 10_000.0),
            x1: at(area.x1, 10.0),
            y1: at(area.y1, 10.0),
            x2: at(area.x2, 10.0),
            y2: at(area.y2, 10.0),
        }
    }

    pub fn area(&self) -> Area {
        Area::new(self.x1 as f32, self.y1 as f32, self.x2 as f32, self.y2 as f32)
    }
}

/// What a model says of a decoded frame, best first.
///
/// # Errors
/// Those of the model.
pub fn of_frame(model: &mut dyn Detector, frame: &Frame, stop: &Stop) -> Result<Vec<Told>> {
    stop.check("the image was decoded")?;
    Ok(model.detect(&[frame], stop)?.into_iter().flatten().map(Told::of).collect())
}

/// The same of an image's bytes.
///
/// # Errors
/// Those of the image, and of the model.
pub fn of_image(model: &mut dyn Detector, bytes: &[u8], limits: &Limits, stop: &Stop) -> Result<Vec<Told>> {
    of_frame(model, &decode(bytes, limits)?, stop)
}

/// The rows of a frame: ordinal and brand. Never none.
pub fn brands(found: &[Told]) -> Vec<(usize, Option<&Told>)> {
    let is_brand = |t: &Told| !NO_BRANDS.contains(&&*t.label);
    let rows: Vec<_> =
        (1..).zip(found).filter(|(_, t)| is_brand(t)).map(|(number, t)| (number, Some(t))).collect();
    if rows.is_empty() { vec![(0, None)] } else { rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(label: &str) -> Told {
        let area = Area::new(1.04, 2.05, 33.349, 40.0);
        Told::of(Detection { label: label.into(), class: 0, confidence: 0.876_549, area })
    }

    #[test]
    fn numbers_are_rounded_once() {
        let told = found("orbit");
        assert_eq!((told.confidence, told.x1, told.x2, told.y2), (0.8765, 1.0, 33.3, 40.0));
    }

    #[test]
    fn brands_keep_their_place_and_none_is_a_row_too() {
        let all = ["parcel", "orbit", "barcode", "pixi"].map(found);
        let told: Vec<_> = brands(&all).iter().map(|(n, t)| (*n, t.map(|t| t.label.to_string()))).collect();
        assert_eq!(told, [(2, Some("orbit".into())), (4, Some("pixi".into()))]);
        assert_eq!(brands(&all[..1]), [(0, None)]);
        assert_eq!(brands(&[]), [(0, None)]);
    }
}
