//! The demo from pictures: frames are drawn, agents send them, a detector looks, the rules decide.
//!
//! In:   a seed, a folder.
//! Out:  planted against found, and a picture for each event of a station.
//! Owns: the order of it. Every part is the real one: `weir-edge` processes, `weir log-server`, the detector
//!       of `rules/detect.sql`, the rule pack, a log for all of them.
//!
//! Reference rows stand in the control log from the beginning, and no wall clock has a say in the rules'
//! part. What a detector sees in a frame is its own affair: the score says how good it is.

pub mod devices;
mod draw;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weir_connectors::log::LogConnector;
use weir_connectors::paths::Roots;
use weir_contract::partitioner::partition_of;
use weir_contract::{Code, Error, Result, WallClock};
use weir_engine::connect::Registry;
use weir_engine::control::{Control, RowChange};
use weir_engine::run::{Options, Ports, Report, Stop};
use weir_engine::sink::SinkFactory;
use weir_engine::sql::SourceFile;
use weir_engine::sql::catalog::AppendTime;
use weir_sim::{ShotOptions, Shots};

use self::devices::{Devices, TOPICS};
use super::pack;
use super::summary::Summary;
use crate::commands::replay::{Heard, hearing};
use crate::commands::run::total;
use crate::evidence::{Kept, Topics, keep};
use crate::wire::at::LogAt;
use crate::wire::live::{Live, Setup};
use crate::wire::models::{Models, Places};
use crate::wire::program::Program;
use crate::wire::usage::Usage;
use crate::wire::{Sizes, ports};

/// Topics that the rule pack reads and no device of this demo writes.
const SILENT: [&str; 4] = ["detections", "wms_levels", "plc_counters", "labor_staffing"];
const LOOK: Duration = Duration::from_millis(20);
/// Name of the detector's program.
const DETECT: &str = "detect";
/// More partitions than this no two warehouses need to have one each.
const PARTITIONS_MAX: u32 = 64;

/// What came of it.
pub struct Played {
    pub summary: Summary,
    pub frames: usize,
    pub kept: Kept,
    /// Log, frames, evidence.
    pub folder: PathBuf,
    pub seconds: f64,
}

impl Played {
    /// Scores, counts, and how many pictures were kept.
    pub fn to_json(&self) -> serde_json::Value {
        let scored = self.summary.score.counts();
        let counts = &self.summary.counts;
        serde_json::json!({
            "seed": self.summary.seed, "frames": self.frames, "records": counts.records,
            "processed": counts.processed, "late": counts.late, "rejects": counts.rejects,
            "planted": scored["planted"], "found": scored["found"], "missed": scored["missed"],
            "false": scored["false"], "events": self.summary.events,
            "evidence": self.kept.pictures.len(), "wall_s": (self.seconds * 10.0).round() / 10.0,
        })
    }

    /// The same for people.
    pub fn to_text(&self) -> String {
        let score = &self.summary.score;
        let mut text = format!(
            "{:<18} {:>8} {:>8} {:>8} {:>8}\n",
            "from pictures", "planted", "found", "missed", "false"
        );
        let of = |map: &BTreeMap<String, u64>, kind: &str| map.get(kind).copied().unwrap_or(0);
        for kind in score.planted.keys() {
            let row = [&score.planted, &score.found, &score.missed, &score.false_events].map(|m| of(m, kind));
            if row != [0; 4] {
                let [planted, found, missed, wrong] = row;
                let _ = writeln!(text, "{kind:<18} {planted:>8} {found:>8} {missed:>8} {wrong:>8}");
            }
        }
        for (what, lines) in [("missed", &score.misses), ("false", &score.falses)] {
            for line in lines {
                let _ = writeln!(text, "  {what}: {line}");
            }
        }
        let _ = writeln!(
            text,
            "\n{} frames and {} events in {:.1} s; {} pictures with boxes under {}",
            self.frames,
            self.summary.events,
            self.seconds,
            self.kept.pictures.len(),
            self.folder.join("evidence").display()
        );
        if let Some(picture) = self.kept.pictures.iter().find(|p| p.reason == "mismatch") {
            let _ = writeln!(text, "such as {}", picture.path.display());
        }
        text
    }
}

