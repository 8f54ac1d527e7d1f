//! A broker of a test's own (scripts/kafka.sh), which may be stopped, killed and started again.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Ends with the test.
pub struct Broker {
    state: TempDir,
    /// `host:port`; the same after `again`.
    pub at: String,
}

impl Broker {
    pub fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let said = script(state.path(), "start");
        let at = said.lines().find_map(|l| l.split_once("WEIR_KAFKA=")).expect("where the broker listens").1;
        let at = at.trim_matches(['\'', '"']).to_owned();
        Self { state, at }
    }

    /// As `--log` and `--from` take it.
    pub fn log(&self) -> String {
        format!("kafka://{}", self.at)
    }

    /// Stands still until the guard is dropped: connections stay open and nobody answers.
    pub fn still(&self) -> Still {
        let pid = std::fs::read_to_string(self.state.path().join("state/pid")).unwrap().trim().to_owned();
        signal("-STOP", &pid);
        Still(pid)
    }

    /// Dies at once; its records stay.
    pub fn crash(&self) {
        script(self.state.path(), "crash");
    }

    /// Starts again on the same port and storage.
    pub fn again(&self) {
        script(self.state.path(), "again");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        script(self.state.path(), "stop");
    }
}

/// A broker that stands still.
pub struct Still(String);

impl Drop for Still {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([name, pid]).status().unwrap().success(), "kill {name} {pid}");
}

fn script(folder: &Path, word: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka.sh");
    let done = Command::new("bash")
        .arg(script)
        .arg(word)
        .env("WEIR_KAFKA_STATE", folder.join("state"))
        .output()
        .unwrap();
    assert!(done.status.success(), "kafka.sh {word}\n{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}
