//! Devices write the embedded log over HTTP: real agents, a real server, both killed with SIGKILL at any moment.
//! What was acknowledged is there, and no event comes twice.
//!
//! Needs the agent's binary beside the server's: `cargo test --workspace` builds it, `cargo build -p weir-edge` too.
//! The seed of the kill times is printed; `WEIR_SEED` sets it.

#[path = "edge_log/proxy.rs"]
mod proxy;
#[path = "edge_log/site.rs"]
mod site;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use site::{Agent, Chance, Reader, Server, Site, ask, connect, until};

/// Posts batches of lines until told to stop, each again until it is taken; gives how many records were.
fn device(site: &Site, device: &str, stop: &AtomicBool) -> (u64, u64) {
    let (mut number, mut batches, mut again) = (0, 0, 0);
    let mut stream: Option<TcpStream> = None;
    while !stop.load(Ordering::SeqCst) {
        let lines: String = (number..number + 1 + batches % 7).map(|n| site.line(device, "b", n)).collect();
        let request = format!(
            "POST /v1/log/scans HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nweir-key: W1\r\n\
             content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n{lines}",
            site.token,
            lines.len()
        );
        // Not even a stop ends it before the answer: what was sent has to be known.
        while !stop.load(Ordering::SeqCst) {
            let answer = match &mut stream {
                Some(open) => ask(open, &request),
                None => connect(site.port).and_then(|open| ask(stream.insert(open), &request)),
            };
            match answer {
                Some((200, _)) => {
                    number += 1 + batches % 7;
                    batches += 1;
                    break;
                }
                other => {
                    assert!(other.is_none_or(|(status, _)| status == 503), "{request}");
                    stream = None;
                    again += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }
    (number, again)
}

#[test]
fn what_the_server_acknowledged_outlives_every_kill() {
    let site = Site::new();
    let mut chance = Chance::seeded();
    let stop = AtomicBool::new(false);
    let mut server = Server::start(&site);
    let taken: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let devices: Vec<_> = (0..3)
            .map(|d| {
                let (site, stop) = (&site, &stop);
                scope.spawn(move || device(site, &format!("d{d}"), stop))
            })
            .collect();
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(100 + chance.below(400)));
            server.kill();
            server = Server::start(&site);
        }
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::SeqCst);
        devices.into_iter().map(|d| d.join().unwrap()).collect()
    });
    server.stop();
    let again: u64 = taken.iter().map(|(_, again)| again).sum();
    assert!(again >= 3, "no request met a kill");
    let stored = site.scans();
    let mut unique = 0;
    for (d, (taken, _)) in taken.iter().enumerate() {
        let device = format!("d{d}");
        let of: Vec<u64> = stored.iter().filter(|s| s.device == device).map(|s| s.number).collect();
        // In order, apart from what was sent again; without a gap; all that was acknowledged.
        let mut next = 0;
        for number in of {
            assert!(number <= next, "{device}: {number} came before {next}");
            next = next.max(number + 1);
        }
        assert!(next >= *taken && *taken > 50, "{device}: {next} of {taken}");
        unique += next;
    }
    println!("{} records, {unique} of them unique, {again} requests again", stored.len());
    site.assert_events(unique, stored.len() as u64 - unique);
}

