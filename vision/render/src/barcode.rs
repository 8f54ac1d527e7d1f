//! The bars of EAN-13, UPC-A and Code 128.
//!
//! In:   the text that a scanner would read, with its check digit.
//! Out:  modules: true where a bar is, from the first guard to the last.
//! Owns: symbology by text. A wrong check digit is drawn as it is given: that is what the floor has.
//!
//! Code 128 is drawn in its set B (printable ASCII).

use tiny_skia::PathBuilder;

use crate::shape::{Art, push_bar};
use crate::text::{Font, Fonts};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbology {
    Ean13,
    UpcA,
    Code128,
}

impl Symbology {
    /// As the streams of the floor call it.
    pub fn name(self) -> &'static str {
        match self {
            Symbology::Ean13 => "EAN13",
            Symbology::UpcA => "UPCA",
            Symbology::Code128 => "CODE128",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barcode {
    pub symbology: Symbology,
    text: String,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{symbology} cannot hold {text:?}: expected {expected}")]
pub struct BarcodeError {
    symbology: &'static str,
    text: String,
    expected: &'static str,
}

const LEFT: [&str; 10] = [
    "0001101", "0011001", "0010011", "0111101", "0100011", "0110001", "0101111", "0111011", "0110111",
    "0001011",
];

/// Which of the six left digits of an EAN-13 are drawn in set G, by its first digit.
const PARITY: [&str; 10] =
    ["LLLLLL", "LLGLGG", "LLGGLG", "LLGGGL", "LGLLGG", "LGGLLG", "LGGGLL", "LGLGLG", "LGLGGL", "LGGLGL"];

#[rustfmt::skip]
const CODE128: [&str; 107] = [
    "212222", "222122", "222221", "121223", "121322", "131222", "122213", "122312", "132212", "221213",
    "221312", "231212", "112232", "122132", "122231", "113222", "123122", "123221", "223211", "221132",
    "221231", "213212", "223112", "312131", "311222", "321122", "321221", "312212", "322112", "322211",
    "212123", "212321", "232121", "111323", "131123", "131321", "112313", "132113", "132311", "211313",
    "231113", "231311", "112133", "112331", "132131", "113123", "113321", "133121", "313121", "211331",
    "231131", "213113", "213311", "213131", "311123", "311321", "331121", "312113", "312311", "332111",
    "314111", "221411", "431111", "111224", "111422", "121124", "121421", "141122", "141221", "112214",
    "112412", "122114", "122411", "142112", "142211", "241211", "221114", "413111", "241112", "134111",
    "111242", "121142", "121241", "114212", "124112", "124211", "411212", "421112", "421211", "212141",
    "214121", "412121", "111143", "111341", "131141", "114113", "114311", "411113", "411311", "113141",
    "114131", "311141", "411131", "211412", "211214", "211232", "2331112",
];
const START_B: usize = 104;
const STOP: usize = 106;

/// The check digit that 12 leading digits of an EAN-13 ask for.
pub fn check_digit(digits: &str) -> char {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| u32::from(b.wrapping_sub(b'0')) * if i % 2 == 0 { 3 } else { 1 })
        .sum();
    char::from(b'0' + ((10 - sum % 10) % 10) as u8)
}

impl Barcode {
    /// # Errors
    /// The text does not fit the symbology: 13 digits, 12 digits, or 1 to 32 printable ASCII characters.
    pub fn new(symbology: Symbology, text: &str) -> Result<Barcode, BarcodeError> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let (fits, expected) = match symbology {
            Symbology::Ean13 => (digits && text.len() == 13, "13 digits"),
            Symbology::UpcA => (digits && text.len() == 12, "12 digits"),
            Symbology::Code128 => (
                (1..=32).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b)),
                "1 to 32 printable ASCII characters",
            ),
        };
        let error = || BarcodeError { symbology: symbology.name(), text: text.to_owned(), expected };
        if fits { Ok(Barcode { symbology, text: text.to_owned() }) } else { Err(error()) }
    }

    /// Chooses the symbology: 13 digits EAN-13, 12 digits UPC-A, else Code 128.
    pub fn of(text: &str) -> Result<Barcode, BarcodeError> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let symbology = match text.len() {
            13 if digits => Symbology::Ean13,
            12 if digits => Symbology::UpcA,
            _ => Symbology::Code128,
        };
        Barcode::new(symbology, text)
    }

    /// The EAN-13 of thirteen noughts, whose check digit is right.
    pub fn blank() -> Barcode {
        Barcode { symbology: Symbology::Ean13, text: "0".repeat(13) }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn modules(&self) -> Vec<bool> {
        match self.symbology {
            Symbology::Ean13 => ean(&self.text),
            Symbology::UpcA => ean(&format!("0{}", self.text)),
            Symbology::Code128 => code128(&self.text),
        }
    }

    /// Bars of width 1 around the origin, `height` high with the text under them.
    pub fn art(&self, fonts: &Fonts, height: f32) -> Art {
        let modules = self.modules();
        let module = 1.0 / modules.len().max(1) as f32;
        let (digits, mut bars) = (height * 0.2, PathBuilder::new());
        let mut at = 0;
        while at < modules.len() {
            let run = modules[at..].iter().take_while(|m| **m == modules[at]).count();
            if modules[at] {
                push_bar(
                    &mut bars,
                    at as f32 * module - 0.5,
                    -height / 2.0,
                    run as f32 * module,
                    height - digits,
                );
            }
            at += run;
        }
        let mut art = Art::default();
        art.add(bars.finish());
        let line = fonts.bold(Font::Mono, &self.text, 0.0);
        if let Some(b) = line.bounds() {
            let scale = (digits * 0.8 / b.height().max(0.1)).min(1.0 / b.width().max(0.1));
            let down = (height / 2.0) / scale - b.y2;
            art.0.extend(line.placed(-(b.x1 + b.x2) / 2.0, down, scale).0);
        }
        art
    }
}