/// Plays five minutes of two stations; none where it was stopped.
///
/// # Errors
/// A part that cannot start, or ends badly.
pub fn play(seed: u64, sizes: &Sizes, data: &Path, agent: &Path, stop: &Stop) -> Result<Option<Played>> {
    let usage = Usage::start();
    let folder = data.join("pictures");
    if folder.exists() {
        return Err(Error::new(Code::Refused, format!("{} is there already", folder.display()))
            .expected("a folder without pictures of an earlier demo"));
    }
    let shots = Shots::new(&ShotOptions::seeded(seed));
    let drawn = folder.join("shots");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let frames = draw::draw(&shots, &drawn, threads, stop)?;
    if stop.stopping() {
        return Ok(None);
    }
    let log = LogAt::embedded(&folder);
    let LogAt::Log { folder: at, .. } = &log else {
        return Err(Error::new(Code::Internal, "the embedded log has no folder"));
    };
    let registry = ports::registry(&log, &folder)?;
    let partitions = partitions(&shots)?;
    make_topics(at, partitions)?;
    let models = Models::new(Places::of_environment(log.frames(&folder)));
    let detector = program(DETECT, &[pack::detect()], &log, &registry, &models)?;
    let rules = program(pack::NAME, &pack::files(), &log, &registry, &models)?;
    let heard = Heard::default();
    let setup = Setup {
        log: &log,
        registry: &registry,
        data: folder.clone(),
        reference: None,
        sizes: sizes.clone(),
        checkpoint_every: Options::default().checkpoint_every,
        decisions: false,
    };
    let (looking, deciding) = (Stop::default(), Stop::default());
    let detect = Live::open(&detector, &setup)?;
    let (ports, options) = ports_of(&rules, &shots, &setup, partitions, &heard)?;
    let detect = detect.start(&looking)?;
    let plan = rules.plan.clone();
    let (seen, told) = std::thread::scope(|scope| {
        let decide = scope.spawn(|| weir_engine::run::run(plan, ports, options, &deciding));
        let sent = send(agent, &folder, at, &drawn, partitions, &shots, || {
            stop.stopping() || detect.ended() || decide.is_finished()
        });
        let whole = sent.is_ok() && !stop.stopping();
        let end = |side: &Stop, ended: &dyn Fn() -> bool| {
            if whole {
                side.drain()
            } else {
                side.stop()
            }
            while !ended() {
                std::thread::sleep(LOOK);
                if stop.stopping() {
                    side.stop();
                }
            }
        };
        // The rules end behind the detector: what it writes last is theirs.
        end(&looking, &|| detect.ended());
        let seen = detect.join();
        end(&deciding, &|| decide.is_finished());
        let panicked = || Err(Error::new(Code::Internal, "a thread of the demo panicked"));
        (sent.and(seen), decide.join().unwrap_or_else(|_| panicked()))
    });
    let (seen, told): (Report, Report) = (seen?, told?);
    if stop.stopping() {
        return Ok(None);
    }
    total(&seen).check()?;
    let mut heard = heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let summary = Summary::of(&shots.truth, total(&told), &mut heard)?;
    let events = format!("{}.events.validation", crate::wire::env());
    let topics = Topics { events: &events, detections: "detections", frames: "frames" };
    let kept = keep(&log, &registry, &topics, None, &folder.join("evidence"))?;
    Ok(Some(Played { summary, frames, kept, folder, seconds: usage.wall_seconds() }))
}

/// Agents send all that their scripts say; ends early where `over` says so.
fn send(
    agent: &Path,
    folder: &Path,
    log: &Path,
    drawn: &Path,
    partitions: u32,
    shots: &Shots,
    over: impl Fn() -> bool,
) -> Result<()> {
    let mut devices = Devices::start(agent, &folder.join("devices"), log, drawn, partitions, &shots.shifts)?;
    while !devices.done()? && !over() {
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// So many that each warehouse has one for itself: the clocks of devices in one partition have to agree, and
/// here each agent's clock runs as fast as it can.
fn partitions(shots: &Shots) -> Result<u32> {
    let apart = |count: &u32| {
        let mut taken = std::collections::BTreeSet::new();
        shots.shifts.iter().all(|s| taken.insert(partition_of(s.warehouse.as_bytes(), *count)))
    };
    (shots.shifts.len() as u32..=PARTITIONS_MAX)
        .find(apart)
        .ok_or_else(|| Error::new(Code::Internal, "two warehouses share a partition in every layout"))
}

fn make_topics(log: &Path, partitions: u32) -> Result<()> {
    let connector = LogConnector::new(log, Roots::new([])?, Arc::new(WallClock));
    for topic in TOPICS.iter().chain(&SILENT) {
        // Made by opening; its writer is another one.
        drop(connector.sink_of(topic, partitions, AppendTime::Broker)?.open("demo")?);
    }
    Ok(())
}

fn program(
    name: &str,
    files: &[SourceFile],
    log: &LogAt,
    registry: &Registry,
    models: &Models,
) -> Result<Program> {
    Program::of(name.to_owned(), files, log, registry, models)
        .map_err(|errors| errors.into_iter().next().unwrap_or_else(|| Error::new(Code::Internal, name)))
}

/// The ports of the rules: the reference rows stand in the control log before anything runs.
fn ports_of(
    rules: &Program,
    shots: &Shots,
    setup: &Setup<'_>,
    partitions: u32,
    heard: &Heard,
) -> Result<(Ports, Options)> {
    let options =
        Options { external_control: true, ..setup.sizes.options(&rules.name, Some(setup.data.clone())) };
    let topic = ports::control_topic(&options.env, &rules.name);
    let control = ports::control(setup.log, &topic, partitions + options.shards as u32)?;
    let rows = shots.reference_rows().into_iter();
    let changes = rows.map(|(table, row)| RowChange { table: table.into(), before: None, after: Some(row) });
    let first = Control::Reference {
        change: 0,
        asked_at: None,
        effective_at: Some(i64::MIN),
        changes: changes.collect(),
    };
    control.append(0, &first)?;
    let ports = Ports {
        sources: ports::sources(&rules.plan, setup.registry)?,
        targets: BTreeMap::new(),
        outputs: Some(ports::outputs(rules, setup.log, setup.registry, partitions)),
        control,
        reference: None,
        observer: Some(hearing(heard)),
        clock: Arc::new(WallClock),
        until: None,
    };
    Ok((ports, options))
}
