//! Images made in code: good ones of every kind, and hostile ones.
//!
//! Out:  names and bytes; a seeded source of chance. The PNG writer here writes what the png crate's
//!       encoder refuses to: wrong sizes, interlace, chunks that lie.

#![allow(dead_code)]

use std::io::Write;

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

/// xorshift64*: one seed, one sequence, on every machine.
pub struct Chance(pub u64);

impl Chance {
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.word() >> 11) as usize % n.max(1)
    }
}

/// A smooth picture, so that lossy formats can be compared with it.
pub fn picture(width: usize, height: usize, channels: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(width * height * channels);
    for y in 0..height {
        for x in 0..width {
            for c in 0..channels {
                let value = match c {
                    0 => 40 + x * 160 / width.max(1),
                    1 => 40 + y * 160 / height.max(1),
                    2 => 200 - (x + y) * 100 / (width + height).max(1),
                    _ => 255,
                };
                bytes.push(value as u8);
            }
        }
    }
    bytes
}

pub struct Jpeg {
    pub width: u16,
    pub height: u16,
    pub color: ColorType,
    pub sampling: SamplingFactor,
    pub progressive: bool,
    pub restart: u16,
}

impl Jpeg {
    pub fn plain(width: u16, height: u16) -> Jpeg {
        Jpeg {
            width,
            height,
            color: ColorType::Rgb,
            sampling: SamplingFactor::R_4_2_0,
            progressive: false,
            restart: 0,
        }
    }

    pub fn bytes_of(&self, pixels: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, 95);
        encoder.set_sampling_factor(self.sampling);
        encoder.set_progressive(self.progressive);
        if self.restart > 0 {
            encoder.set_restart_interval(self.restart);
        }
        encoder.encode(pixels, self.width, self.height, self.color).unwrap();
        out
    }

    pub fn bytes(&self) -> Vec<u8> {
        let channels = match self.color {
            ColorType::Luma => 1,
            ColorType::Rgb | ColorType::Bgr | ColorType::Ycbcr => 3,
            _ => 4,
        };
        self.bytes_of(&picture(usize::from(self.width), usize::from(self.height), channels))
    }
}

pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// As `deflate`, of so many zeros, without holding them.
pub fn deflate_zeros(count: u64) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = [0_u8; 65536];
    let mut left = count;
    while left > 0 {
        let part = left.min(zeros.len() as u64) as usize;
        encoder.write_all(&zeros[..part]).unwrap();
        left -= part as u64;
    }
    encoder.finish().unwrap()
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

pub fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(kind);
    out.extend_from_slice(body);
    let sum = crc(&out[4..]);
    out.extend_from_slice(&sum.to_be_bytes());
    out
}

/// A PNG of these header fields, extra chunks and already deflated pixels.
pub fn png_of(
    w: u32,
    h: u32,
    depth: u8,
    color: u8,
    interlaced: bool,
    extra: &[Vec<u8>],
    idat: &[u8],
) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut ihdr = Vec::new();
    ihdr.extend_from_slice(&w.to_be_bytes());
    ihdr.extend_from_slice(&h.to_be_bytes());
    ihdr.extend_from_slice(&[depth, color, 0, 0, u8::from(interlaced)]);
    out.extend(chunk(b"IHDR", &ihdr));
    extra.iter().for_each(|c| out.extend_from_slice(c));
    out.extend(chunk(b"IDAT", idat));
    out.extend(chunk(b"IEND", b""));
    out
}

/// Rows without a filter.
pub fn png_rows(pixels: &[u8], row_bytes: usize) -> Vec<u8> {
    pixels.chunks(row_bytes).flat_map(|row| [&[0_u8][..], row].concat()).collect()
}

