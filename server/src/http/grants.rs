//! Who may write what, by token; and how fast.
//!
//! In:   a file of grants; the heads of requests.
//! Out:  a device's grant. Owns: the digests of tokens. The tokens themselves are nowhere.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq_proto::http::{HeaderMap, header};
use weir_contract::{Code, Error, Place, Result};

/// SHA-256 of a token.
pub type TokenDigest = [u8; 32];

/// Every device, or every key.
const ANY: &str = "*";
/// The right to store frames.
const FRAMES: &str = "frames";

/// A device's rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// First part of the ids of its records; `*` is any: an adapter that speaks for several.
    pub device: String,
    /// Message keys that it may use; `*` is every one.
    pub keys: Vec<String>,
    /// It may store frames outside the log.
    pub frames: bool,
}

impl Grant {
    pub fn may_use(&self, key: &[u8]) -> bool {
        self.keys.iter().any(|k| k == ANY || k.as_bytes() == key)
    }

    /// Whether an `event_id` is the device's own: `device/boot/number`.
    pub fn owns(&self, event_id: &str) -> bool {
        self.device == ANY || event_id.strip_prefix(&self.device).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// Grants by the SHA-256 of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(BTreeMap<TokenDigest, Grant>);

impl Grants {
    /// Lines `DEVICE SHA256 KEY[,KEY…] [frames]`; `#` begins a comment.
    ///
    /// # Errors
    /// `W0204` for a line that is none and for a token that is there twice, with the line's number, never with
    /// its contents.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let mut grants = BTreeMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.split('#').next().unwrap_or_default();
            let words: Vec<&str> = text.split_whitespace().collect();
            let granted = |device: &str, digest, keys: &str, frames| {
                let keys = keys.split(',').map(str::to_owned).collect();
                Some((digest_of(digest)?, Grant { device: device.into(), keys, frames }))
            };
            let grant = match words[..] {
                [] => continue,
                [device, digest, keys] => granted(device, digest, keys, false),
                [device, digest, keys, FRAMES] => granted(device, digest, keys, true),
                _ => None,
            };
            let wrong = |what: &str, expected: &str| {
                let place = Place::Script { file: file.into(), line, column: 1 };
                Err(Error::new(Code::BadOption, what).expected(expected).at(place))
            };
            let Some((digest, grant)) = grant else {
                let expected =
                    "DEVICE, the SHA-256 of its token in hex, KEY[,KEY…], and the word frames or nothing";
                return wrong("this line grants nothing", expected);
            };
            if grants.insert(digest, grant).is_some() {
                return wrong("this token was granted before", "a token for each device");
            }
        }
        Ok(Self(grants))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many may store frames.
    pub fn store_frames(&self) -> usize {
        self.0.values().filter(|grant| grant.frames).count()
    }

    pub fn of(&self, headers: &HeaderMap) -> Option<(&Grant, TokenDigest)> {
        let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        // Compared as digests: how long that takes says nothing about the token.
        let digest: TokenDigest = Sha256::digest(token.trim().as_bytes()).into();
        self.0.get(&digest).map(|grant| (grant, digest))
    }
}

fn digest_of(hex: &str) -> Option<TokenDigest> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(digest)
}

/// Requests and bytes a second; twice that at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub requests_per_s: f64,
    pub bytes_per_s: f64,
}

/// What a device has left; below zero is debt, which the next request waits for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    requests: f64,
    bytes: f64,
    at: Duration,
}

/// A request that would have to wait longer is refused.
const WAIT_MAX: Duration = Duration::from_secs(2);

impl Bucket {
    pub fn full(rate: Rate, now: Duration) -> Self {
        Self { requests: 2.0 * rate.requests_per_s, bytes: 2.0 * rate.bytes_per_s, at: now }
    }

