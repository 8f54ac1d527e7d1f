//! Frames in an embedded log, the detector as a process, and what it wrote.
//!
//! In:   images, inline or by uri. Out: the lines of any topic; summaries; exit codes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use weir_connectors::log::LogConnector;
use weir_connectors::paths::Roots;
use weir_contract::{EventTime, WallClock};
use weir_engine::sink::{OutRecord, SinkFactory};
use weir_engine::source::{FetchLimit, Payload, Source};
use weir_engine::sql::catalog::AppendTime;

/// 2026-03-01T08:00:00Z.
pub const START: i64 = 1_772_352_000_000_000;
const PATIENCE: Duration = Duration::from_secs(240);

/// What a frame's record carries.
#[derive(Clone)]
pub enum Carried {
    Bytes(Vec<u8>),
    Uri(String),
}

/// A folder with a log, and the program.
pub struct World {
    pub folder: tempfile::TempDir,
}

pub struct Said {
    pub code: Option<i32>,
    pub err: String,
}

impl Said {
    pub fn summary(&self) -> Value {
        let line = self.err.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {}", self.err))
    }
}

/// The detector as it is shipped.
pub fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/detect.sql")
}

impl World {
    pub fn new() -> World {
        let world = World { folder: tempfile::tempdir().unwrap() };
        // The same program, which ends where the log ends at its start.
        let text = std::fs::read_to_string(shipped()).unwrap();
        let ends = text.replace("topic = 'frames',", "topic = 'frames', until = 'end',");
        assert_ne!(ends, text);
        std::fs::write(world.path("detect.sql"), ends).unwrap();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> LogConnector {
        LogConnector::new(self.path("data/log"), Roots::new([]).unwrap(), Arc::new(WallClock))
    }

    /// Appends frames as the edge agent sends them, the n-th to partition n mod `partitions`, each half a
    /// second after the other; a heartbeat behind them.
    pub fn frames(&self, partitions: u32, frames: &[Carried]) {
        self.frames_from(0, partitions, frames);
    }

    /// The same, numbered from `first` on.
    pub fn frames_from(&self, first: usize, partitions: u32, frames: &[Carried]) {
        let sink = self.log().sink_of("frames", partitions, AppendTime::Producer).unwrap();
        let mut sink = sink.open("camera").unwrap();
        let mut records = Vec::new();
        for (n, carried) in (first..).zip(frames) {
            let partition = n as u32 % partitions;
            let time = START + n as i64 * 500_000;
            let facts = [
                ("event_id", format!("d{partition}/b/{n}")),
                ("warehouse", format!("W{partition}")),
                ("device", format!("d{partition}")),
                ("station", format!("W{partition}-P1")),
                ("frame_id", format!("{n:064x}")),
                ("width", "320".to_owned()),
                ("captured_at", EventTime(time).to_string()),
            ];
            let mut headers: Vec<(String, Vec<u8>)> =
                facts.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
            let value = match carried {
                Carried::Bytes(bytes) => bytes.clone(),
                Carried::Uri(uri) => {
                    headers.push(("frame_uri".to_owned(), uri.clone().into_bytes()));
                    Vec::new()
                }
            };
            let key = format!("W{partition}").into_bytes();
            records.push(OutRecord {
                id: None,
                partition: Some(partition),
                key,
                value,
                headers,
                time_us: Some(time),
            });
        }
        let beat = START + (first + frames.len()) as i64 * 500_000 + 60_000_000;
        for partition in 0..partitions {
            records.push(OutRecord {
                id: None,
                partition: Some(partition),
                key: Vec::new(),
                value: Vec::new(),
                headers: vec![("weir-heartbeat".to_owned(), EventTime(beat).to_string().into_bytes())],
                time_us: Some(beat),
            });
        }
        sink.write(records).unwrap();
        sink.commit().unwrap();
    }

    fn command(&self, args: &[&str], environment: &[(&str, &Path)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(args).current_dir(self.folder.path());
        for name in
            ["WEIR_ENV", "WEIR_LOG", "WEIR_REFERENCE", "WEIR_PATHS", "WEIR_MODELS", "WEIR_FRAMES", "RUST_LOG"]
        {
            command.env_remove(name);
        }
        environment.iter().for_each(|(name, value)| {
            command.env(name, value);
        });
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a command that goes on; what it says on standard error is in the file `said`.
    pub fn start(&self, args: &[&str], environment: &[(&str, &Path)]) -> Child {
        let said = std::fs::File::create(self.path("said")).unwrap();
        let mut command = self.command(args, environment);
        command.stdout(Stdio::null()).stderr(said).spawn().unwrap()
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(self.path("said")).unwrap()
    }

    pub fn run(&self, args: &[&str], environment: &[(&str, &Path)]) -> Said {
        let done = self.command(args, environment).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        // `check` speaks on standard output, `run` on standard error.
        let err = if args[0] == "check" { text(done.stdout) } else { text(done.stderr) };
        Said { code: done.status.code(), err }
    }

    /// Runs the detector to the end of its log.
    pub fn detect(&self, more: &[&str], environment: &[(&str, &Path)]) -> Value {
        let said = self.run(&[&["run", "detect.sql", "--data", "data"], more].concat(), environment);
        assert_eq!(said.code, Some(0), "{}", said.err);
        said.summary()
    }

    /// All records of a topic that are no heartbeats: partition, id, value; in their order.
    pub fn lines(&self, topic: &str) -> Vec<(u32, String, Value)> {
        let Ok(source) = self.log().source_of(topic) else { return Vec::new() };
        let mut found = Vec::new();
        for partition in source.partitions().unwrap() {
            let mut reader = source.open(partition.number, partition.start).unwrap();
            loop {
                let fetched =
                    reader.fetch(FetchLimit { rows: 1000, bytes: 4 << 20 }, Duration::ZERO).unwrap();
                let Some(batch) = fetched.batch else { break };
                let Payload::Bytes(values) = &batch.payload else { panic!("no bytes") };
                for header in batch.headers.iter().filter(|h| h.name == "weir-id") {
                    let value = serde_json::from_slice(values.value(header.row as usize)).unwrap();
                    found.push((partition.number, String::from_utf8(header.value.clone()).unwrap(), value));
                }
            }
        }
        found
    }
}

/// Asks a process to end, and waits for it.
pub fn ended(child: &mut Child) -> Option<i32> {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    child.wait().unwrap().code()
}

/// Waits for something that another process does.
pub fn until(what: &str, mut there: impl FnMut() -> bool) {
    let mut waited = Duration::ZERO;
    while !there() {
        assert!(waited < PATIENCE, "no {what} in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
        waited += Duration::from_millis(20);
    }
}
