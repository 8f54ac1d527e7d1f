//! A warehouse with one device: its settings, its scanner, the log that it writes, and the two processes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use weir_contract::{Clock, EventTime, WallClock};

#[path = "port.rs"]
mod port;

use port::free_port;

const PATIENCE: Duration = Duration::from_secs(120);

/// Codes that the scanner reads in a second.
const CODES_PER_S: u64 = 200;

/// Waits for something that another process does.
pub fn until(what: &str, mut there: impl FnMut() -> bool) {
    let end = WallClock.monotonic() + PATIENCE;
    while !there() {
        assert!(WallClock.monotonic() < end, "no {what} in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// SplitMix64 (S. Vigna).
pub struct Chance(u64);

impl Chance {
    pub fn seeded() -> Self {
        let given = std::env::var("WEIR_SEED").ok().and_then(|s| s.parse().ok());
        let seed = given.unwrap_or(u64::from(std::process::id()));
        println!("seed {seed}");
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) % bound
    }
}

pub fn connect(port: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    Some(stream)
}

/// Status and body of an answer; none where none came.
pub fn ask(stream: &mut TcpStream, request: &str) -> Option<(u16, String)> {
    stream.write_all(request.as_bytes()).ok()?;
    let mut head = Vec::new();
    let mut one = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut one).ok()?;
        head.push(one[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, String::from_utf8(body).unwrap()))
}

/// A scan in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    pub device: String,
    pub boot: String,
    pub number: u64,
}

/// A record: headers and value.
pub type Stored = (Vec<(String, Vec<u8>)>, Vec<u8>);

pub struct Site {
    folder: tempfile::TempDir,
    pub port: u16,
    /// Where the agent sends: the server, or what stands before it.
    pub door: u16,
    pub token: String,
    scanner: u16,
}

const TOKEN: &str = "4b1d-of-no-use-elsewhere";
/// SHA-256 of the token.
const DIGEST: &str = "25ea4645caf5bd188dee7821316482271348e8b25b866c11c4850f146df19f18";

/// Every scan is an event, so that events can be counted.
const PROGRAM: &str = "
CREATE TABLE scans (
    event_id TEXT NOT NULL, warehouse TEXT NOT NULL, device TEXT NOT NULL, barcode TEXT NOT NULL,
    scanned_at TIMESTAMP NOT NULL,
    WATERMARK FOR scanned_at AS scanned_at - INTERVAL '1 second'
) WITH (type = 'source', format = 'json', dedup = 'event_id', dedup_within = INTERVAL '10 minutes', until = 'end')
PARTITIONED BY (warehouse);

CREATE RULE seen
WITH (kind = 'event', key = 'device, event_id', severity = 'low') AS
SELECT warehouse, device, event_id, scanned_at AS event_time, barcode AS reason FROM scans;
";

impl Site {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let site = Self { folder, port, door: port, token: TOKEN.into(), scanner: free_port() };
        std::fs::write(site.path("token"), format!("{TOKEN}\n")).unwrap();
        let other = |d: usize| format!("{:064x}", d + 1);
        // Devices of the test speak by one token.
        let tokens = format!("* {DIGEST} W1 # the site\nd9 {} W9\n", other(9));
        std::fs::write(site.path("tokens"), tokens).unwrap();
        std::fs::write(site.path("program.sql"), PROGRAM).unwrap();
        let frames = site.folder.path().join("frames");
        std::fs::create_dir(&frames).unwrap();
        // SOI, a frame header of 64 × 48, a scan with three bytes, EOI.
        let jpeg = b"\xff\xd8\xff\xc0\0\x0b\x08\0\x30\0\x40\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0abc\xff\xd9";
        std::fs::write(frames.join("1.jpg"), jpeg).unwrap();
        site.configure(&format!("token = \"file:{}\"", site.path("token")), "health");
        site
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The agent's settings.
    pub fn configure(&self, token: &str, health: &str) {
        let at = self.folder.path().display();
        let text = format!(
            "device = {{ id = \"d1\", warehouse = \"W1\", station = \"P1\", data = \"{at}/edge\" }}\n\
             publish = {{ to = \"http\", url = \"http://127.0.0.1:{}\", {token} }}\n\
             topics = {{ device_health = \"{health}\" }}\n\
             clock = {{ trust = \"always\" }}\nhealth = {{ every = \"100 ms\" }}\n\
             [[scanner]]\nkind = \"tcp\"\naddress = \"127.0.0.1:{}\"\n\
             [[camera]]\nkind = \"folder\"\npath = \"{at}/frames\"\nfps = 20\ntrigger = \"continuous\"\nrate = 20.0\n",
            self.door, self.scanner
        );
        std::fs::write(self.path("edge.toml"), text).unwrap();
    }

