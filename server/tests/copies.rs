//! Copies of a stateless program share a topic through a consumer group: killed, stopped for a while, joined
//! by others and ended on a real Kafka, they tell each row once, and none of their rows is late at a reader.
//!
//! Starts brokers of its own (scripts/kafka.sh); the detector needs the library that `make onnxruntime` fetches.

#[allow(dead_code, reason = "shared with the tests of faults")]
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::broker::Broker;
use support::topics::Topics;
use weir_contract::EventTime;
use weir_render::{Domain, render};

/// 2026-03-01T08:00:00Z.
const START: i64 = 1_772_352_000_000_000;
const PARTITIONS: i32 = 4;
/// Looks at what was written, a tenth of a second apart and more.
const LOOKS: usize = 1_800;

const TABLE: &str = "CREATE TABLE frames (
  event_id TEXT NOT NULL, warehouse TEXT NOT NULL, n BIGINT NOT NULL, captured_at TIMESTAMP NOT NULL,
  WATERMARK FOR captured_at AS captured_at - INTERVAL '2 seconds'
) WITH (type = 'source', {more} dedup = 'event_id', dedup_within = INTERVAL '10 minutes')
PARTITIONED BY (warehouse);
CREATE TABLE found (event_id TEXT, warehouse TEXT, n BIGINT, captured_at TIMESTAMP)
WITH (type = 'sink', topic = '{topic}');
INSERT INTO found SELECT event_id, warehouse, n * 2 AS n, captured_at FROM frames WHERE n % 5 <> 0;
";

const READER: &str = "CREATE TABLE found (
  event_id TEXT NOT NULL, warehouse TEXT NOT NULL, n BIGINT NOT NULL, captured_at TIMESTAMP NOT NULL,
  WATERMARK FOR captured_at AS captured_at - INTERVAL '3 seconds'
) WITH (type = 'source', until = 'end', dedup = 'event_id', dedup_within = INTERVAL '10 minutes')
PARTITIONED BY (warehouse);
CREATE RULE told WITH (kind = 'event', key = 'event_id', severity = 'low') AS
SELECT warehouse, event_id, captured_at AS event_time, 'told' AS reason FROM found;
";

struct Site {
    broker: Broker,
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        Site { broker: Broker::start(), folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn weir(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        for name in ["WEIR_ENV", "WEIR_LOG", "WEIR_REFERENCE", "WEIR_PATHS", "WEIR_MODELS"] {
            command.env_remove(name);
        }
        // The shortest time after which a broker takes a member for dead.
        let log = format!("{}?kafka.session.timeout.ms=6000", self.broker.log());
        command.args(args).args(["--log", &log]).current_dir(self.folder.path());
        command.env("RUST_LOG", "warn,weir=info").stdin(Stdio::null());
        command
    }

    fn copy(&self, program: &Path, name: &'static str) -> Copy {
        let said = self.folder.path().join(format!("{name}.said"));
        let mut run = self.weir(&["run", program.to_str().unwrap(), "--copy", "--data", "none"]);
        run.args(["--checkpoint-every", "0.3", "--batch-rows", "7"]);
        run.stdout(Stdio::null()).stderr(std::fs::File::create(&said).unwrap());
        Copy { child: run.spawn().unwrap(), said, name }
    }

    /// What a reader of committed records sees of a topic.
    fn rows(&self, topic: &str) -> Vec<Value> {
        let done = self.weir(&["tail", topic]).output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn ids(&self, topic: &str) -> BTreeSet<String> {
        self.rows(topic).iter().map(|row| row["event_id"].as_str().unwrap().to_owned()).collect()
    }

    /// A program with bounded sources, to its end.
    fn whole(&self, program: &Path, data: &str) -> Value {
        let done = self.weir(&["run", program.to_str().unwrap(), "--data", data]).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{said}");
        serde_json::from_str(said.lines().last().unwrap()).unwrap()
    }
}

struct Copy {
    child: Child,
    said: PathBuf,
    name: &'static str,
}

impl Copy {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    /// The partitions that it was given last.
    fn last(&self) -> Option<Vec<u32>> {
        let text = self.said();
        let (_, list) = text.rsplit_once("this copy has partitions ")?;
        serde_json::from_str(list.lines().next()?).ok()
    }

    /// It ended by itself, and nobody took note so far.
    fn ended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Ends cleanly, and says what it did.
    fn end(mut self) -> Value {
        self.signal("-TERM");
        assert!(self.child.wait().unwrap().success(), "{}: {}", self.name, self.said());
        let counts: Value = serde_json::from_str(self.said().lines().last().unwrap()).unwrap();
        let c = &counts["sources"]["frames"];
        let n = |name: &str| c[name].as_u64().unwrap();
        assert_eq!(n("rows"), n("processed") + n("late") + n("duplicates"), "{counts}");
        println!("{}: {counts}", self.name);
        counts
    }
}

fn until(what: &str, copies: &[&Copy], mut done: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        if done() {
            return;
        }
        let ended = copies.iter().find(|c| c.ended());
        assert!(ended.is_none(), "{what}: {}", ended.map_or(String::new(), |c| c.said()));
        std::thread::sleep(Duration::from_millis(100));
    }
    let said: Vec<String> = copies.iter().map(|c| format!("{}: {}", c.name, c.said())).collect();
    panic!("not yet: {what}\n{}", said.join("\n"));
}

/// Waits until these copies have all partitions, each its own.
fn settled(copies: &[&Copy]) {
    until("each copy has partitions of its own", copies, || {
        let lists: Vec<Vec<u32>> = copies.iter().filter_map(|c| c.last()).collect();
        let mut all = lists.concat();
        all.sort_unstable();
        let each = lists.len() == copies.len() && lists.iter().all(|l| !l.is_empty());
        each && all.into_iter().eq(0..PARTITIONS as u32)
    });
}

/// Rows of four warehouses, by turns: some out of order, some late, some twice.
struct Feed {
    topics: Topics,
    next: i64,
    wanted: BTreeSet<String>,
    late: usize,
    twice: usize,
}

impl Feed {
    /// Makes the topic. The brokers have it once they took records.
    fn of(site: &Site) -> Feed {
        let topics = Topics::at(&site.broker.at);
        topics.create("frames", PARTITIONS);
        let mut feed = Feed { topics, next: 0, wanted: BTreeSet::new(), late: 0, twice: 0 };
        feed.rows(20);
        feed
    }

