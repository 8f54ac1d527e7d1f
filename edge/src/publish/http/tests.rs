//! The sender over real sockets, against a log whose answers the test decides.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use weir_contract::{Clock, WallClock};

use super::*;

struct Asked {
    head: String,
    body: Vec<u8>,
}

/// A log at a port of its own; `decide` gives the status, and what the body says.
struct Log {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Log {
    fn start(decide: impl Fn(&Asked, usize) -> u16 + Send + 'static) -> Self {
        Self::saying(move |asked, number| (decide(asked, number), "{}"))
    }

    fn saying(decide: impl Fn(&Asked, usize) -> (u16, &'static str) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let seen = asked.clone();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let mut bytes = Vec::new();
                let mut buffer = [0; 4_096];
                let head_end = loop {
                    if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                        break end;
                    }
                    let count = stream.read(&mut buffer).unwrap();
                    bytes.extend_from_slice(&buffer[..count]);
                };
                let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap().to_lowercase();
                let length = head
                    .split("content-length: ")
                    .nth(1)
                    .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
                let mut body = bytes[head_end + 4..].to_vec();
                while body.len() < length {
                    let count = stream.read(&mut buffer).unwrap();
                    body.extend_from_slice(&buffer[..count]);
                }
                let asked = Asked { head, body };
                let (status, said) = decide(&asked, number);
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n", said.len());
                let text = format!("{head}connection: close\r\n\r\n{said}");
                // Before the answer: who has that may look at once.
                seen.lock().unwrap().push(asked);
                stream.write_all(text.as_bytes()).unwrap();
            }
        });
        Self { url, asked }
    }

    fn sender(&self) -> HttpSender {
        let target = HttpTarget { url: self.url.clone(), token: "t0ken".into(), tls: Tls::default() };
        HttpSender::new(target, "scans").unwrap()
    }
}

fn record(offset: i64, value: &[u8], headers: &[(&str, &str)]) -> Outgoing {
    let headers = headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
    Outgoing { offset, time_us: 0, key: b"W1".to_vec(), headers, value: value.to_vec() }
}

fn outcomes(sender: &mut HttpSender, wanted: usize) -> Vec<String> {
    let until = WallClock.monotonic() + Duration::from_secs(30);
    let mut said = Vec::new();
    while said.len() < wanted {
        assert!(WallClock.monotonic() < until, "{said:?}");
        said.extend(sender.poll(0).iter().map(|o| match o {
            Outcome::Acked(offset) => format!("acked {offset}"),
            Outcome::Refused(offset, why) => format!("refused {offset} {}", why.code()),
            Outcome::Broken(why) => format!("broken {}", why.code()),
        }));
        thread::sleep(Duration::from_millis(2));
    }
    said
}

#[test]
fn json_records_go_as_lines_others_alone_with_their_headers() {
    let log = Log::start(|_, _| 200);
    let mut sender = log.sender();
    for n in 0..3 {
        assert!(matches!(sender.send(record(n, br#"{"a":1}"#, &[])), Sent::Taken));
    }
    sender.send(record(3, b"\xff\xd8bytes", &[("station", "P1"), ("event_id", "d1/b/1")]));
    sender.heartbeat(b"W1", 1_000_000);
    assert_eq!(outcomes(&mut sender, 2), ["acked 2", "acked 3"]);
    let until = WallClock.monotonic() + Duration::from_secs(10);
    while log.asked.lock().unwrap().len() < 3 && WallClock.monotonic() < until {
        thread::sleep(Duration::from_millis(5));
    }
    let asked = log.asked.lock().unwrap();
    assert_eq!(asked[0].body, b"{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n");
    assert!(asked[0].head.starts_with("post /v1/log/scans http/1.1"));
    for word in ["authorization: bearer t0ken", "weir-key: w1", "content-type: application/x-ndjson"] {
        assert!(asked[0].head.contains(word), "{}", asked[0].head);
    }
    assert!(asked[1].head.contains("weir-header-station: p1") && asked[1].body == b"\xff\xd8bytes");
    assert!(asked[1].head.contains("weir-header-event-id: d1/b/1"), "{}", asked[1].head);
    assert!(asked[2].head.contains("weir-header-weir-heartbeat: 1970-01-01t00:00:01z"), "{}", asked[2].head);
}

const TOO_LARGE: &str = r#"{"code":"W0104","text":"a body of 9 bytes is larger than 8"}"#;
const BAD: &str = r#"{"code":"W0101","text":"1 of 1 lines are not JSON objects","records":1,"bad":1}"#;
const NO_KEY: &str = r#"{"code":"W0101","text":"the header weir-key is missing"}"#;
const PROXY: &str = "<html><center><h1>Request Entity Too Large</h1></center></html>";

fn three(sender: &mut HttpSender) {
    for (n, value) in [(0, &br#"{"a":1}"#[..]), (1, br#"{"bad":1}"#), (2, br#"{"a":2}"#)] {
        sender.send(record(n, value, &[]));
    }
}

fn has_bad(asked: &Asked) -> bool {
    asked.body.windows(3).any(|w| w == b"bad")
}

#[test]
fn one_bad_record_is_refused_alone() {
    for (status, said) in [(413, TOO_LARGE), (400, BAD)] {
        let log = Log::saying(move |asked, _| if has_bad(asked) { (status, said) } else { (200, "{}") });
        let mut sender = log.sender();
        three(&mut sender);
        assert_eq!(outcomes(&mut sender, 3), ["acked 0", "refused 1 W0402", "acked 2"]);
    }
}

/// Nothing is thrown away for what a proxy says, or for what it did to a request's head.
#[test]
fn only_the_log_itself_refuses_a_record() {
    for (status, said) in [(400, PROXY), (400, "{}"), (400, NO_KEY), (400, r#"["W0104"]"#)] {
        let log = Log::saying(move |_, number| if number == 0 { (status, said) } else { (200, "{}") });
        let mut sender = log.sender();
        three(&mut sender);
        assert_eq!(outcomes(&mut sender, 1), ["broken W0402"], "{said}");
        three(&mut sender);
        assert_eq!(outcomes(&mut sender, 1), ["acked 2"]);
    }
    // A limit on the way that a smaller body keeps.
    let log = Log::saying(|asked, _| if has_bad(asked) { (413, PROXY) } else { (200, "{}") });
    let mut sender = log.sender();
    three(&mut sender);
    assert_eq!(outcomes(&mut sender, 2), ["acked 0", "broken W0402"]);
}

#[test]
fn what_may_mend_itself_is_broken_and_nothing_behind_it_is_sent() {
    for (status, code) in [(429, "W0401"), (503, "W0401"), (401, "W0402"), (404, "W0402")] {
        let log = Log::start(move |_, number| if number == 0 { status } else { 200 });
        let mut sender = log.sender();
        sender.send(record(0, b"first", &[]));
        sender.send(record(1, b"second", &[]));
        assert_eq!(outcomes(&mut sender, 1), [format!("broken {code}")]);
        assert_eq!(log.asked.lock().unwrap().len(), 1, "the second waits for the first");
        sender.send(record(0, b"first", &[]));
        assert_eq!(outcomes(&mut sender, 1), ["acked 0"]);
    }
}

#[test]
fn a_log_that_is_not_there_is_broken_too() {
    let target = HttpTarget { url: "http://127.0.0.1:9".into(), token: "t".into(), tls: Tls::default() };
    let mut sender = HttpSender::new(target, "scans").unwrap();
    sender.send(record(0, b"{}", &[]));
    assert_eq!(outcomes(&mut sender, 1), ["broken W0401"]);
}
