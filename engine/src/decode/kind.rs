//! What a column takes: from JSON values and from text, to one typed slot.
//!
//! In:   a place in a record, or a header's text.
//! Out:  a [`Slot`] that the column's builder takes without a doubt left, or a [`Reject`].
//! Owns: which value fits which type. The table in `decode`'s header says it in words.

use base64::Engine;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use weir_contract::time::SECOND;
use weir_contract::{Code, Error, EventTime, Result as WeirResult};

use super::Reject;
use super::scan::{Scanner, Text};

/// The least TIMESTAMP, 0000-01-01T00:00:00Z in microseconds.
pub const TIME_MIN: i64 = -62_167_219_200 * SECOND;
/// The greatest TIMESTAMP, the last microsecond of year 9999.
pub const TIME_MAX: i64 = 253_402_300_800 * SECOND - 1;

type Result<T> = std::result::Result<T, Reject>;

/// A column's type as decoding sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Bool,
    Int16,
    Int32,
    Int64,
    Float64,
    Decimal {
        precision: u8,
        scale: i8,
    },
    Text,
    /// Any JSON, as text.
    Json,
    Binary,
    Date,
    /// Integers count `unit_us` microseconds.
    Time {
        unit_us: i64,
    },
    List(Box<Kind>),
    Struct(Vec<(String, Kind)>),
}

