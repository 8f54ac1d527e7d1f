//! `edge.toml`: one file says everything that this device does.
//!
//! In:   the file's text. Out: [`Config`], or every problem of it with line and column.
//! Owns: names, defaults and limits of all settings; `docs/EDGE.md` lists them, and a test holds that page
//!       to this code. Nothing is guessed: an unknown name is refused, with the nearest known one.

mod peer;
mod pins;
mod section;
mod sight;
mod store;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use weir_contract::{Code, Error, Place, Result};

use crate::publish::http::HttpTarget;
use crate::publish::kafka;
use crate::scan::SYMBOLOGIES;
use crate::web::Tls;
use peer::{address, hide_token, tls};
use pins::{lamp_pin, trigger_pin};
use section::{Section, Source};
pub use sight::{Barcodes, Detect, symbology_word};
pub use store::{FrameStore, StoreAt};

/// Lanes in order of priority, by the names of their settings: topic, quota by bytes, by age in µs.
pub const LANES: [(&str, u64, i64); 4] = [
    ("scans", 64 << 20, 7 * DAY_US),
    ("detections", 64 << 20, 7 * DAY_US),
    ("device_health", 16 << 20, 7 * DAY_US),
    ("frames", 256 << 20, DAY_US),
];
const DAY_US: i64 = 86_400_000_000;
/// Largest frame that a record carries, and largest that is kept at all where no store is named.
const FRAME_BYTES: u64 = 256 << 10;
/// Largest frame that is kept where a store is named, and the most that may be said: a larger image is refused by
/// whoever looks at it.
const FRAME_BYTES_MAX: u64 = 8 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub device: String,
    pub warehouse: String,
    pub station: String,
    pub data: PathBuf,
}