    fn rows(&mut self, count: i64) {
        for n in self.next..self.next + count {
            let partition = n as i32 % PARTITIONS;
            let late = n > 100 && n % 17 == 0;
            let jitter = if n % 3 == 0 { -1_500_000 } else { 0 };
            let time = START + n * 200_000 + if late { -60_000_000 } else { jitter };
            let line = format!(
                r#"{{"event_id":"d/b/{n}","warehouse":"W{partition}","n":{n},"captured_at":"{}"}}"#,
                EventTime(time)
            );
            self.topics.send("frames", partition, line.as_bytes());
            if late {
                self.late += 1;
                continue;
            }
            if n % 23 == 0 {
                self.topics.send("frames", partition, line.as_bytes());
                self.twice += 1;
            }
            if n % 5 != 0 {
                self.wanted.insert(format!("d/b/{n}"));
            }
        }
        self.next += count;
        self.topics.flush();
    }
}

#[test]
fn copies_tell_each_row_once_whatever_happens_to_them() {
    let site = Site::new();
    let mut feed = Feed::of(&site);
    let program = site.write("finder.sql", &TABLE.replace("{more}", "").replace("{topic}", "found"));
    let first = site.copy(&program, "first");
    let mut second = site.copy(&program, "second");
    settled(&[&first, &second]);

    // One is killed in the middle of its work: the other one takes all partitions over.
    feed.rows(3_000);
    until("some rows", &[&first, &second], || site.ids("found").len() > 300);
    second.child.kill().unwrap();
    second.child.wait().unwrap();
    feed.rows(300);
    settled(&[&first]);
    until("every row after a kill", &[&first], || site.ids("found") == feed.wanted);

    // A third joins in the middle of the work.
    feed.rows(2_000);
    let third = site.copy(&program, "third");
    settled(&[&first, &third]);
    until("every row after a third joined", &[&first, &third], || site.ids("found") == feed.wanted);

    // One stands still for longer than the group waits. When it comes back it is refused, and joins anew.
    feed.rows(1_000);
    first.signal("-STOP");
    settled(&[&third]);
    until("every row after one stood still", &[&third], || site.ids("found") == feed.wanted);
    first.signal("-CONT");
    settled(&[&first, &third]);

    // One ends: the last one has all.
    feed.rows(1_000);
    let counts = first.end();
    assert!(counts["sources"]["frames"]["processed"].as_u64().unwrap() > 0, "{counts}");
    settled(&[&third]);
    feed.rows(300);
    until("every row after one ended", &[&third], || site.ids("found") == feed.wanted);
    let counts = third.end();
    assert!(counts["sources"]["frames"]["processed"].as_u64().unwrap() > 0, "{counts}");
    assert!(!site.folder.path().join("none").exists(), "a copy keeps nothing in the data folder");

    // Each row stands there once; a frame that came twice at most twice (a take-over may lie between).
    let rows = site.rows("found");
    let again = rows.len() - feed.wanted.len();
    println!(
        "{} rows, {again} of them again, {} frames came twice, {} late",
        rows.len(),
        feed.twice,
        feed.late
    );
    let mut ids = BTreeSet::new();
    for row in &rows {
        let id = row["event_id"].as_str().unwrap();
        let n: i64 = id.rsplit('/').next().unwrap().parse().unwrap();
        assert!(ids.insert(id) || n % 23 == 0, "{row} was told again");
    }

    // What an ordinary run of the whole log writes is the same.
    let one =
        site.write("one.sql", &TABLE.replace("{more}", "until = 'end',").replace("{topic}", "found-by-one"));
    let whole = site.whole(&one, "one");
    assert_eq!(whole["sources"]["frames"]["late"], feed.late, "{whole}");
    assert_eq!(whole["sources"]["frames"]["duplicates"], feed.twice, "{whole}");
    let lines = |topic: &str| -> BTreeSet<String> { site.rows(topic).iter().map(Value::to_string).collect() };
    assert_eq!(lines("found"), lines("found-by-one"));
    assert_eq!(lines("found").len(), feed.wanted.len());

    // A reader has every row, none of them late.
    let reader = site.write("reader.sql", READER);
    let read = site.whole(&reader, "reader");
    let found = &read["sources"]["found"];
    assert_eq!((found["late"].as_u64(), found["rejects"].as_u64()), (Some(0), Some(0)), "{read}");
    assert_eq!(found["processed"], feed.wanted.len(), "{read}");
    assert_eq!(found["duplicates"], again, "{read}");
    assert!(found["heartbeats"].as_u64().unwrap() > 0, "{read}");
    // Late frames are listed once each, however many copies had the partition.
    let late = site.rows("dev.frames.late");
    let positions: BTreeSet<String> =
        late.iter().map(|row| format!("{}/{}", row["partition"], row["offset"])).collect();
    // The ordinary run wrote its own, of another program, to the same topic.
    assert_eq!((late.len(), positions.len()), (2 * feed.late, feed.late));
}

/// The brokers die in the middle of the work and come back: the copies go on by themselves.
#[test]
fn an_outage_of_the_brokers_is_waited_through() {
    let site = Site::new();
    let mut feed = Feed::of(&site);
    let program = site.write("finder.sql", &TABLE.replace("{more}", "").replace("{topic}", "found"));
    let copies = [site.copy(&program, "left"), site.copy(&program, "right")];
    let both = [&copies[0], &copies[1]];
    settled(&both);
    feed.rows(2_000);
    site.broker.crash();
    std::thread::sleep(Duration::from_secs(8));
    site.broker.again();
    feed.rows(500);
    until("every row after an outage", &both, || site.ids("found") == feed.wanted);
    settled(&both);
    feed.rows(100);
    until("every row of both", &both, || site.ids("found") == feed.wanted);
    println!("{}", both.map(Copy::said).concat());
    for copy in copies {
        copy.end();
    }
    let rows = site.rows("found").len();
    assert!(rows <= feed.wanted.len() + feed.twice, "{rows} of {}", feed.wanted.len());
}

#[test]
fn two_detectors_share_the_frames() {
    const FRAMES: i64 = 16;
    let site = Site::new();
    let topics = Topics::at(&site.broker.at);
    topics.create("frames", PARTITIONS);
    for partition in 0..PARTITIONS {
        let beat = EventTime(START).to_string();
        topics.send_with("frames", partition, None, Some(("weir-heartbeat", beat.as_bytes())));
    }
    topics.flush();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/detect.sql");
    let copies = [site.copy(&program, "left"), site.copy(&program, "right")];
    settled(&[&copies[0], &copies[1]]);
    for n in 0..FRAMES {
        let partition = n as i32 % PARTITIONS;
        let jpeg = render(&Domain::HeldOut.scene(n as u64), (320, 240), n as u64).unwrap().jpeg().unwrap();
        let (id, warehouse) = (format!("d/b/{n}"), format!("W{partition}"));
        let (time, frame) = (EventTime(START + n * 500_000).to_string(), format!("{n:064x}"));
        let headers: [(&str, &[u8]); 6] = [
            ("event_id", id.as_bytes()),
            ("warehouse", warehouse.as_bytes()),
            ("device", b"d"),
            ("station", b"P1"),
            ("frame_id", frame.as_bytes()),
            ("captured_at", time.as_bytes()),
        ];
        topics.send_all("frames", partition, Some(&jpeg), &headers);
    }
    topics.flush();
    let frames = |rows: &[Value]| -> BTreeSet<i64> {
        let number =
            |row: &Value| row["event_id"].as_str().unwrap().split('/').nth(2).unwrap().parse().unwrap();
        rows.iter().map(number).collect()
    };
    until("every frame", &[&copies[0], &copies[1]], || {
        frames(&site.rows("detections")).into_iter().eq(0..FRAMES)
    });
    let [left, right] = copies.map(Copy::end);
    let seen = |counts: &Value| counts["sources"]["frames"]["processed"].as_i64().unwrap();
    assert_eq!((seen(&left), seen(&right)), (FRAMES / 2, FRAMES / 2), "{left}\n{right}");
    let rows = site.rows("detections");
    let ids: BTreeSet<&str> = rows.iter().map(|row| row["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), rows.len(), "each once");
    assert!(rows.iter().any(|row| row["brand"].is_string()), "{rows:?}");
}
