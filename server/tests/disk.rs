//! A disk that is full under `weir run` and `weir log-server`: what can go on goes on, the rest waits and says
//! so, the old checkpoint stays, and with space the run goes on by itself or at its next start. Nothing is lost.
//!
//! Mounts small file systems in memory, in a mount namespace of its own, where it needs no rights.

#[path = "cli/rig.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod rig;

#[path = "edge_log/port.rs"]
mod port;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rig::{PROGRAM, Rig, Running, assert_sums, until};

/// Long enough for several checkpoints and tries.
const WHILE: Duration = Duration::from_secs(2);

/// A file system of a few megabytes.
struct Small(PathBuf);

impl Small {
    fn new(rig: &Rig, name: &str) -> Self {
        let path = rig.path(name);
        std::fs::create_dir_all(&path).unwrap();
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "weir"]).arg(&path).output().unwrap();
        assert!(done.status.success(), "no tmpfs of 4 MB: {}", String::from_utf8_lossy(&done.stderr));
        Self(path)
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            let bytes = vec![7; size];
            while file.write_all(&bytes).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Runs a test of this file again in a process that may mount; true there.
fn may_mount(test: &str) -> bool {
    const APART: &str = "WEIR_TEST_MAY_MOUNT";
    if std::env::var_os(APART).is_some() {
        return true;
    }
    // As a root of its own, which everybody may be on most machines; else as the machine's.
    let ways: [&[&str]; 2] = [&["--user", "--map-root-user", "--mount"], &["--mount"]];
    let works = |way: &&&[&str]| {
        let tried = "mount -t tmpfs -o size=4k weir /mnt";
        Command::new("unshare").args(**way).args(["sh", "-c", tried]).output().unwrap().status.success()
    };
    let way = ways.iter().find(works).unwrap_or_else(|| {
        panic!("these tests mount small file systems: allow user namespaces (unshare --user), or run as root")
    });
    let done = Command::new("unshare")
        .args(*way)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(APART, "1")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    assert!(done.status.success() && out.contains("1 passed"), "{out}\n{err}");
    false
}

/// A minute of some devices, each hot for ten seconds: two events a device. One row is late.
fn minute(minute: u32, devices: u32) -> String {
    let mut text = String::new();
    for second in 0..60 {
        for device in 0..devices {
            let celsius = if (10..20).contains(&second) { 35.5 } else { 20.0 };
            text.push_str(&format!(
                "{{\"event_id\":\"{minute}/{device}/{second}\",\"warehouse\":\"MAD1\",\"device\":\"d{device}\",\
                 \"celsius\":{celsius},\"at_ts\":\"2026-03-02T08:{minute:02}:{second:02}Z\"}}\n"
            ));
        }
    }
    text
}

/// The columns of `readings`, of another table in another place.
fn table(name: &str, with: &str) -> String {
    let columns = PROGRAM.split_once('(').unwrap().1.split_once(") WITH").unwrap().0;
    format!("CREATE TABLE {name} ({columns}) WITH ({with});\n")
}

struct Floor {
    rig: Rig,
    log: String,
    data: String,
}

impl Floor {
    /// `readings` is a topic of the log in the folder `in`; the rest is where the arguments say.
    fn new(rig: Rig, log: &str, data: &str) -> Self {
        let program = PROGRAM.replace(
            "type = 'source'",
            &format!("type = 'source', connector = 'log', path = '{}'", rig.text("in")),
        );
        rig.write("heat.sql", &program);
        Self { log: format!("log:{}", rig.text(log)), data: rig.text(data), rig }
    }

    /// Appends a minute to the input, by a program of its own.
    fn feed(&self, number: u32, devices: u32, also: &str) {
        let (name, file) = (format!("feed{number}.sql"), format!("feed{number}.json"));
        self.rig.write(&file, &(minute(number, devices) + also));
        let text = [
            table(
                "given",
                &format!(
                    "type = 'source', connector = 'single_file', path = '{}', format = 'json'",
                    self.rig.text(&file)
                ),
            ),
            table(
                "readings",
                &format!(
                    "type = 'sink', connector = 'log', path = '{}', format = 'json'",
                    self.rig.text("in")
                ),
            )
            .replace("WATERMARK FOR at_ts AS at_ts - INTERVAL '2 seconds'", "")
            .replace("NOT NULL,\n    \n)", "NOT NULL\n)"),
            "INSERT INTO readings SELECT event_id, warehouse, device, celsius, at_ts FROM given;\n".into(),
        ];
        self.rig.write(&name, &text.concat());
        let data = self.rig.text(&format!("feed{number}"));
        let log = format!("log:{}", self.rig.text("feeds"));
        self.rig.ok(&["run", &name, "--log", &log, "--data", &data]);
    }

