//! A strict reader of JSON text (RFC 8259): one pass, no allocation.
//!
//! In:   one record's text, already known to be UTF-8.
//! Out:  spans of it. Owns: the grammar; no types.
//!
//! Deeper nesting than [`DEPTH_MAX`] is refused, so that a record cannot exhaust the stack.

use weir_contract::Code;

use super::Reject;

/// Nested arrays and objects in one record; the limit of serde_json, too.
pub(super) const DEPTH_MAX: u32 = 127;

type Result<T> = std::result::Result<T, Reject>;

/// The inside of a string; `escaped` says that it holds backslashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text<'a> {
    pub raw: &'a str,
    pub escaped: bool,
}

/// A place in a record.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    /// The text from an earlier place to this one.
    pub fn since(&self, from: usize) -> &'a str {
        &self.text[from..self.at]
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    pub fn broken(&self, expected: &str) -> Reject {
        let found = match self.text[self.at..].chars().next() {
            Some(c) => format!("`{}`", c.escape_debug()),
            None => "the end".into(),
        };
        Reject::new(Code::BadRecord, format!("byte {}: expected {expected}, found {found}", self.at))
    }

    /// The next byte that is not blank, which stays.
    pub fn peek(&mut self) -> Option<u8> {
        let bytes = self.bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Takes the next byte that is not blank if it is this one.
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub fn expect(&mut self, byte: u8, name: &str) -> Result<()> {
        if self.take(byte) { Ok(()) } else { Err(self.broken(name)) }
    }

    /// Nothing but blanks may follow.
    pub fn end(&mut self) -> Result<()> {
        if self.peek().is_none() { Ok(()) } else { Err(self.broken("the end of the record")) }
    }

    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Reject::new(Code::BadRecord, format!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(())
    }

    /// Reads an object: `field` is called behind each `key:` and must take the value.
    pub fn object(&mut self, mut field: impl FnMut(&mut Self, Text<'a>) -> Result<()>) -> Result<()> {
        self.members(|s| {
            let key = s.key()?;
            field(s, key)
        })
    }

    /// Reads an object: `member` must take a key, `:` and a value.
    pub fn members(&mut self, mut member: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect(b'{', "an object")?;
        self.enter()?;
        if !self.take(b'}') {
            loop {
                member(self)?;
                if self.take(b',') {
                    continue;
                }
                self.expect(b'}', "`,` or `}`")?;
                break;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Takes a key and its `:`.
    pub fn key(&mut self) -> Result<Text<'a>> {
        if self.peek() != Some(b'"') {
            return Err(self.broken("a key in quotes"));
        }
        let key = self.string()?;
        self.expect(b':', "`:`")?;
        Ok(key)
    }

    /// Takes a key and its `:` if the key is written just so; `name` needs no escape (see [`unescaped`]).
    pub fn known_key(&mut self, name: &str) -> Result<bool> {
        self.peek();
        let found = self.bytes()[self.at..]
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&b'"'));
        if found {
            self.at += name.len() + 2;
            self.expect(b':', "`:`")?;
        }
        Ok(found)
    }

    /// Reads an array: `element` must take one value.
    pub fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect(b'[', "an array")?;
        self.enter()?;
        if !self.take(b']') {
            loop {
                element(self)?;
                if self.take(b',') {
                    continue;
                }
                self.expect(b']', "`,` or `]`")?;
                break;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Checks one value of any kind and steps over it.
    pub fn skip(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'{') => self.object(|s, _| s.skip()),
            Some(b'[') => self.array(|s| s.skip()),
            Some(b'"') => self.string().map(|_| ()),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| ()),
            _ => Err(self.broken("a value")),
        }
    }

    /// Takes `true`, `false` or `null`.
    pub fn word(&mut self, word: &str) -> Result<()> {
        self.peek();
        if self.bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.broken(word))
    }

    /// Reads a number as text: `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`.
    pub fn number(&mut self) -> Result<&'a str> {
        self.peek();
        let (bytes, from) = (self.bytes(), self.at);
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let sign = from + usize::from(bytes.get(from) == Some(&b'-'));
        let whole = digits(sign);
        let mut at = whole;
        let mut right = whole > sign && (bytes[sign] != b'0' || whole == sign + 1);
        if right && bytes.get(at) == Some(&b'.') {
            let end = digits(at + 1);
            right = end > at + 1;
            at = end;
        }
        if right && matches!(bytes.get(at), Some(b'e' | b'E')) {
            let start = at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let end = digits(start);
            right = end > start;
            at = end;
        }
        if !right {
            return Err(self.broken("a number"));
        }
        self.at = at;
        Ok(self.since(from))
    }

    /// Takes an integer of at most 18 digits; None, and nothing taken, where anything else stands there.
    pub fn short_integer(&mut self) -> Option<i64> {
        self.peek();
        let rest = &self.bytes()[self.at..];
        let sign = usize::from(rest.first() == Some(&b'-'));
        let mut value = 0i64;
        let mut at = sign;
        while let Some(digit) = rest.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
            if at - sign == 18 {
                return None;
            }
            value = value * 10 + i64::from(digit);
            at += 1;
        }
        let whole = at > sign && (rest[sign] != b'0' || at == sign + 1);
        if !whole || matches!(rest.get(at), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        self.at += at;
        Some(if sign == 1 { -value } else { value })
    }

    /// Reads a string; escapes are checked, surrogates too.
    pub fn string(&mut self) -> Result<Text<'a>> {
        self.expect(b'"', "a string")?;
        let (bytes, from) = (self.bytes(), self.at);
        let mut escaped = false;
        loop {
            self.at = plain(bytes, self.at);
            match bytes.get(self.at) {
                Some(b'"') => {
                    let raw = self.since(from);
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.broken("`\"` before the end, and no control character")),
            }
        }
    }

    fn escape(&mut self) -> Result<()> {
        let bytes = self.bytes();
        match bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let bad = || Reject::new(Code::BadRecord, "a \\u escape is not a character");
                match hex(bytes, self.at + 2).ok_or_else(bad)? {
                    0xD800..=0xDBFF => {
                        let paired = bytes.get(self.at + 6..self.at + 8) == Some(b"\\u");
                        let low =
                            hex(bytes, self.at + 8).filter(|low| paired && (0xDC00..=0xDFFF).contains(low));
                        low.ok_or_else(bad)?;
                        self.at += 12;
                    }
                    0xDC00..=0xDFFF => return Err(bad()),
                    _ => self.at += 6,
                }
            }
            _ => return Err(self.broken("an escape")),
        }
        Ok(())
    }
}

