//! Bytes of a JPEG or PNG to RGB pixels, within limits.
//!
//! In:   an encoded image and `Limits`.
//! Out:  a `Frame` (8-bit RGB, rows from the top), or `Refused` with a reason that is a stable word.
//! Owns: which images are let in. Nothing else is compiled in, so no other format can be reached.
//!
//! D1  Size and memory are judged by the header, before a byte is reserved for pixels.
//! D2  A frame is whole: an image that ends early, or whose data is damaged, is refused, never
//!     filled with grey. "Saw nothing" must not come from half a picture.
//! D3  The decoder's own memory stays below `Limits::alloc_bytes_max` plus `OVERHEAD_BYTES`.
//! D4  A decoder's panic is a refusal (`corrupt`). zune-jpeg 0.5.15 has one: 18 of a million mutated
//!     files ended in an `unwrap` in its inverse transform. The panic hook still prints a line.
//!
//! Grey becomes RGB, 16 bits become 8, palettes are resolved, CMYK and YCCK are converted without a
//! colour profile. Alpha and embedded profiles are ignored. **EXIF orientation is not applied**: a
//! fixed camera has one orientation, and boxes are in the pixels that the camera sent.

mod jpeg;
mod png;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use weir_contract::{Code, Error};

/// What a decoder may hold beyond the pixels that it accounts for: rows, tables, inflate window.
/// Metadata is at most the encoded bytes again. Measured by `tests/hostile.rs`.
pub const OVERHEAD_BYTES: u64 = 8 << 20;

/// What one image may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of the file. A 16-megapixel camera JPEG has 4 to 6 MB.
    pub encoded_bytes_max: usize,
    pub pixels_max: u64,
    pub side_px_max: u32,
    /// Pixels and the decoder's planes together.
    pub alloc_bytes_max: u64,
}

impl Default for Limits {
    /// A progressive JPEG of 16 Mpx needs 151 MB (three planes of 16-bit coefficients and the pixels);
    /// all other images within these limits need less. A Pi with a 2-megapixel camera should say 32 MB.
    fn default() -> Self {
        Self {
            encoded_bytes_max: 8 << 20,
            pixels_max: 16 << 20,
            side_px_max: 8192,
            alloc_bytes_max: 160 << 20,
        }
    }
}

/// Why an image was refused. The words are stable: they stand in rejects and counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    NotAnImage,
    TooManyBytes,
    TooLarge,
    TooMuchMemory,
    Truncated,
    Unsupported,
    Corrupt,
}

impl Reason {
    pub const ALL: [Reason; 7] = [
        Reason::NotAnImage,
        Reason::TooManyBytes,
        Reason::TooLarge,
        Reason::TooMuchMemory,
        Reason::Truncated,
        Reason::Unsupported,
        Reason::Corrupt,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Reason::NotAnImage => "not_an_image",
            Reason::TooManyBytes => "too_many_bytes",
            Reason::TooLarge => "too_large",
            Reason::TooMuchMemory => "too_much_memory",
            Reason::Truncated => "truncated",
            Reason::Unsupported => "unsupported",
            Reason::Corrupt => "corrupt",
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Reason::NotAnImage => "a JPEG or PNG",
            Reason::TooManyBytes | Reason::TooLarge | Reason::TooMuchMemory => "an image within the limits",
            Reason::Truncated | Reason::Corrupt => "a whole, undamaged image",
            Reason::Unsupported => "a baseline or progressive JPEG of 8 bits, or a PNG",
        }
    }
}

/// An image that was not decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub reason: Reason,
    /// In words, with numbers; at most `DETAIL_CHARS_MAX`.
    pub detail: String,
}

/// The detail of a refusal that was a decoder's panic.
pub const PANICKED: &str = "the decoder panicked";

/// A decoder's message may quote the file.
const DETAIL_CHARS_MAX: usize = 200;

