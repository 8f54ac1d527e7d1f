//! PNG: a walk over its chunks before decoding, then the png crate, row by row.
//!
//! In:   bytes that begin with the PNG magic.
//! Out:  size and memory from the header; RGB pixels from the decoder.
//! Owns: that inflating stops with the last row: what a file packs behind its pixels is never inflated,
//!       nor are text chunks and profiles (known ways to make a small file large). The decoder then
//!       never sees the checksum at the end of the pixels; the walk checks those of all chunks.
//!
//! An animated PNG gives its first picture.

use std::io::Cursor;

use png::{Decoder, DecodingError, InterlaceInfo, Limits, Transformations, expand_interlaced_row};

use super::{Format, Header, Reason, Refused};

pub const MAGIC: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// For the decoder's rows and small chunks; pixels are ours.
const WORK_BYTES_MAX: usize = 4 << 20;

/// Reads the header chunk, which is the first by the standard.
pub fn survey(bytes: &[u8]) -> Result<Header, Refused> {
    let chunk =
        bytes.get(8..33).ok_or_else(|| Refused::new(Reason::Truncated, "the file ends in its header"))?;
    if chunk[..8] != *b"\0\0\0\x0dIHDR" {
        return Err(Refused::new(Reason::Corrupt, "the first chunk is no IHDR of 13 bytes"));
    }
    let number = |at: usize| u32::from_be_bytes([chunk[at], chunk[at + 1], chunk[at + 2], chunk[at + 3]]);
    let (width, height) = (number(8), number(12));
    // An interlaced image is put together with its alpha, and turned into RGB after that.
    let bytes_a_pixel: u64 = if chunk[20] == 0 { 3 } else { 7 };
    let alloc_bytes = u64::from(width).saturating_mul(u64::from(height)).saturating_mul(bytes_a_pixel);
    Ok(Header { format: Format::Png, width, height, alloc_bytes })
}

fn refused(error: &DecodingError) -> Refused {
    let reason = match error {
        DecodingError::IoError(_) => Reason::Truncated,
        DecodingError::LimitsExceeded => Reason::TooMuchMemory,
        DecodingError::Format(_) | DecodingError::Parameter(_) => Reason::Corrupt,
    };
    Refused::new(reason, error.to_string())
}

/// Writes `from` (grey, grey with alpha, RGB or RGBA, 8 bits) as RGB.
fn row_to_rgb(from: &[u8], channels: usize, to: &mut [u8]) {
    match channels {
        3 => to.copy_from_slice(&from[..to.len()]),
        4 => {
            for (pixel, rgba) in to.chunks_exact_mut(3).zip(from.chunks_exact(4)) {
                pixel.copy_from_slice(&rgba[..3]);
            }
        }
        _ => {
            for (pixel, grey) in to.chunks_exact_mut(3).zip(from.chunks_exact(channels)) {
                pixel.fill(grey[0]);
            }
        }
    }
}

/// Every chunk whole and its checksum right, up to the end chunk.
fn check_chunks(bytes: &[u8]) -> Result<(), Refused> {
    let ends = |what: &str| Refused::new(Reason::Truncated, format!("the file ends in {what}"));
    let mut at = MAGIC.len();
    loop {
        let head = bytes.get(at..at + 8).ok_or_else(|| ends("its chunks: there is no IEND"))?;
        let kind = [head[4], head[5], head[6], head[7]];
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let name = kind.escape_ascii();
        let short = || ends(&format!("its chunk {name}"));
        let covered =
            bytes.get(at + 4..).and_then(|rest| rest.get(..length.checked_add(4)?)).ok_or_else(short)?;
        at += 8 + length;
        let sum = bytes.get(at..at + 4).ok_or_else(short)?;
        at += 4;
        if crc32fast::hash(covered).to_be_bytes() != *sum {
            return Err(Refused::new(Reason::Corrupt, format!("the checksum of chunk {name} is wrong")));
        }
        if kind == *b"IEND" {
            return Ok(());
        }
    }
}

/// `header` was judged: its sides are within the limits.
pub fn pixels(bytes: &[u8], header: &Header) -> Result<Vec<u8>, Refused> {
    check_chunks(bytes)?;
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: WORK_BYTES_MAX });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|e| refused(&e))?;
    let (width, height) = (header.width as usize, header.height as usize);
    if reader.info().size() != (header.width, header.height) {
        return Err(Refused::new(Reason::Corrupt, "the decoder reads another size than the header has"));
    }
    let (color, _) = reader.output_color_type();
    let channels = color.samples();
    if !(1..=4).contains(&channels) {
        return Err(Refused::new(Reason::Unsupported, format!("{channels} channels")));
    }
    let mut rgb = vec![0; width * height * 3];
    // The rows of an interlaced image are spread over the picture.
    let mut spread = if reader.info().interlaced { vec![0; width * height * channels] } else { Vec::new() };
    let mut rows = rgb.chunks_exact_mut(width * 3);
    let mut missing = if spread.is_empty() { height } else { 0 };
    while let Some(row) = reader.next_interlaced_row().map_err(|e| refused(&e))? {
        match row.interlace() {
            InterlaceInfo::Null(_) => {
                let Some(to) = rows.next() else { break };
                if row.data().len() < width * channels {
                    return Err(Refused::new(Reason::Corrupt, "a short row"));
                }
                row_to_rgb(row.data(), channels, to);
                missing = missing.saturating_sub(1);
                if missing == 0 {
                    break;
                }
            }
            InterlaceInfo::Adam7(pass) if !spread.is_empty() => {
                let bits = u8::try_from(channels * 8).unwrap_or(u8::MAX);
                expand_interlaced_row(&mut spread, width * channels, row.data(), pass, bits);
            }
            InterlaceInfo::Adam7(_) => {
                return Err(Refused::new(Reason::Corrupt, "interlaced rows where none were announced"));
            }
        }
    }
    if missing > 0 {
        return Err(Refused::new(Reason::Truncated, format!("{missing} of {height} rows are missing")));
    }
    if !spread.is_empty() {
        for (to, from) in rgb.chunks_exact_mut(width * 3).zip(spread.chunks_exact(width * channels)) {
            row_to_rgb(from, channels, to);
        }
    }
    Ok(rgb)
}
