//! Characters of a scanner to whole codes.
//!
//! In:   bytes as they come, with the monotonic time of their coming.
//! Out:  codes, each ended by a terminator (CR, LF, CR LF, tab or NUL).
//! Owns: the unfinished line, and the count of everything that was thrown away.
//!
//! L1  A code is given only when its terminator came: a part is never taken for a whole.
//! L2  A line that stops for the timeout, loses characters, or whose device goes away, is thrown away and
//!     counted, so that its front is never joined to the next code.
//! L3  What comes behind a line that was torn, up to its terminator or until nothing came for `TORN_US` more,
//!     belongs to it: the rest of a code is no code. Each piece counts as partial.
//! L4  Without a timeout (a stream that keeps its order) only the end of the device cuts a line.

/// How long the rest of a torn line may be on its way. Eyeballed: far above a slow radio's pause, below the
/// time in which a person scans again.
const TORN_US: i64 = 1_000_000;
/// So many pieces without one terminator: the scanner sends none.
const UNENDED_MAX: u32 = 3;

/// What came of the characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineCounts {
    pub codes: u64,
    /// The same code again within the debounce.
    pub repeated: u64,
    /// Pieces of codes: the device fell silent or went away, or characters were lost.
    pub partial: u64,
    pub too_long: u64,
    /// Not UTF-8, or with control characters.
    pub unreadable: u64,
}

/// What the characters up to the next terminator are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A line from its beginning.
    Whole,
    /// The rest of one that was too long, already counted; bytes of it since it last counted as unended.
    TooLong(usize),
    /// The rest of one that was torn; whether anything of it came.
    Torn(bool),
}

/// Joins characters to lines.
#[derive(Debug)]
pub struct Lines {
    line: Vec<u8>,
    bytes_max: usize,
    timeout_us: Option<i64>,
    last_us: i64,
    state: State,
    /// Pieces and too long lines since the last terminator.
    unended: u32,
    pub counts: LineCounts,
}

/// Whether a text may be a code, whoever read it: what is none would forge lines of logs and terminals.
pub fn is_code(text: &str, bytes_max: usize) -> bool {
    text.len() <= bytes_max && !text.chars().any(char::is_control) && !text.trim().is_empty()
}

impl Lines {
    pub fn new(bytes_max: usize, timeout_us: Option<i64>) -> Self {
        let counts = LineCounts::default();
        Self { line: Vec::new(), bytes_max, timeout_us, last_us: 0, state: State::Whole, unended: 0, counts }
    }

