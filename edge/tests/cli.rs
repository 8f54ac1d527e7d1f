//! The binary as systemd runs it: a scripted scanner and a recorded camera into the spool, stopped, killed and
//! started again.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use serde_json::Value;
use weir_contract::{Clock, WallClock};

fn weir_edge(config: &Path, command: &str) -> Command {
    let mut run = Command::new(env!("CARGO_BIN_EXE_weir-edge"));
    run.arg("--config").arg(config).arg(command).env_remove("RUNTIME_DIRECTORY").env_remove("NOTIFY_SOCKET");
    run
}

/// A running agent; ends with the test, also where that fails.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped_already = self.0.wait();
    }
}

struct Site {
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let frames = folder.path().join("frames");
        std::fs::create_dir(&frames).unwrap();
        // SOI, a frame header of 64 × 48, a scan with three bytes, EOI.
        let jpeg = b"\xff\xd8\xff\xc0\0\x0b\x08\0\x30\0\x40\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0abc\xff\xd9";
        std::fs::write(frames.join("1.jpg"), jpeg).unwrap();
        std::fs::write(folder.path().join("scans.txt"), "0 4006381333931\n20 A-1\n40 B-2\n").unwrap();
        let config = folder.path().join("edge.toml");
        let text = format!(
            "device = {{ id = \"d1\", warehouse = \"W1\", station = \"P1\", data = \"{0}/data\" }}\n\
             publish = {{ to = \"spool\" }}\nclock = {{ trust = \"always\" }}\nhealth = {{ every = \"200 ms\" }}\n\
             [[scanner]]\nkind = \"script\"\npath = \"{0}/scans.txt\"\n\
             [[camera]]\nkind = \"folder\"\npath = \"{0}/frames\"\nfps = 20\ntrigger = \"scan\"\nsettle = \"10 ms\"\n",
            folder.path().display()
        );
        std::fs::write(&config, text).unwrap();
        Self { folder, config }
    }

    fn run(&self) -> Agent {
        Agent(weir_edge(&self.config, "run").spawn().unwrap())
    }

    fn status(&self) -> Option<(Value, Output)> {
        let output = weir_edge(&self.config, "status").output().unwrap();
        Some((serde_json::from_slice(&output.stdout).ok()?, output))
    }

    /// Waits until the running agent says so.
    fn until(&self, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let until = WallClock.monotonic() + Duration::from_secs(30);
        loop {
            let status = self.status();
            if let Some((status, _)) = &status
                && done(status)
            {
                return status.clone();
            }
            assert!(WallClock.monotonic() < until, "{what}: {status:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Site {
    /// Waits for what `done` says, then until it is on the disk: a record counts from its coming, the sync is
    /// due 50 ms later, and the turn that wrote one `at` has ended when the next one is there.
    fn until_synced(&self, what: &str, done: impl Fn(&Value) -> bool) {
        let mut at = self.until(what, done)["at"].clone();
        for _ in 0..2 {
            at = self.until("another turn", |s| s["at"] != at)["at"].clone();
        }
    }
}

fn records(status: &Value, lane: usize) -> u64 {
    status["lanes"][lane]["records"].as_u64().unwrap()
}

fn signal(agent: &Agent, name: &str) {
    assert!(Command::new("kill").args([name, &agent.0.id().to_string()]).status().unwrap().success());
}

#[test]
fn what_was_seen_outlives_a_stop_and_a_kill() {
    let site = Site::new();
    let mut first = site.run();
    let status = site.until("three scans, their frames", |s| records(s, 0) == 3 && records(s, 3) >= 3);
    assert_eq!((&status["device"], &status["lanes"][0]["name"]), (&"d1".into(), &"scans".into()));
    assert_eq!(status["scanners"]["scanner"]["codes"], 3);
    assert_eq!(status["health"]["clock_synced"], true);
    // A second agent on the same spool is refused.
    let second = weir_edge(&site.config, "run").output().unwrap();
    assert!(!second.status.success() && String::from_utf8_lossy(&second.stderr).contains("W0503"));
    signal(&first, "-TERM");
    assert!(first.0.wait().unwrap().success());
    let (_, output) = site.status().unwrap();
    assert!(!output.status.success(), "nobody runs");
    let mut third = site.run();
    site.until_synced("the scans of both starts", |s| records(s, 0) == 6);
    signal(&third, "-KILL");
    third.0.wait().unwrap();
    let mut fourth = site.run();
    let status = site.until("the scans of three starts", |s| records(s, 0) == 9);
    assert_eq!(status["lanes"][0]["gone"], 0);
    signal(&fourth, "-TERM");
    assert!(fourth.0.wait().unwrap().success());
}

#[test]
fn settings_are_checked_and_problems_named() {
    let site = Site::new();
    let good = weir_edge(&site.config, "check").output().unwrap();
    assert!(good.status.success() && String::from_utf8_lossy(&good.stdout).contains("1 scanners, 1 cameras"));
    let text = std::fs::read_to_string(&site.config).unwrap().replace("fps = 20", "fpss = 20");
    std::fs::write(&site.config, text).unwrap();
    let bad = weir_edge(&site.config, "check").output().unwrap();
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(!bad.status.success() && said.contains("W0203") && said.contains("`fps`"), "{said}");
    let missing = weir_edge(&site.folder.path().join("none.toml"), "check").output().unwrap();
    assert!(String::from_utf8_lossy(&missing.stderr).contains("W0405"));
}

#[test]
fn doctor_says_what_is_wrong_and_fails() {
    let site = Site::new();
    let output = weir_edge(&site.config, "doctor").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("ok   camera camera") && said.contains("BAD  log"), "{said}");
}