/// One value of one column, checked. It borrows from the record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Slot<'a> {
    /// The record says nothing about the column.
    Absent,
    Null,
    Bool(bool),
    /// Integers, days of a DATE, microseconds of a TIMESTAMP.
    Int(i64),
    Float(f64),
    Decimal(i128),
    Text(Text<'a>),
    Bytes(&'a [u8]),
    /// Text that is base64 of the bytes.
    Base64(Text<'a>),
    /// A checked array, object or JSON value, as written. Of a STRUCT that is built the fields have slots, too.
    Raw(&'a str),
}

impl Kind {
    /// `unit_us` is the table's `timestamp_unit`.
    pub fn of(data_type: &DataType, json: bool, unit_us: i64) -> WeirResult<Kind> {
        Ok(match data_type {
            DataType::Boolean => Kind::Bool,
            DataType::Int16 => Kind::Int16,
            DataType::Int32 => Kind::Int32,
            DataType::Int64 => Kind::Int64,
            DataType::Float64 => Kind::Float64,
            DataType::Decimal128(precision, scale) => Kind::Decimal { precision: *precision, scale: *scale },
            DataType::Utf8 if json => Kind::Json,
            DataType::Utf8 => Kind::Text,
            DataType::Binary => Kind::Binary,
            DataType::Date32 => Kind::Date,
            DataType::Timestamp(TimeUnit::Microsecond, None) => Kind::Time { unit_us },
            DataType::List(element) => Kind::List(Box::new(Kind::of(element.data_type(), false, unit_us)?)),
            DataType::Struct(fields) => Kind::Struct(
                fields
                    .iter()
                    .map(|f| Ok((f.name().clone(), Kind::of(f.data_type(), false, unit_us)?)))
                    .collect::<WeirResult<_>>()?,
            ),
            other => return Err(Error::new(Code::BadColumn, format!("{other} cannot be decoded"))),
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Kind::Bool => "BOOLEAN",
            Kind::Int16 => "SMALLINT",
            Kind::Int32 => "INT",
            Kind::Int64 => "BIGINT",
            Kind::Float64 => "DOUBLE",
            Kind::Decimal { .. } => "DECIMAL",
            Kind::Text => "TEXT",
            Kind::Json => "JSON",
            Kind::Binary => "BYTEA (base64)",
            Kind::Date => "DATE",
            Kind::Time { .. } => "TIMESTAMP",
            Kind::List(_) => "an array",
            Kind::Struct(_) => "an object",
        }
    }

    fn misfit(&self, found: &str) -> Reject {
        Reject::new(Code::BadRecord, format!("expected {}, found {}", self.name(), clip(found)))
    }

    fn too_big(&self, found: &str) -> Reject {
        Reject::new(Code::OutOfRange, format!("{} does not fit {}", clip(found), self.name()))
    }

    /// Reads one value; the scanner then stands behind it.
    pub fn value<'a>(&self, scanner: &mut Scanner<'a>, scratch: &mut Scratch) -> Result<Slot<'a>> {
        let first = scanner.peek();
        if first == Some(b'n') {
            return scanner.word("null").map(|()| Slot::Null);
        }
        let from = scanner.at();
        match (self, first) {
            (Kind::Json, _) => {
                scanner.skip()?;
                Ok(Slot::Raw(scanner.since(from)))
            }
            (Kind::Bool, Some(b't')) => scanner.word("true").map(|()| Slot::Bool(true)),
            (Kind::Bool, Some(b'f')) => scanner.word("false").map(|()| Slot::Bool(false)),
            (Kind::List(element), Some(b'[')) => {
                scanner.array(|s| element.check(s, scratch).map(|_| ()))?;
                Ok(Slot::Raw(scanner.since(from)))
            }
            (Kind::Struct(fields), Some(b'{')) => {
                let (mut seen, mut seen_far) = (0u128, Vec::new());
                scanner.object(|s, key| {
                    let Some(index) = field_of(fields, key.unescape(&mut scratch.key)) else {
                        return s.skip();
                    };
                    let bit = 1u128.checked_shl(index as u32).unwrap_or(0);
                    if seen & bit != 0 || (bit == 0 && seen_far.contains(&index)) {
                        let name = &fields[index].0;
                        return Err(Reject::new(Code::BadRecord, format!("field `{name}` is given twice")));
                    }
                    seen |= bit;
                    if bit == 0 {
                        seen_far.push(index);
                    }
                    fields[index].1.check(s, scratch).map(|_| ())
                })?;
                Ok(Slot::Raw(scanner.since(from)))
            }
            (_, Some(b'"')) => {
                let text = scanner.string()?;
                match self {
                    Kind::Text => Ok(Slot::Text(text)),
                    Kind::Binary => {
                        scratch.bytes.clear();
                        let inner = text.unescape(&mut scratch.text);
                        base64::engine::general_purpose::STANDARD
                            .decode_vec(inner, &mut scratch.bytes)
                            .map_err(|_| self.misfit(inner))?;
                        Ok(Slot::Base64(text))
                    }
                    Kind::Float64 | Kind::Decimal { .. } | Kind::Date | Kind::Time { .. } => {
                        self.quoted(text.unescape(&mut scratch.text))
                    }
                    _ => Err(self.misfit("a string")),
                }
            }
            (Kind::Int16 | Kind::Int32 | Kind::Int64, Some(b'-' | b'0'..=b'9')) => {
                match scanner.short_integer() {
                    Some(value) if self.holds(value) => Ok(Slot::Int(value)),
                    Some(_) => Err(self.too_big(scanner.since(from))),
                    None => self.number(scanner.number()?),
                }
            }
            (_, Some(b'-' | b'0'..=b'9')) => self.number(scanner.number()?),
            _ => {
                scanner.skip()?;
                Err(self.misfit(scanner.since(from)))
            }
        }
    }

    /// Reads one value that nobody wants: refused for the same reasons as by [`Kind::value`], but what it
    /// gives says no more than whether it is NULL.
    pub fn check<'a>(&self, scanner: &mut Scanner<'a>, scratch: &mut Scratch) -> Result<Slot<'a>> {
        match (self, scanner.peek()) {
            (Kind::Float64, Some(b'-' | b'0'..=b'9')) => {
                let text = scanner.number()?;
                // Without an exponent 308 digits are below the greatest double.
                if text.len() <= 300 && !text.bytes().any(|b| matches!(b, b'e' | b'E')) {
                    return Ok(Slot::Float(0.0));
                }
                self.number(text)
            }
            _ => self.value(scanner, scratch),
        }
    }

    /// Whether an integer fits an integer type.
    fn holds(&self, value: i64) -> bool {
        match self {
            Kind::Int16 => i16::try_from(value).is_ok(),
            Kind::Int32 => i32::try_from(value).is_ok(),
            _ => true,
        }
    }

    fn number<'a>(&self, text: &str) -> Result<Slot<'a>> {
        let integer = || -> Result<i64> {
            if text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
                return Err(self.misfit(text));
            }
            text.parse().map_err(|_| self.too_big(text))
        };
        match self {
            Kind::Int16 | Kind::Int32 | Kind::Int64 => {
                integer().and_then(|n| if self.holds(n) { Ok(Slot::Int(n)) } else { Err(self.too_big(text)) })
            }
            Kind::Float64 => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Slot::Float(value)),
                _ => Err(self.too_big(text)),
            },
            Kind::Decimal { precision, scale } => {
                decimal(text, *precision, *scale).map(Slot::Decimal).ok_or_else(|| self.too_big(text))
            }
            Kind::Time { unit_us } => {
                let us = integer()?.checked_mul(*unit_us).filter(|us| (TIME_MIN..=TIME_MAX).contains(us));
                us.map(Slot::Int).ok_or_else(|| self.too_big(text))
            }
            _ => Err(self.misfit(text)),
        }
    }

    /// Values that are written as strings.
    fn quoted<'a>(&self, text: &str) -> Result<Slot<'a>> {
        match self {
            Kind::Float64 => match text {
                "NaN" => Ok(Slot::Float(f64::NAN)),
                "Infinity" => Ok(Slot::Float(f64::INFINITY)),
                "-Infinity" => Ok(Slot::Float(f64::NEG_INFINITY)),
                _ => Err(self.misfit(text)),
            },
            Kind::Decimal { .. } => {
                let mut scanner = Scanner::new(text);
                let number = scanner.number().map_err(|_| self.misfit(text))?;
                scanner.end().map_err(|_| self.misfit(text))?;
                self.number(number)
            }
            Kind::Date => match EventTime::parse(text) {
                Some(time) if text.len() == 10 => Ok(Slot::Int(time.0.div_euclid(86_400 * SECOND))),
                _ => Err(self.misfit(text)),
            },
            Kind::Time { .. } => match EventTime::parse(text) {
                Some(time) if (TIME_MIN..=TIME_MAX).contains(&time.0) => Ok(Slot::Int(time.0)),
                Some(_) => Err(self.too_big(text)),
                None => Err(self.misfit(text)),
            },
            _ => Err(self.misfit(text)),
        }
    }

    /// Reads a header: text that means what the same JSON value would.
    pub fn header<'a>(&self, bytes: &'a [u8]) -> Result<Slot<'a>> {
        if *self == Kind::Binary {
            return Ok(Slot::Bytes(bytes));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Reject::new(Code::BadRecord, "not UTF-8"))?;
        let whole = || {
            let mut scanner = Scanner::new(text);
            scanner.number().ok().filter(|number| number.len() == text.len())
        };
        match self {
            Kind::Text => Ok(Slot::Text(Text { raw: text, escaped: false })),
            Kind::Bool if text == "true" => Ok(Slot::Bool(true)),
            Kind::Bool if text == "false" => Ok(Slot::Bool(false)),
            Kind::Json => {
                let mut scanner = Scanner::new(text);
                scanner.skip().and_then(|()| scanner.end())?;
                Ok(Slot::Raw(text))
            }
            _ => match whole() {
                Some(number) => self.number(number),
                None => self.quoted(text),
            },
        }
    }
}

