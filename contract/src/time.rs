//! Event time and spans of it: microseconds, UTC, with the text forms of the contract.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Microseconds in one second.
pub const SECOND: i64 = 1_000_000;

/// When something happened on the floor: microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

/// A length of event time in microseconds; may be negative.
pub type Span = i64;

/// Days since the epoch of a proleptic Gregorian date (H. Hinnant, "chrono-compatible low-level
/// date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y - era * 400;
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

impl EventTime {
    /// Reads `2026-03-01T08:00:00[.fff…][Z|±hh:mm]`; `T` may be a blank, the time may be cut after
    /// minutes or left out. No zone means UTC. Digits finer than microseconds truncate.
    pub fn parse(text: &str) -> Option<EventTime> {
        let b = text.trim().as_bytes();
        let num = |from: usize, len: usize| -> Option<i64> {
            let part = b.get(from..from + len)?;
            part.iter().try_fold(0i64, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
        };
        let (year, month, day) = (num(0, 4)?, num(5, 2)?, num(8, 2)?);
        if b[4] != b'-' || b[7] != b'-' || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let days = days_from_civil(year, month, day);
        if civil_from_days(days) != (year, month, day) {
            return None;
        }
        let mut us = days.checked_mul(86_400 * SECOND)?;
        let mut at = 10;
        if b.len() > at {
            if !matches!(b[at], b'T' | b't' | b' ') || *b.get(13)? != b':' {
                return None;
            }
            let (hour, minute) = (num(11, 2)?, num(14, 2)?);
            if hour > 23 || minute > 59 {
                return None;
            }
            us += (hour * 60 + minute) * 60 * SECOND;
            at = 16;
            if b.get(at) == Some(&b':') {
                let second = num(17, 2)?;
                if second > 59 {
                    return None;
                }
                us += second * SECOND;
                at = 19;
                if b.get(at) == Some(&b'.') {
                    let digits = b[at + 1..].iter().take_while(|c| c.is_ascii_digit()).count();
                    if digits == 0 {
                        return None;
                    }
                    let fraction = num(at + 1, digits.min(6))?;
                    us += fraction * 10i64.pow(6 - digits.min(6) as u32);
                    at += 1 + digits;
                }
            }
        }
        match b.get(at) {
            None => Some(EventTime(us)),
            Some(b'Z' | b'z') if b.len() == at + 1 => Some(EventTime(us)),
            Some(sign @ (b'+' | b'-')) => {
                let hours = num(at + 1, 2)?;
                let minutes = match b.len() - at - 1 {
                    2 => 0,
                    4 => num(at + 3, 2)?,
                    5 if b[at + 3] == b':' => num(at + 4, 2)?,
                    _ => return None,
                };
                let shift = (hours * 60 + minutes) * 60 * SECOND;
                Some(EventTime(if *sign == b'+' { us - shift } else { us + shift }))
            }
            Some(_) => None,
        }
    }
}

impl fmt::Display for EventTime {
    /// RFC 3339 with 0, 3 or 6 fractional digits, the fewest that are exact, and `Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = self.0.div_euclid(86_400 * SECOND);
        let rest = self.0.rem_euclid(86_400 * SECOND);
        let (year, month, dom) = civil_from_days(day);
        let (sec, us) = (rest / SECOND, rest % SECOND);
        write!(f, "{year:04}-{month:02}-{dom:02}T{:02}:{:02}:{:02}", sec / 3600, sec / 60 % 60, sec % 60)?;
        match us {
            0 => f.write_str("Z"),
            _ if us % 1000 == 0 => write!(f, ".{:03}Z", us / 1000),
            _ => write!(f, ".{us:06}Z"),
        }
    }
}

/// Reads a span such as `20 seconds`, `1 minute 30 s`, `500 ms`, `2 hours`; microseconds.
/// Months and years have no fixed length and are refused.
pub fn parse_span(text: &str) -> Option<Span> {
    let mut total: i64 = 0;
    let mut any = false;
    let spaced = text.trim().to_ascii_lowercase();
    let mut rest = spaced.as_str();
    while !rest.is_empty() {
        let end =
            rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(rest.len());
        let value: f64 = rest[..end].parse().ok()?;
        rest = rest[end..].trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "us" | "microsecond" | "microseconds" => 1,
            "ms" | "millisecond" | "milliseconds" => 1_000,
            "s" | "sec" | "secs" | "second" | "seconds" => SECOND,
            "m" | "min" | "mins" | "minute" | "minutes" => 60 * SECOND,
            "h" | "hour" | "hours" => 3_600 * SECOND,
            "d" | "day" | "days" => 86_400 * SECOND,
            _ => return None,
        };
        total = total.checked_add((value * unit as f64).round() as i64)?;
        any = true;
        rest = rest[end..].trim_start();
    }
    any.then_some(total)
}

/// Writes a span in the largest whole units: `1 min 30 s`, `500 ms`.
pub fn show_span(span: Span) -> String {
    if span == 0 {
        return "0 s".into();
    }
    let mut out = String::new();
    let mut rest = span.unsigned_abs();
    if span < 0 {
        out.push('-');
    }
    for (unit, name) in [
        (86_400_000_000, "d"),
        (3_600_000_000, "h"),
        (60_000_000, "min"),
        (1_000_000, "s"),
        (1_000, "ms"),
        (1, "us"),
    ] {
        let count = rest / unit;
        rest %= unit;
        if count > 0 {
            if out.len() > 1 {
                out.push(' ');
            }
            out.push_str(&format!("{count} {name}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_and_write() {
        for (text, shown) in [
            ("2026-03-01 08:28:20", "2026-03-01T08:28:20Z"),
            ("2026-03-01T08:28", "2026-03-01T08:28:00Z"),
            ("2026-03-01", "2026-03-01T00:00:00Z"),
            ("2026-03-01T08:28:20.5Z", "2026-03-01T08:28:20.500Z"),
            ("2026-03-01T08:28:20.123456789+01:00", "2026-03-01T07:28:20.123456Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2024-02-29T00:00:00-0530", "2024-02-29T05:30:00Z"),
        ] {
            assert_eq!(EventTime::parse(text).map(|t| t.to_string()).as_deref(), Some(shown), "{text}");
        }
        for bad in [
            "",
            "2026-02-29",
            "2026-13-01",
            "2026-03-01X08:00",
            "2026-03-01T24:00:00Z",
            "2026-03-01T08:00:00.Z",
            "now",
        ] {
            assert_eq!(EventTime::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn spans_read_and_write() {
        assert_eq!(parse_span("1 minute 30 seconds"), Some(90 * SECOND));
        assert_eq!(parse_span("0.5 s"), Some(500_000));
        assert_eq!(parse_span("3 fortnights"), None);
        assert_eq!(parse_span(""), None);
        assert_eq!(show_span(90 * SECOND), "1 min 30 s");
        assert_eq!(show_span(-1_500), "-1 ms 500 us");
    }
}
