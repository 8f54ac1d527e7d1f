//! One try at reading one view of a crop.
//!
//! In:   a crop of a frame, which view of it, how thoroughly.
//! Out:  readings with their places in pixels of the frame, each read once.
//! Owns: views (whole, halves, turned, enlarged) and the way back from each; the size of a module.

use std::collections::HashSet;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use rxing::common::{DetectorRXingResult, GlobalHistogramBinarizer, HybridBinarizer};
use rxing::oned::MultiFormatOneDReader;
use rxing::qrcode::cpp_port::decoder::Decode;
use rxing::qrcode::cpp_port::detector::{FindFinderPatterns, GenerateFinderPatternSets, SampleQR};
use rxing::{BarcodeFormat, Binarizer, BinaryBitmap, DecodeHints, Luma8Source, Point, RXingResult, Reader};

use super::{Method, Reading, Symbology};
use crate::boxes::Area;
use crate::decode::Frame;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    Whole,
    /// The upper or lower half and a tenth: rows of their own, so that agreement means something.
    Upper,
    Lower,
    Turned,
    Enlarged,
}

/// How light and dark are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Threshold {
    /// By neighbourhood.
    Local,
    /// By one value for a row, after sharpening.
    Row,
}

#[derive(Debug, Clone, Copy)]
pub struct Look {
    view: View,
    threshold: Threshold,
    thorough: bool,
    method: Method,
}

const fn look(view: View, threshold: Threshold, thorough: bool, method: Method) -> Look {
    Look { view, threshold, thorough, method }
}

/// From cheap to thorough.
pub const ALL: &[Look] = &[
    look(View::Whole, Threshold::Local, false, Method::Fast),
    look(View::Upper, Threshold::Row, false, Method::Half),
    look(View::Lower, Threshold::Row, false, Method::Half),
    look(View::Turned, Threshold::Local, false, Method::Turned),
    look(View::Turned, Threshold::Row, false, Method::Turned),
    look(View::Whole, Threshold::Local, true, Method::Thorough),
    look(View::Whole, Threshold::Row, true, Method::Thorough),
    look(View::Enlarged, Threshold::Local, true, Method::Enlarged),
    look(View::Enlarged, Threshold::Row, true, Method::Enlarged),
];

pub const CHEAP: &[Look] = ALL.split_at(5).0;

struct Grey {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

/// Grey pixels of an area, and its enlarged view once that was made.
pub struct Crop {
    left: f32,
    top: f32,
    whole: Grey,
    enlarged: Option<Grey>,
}

impl Crop {
    /// `area` lies within the frame and is real.
    pub fn of(frame: &Frame, area: &Area) -> Crop {
        let side = |from: f32, to: f32, most: u32| {
            let start = (from.floor().max(0.0) as usize).min(most.saturating_sub(1) as usize);
            (start, (to.ceil() as usize).clamp(start + 1, most as usize))
        };
        let (x1, x2) = side(area.x1, area.x2, frame.width());
        let (y1, y2) = side(area.y1, area.y2, frame.height());
        let stride = frame.width() as usize * 3;
        let mut bytes = Vec::with_capacity((x2 - x1) * (y2 - y1));
        for row in frame.rgb().chunks_exact(stride).take(y2).skip(y1) {
            let grey = row[x1 * 3..x2 * 3]
                .chunks_exact(3)
                .map(|p| ((77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2])) >> 8) as u8);
            bytes.extend(grey);
        }
        let whole = Grey { width: x2 - x1, height: y2 - y1, bytes };
        Crop { left: x1 as f32, top: y1 as f32, whole, enlarged: None }
    }

    pub fn pixels(&self) -> usize {
        self.whole.bytes.len()
    }

    /// Pixels of a view. `None` where there is too little to see.
    fn view(&mut self, view: View) -> Option<Grey> {
        let Grey { width, height, bytes } = &self.whole;
        let (width, height) = (*width, *height);
        let half = height * 6 / 10;
        match view {
            View::Whole => Some(Grey { width, height, bytes: bytes.clone() }),
            View::Upper if half > 2 => {
                Some(Grey { width, height: half, bytes: bytes[..half * width].to_vec() })
            }
            View::Lower if half > 2 => {
                Some(Grey { width, height: half, bytes: bytes[(height - half) * width..].to_vec() })
            }
            View::Upper | View::Lower => None,
            View::Turned => {
                let mut turned = vec![0; bytes.len()];
                for (y, row) in bytes.chunks_exact(width).enumerate() {
                    for (x, value) in row.iter().enumerate() {
                        turned[(width - 1 - x) * height + y] = *value;
                    }
                }
                Some(Grey { width: height, height: width, bytes: turned })
            }
            View::Enlarged => {
                if self.enlarged.is_none() {
                    self.enlarged = enlarged(&self.whole);
                }
                let large = self.enlarged.as_ref()?;
                Some(Grey { width: large.width, height: large.height, bytes: large.bytes.clone() })
            }
        }
    }

    /// From a point of a view to the frame.
    fn place(&self, view: View, point: &Point) -> (f32, f32) {
        let (x, y) = match view {
            View::Whole | View::Upper => (point.x, point.y),
            View::Lower => {
                let half = self.whole.height * 6 / 10;
                (point.x, point.y + (self.whole.height - half) as f32)
            }
            View::Turned => (self.whole.width as f32 - 1.0 - point.y, point.x),
            View::Enlarged => (point.x / 2.0, point.y / 2.0),
        };
        (x + self.left, y + self.top)
    }
}

