//! A folder, the binary, and what it said.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use weir_contract::{Clock, WallClock};

/// Longest that any command of these tests may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// A world of its own: working folder, no environment of the caller.
pub struct Rig {
    folder: TempDir,
}

/// What a command said and how it ended.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Rig {
    pub fn new() -> Rig {
        Rig { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(args).current_dir(self.folder.path());
        for name in ["WEIR_ENV", "WEIR_LOG", "WEIR_REFERENCE", "WEIR_PATHS", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a command that goes on by itself.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).spawn().unwrap();
        // The pipes are emptied while the child runs, so that it never waits for its test.
        let (out, err) = (emptied(child.stdout.take().unwrap()), emptied(child.stderr.take().unwrap()));
        Running { child, pipes: Some((out, err)), what: args.join(" ") }
    }

    /// Runs a command to its end, whatever that is.
    pub fn run(&self, args: &[&str]) -> Said {
        self.start(args).wait()
    }

    /// Runs a command that must succeed.
    pub fn ok(&self, args: &[&str]) -> Said {
        let said = self.run(args);
        assert_eq!(said.code, Some(0), "{args:?}\n{}\n{}", said.out, said.err);
        said
    }
}

fn emptied(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).unwrap();
        String::from_utf8(all).unwrap()
    })
}

/// A child that never outlives its test.
pub struct Running {
    child: Child,
    /// What it says on standard output and standard error.
    pipes: Option<(JoinHandle<String>, JoinHandle<String>)>,
    what: String,
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by the shell's own kill.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for something that it does, or for its own end, which is a failure.
    pub fn until(&mut self, what: &str, mut there: impl FnMut() -> bool) {
        until(what, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                let said = self.said(status);
                panic!("weir {}, no {what}: {:?}\n{}\n{}", self.what, said.code, said.out, said.err);
            }
            there()
        });
    }

    pub fn wait(mut self) -> Said {
        let end = WallClock.monotonic() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return self.said(status);
            }
            if WallClock.monotonic() > end {
                self.child.kill().unwrap();
                let status = self.child.wait().unwrap();
                let said = self.said(status).err;
                panic!("weir {} did not end in {PATIENCE:?}\n{said}", self.what);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn said(&mut self, status: ExitStatus) -> Said {
        let (out, err) = self.pipes.take().unwrap();
        Said { code: status.code(), out: out.join().unwrap(), err: err.join().unwrap() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    /// The last line of standard output, as JSON.
    pub fn json(&self) -> Value {
        let line = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}\n{}", self.err))
    }

    /// The summary that `weir run` leaves on standard error.
    pub fn summary(&self) -> Value {
        let line = self.err.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {}", self.err))
    }
}

/// Waits for something that another process does.
pub fn until(what: &str, mut there: impl FnMut() -> bool) {
    let end = WallClock.monotonic() + PATIENCE;
    while !there() {
        assert!(WallClock.monotonic() < end, "no {what} in {PATIENCE:?}");
        std::thread::sleep(LOOK);
    }
}

pub fn exists(path: &Path) -> bool {
    path.exists()
}

/// Two sums of semantics 2 close for every source of a summary.
pub fn assert_sums(summary: &Value) {
    let sources = summary["sources"].as_object().unwrap();
    assert!(!sources.is_empty());
    for (table, counts) in sources {
        let n = |name: &str| counts[name].as_u64().unwrap_or_else(|| panic!("{table} has no {name}"));
        assert!(n("records") >= n("heartbeats") + n("rejects"), "{table}: {counts}");
        assert_eq!(n("rows"), n("processed") + n("late") + n("duplicates"), "{table}: {counts}");
    }
}

/// A table of temperatures and a rule over it.
pub const PROGRAM: &str = "
CREATE TABLE readings (
    event_id TEXT NOT NULL, warehouse TEXT NOT NULL, device TEXT NOT NULL, celsius DOUBLE, at_ts TIMESTAMP NOT NULL,
    WATERMARK FOR at_ts AS at_ts - INTERVAL '2 seconds'
) WITH (type = 'source', format = 'json', dedup = 'event_id', dedup_within = INTERVAL '1 minute')
PARTITIONED BY (warehouse);

CREATE RULE hot
WITH (kind = 'condition', key = 'device', severity = 'high', fire_after = '2 seconds') AS
SELECT warehouse, device, at_ts AS event_time, celsius, celsius > 30.0 AS fire FROM readings;
";

/// One reading a second for a device: hot from second 10 to second 20.
pub fn readings(warehouse: &str, device: &str, seconds: u32) -> String {
    (0..seconds)
        .map(|s| {
            let celsius = if (10..20).contains(&s) { 35.5 } else { 20.0 };
            format!(
                "{{\"event_id\":\"{device}/{s}\",\"warehouse\":\"{warehouse}\",\"device\":\"{device}\",\
                 \"celsius\":{celsius},\"at_ts\":\"2026-03-02T08:{:02}:{:02}Z\"}}\n",
                s / 60,
                s % 60
            )
        })
        .collect()
}
