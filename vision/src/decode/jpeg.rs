//! JPEG: a walk over its segments before decoding, then zune-jpeg.
//!
//! In:   bytes that begin with the JPEG magic.
//! Out:  size and memory from the walk; RGB pixels from the decoder.
//! Owns: the estimate of memory. It is the decoder's own arithmetic: planes of 16-bit coefficients
//!       where the pixels come in several scans, else rows only.
//!
//! The decoder runs in its strict mode, which refuses damaged data, but takes an image whose last rows
//! are missing; the walk therefore asks for the end marker.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::{Format, Header, Reason, Refused};

pub const MAGIC: [u8; 3] = [0xFF, 0xD8, 0xFF];

/// Scans of a progressive image. Encoders write about ten; each costs a pass over all planes.
const SCANS_MAX: usize = 32;

/// Segments before the pixels. Cameras write about ten; an Exif thumbnail or profile a few more.
const SEGMENTS_MAX: usize = 512;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Survey {
    pub width: u32,
    pub height: u32,
    pub progressive: bool,
    /// Horizontal and vertical sampling by component.
    pub sampling: Vec<(u32, u32)>,
    /// Components of the first scan.
    pub first_scan: usize,
}

impl Survey {
    /// Pixels, and planes of coefficients where the image comes in several scans.
    fn alloc_bytes(&self) -> u64 {
        let (width, height) = (u64::from(self.width), u64::from(self.height));
        let mut bytes = width * height * 3;
        if self.progressive || self.first_scan < self.sampling.len() {
            let most = |f: fn(&(u32, u32)) -> u32| u64::from(self.sampling.iter().map(f).max().unwrap_or(1));
            let across = width.div_ceil(8 * most(|s| s.0));
            let down = height.div_ceil(8 * most(|s| s.1));
            let blocks: u64 = self.sampling.iter().map(|(h, v)| u64::from(h * v)).sum();
            bytes += across * down * blocks * 64 * 2;
        }
        bytes
    }

    pub fn header(&self) -> Header {
        let Survey { width, height, .. } = *self;
        Header { format: Format::Jpeg, width, height, alloc_bytes: self.alloc_bytes() }
    }
}

fn truncated(what: &str) -> Refused {
    Refused::new(Reason::Truncated, format!("the file ends in {what}"))
}

fn corrupt(what: impl AsRef<str>) -> Refused {
    Refused::new(Reason::Corrupt, what)
}

/// The frame header: size, precision, components.
fn frame(body: &[u8], marker: u8, survey: &mut Survey) -> Result<(), Refused> {
    if !matches!(marker, 0xC0..=0xC2) {
        let what = format!("JPEG process {:#04x}: lossless, hierarchical or arithmetic", marker);
        return Err(Refused::new(Reason::Unsupported, what));
    }
    if !survey.sampling.is_empty() {
        return Err(corrupt("two frame headers"));
    }
    let [precision, h1, h0, w1, w0, count, rest @ ..] = body else {
        return Err(corrupt("a frame header that is too short"));
    };
    if *precision != 8 {
        return Err(Refused::new(Reason::Unsupported, format!("{precision} bits a sample")));
    }
    if !matches!(count, 1 | 3 | 4) {
        return Err(Refused::new(Reason::Unsupported, format!("{count} colour components")));
    }
    if rest.len() != usize::from(*count) * 3 {
        return Err(corrupt("a frame header whose length is not that of its components"));
    }
    survey.height = u32::from(u16::from_be_bytes([*h1, *h0]));
    survey.width = u32::from(u16::from_be_bytes([*w1, *w0]));
    survey.progressive = marker == 0xC2;
    for component in rest.chunks_exact(3) {
        let (h, v) = (u32::from(component[1] >> 4), u32::from(component[1] & 15));
        if !matches!(h, 1 | 2 | 4) || !matches!(v, 1 | 2 | 4) {
            return Err(Refused::new(Reason::Unsupported, format!("chroma sampling {h}×{v}")));
        }
        survey.sampling.push((h, v));
    }
    Ok(())
}

/// Walks the segments up to the first scan, then looks for the end marker behind it.
pub fn survey(bytes: &[u8]) -> Result<Survey, Refused> {
    let mut survey = Survey::default();
    let mut at = 2;
    for _ in 0..SEGMENTS_MAX {
        // Up to three stray bytes and any number of fill bytes may stand before a marker.
        while bytes.get(at).is_some_and(|b| *b != 0xFF) {
            at += 1;
        }
        while bytes.get(at) == Some(&0xFF) {
            at += 1;
        }
        let marker = *bytes.get(at).ok_or_else(|| truncated("its headers"))?;
        at += 1;
        match marker {
            0x00 | 0x01 | 0xD0..=0xD7 => continue,
            0xD8 => return Err(corrupt("a second image begins in the headers")),
            0xD9 => return Err(corrupt("the image ends before its pixels")),
            _ => {}
        }
        let length = bytes.get(at..at + 2).ok_or_else(|| truncated("its headers"))?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        if length < 2 {
            return Err(corrupt(format!("a segment of {length} bytes")));
        }
        let body = bytes.get(at + 2..at + length).ok_or_else(|| truncated("its headers"))?;
        at += length;
        match marker {
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => frame(body, marker, &mut survey)?,
            0xDA => {
                if survey.sampling.is_empty() {
                    return Err(corrupt("pixels without a frame header"));
                }
                survey.first_scan = usize::from(body.first().copied().unwrap_or_default());
                // The end is at the end, so looking from there costs nothing for a whole image.
                return match bytes[at..].windows(2).rev().any(|pair| pair == [0xFF, 0xD9]) {
                    true => Ok(survey),
                    false => Err(truncated("its pixels: there is no end marker")),
                };
            }
            _ => {}
        }
    }
    Err(corrupt(format!("more than {SEGMENTS_MAX} segments before the pixels")))
}

fn refused(error: &DecodeErrors) -> Refused {
    let reason = match error {
        DecodeErrors::Unsupported(_) => Reason::Unsupported,
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => Reason::Truncated,
        DecodeErrors::FormatStatic("Premature end of buffer") => Reason::Truncated,
        _ => Reason::Corrupt,
    };
    Refused::new(reason, error.to_string())
}

/// `header` was judged: its sides are within the limits.
pub fn pixels(bytes: &[u8], header: &Header) -> Result<Vec<u8>, Refused> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(header.width as usize)
        .set_max_height(header.height as usize)
        .jpeg_set_max_scans(SCANS_MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| refused(&e))?;
    // Had the decoder read another size than the walk, the judgement of the header would be void.
    if decoder.dimensions() != Some((header.width as usize, header.height as usize)) {
        return Err(corrupt("the decoder reads another size than the header has"));
    }
    let mut rgb = vec![0; header.width as usize * header.height as usize * 3];
    decoder.decode_into(&mut rgb).map_err(|e| refused(&e))?;
    Ok(rgb)
}
