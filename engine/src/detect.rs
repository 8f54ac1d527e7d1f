//! The port behind `detect()`: images in, labelled boxes out.
//!
//! In:   a model's name at planning, images while running.
//! Out:  what is known of the model; for each image a list of found things, or why there is none.
//! Owns: the words only. What a model is and how it runs is handed in, so that the engine knows no
//!       inference library.
//!
//! P1  An answer depends on the image and the model alone: not on the other images of a call, nor on how
//!     many calls run at once.

use std::fmt;
use std::sync::Arc;

use weir_contract::{Code, Error, Result};

/// One found thing; corners in pixels of the image as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub label: Arc<str>,
    /// 0 to 1.
    pub confidence: f64,
    pub x1: f64,
    pub y1: f64,
    pub x2: f64,
    pub y2: f64,
}

/// Where an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image<'a> {
    /// Encoded bytes.
    Inline(&'a [u8]),
    /// A uri of the store for frames.
    Stored(&'a str),
}

/// A model that is open.
pub trait Detector: fmt::Debug + Send + Sync {
    /// The name under which it was opened.
    fn model(&self) -> &str;

    /// Of the model's file, hex.
    fn sha256(&self) -> &str;

    /// One answer for each image, in their order, best first. An answer that is an error is the image's
    /// own: it is rejected, and all others go on.
    ///
    /// # Errors
    /// What stops the program: not the fault of an image.
    fn detect(&self, images: &[Image<'_>]) -> Result<Vec<Result<Vec<Found>>>>;
}

/// Models by name.
pub trait Detectors {
    /// Opens a model, or gives the one that is open.
    ///
    /// # Errors
    /// Why `detect()` with it cannot run: no library, no file, a damaged one.
    fn open(&self, model: &str) -> Result<Arc<dyn Detector>>;
}

/// Where no detector was handed in.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDetectors;

impl Detectors for NoDetectors {
    fn open(&self, model: &str) -> Result<Arc<dyn Detector>> {
        Err(Error::new(Code::NoRuntime, format!("nothing here can run the model `{model}`"))
            .expected("weir run, weir check: they find ONNX Runtime"))
    }
}
