//! A run whose outputs cannot be written for a while: what was owed is written later, the run ends, and
//! what waits meanwhile is bounded.

#[allow(dead_code, reason = "shared with other tests")]
mod small;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use small::{SECOND, START, Small, row};
use weir_contract::event::Id;
use weir_contract::{Code, Error, Result};
use weir_engine::run::options::OpenOutput;
use weir_engine::run::{Options, Ports, Report, Stop, run};
use weir_engine::sink::{OutRecord, Sink, SinkEnds, SinkFactory};
use weir_engine::source::{FetchLimit, Fetched, Partition, PartitionReader, Source};

/// Longest that a busy machine may take; no answer depends on it.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(5);

const TABLE: &str = "
CREATE TABLE a (id TEXT NOT NULL, warehouse TEXT NOT NULL, k TEXT, n BIGINT, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '1 second')
WITH (connector = 'memory', type = 'source', append_time = 'producer') PARTITIONED BY (warehouse);
";

/// Says of the records that a commit would write whether their log is away.
type Refuses = Arc<dyn Fn(&[OutRecord]) -> bool + Send + Sync>;

/// An output whose log is away now and then.
struct Shaky {
    inner: Arc<dyn SinkFactory>,
    refuses: Refuses,
}

impl SinkFactory for Shaky {
    fn open(&self, writer: &str) -> Result<Box<dyn Sink>> {
        let refuses = Arc::clone(&self.refuses);
        Ok(Box::new(ShakySink { inner: self.inner.open(writer)?, refuses, written: Vec::new() }))
    }
}

struct ShakySink {
    inner: Box<dyn Sink>,
    refuses: Refuses,
    written: Vec<OutRecord>,
}

impl Sink for ShakySink {
    fn ends(&mut self) -> Result<SinkEnds> {
        self.inner.ends()
    }

    fn read_back(&mut self, from: &SinkEnds, seen: &mut dyn FnMut(Id, Option<i64>)) -> Result<()> {
        self.inner.read_back(from, seen)
    }

    fn write(&mut self, records: Vec<OutRecord>) -> Result<()> {
        self.written.extend(records.iter().cloned());
        self.inner.write(records)
    }

    fn commit(&mut self) -> Result<()> {
        if (self.refuses)(&self.written) {
            return Err(Error::new(Code::Connect, "the log is away"));
        }
        self.written.clear();
        self.inner.commit()
    }
}

/// The world of a program, with outputs that are away when they are told to.
fn shaky(small: &Small, refuses: &Refuses) -> Ports {
    let ports = small.ports();
    let wrapped = {
        let refuses = Arc::clone(refuses);
        move |inner| Arc::new(Shaky { inner, refuses: Arc::clone(&refuses) }) as Arc<dyn SinkFactory>
    };
    let targets = ports.targets.into_iter().map(|(name, inner)| (name, wrapped(inner))).collect();
    let open = ports.outputs.unwrap();
    let outputs: Arc<OpenOutput> = Arc::new(move |topic: &str| Ok(wrapped(open(topic)?)));
    Ports { targets, outputs: Some(outputs), ..ports }
}

/// Runs to the end of the inputs; a run that hangs is stopped, and fails.
fn to_the_end(small: &Small, ports: Ports, options: Options, meanwhile: impl FnOnce()) -> Report {
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(small.plan.clone(), ports, options, &stop));
        meanwhile();
        let mut waited = Duration::ZERO;
        while !running.is_finished() && waited < PATIENCE {
            std::thread::sleep(LOOK);
            waited += LOOK;
        }
        stop.stop();
        let report = running.join().unwrap().unwrap_or_else(|e| panic!("{e}"));
        assert!(report.ended, "it was stopped after {PATIENCE:?}");
        report
    })
}