/// The first byte from `at` that is a quote, a backslash or a control character; eight at a time.
fn plain(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control;
        if found != 0 {
            // Borrows make false finds above a true one only, so the lowest is the first.
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)) {
        at += 1;
    }
    at
}

/// Whether a name stands in JSON text as it is.
pub(super) fn unescaped(name: &str) -> bool {
    plain(name.as_bytes(), 0) == name.len()
}

fn hex(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.iter().try_fold(0, |n, b| Some(n * 16 + char::from(*b).to_digit(16)?))
}

impl<'a> Text<'a> {
    /// The string without escapes; `scratch` holds it where there were any.
    pub fn unescape<'s>(self, scratch: &'s mut String) -> &'s str
    where
        'a: 's,
    {
        if !self.escaped {
            return self.raw;
        }
        scratch.clear();
        let mut rest = self.raw;
        while let Some(cut) = rest.find('\\') {
            scratch.push_str(&rest[..cut]);
            let bytes = rest.as_bytes();
            let mut used = 2;
            let c = match bytes.get(cut + 1) {
                Some(b'b') => '\u{8}',
                Some(b'f') => '\u{c}',
                Some(b'n') => '\n',
                Some(b'r') => '\r',
                Some(b't') => '\t',
                Some(b'u') => {
                    let high = hex(bytes, cut + 2).unwrap_or(0xFFFD);
                    used = 6;
                    let code = match hex(bytes, cut + 8) {
                        Some(low) if (0xD800..0xDC00).contains(&high) => {
                            used = 12;
                            0x1_0000 + ((high - 0xD800) << 10) + low.wrapping_sub(0xDC00)
                        }
                        _ => high,
                    };
                    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
                }
                Some(other) => char::from(*other),
                None => break,
            };
            scratch.push(c);
            rest = rest.get(cut + used..).unwrap_or_default();
        }
        scratch.push_str(rest);
        scratch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(text: &str) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.skip().and_then(|()| scanner.end()).is_ok()
    }

    /// Both sides know the same grammar; only numbers that no double holds are serde_json's own refusal.
    fn agree(text: &str) -> bool {
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(_) => accepts(text),
            Err(e) if e.to_string().starts_with("number out of range") => true,
            Err(_) => !accepts(text),
        }
    }

    #[test]
    fn the_grammar_is_that_of_serde_json() {
        for text in [
            "",
            " ",
            "{}",
            "[]",
            "{\"a\":1,}",
            "[1,]",
            "[,1]",
            "{\"a\" 1}",
            "{\"a\":1 \"b\":2}",
            "01",
            "-",
            "-0",
            "1.",
            ".5",
            "1e",
            "1e+",
            "1E+05",
            "1.0e-3",
            "tru",
            "true",
            "nul",
            "\"\u{1}\"",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\ud83d\\ude00\"",
            "\"\\udc00\"",
            "\"\\ud83dx\"",
            "\"\\u00e9\"",
            "\"\\u12\"",
            "\"open",
            "{\"a\":{\"b\":[1,{\"c\":null}]}} x",
            "[1] [2]",
            "{1:2}",
            "+1",
            "0x10",
            "NaN",
            "\u{feff}{}",
            "12345678901234567890",
            "{\"a\":1}{\"b\":2}",
        ] {
            assert!(agree(text), "{text}");
        }
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(accepts(&deep(127)) && !accepts(&deep(128)));
        assert!(agree(&deep(127)) && agree(&deep(128)));
    }

    proptest! {
        #[test]
        fn any_text_is_judged_alike(text in "[\\[\\]{}\",:\\\\ua0-9eE.+\\-tfnrlse \\x01\u{e9}]{0,24}") {
            prop_assert!(agree(&text), "{text:?}");
        }

        #[test]
        fn strings_lose_their_escapes(text in any::<String>(), pad in 0usize..9) {
            let padded = format!("{}{text}", "x".repeat(pad));
            let json = serde_json::to_string(&padded).unwrap_or_default();
            let mut scanner = Scanner::new(&json);
            let found = scanner.string().map_err(|r| TestCaseError::fail(r.reason))?;
            let mut scratch = String::new();
            prop_assert_eq!(found.unescape(&mut scratch), padded.as_str());
            let ascii: String = padded.encode_utf16().map(|u| format!("\\u{u:04x}")).collect();
            let json = format!("\"{ascii}\"");
            let mut scanner = Scanner::new(&json);
            let found = scanner.string().map_err(|r| TestCaseError::fail(r.reason))?;
            let mut scratch = String::new();
            prop_assert_eq!(found.unescape(&mut scratch), padded.as_str());
        }
    }
}
