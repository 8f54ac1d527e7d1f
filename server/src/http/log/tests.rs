//! The resource over a real socket and a real log.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use weir_contract::{WallClock, wire};
use weir_segments::{Reader, Record, Writer, WriterOptions};

use super::*;
use crate::http::{Room, serve};

struct Rig {
    address: SocketAddr,
    folder: std::path::PathBuf,
    stop: Arc<AtomicBool>,
    told: Arc<Told>,
    thread: Option<std::thread::JoinHandle<()>>,
    _root: tempfile::TempDir,
}

const TOKEN: &str = "correct horse";
/// Of d2.
const OTHER: &str = "other horse";
/// A record.
const ONE: &[u8] = b"{\"event_id\":\"d1/b/1\"}";

/// Status, head and body of an answer.
type Seen = (u16, String, String);

impl Rig {
    fn start(limits: Limits) -> Self {
        Self::with(limits, Room::default(), |writer, records| {
            let rows: Vec<Record<'_>> = records
                .iter()
                .map(|r| Record {
                    append_ms: 1,
                    key: Some(&r.key[..]),
                    value: Some(&r.value),
                    headers: &r.headers,
                })
                .collect();
            writer.append(&rows)?;
            writer.sync()
        })
    }

    fn with(
        limits: Limits,
        room: Room,
        mut append: impl FnMut(&mut Writer, &[Incoming]) -> Result<()> + Send + 'static,
    ) -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("scans");
        let mut writer = Writer::open(&folder, WriterOptions::default()).unwrap();
        let append: Append = Box::new(move |records: Vec<Incoming>| append(&mut writer, &records));
        let digest: String = Sha256::digest(TOKEN).iter().map(|b| format!("{b:02x}")).collect();
        let other: String = Sha256::digest(OTHER).iter().map(|b| format!("{b:02x}")).collect();
        let grants = format!("# devices\nd1 {digest} W1,W2 # dock\nd2 {other} W1\n");
        let grants = Grants::parse("tokens", &grants).unwrap();
        let topics = BTreeMap::from([("scans".to_owned(), append)]);
        let log = Log::new(topics, grants, limits, Arc::new(WallClock)).unwrap();
        let told = log.told();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            serve(listener, log, room, || stopping.load(Ordering::SeqCst)).unwrap();
        });
        Self { address, folder, stop, told, thread: Some(thread), _root: root }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// One request on a connection of its own.
    fn ask(&self, head: &str, body: &[u8]) -> Seen {
        let length = body.len();
        self.raw(&format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"), body)
    }

    fn raw(&self, head: &str, body: &[u8]) -> Seen {
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        // The answer may come before the body was read.
        let _refused_early = stream.write_all(body);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    fn post(&self, more: &str, body: &[u8]) -> Seen {
        let head = format!("POST /v1/log/scans HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\n{more}");
        self.ask(&head, body)
    }

    fn lines(&self, body: &[u8]) -> Seen {
        self.post("weir-key: W1\r\ncontent-type: application/x-ndjson", body)
    }

    fn stored(&self) -> Vec<(String, String, Vec<String>)> {
        let mut reader = Reader::open(&self.folder, 0).unwrap();
        let Some(batch) = reader.next_batch(10_000, 1 << 24).unwrap() else { return Vec::new() };
        let text = |b: Option<&[u8]>| String::from_utf8_lossy(b.unwrap_or_default()).into_owned();
        let headers = |row| {
            let of = batch.headers.iter().filter(move |h| h.row == row as u32);
            of.map(|h| format!("{}={}", h.name, text(Some(&h.value)))).collect()
        };
        (0..batch.len()).map(|r| (text(batch.keys.get(r)), text(batch.values.get(r)), headers(r))).collect()
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

/// Reads one answer of a connection that stays.
fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut one = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut one).unwrap(), 1, "{}", String::from_utf8_lossy(&bytes));
        bytes.push(one[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

#[test]
fn one_record_or_lines_are_durable_when_the_answer_comes() {
    let rig = Rig::start(Limits::default());
    let own = "weir-key: W1\r\nweir-header-station: P1\r\nWeir-Header-Event-Id: d1/b/1";
    let one = rig.post(own, b"\xff\xd8 any bytes");
    assert_eq!((one.0, one.2.as_str()), (200, "{\"records\":1}"));
    let lines = b"{\"event_id\":\"d1/b/2\",\"a\":1}\n\n {\"event_id\":\"d1/b/3\"}\r\n";
    let lines = rig.post("weir-key: W2\r\ncontent-type: application/x-ndjson; charset=utf-8", lines);
    assert_eq!((lines.0, lines.2.as_str()), (200, "{\"records\":2}"));
    let beat = rig.post("weir-key: W1\r\nweir-header-weir-heartbeat: 2026-03-01T00:00:00Z", b"");
    assert_eq!(beat.0, 200);
    let stored = rig.stored();
    assert_eq!(stored[0].2, ["station=P1", "event_id=d1/b/1"]);
    let values: Vec<&str> = stored[1..3].iter().map(|r| r.1.as_str()).collect();
    assert_eq!(values, ["{\"event_id\":\"d1/b/2\",\"a\":1}", "{\"event_id\":\"d1/b/3\"}"]);
    assert_eq!((stored[2].0.as_str(), stored[3].1.as_str(), stored.len()), ("W2", "", 4));
    assert_eq!(stored[3].2, ["weir-heartbeat=2026-03-01T00:00:00Z"]);
    let head = format!("GET /v1/log/scans HTTP/1.1\r\nauthorization: Bearer {TOKEN}");
    let look = rig.ask(&head, b"");
    assert!(look.0 == 200 && look.2.contains("\"device\":\"d1\""), "{look:?}");
}

#[test]
fn what_is_refused_says_why_as_json() {
    let limits = Limits { body_bytes: 1_000, records: 3, ..Limits::default() };
    let rig = Rig::start(limits);
    let post = |more: &str| format!("POST /v1/log/scans HTTP/1.1\r\n{more}");
    let own = format!("authorization: Bearer {TOKEN}\r\nweir-key: W1");
    let lines = format!("{own}\r\ncontent-type: application/x-ndjson");
    let with = |more: &str| post(&format!("{own}\r\n{more}"));
    let id = "weir-header-event-id: d1/b/1";
    let key = "k".repeat(257);
    for (head, body, status, code) in [
        (post("weir-key: W1"), &b"{}"[..], 401, "W0402"),
        (post("authorization: Bearer wrong\r\nweir-key: W1"), b"{}", 401, "W0402"),
        (post("authorization: Basic x\r\nweir-key: W1"), b"{}", 401, "W0402"),
        (post(&format!("authorization: Bearer {TOKEN}")), b"{}", 400, "W0101"),
        (post(&own), b"", 400, "W0101"),
        (post(&format!("authorization: Bearer {TOKEN}\r\nweir-key: W9")), b"{}", 403, "W0402"),
        (post(&format!("authorization: Bearer {TOKEN}\r\nweir-key: {key}")), b"{}", 400, "W0101"),
        (with("weir-key: W2"), b"{\"event_id\":\"d1/b/1\"}", 400, "W0101"),
        // Without an id, whatever else is there: as a proxy leaves it that drops headers.
        (post(&own), b"bytes", 400, "W0101"),
        (post(&own), b"{\"a\":1}", 400, "W0101"),
        (post(&own), b"{\"event_id\":null}", 400, "W0101"),
        (with("weir-header-station: P1"), b"\xff\xd8", 400, "W0101"),
        (post(&lines), b"{\"event_id\":\"d1/b/1\"}\n{\"a\":1}", 400, "W0101"),
        // Another device's id, in any place.
        (with("weir-header-event-id: d2/b/1"), b"bytes", 403, "W0402"),
        (post(&own), b"{\"event_id\":\"d10/b/1\"}", 403, "W0402"),
        (with(id), b"{\"event_id\":\"d2/b/1\"}", 403, "W0402"),
        (with("weir-header-event-id: d2/b/1"), b"{\"event_id\":\"d1/b/1\"}", 403, "W0402"),
        (with("weir-header-weir-heartbeat: x\r\nweir-header-event-id: d2/b/1"), b"", 403, "W0402"),
        (with(id), b" {\"event_id\":\"d1/b/1\",\"event_id\":\"d2/b/1\"}", 400, "W0101"),
        (with(id), b"{\"event\\u005fid\":\"d2/b/1\"}", 403, "W0402"),
        (with(&format!("{id}\r\nweir-header-event-id: d2/b/1")), b"bytes", 400, "W0101"),
        (with(&format!("{id}\r\nweir-header-event_id: d2/b/1")), b"bytes", 400, "W0101"),
        (with(&format!("{id}\r\nweir-header-x.y: z")), b"bytes", 400, "W0101"),
        // Another warehouse, though the grant has it.
        (with(&format!("{id}\r\nweir-header-warehouse: W2")), b"bytes", 403, "W0402"),
        (with(id), b"{\"warehouse\":\"W2\"}", 403, "W0402"),
        (with(id), b"{\"warehouse\":5}", 400, "W0101"),
        (post(&lines), b"{\"event_id\":\"d1/b/1\",\"warehouse\":\"W2\"}", 403, "W0402"),
        (post(&format!("{lines}\r\n{id}")), ONE, 400, "W0101"),
        // What weir itself says of its records.
        (with(&format!("{id}\r\nweir-header-weir-id: {}", "0".repeat(32))), b"bytes", 400, "W0101"),
        (with(&format!("{id}\r\nweir-header-weir-version: 2")), b"bytes", 400, "W0101"),
        (post(&own).replace("scans", "orders"), b"{}", 404, "W0404"),
        (post(&own).replace("/v1/log/scans", "/"), b"{}", 404, "W0404"),
        (post(&own).replace("POST", "DELETE"), b"", 405, "W0402"),
        (post(&own), &[b'x'; 1_001], 413, "W0104"),
        (post(&lines), b"{}\n{}\n{}\n{}", 413, "W0104"),
        (post(&lines), b"\n\n", 400, "W0101"),
    ] {
        let (seen, _, text) = rig.ask(&head, body);
        assert_eq!(seen, status, "{head}: {text}");
        let error: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(error["code"], code, "{head}");
        assert!(error["text"].as_str().is_some_and(|t| !t.is_empty() && !t.contains(TOKEN)));
    }
    assert_eq!(rig.stored(), []);
}

#[test]
fn broken_lines_are_counted_and_the_first_is_named() {
    let rig = Rig::start(Limits::default());
    let of = |(status, _, text): Seen| {
        let v: serde_json::Value = serde_json::from_str(&text).unwrap();
        let number = |name: &str| v[name].as_u64().unwrap();
        (status, number("records"), number("bad"), number("line"), v["text"].as_str().unwrap().to_owned())
    };
    let (status, records, bad, line, text) =
        of(rig.lines(b"{\"a\":1}\n\n{\"a\":\n[\"d1/b/1\",\"W1\"]\n{\"a\":2}\nnull\n{\"a\":3} {}"));
    assert_eq!((status, records, bad, line), (400, 6, 4, 3), "{text}");
    assert!(text.starts_with("4 of 6 records are not JSON objects: line 3: EOF"), "{text}");
    let (status, records, bad, line, text) =
        of(rig.lines(b"{\"event_id\":\"d1/b/1\"}\n{\"event_id\":\"d2/b/1\"}\n{\"event_id\":\"d1\"}"));
    assert_eq!((status, records, bad, line), (403, 3, 2, 2), "{text}");
    let (status, records, bad, line, text) = of(rig.lines(b"{\"event_id\":\"d2/b/1\"}\n{}\n{\"a\":1}"));
    assert_eq!((status, records, bad, line), (400, 3, 2, 2), "{text}");
    assert!(text.starts_with("2 of 3 records have no event_id"), "{text}");
    assert_eq!(rig.stored(), [], "all or nothing");
    assert_eq!(rig.lines(b"{\"event_id\":\"d1/b/1\"}").0, 200);
}

#[test]
fn what_is_no_request_is_refused_and_never_taken_for_another() {
    let rig = Rig::start(Limits::default());
    let own = format!("authorization: Bearer {TOKEN}\r\nweir-key: W1\r\nhost: x");
    let chunked = format!("POST /v1/log/scans HTTP/1.1\r\n{own}\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_eq!(rig.raw(&chunked, b"2\r\n{}\r\n0\r\n\r\n").0, 411);
    let both = chunked.replace("transfer-encoding", "content-length: 2\r\ntransfer-encoding");
    assert_eq!(rig.raw(&both, b"2\r\n{}\r\n0\r\n\r\n").0, 411);
    let none = format!("POST /v1/log/scans HTTP/1.1\r\n{own}\r\n\r\n");
    assert_eq!(rig.raw(&none, b"").0, 411);
    let two = none.replace("\r\n\r\n", "\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n");
    assert_eq!(rig.raw(&two, b"{} ").0, 400);
    assert_eq!(rig.raw("no HTTP at all\r\n\r\n", b"").0, 400);
    let huge = format!("POST /v1/log/scans HTTP/1.1\r\nx: {}", "y".repeat(20_000));
    assert_eq!(rig.raw(&huge, b"").0, 431);
    // Behind a refused head its body may look like a request.
    let inner = format!("POST /v1/log/scans HTTP/1.1\r\n{own}\r\ncontent-length: 2\r\n\r\n{{}}");
    let outer = format!("POST /v1/log/scans HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", inner.len());
    let (status, _, text) = rig.raw(&outer, inner.as_bytes());
    assert!(status == 401 && !text.contains("HTTP/1.1"), "{text}");
    assert_eq!(rig.stored(), []);
}

#[test]
fn a_connection_serves_many_requests_and_says_when_it_goes_on() {
    let rig = Rig::start(Limits::default());
    let mut stream = rig.connect();
    let head =
        format!("POST /v1/log/scans HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\nweir-key: W1\r\nhost: x");
    let head = format!("{head}\r\nweir-header-event-id: d1/b/1");
    // Two at once; the second waits for its body until it is asked for.
    let two = format!(
        "{head}\r\ncontent-length: 3\r\n\r\none{head}\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(two.as_bytes()).unwrap();
    assert!(answer(&mut stream).ends_with("{\"records\":1}"));
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"two").unwrap();
    assert!(answer(&mut stream).starts_with("HTTP/1.1 200"));
    // A body in pieces, and a refusal after which the connection goes on, since nothing is left unread.
    stream.write_all(format!("{head}\r\ncontent-length: 5\r\n\r\nth").as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    stream.write_all(b"ree").unwrap();
    assert!(answer(&mut stream).starts_with("HTTP/1.1 200"));
    stream.write_all(head.replace("scans", "x").as_bytes()).unwrap();
    stream.write_all(b"\r\ncontent-length: 0\r\n\r\n").unwrap();
    assert!(answer(&mut stream).starts_with("HTTP/1.1 404"));
    stream.write_all(format!("{head}\r\ncontent-length: 4\r\n\r\nfour").as_bytes()).unwrap();
    assert!(answer(&mut stream).starts_with("HTTP/1.1 200"));
    let values: Vec<String> = rig.stored().into_iter().map(|r| r.1).collect();
    assert_eq!(values, ["one", "two", "three", "four"]);
}

#[test]
fn a_device_that_sends_too_fast_is_slowed_then_refused() {
    let rate = Rate { requests_per_s: 1.0, bytes_per_s: 1e9 };
    let rig = Rig::start(Limits { rate, ..Limits::default() });
    let answers: Vec<Seen> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..12).map(|_| scope.spawn(|| rig.post("weir-key: W1", ONE))).collect();
        asking.into_iter().map(|a| a.join().unwrap()).collect()
    });
    let refused: Vec<_> = answers.iter().filter(|(status, ..)| *status == 429).collect();
    let taken = answers.iter().filter(|(status, ..)| *status == 200).count();
    // Two are free and one is owed for; two more wait for one and two seconds.
    assert!(taken >= 5 && !refused.is_empty() && taken + refused.len() == 12, "{answers:?}");
    assert!(refused.iter().all(|(_, head, text)| head.contains("retry-after: ") && text.contains("faster")));
    assert_eq!(rig.stored().len(), taken);
}

#[test]
fn beyond_its_connections_the_port_says_so_and_serves_on() {
    let room = Room { connections: 2, patience: Duration::from_secs(60), ..Room::default() };
    let rig = Rig::with(Limits::default(), room, |_, _| Ok(()));
    let known = || {
        let mut stream = rig.connect();
        let head = format!("GET /v1/log/scans HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\nhost: x\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        assert!(answer(&mut stream).starts_with("HTTP/1.1 200"));
        stream
    };
    let (idle, _other) = (known(), known());
    let until = WallClock.monotonic() + Duration::from_secs(30);
    loop {
        let mut third = rig.connect();
        let mut text = String::new();
        third.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let _empty_where_it_was_taken = third.read_to_string(&mut text);
        if text.starts_with("HTTP/1.1 503") {
            break;
        }
        assert!(WallClock.monotonic() < until, "{text}");
    }
    drop(idle);
    let until = WallClock.monotonic() + Duration::from_secs(30);
    loop {
        let mut stream = rig.connect();
        let head = format!("GET /v1/log/scans HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\nhost: x\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        if answer(&mut stream).starts_with("HTTP/1.1 200") {
            return;
        }
        assert!(WallClock.monotonic() < until);
    }
}

#[test]
fn a_disk_that_refuses_promises_nothing_and_may_come_back() {
    let mut times = 0;
    let rig = Rig::with(Limits::default(), Room::default(), move |_, _| {
        times += 1;
        if times == 1 { Err(Error::new(Code::DiskFull, "no space is left")) } else { Ok(()) }
    });
    let (status, head, text) = rig.post("weir-key: W1", ONE);
    assert!(status == 503 && text.contains("W0505") && head.contains("retry-after: 1"), "{head} {text}");
    let later = |seconds| rig.told.lines(WallClock.monotonic() + Duration::from_secs(seconds));
    let said = later(5);
    assert!(said.iter().any(|l| l.starts_with("W0505") && l.contains("scans")), "{said:?}");
    assert!(said.iter().any(|l| l.contains("d1 503 (1 times)")), "{said:?}");
    assert!(later(6).is_empty(), "once");
    assert_eq!(rig.post("weir-key: W1", ONE).0, 200);
    let said = later(100);
    assert!(matches!(&said[..], [over] if over.starts_with("W0505 is over")), "{said:?}");
    assert_eq!(rig.told.summary()["records"]["scans"], 1);
}

#[test]
fn many_devices_at_once_lose_nothing() {
    let rig = Rig::start(Limits::default());
    std::thread::scope(|scope| {
        for device in 0..8 {
            let rig = &rig;
            scope.spawn(move || {
                for n in 0..25 {
                    let line = format!("{{\"event_id\":\"d1/{device}/{n}\",\"n\":{n}}}");
                    assert_eq!(rig.post("weir-key: W1", line.as_bytes()).0, 200);
                }
            });
        }
    });
    let stored = rig.stored();
    assert_eq!(stored.len(), 200);
    for device in 0..8 {
        let own = format!("{{\"event_id\":\"d1/{device}/");
        let of: Vec<&str> = stored.iter().map(|r| r.1.as_str()).filter(|v| v.starts_with(&own)).collect();
        assert_eq!(of.len(), 25);
        assert!((0..25).all(|n| of[n].ends_with(&format!("\"n\":{n}}}"))), "each device's own order");
    }
}

#[test]
fn a_proxy_that_drops_headers_takes_nothing_of_a_frame() {
    let rig = Rig::start(Limits::default());
    let facts = [("event_id", "d1/b/1"), ("warehouse", "W1"), ("frame_id", "f"), ("clock_synced", "true")];
    let mut head = "weir-key: W1".to_owned();
    for (name, value) in facts {
        head += &format!("\r\n{}{}: {value}", wire::HTTP_PREFIX, wire::http_name(name).unwrap());
    }
    // As nginx does: whatever has another character in its name is not passed on.
    let passes = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let passed = |line: &&str| line.split(':').next().is_some_and(passes);
    let through: Vec<&str> = head.split("\r\n").filter(passed).collect();
    assert_eq!(rig.post(&through.join("\r\n"), b"\xff\xd8").0, 200);
    assert_eq!(rig.stored()[0].2, facts.map(|(name, value)| format!("{name}={value}")));
}

#[test]
fn what_waits_is_the_body_and_a_span_for_each_line() {
    let ticket = Ticket {
        topic: "scans".into(),
        key: b"W1"[..].into(),
        grant: Grant { device: "d1".into(), keys: vec!["W1".into()], frames: false },
        look: false,
        token: [0; 32],
        frame: None,
        _upload: None,
        _room: None,
    };
    let mut headers = ureq_proto::http::HeaderMap::new();
    headers.insert("content-type", "application/x-ndjson".parse().unwrap());
    let body = [ONE, b"\n\n \t", ONE, b" \r\n", ONE].concat();
    let length = body.len();
    let read = records(&ticket, &headers, body.clone(), 3).unwrap();
    assert_eq!((read.len(), read.bytes()), (3, length + 3 * 2));
    let incoming = read.into_incoming();
    assert!(incoming.iter().all(|r| r.value == ONE && Arc::ptr_eq(&r.key, &ticket.key)));
    assert_eq!(records(&ticket, &headers, body, 2).unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
    // Keys and headers count too.
    let mut headers = ureq_proto::http::HeaderMap::new();
    headers.insert("weir-header-event-id", "d1/b/1".parse().unwrap());
    let read = records(&ticket, &headers, b"abc".to_vec(), 1).unwrap();
    assert_eq!((read.len(), read.bytes()), (1, 3 + "W1event_idd1/b/1".len()));
    let all = Incoming {
        key: ticket.key.clone(),
        value: b"abc".to_vec(),
        headers: vec![("event_id".into(), b"d1/b/1".to_vec())],
    };
    assert_eq!(read.into_incoming(), [all]);
}

mod fair;
