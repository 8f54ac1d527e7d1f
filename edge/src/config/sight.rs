//! What the device looks for in its own frames: `[camera.barcodes]` and `[detect]`.
//!
//! In:   their tables. Out: settings; whether the files that they name are there is asked when they are
//!       opened (`crate::sight`).
//! Owns: defaults and limits of both.

use std::path::PathBuf;

use weir_vision::barcode::Symbology;

use super::section::Section;

/// Reading codes in a camera's frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Barcodes {
    /// No other symbology is tried.
    pub formats: Vec<Symbology>,
    /// A file of the site's codes, one a line: one reading of such a code is enough.
    pub known: Option<PathBuf>,
    /// So many frames a second are read beside those that are kept; none: only those.
    pub rate: Option<f64>,
    /// Readings of one code within this are counted together.
    pub agree_us: i64,
    /// The same code again, unseen for less than this, is the same parcel.
    pub debounce_us: i64,
}

/// A detector on the device.
#[derive(Debug, Clone, PartialEq)]
pub struct Detect {
    /// An ONNX file; none: the model that weir ships.
    pub model: Option<PathBuf>,
    /// Another file is refused.
    pub sha256: Option<String>,
    pub confidence_min: f32,
    /// The library of ONNX Runtime; none: `WEIR_ORT_LIB`, else where `make onnxruntime` puts it.
    pub runtime: Option<PathBuf>,
}

/// The floor's words for what is printed on parcels.
const FORMATS: [(&str, Symbology); 4] = [
    ("EAN13", Symbology::Ean13),
    ("UPCA", Symbology::UpcA),
    ("CODE128", Symbology::Code128),
    ("QR", Symbology::Qr),
];

pub fn symbology_word(symbology: Symbology) -> &'static str {
    FORMATS.iter().find(|(_, s)| *s == symbology).map_or("", |(word, _)| word)
}

pub(super) fn barcodes(section: Section<'_>) -> Option<Barcodes> {
    let there = section.is_there();
    let words = "a list of \"EAN13\", \"UPCA\", \"CODE128\", \"QR\": those that this site prints";
    let named = section.texts("formats").unwrap_or_default();
    let formats: Vec<Symbology> = named
        .iter()
        .filter_map(|word| {
            let found = FORMATS.iter().find(|(w, _)| w == word).map(|(_, s)| *s);
            if found.is_none() {
                section.wrong("formats", &format!("names `{word}`"), words);
            }
            found
        })
        .collect();
    if there && named.is_empty() {
        section.wrong("formats", "is missing", words);
    }
    let barcodes = Barcodes {
        formats,
        known: section.text("known").map(PathBuf::from),
        rate: section.rate("rate", 30.0),
        agree_us: section.span_us("agree").unwrap_or(2_000_000),
        debounce_us: section.span_us("debounce").unwrap_or(3_000_000),
    };
    section.done();
    there.then_some(barcodes)
}

pub(super) fn detect(section: Section<'_>) -> Option<Detect> {
    let there = section.is_there();
    let detect = Detect {
        model: section.text("model").map(PathBuf::from),
        sha256: section.text("sha256"),
        confidence_min: section.rate("confidence", 1.0).unwrap_or(0.3) as f32,
        runtime: section.text("runtime").map(PathBuf::from),
    };
    if detect.sha256.as_ref().is_some_and(|s| s.len() != 64 || !s.bytes().all(|b| b.is_ascii_hexdigit())) {
        section.wrong("sha256", "is no sha256", "64 hex digits");
    }
    section.done();
    there.then_some(detect)
}