#[test]
fn agents_and_server_are_killed_and_every_scan_comes_once() {
    let site = Site::new();
    let mut chance = Chance::seeded();
    let reader = Reader::start(&site);
    let mut server = Server::start(&site);
    let mut agent = Agent::start(&site);
    until("the first scans", || site.scans().len() > 20);
    for round in 0..14 {
        std::thread::sleep(Duration::from_millis(100 + chance.below(900)));
        // What is in the log was acknowledged, or will be.
        let before = site.scans().len();
        match round % 3 {
            0 => server.kill(),
            1 => agent.kill(),
            _ => {
                server.kill();
                agent.kill();
            }
        }
        let after = site.scans();
        assert!(after.len() >= before, "{before} records, then {}", after.len());
        std::thread::sleep(Duration::from_millis(chance.below(300)));
        if !server.running() {
            server = Server::start(&site);
        }
        if !agent.running() {
            agent = Agent::start(&site);
        }
        // So long that a kill meets work: a start takes its time on a busy machine.
        let seen = after.len();
        until("scans after a kill", || site.scans().len() > seen + 20);
    }
    let sent = reader.stop();
    // The last codes are on their way from the socket into the spool.
    std::thread::sleep(Duration::from_secs(1));
    until("an empty spool", || agent.waiting() == Some(0));
    agent.stop();
    server.stop();

    let stored = site.scans();
    let mut lives: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for scan in &stored {
        let codes = lives.entry(scan.boot.clone()).or_default();
        // Sent again, or the next one.
        if !codes.contains(&scan.number) {
            assert!(
                codes.last().is_none_or(|last| scan.number == last + 1),
                "{scan:?} after {:?}",
                codes.last()
            );
            codes.push(scan.number);
        }
    }
    // Each life has the codes of one connection, from its first one on; the last life has all of them.
    assert!(lives.len() >= 9, "{} lives", lives.len());
    for codes in lives.values() {
        let (first, last) = (codes[0], codes[codes.len() - 1]);
        let connection = sent.iter().find(|c| c.contains(&first)).expect("a code that was sent");
        assert_eq!(connection.start, first, "the first code of a connection");
        assert!(connection.contains(&last));
    }
    let last = sent.last().expect("a connection").end;
    assert!(lives.values().any(|codes| codes.last() == Some(&(last - 1))), "a clean stop loses nothing");
    let unique: u64 = lives.values().map(|codes| codes.len() as u64).sum();
    println!("{} records of {unique} scans in {} lives", stored.len(), lives.len());
    site.assert_events(unique, stored.len() as u64 - unique);
    site.assert_frames();
}

#[test]
fn frames_come_whole_through_a_proxy_that_drops_header_names() {
    let mut site = Site::new();
    let server = Server::start(&site);
    site.door = proxy::start(site.port);
    site.configure(&format!("token = \"file:{}\"", site.path("token")), "health");
    // What the proxy drops is missed by the server, which says so: nothing is acknowledged and then lost.
    let request = format!(
        "POST /v1/log/frames HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nweir-key: W1\r\n\
         weir-header-event_id: d1/b/1\r\ncontent-length: 2\r\n\r\n\u{1}\u{2}",
        site.token
    );
    let answer = ask(&mut connect(site.door).unwrap(), &request);
    assert!(matches!(&answer, Some((400, text)) if text.contains("no event_id")), "{answer:?}");
    let mut agent = Agent::start(&site);
    until("frames", || site.frames().len() > 20);
    agent.stop();
    server.stop();
    for frame in site.frames() {
        for name in ["event_id", "frame_id", "captured_at", "warehouse", "device", "station"] {
            assert!(frame.contains_key(name), "{name} of {frame:?}");
        }
    }
}

