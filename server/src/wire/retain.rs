//! How much of a topic is kept: `--retain '30 days'`, `--retain 'frames=1 day'`, `--retain-bytes frames=16GiB`.
//!
//! In:   what the command line says, for all topics and for single ones. Out: a writer's options.
//! Owns: the meaning of these texts, and what is kept of frames where nobody says. What a topic is told itself goes
//!       before what all are told, and that before the default.

use weir_contract::time::parse_span;
use weir_contract::{Code, Error, Result};
use weir_segments::WriterOptions;

/// Frames are large, and what they showed is in other topics within seconds. Eyeballed.
const FRAMES: &str = "frames";
const FRAMES_MS: i64 = 86_400_000;
/// Of each partition.
const FRAMES_BYTES: u64 = 16 << 30;
/// Files are deleted whole: several of them make up what is kept.
const FILES: u64 = 8;
const FILE_BYTES_MIN: u64 = 1 << 20;

/// One bound, of one topic or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound<T> {
    pub topic: Option<String>,
    /// None: for ever.
    pub value: Option<T>,
}

fn bound<T>(
    text: &str,
    read: impl Fn(&str) -> Option<T>,
    expected: &str,
) -> std::result::Result<Bound<T>, String> {
    let (topic, value) = match text.split_once('=') {
        Some((topic, value)) => (Some(topic.trim().to_owned()), value.trim()),
        None => (None, text.trim()),
    };
    if value == "all" {
        return Ok(Bound { topic, value: None });
    }
    read(value).map(|value| Bound { topic, value: Some(value) }).ok_or_else(|| format!("expected {expected}"))
}

/// `[TOPIC=]SPAN`, in ms.
pub fn span(text: &str) -> std::result::Result<Bound<i64>, String> {
    let ms = |value: &str| parse_span(value).map(|us| us / 1_000).filter(|ms| *ms > 0);
    bound(text, ms, "[TOPIC=]SPAN such as '30 days' or 'frames=1 day', or all")
}

/// `[TOPIC=]BYTES`, with or without a unit.
pub fn bytes(text: &str) -> std::result::Result<Bound<u64>, String> {
    bound(text, size, "[TOPIC=]BYTES such as 64GiB or frames=16GiB, or all")
}

fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match text[digits..].trim() {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    let number: u64 = text[..digits].parse().ok()?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
}

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retain {
    pub spans: Vec<Bound<i64>>,
    pub bytes: Vec<Bound<u64>>,
}

/// The last that speaks of this topic, else the last that speaks of all.
fn of<T: Copy>(bounds: &[Bound<T>], topic: &str, default: Option<T>) -> Option<T> {
    let last = |wanted: Option<&str>| bounds.iter().rev().find(|b| b.topic.as_deref() == wanted);
    last(Some(topic)).or_else(|| last(None)).map_or(default, |bound| bound.value)
}

impl Retain {
    /// # Errors
    /// `W0701` for a bound of a topic that is none of these.
    pub fn check(&self, topics: &[String]) -> Result<()> {
        let named = self.spans.iter().map(|b| &b.topic).chain(self.bytes.iter().map(|b| &b.topic));
        match named.flatten().find(|name| !topics.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Error::new(Code::Usage, format!("no topic `{name}` is written here"))
                .expected(format!("one of --topics: {}", topics.join(", ")))),
        }
    }

    pub fn options(&self, topic: &str) -> WriterOptions {
        let frames = topic == FRAMES;
        let retain_ms = of(&self.spans, topic, frames.then_some(FRAMES_MS));
        let retain_bytes = of(&self.bytes, topic, frames.then_some(FRAMES_BYTES));
        let mut options = WriterOptions { retain_ms, retain_bytes, ..WriterOptions::default() };
        if let Some(bytes) = retain_bytes {
            options.segment_bytes = options.segment_bytes.min((bytes / FILES).max(FILE_BYTES_MIN));
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topics_own_bound_goes_before_all_and_frames_have_one() {
        let none = Retain::default();
        assert_eq!(none.options("scans"), WriterOptions::default());
        let frames = none.options("frames");
        assert_eq!((frames.retain_ms, frames.retain_bytes), (Some(86_400_000), Some(16 << 30)));
        let said = Retain {
            spans: vec![
                span("frames=2 hours").unwrap(),
                span("30 days").unwrap(),
                span("scans=all").unwrap(),
            ],
            bytes: vec![
                bytes("4MiB").unwrap(),
                bytes("frames = 1024 KiB").unwrap(),
                bytes("scans=7").unwrap(),
            ],
        };
        let kept = |topic: &str| {
            let options = said.options(topic);
            (options.retain_ms, options.retain_bytes, options.segment_bytes)
        };
        assert_eq!(kept("frames"), (Some(7_200_000), Some(1 << 20), 1 << 20));
        assert_eq!(kept("scans"), (None, Some(7), 1 << 20));
        assert_eq!(kept("device_health"), (Some(30 * 86_400_000), Some(4 << 20), 1 << 20));
        let all = Retain { spans: vec![span("all").unwrap()], bytes: vec![bytes("all").unwrap()] };
        assert_eq!(all.options("frames"), WriterOptions::default());
        assert!(said.check(&["frames".into(), "scans".into()]).is_ok());
        assert_eq!(said.check(&["frames".into()]).unwrap_err().code(), Code::Usage);
    }

    #[test]
    fn other_texts_are_refused() {
        for wrong in ["", "frames=", "0", "-1 day", "x=5 parsecs"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "frames=", "0", "-1", "5 GB", "99999999999TiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
