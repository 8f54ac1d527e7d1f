//! `weir-edge doctor`: everything that the agent needs, tried once, with what to do where it is not there.
//!
//! In:   the configuration. Out: one line for each thing.
//! Owns: nothing. Reads a scanner's and a camera's door, and sends no record.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::producer::{BaseProducer, Producer};
use weir_contract::{Clock, Code, Error, WallClock};
use weir_vision::barcode::Symbology;
use weir_vision::decode::{Limits, decode};
use weir_vision::stop::Stop;

use crate::config::{Barcodes, CameraKind, Config, FrameStore, StoreAt, To, symbology_word};
use crate::gpio::PiPins;
use crate::health::Machine;
use crate::publish::frames::depot;
use crate::publish::kafka;
use crate::sight::{Eyes, Reading, fits};
use crate::time::{DeviceClock, KernelSync, SyncProbe};
use crate::{capture, scan, web};

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    /// What was seen, or what is wrong.
    pub said: String,
    /// Who has to do what; none where all is well.
    pub act: Option<String>,
}

fn well(what: &str, said: impl Into<String>) -> Finding {
    Finding { what: what.into(), said: said.into(), act: None }
}

fn bad(what: &str, said: impl Into<String>, act: &str) -> Finding {
    Finding { what: what.into(), said: said.into(), act: Some(act.into()) }
}

/// How long a camera is watched.
const WATCH: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(5);

/// Tries everything.
pub fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![disk(&config.device.data), clock(config)];
    findings.extend(way_out(config));
    findings.extend(config.frame_store.as_ref().map(frame_store));
    for scanner in &config.scanners {
        let what = format!("scanner {}", scanner.name);
        findings.push(match scan::probe(&scanner.kind) {
            Ok(()) => well(&what, "it opens"),
            Err(e) => bad(&what, e.to_string(), "is it plugged in, and is its path the one under by-id?"),
        });
    }
    findings.extend(config.detect.as_ref().map(|_| model(config)));
    for camera in &config.cameras {
        findings.extend(camera_of(camera));
    }
    if config.trigger.is_some() || config.lamp.is_some() {
        findings.push(match PiPins::open() {
            Ok(_) => well("gpio", "the pins are there"),
            Err(e) => bad("gpio", e.what(), "leave [gpio] out, or run on a Raspberry Pi in group gpio"),
        });
    }
    findings
}

fn disk(data: &Path) -> Finding {
    let clock = WallClock;
    let try_it = || -> std::io::Result<Duration> {
        std::fs::create_dir_all(data)?;
        let path = data.join("doctor.tmp");
        let mut file = std::fs::File::create(&path)?;
        let mut slowest = Duration::ZERO;
        for _ in 0..8 {
            file.write_all(&[7; 4_096])?;
            let start = clock.monotonic();
            file.sync_data()?;
            slowest = slowest.max(clock.monotonic() - start);
        }
        std::fs::remove_file(&path)?;
        Ok(slowest)
    };
    match try_it() {
        Err(e) => bad("disk", format!("{}: {e}", data.display()), "space, rights and health of the card"),
        // Asked of a folder that is there now.
        Ok(slowest) => synced(Machine::read(data).disk_free.unwrap_or(0) >> 20, slowest),
    }
}

fn synced(free_mib: u64, slowest: Duration) -> Finding {
    let said = format!("{free_mib} MiB free, slowest of 8 syncs {} ms", slowest.as_millis());
    match slowest.as_millis() {
        0..500 => well("disk", said),
        _ => bad("disk", said, "a card that syncs this slowly is near its end: another one"),
    }
}

fn clock(config: &Config) -> Finding {
    if config.clock_trusted {
        return well("clock", "trusted by configuration");
    }
    if KernelSync.synced() {
        return well("clock", "synced");
    }
    let act = "an NTP client (systemd-timesyncd, chrony); until then records wait for clock.hold";
    bad("clock", "nobody keeps it right", act)
}