/// Where records go.
#[derive(Debug, Clone)]
pub enum To {
    Kafka {
        brokers: String,
        insecure: bool,
        properties: BTreeMap<String, String>,
    },
    Http(HttpTarget),
    /// Nowhere yet: everything stays in the spool.
    Spool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneConfig {
    /// Also the folder in the spool.
    pub name: &'static str,
    pub topic: String,
    pub bytes: u64,
    pub age_us: i64,
}

/// How a scanner's characters come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScannerKind {
    Serial {
        path: String,
        baud: u32,
    },
    Tcp {
        address: String,
    },
    Hid {
        path: String,
    },
    Stdin,
    /// Lines `milliseconds barcode`, played once.
    Script {
        path: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanner {
    pub name: String,
    pub kind: ScannerKind,
    pub symbology: String,
    pub chars_max: usize,
    /// Silence after which an unfinished line is thrown away, counted; none over TCP, which may pause anywhere.
    pub timeout_us: Option<i64>,
    /// The same code again within this is the scanner's stutter, not a second read.
    pub debounce_us: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum CameraKind {
    /// A program that writes MJPEG to its standard output.
    Command { command: Vec<String> },
    /// JPEG files of a folder, in the order of their names, again and again.
    Folder { path: String, fps: f64 },
    /// `multipart/x-mixed-replace`, as cameras on the network speak it.
    Http { url: String, tls: Tls },
}

/// When a frame is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trigger {
    /// So many a second.
    Continuous { rate: f64 },
    /// After an edge on the trigger pin.
    Gpio { settle_us: i64, burst: u32 },
    /// After a scan at this station.
    Scan { settle_us: i64, burst: u32 },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Camera {
    pub name: String,
    pub kind: CameraKind,
    pub trigger: Trigger,
    /// A triggered camera sends one frame each so often while nothing triggers.
    pub idle_every_us: i64,
    pub frame_bytes_max: usize,
    pub stall_us: i64,
    /// Codes in its frames are scans.
    pub barcodes: Option<Barcodes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    Rising,
    Falling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TriggerPin {
    pub pin: u8,
    pub edge: Edge,
    pub debounce_us: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LampPin {
    pub pin: u8,
    /// The level that lights it.
    pub active_high: bool,
}

#[derive(Debug, Clone)]
pub struct Config {
    pub device: Device,
    pub to: To,
    pub lanes: Vec<LaneConfig>,
    pub group_us: i64,
    pub scanners: Vec<Scanner>,
    pub cameras: Vec<Camera>,
    /// Where frames go that are too large for a record; none: they are thrown away by the camera, counted.
    pub frame_store: Option<FrameStore>,
    pub detect: Option<Detect>,
    pub trigger: Option<TriggerPin>,
    pub lamp: Option<LampPin>,
    /// The clock is right without anybody syncing it: a battery keeps it.
    pub clock_trusted: bool,
    pub clock_hold_us: i64,
    pub health_us: i64,
    pub heartbeat_us: i64,
}

impl Config {
    /// Whether this device writes the topic of a lane, by number of [`LANES`].
    pub fn writes(&self, lane: usize) -> bool {
        match LANES[lane].0 {
            "scans" => !self.scanners.is_empty() || self.cameras.iter().any(|c| c.barcodes.is_some()),
            "frames" => !self.cameras.is_empty(),
            "detections" => self.detect.is_some() && !self.cameras.is_empty(),
            _ => true,
        }
    }

    /// # Errors
    /// Every problem of the file.
    pub fn load(path: &Path) -> Result<Config, Vec<Error>> {
        let place = Place::Path(path.display().to_string());
        let text = std::fs::read_to_string(path)
            .map_err(|e| vec![Error::new(Code::BadFile, e.to_string()).at(place)])?;
        Self::parse(&path.display().to_string(), &text)
    }

    pub fn parse(file: &str, text: &str) -> Result<Config, Vec<Error>> {
        Self::parse_named(file, text).0
    }

    /// The same, with every name that was asked for.
    fn parse_named(file: &str, text: &str) -> (Result<Config, Vec<Error>>, BTreeSet<String>) {
        let source = Rc::new(Source { file, text, errors: RefCell::default(), names: RefCell::default() });
        let document = match toml_edit::Document::parse(text) {
            Ok(document) => document,
            Err(e) => {
                source.wrong(Code::Syntax, e.message().trim(), "TOML", e.span().map(|s| s.start));
                return (Err(source.errors.take()), BTreeSet::new());
            }
        };
        let root = Section::new(source.clone(), "", Some(document.as_table()), None);
        let config = read(root);
        let errors = source.errors.take();
        (if errors.is_empty() { Ok(config) } else { Err(errors) }, source.names.take())
    }
}

fn read(root: Section<'_>) -> Config {
    let device = device(root.below("device"));
    let to = to(root.below("publish"));
    let frame_store = store::frame_store(root.below("frame_store"), &to);
    let lanes = lanes(root.below("topics"), root.below("spool"));
    let (lanes, group_us) = lanes;
    let gpio = root.below("gpio");
    let (trigger, lamp) = (trigger_pin(gpio.below("trigger")), lamp_pin(gpio.below("lamp")));
    gpio.done();
    let mut names = BTreeSet::new();
    let scanners: Vec<Scanner> = root.each("scanner").into_iter().map(|s| scanner(s, &mut names)).collect();
    let cameras = root.each("camera");
    let has_codes = !scanners.is_empty() || cameras.iter().any(|s| s.has("barcodes"));
    let mut names = BTreeSet::new();
    let cameras: Vec<Camera> = cameras
        .into_iter()
        .map(|s| camera(s, &mut names, trigger.is_some(), has_codes, frame_store.is_some()))
        .collect();
    if let Some(largest) = cameras.iter().map(|c| c.frame_bytes_max as u64).max()
        && frame_store.is_some()
        && lanes[LANES.len() - 1].bytes < 2 * largest
    {
        root.below("spool").below("frames").wrong(
            "bytes",
            "is too little",
            "twice the largest `frame_bytes`",
        );
    }
    let detect = sight::detect(root.below("detect"));
    if detect.is_some() && cameras.is_empty() {
        root.wrong("detect", "is there, but there is no camera", "[[camera]]");
    }
    let clock = root.below("clock");
    let clock_trusted = clock.choice("trust", &[("kernel", false), ("always", true)]).unwrap_or(false);
    let clock_hold_us = clock.span_us("hold").unwrap_or(120_000_000);
    clock.done();
    let health = root.below("health");
    let health_us = health.span_us("every").unwrap_or(10_000_000);
    let heartbeat_us = health.span_us("heartbeat").unwrap_or(1_000_000);
    health.done();
    root.done();
    Config {
        device,
        to,
        lanes,
        group_us,
        scanners,
        cameras,
        frame_store,
        detect,
        trigger,
        lamp,
        clock_trusted,
        clock_hold_us,
        health_us,
        heartbeat_us,
    }
}

fn device(section: Section<'_>) -> Device {
    let read = Device {
        device: section.need("id", "the device's own name, such as \"p1-cam\""),
        warehouse: section.need("warehouse", "the warehouse, as the reference tables name it"),
        station: section.need("station", "the station, as the reference tables name it"),
        data: section.text("data").unwrap_or_else(|| "/var/lib/weir-edge".into()).into(),
    };
    for (name, text) in [("id", &read.device), ("warehouse", &read.warehouse), ("station", &read.station)] {
        if text.chars().any(char::is_control) {
            section.wrong(name, "has a control character", "text that a header of a record can carry");
        }
    }
    if read.device.contains('/') {
        section.wrong("id", "has a `/`", "another sign: ids of records are device/boot/number");
    }
    section.done();
    read
}

fn to(section: Section<'_>) -> To {
    #[derive(Clone, Copy)]
    enum Kind {
        Kafka,
        Http,
        Spool,
    }
    let words = [("kafka", Kind::Kafka), ("http", Kind::Http), ("spool", Kind::Spool)];
    let kind = section.choice("to", &words);
    if kind.is_none() && !section.is_there() {
        section.need("to", "\"kafka\", \"http\" or \"spool\"");
    }
    let to = match kind {
        Some(Kind::Kafka) => {
            let brokers = section.need("brokers", "\"host:port, …\"");
            let insecure = section.flag("insecure").unwrap_or(false);
            let properties = section.below("kafka").free();
            if let Err(e) = kafka::client(&brokers, &properties, insecure) {
                section.wrong("kafka", e.what(), e.expectation().unwrap_or("another value"));
            }
            To::Kafka { brokers, insecure, properties }
        }
        Some(Kind::Http) => {
            let url = address(&section, "the address of the log, with its port");
            let token = section.need("token", "\"file:PATH\" or \"env:NAME\"");
            let token = kafka::look_up("token", &token).unwrap_or_else(|e| {
                section.wrong("token", e.what(), "a readable file or a set variable");
                String::new()
            });
            hide_token(&section, "url", Some(&url), "publish");
            To::Http(HttpTarget { url, token, tls: tls(&section) })
        }
        _ => To::Spool,
    };
    section.done();
    to
}

fn lanes(topics: Section<'_>, spool: Section<'_>) -> (Vec<LaneConfig>, i64) {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    let lanes = LANES.map(|(name, bytes, age_us)| {
        let own = spool.below(name);
        let lane = LaneConfig {
            name,
            topic: topics.text(name).unwrap_or_else(|| name.into()),
            bytes: own.bytes("bytes").unwrap_or(bytes),
            age_us: own.span_us("age").unwrap_or(age_us),
        };
        if let Some(other) = taken.insert(lane.topic.clone(), name) {
            let what = format!("is `{}`, the topic of `{other}` too", lane.topic);
            topics.wrong(name, &what, "a topic for each: their records have other columns");
        }
        if lane.bytes < 64 << 10 {
            own.wrong("bytes", "is too little", "at least \"64 KiB\"");
        }
        own.done();
        lane
    });
    topics.done();
    let group_us = spool.span_us("group").unwrap_or(50_000);
    spool.done();
    (lanes.into(), group_us)
}

/// The name under which health and `status` tell of a part.
fn own_name(section: &Section<'_>, default: &str, names: &mut BTreeSet<String>) -> String {
    let name = section.text("name").unwrap_or_else(|| default.into());
    if !names.insert(name.clone()) {
        section.wrong("name", &format!("is `{name}`, as another {default}'s"), "a name for each");
    }
    name
}

fn scanner(section: Section<'_>, names: &mut BTreeSet<String>) -> Scanner {
    let kinds = [("serial", 0), ("tcp", 1), ("hid", 2), ("stdin", 3), ("script", 4)];
    let kind = section.choice("kind", &kinds);
    if kind.is_none() {
        section.need("kind", "\"serial\", \"tcp\", \"hid\", \"stdin\" or \"script\"");
    }
    let kind = match kind {
        Some(0) => ScannerKind::Serial {
            path: section.need("path", "\"/dev/serial/by-id/…\""),
            baud: section.number("baud", 300, 4_000_000).unwrap_or(9_600) as u32,
        },
        Some(1) => ScannerKind::Tcp { address: section.need("address", "\"host:port\" of the reader") },
        Some(2) => ScannerKind::Hid { path: section.need("path", "\"/dev/input/by-id/…-event-kbd\"") },
        Some(4) => {
            ScannerKind::Script { path: section.need("path", "a file of lines: milliseconds, barcode") }
        }
        _ => ScannerKind::Stdin,
    };
    let timeout_us = match (&kind, section.span_us("timeout")) {
        (ScannerKind::Tcp { .. }, given) => {
            if given.is_some() {
                section.wrong(
                    "timeout",
                    "has no use over TCP",
                    "no `timeout`: a pause of the network tears no code",
                );
            }
            None
        }
        (_, given) => Some(given.unwrap_or(100_000)),
    };
    let symbology = section.text("symbology").unwrap_or_default();
    if !symbology.is_empty() && !SYMBOLOGIES.iter().any(|known| known.eq_ignore_ascii_case(&symbology)) {
        let what = format!("is `{symbology}`, which is none");
        section.wrong("symbology", &what, &format!("one of {}", SYMBOLOGIES.join(", ")));
    }
    let scanner = Scanner {
        name: own_name(&section, "scanner", names),
        kind,
        symbology,
        chars_max: section.number("chars_max", 1, 4_096).unwrap_or(128) as usize,
        timeout_us,
        debounce_us: section.span_us("debounce").unwrap_or(0),
    };
    section.done();
    scanner
}

fn camera(
    section: Section<'_>,
    names: &mut BTreeSet<String>,
    has_pin: bool,
    has_codes: bool,
    stored: bool,
) -> Camera {
    let kind = section.choice("kind", &[("command", 0), ("folder", 1), ("http", 2)]);
    if kind.is_none() {
        section.need("kind", "\"command\", \"folder\" or \"http\"");
    }
    let kind = match kind {
        Some(1) => CameraKind::Folder {
            path: section.need("path", "a folder of .jpg files"),
            fps: section.rate("fps", 60.0).unwrap_or(2.0),
        },
        Some(2) => {
            CameraKind::Http { url: address(&section, "the address of its stream"), tls: tls(&section) }
        }
        _ => {
            let command = section.texts("command").unwrap_or_default();
            if command.is_empty() && kind.is_some() {
                section.wrong("command", "is missing", "[\"rpicam-vid\", \"--codec\", \"mjpeg\", …]");
            }
            CameraKind::Command { command }
        }
    };
    let mode = section.choice("trigger", &[("continuous", 0), ("gpio", 1), ("scan", 2)]).unwrap_or(0);
    let rate = section.rate("rate", 30.0).unwrap_or(1.0);
    let settle_us = section.span_us("settle").unwrap_or(150_000);
    let burst = section.number("burst", 1, 50).unwrap_or(3) as u32;
    let frame_bytes = section.bytes("frame_bytes");
    if frame_bytes.is_some_and(|bytes| bytes > FRAME_BYTES_MAX) {
        section.wrong("frame_bytes", "is too much", "at most \"8 MiB\"");
    }
    let most = if stored { FRAME_BYTES_MAX } else { FRAME_BYTES };
    match mode {
        1 if !has_pin => section.wrong("trigger", "is \"gpio\", but no pin is named", "[gpio.trigger]"),
        2 if !has_codes => section.wrong("trigger", "is \"scan\", but there is no scanner", "[[scanner]]"),
        _ => {}
    }
    let stall_us = section.span_us("stall").unwrap_or(2_000_000);
    if let CameraKind::Folder { fps, .. } = kind
        && 1e6 / fps >= stall_us as f64
    {
        section.wrong(
            "fps",
            "leaves a pause as long as `stall`: each frame would be a stall",
            "a longer `stall`",
        );
    }
    let camera = Camera {
        name: own_name(&section, "camera", names),
        kind,
        trigger: match mode {
            0 => Trigger::Continuous { rate },
            1 => Trigger::Gpio { settle_us, burst },
            _ => Trigger::Scan { settle_us, burst },
        },
        idle_every_us: section.span_us("idle_every").unwrap_or(2_000_000),
        frame_bytes_max: frame_bytes.unwrap_or(most) as usize,
        stall_us,
        barcodes: sight::barcodes(section.below("barcodes")),
    };
    section.done();
    camera
}