    fn start(&self) -> Running {
        self.rig.start(&[
            "run",
            "heat.sql",
            "--log",
            &self.log,
            "--data",
            &self.data,
            "--checkpoint-every",
            "0.2",
        ])
    }

    fn topic(&self, name: &str) -> Vec<String> {
        let said = self.rig.run(&["tail", name, "--log", &self.log]);
        said.out.lines().map(str::to_owned).collect()
    }

    fn events(&self) -> usize {
        std::thread::sleep(Duration::from_millis(100));
        self.topic("dev.events.heat").len()
    }

    /// Number of the newest checkpoint.
    fn checkpoint(&self) -> u64 {
        let names =
            std::fs::read_dir(format!("{}/checkpoints/heat", self.data)).into_iter().flatten().flatten();
        let number =
            |e: std::fs::DirEntry| e.file_name().to_str()?.strip_suffix(".manifest.json")?.parse().ok();
        names.filter_map(number).max().unwrap_or(0)
    }

    fn next_checkpoint(&self) {
        let last = self.checkpoint();
        until("a new checkpoint", || self.checkpoint() > last);
    }

    /// What the run wrote is what a replay of its logs says.
    fn assert_whole(&self) {
        let mut live = self.topic("dev.events.heat");
        live.sort();
        self.rig.ok(&["replay", "heat.sql", "--from", &self.log, "--out", "replay.jsonl"]);
        let mut replayed: Vec<String> = self.rig.read("replay.jsonl").lines().map(str::to_owned).collect();
        replayed.sort();
        assert_eq!(live, replayed);
    }
}

#[test]
fn a_full_disk_under_the_checkpoints() {
    if !may_mount("a_full_disk_under_the_checkpoints") {
        return;
    }
    let rig = Rig::new();
    let small = Small::new(&rig, "small");
    let floor = Floor::new(rig, "log", "small");
    floor.feed(1, 1, "");
    let first = floor.start();
    until("two events", || floor.events() == 2);
    floor.next_checkpoint();

    small.fill();
    std::thread::sleep(WHILE);
    let kept = floor.checkpoint();
    floor.feed(2, 1, "");
    until("events although the disk is full", || floor.events() == 4);
    std::thread::sleep(WHILE);
    assert_eq!(floor.checkpoint(), kept, "the old checkpoint stays");
    small.free();
    until("a checkpoint with space again", || floor.checkpoint() > kept);
    std::thread::sleep(WHILE);

    small.fill();
    std::thread::sleep(WHILE);
    let kept = floor.checkpoint();
    floor.feed(3, 1, "");
    until("events although the disk is full", || floor.events() == 6);
    first.signal("KILL");
    let said = first.wait();
    assert_eq!(said.err.matches("W0505  ").count(), 2, "once an outage: {}", said.err);
    assert_eq!(said.err.matches("the last checkpoint stays").count(), 2, "{}", said.err);
    assert_eq!(said.err.matches("W0505 is over after").count(), 1, "{}", said.err);

    // It starts from the old checkpoint on a disk that is full, too, and tells that it cannot end well.
    let second = floor.start();
    std::thread::sleep(WHILE);
    second.signal("TERM");
    let said = second.wait();
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("W0505") && said.err.contains("checkpoints"), "{}", said.err);
    assert_eq!(floor.checkpoint(), kept, "the old checkpoint stays");

    small.free();
    let third = floor.start();
    floor.next_checkpoint();
    third.signal("TERM");
    let said = third.wait();
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_sums(&said.summary());
    assert_eq!(floor.events(), 6, "nothing lost, nothing doubled");
    floor.assert_whole();
}

#[test]
fn a_full_disk_under_the_embedded_log() {
    /// Their events do not fit into what is left of a page.
    const DEVICES: u32 = 40;
    if !may_mount("a_full_disk_under_the_embedded_log") {
        return;
    }
    let rig = Rig::new();
    let small = Small::new(&rig, "small");
    let floor = Floor::new(rig, "small/log", "data");
    floor.feed(1, 1, "");
    let first = floor.start();
    until("two events", || floor.events() == 2);

    small.fill();
    // The first late row, so that a topic is to be made on the full disk.
    let late = "{\"event_id\":\"l\",\"warehouse\":\"MAD1\",\"device\":\"d0\",\"celsius\":1.0,\"at_ts\":\"2026-03-02T08:01:01Z\"}\n";
    floor.feed(2, DEVICES, "");
    std::thread::sleep(WHILE);
    let some = floor.events();
    assert!(some < 2 + 2 * DEVICES as usize, "{some} events on a full disk");
    small.free();
    until("all events by itself", || floor.events() == 2 + 2 * DEVICES as usize);
    std::thread::sleep(WHILE);

    small.fill();
    floor.feed(3, DEVICES, late);
    std::thread::sleep(WHILE);
    first.signal("TERM");
    let said = first.wait();
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert_eq!(said.err.matches("weir tries again and goes on by itself").count(), 2, "{}", said.err);
    assert_eq!(said.err.matches("W0505 is over after").count(), 1, "{}", said.err);
    assert!(!said.err.contains("panicked"), "{}", said.err);

    small.free();
    let second = floor.start();
    until("all events", || floor.events() == 2 + 4 * DEVICES as usize);
    second.signal("TERM");
    let said = second.wait();
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_sums(&said.summary());
    floor.assert_whole();
}