fn way_out(config: &Config) -> Vec<Finding> {
    match &config.to {
        To::Spool => vec![bad("log", "records stay in the spool", "publish.to, when the log is known")],
        To::Kafka { brokers, insecure, properties } => {
            let client = match kafka::client(brokers, properties, *insecure) {
                Ok(client) => client,
                Err(e) => return vec![bad("kafka", e.what(), "the properties in [publish.kafka]")],
            };
            let asked = client.create::<BaseProducer>().and_then(|producer| {
                let ask = |topic: &str| -> rdkafka::error::KafkaResult<bool> {
                    let answer = producer.client().fetch_metadata(Some(topic), PATIENCE)?;
                    Ok(answer.topics().iter().any(|t| t.error().is_none() && !t.partitions().is_empty()))
                };
                config
                    .lanes
                    .iter()
                    .map(|l| Ok((l.topic.clone(), ask(&l.topic)?)))
                    .collect::<Result<Vec<_>, _>>()
            });
            match asked {
                Err(e) => {
                    vec![bad("kafka", format!("{brokers}: {e}"), "network, name, port, TLS and rights")]
                }
                Ok(topics) => topics
                    .into_iter()
                    .map(|(topic, there)| match there {
                        true => well("kafka", format!("topic {topic} is there")),
                        false => {
                            bad("kafka", format!("topic {topic} is not there"), "whoever runs the broker")
                        }
                    })
                    .collect(),
            }
        }
        To::Http(target) => {
            let refused =
                |said: String| vec![bad("log", said, "url, token, certificates; is the log running?")];
            let agent = match web::client(&target.tls, Some(PATIENCE), PATIENCE) {
                Ok(agent) => agent,
                Err(e) => return refused(e.what().to_owned()),
            };
            let ask = |topic: &str| {
                let url = format!("{}/v1/log/{topic}", target.url.trim_end_matches('/'));
                let request = agent.get(&url).header("authorization", format!("Bearer {}", target.token));
                request.call().map(|r| (url, r.status().as_u16()))
            };
            let answers = config.lanes.iter().map(|l| ask(&l.topic)).collect::<Result<Vec<_>, _>>();
            match answers {
                Err(e) => refused(e.to_string()),
                Ok(answers) => answers
                    .into_iter()
                    .map(|(url, status)| match status {
                        200 => well("log", format!("{url} takes records")),
                        _ => bad("log", format!("{url} answers {status}"), "token and topic"),
                    })
                    .collect(),
            }
        }
    }
}

fn frame_store(store: &FrameStore) -> Finding {
    let what = "frame store";
    match &store.at {
        StoreAt::Folder(folder) => {
            let probe = folder.join(".weir-edge-doctor");
            let tried = std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe));
            match tried {
                Ok(()) => well(what, format!("{} takes files", folder.display())),
                Err(e) => {
                    bad(what, format!("{}: {e}", folder.display()), "is it mounted, and may the agent write?")
                }
            }
        }
        StoreAt::Http(target) => {
            let url = format!("{}{}", target.url.trim_end_matches('/'), depot::PATH);
            let asked = web::client(&target.tls, Some(PATIENCE), PATIENCE).and_then(|agent| {
                let request = agent.get(&url).header("authorization", format!("Bearer {}", target.token));
                let answer = request.call().map_err(|e| Error::new(Code::Connect, e.to_string()))?;
                Ok(answer.status().as_u16())
            });
            match asked {
                Ok(200) => well(what, format!("{url} takes frames")),
                Ok(status) => {
                    bad(what, format!("{url} answers {status}"), "the token's line needs the word `frames`")
                }
                Err(e) => bad(what, e.what(), "address, token, certificates; is the log server running?"),
            }
        }
    }
}

fn model(config: &Config) -> Finding {
    // Cameras' lists of codes are tried with the cameras.
    let mut config = config.clone();
    config.cameras.iter_mut().for_each(|c| c.barcodes = None);
    match Eyes::open(&config) {
        Err(e) => bad("detect", e.to_string(), "model, sha256 and runtime in [detect]; make onnxruntime"),
        Ok(eyes) => match eyes.as_ref().and_then(Eyes::model) {
            Some(m) => well("detect", format!("{}, sha256 {}, by {}", m.name, m.sha256, m.engine)),
            None => well("detect", "there is no camera"),
        },
    }
}

/// Frames in which codes are looked for.
const READ_MAX: usize = 6;
/// Pixels that a module needs in a sharp picture: linear codes, QR. docs/VISION.md has the measurement.
const MODULE_PX: (f32, f32) = (1.5, 2.0);