fn enlarged(whole: &Grey) -> Option<Grey> {
    let (width, height) = (whole.width * 2, whole.height * 2);
    let side = |n: usize| u32::try_from(n).ok();
    let from = ImageRef::new(side(whole.width)?, side(whole.height)?, &whole.bytes, PixelType::U8).ok()?;
    let mut to = Image::new(side(width)?, side(height)?, PixelType::U8);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    Resizer::new().resize(&from, &mut to, &options).ok()?;
    Some(Grey { width, height, bytes: to.into_vec() })
}

pub struct Looker {
    quick: Option<(DecodeHints, MultiFormatOneDReader)>,
    thorough: Option<(DecodeHints, MultiFormatOneDReader)>,
    qr: bool,
}

impl Looker {
    pub fn new(symbologies: &[Symbology]) -> Looker {
        let linear: HashSet<BarcodeFormat> = symbologies
            .iter()
            .filter_map(|s| match s {
                Symbology::Ean13 => Some(BarcodeFormat::EAN_13),
                Symbology::UpcA => Some(BarcodeFormat::UPC_A),
                Symbology::Code128 => Some(BarcodeFormat::CODE_128),
                Symbology::Qr => None,
            })
            .collect();
        let reader = |thorough: bool| {
            let hints = DecodeHints {
                PossibleFormats: Some(linear.clone()),
                TryHarder: Some(thorough),
                ..DecodeHints::default()
            };
            let reader = MultiFormatOneDReader::new(&hints);
            (!linear.is_empty()).then_some((hints, reader))
        };
        Looker { quick: reader(false), thorough: reader(true), qr: symbologies.contains(&Symbology::Qr) }
    }

    pub fn look(&mut self, crop: &mut Crop, look: &Look) -> Vec<Reading> {
        let Some(grey) = crop.view(look.view) else { return Vec::new() };
        let (Ok(width), Ok(height)) = (u32::try_from(grey.width), u32::try_from(grey.height)) else {
            return Vec::new();
        };
        let Ok(source) = Luma8Source::new(grey.bytes, width, height) else { return Vec::new() };
        match look.threshold {
            Threshold::Local => self.both(BinaryBitmap::new(HybridBinarizer::new(source)), crop, look),
            Threshold::Row => self.both(BinaryBitmap::new(GlobalHistogramBinarizer::new(source)), crop, look),
        }
    }