#[test]
fn a_run_ends_although_its_last_commit_failed_once() {
    const QUIET: &str = "
        CREATE RULE quiet WITH (kind = 'condition', key = 'k', no_data = '4 seconds') AS
        SELECT warehouse, k, ts AS event_time, n > 1000 AS fire FROM a;";
    let world = || {
        let small = Small::new(&format!("{TABLE}{QUIET}"), 2);
        // Nobody but the end of the run knows that W0 was silent for so long.
        small.log.append("a", 0, row(0, 0, START)).unwrap();
        for n in 0..60 {
            small.log.append("a", 1, row(1, n, START + n * SECOND)).unwrap();
        }
        small.log.set_bounded("a", true).unwrap();
        small
    };
    let said_last = |record: &OutRecord| {
        let text = String::from_utf8_lossy(&record.value);
        text.contains("\"NO_DATA\"") && text.contains("\"W0\"")
    };
    let wanted = world();
    wanted.run(Small::options(None), &Stop::default());
    let lines = wanted.lines("t.events.small");
    assert_eq!(lines.iter().filter(|l| l.contains("NO_DATA") && l.contains("W0")).count(), 1, "{lines:?}");

    let data = tempfile::tempdir().unwrap();
    for store in [None, Some(data.path())] {
        let small = world();
        let refused = Arc::new(AtomicBool::new(false));
        let once = Arc::clone(&refused);
        let refuses: Refuses =
            Arc::new(move |records| records.iter().any(said_last) && !once.swap(true, Ordering::SeqCst));
        let report = to_the_end(&small, shaky(&small, &refuses), Small::options(store), || {});
        assert!(refused.load(Ordering::SeqCst), "no commit failed");
        assert_eq!(report.checkpoints > 0, store.is_some());
        assert_eq!(small.outputs(), wanted.outputs(), "with a store: {}", store.is_some());
    }
}

#[test]
fn a_stop_tries_once_more_before_it_gives_up() {
    const ROWS: &str = "
        CREATE TABLE o_rows (i TEXT, n BIGINT) WITH (connector = 'memory', type = 'sink');
        INSERT INTO o_rows SELECT id, n FROM a;";
    let small = Small::new(&format!("{TABLE}{ROWS}"), 1);
    for n in 0..20 {
        small.log.append("a", 0, row(0, n, START + n * SECOND)).unwrap();
    }
    let (shut, tries) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let (gate, tried) = (Arc::clone(&shut), Arc::clone(&tries));
    let refuses: Refuses = Arc::new(move |records| {
        let away = gate.load(Ordering::SeqCst) && !records.is_empty();
        tried.fetch_add(u64::from(away), Ordering::SeqCst);
        away
    });
    let (ports, stop) = (shaky(&small, &refuses), Stop::default());
    let stopped = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(small.plan.clone(), ports, Small::options(None), &stop));
        // Just after a try the next one is far, and the log is back.
        while tries.load(Ordering::SeqCst) < 2 {
            assert!(!running.is_finished(), "it ended by itself");
            std::thread::yield_now();
        }
        shut.store(false, Ordering::SeqCst);
        stop.stop();
        running.join().unwrap()
    });
    stopped.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(small.lines("o_rows").len(), 20);
}

/// Writers of one topic whose records become visible only when no transaction of another is open.
struct Queue {
    shut: AtomicBool,
    tries: AtomicU64,
    open: Mutex<BTreeSet<String>>,
}

