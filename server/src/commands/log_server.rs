//! `weir log-server`: devices write the embedded log over HTTP.
//!
//! Runs beside `weir run`, which reads the same topics. It holds the writers of its topics, so no other
//! process may write them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use weir_connectors::log::LogConnector;
use weir_connectors::paths::Roots;
use weir_contract::{Clock, Code, Error, Place, Result, WallClock};
use weir_engine::run::Stop;
use weir_engine::sink::{OutRecord, SinkFactory};
use weir_engine::sql::catalog::AppendTime;
use weir_vision::store::Store;

use crate::Done;
use crate::http::frames::Frames;
use crate::http::grants::Grants;
use crate::http::log::{Append, Incoming, Limits, Log};
use crate::http::{Room, serve};
use crate::wire::at::LogAt;
use crate::wire::models::Places;
use crate::wire::retain::{self, Bound, Retain};
use crate::wire::stop;

/// What a writer left aside so long ago is nobody's any more.
const LEFT_US: i64 = 86_400_000_000;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8181")]
    listen: SocketAddr,
    /// Listen on other addresses than loopback without TLS: tokens and records can be read on the way
    #[arg(long)]
    insecure: bool,
    /// Who may write: lines of DEVICE, the SHA-256 of its token in hex, KEY[,KEY…], and `frames` for who may store them
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// Topics that devices and adapters write. detections is not among them unless named: rules/detect.sql writes
    /// it, and a topic has one writing process; name it where devices detect
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "scans,device_health,frames,wms_levels,plc_counters,labor_staffing"
    )]
    topics: Vec<String>,
    /// Partitions of each topic; default: those that are there, else 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: Option<u32>,
    /// How long records are kept, of all topics or of one: '30 days', 'frames=12 hours', frames=all; may stand
    /// several times. Default: frames 1 day, others for ever
    #[arg(long, value_name = "[TOPIC=]SPAN", value_parser = retain::span)]
    retain: Vec<Bound<i64>>,
    /// Bytes that are kept of each partition, of all topics or of one: 64GiB, frames=4GiB; may stand several times.
    /// Default: frames 16GiB, others all
    #[arg(long, value_name = "[TOPIC=]BYTES", value_parser = retain::bytes)]
    retain_bytes: Vec<Bound<u64>>,
    /// Largest body
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = clap::value_parser!(u32).range(1..=64 << 20))]
    body_bytes: u32,
    /// Largest frame that is stored outside the log
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = clap::value_parser!(u32).range(1..=64 << 20))]
    frame_bytes: u32,
    /// Folder of frames that are stored outside the log; default: WEIR_FRAMES, else `frames` beside the log
    #[arg(long, value_name = "DIR")]
    frames: Option<PathBuf>,
    /// Connections at once; a device holds one for each topic, and one for large frames
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    connections: u32,
    /// Requests that one device may make in a second
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_s: u32,
    /// Bytes that one device may send in a second
    #[arg(long, value_name = "BYTES", default_value_t = 16_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    bytes_per_s: u32,
    /// log:FOLDER; default: WEIR_LOG, else the embedded log under --data
    #[arg(long, value_name = "LOG")]
    log: Option<String>,
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
}