/// Whether codes in a camera's frames can be read, and how large they are.
fn barcodes(what: &str, settings: &Barcodes, frames: &[Vec<u8>]) -> Finding {
    let what = format!("{what} codes");
    let reading = match Reading::open(settings) {
        Ok(reading) => reading,
        Err(e) => return bad(&what, e.to_string(), "barcodes.known of the camera"),
    };
    let mut reader = reading.reader();
    let read = |bytes: &Vec<u8>| -> weir_contract::Result<Vec<weir_vision::barcode::Reading>> {
        reading.read(&mut reader, &decode(bytes, &Limits::default())?, &[], &Stop::default())
    };
    let found = match frames.iter().map(read).collect::<weir_contract::Result<Vec<_>>>() {
        Ok(found) => found,
        Err(e) => return bad(&what, e.to_string(), "the camera writes images that are none"),
    };
    let sure = found.iter().flatten().filter(|r| r.is_sure());
    let Some(best) = sure.max_by(|a, b| a.px_per_module.total_cmp(&b.px_per_module)) else {
        let act = "hold a printed code where codes pass, and call doctor again";
        return bad(&what, format!("no code was read in {} frames", frames.len()), act);
    };
    let word = symbology_word(best.symbology);
    // A printed code must not write on the terminal of who looks.
    let text = best.text.escape_debug();
    let said = format!("reads {word} {text}, {:.1} pixels a module", best.px_per_module);
    if !fits(&best.text) {
        return bad(&what, said, "a code without control characters: one like this is counted, not sent");
    }
    let need = if best.symbology == Symbology::Qr { MODULE_PX.1 } else { MODULE_PX.0 };
    if best.px_per_module < need {
        let act = "nearer, a longer lens or more pixels: 1.5 a module (QR 2) where the picture is sharp, 3 where it moves";
        return bad(&what, said, act);
    }
    well(&what, said)
}

fn camera_of(camera: &crate::config::Camera) -> Vec<Finding> {
    let mut frames = Vec::new();
    let mut findings = vec![watched(camera, &mut frames)];
    if let Some(settings) = &camera.barcodes {
        findings.push(barcodes(&format!("camera {}", camera.name), settings, &frames));
    }
    findings
}