fn push_bits(modules: &mut Vec<bool>, bits: &str) {
    modules.extend(bits.bytes().map(|b| b == b'1'));
}

fn ean(text: &str) -> Vec<bool> {
    let digits: Vec<usize> = text.bytes().map(|b| usize::from(b.wrapping_sub(b'0')) % 10).collect();
    let mut modules = Vec::with_capacity(95);
    let first = digits.first().copied().unwrap_or(0);
    push_bits(&mut modules, "101");
    for (digit, set) in digits.iter().skip(1).take(6).zip(PARITY[first].bytes()) {
        if set == b'L' {
            push_bits(&mut modules, LEFT[*digit]);
        } else {
            // Set G is the right-hand set (L with bars and spaces exchanged) read backwards.
            modules.extend(LEFT[*digit].bytes().rev().map(|b| b == b'0'));
        }
    }
    push_bits(&mut modules, "01010");
    for digit in digits.iter().skip(7) {
        modules.extend(LEFT[*digit].bytes().map(|b| b == b'0'));
    }
    push_bits(&mut modules, "101");
    modules
}

fn code128(text: &str) -> Vec<bool> {
    let mut symbols = vec![START_B];
    symbols.extend(text.bytes().map(|b| usize::from(b.wrapping_sub(b' ')) % 95));
    let sum: usize = symbols.iter().enumerate().map(|(i, s)| s * i.max(1)).sum();
    symbols.extend([sum % 103, STOP]);
    let mut modules = Vec::new();
    for symbol in symbols {
        for (i, width) in CODE128[symbol].bytes().enumerate() {
            modules.extend(std::iter::repeat_n(i % 2 == 0, usize::from(width - b'0')));
        }
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let modules = Barcode::of(text).unwrap().modules();
        modules.into_iter().map(|m| if m { '1' } else { '0' }).collect()
    }

    #[test]
    fn an_ean_13_as_the_standard_draws_it() {
        // GS1's general specifications, 4006381333931: sets L G L L G G on the left.
        let left = ["0001101", "0100111", "0101111", "0111101", "0001001", "0110011"].concat();
        let right = ["1000010", "1000010", "1000010", "1110100", "1000010", "1100110"].concat();
        assert_eq!(shown("4006381333931"), format!("101{left}01010{right}101"));
        assert_eq!(check_digit("400638133393"), '1');
    }

    #[test]
    fn a_upc_a_is_an_ean_13_with_a_leading_zero() {
        assert_eq!(shown("036000291452"), shown("0036000291452"));
        assert_eq!(Barcode::of("036000291452").unwrap().symbology, Symbology::UpcA);
    }

    #[test]
    fn code_128_patterns_are_whole() {
        for (i, pattern) in CODE128.iter().enumerate() {
            let widths: Vec<u32> = pattern.bytes().map(|b| u32::from(b - b'0')).collect();
            assert_eq!(widths.iter().sum::<u32>(), if i == STOP { 13 } else { 11 }, "{i}");
            // Bars of every symbol sum to an even number: the standard's self-check.
            assert_eq!(widths.iter().step_by(2).sum::<u32>() % 2, 0, "{i}");
            assert_eq!(CODE128.iter().filter(|p| *p == pattern).count(), 1, "{i}");
        }
        // The standard's worked example has check symbol 54 with start A (103), so 55 with start B (104).
        let symbols: Vec<usize> = "PJJ123C".bytes().map(|b| usize::from(b - b' ')).collect();
        let sum: usize = START_B + symbols.iter().enumerate().map(|(i, s)| s * (i + 1)).sum::<usize>();
        assert_eq!(sum % 103, 55);
        assert_eq!(shown("PJJ123C").len(), 11 * (1 + 7 + 1) + 13);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let error = Barcode::new(Symbology::Ean13, "12345").unwrap_err();
        assert_eq!(error.to_string(), "EAN13 cannot hold \"12345\": expected 13 digits");
        assert!(Barcode::of("").is_err() && Barcode::of("é").is_err());
        assert_eq!(Barcode::of("SKU-0007-12345").unwrap().symbology, Symbology::Code128);
    }
}