impl Queue {
    fn open(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Queued {
    inner: Arc<dyn SinkFactory>,
    queue: Arc<Queue>,
}

impl SinkFactory for Queued {
    fn open(&self, writer: &str) -> Result<Box<dyn Sink>> {
        let (inner, queue) = (self.inner.open(writer)?, Arc::clone(&self.queue));
        Ok(Box::new(QueuedSink { inner, queue, writer: writer.to_owned() }))
    }
}

struct QueuedSink {
    inner: Box<dyn Sink>,
    queue: Arc<Queue>,
    writer: String,
}

impl Sink for QueuedSink {
    fn ends(&mut self) -> Result<SinkEnds> {
        self.inner.ends()
    }

    fn read_back(&mut self, from: &SinkEnds, seen: &mut dyn FnMut(Id, Option<i64>)) -> Result<()> {
        self.inner.read_back(from, seen)
    }

    fn write(&mut self, records: Vec<OutRecord>) -> Result<()> {
        self.inner.write(records)
    }

    fn commit(&mut self) -> Result<()> {
        if self.queue.shut.load(Ordering::SeqCst) {
            self.queue.open().insert(self.writer.clone());
            self.queue.tries.fetch_add(1, Ordering::SeqCst);
            return Err(Error::new(Code::Connect, "the log is away"));
        }
        self.inner.commit()?;
        self.queue.open().remove(&self.writer);
        let mut waited = Duration::ZERO;
        while !self.queue.open().is_empty() {
            if waited > PATIENCE / 4 {
                return Err(Error::new(Code::Connect, "a transaction of another writer stays open"));
            }
            std::thread::sleep(LOOK);
            waited += LOOK;
        }
        Ok(())
    }
}

#[test]
fn at_a_stop_nobody_waits_for_one_whose_turn_comes_later() {
    const ROWS: &str = "
        CREATE TABLE o_rows (i TEXT, n BIGINT) WITH (connector = 'memory', type = 'sink');
        INSERT INTO o_rows SELECT id, n FROM a;";
    let small = Small::new(&format!("{TABLE}{ROWS}"), 2);
    for n in 0..20 {
        for partition in 0..2 {
            small.log.append("a", partition, row(partition, n, START + n * SECOND)).unwrap();
        }
    }
    let queue =
        Arc::new(Queue { shut: AtomicBool::new(true), tries: AtomicU64::new(0), open: Mutex::default() });
    let ports = small.ports();
    let queued = |(name, inner)| {
        let queue = Arc::clone(&queue);
        (name, Arc::new(Queued { inner, queue }) as Arc<dyn SinkFactory>)
    };
    let ports = Ports { targets: ports.targets.into_iter().map(queued).collect(), ..ports };
    let stop = Stop::default();
    let stopped = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(small.plan.clone(), ports, Small::options(None), &stop));
        while queue.open().len() < 2 || queue.tries.load(Ordering::SeqCst) < 4 {
            assert!(!running.is_finished(), "it ended by itself");
            std::thread::yield_now();
        }
        stop.stop();
        queue.shut.store(false, Ordering::SeqCst);
        running.join().unwrap()
    });
    stopped.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(small.lines("o_rows").len(), 40);
}

/// A log whose client panics when it is asked whether all is well.
struct Broken(Arc<dyn Source>);

impl Source for Broken {
    fn partitions(&self) -> Result<Vec<Partition>> {
        self.0.partitions()
    }

    fn open(&self, partition: u32, from: i64) -> Result<Box<dyn PartitionReader>> {
        self.0.open(partition, from)
    }

    fn identity(&self) -> Result<String> {
        self.0.identity()
    }

    fn trouble(&self) -> Option<Error> {
        panic!("this client is broken")
    }
}

#[test]
fn a_panic_outside_the_workers_ends_the_run_as_well() {
    const ROWS: &str = "
        CREATE TABLE o_rows (i TEXT, n BIGINT) WITH (connector = 'memory', type = 'sink');
        INSERT INTO o_rows SELECT id, n FROM a;";
    let small = Small::new(&format!("{TABLE}{ROWS}"), 1);
    let broken =
        |(name, inner): (&String, &Arc<dyn Source>)| (name.clone(), Arc::new(Broken(inner.clone())) as _);
    let ports = Ports { sources: small.sources.iter().map(broken).collect(), ..small.ports() };
    let plan = small.plan.clone();
    // Not in a scope: a run that hangs is to fail, and nothing else.
    let (said, ended) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let _ = said.send(run(plan, ports, Small::options(None), &Stop::default()));
    });
    let error = ended.recv_timeout(PATIENCE).expect("the run ends").expect_err("a panic is a fault");
    assert_eq!(error.code(), Code::Internal);
    assert!(error.what().contains("this client is broken"), "{error}");
}