pub fn run(args: Args) -> Done {
    let at = LogAt::choose(args.log.as_deref(), &args.data)?;
    let LogAt::Log { folder, .. } = &at else {
        let what = "the log server writes the embedded log only";
        return Err(Error::new(Code::Usage, what).expected("log:FOLDER").into());
    };
    if !args.listen.ip().is_loopback() && !args.insecure {
        let what = format!("{} is not loopback, and there is no TLS here", args.listen);
        let expected = "a proxy with TLS before 127.0.0.1, or --insecure";
        return Err(Error::new(Code::Usage, what).expected(expected).into());
    }
    let place = Place::Path(args.tokens.display().to_string());
    let text = std::fs::read_to_string(&args.tokens)
        .map_err(|e| Error::new(Code::BadFile, e.to_string()).at(place.clone()))?;
    let grants = Grants::parse(&args.tokens.display().to_string(), &text)?;
    if grants.is_empty() {
        let what = "no device may write: no token is granted";
        return Err(Error::new(Code::BadFile, what).at(place).into());
    }
    let mut limits = Limits { body_bytes: args.body_bytes as usize, ..Limits::default() };
    limits.rate.requests_per_s = args.requests_per_s.into();
    limits.rate.bytes_per_s = args.bytes_per_s.into();
    let mut room = Room { connections: args.connections as usize, ..Room::default() };
    room.waiting_bytes = room.waiting_bytes.max(2 * limits.body_bytes);
    limits.waiting_bytes = (room.waiting_bytes / 4).max(limits.body_bytes);
    limits.connections = (room.connections / 4).max(16);

    let keep = Retain { spans: args.retain, bytes: args.retain_bytes };
    keep.check(&args.topics)?;
    let failed = |e: std::io::Error| {
        Error::new(Code::Usage, format!("cannot listen at {}: {e}", args.listen))
            .expected("--listen with an address of this machine, and a port that is free")
    };
    let listener = TcpListener::bind(args.listen).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;

    let connector = LogConnector::new(folder.clone(), Roots::new([])?, Arc::new(WallClock));
    let partitions = partitions(&connector, &args.topics, args.partitions)?;
    let mut topics: BTreeMap<String, Append> = BTreeMap::new();
    for topic in &args.topics {
        let sink = connector.sink_of(topic, partitions, AppendTime::Broker)?;
        let factory = sink.keep(keep.options(topic));
        let mut sink = factory.open("log-server")?;
        let append = move |records: Vec<Incoming>| {
            let written = sink.write(records.into_iter().map(out).collect()).and_then(|()| sink.commit());
            if written.is_err() {
                // What was promised to nobody must not come with the next request's records.
                sink = factory.open("log-server")?;
            }
            written
        };
        topics.insert(topic.clone(), Box::new(append));
    }
    let devices = grants.len();
    let stored = args.frames.unwrap_or_else(|| Places::of_environment(at.frames(&args.data)).frames());
    let store = Store::new(&stored);
    // What was being written when a server was killed.
    store.sweep(WallClock.now_us().saturating_sub(LEFT_US));
    let storing = match grants.store_frames() {
        0 => String::new(),
        storing => format!("; {storing} of them store frames in {}", stored.display()),
    };
    let log = Log::new(topics, grants, limits, Arc::new(WallClock))?;
    let log = log.with_frames(Frames::new(store, args.frame_bytes.into()));
    let stop = Stop::default();
    stop::on_signal(&stop)?;
    eprintln!("weir log-server at {address}: {} for {devices} devices{storing}", args.topics.join(", "));
    let told = log.told();
    serve(listener, log, room, || {
        told.look();
        stop.stopping()
    })?;
    told.look();
    eprintln!("{}", told.summary());
    Ok(0)
}

/// How many partitions a topic gets that is made: the same as its neighbours, so that they can be joined.
///
/// # Errors
/// `W0204` where one that exists has another number than was asked for; nothing was made then.
fn partitions(connector: &LogConnector, topics: &[String], asked: Option<u32>) -> Result<u32> {
    let mut first = None;
    for topic in topics {
        let Some(there) = connector.partitions(topic)? else { continue };
        if let Some(asked) = asked
            && there != asked
        {
            return Err(Error::new(
                Code::BadOption,
                format!("topic `{topic}` has {there} partitions, not {asked}"),
            )
            .expected(format!("--partitions {there}, or another log"))
            .act("operator: the number of a topic's partitions never changes. Nothing was started."));
        }
        first.get_or_insert(there);
    }
    Ok(asked.or(first).unwrap_or(1))
}

fn out(record: Incoming) -> OutRecord {
    OutRecord {
        id: None,
        partition: None,
        key: record.key.to_vec(),
        value: record.value,
        headers: record.headers,
        time_us: None,
    }
}
