//! How long after its decision an event is visible: `weir run` against a real broker.
//!
//! In:   `WEIR_KAFKA=host:port`, the `weir` binary, a rate.
//! Out:  p50, p99, max of (arrival at a read_committed reader) − (the broker's acknowledgement of the
//!       record that made the decision final), for some checkpoint intervals, and beside a partition
//!       that stands still and one that is ten minutes behind.
//! Owns: the producer, the reader and their clock, all in this process. The answer is checked first: each
//!       record of every partition has exactly one event, those of the one that is behind too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use weir_contract::{Clock, EventTime, WallClock};

const WAREHOUSES: i32 = 4;
/// Whose latencies are counted; the others run beside them.
const COUNTED: i32 = 2;
const STALLED: i32 = 2;
const BEHIND: i32 = 3;
/// Rows before that are not counted: connections and caches are cold.
const WARM_UP: Duration = Duration::from_secs(3);
/// Event times lie this far before now, so that the broker's append time never holds a watermark back.
const AGO_US: i64 = 50_000;
const BEHIND_US: i64 = 600_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Parser)]
struct Args {
    /// The binary that is measured
    #[arg(long)]
    weir: Option<PathBuf>,
    /// Records a second in each warehouse; each asks for one event
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// Seconds counted in each run
    #[arg(long, default_value_t = 65)]
    seconds: u64,
}

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// When what was sent was acknowledged, by number.
#[derive(Clone, Default)]
struct Acks(Arc<Mutex<BTreeMap<usize, Duration>>>);

impl Acks {
    fn take(&self) -> BTreeMap<usize, Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        if result.is_ok() && number > 0 {
            let now = WallClock.monotonic();
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, now);
        }
    }
}

/// What one run gave.
struct Measured {
    /// Milliseconds, ascending, of the warehouses that count.
    latencies: Vec<f64>,
    /// Records by warehouse; each had its one event.
    records: Vec<usize>,
}

/// One run of the program over a topic of its own.
struct Scene<'a> {
    name: String,
    broker: &'a str,
    weir: &'a Path,
    every: &'a str,
    disturbed: bool,
}

impl Scene<'_> {
    fn topic(&self) -> Fallible<()> {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", self.broker).create()?;
        let topic = NewTopic::new(&self.name, WAREHOUSES, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "LogAppendTime");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(admin.create_topics([&topic], &options))?;
        Ok(())
    }

    fn start(&self, folder: &Path) -> Fallible<Child> {
        let name = &self.name;
        let text = format!(
            "CREATE TABLE readings (n BIGINT NOT NULL, warehouse TEXT NOT NULL, device TEXT NOT NULL, celsius DOUBLE,
                 at_ts TIMESTAMP NOT NULL, WATERMARK FOR at_ts)
             WITH (type = 'source', topic = '{name}', format = 'json') PARTITIONED BY (warehouse);
             CREATE RULE hot WITH (kind = 'event', key = 'device') AS
             SELECT warehouse, device, at_ts AS event_time, 'hot' AS reason, celsius AS quantity, n
             FROM readings WHERE celsius > 30.0;"
        );
        let program = folder.join(format!("{name}.sql"));
        std::fs::write(&program, text)?;
        let child = Command::new(self.weir)
            .arg("run")
            .arg(&program)
            .args(["--log", &format!("kafka://{}", self.broker), "--checkpoint-every", self.every, "--data"])
            .arg(folder.join(name))
            .env_remove("WEIR_ENV")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(child)
    }

    /// The reader of the events, once their topic is there.
    fn reader(&self) -> Fallible<BaseConsumer> {
        let reader: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.broker)
            .set("group.id", "visibility")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .create()?;
        let topic = format!("dev.events.{}", self.name);
        let start = WallClock.monotonic();
        let partitions = loop {
            let metadata = reader.fetch_metadata(Some(&topic), PATIENCE)?;
            let found = metadata.topics().iter().map(|t| t.partitions().len()).sum::<usize>();
            if found > 0 {
                break found;
            }
            if WallClock.monotonic().saturating_sub(start) > PATIENCE {
                return Err(format!("weir made no topic {topic}").into());
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        let mut list = TopicPartitionList::new();
        for partition in 0..i32::try_from(partitions)? {
            list.add_partition_offset(&topic, partition, Offset::Beginning)?;
        }
        reader.assign(&list)?;
        Ok(reader)
    }

    /// Sends rows at the rate, each with the heartbeat that makes it final; gives the warehouse of each,
    /// by number from 1 on.
    fn send(&self, args: &Args, acks: &Acks) -> Fallible<Vec<i32>> {
        let config = {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", self.broker).set("linger.ms", "0").set("acks", "all");
            config
        };
        let producer = ThreadedProducer::from_config_and_context(&config, acks.clone())?;
        let pace = Duration::from_secs(1) / args.rate;
        let (start, mut sent) = (WallClock.monotonic(), Vec::new());
        let all = WARM_UP + Duration::from_secs(args.seconds);
        for tick in 0u32.. {
            let due = start + pace * tick;
            let now = WallClock.monotonic();
            if now.saturating_sub(start) > all {
                break;
            }
            std::thread::sleep(due.saturating_sub(now));
            for warehouse in 0..WAREHOUSES {
                let aside = self.disturbed && warehouse >= COUNTED;
                if aside && warehouse == STALLED && tick > 0 {
                    continue;
                }
                let behind = if aside && warehouse == BEHIND { BEHIND_US } else { 0 };
                let at = WallClock.now_us() - AGO_US - behind;
                sent.push(warehouse);
                let number = sent.len();
                let row = format!(
                    "{{\"n\":{number},\"warehouse\":\"W{warehouse}\",\"device\":\"d\",\"celsius\":35.0,\"at_ts\":\"{}\"}}",
                    EventTime(at)
                );
                let beat = EventTime(at + 1_000).to_string();
                let beat = Header { key: "weir-heartbeat", value: Some(&beat) };
                let to = || BaseRecord::<str, str, usize>::with_opaque_to(&self.name, 0).partition(warehouse);
                producer.send(to().payload(&row)).map_err(|(e, _)| e)?;
                let mut final_at = to().headers(OwnedHeaders::new().insert(beat));
                final_at.delivery_opaque = number;
                producer.send(final_at).map_err(|(e, _)| e)?;
            }
        }
        producer.flush(PATIENCE)?;
        Ok(sent)
    }

    fn measure(&self, args: &Args, folder: &Path) -> Fallible<Measured> {
        self.topic()?;
        let mut child = self.start(folder)?;
        let (acks, done) = (Acks::default(), AtomicBool::new(false));
        let reader = self.reader()?;
        let (sent, arrived) = std::thread::scope(|scope| -> Fallible<_> {
            let reading = scope.spawn(|| arrivals(&reader, &done));
            let sent = self.send(args, &acks);
            // All is acknowledged; what takes longer than this is not there.
            std::thread::sleep(Duration::from_secs(3));
            done.store(true, Ordering::SeqCst);
            let arrived = reading.join().map_err(|_| "the reader panicked")?;
            Ok((sent?, arrived?))
        })?;
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
        if !child.wait()?.success() {
            return Err("weir run failed".into());
        }
        let acks = acks.take();
        let warm = acks.values().min().copied().unwrap_or_default() + WARM_UP;
        let (mut latencies, mut records) = (Vec::new(), vec![0; usize::try_from(WAREHOUSES)?]);
        for (number, warehouse) in (1..).zip(sent) {
            let times = arrived.get(&number).map_or(&[][..], Vec::as_slice);
            let (Some(ack), [at]) = (acks.get(&number), times) else {
                return Err(format!("record {number} of W{warehouse} has {} events", times.len()).into());
            };
            records[usize::try_from(warehouse)?] += 1;
            if warehouse < COUNTED && *ack >= warm {
                // A reader may see an event before the producer hears that its record is durable.
                latencies.push(at.saturating_sub(*ack).as_secs_f64() * 1e3);
            }
        }
        latencies.sort_by(f64::total_cmp);
        Ok(Measured { latencies, records })
    }
}