    /// What the owner of the scanner has to mend.
    pub fn trouble(&self) -> Option<&'static str> {
        (self.unended >= UNENDED_MAX).then_some("no terminator comes: set the scanner's suffix to Enter")
    }

    /// Takes bytes that came at `now_us`.
    pub fn push(&mut self, bytes: &[u8], now_us: i64, codes: &mut Vec<String>) {
        self.expire(now_us);
        self.last_us = now_us;
        for byte in bytes {
            match byte {
                b'\r' | b'\n' | b'\t' | 0 => codes.extend(self.end()),
                byte => self.put(*byte),
            }
        }
    }

    fn put(&mut self, byte: u8) {
        match &mut self.state {
            State::Torn(came) => *came = true,
            State::TooLong(more) if *more < self.bytes_max => *more += 1,
            State::TooLong(more) => {
                *more = 0;
                self.unended = self.unended.saturating_add(1);
            }
            State::Whole if self.line.len() == self.bytes_max => {
                self.state = State::TooLong(0);
                self.counts.too_long += 1;
                self.unended = self.unended.saturating_add(1);
                self.line.clear();
            }
            State::Whole => self.line.push(byte),
        }
    }

    fn end(&mut self) -> Option<String> {
        if self.state == State::Torn(true) {
            self.counts.partial += 1;
        }
        self.state = State::Whole;
        self.unended = 0;
        if self.line.is_empty() {
            // The second half of CR LF, or a terminator alone.
            return None;
        }
        let line = std::mem::take(&mut self.line);
        match String::from_utf8(line) {
            Ok(text) if is_code(&text, self.bytes_max) => {
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
        let Some(timeout_us) = self.timeout_us else { return };
        let silent = now_us - self.last_us;
        if silent <= timeout_us {
            return;
        }
        if self.lose() || self.state != State::Whole {
            self.state = State::Torn(false);
        }
        if silent > timeout_us.saturating_add(TORN_US) {
            self.state = State::Whole;
        }
    }

    /// The device went away: what comes from it again begins anew.
    pub fn cut(&mut self) {
        self.lose();
        self.state = State::Whole;
    }

    /// Characters were lost, nobody knows how many.
    pub fn tear(&mut self, now_us: i64) {
        self.expire(now_us);
        self.last_us = now_us;
        if !self.lose() {
            self.counts.partial += 1;
        }
        self.state = State::Torn(false);
    }

    /// Throws away what is there; whether that counted as a piece.
    fn lose(&mut self) -> bool {
        let lost = !self.line.is_empty() || self.state == State::Torn(true);
        if lost {
            self.counts.partial += 1;
            self.unended = self.unended.saturating_add(1);
        }
        self.line.clear();
        lost
    }
}

/// Words of the column `symbology`.
pub const SYMBOLOGIES: [&str; 6] = ["EAN13", "UPCA", "CODE128", "QR", "EAN8", "DATAMATRIX"];

/// A code with its symbology: by the AIM identifier where the scanner sends one, else as configured, else
/// by its form.
pub fn symbology(code: &str, configured: &str) -> (String, &'static str) {
    let of_name = |name: &str| SYMBOLOGIES.iter().copied().find(|k| k.eq_ignore_ascii_case(name));
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
        Lines::new(20, Some(100_000))
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
        // The part is thrown away by silence, and not joined to what comes much later.
        lines.push(b"D\n", 1_170_001, &mut codes);
        assert_eq!((codes.last().unwrap().as_str(), lines.counts.partial), ("D", 1));
        // A device that went away and is back begins anew.
        lines.push(b"half", 1_180_000, &mut codes);
        lines.cut();
        lines.push(b"E\n", 1_190_000, &mut codes);
        assert_eq!((codes.len(), lines.counts.partial), (4, 2));
    }

    #[test]
    fn the_rest_of_a_torn_code_is_no_code() {
        let (mut lines, mut codes) = (lines(), Vec::new());
        lines.push(b"400638", 0, &mut codes);
        lines.push(b"1333931\r", 200_000, &mut codes);
        assert_eq!((codes.len(), lines.counts.partial), (0, 2), "the front and the rest");
        // Its terminator ended it: what comes now is whole.
        lines.push(b"\nA\r", 210_000, &mut codes);
        // A rest that pauses too; a terminator alone ends the line and counts for nothing.
        for (at, bytes) in [(300_000, &b"B"[..]), (600_000, b"B"), (900_000, b"B"), (1_200_000, b"\rC\r")] {
            lines.push(bytes, at, &mut codes);
        }
        assert_eq!((codes.as_slice(), lines.counts.partial), (&["A".to_owned(), "C".into()][..], 5));
        // Whether silence is looked at meanwhile changes nothing; after a second more it is over.
        for (looked, rest_at, whole) in
            [(true, 3_100_000, false), (false, 3_100_001, true), (true, 3_100_001, true)]
        {
            let (mut lines, mut codes) = (self::lines(), Vec::new());
            lines.push(b"front", 2_000_000, &mut codes);
            (2_000_000..rest_at).step_by(50_000).filter(|_| looked).for_each(|now| lines.expire(now));
            lines.push(b"D\n", rest_at, &mut codes);
            assert_eq!((codes.len(), lines.counts.partial), if whole { (1, 1) } else { (0, 2) });
        }
        // The rest of one that was too long, likewise.
        lines.push(&[b'x'; 30], 5_000_000, &mut codes);
        lines.push(b"xx\nE\n", 5_200_000, &mut codes);
        assert_eq!((codes.last().unwrap().as_str(), lines.counts.too_long), ("E", 1));
    }

    #[test]
    fn without_a_timeout_a_pause_is_nothing() {
        let (mut lines, mut codes) = (Lines::new(20, None), Vec::new());
        lines.push(b"400638", 0, &mut codes);
        lines.expire(50_000_000);
        lines.push(b"1333931\r", 60_000_000, &mut codes);
        assert_eq!((codes.as_slice(), lines.counts.partial), (&["4006381333931".to_owned()][..], 0));
    }

    #[test]
    fn lost_characters_cost_their_line() {
        let (mut lines, mut codes) = (lines(), Vec::new());
        lines.push(b"A\n40063", 0, &mut codes);
        lines.tear(1);
        lines.push(b"3931\nB\n", 2, &mut codes);
        assert_eq!((codes.as_slice(), lines.counts.partial), (&["A".to_owned(), "B".into()][..], 2));
        // Lost between two lines: perhaps a whole one.
        lines.tear(3);
        assert_eq!(lines.counts.partial, 3);
        lines.push(b"C\n", 2_000_000, &mut codes);
        assert_eq!(codes.last().unwrap(), "C");
    }

    #[test]
    fn a_scanner_that_ends_no_line_is_told() {
        let (mut lines, mut codes) = (lines(), Vec::new());
        for n in 1..=3 {
            assert_eq!(lines.trouble(), None);
            lines.push(b"4006381333931", n * 5_000_000, &mut codes);
            lines.expire(n * 5_000_000 + 200_000);
        }
        assert!(lines.trouble().is_some_and(|t| t.contains("suffix")));
        lines.push(b"\r", 16_000_000, &mut codes);
        assert_eq!((lines.trouble(), codes.len(), lines.counts.partial), (None, 0, 3));
        // A stream without one only grows too long.
        let mut stream = Lines::new(20, None);
        stream.push(&[b'1'; 50], 0, &mut codes);
        assert_eq!((stream.counts.too_long, stream.trouble()), (1, None));
        stream.push(&[b'1'; 50], 0, &mut codes);
        assert_eq!(stream.counts.too_long, 1);
        assert!(stream.trouble().is_some());
    }

    #[test]
    fn what_is_too_long_or_unreadable_is_counted() {
        let mut lines = lines();
        let mut codes = Vec::new();
        lines.push(&[b'x'; 50], 0, &mut codes);
        lines.push(b"yz\nok\n\x1b[2J\n\xff\xfe\n  \n", 1, &mut codes);
        assert_eq!(codes, ["ok"]);
        assert_eq!(
            lines.counts,
            LineCounts { codes: 1, too_long: 1, unreadable: 3, ..LineCounts::default() }
        );
        assert!(is_code("A 1", 3) && !is_code("A 1", 2) && !is_code(" ", 9) && !is_code("a\u{9b}", 9));
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