/// Counts what is read.
struct Counted {
    inner: Arc<dyn Source>,
    read: Arc<AtomicU64>,
}

struct CountedReader {
    inner: Box<dyn PartitionReader>,
    read: Arc<AtomicU64>,
}

impl Source for Counted {
    fn partitions(&self) -> Result<Vec<Partition>> {
        self.inner.partitions()
    }

    fn open(&self, partition: u32, from: i64) -> Result<Box<dyn PartitionReader>> {
        let inner = self.inner.open(partition, from)?;
        Ok(Box::new(CountedReader { inner, read: Arc::clone(&self.read) }))
    }

    fn identity(&self) -> Result<String> {
        self.inner.identity()
    }
}

impl PartitionReader for CountedReader {
    fn fetch(&mut self, limit: FetchLimit, wait: Duration) -> Result<Fetched> {
        let fetched = self.inner.fetch(limit, wait)?;
        self.read.fetch_add(fetched.batch.as_ref().map_or(0, |b| b.len() as u64), Ordering::SeqCst);
        Ok(fetched)
    }
}

#[test]
fn nothing_piles_up_before_shards_that_stand_still() {
    const PARTITIONS: u32 = 3;
    const RECORDS: i64 = 8_000;
    /// One each 100 ms for each shard.
    const TRIES: u64 = 20;
    const WINDOWS: &str = "
        CREATE TABLE o_windows (k TEXT, e TIMESTAMP, c BIGINT) WITH (connector = 'memory', type = 'sink');
        INSERT INTO o_windows SELECT k, slot.end, c FROM (
          SELECT k, tumble(INTERVAL '5 seconds') AS slot, count(*) AS c FROM a
          GROUP BY k, tumble(INTERVAL '5 seconds')) AS q;";
    let world = || {
        let small = Small::new(&format!("{TABLE}{WINDOWS}"), PARTITIONS);
        for partition in 0..PARTITIONS {
            for n in 0..RECORDS {
                small.log.append("a", partition, row(partition, n, START + n * SECOND / 4)).unwrap();
            }
        }
        small.log.set_bounded("a", true).unwrap();
        small
    };
    let wanted = world();
    wanted.run(Small::options(None), &Stop::default());

    let small = world();
    let (shut, tries, read) =
        (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (gate, tried) = (Arc::clone(&shut), Arc::clone(&tries));
    let refuses: Refuses = Arc::new(move |records| {
        let away = gate.load(Ordering::SeqCst) && !records.is_empty();
        tried.fetch_add(u64::from(away), Ordering::SeqCst);
        away
    });
    let count = |(name, inner): (&String, &Arc<dyn Source>)| {
        let counted = Counted { inner: Arc::clone(inner), read: Arc::clone(&read) };
        (name.clone(), Arc::new(counted) as Arc<dyn Source>)
    };
    let sources: BTreeMap<_, _> = small.sources.iter().map(count).collect();
    let ports = Ports { sources, ..shaky(&small, &refuses) };
    let options = Options { batch_rows: 16, memory_bytes: 64 << 10, ..Small::options(None) };
    let all = u64::from(PARTITIONS) * RECORDS as u64;
    to_the_end(&small, ports, options, || {
        let mut waited = Duration::ZERO;
        while tries.load(Ordering::SeqCst) < TRIES {
            assert!(waited < PATIENCE, "{} tries", tries.load(Ordering::SeqCst));
            std::thread::sleep(LOOK);
            waited += LOOK;
        }
        let before = read.load(Ordering::SeqCst);
        println!("{before} of {all} records are read while the shards stand");
        shut.store(false, Ordering::SeqCst);
        assert!(before < all / 4, "{before} of {all} records wait before shards that stand still");
    });
    assert_eq!(read.load(Ordering::SeqCst), all);
    assert_eq!(small.outputs(), wanted.outputs());
}