    /// How long a request of `bytes` has to wait; an error is a wait that is too long, and nothing is taken.
    ///
    /// A body is paid for afterwards, so that one larger than the bucket goes through.
    pub fn take(&mut self, rate: Rate, bytes: f64, now: Duration) -> std::result::Result<Duration, Duration> {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.requests = (self.requests + passed * rate.requests_per_s).min(2.0 * rate.requests_per_s);
        self.bytes = (self.bytes + passed * rate.bytes_per_s).min(2.0 * rate.bytes_per_s);
        self.at = now;
        let debt = |left: f64, per_s: f64| (-left / per_s).max(0.0);
        let wait = debt(self.requests, rate.requests_per_s).max(debt(self.bytes, rate.bytes_per_s));
        let wait = Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX);
        if wait > WAIT_MAX {
            return Err(wait);
        }
        self.requests -= 1.0;
        self.bytes -= bytes;
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn a_line_that_grants_nothing_is_named_not_shown() {
        let more = format!("d1 {DIGEST} W1 all");
        for wrong in ["d1 abc W1", &format!("d1 {DIGEST}"), &format!("d1 +{} W1", &DIGEST[1..]), &more] {
            let error = Grants::parse("tokens", &format!("# devices\n{wrong}")).unwrap_err().to_string();
            assert!(error.contains("tokens:2:1") && !error.contains(&wrong[3..]), "{error}");
        }
        let twice = format!("d1 {DIGEST} W1\nd2 {DIGEST} W1");
        let error = Grants::parse("tokens", &twice).unwrap_err().to_string();
        assert!(error.contains("tokens:2:1") && error.contains("before"), "{error}");
        assert_eq!(Grants::parse("tokens", "\n# nothing\n").unwrap(), Grants::default());
    }

    #[test]
    fn a_token_gives_its_devices_rights() {
        let grants = Grants::parse("tokens", &format!("d1 {DIGEST} W1,W2 # dock\n")).unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(grants.of(&headers), None);
        for (value, known) in [("Bearer test", true), ("Bearer Test", false), ("Basic test", false)] {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(grants.of(&headers).is_some(), known, "{value}");
        }
        headers.insert(header::AUTHORIZATION, "Bearer test".parse().unwrap());
        let (grant, _) = grants.of(&headers).unwrap();
        assert!(grant.may_use(b"W2") && !grant.may_use(b"W3") && !grant.may_use(b"*"));
        assert!(grant.owns("d1/b/1") && !grant.owns("d10/b/1") && !grant.owns("d1"));
        assert!(!grant.frames);
        let more = Grants::parse("tokens", &format!("d1 {DIGEST} W1 frames # dock\n")).unwrap();
        assert!(more.of(&headers).is_some_and(|(grant, _)| grant.frames));
        let any = Grant { device: "*".into(), keys: vec!["*".into()], frames: false };
        assert!(any.may_use(b"W9") && any.owns("d7/b/1"));
    }

    #[test]
    fn a_device_above_its_rate_waits_then_is_refused() {
        let rate = Rate { requests_per_s: 2.0, bytes_per_s: 100.0 };
        let at = Duration::from_millis;
        let mut bucket = Bucket::full(rate, at(0));
        // Four at once are free; from then on each pays for the one before it.
        let waits: Vec<_> = (0..9).map(|_| bucket.take(rate, 1.0, at(0)).map(|w| w.as_millis())).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 500, 1_000, 1_500, 2_000].map(Ok));
        assert_eq!(bucket.take(rate, 1.0, at(0)), Err(at(2_500)));
        assert_eq!(bucket.take(rate, 1.0, at(500)), Ok(at(2_000)), "half a second pays for one");
        // A body of nine seconds goes through; the next one is refused until most of it is paid.
        let mut bucket = Bucket::full(rate, at(0));
        assert_eq!(bucket.take(rate, 900.0, at(0)), Ok(at(0)));
        assert_eq!(bucket.take(rate, 1.0, at(1_000)), Err(at(6_000)));
        assert_eq!(bucket.take(rate, 1.0, at(5_000)), Ok(at(2_000)));
        assert_eq!(bucket.take(rate, 1.0, at(60_000)), Ok(at(0)));
    }
}