/// Watches a camera; the last frames go into `kept`.
fn watched(camera: &crate::config::Camera, kept: &mut Vec<Vec<u8>>) -> Finding {
    let what = format!("camera {}", camera.name);
    let clock: Arc<dyn Clock> = Arc::new(WallClock);
    let device = DeviceClock::of_machine(clock.clone(), Arc::new(KernelSync));
    let stop = Arc::new(AtomicBool::new(false));
    let started = capture::start(0, camera.clone(), device, clock.clone(), stop.clone(), Box::new(|| {}));
    let (shared, thread) = match started {
        Ok(started) => started,
        Err(e) => return bad(&what, e.what(), "the operating system"),
    };
    let stall = Duration::from_micros(camera.stall_us.cast_unsigned());
    let begun = clock.monotonic();
    let until = begun + WATCH + stall.max(capture::FIRST);
    let (mut size, mut largest, mut first) = ((0, 0), 0, None);
    while clock.monotonic() < until {
        while let Some(frame) = shared.take() {
            first.get_or_insert(clock.monotonic());
            size = (frame.jpeg.width, frame.jpeg.height);
            largest = largest.max(frame.jpeg.bytes.len());
            if camera.barcodes.is_some() {
                if kept.len() >= READ_MAX {
                    kept.remove(0);
                }
                kept.push(frame.jpeg.bytes);
            }
        }
        if first.is_some_and(|f| clock.monotonic() - f > WATCH) {
            break;
        }
        // One that has ended or cannot be opened is not waited for.
        let ended = first.is_none() && clock.monotonic() - begun > WATCH + stall;
        if ended && shared.state().trouble.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let state = shared.state();
    stop.store(true, Ordering::Relaxed);
    let _it_ends_by_itself = thread.join();
    if first.is_none() {
        let act = match &camera.kind {
            CameraKind::Command { command } => format!("run it by hand: {}", command.join(" ")),
            CameraKind::Folder { .. } => "a folder with .jpg files".into(),
            CameraKind::Http { .. } => "address and rights of the camera".into(),
        };
        let larger = if state.split.too_large > 0 { "; frames are larger than frame_bytes" } else { "" };
        return bad(&what, format!("no frame{larger}: {}", state.trouble.unwrap_or_default()), &act);
    }
    let fps = state.split.frames as f64 / WATCH.as_secs_f64();
    let said = format!("{} × {}, {fps:.1} frames/s, largest {} KiB", size.0, size.1, largest >> 10);
    if state.split.too_large + state.split.broken > 0 {
        let damaged = format!("{said}; too large {}, broken {}", state.split.too_large, state.split.broken);
        return bad(
            &what,
            damaged,
            "a smaller picture or more compression; frame_bytes, [frame_store]; cable",
        );
    }
    well(&what, said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sight::tests::{EAN, belt};

    #[test]
    fn a_frame_store_is_tried() {
        let folder = tempfile::tempdir().unwrap();
        let try_at = |to: &str| {
            let text = format!(
                "device = {{ id = 'd', warehouse = 'W', station = 'S' }}\npublish = {{ to = 'spool' }}\n\
                 frame_store = {{ to = '{to}', token = 't' }}\n"
            );
            frame_store(Config::parse("edge.toml", &text).unwrap().frame_store.as_ref().unwrap())
        };
        let there = try_at(&folder.path().display().to_string());
        assert!(there.act.is_none() && there.said.ends_with("takes files"), "{there:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(try_at(&folder.path().join("none").display().to_string()).act.is_some());
        assert!(try_at("http://127.0.0.1:9").act.is_some());
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let frames = folder.path().join("frames");
        std::fs::create_dir(&frames).unwrap();
        std::fs::write(frames.join("1.jpg"), crate::capture::test_jpeg(1, 100)).unwrap();
        let text = format!(
            "device = {{ id = \"d\", warehouse = \"W\", station = \"S\", data = \"{}/spool\" }}\n\
             publish = {{ to = \"http\", url = \"http://127.0.0.1:9\", token = \"t\" }}\n\
             clock = {{ trust = \"always\" }}\n\
             [[scanner]]\nkind = \"serial\"\npath = \"/dev/no-such-scanner\"\n\
             [[camera]]\nkind = \"folder\"\npath = \"{}\"\nfps = 20\n\
             [[camera]]\nname = \"gone\"\nkind = \"command\"\ncommand = [\"weir-no-such-program\"]\nstall = \"100 ms\"\n",
            folder.path().display(),
            frames.display()
        );
        let findings = examine(&Config::parse("edge.toml", &text).unwrap());
        let of = |what: &str| findings.iter().find(|f| f.what == what).unwrap();
        assert!(of("disk").said.contains("slowest of 8 syncs"), "{:?}", of("disk"));
        assert!(
            !of("disk").said.starts_with("0 MiB"),
            "of a folder that was made just now: {:?}",
            of("disk")
        );
        assert_eq!(of("clock").act, None);
        assert!(of("log").act.is_some() && of("scanner scanner").act.is_some(), "{findings:?}");
        assert!(of("camera camera").said.starts_with("64 × 48"), "{:?}", of("camera camera"));
        assert!(of("camera gone").said.contains("weir-no-such-program"), "{:?}", of("camera gone"));
    }

    #[test]
    fn a_card_that_syncs_slowly_is_told() {
        let of = |ms| synced(100, Duration::from_millis(ms));
        assert_eq!(of(499), well("disk", "100 MiB free, slowest of 8 syncs 499 ms"));
        assert!(of(500).act.is_some_and(|a| a.contains("near its end")));
    }

    #[test]
    fn a_camera_that_reads_codes_says_how_large_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        let camera = |name: &str, code: Option<&str>| {
            let frames = folder.path().join(name);
            std::fs::create_dir(&frames).unwrap();
            std::fs::write(frames.join("1.jpg"), belt(code)).unwrap();
            format!(
                "[[camera]]\nname = \"{name}\"\nkind = \"folder\"\npath = \"{}\"\nfps = 2\n\
                 [camera.barcodes]\nformats = [\"EAN13\"]\n",
                frames.display()
            )
        };
        let text = format!(
            "device = {{ id = \"d\", warehouse = \"W\", station = \"S\", data = \"{}\" }}\n\
             publish = {{ to = \"spool\" }}\n{}{}",
            folder.path().display(),
            camera("reads", Some(EAN)),
            camera("empty", None)
        );
        let config = Config::parse("edge.toml", &text).unwrap();
        let findings: Vec<Finding> = config.cameras.iter().flat_map(camera_of).collect();
        let of = |what: &str| findings.iter().find(|f| f.what == what).unwrap();
        let reads = of("camera reads codes");
        let px = reads.said.strip_prefix(&format!("reads EAN13 {EAN}, ")).unwrap();
        let px: f32 = px.strip_suffix(" pixels a module").unwrap().parse().unwrap();
        assert!((3.0..4.5).contains(&px) && reads.act.is_none(), "{reads:?}");
        let empty = of("camera empty codes");
        assert!(empty.said.starts_with("no code was read in ") && empty.act.is_some(), "{empty:?}");
    }
}
