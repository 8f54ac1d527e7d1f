//! The resource over real sockets and a real folder.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};
use weir_contract::{Clock, WallClock};

use super::*;
use crate::http::grants::Grants;
use crate::http::log::{Limits, Log};
use crate::http::{Room, serve};

const TOKEN: &str = "correct horse";
const OTHER: &str = "battery staple";
const NEIGHBOUR: &str = "wrong pony";
const BYTES_MAX: u64 = 1_000_000;

struct Rig {
    address: SocketAddr,
    folder: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    root: tempfile::TempDir,
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

impl Rig {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data/frames");
        let [storing, other, third] = [TOKEN, OTHER, NEIGHBOUR].map(|token| hash(token.as_bytes()));
        let lines = format!("d1 {storing} W1 frames\nd2 {other} W1\nd3 {third} W1 frames\n");
        let grants = Grants::parse("tokens", &lines).unwrap();
        let frames = Frames::new(Store::new(&folder), BYTES_MAX);
        // The largest record is smaller than a frame: other limits hold here.
        let limits = Limits { body_bytes: 10_000, ..Limits::default() };
        let log = Log::new(BTreeMap::new(), grants, limits, Arc::new(WallClock)).unwrap();
        let app = log.with_frames(frames);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            // Nobody is too slow here.
            let patience = Duration::from_secs(60);
            serve(listener, app, Room { waiting_bytes: 300_000, patience, ..Room::default() }, || {
                stopping.load(Ordering::SeqCst)
            })
            .unwrap();
        });
        Self { address, folder, stop, thread: Some(thread), root }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    fn head(method: &str, path: &str, token: &str, length: usize) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n"
        )
    }

    /// One request on a connection of its own: status and body.
    fn ask(&self, method: &str, path: &str, token: &str, body: &[u8]) -> (u16, serde_json::Value) {
        let mut stream = self.connect();
        let head = Self::head(method, path, token, body.len()) + "connection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        // The answer may come before the body was read.
        let _refused_early = stream.write_all(body);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    fn put(&self, sum: &str, body: &[u8]) -> (u16, serde_json::Value) {
        self.ask("PUT", &format!("{PATH}/{sum}"), TOKEN, body)
    }

    /// All files below, by their path from the root on.
    fn files(&self) -> Vec<String> {
        fn below(folder: &Path, root: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => below(&path, root, found),
                    false => found.push(path.strip_prefix(root).unwrap().display().to_string()),
                }
            }
        }
        let mut found = Vec::new();
        below(self.root.path(), self.root.path(), &mut found);
        found.sort();
        found
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn frame(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n * 7 + n / 251) as u8).collect()
}

#[test]
fn a_frame_is_kept_under_its_name_and_written_once() {
    let rig = Rig::new();
    // Of many parts, of one byte, of the largest size; more than bodies may wait in memory.
    for size in [700_003, 1, BYTES_MAX as usize] {
        let bytes = frame(size);
        let sum = hash(&bytes);
        let (status, said) = rig.put(&sum, &bytes);
        assert_eq!((status, said["new"].as_bool()), (200, Some(true)), "{said}");
        assert_eq!(said["frame_uri"], format!("sha256:{sum}"));
        let path = rig.folder.join(&sum[..2]).join(&sum);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        let before = std::fs::metadata(&path).unwrap();
        let (status, said) = rig.put(&sum, &bytes);
        assert_eq!((status, said["new"].as_bool()), (200, Some(false)), "{said}");
        let after = std::fs::metadata(&path).unwrap();
        // The same file, with the bytes of the first time; by age it is new.
        assert_eq!((after.ino(), after.mtime() >= before.mtime()), (before.ino(), true));
        // What is there does not make other bytes right.
        let mut other = bytes.clone();
        other[size / 2] ^= 1;
        assert_eq!(rig.put(&sum, &other).0, 422);
    }
    assert_eq!(rig.files().len(), 3, "{:?}", rig.files());
    let (status, said) = rig.ask("GET", PATH, TOKEN, b"");
    assert_eq!(
        (status, said["device"].as_str(), said["frame_bytes"].as_u64()),
        (200, Some("d1"), Some(BYTES_MAX))
    );
}