/// 8-bit RGB in the seven passes of Adam7.
pub fn png_interlaced(width: usize, height: usize) -> Vec<u8> {
    let pixels = picture(width, height, 3);
    let mut rows = Vec::new();
    for (x0, y0, dx, dy) in
        [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    {
        for y in (y0..height).step_by(dy) {
            let row: Vec<u8> =
                (x0..width).step_by(dx).flat_map(|x| pixels[(y * width + x) * 3..][..3].to_vec()).collect();
            if !row.is_empty() {
                rows.push(0);
                rows.extend(row);
            }
        }
    }
    png_of(width as u32, height as u32, 8, 2, true, &[], &deflate(&rows))
}

/// Makes every chunk's checksum right, so that a changed byte reaches what is behind it.
pub fn mend_png(bytes: &mut [u8]) {
    let mut at = 8;
    while at + 12 <= bytes.len() {
        let length = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        let Some(end) = at.checked_add(8).and_then(|b| b.checked_add(length)) else { return };
        if end + 4 > bytes.len() {
            return;
        }
        let sum = crc(&bytes[at + 4..end]).to_be_bytes();
        bytes[end..end + 4].copy_from_slice(&sum);
        at = end + 4;
    }
}

/// Good images of every kind that is let in, small.
pub fn good() -> Vec<(&'static str, Vec<u8>)> {
    let jpeg = |change: fn(&mut Jpeg)| {
        let mut jpeg = Jpeg::plain(37, 29);
        change(&mut jpeg);
        jpeg.bytes()
    };
    let png = |depth: u8, color: u8, channels: usize, wide: bool| {
        let mut pixels = picture(37, 29, channels);
        if wide {
            pixels = pixels.iter().flat_map(|b| [*b, 0x55]).collect();
        }
        let row = 37 * channels * if wide { 2 } else { 1 };
        png_of(37, 29, depth, color, false, &[], &deflate(&png_rows(&pixels, row)))
    };
    let palette: Vec<u8> = (0..=255).flat_map(|i| [i, 255 - i, i / 2]).collect();
    let plte = chunk(b"PLTE", &palette);
    vec![
        ("jpeg 4:2:0", jpeg(|_| {})),
        ("jpeg 4:4:4", jpeg(|j| j.sampling = SamplingFactor::R_4_4_4)),
        ("jpeg 4:2:2", jpeg(|j| j.sampling = SamplingFactor::R_4_2_2)),
        ("jpeg 4:4:0", jpeg(|j| j.sampling = SamplingFactor::R_4_4_0)),
        ("jpeg 4:1:1", jpeg(|j| j.sampling = SamplingFactor::R_4_1_1)),
        ("jpeg grey", jpeg(|j| j.color = ColorType::Luma)),
        ("jpeg cmyk", jpeg(|j| j.color = ColorType::Cmyk)),
        ("jpeg ycck", jpeg(|j| j.color = ColorType::CmykAsYcck)),
        ("jpeg progressive", jpeg(|j| j.progressive = true)),
        (
            "jpeg progressive grey",
            jpeg(|j| {
                j.progressive = true;
                j.color = ColorType::Luma;
            }),
        ),
        ("jpeg restarts", jpeg(|j| j.restart = 2)),
        ("jpeg 1×1", Jpeg::plain(1, 1).bytes()),
        ("png rgb", png(8, 2, 3, false)),
        ("png rgba", png(8, 6, 4, false)),
        ("png grey", png(8, 0, 1, false)),
        ("png grey alpha", png(8, 4, 2, false)),
        ("png rgb 16", png(16, 2, 3, true)),
        ("png rgba 16", png(16, 6, 4, true)),
        ("png grey 16", png(16, 0, 1, true)),
        ("png grey 1", png_of(37, 29, 1, 0, false, &[], &deflate(&png_rows(&[0xA5; 5 * 29], 5)))),
        ("png palette", png_of(37, 29, 8, 3, false, &[plte], &deflate(&png_rows(&picture(37, 29, 1), 37)))),
        ("png interlaced", png_interlaced(37, 29)),
        ("png 1×1", png_of(1, 1, 8, 2, false, &[], &deflate(&[0, 10, 20, 30]))),
    ]
}
