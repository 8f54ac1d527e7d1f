//! What the agent says of itself: records of `device_health`, and `status.json` for people beside it.
//!
//! In:   the states of its parts. Out: drafts for the lane of health; one file.
//! Owns: nothing. A part that is not looked at says nothing: left out, not 0.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_contract::{Code, Error, EventTime, Place, Result};

use super::{Edge, status_path};
use crate::capture::CameraState;
use crate::config::Device;
use crate::health::{Health, Machine};
use crate::publish::Publisher;
use crate::sight::Eyes;

/// Where systemd keeps what the service says (`RuntimeDirectory` of deploy/weir-edge.service); only the service
/// itself is told so by its environment.
const SERVICE_FOLDER: &str = "/run/weir-edge";

/// What an agent of this device last said of itself, as the service or by hand.
///
/// # Errors
/// `W0201` where none did, or this user may not read it.
pub fn last_status(device: &Device) -> Result<Value> {
    let beside = device.data.join("status.json");
    newest(
        &[status_path(&device.data), Path::new(SERVICE_FOLDER).join("status.json"), beside],
        &device.device,
    )
}

fn newest(paths: &[PathBuf], device: &str) -> Result<Value> {
    let mut found: Vec<Value> = Vec::new();
    let mut refused = Vec::new();
    for path in paths {
        match std::fs::read_to_string(path) {
            Ok(text) => found.extend(serde_json::from_str(&text).ok()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => refused.push((path, e)),
        }
    }
    // Another device's agent may run on this machine too.
    found.retain(|status| status["device"] == device);
    let at = |status: &Value| status["at"].as_str().and_then(EventTime::parse).map(|t| t.0);
    found.into_iter().max_by_key(at).ok_or_else(|| match refused.first() {
        Some((path, e)) => Error::new(Code::BadFile, e.to_string())
            .at(Place::Path(path.display().to_string()))
            .act("operator: as root, or as the agent's user."),
        None => Error::new(Code::BadFile, format!("no agent of `{device}` has said how it is"))
            .at(Place::Path(paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")))
            .act("operator: no agent has run here with these settings."),
    })
}

impl Edge {
    pub(super) fn health(&mut self, now: i64) {
        let time = self.device.now();
        let machine = if self.played { Machine::default() } else { Machine::read(&self.config.device.data) };
        let oldest = (0..self.spool.lanes())
            .filter_map(|lane| self.publisher.as_ref()?.oldest_us(lane, &self.spool))
            .min();
        let base = Health {
            kind: "agent",
            machine,
            spool_records: (0..self.spool.lanes()).map(|l| self.spool.records(l)).sum(),
            // How far a played device is behind is a matter of how fast it is played.
            spool_oldest_s: oldest.filter(|_| !self.played).map(|t| (time.wall_us - t).max(0) as f64 / 1e6),
            spool_gone: self.spool.gone(),
            spool_in_memory: self.spool.in_memory().is_some(),
            clock_offset_ms: self.publisher.as_ref().and_then(Publisher::clock_offset_ms),
            clock_synced: time.synced,
            model_sha256: self.eyes.as_ref().and_then(Eyes::model).map(|m| m.sha256.clone()),
            trouble: self.trouble(),
            ..Health::default()
        };
        let seconds = (now - self.health_before_us).max(1) as f64 / 1e6;
        self.health_before_us = now;
        let mut effects = vec![self.agent.health(&base, None, time)];
        let mut states: BTreeMap<String, CameraState> = BTreeMap::new();
        for (number, shared) in self.cameras.iter().enumerate() {
            let state = shared.state();
            let sight = self.eyes.as_ref().and_then(|eyes| eyes.state(number));
            let frames = state.split.frames - self.frames_before[number];
            self.frames_before[number] = state.split.frames;
            let health = Health {
                kind: "camera",
                fps: Some((frames as f64 / seconds * 100.0).round() / 100.0),
                stalls: Some(state.stalls),
                frames_refused: sight.map(|s| s.refused),
                frames_unseen: sight.map(|s| s.dropped),
                trouble: state.trouble.clone().or_else(|| sight.and_then(|s| s.trouble.clone())),
                ..base.clone()
            };
            let name = self.config.cameras[number].name.clone();
            effects.push(self.agent.health(&health, Some(&name), time));
            states.insert(name, state);
        }
        for (settings, (trouble, _)) in self.config.scanners.iter().zip(&self.scanners) {
            let health = Health { kind: "scanner", trouble: trouble.clone(), ..base.clone() };
            effects.push(self.agent.health(&health, Some(&settings.name), time));
        }
        for (lane, draft) in effects {
            self.push(lane, draft, now);
        }
        self.write_status(&base, &states);
    }

    fn write_status(&self, base: &Health, cameras: &BTreeMap<String, CameraState>) {
        let scanners: BTreeMap<&str, _> = self
            .config
            .scanners
            .iter()
            .zip(&self.scanners)
            .map(|(s, (trouble, c))| {
                (
                    s.name.as_str(),
                    json!({
                        "trouble": trouble, "codes": c.codes, "repeated": c.repeated, "partial": c.partial,
                        "too_long": c.too_long, "unreadable": c.unreadable,
                    }),
                )
            })
            .collect();
        let cameras: BTreeMap<&str, _> = (0..)
            .zip(&self.config.cameras)
            .filter_map(|(number, c)| {
                let (kept, missed) = self.agent.shots(number);
                let mut state = serde_json::to_value(cameras.get(&c.name)?).ok()?;
                state["kept"] = kept.into();
                state["missed"] = missed.into();
                Some((c.name.as_str(), state))
            })
            .collect();
        let sight: BTreeMap<&str, _> = (0..)
            .zip(&self.config.cameras)
            .filter_map(|(number, c)| Some((c.name.as_str(), self.eyes.as_ref()?.state(number)?)))
            .collect();
        let model = self.eyes.as_ref().and_then(Eyes::model);
        let model = model.map(|m| json!({ "name": m.name, "sha256": m.sha256, "engine": m.engine }));
        let status = json!({
            "device": self.config.device.device, "station": self.config.device.station, "pid": std::process::id(),
            "at": weir_contract::EventTime(self.clock.now_us()).to_string(), "health": base.fields(),
            "lanes": self.spool.states(), "cameras": cameras, "scanners": scanners, "sight": sight, "model": model,
            "scans": self.agent.scans,
        });
        let path = status_path(&self.config.device.data);
        let draft = path.with_extension("new");
        let text = format!("{status:#}\n");
        let _only_for_people = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_word_of_this_device_is_told_wherever_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, device: &str, second: &str| {
            let status = json!({ "device": device, "at": format!("2026-03-02T07:00:{second}Z"), "by": name });
            std::fs::write(path(name), status.to_string()).unwrap();
        };
        let paths = ["service", "beside", "torn", "none"].map(path);
        let none = newest(&paths, "d1").unwrap_err();
        assert!(none.code() == Code::BadFile && none.to_string().contains("no agent of `d1`"), "{none}");
        std::fs::write(path("torn"), "{").unwrap();
        write("service", "d2", "09");
        assert!(newest(&paths, "d1").is_err(), "another device's");
        write("beside", "d1", "01");
        assert_eq!(newest(&paths, "d1").unwrap()["by"], "beside");
        write("service", "d1", "01.5");
        assert_eq!(newest(&paths, "d1").unwrap()["by"], "service");
        write("beside", "d1", "02");
        assert_eq!(newest(&paths, "d1").unwrap()["by"], "beside");
    }
}