/// Buffers that live as long as a decoder, so that no record allocates its own.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub key: String,
    pub text: String,
    pub bytes: Vec<u8>,
}

pub(super) fn field_of(fields: &[(String, Kind)], key: &str) -> Option<usize> {
    fields.iter().position(|(name, _)| name == key)
}

/// At most 64 characters of a value, for a reason.
fn clip(text: &str) -> String {
    let mut shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        shown.push('…');
    }
    shown
}

/// A number's text at a scale, exactly; None where digits would be lost or the precision is passed.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(cut) => (&text[..cut], text[cut + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let mut value: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    let shift = exponent.checked_add(i32::from(scale))?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = |n: i32| 10i128.checked_pow(u32::try_from(n).ok()?);
    let value = match (value, shift) {
        (0, _) => 0,
        (v, s) if s >= 0 => v.checked_mul(power(s)?)?,
        (v, s) => {
            let divisor = power(s.checked_neg()?)?;
            if v % divisor != 0 {
                return None;
            }
            v / divisor
        }
    };
    (value < power(i32::from(precision))?).then_some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        for (text, want) in [
            ("12.34", Some(1234)),
            ("-0.5", Some(-50)),
            ("1.50000", Some(150)),
            ("1e2", Some(10_000)),
            ("1500e-3", Some(150)),
            ("0e999999999", Some(0)),
            ("999.99", Some(99_999)),
            ("1000", None),
            ("0.001", None),
            ("1e-3", None),
            ("1e99", None),
        ] {
            assert_eq!(decimal(text, 5, 2), want, "{text}");
        }
        assert_eq!(
            decimal("12345678901234567890123456789012345678", 38, 0),
            "12345678901234567890123456789012345678".parse().ok()
        );
    }
}