/// When the events arrived, by the number of their record.
fn arrivals(reader: &BaseConsumer, done: &AtomicBool) -> Fallible<BTreeMap<usize, Vec<Duration>>> {
    let mut arrived: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
    while !done.load(Ordering::SeqCst) {
        let Some(message) = reader.poll(Duration::from_millis(20)) else { continue };
        let (message, now) = (message?, WallClock.monotonic());
        let event: serde_json::Value = serde_json::from_slice(message.payload().unwrap_or_default())?;
        let number = event["extra"]["n"].as_u64().ok_or_else(|| format!("an event without n: {event}"))?;
        arrived.entry(usize::try_from(number)?).or_default().push(now);
    }
    Ok(arrived)
}

/// The value below which `share` of the values lie.
fn quantile(ascending: &[f64], share: f64) -> f64 {
    let at = (ascending.len() as f64 * share).ceil() as usize;
    ascending.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn bench(args: &Args) -> Fallible<()> {
    let broker =
        std::env::var("WEIR_KAFKA").map_err(|_| "WEIR_KAFKA=host:port is not set; see make bench-latency")?;
    let beside = std::env::current_exe()?.with_file_name("weir");
    let weir = args.weir.as_deref().unwrap_or(&beside);
    let folder = tempfile::tempdir()?;
    println!(
        "rate={}/s in each of {WAREHOUSES} warehouses, {COUNTED} counted; {} s a run",
        args.rate, args.seconds
    );
    for (name, every, disturbed) in [
        ("checkpoints every 1 s", "1", false),
        ("checkpoints every 30 s", "30", false),
        ("one partition still, one 10 min behind; checkpoints every 1 s", "1", true),
    ] {
        let number = folder.path().read_dir()?.count();
        let topic = format!("visibility{}x{number}", std::process::id());
        let scene = Scene { name: topic, broker: &broker, weir, every, disturbed };
        let Measured { latencies: ms, records } = scene.measure(args, folder.path())?;
        println!(
            "{name}: events {}  p50 {:.1} ms  p99 {:.1} ms  max {:.1} ms",
            ms.len(),
            quantile(&ms, 0.5),
            quantile(&ms, 0.99),
            ms.last().copied().unwrap_or(f64::NAN)
        );
        println!("  answer  one event for each record of the warehouses: {records:?}");
    }
    Ok(())
}

fn main() -> ExitCode {
    match bench(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("visibility: {error}");
            ExitCode::FAILURE
        }
    }
}