    pub fn weir(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(args).current_dir(self.folder.path()).env("WEIR_ENV", "dev");
        for name in ["WEIR_LOG", "WEIR_REFERENCE", "WEIR_PATHS", "WEIR_FRAMES", "WEIR_MODELS", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    pub fn weir_edge(&self, command: &str) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_weir")).with_file_name("weir-edge");
        assert!(binary.exists(), "{} is missing: cargo build -p weir-edge", binary.display());
        let mut run = Command::new(binary);
        run.args(["--config", &self.path("edge.toml"), command]).env("WRONG_TOKEN", "wrong");
        run.env_remove("RUNTIME_DIRECTORY").env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        run
    }

    /// A record of the topic `scans`, as a line.
    pub fn line(&self, device: &str, boot: &str, number: u64) -> String {
        let now = EventTime(WallClock.now_us());
        format!(
            "{{\"event_id\":\"{device}/{boot}/{number}\",\"warehouse\":\"W1\",\"device\":\"{device}\",\
             \"barcode\":\"C{number:08}\",\"scanned_at\":\"{now}\"}}\n"
        )
    }

    /// Records of a topic, in its order.
    pub fn topic(&self, topic: &str) -> Vec<Stored> {
        let folder = PathBuf::from(self.path("log")).join(topic).join("0");
        let Ok(mut reader) = weir_segments::Reader::open(&folder, 0) else { return Vec::new() };
        let mut stored = Vec::new();
        while let Some(batch) = reader.next_batch(10_000, 16 << 20).unwrap() {
            for row in 0..batch.len() {
                assert_eq!(batch.keys.get(row), Some(&b"W1"[..]));
                let own = batch.headers.iter().filter(|h| h.row == row as u32);
                let headers = own.map(|h| (h.name.clone(), h.value.clone())).collect();
                stored.push((headers, batch.values.get(row).unwrap_or_default().to_vec()));
            }
        }
        stored
    }

    /// What the server that was started last said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.path("said")).unwrap()
    }

    /// The scans of the log, in its order, copies included.
    pub fn scans(&self) -> Vec<Scan> {
        let scan = |(headers, value): Stored| {
            if headers.iter().any(|(name, _)| name == weir_contract::wire::HEARTBEAT) {
                return None;
            }
            let v: Value = serde_json::from_slice(&value).unwrap();
            let id: Vec<&str> = v["event_id"].as_str().unwrap().split('/').collect();
            let code = v["barcode"].as_str().unwrap().trim_start_matches('C');
            Some(Scan { device: id[0].into(), boot: id[1].into(), number: code.parse().unwrap() })
        };
        self.topic("scans").into_iter().filter_map(scan).collect()
    }

    /// Runs the program over the log: each scan is one event, copies none; none was late.
    pub fn assert_events(&self, unique: u64, copies: u64) {
        let log = format!("log:{}", self.path("log"));
        let run = self.weir(&["run", "program.sql", "--log", &log, "--data", "run"]).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.success(), "{said}");
        let summary: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        let scans = &summary["sources"]["scans"];
        let count = |name: &str| scans[name].as_u64().unwrap();
        assert_eq!((count("late"), count("rejects")), (0, 0), "{summary}");
        assert_eq!((count("processed"), count("duplicates")), (unique, copies), "{summary}");
        let heartbeats = count("records") - unique - copies;
        assert_eq!(count("heartbeats"), heartbeats, "{summary}");
        let tail = |topic: &str| {
            let output = self.weir(&["tail", topic, "--log", &log, "--data", "run"]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let events = tail("dev.events.program");
        let ids: std::collections::BTreeSet<String> = events
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap()["event_id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!((events.lines().count() as u64, ids.len() as u64), (unique, unique));
    }

    /// The headers of the frames in the log, heartbeats left out.
    pub fn frames(&self) -> Vec<BTreeMap<String, Vec<u8>>> {
        let all = self.topic("frames").into_iter().map(|(headers, _)| headers.into_iter().collect());
        all.filter(|h: &BTreeMap<_, _>| !h.contains_key(weir_contract::wire::HEARTBEAT)).collect()
    }

    /// Frames came whole, with their facts, of several lives of the agent.
    pub fn assert_frames(&self) {
        let frames = self.topic("frames");
        let mut lives = std::collections::BTreeSet::new();
        let mut count = 0;
        for (headers, value) in &frames {
            let header = |wanted: &str| {
                let found = headers.iter().find(|(name, _)| name == wanted)?;
                Some(String::from_utf8(found.1.clone()).unwrap())
            };
            let Some(id) = header("event_id") else {
                assert!(header(weir_contract::wire::HEARTBEAT).is_some() && value.is_empty());
                continue;
            };
            assert!(value.starts_with(b"\xff\xd8") && value.ends_with(b"\xff\xd9"));
            assert_eq!((header("width"), header("station")), (Some("64".into()), Some("P1".into())));
            assert!(header("captured_at").is_some_and(|t| EventTime::parse(&t).is_some()));
            lives.extend(id.rsplit_once('/').map(|(boot, _)| boot.to_owned()));
            count += 1;
        }
        assert!(count > 50 && lives.len() > 3, "{count} frames of {} lives", lives.len());
    }
}

fn terminate(child: &mut Child) {
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success(), "a clean stop");
}

/// A child that never outlives its test.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped_already = self.0.wait();
    }
}