#[test]
fn a_wrong_token_and_an_unknown_topic_are_told_to_both_sides() {
    let site = Site::new();
    let server = Server::start(&site);
    let doctor = || {
        let output = site.weir_edge("doctor").output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = doctor();
    assert!(said.contains("ok   log") && !said.contains("BAD  log"), "{said}");
    site.configure("token = \"env:WRONG_TOKEN\"", "health");
    let said = doctor();
    assert!(said.contains("BAD  log") && said.contains("answers 401"), "{said}");
    // Told while it goes on, not only at the end.
    until("a word to the operator", || site.said().contains("refused, by device and status: unknown 401"));
    // The agent keeps everything and says what is wrong; with the right token it goes on by itself.
    let reader = Reader::start(&site);
    let mut agent = Agent::start(&site);
    until("scans that wait", || agent.waiting().is_some_and(|n| n > 10));
    assert_eq!(site.scans(), []);
    agent.stop();
    site.configure(&format!("token = \"file:{}\"", site.path("token")), "unknown");
    let said = doctor();
    assert!(said.contains("unknown answers 404"), "{said}");
    site.configure(&format!("token = \"file:{}\"", site.path("token")), "health");
    let mut agent = Agent::start(&site);
    until("scans", || site.scans().len() > 10);
    let sent = reader.stop();
    // The last codes are on their way from the socket into the spool.
    std::thread::sleep(Duration::from_secs(1));
    until("an empty spool", || agent.waiting() == Some(0));
    agent.stop();
    let broken = format!(
        "POST /v1/log/scans HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nweir-key: W2\r\n\
         connection: close\r\ncontent-length: 0\r\n\r\n",
        site.token
    );
    assert!(matches!(ask(&mut connect(site.port).unwrap(), &broken), Some((403, _))));
    server.stop();
    let said = site.said();
    let summary: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    // The token of the test is granted to any device.
    let refused = |device: &str, status: &str| summary["refused"][device][status].as_u64().unwrap_or(0);
    assert!(refused("unknown", "401") > 1 && refused("*", "404") > 0, "{said}");
    assert_eq!(refused("*", "403"), 1, "{said}");
    assert!(summary["records"]["scans"].as_u64().unwrap() >= site.scans().len() as u64, "{said}");
    let codes: Vec<u64> = site.scans().iter().map(|s| s.number).collect();
    assert!(codes.contains(&sent[0].start), "what waited for the token came");
}

/// Frames of which only the newest are kept, beside scans that are all kept.
#[test]
fn what_is_kept_is_bounded_by_topic() {
    let site = Site::new();
    let server = Server::with(&site, &["--retain-bytes", "frames=2MiB", "--retain", "scans=30 days"]);
    let mut stream = connect(site.port).unwrap();
    let size = 512 << 10;
    for n in 0..16 {
        for topic in ["frames", "scans"] {
            let request = format!(
                "POST /v1/log/{topic} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nweir-key: W1\r\n\
                 weir-header-event-id: d1/b/{n}\r\ncontent-length: {size}\r\n\r\n{}",
                site.token,
                "x".repeat(size)
            );
            assert!(matches!(ask(&mut stream, &request), Some((200, _))));
        }
    }
    server.stop();
    // First offset and bytes of each file, ascending.
    let files = |topic: &str| {
        let files = std::fs::read_dir(site.path(&format!("log/{topic}/0"))).unwrap().map(|f| f.unwrap());
        let segments = files.filter(|f| f.path().extension().is_some_and(|e| e == "seg"));
        let base = |f: &std::fs::DirEntry| f.path().file_stem()?.to_str()?.parse::<u64>().ok();
        segments.map(|f| (base(&f).unwrap(), f.metadata().unwrap().len())).collect::<BTreeMap<_, _>>()
    };
    let (frames, scans) = (files("frames"), files("scans"));
    // A file of 1 MiB more than was said, and the one that is written to.
    let kept: u64 = frames.values().sum();
    assert!((2 << 20..=4 << 20).contains(&kept), "{frames:?}");
    assert!(*frames.keys().next().unwrap() > 0, "the oldest went: {frames:?}");
    assert!(scans.contains_key(&0) && scans.values().sum::<u64>() >= 16 * size as u64, "{scans:?}");
}

#[test]
fn the_command_line_is_checked() {
    let site = Site::new();
    let refused = |args: &[&str], code: &str, text: &str| {
        let output = site.weir(&[&["log-server"], args].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(code) && said.contains(text), "{said}");
    };
    let tokens = site.path("tokens");
    refused(&["--tokens", &tokens, "--listen", "0.0.0.0:0"], "W0701", "not loopback");
    refused(&["--tokens", &tokens, "--log", "kafka://127.0.0.1:9"], "W0701", "embedded log only");
    refused(&["--tokens", &site.path("none")], "W0405", "none");
    std::fs::File::create(site.path("empty")).unwrap().write_all(b"# nobody\n").unwrap();
    refused(&["--tokens", &site.path("empty")], "W0405", "no token");
    let server = Server::start(&site);
    let log = format!("log:{}", site.path("log"));
    refused(&["--tokens", &tokens, "--log", &log, "--listen", "127.0.0.1:0"], "W0503", "writer");
    server.stop();
    let other = ["--tokens", &tokens, "--log", &log, "--partitions", "3", "--topics", "new,frames"];
    refused(&other, "W0204", "topic `frames` has 1 partitions, not 3");
    assert!(!std::path::Path::new(&site.path("log/new")).exists(), "nothing was made");
    refused(&["--tokens", &tokens, "--retain", "orders=1 day"], "W0701", "no topic `orders`");
    refused(&["--tokens", &tokens, "--retain-bytes", "frames=5 GB"], "--retain-bytes", "expected");
}
