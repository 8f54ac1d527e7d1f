//! Characters of a scanner to whole codes.
//!
//! In:   bytes as they come, with the monotonic time of their coming.
//! Out:  codes, each ended by a terminator (CR, LF, CR LF, tab or NUL).
//! Owns: the unfinished line, and the count of everything that was thrown away.
//!
//! L1  A code is given only when its terminator came: a part is never taken for a whole.
//! L2  A line that stops for `timeout_us`, or whose device goes away, is thrown away and counted, so that
//!     its front is never joined to the next code.

/// What came of the characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineCounts {
    pub codes: u64,
    /// Unfinished when the device fell silent or went away.
    pub partial: u64,
    pub too_long: u64,
    /// Not UTF-8, or with control characters.
    pub unreadable: u64,
}

/// Joins characters to lines.
#[derive(Debug)]
pub struct Lines {
    line: Vec<u8>,
    bytes_max: usize,
    timeout_us: i64,
    last_us: i64,
    /// The rest of this line is thrown away.
    overflowing: bool,
    pub counts: LineCounts,
}

impl Lines {
    pub fn new(bytes_max: usize, timeout_us: i64) -> Self {
        let counts = LineCounts::default();
        Self { line: Vec::new(), bytes_max, timeout_us, last_us: 0, overflowing: false, counts }
    }

    /// Takes bytes that came at `now_us`.
    pub fn push(&mut self, bytes: &[u8], now_us: i64, codes: &mut Vec<String>) {
        self.expire(now_us);
        self.last_us = now_us;
        for byte in bytes {
            match byte {
                b'\r' | b'\n' | b'\t' | 0 => codes.extend(self.end()),
                _ if self.overflowing => {}
                _ if self.line.len() == self.bytes_max => {
                    self.overflowing = true;
                    self.counts.too_long += 1;
                    self.line.clear();
                }
                byte => self.line.push(*byte),
            }
        }
    }

    fn end(&mut self) -> Option<String> {
        self.overflowing = false;
        if self.line.is_empty() {
            // The second half of CR LF, or a terminator alone.
            return None;
        }
        let line = std::mem::take(&mut self.line);
        match String::from_utf8(line) {
            Ok(text) if !text.chars().any(char::is_control) && !text.trim().is_empty() => {
                self.counts.codes += 1;
                Some(text)
            }
            _ => {
                self.counts.unreadable += 1;
                None
            }
        }
    }

    /// Throws an unfinished line away where the device has been silent for too long.
    pub fn expire(&mut self, now_us: i64) {
        if now_us - self.last_us > self.timeout_us {
            self.cut();
        }
    }

    /// The device went away.
    pub fn cut(&mut self) {
        if !self.line.is_empty() {
            self.counts.partial += 1;
        }
        self.line.clear();
        self.overflowing = false;
    }
}

/// A code with its symbology: by the AIM identifier where the scanner sends one, else as configured, else
/// by its form.
pub fn symbology(code: &str, configured: &str) -> (String, &'static str) {
    let known = ["EAN13", "UPCA", "CODE128", "QR", "EAN8", "DATAMATRIX"];
    let of_name = |name: &str| known.iter().copied().find(|k| k.eq_ignore_ascii_case(name));
    let bytes = code.as_bytes();
    if bytes.len() > 3 && bytes[0] == b']' && bytes[2].is_ascii_alphanumeric() && code.is_char_boundary(3) {
        let rest = &code[3..];
        let by_aim = match bytes[1] {
            b'E' if rest.len() == 12 => Some("UPCA"),
            b'E' if rest.len() == 8 => Some("EAN8"),
            b'E' => Some("EAN13"),
            b'C' => Some("CODE128"),
            b'Q' => Some("QR"),
            b'd' => Some("DATAMATRIX"),
            _ => None,
        };
        if let Some(name) = by_aim {
            return (rest.to_owned(), name);
        }
    }
    let digits = bytes.iter().all(u8::is_ascii_digit);
    let by_form = match code.len() {
        13 if digits => "EAN13",
        12 if digits => "UPCA",
        0..=48 if code.is_ascii() => "CODE128",
        _ => "QR",
    };
    (code.to_owned(), of_name(configured).unwrap_or(by_form))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines() -> Lines {
        Lines::new(20, 100_000)
    }

    #[test]
    fn terminators_end_codes_and_parts_are_never_whole() {
        let mut lines = lines();
        let mut codes = Vec::new();
        for (at, bytes) in [(0, &b"40063"[..]), (50_000, b"81333931\r"), (60_000, b"\nA"), (70_000, b"B\tC")]
        {
            lines.push(bytes, at, &mut codes);
        }
        assert_eq!(codes, ["4006381333931", "AB"]);
        // The part is thrown away by silence, and not joined to what comes then.
        lines.push(b"D\n", 200_000, &mut codes);
        assert_eq!(codes.last().unwrap(), "D");
        lines.push(b"half", 210_000, &mut codes);
        lines.cut();
        lines.push(b"E\n", 220_000, &mut codes);
        assert_eq!((codes.len(), lines.counts.partial), (4, 2));
    }

    #[test]
    fn what_is_too_long_or_unreadable_is_counted() {
        let mut lines = lines();
        let mut codes = Vec::new();
        lines.push(&[b'x'; 50], 0, &mut codes);
        lines.push(b"yz\nok\n\x1b[2J\n\xff\xfe\n  \n", 1, &mut codes);
        assert_eq!(codes, ["ok"]);
        assert_eq!(lines.counts, LineCounts { codes: 1, partial: 0, too_long: 1, unreadable: 3 });
    }

    proptest! {
        /// However the writes are split, the codes are the same.
        #[test]
        fn splitting_changes_nothing(text in "([A-Z0-9]{0,25}[\r\n\t]){0,12}[A-Z]{0,5}", cuts in prop::collection::vec(0..40_usize, 0..20)) {
            let bytes = text.as_bytes();
            let (mut whole, mut parts) = (lines(), lines());
            let (mut expected, mut got) = (Vec::new(), Vec::new());
            whole.push(bytes, 0, &mut expected);
            let mut rest = bytes;
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                parts.push(now, 0, &mut got);
                rest = later;
            }
            parts.push(rest, 0, &mut got);
            prop_assert_eq!(got, expected);
            prop_assert_eq!(parts.counts, whole.counts);
        }
    }

    #[test]
    fn symbologies_by_identifier_configuration_and_form() {
        for (code, configured, expected) in [
            ("]E04006381333931", "", ("4006381333931", "EAN13")),
            ("]C1ABC-1", "QR", ("ABC-1", "CODE128")),
            ("]Q3https", "", ("https", "QR")),
            ("4006381333931", "", ("4006381333931", "EAN13")),
            ("036000291452", "", ("036000291452", "UPCA")),
            ("036000291452", "code128", ("036000291452", "CODE128")),
            ("AB", "", ("AB", "CODE128")),
            ("]", "", ("]", "CODE128")),
            ("]é12", "", ("]é12", "QR")),
        ] {
            let (text, name) = symbology(code, configured);
            assert_eq!((text.as_str(), name), expected, "{code}");
        }
    }
}