pub struct Server(Running);

impl Server {
    /// Starts it and waits until it answers. What it says goes to the file `said`.
    pub fn start(site: &Site) -> Self {
        Self::with(site, &[])
    }

    pub fn with(site: &Site, more: &[&str]) -> Self {
        let listen = format!("127.0.0.1:{}", site.port);
        let log = format!("log:{}", site.path("log"));
        let topics = "scans,detections,health,frames";
        let args =
            ["log-server", "--listen", &listen, "--tokens", "tokens", "--log", &log, "--topics", topics];
        let said = std::fs::File::create(site.path("said")).unwrap();
        let child = site.weir(&[&args, more].concat()).stderr(said).spawn().unwrap();
        let mut server = Self(Running(child));
        let request = format!(
            "GET /v1/log/scans HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
            site.token
        );
        until("server", || {
            assert!(server.running(), "the server ended: {}", site.said());
            connect(site.port)
                .and_then(|mut s| ask(&mut s, &request))
                .is_some_and(|(status, _)| status == 200)
        });
        server
    }

    pub fn running(&mut self) -> bool {
        self.0.running()
    }

    pub fn kill(&mut self) {
        self.0.kill();
    }

    pub fn stop(mut self) {
        terminate(&mut self.0.0);
    }
}

pub struct Agent {
    running: Running,
    status: PathBuf,
}

impl Agent {
    pub fn start(site: &Site) -> Self {
        let status = PathBuf::from(site.path("edge/status.json"));
        let _there_may_be_none = std::fs::remove_file(&status);
        let child = site.weir_edge("run").stderr(Stdio::null()).spawn().unwrap();
        Self { running: Running(child), status }
    }

    /// What it last said of itself.
    pub fn said(&self) -> Option<Value> {
        serde_json::from_str(&std::fs::read_to_string(&self.status).ok()?).ok()
    }

    /// Scans in its spool; none where it said nothing yet.
    pub fn waiting(&self) -> Option<u64> {
        self.waiting_in(0)
    }

    pub fn waiting_in(&self, lane: usize) -> Option<u64> {
        self.said()?["lanes"][lane]["records"].as_u64()
    }

    pub fn running(&mut self) -> bool {
        self.running.running()
    }

    pub fn kill(&mut self) {
        self.running.kill();
    }

    pub fn stop(&mut self) {
        terminate(&mut self.running.0);
    }
}

/// A fixed reader on the network: sends codes in sequence to whoever is connected.
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Vec<Range<u64>>>>,
}

impl Reader {
    pub fn start(site: &Site) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", site.scanner)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut next, mut sent) = (0, Vec::new());
            while !stopping.load(Ordering::SeqCst) {
                let Ok((mut stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                let first = next;
                while !stopping.load(Ordering::SeqCst)
                    && stream.write_all(format!("C{next:08}\r\n").as_bytes()).is_ok()
                {
                    next += 1;
                    std::thread::sleep(Duration::from_micros(1_000_000 / CODES_PER_S));
                }
                // What may have reached a connection that broke is of it too.
                if !stopping.load(Ordering::SeqCst) {
                    next += 1;
                }
                sent.push(first..next);
                let _closed_in_any_case = stream.shutdown(Shutdown::Write);
                // Until the other side has read all of it.
                let mut rest = Vec::new();
                let _gone = stream.read_to_end(&mut rest);
            }
            sent
        });
        Self { stop, thread: Some(thread) }
    }

    /// The codes of each connection.
    pub fn stop(mut self) -> Vec<Range<u64>> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
