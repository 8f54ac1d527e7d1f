//! One frame's pixels: what is found in them, and what can be read.
//!
//! In:   a camera's JPEG. Out: codes as `vision` reads them, things as the centre's `detect()` tells them.
//! Owns: a model and a reader for each camera, of one thread. Codes are read where the model saw one; where it
//!       saw none or nothing sure could be read there, or where there is no model, in the whole frame.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use weir_contract::{Code, Error, Place, Result};
use weir_vision::barcode;
use weir_vision::barcode::{Reader, Symbology};
use weir_vision::boxes::Area;
use weir_vision::decode::{Frame, Limits, decode};
use weir_vision::detector::{Chosen, Model, Settings};
use weir_vision::pool::Worker;
use weir_vision::stop::Stop;
use weir_vision::told::{self, BARCODE, Told};

use crate::config::Barcodes;

/// A site's list: a million codes and their line ends.
const KNOWN_BYTES_MAX: u64 = 32 << 20;

pub(super) struct Job {
    pub camera: usize,
    pub bytes: Vec<u8>,
}

pub(super) struct Answer {
    pub codes: Vec<barcode::Reading>,
    /// Looks for codes in which the library panicked.
    pub panics: u64,
    /// None where there is no model.
    pub found: Option<Result<Vec<Told>>>,
}

pub(super) fn too_slow(limit: Duration) -> Error {
    Error::new(Code::TooSlow, format!("not done within {} ms", limit.as_millis()))
}

/// How a model is made.
#[derive(Clone)]
pub(super) struct ModelRecipe {
    pub engine: Chosen,
    pub settings: Settings,
    pub bytes: Arc<[u8]>,
}

impl ModelRecipe {
    pub fn open(&self) -> Result<Model> {
        Model::of(self.engine.backend(), self.settings.clone(), &self.bytes)
    }
}

/// How one camera's codes are read.
#[derive(Clone)]
pub struct Reading {
    formats: Vec<Symbology>,
    known: Arc<HashSet<String>>,
}

impl Reading {
    /// # Errors
    /// `W0201` where the list of known codes cannot be read.
    pub fn open(settings: &Barcodes) -> Result<Reading> {
        let mut known = HashSet::new();
        if let Some(path) = &settings.known {
            let wrong = |what: String| {
                Error::new(Code::BadFile, what)
                    .at(Place::Path(path.display().to_string()))
                    .expected("a file of known codes, one a line")
            };
            let bytes = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
            if bytes > KNOWN_BYTES_MAX {
                return Err(wrong(format!("{bytes} bytes: more than {KNOWN_BYTES_MAX}")));
            }
            let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
            known.extend(text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned));
        }
        Ok(Reading { formats: settings.formats.clone(), known: Arc::new(known) })
    }

    pub fn reader(&self) -> Reader {
        Reader::new(&self.formats)
    }

    /// Reads in `boxes`, else in the whole frame.
    ///
    /// # Errors
    /// `W0808` where `stop` came.
    pub fn read(
        &self,
        reader: &mut Reader,
        frame: &Frame,
        boxes: &[Area],
        stop: &Stop,
    ) -> Result<Vec<barcode::Reading>> {
        let known = |_: Symbology, text: &str| self.known.contains(text);
        let found = reader.read(frame, boxes, &known, stop)?;
        if boxes.is_empty() || found.iter().any(barcode::Reading::is_sure) {
            return Ok(found);
        }
        let whole = reader.read(frame, &[], &known, stop)?;
        Ok(if whole.is_empty() { found } else { whole })
    }
}

/// What a thread of the pool needs.
pub(super) struct Recipe {
    pub model: Option<ModelRecipe>,
    /// By camera.
    pub readers: Vec<Option<Reading>>,
}

impl Recipe {
    pub fn look(&self) -> Result<Look> {
        let model = self.model.as_ref().map(ModelRecipe::open).transpose()?;
        let own = |r: &Option<Reading>| r.clone().map(|r| (r.reader(), r));
        Ok(Look { model, readers: self.readers.iter().map(own).collect(), limits: Limits::default() })
    }
}

pub(super) struct Look {
    model: Option<Model>,
    readers: Vec<Option<(Reader, Reading)>>,
    /// The centre's own: what it takes is taken here.
    limits: Limits,
}

impl Worker<Job, Answer> for Look {
    fn work(&mut self, job: Job, stop: &Stop) -> Result<Answer> {
        let frame = decode(&job.bytes, &self.limits)?;
        let found = self.model.as_mut().map(|model| told::of_frame(model, &frame, stop));
        let (mut codes, mut panics) = (Vec::new(), 0);
        if let Some(Some((reader, reading))) = self.readers.get_mut(job.camera) {
            let labels = found.iter().flatten().flatten().filter(|t| &*t.label == BARCODE);
            let boxes: Vec<Area> = labels.map(Told::area).collect();
            let before = reader.panics();
            codes = reading.read(reader, &frame, &boxes, stop)?;
            panics = reader.panics() - before;
        }
        Ok(Answer { codes, panics, found })
    }
}