impl Refused {
    fn new(reason: Reason, detail: impl AsRef<str>) -> Self {
        let detail = detail.as_ref().chars().map(|c| if c.is_control() { ' ' } else { c });
        Self { reason, detail: detail.take(DETAIL_CHARS_MAX).collect() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.word(), self.detail)
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        let code = match refused.reason {
            Reason::TooManyBytes | Reason::TooLarge | Reason::TooMuchMemory => Code::ImageTooLarge,
            _ => Code::BadImage,
        };
        Error::new(code, refused.to_string()).expected(refused.reason.expected())
    }
}

/// Pixels: 8-bit RGB, three bytes a pixel, rows from the top.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Frame {
    /// `None` where a side is zero or the bytes are not three a pixel.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Option<Frame> {
        let bytes = u64::from(width) * u64::from(height) * 3;
        (bytes > 0 && rgb.len() as u64 == bytes).then_some(Frame { width, height, rgb })
    }

    pub fn width(&self) -> u32 {
        self.width
    }

    pub fn height(&self) -> u32 {
        self.height
    }

    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    pub fn rgb_mut(&mut self) -> &mut [u8] {
        &mut self.rgb
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({}×{})", self.width, self.height)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Jpeg,
    Png,
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub format: Format,
    pub width: u32,
    pub height: u32,
    /// What decoding would reserve for pixels and planes.
    pub alloc_bytes: u64,
}

/// Reads the header and judges it.
///
/// # Errors
/// Any `Reason`; nothing larger than a few hundred bytes was reserved.
pub fn header(bytes: &[u8], limits: &Limits) -> Result<Header, Refused> {
    if bytes.len() > limits.encoded_bytes_max {
        let detail = format!("{} bytes, at most {}", bytes.len(), limits.encoded_bytes_max);
        return Err(Refused::new(Reason::TooManyBytes, detail));
    }
    let header = if bytes.starts_with(&jpeg::MAGIC) {
        jpeg::survey(bytes)?.header()
    } else if bytes.starts_with(&png::MAGIC) {
        png::survey(bytes)?
    } else if bytes.is_empty() {
        return Err(Refused::new(Reason::NotAnImage, "no bytes"));
    } else {
        let start = &bytes[..bytes.len().min(8)];
        return Err(Refused::new(Reason::NotAnImage, format!("begins with {start:02x?}")));
    };
    let Header { width, height, alloc_bytes, .. } = header;
    if width == 0 || height == 0 {
        return Err(Refused::new(Reason::Corrupt, format!("{width}×{height} pixels")));
    }
    let pixels = u64::from(width) * u64::from(height);
    if width.max(height) > limits.side_px_max || pixels > limits.pixels_max {
        let detail = format!(
            "{width}×{height} pixels, at most {} a side and {} in all",
            limits.side_px_max, limits.pixels_max
        );
        return Err(Refused::new(Reason::TooLarge, detail));
    }
    if alloc_bytes > limits.alloc_bytes_max {
        let detail = format!("needs {alloc_bytes} bytes, at most {}", limits.alloc_bytes_max);
        return Err(Refused::new(Reason::TooMuchMemory, detail));
    }
    Ok(header)
}

/// Decodes an image: see the module for what becomes of colours.
///
/// # Errors
/// Any `Reason`. Cost: one pass over the bytes; at most `Header::alloc_bytes` and `OVERHEAD_BYTES`.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Frame, Refused> {
    let header = header(bytes, limits)?;
    // The decoders hold nothing but their own buffers, which are dropped on the way.
    let pixels = catch_unwind(AssertUnwindSafe(|| match header.format {
        Format::Jpeg => jpeg::pixels(bytes, &header),
        Format::Png => png::pixels(bytes, &header),
    }));
    let rgb = pixels.unwrap_or_else(|_| Err(Refused::new(Reason::Corrupt, PANICKED)))?;
    Frame::new(header.width, header.height, rgb)
        .ok_or_else(|| Refused::new(Reason::Corrupt, "the pixels are not those that the header promised"))
}
