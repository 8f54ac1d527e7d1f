//! Barcodes as a camera would see them: of any module size, turned, blurred, with noise.
//!
//! Out:  a frame, the text that is in it. The encoders share nothing with the reader.
//! Owns: the picture: each pixel is the mean of 16 points of the code, so that edges fall between
//!       pixels as they do on a sensor; the code lies at a random part of a pixel.

use barcoders::sym::code128::Code128;
use barcoders::sym::ean13::EAN13;
use weir_vision::barcode::Symbology;
use weir_vision::decode::Frame;

/// xorshift64*.
pub struct Chance(pub u64);

impl Chance {
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.word() >> 11) % n
    }

    pub fn part(&mut self) -> f64 {
        self.below(1 << 24) as f64 / f64::from(1 << 24)
    }
}

/// Dark modules, row by row, without a quiet zone.
pub struct Code {
    pub text: String,
    pub width: usize,
    pub height: usize,
    dark: Vec<bool>,
}

fn linear(text: String, bars: &[u8], height: usize) -> Code {
    let row: Vec<bool> = bars.iter().map(|b| *b == 1).collect();
    Code { text, width: row.len(), height, dark: row.repeat(height) }
}

/// The check digit of EAN and UPC, over all digits before it.
fn check(digits: &str) -> u32 {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| u32::from(b - b'0') * if i % 2 == 0 { 3 } else { 1 })
        .sum();
    (10 - sum % 10) % 10
}

pub fn code(symbology: Symbology, chance: &mut Chance) -> Code {
    let mut digits =
        |count: usize| -> String { (0..count).map(|_| char::from(b'0' + chance.below(10) as u8)).collect() };
    match symbology {
        Symbology::Ean13 => {
            let body = format!("4{}", digits(11));
            let text = format!("{body}{}", check(&body));
            let bars = EAN13::new(&text).unwrap().encode();
            linear(text, &bars, 60)
        }
        Symbology::UpcA => {
            let body = digits(11);
            let text = format!("{body}{}", check(&body));
            let bars = EAN13::new(format!("0{text}")).unwrap().encode();
            linear(text, &bars, 60)
        }
        Symbology::Code128 => {
            // A licence plate: set B, then C for its digits.
            let (letters, number) = ("TOTE-", digits(8));
            let bars = Code128::new(format!("Ɓ{letters}Ć{number}")).unwrap().encode();
            linear(format!("{letters}{number}"), &bars, 50)
        }
        Symbology::Qr => {
            let text = format!("https://w.example/p/{}", digits(12));
            let code = qrcode::QrCode::new(&text).unwrap();
            let width = code.width();
            let dark = code.to_colors().into_iter().map(|c| c == qrcode::Color::Dark).collect();
            Code { text, width, height: width, dark }
        }
    }
}

const QUIET: f64 = 10.0;
const INK: f64 = 45.0;
const PAPER: f64 = 210.0;

/// Renders with `px` pixels a module, turned by `degrees`, blurred by a Gaussian of `sigma` pixels.
pub fn render(code: &Code, px: f64, degrees: f64, sigma: f64, chance: &mut Chance) -> Frame {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (w, h) = ((code.width as f64 + 2.0 * QUIET) * px, (code.height as f64 + 2.0 * QUIET) * px);
    let width = (w * cos.abs() + h * sin.abs()).ceil() as usize + 2;
    let height = (w * sin.abs() + h * cos.abs()).ceil() as usize + 2;
    let (middle_x, middle_y) =
        (width as f64 / 2.0 + chance.part() - 0.5, height as f64 / 2.0 + chance.part() - 0.5);
    let mut grey = vec![0.0_f64; width * height];
    for y in 0..height {
        for x in 0..width {
            let mut dark = 0_u32;
            for sub in 0..16 {
                let dx = x as f64 + (f64::from(sub % 4) + 0.5) / 4.0 - middle_x;
                let dy = y as f64 + (f64::from(sub / 4) + 0.5) / 4.0 - middle_y;
                let mx = ((dx * cos + dy * sin) / px + code.width as f64 / 2.0).floor();
                let my = ((dy * cos - dx * sin) / px + code.height as f64 / 2.0).floor();
                let inside = mx >= 0.0 && my >= 0.0 && mx < code.width as f64 && my < code.height as f64;
                dark += u32::from(inside && code.dark[my as usize * code.width + mx as usize]);
            }
            grey[y * width + x] = PAPER - (PAPER - INK) * f64::from(dark) / 16.0;
        }
    }
    if sigma > 0.0 {
        grey = blurred(&grey, width, sigma);
        let turned = transposed(&grey, width);
        grey = transposed(&blurred(&turned, height, sigma), height);
    }
    // The noise of a good sensor: two uniform parts, about three steps in all.
    let rgb = grey
        .iter()
        .flat_map(|v| [(v + (chance.part() + chance.part() - 1.0) * 8.0).clamp(0.0, 255.0) as u8; 3]);
    let rgb = rgb.collect();
    Frame::new(width as u32, height as u32, rgb).unwrap()
}

/// Along rows.
fn blurred(grey: &[f64], width: usize, sigma: f64) -> Vec<f64> {
    let reach = (sigma * 3.0).ceil() as isize;
    let kernel: Vec<f64> =
        (-reach..=reach).map(|d| (-((d * d) as f64) / (2.0 * sigma * sigma)).exp()).collect();
    let sum: f64 = kernel.iter().sum();
    let mut out = Vec::with_capacity(grey.len());
    for row in grey.chunks_exact(width) {
        for x in 0..width as isize {
            let at = |d: isize| row[(x + d).clamp(0, width as isize - 1) as usize];
            let value: f64 = (-reach..=reach).zip(&kernel).map(|(d, k)| at(d) * k).sum();
            out.push(value / sum);
        }
    }
    out
}

fn transposed(grey: &[f64], width: usize) -> Vec<f64> {
    let height = grey.len() / width;
    (0..width).flat_map(|x| (0..height).map(move |y| grey[y * width + x])).collect()
}
