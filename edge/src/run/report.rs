//! What the agent says of itself: records of `device_health`, and `status.json` for people beside it.
//!
//! In:   the states of its parts. Out: drafts for the lane of health; one file.
//! Owns: nothing. A part that is not looked at says nothing: left out, not 0.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Edge, status_path};
use crate::capture::CameraState;
use crate::health::{Health, Machine};
use crate::publish::Publisher;
use crate::sight::Eyes;

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