#[test]
fn a_full_disk_under_the_marks_of_a_file() {
    const DEVICES: u32 = 40;
    if !may_mount("a_full_disk_under_the_marks_of_a_file") {
        return;
    }
    let rig = Rig::new();
    let small = Small::new(&rig, "small");
    // The lines have room; what says which of them are committed has none.
    std::os::unix::fs::symlink(rig.path("small/commits"), rig.path(".rows.json.commits")).unwrap();
    let floor = Floor::new(rig, "log", "data");
    let sink = format!(
        "CREATE TABLE rows_out (event_id TEXT) WITH (type = 'sink', connector = 'single_file', format = 'json', path = '{}');
         INSERT INTO rows_out SELECT event_id FROM readings;",
        floor.rig.text("rows.json")
    );
    floor.rig.write("heat.sql", &(floor.rig.read("heat.sql") + &sink));
    let lines = || floor.rig.read("rows.json").lines().map(str::to_owned).collect::<Vec<_>>();
    floor.feed(1, 1, "");
    let first = floor.start();
    until("the first minute", || floor.rig.path("rows.json").exists() && lines().len() == 60);

    small.fill();
    floor.feed(2, DEVICES, "");
    std::thread::sleep(WHILE);
    small.free();
    let all = 60 + 60 * DEVICES as usize;
    until("all rows by itself", || lines().len() == all);
    std::thread::sleep(WHILE);
    first.signal("TERM");
    let said = first.wait();
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.err.matches("W0505  ").count(), 1, "{}", said.err);
    assert_eq!(said.err.matches("W0505 is over after").count(), 1, "{}", said.err);
    let mut rows = lines();
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), all, "a row stands there twice");

    let second = floor.start();
    floor.next_checkpoint();
    second.signal("TERM");
    assert_eq!(second.wait().code, Some(0));
    assert_eq!(lines().len(), all);
}

/// Posts 64 KiB to the log server; the answer's status, none where it does not answer.
fn post(port: u16, number: u32) -> Option<u16> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).ok()?;
    let head = format!(
        "POST /v1/log/scans HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer test\r\nweir-key: W1\r\n\
         weir-header-event-id: d1/b/{number}\r\ncontent-length: 65536\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), &[7; 65_536]].concat()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

#[test]
fn a_full_disk_under_the_log_server() {
    if !may_mount("a_full_disk_under_the_log_server") {
        return;
    }
    /// SHA-256 of the token `test`.
    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let rig = Rig::new();
    let small = Small::new(&rig, "small");
    rig.write("tokens", &format!("d1 {DIGEST} W1\n"));
    let port = port::free_port();
    let (listen, log) = (format!("127.0.0.1:{port}"), format!("log:{}", rig.text("small/log")));
    let args = ["log-server", "--tokens", "tokens", "--topics", "scans", "--listen", &listen, "--log", &log];
    let server = rig.start(&args);
    until("a record", || post(port, 1) == Some(200));

    small.fill();
    until("a refusal", || post(port, 2) == Some(503));
    // Longer than what is not told, and many requests.
    for number in 3..13 {
        assert_eq!(post(port, number), Some(503));
        std::thread::sleep(WHILE / 10);
    }
    small.free();
    until("a record by itself", || post(port, 13) == Some(200));
    // The end is told once it lasts, too.
    std::thread::sleep(WHILE);
    server.signal("TERM");
    let said = server.wait();
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.err.matches("devices are answered 503").count(), 1, "{}", said.err);
    assert_eq!(said.err.matches("W0505 is over after").count(), 1, "{}", said.err);
    assert!(said.err.contains("refused, by device and status: d1 503"), "{}", said.err);
    let summary = said.summary();
    assert_eq!(summary["records"]["scans"], 2, "{summary}");
    assert!(summary["refused"]["d1"]["503"].as_u64().is_some_and(|n| n >= 11), "{summary}");
}
