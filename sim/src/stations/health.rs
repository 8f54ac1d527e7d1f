//! What a station's devices say about themselves: one record of each every ten seconds.
//!
//! In:   the station's spans of faults, the time.
//! Out:  rows of `device_health`; when what the rules look for began.
//! Owns: temperatures, disks, batteries, clocks and spools.

use super::{Desk, MODEL_SHA256, SECOND};
use crate::plan::{Fault, Span};
use crate::record::{Json, Outbox, Topic};

/// The parts of a station, in the order of `Desk::next_health`.
const AGENT: usize = 0;
const CAMERA: usize = 1;
const SCANNER: usize = 2;

/// Facts of one device at one time, in thousandths where they are not whole.
#[derive(Debug, Clone, Copy)]
struct Facts {
    temp: i64,
    disk_free: i64,
    spool_records: i64,
    spool_oldest: i64,
    /// Given up so far, and since the record before.
    gone: i64,
    lost: i64,
    in_memory: bool,
    off_ms: i64,
    unsynced: bool,
    /// Of the scanner.
    battery: i64,
}

impl Facts {
    /// What a fault makes of them; `at` is inside its span.
    fn under(&mut self, span: &Span, at: i64) {
        let (passed, length) = (at - span.from, span.to - span.from);
        match span.fault {
            Fault::Backlog(per_s) => {
                let turn = length * 3 / 5;
                // Frames wait until the turn, then go as evenly as they came. A fifth gets through all the time.
                let waiting = if passed < turn { passed } else { (length - passed) * turn / (length - turn) };
                self.spool_records += per_s * waiting / SECOND;
                self.spool_oldest += waiting * 4 / 5 / 1000;
            }
            // It changes slowly there.
            Fault::Hot => self.temp = 86_000 + self.temp / 20,
            Fault::FullDisk => self.disk_free /= 100,
            Fault::HotAndFull => {
                self.temp = 86_000 + self.temp / 20;
                self.disk_free /= 100;
            }
            Fault::Refused(records) => (self.gone, self.lost) = (self.gone + records, records),
            Fault::NoDisk => self.in_memory = true,
            Fault::Unsynced => self.unsynced = true,
            Fault::BatteryLow => self.battery = 20_000 - 18_000 * passed / length,
            _ => {}
        }
    }

    /// Whether a rule's predicate holds, by kind.
    fn shows(&self, kind: &str, part: usize) -> bool {
        match kind {
            "clock_skew" => part == AGENT && (self.off_ms.abs() >= 500 || self.unsynced),
            "device_behind" => part == AGENT && self.spool_oldest >= 30_000,
            "spool_growing" => {
                part == AGENT && (self.spool_records >= 100 || self.lost > 0 || self.in_memory)
            }
            "hot_or_full" => self.temp >= 80_000 || self.disk_free < 500_000_000,
            "battery_low" => part == SCANNER && self.battery < 15_000,
            _ => false,
        }
    }
}

impl Desk {
    pub(super) fn tell_health(&mut self, part: usize, out: &mut Outbox) {
        let at = self.next_health[part];
        self.next_health[part] = at + 10 * SECOND + self.health.range(-200, 200) * 1000;
        let (temp, disk) = (self.health.range(41_000, 56_000), self.health.range(20_000, 24_000));
        let Some(travel) = self.travel(Topic::DeviceHealth, at) else { return };
        self.last_health[part] = at;
        let id = self.event_id(2 + part);
        let (kind, device) = [
            ("agent", &self.station.agent),
            ("camera", &self.station.camera),
            ("scanner", &self.station.scanner),
        ][part];
        let mut facts = Facts {
            temp,
            disk_free: disk * 1_000_000,
            spool_records: 0,
            spool_oldest: 0,
            gone: self.gone,
            lost: 0,
            in_memory: false,
            off_ms: (travel.stamp - at) / 1000,
            unsynced: false,
            battery: 76_000 + disk,
        };
        let span = self.spans.iter().find(|s| s.from <= at && at < s.to);
        if let Some(span) = span {
            // The agent's board is in the sun, and its disk is the one that fills.
            if part == AGENT || span.fault == Fault::BatteryLow {
                facts.under(span, at);
            }
            for kind in span.fault.found_by().iter().filter(|kind| facts.shows(kind, part)) {
                self.onsets.entry((span.from, *kind)).or_insert(travel.stamp);
            }
        }
        self.gone = facts.gone;
        let blind = span.is_some_and(|s| s.fault == Fault::SilentCamera);
        let mut json = Json::new();
        json.text("event_id", &id)
            .text("warehouse", &self.site)
            .text("device", device)
            .text("station", &self.station.id)
            .text("kind", kind)
            .time("sent_at", travel.stamp)
            .text("fw_version", "1.4.2");
        match part {
            AGENT => json.text("model_sha256", MODEL_SHA256),
            _ => json.null("model_sha256"),
        };
        json.milli("temp_c", facts.temp)
            .int("disk_free", facts.disk_free)
            .int("spool_records", facts.spool_records)
            .milli("spool_oldest_s", facts.spool_oldest)
            .int("spool_gone", facts.gone);
        if facts.in_memory {
            json.bool("spool_in_memory", true);
        }
        match facts.unsynced {
            true => json.null("clock_offset_ms").bool("clock_synced", false),
            false => json.int("clock_offset_ms", facts.off_ms).bool("clock_synced", facts.off_ms == 0),
        };
        match part {
            CAMERA if blind => json.milli("fps", 0).int("stalls", 1).null("battery_pct"),
            CAMERA => json.milli("fps", 500).int("stalls", 0).null("battery_pct"),
            SCANNER => json.null("fps").null("stalls").milli("battery_pct", facts.battery),
            _ => json.null("fps").null("stalls").null("battery_pct"),
        };
        self.send(Topic::DeviceHealth, &travel, json, out);
    }
}