    fn both<B: Binarizer>(&mut self, mut image: BinaryBitmap<B>, crop: &Crop, look: &Look) -> Vec<Reading> {
        let mut found = Vec::new();
        let reader = if look.thorough { &mut self.thorough } else { &mut self.quick };
        if let Some((hints, reader)) = reader
            && let Ok(result) = reader.decode_with_hints(&mut image, hints)
        {
            found.extend(linear(&result, crop, look));
        }
        // A QR code has no rows: half of it is none, and turning it changes nothing.
        if self.qr && matches!(look.view, View::Whole | View::Enlarged) {
            qr(&image, crop, look, &mut found);
        }
        found
    }
}

fn reading(symbology: Symbology, text: &str, px: f32, points: Vec<(f32, f32)>, look: &Look) -> Reading {
    let px_per_module = if look.view == View::Enlarged { px / 2.0 } else { px };
    let (text, method) = (text.to_owned(), look.method);
    Reading { symbology, text, method, read_count: 1, known: false, disputed: false, px_per_module, points }
}

/// The reader gives the middles of the first and the last pattern.
fn linear(result: &RXingResult, crop: &Crop, look: &Look) -> Option<Reading> {
    let (symbology, modules) = match result.getBarcodeFormat() {
        // 95 modules, less half a guard of three at each end.
        BarcodeFormat::EAN_13 => (Symbology::Ean13, 92),
        BarcodeFormat::UPC_A => (Symbology::UpcA, 92),
        // Start, data, check and stop have eleven each up to the stop's last bar.
        BarcodeFormat::CODE_128 => (Symbology::Code128, 11 * result.getRawBytes().len().saturating_sub(1)),
        _ => return None,
    };
    let [a, b, ..] = result.getPoints() else { return None };
    let px = (a.x - b.x).hypot(a.y - b.y) / modules.max(1) as f32;
    let points = vec![crop.place(look.view, a), crop.place(look.view, b)];
    Some(reading(symbology, result.getText(), px, points, look))
}

/// Sets of three finder patterns that are tried in one view.
const QR_SETS_MAX: usize = 16;

/// Corners in the order in which one walks around them; the library gives the two diagonals.
fn around(points: &[Point]) -> Vec<Point> {
    let count = points.len().max(1) as f32;
    let (x, y) = points.iter().fold((0.0, 0.0), |sum, p| (sum.0 + p.x / count, sum.1 + p.y / count));
    let mut points = points.to_vec();
    points.sort_by(|a, b| (a.y - y).atan2(a.x - x).total_cmp(&(b.y - y).atan2(b.x - x)));
    points
}

/// Codes of one view. The library's own reader does the same, but does not tell how many modules there are.
fn qr<B: Binarizer>(image: &BinaryBitmap<B>, crop: &Crop, look: &Look, found: &mut Vec<Reading>) {
    let matrix = image.get_black_matrix();
    let mut patterns = FindFinderPatterns(matrix, look.thorough, 0);
    for set in GenerateFinderPatternSets(&mut patterns).into_iter().take(QR_SETS_MAX) {
        let Ok(sampled) = SampleQR(matrix, &set) else { continue };
        let Ok(decoded) = Decode(sampled.getBits()) else { continue };
        if !decoded.isValid() {
            continue;
        }
        let points = around(sampled.getPoints());
        let modules = sampled.getBits().width().max(1) as f32;
        let sides = points.iter().zip(points.iter().cycle().skip(1)).take(points.len());
        let length: f32 = sides.map(|(a, b)| (a.x - b.x).hypot(a.y - b.y)).sum();
        let px = length / points.len().max(1) as f32 / modules;
        let points = points.iter().map(|p| crop.place(look.view, p)).collect();
        let one = reading(Symbology::Qr, &decoded.text(), px, points, look);
        if !found.iter().any(|f| f.symbology == one.symbology && f.text == one.text) {
            found.push(one);
        }
    }
}