#[test]
fn what_is_refused_says_why_and_leaves_nothing() {
    let rig = Rig::new();
    let bytes = frame(5_000);
    let sum = hash(&bytes);
    let path = format!("{PATH}/{sum}");
    let large = frame(BYTES_MAX as usize + 1);
    for (method, path, token, body, status, code) in [
        ("PUT", &*path, "wrong", &bytes[..], 401, "W0402"),
        ("PUT", &path, OTHER, &bytes, 403, "W0402"),
        ("GET", PATH, OTHER, b"", 403, "W0402"),
        ("PUT", &path, TOKEN, &bytes[1..], 422, "W0812"),
        ("PUT", &path, TOKEN, b"", 400, "W0101"),
        ("PUT", &path, TOKEN, &large, 413, "W0104"),
        ("POST", &path, TOKEN, &bytes, 405, "W0402"),
        ("GET", &path, TOKEN, b"", 405, "W0402"),
        ("DELETE", &path, TOKEN, b"", 405, "W0402"),
        ("PUT", PATH, TOKEN, &bytes, 405, "W0402"),
        ("PUT", "/v1/framesx", TOKEN, &bytes, 404, "W0404"),
    ] {
        let (seen, said) = rig.ask(method, path, token, body);
        assert_eq!((seen, said["code"].as_str()), (status, Some(code)), "{method} {path}: {said}");
        assert!(said["text"].as_str().is_some_and(|t| !t.is_empty() && !t.contains(TOKEN)));
    }
    // Names that want to be paths.
    let upper = sum.to_uppercase();
    for name in [
        "../tokens",
        "..%2f..%2ftokens",
        "/etc/passwd",
        ".aside",
        "",
        &sum[..63],
        &upper,
        &format!("{sum}0"),
        &format!("{sum}/"),
        &format!("{}/..", &sum[..61]),
        &format!("%2e%2e/{}", &sum[..58]),
        &format!("{sum}%00"),
    ] {
        let (status, said) = rig.put(name, &bytes);
        assert_eq!((status, said["code"].as_str()), (400, Some("W0811")), "{name}: {said}");
    }
    assert_eq!(rig.files(), [] as [String; 0]);
}

#[test]
fn a_frame_whose_sender_goes_away_is_none_and_the_next_try_is() {
    let rig = Rig::new();
    let bytes = frame(600_000);
    let sum = hash(&bytes);
    let aside = || std::fs::read_dir(rig.folder.join(".aside")).map_or(0, Iterator::count);
    let head = Rig::head("PUT", &format!("{PATH}/{sum}"), TOKEN, bytes.len()) + "\r\n";
    let until = WallClock.monotonic() + Duration::from_secs(60);
    {
        let mut stream = rig.connect();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&bytes[..400_000]).unwrap();
        while aside() == 0 {
            assert!(WallClock.monotonic() < until);
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(!rig.folder.join(&sum[..2]).exists());
    }
    while aside() > 0 {
        assert!(WallClock.monotonic() < until, "what it left is removed");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(rig.put(&sum, &bytes).0, 200);
    // A connection serves on behind a frame; one asks before it sends.
    let mut stream = rig.connect();
    let ask_first =
        Rig::head("PUT", &format!("{PATH}/{sum}"), TOKEN, bytes.len()) + "expect: 100-continue\r\n\r\n";
    stream.write_all(ask_first.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&bytes).unwrap();
    stream.write_all((Rig::head("GET", PATH, TOKEN, 0) + "connection: close\r\n\r\n").as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said.matches("HTTP/1.1 200").count(), 2, "{said}");
    assert!(said.contains("\"new\":false"), "{said}");
}

#[test]
fn one_devices_frames_leave_places_for_another() {
    let rig = Rig::new();
    let bytes = frame(100);
    let path = format!("{PATH}/{}", hash(&bytes));
    let slow = || {
        let head = Rig::head("PUT", &path, TOKEN, bytes.len()) + "expect: 100-continue\r\n\r\n";
        let mut stream = rig.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let mut begun = [0; 12];
        stream.read_exact(&mut begun).unwrap();
        (stream, String::from_utf8_lossy(&begun).into_owned())
    };
    let mut held: Vec<_> = (0..UPLOADS_OF_ONE).map(|_| slow()).collect();
    assert!(held.iter().all(|(_, begun)| begun == "HTTP/1.1 100"), "each may come");
    assert_eq!(slow().1, "HTTP/1.1 429");
    assert_eq!(rig.ask("GET", PATH, TOKEN, b"").0, 200, "it may ask");
    assert_eq!(rig.ask("PUT", &path, NEIGHBOUR, &bytes).0, 200);
    // One that is answered gives its place back.
    let (stream, _) = &mut held[0];
    stream.write_all(&bytes).unwrap();
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("HTTP/1.1 200") {
        let mut more = [0; 64];
        let count = stream.read(&mut more).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&said));
        said.extend(&more[..count]);
    }
    assert_eq!(rig.put(&hash(&bytes), &bytes).0, 200);
}

#[test]
fn many_at_once_are_all_kept_and_a_disk_that_refuses_is_told() {
    let rig = Rig::new();
    let frames: Vec<Vec<u8>> = (0..12).map(|n| frame(100_000 + n % 6)).collect();
    std::thread::scope(|scope| {
        for bytes in &frames {
            let rig = &rig;
            scope.spawn(move || assert_eq!(rig.put(&hash(bytes), bytes).0, 200));
        }
    });
    assert_eq!(rig.files().len(), 6, "{:?}", rig.files());
    for bytes in &frames {
        let uri = uri_of(&hash(bytes));
        assert_eq!(Store::new(&rig.folder).get(&uri, 1 << 20).unwrap(), *bytes);
    }
    // A file stands where a folder has to be.
    let bytes = frame(9);
    let sum = hash(&bytes);
    std::fs::write(rig.folder.join(&sum[..2]), b"").unwrap();
    let (status, said) = rig.put(&sum, &bytes);
    assert_eq!((status, said["code"].as_str()), (503, Some("W0501")), "{said}");
    std::fs::remove_file(rig.folder.join(&sum[..2])).unwrap();
    assert_eq!(rig.put(&sum, &bytes).0, 200);
}
