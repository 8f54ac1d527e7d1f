//! What the agent makes of what happens: the one synchronous function that decides.
//!
//! In:   codes of scanners, frames of cameras, what was seen in them, edges of the trigger pin, the time of each.
//! Out:  drafts of records, each for a lane.
//! Owns: ids and numbers. `event_id = device/boot/seq`, where `boot` is made by chance at each start: numbers
//!       begin at 1 with it, so that a replaced card, a copied one, or a lost one never makes an id twice.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use weir_contract::event::number;
use weir_vision::store::uri_of;
use weir_vision::told::{self, Told};

use crate::capture::{Frame, Gate};
use crate::config::{Config, Device, Scanner, Trigger, symbology_word};
use crate::health::Health;
use crate::record::{Draft, FRAME_URI, TimeIn};
use crate::scan::symbology;
use crate::sight::{Kept, ModelName, Sight};
use crate::time::DeviceTime;

/// Lanes by number, in the order of `config::LANES`.
pub const SCANS: usize = 0;
pub const DETECTIONS: usize = 1;
pub const HEALTH: usize = 2;
pub const FRAMES: usize = 3;

/// A record to spool.
pub type Effect = (usize, Draft);

pub struct Agent {
    device: Device,
    boot: String,
    seq: u64,
    scanners: Vec<Scanner>,
    gates: Vec<(String, Trigger, Gate)>,
    /// Frames above it go by their uri; none where no store is named.
    inline_bytes: Option<usize>,
    /// Frames kept, by camera.
    kept: Vec<u64>,
    /// Of scanners and cameras.
    pub scans: u64,
}

impl Agent {
    /// `boot` is made by chance, once a start.
    pub fn new(config: &Config, boot: &str) -> Self {
        let gate =
            |c: &crate::config::Camera| (c.name.clone(), c.trigger, Gate::new(c.trigger, c.idle_every_us));
        Self {
            device: config.device.clone(),
            boot: boot.into(),
            seq: 0,
            scanners: config.scanners.clone(),
            gates: config.cameras.iter().map(gate).collect(),
            inline_bytes: config.frame_store.as_ref().map(|store| store.inline_bytes),
            kept: vec![0; config.cameras.len()],
            scans: 0,
        }
    }

    fn id(&mut self) -> String {
        self.seq += 1;
        format!("{}/{}/{}", self.device.device, self.boot, self.seq)
    }

    fn common(&mut self) -> Map<String, Value> {
        let id = self.id();
        self.ours(id)
    }

    fn ours(&self, id: String) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("event_id".into(), id.into());
        fields.insert("warehouse".into(), self.device.warehouse.clone().into());
        fields.insert("device".into(), self.device.device.clone().into());
        fields.insert("station".into(), self.device.station.clone().into());
        fields
    }

    /// Frames of a camera that were kept, and triggers that came while too many waited for theirs.
    pub fn shots(&self, camera: usize) -> (u64, u64) {
        let missed = self.gates.get(camera).map_or(0, |(_, _, gate)| gate.missed);
        (self.kept.get(camera).copied().unwrap_or(0), missed)
    }

    /// A code of a scanner; `now_us` is monotonic.
    pub fn code(&mut self, scanner: usize, code: &str, time: DeviceTime, now_us: i64) -> Effect {
        let configured = self.scanners.get(scanner).map(|s| s.symbology.clone()).unwrap_or_default();
        let (barcode, symbology) = symbology(code, &configured);
        let fields = self.scan(&barcode, symbology, "scanner", 1, now_us);
        (SCANS, Draft::json(time, "scanned_at", &fields))
    }

    /// A code in frames of a camera; `time` is that of the frame which made it sure.
    pub fn sight(&mut self, sight: &Sight, time: DeviceTime, now_us: i64) -> Effect {
        let word = symbology_word(sight.symbology);
        let mut fields = self.scan(&sight.text, word, "camera", sight.reads, now_us);
        let px = (f64::from(sight.px_per_module) * 100.0).round() / 100.0;
        fields.insert("px_per_module".into(), json!(px));
        (SCANS, Draft::json(time, "scanned_at", &fields))
    }

    fn scan(
        &mut self,
        barcode: &str,
        symbology: &str,
        method: &str,
        reads: u32,
        now_us: i64,
    ) -> Map<String, Value> {
        let mut fields = self.common();
        fields.insert("scan_id".into(), format!("{}-{}", self.boot, self.seq).into());
        fields.insert("barcode".into(), barcode.into());
        fields.insert("symbology".into(), symbology.into());
        fields.insert("method".into(), method.into());
        fields.insert("read_count".into(), json!(reads));
        self.scans += 1;
        self.open_gates(now_us, |t| matches!(t, Trigger::Scan { .. }));
        fields
    }

    /// An edge on the trigger pin.
    pub fn edge(&mut self, now_us: i64) {
        self.open_gates(now_us, |t| matches!(t, Trigger::Gpio { .. }));
    }

    fn open_gates(&mut self, now_us: i64, of: impl Fn(&Trigger) -> bool) {
        self.gates.iter_mut().filter(|(_, t, _)| of(t)).for_each(|(_, _, gate)| gate.trigger(now_us));
    }

    /// A frame of a camera; none where it is not kept.
    pub fn frame(&mut self, camera: usize, frame: &Frame) -> Option<(Effect, Kept)> {
        let trigger = self.gates.get_mut(camera)?.2.frame(frame.now_us)?;
        self.kept[camera] += 1;
        let digest = Sha256::digest(&frame.jpeg.bytes);
        let frame_id: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        let event_id = self.id();
        // Decided here, once: what is said of the frame elsewhere has to say the same.
        let large = self.inline_bytes.is_some_and(|max| frame.jpeg.bytes.len() > max);
        let frame_uri = large.then(|| uri_of(&frame_id));
        let mut headers: Vec<(String, Vec<u8>)> = Vec::with_capacity(10);
        for (name, value) in self.ours(event_id.clone()) {
            headers.push((name, value.as_str().unwrap_or_default().as_bytes().to_vec()));
        }
        let mut put = |name: &str, value: String| headers.push((name.to_owned(), value.into_bytes()));
        put("frame_id", frame_id.clone());
        if let Some(uri) = &frame_uri {
            put(FRAME_URI, uri.clone());
        }
        if frame.jpeg.width > 0 {
            put("width", frame.jpeg.width.to_string());
            put("height", frame.jpeg.height.to_string());
        }
        put("trigger", trigger.to_owned());
        let value = frame.jpeg.bytes.clone();
        let draft =
            Draft { time: frame.time, time_name: "captured_at", time_in: TimeIn::Header, value, headers };
        Some(((FRAMES, draft), Kept { event_id, frame_id, frame_uri }))
    }

    /// What was found in a frame that was kept, as `rules/detect.sql` writes it: a row for each brand mark, one
    /// without a brand where there is none.
    pub fn detections(
        &self,
        kept: &Kept,
        found: &[Told],
        model: &ModelName,
        time: DeviceTime,
    ) -> Vec<Effect> {
        let float = |value: Option<f64>| value.map_or(Value::Null, number);
        let row = |(ordinal, told): (usize, Option<&Told>)| {
            let mut fields = self.ours(format!("{}/{ordinal}", kept.event_id));
            let mut put = |name: &str, value: Value| fields.insert(name.into(), value);
            put("frame_id", kept.frame_id.clone().into());
            // As the frame's record has it: none where it has the bytes.
            put(FRAME_URI, json!(kept.frame_uri));
            put("brand", json!(told.map(|t| &*t.label)));
            put("confidence", float(told.map(|t| t.confidence)));
            put("x1", float(told.map(|t| t.x1)));
            put("y1", float(told.map(|t| t.y1)));
            put("x2", float(told.map(|t| t.x2)));
            put("y2", float(told.map(|t| t.y2)));
            put("model", model.name.clone().into());
            put("model_sha256", model.sha256.clone().into());
            (DETECTIONS, Draft::json(time, "captured_at", &fields))
        };
        told::brands(found).into_iter().map(row).collect()
    }

    /// A record of the device about itself, or about one of its parts.
    pub fn health(&mut self, health: &Health, part: Option<&str>, time: DeviceTime) -> Effect {
        let mut fields = self.common();
        fields.extend(health.fields());
        if let Some(part) = part {
            fields.insert("part".into(), part.into());
        }
        (HEALTH, Draft::json(time, "sent_at", &fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Jpeg;
    use crate::record::{Envelope, Stored};
    use crate::time::Stamps;

    const CONFIG: &str = r#"
        device = { id = "d1", warehouse = "W1", station = "P1" }
        publish = { to = "spool" }
        scanner = []
        [[camera]]
        kind = "folder"
        path = "frames"
        trigger = "gpio"
        settle = "100 ms"
        burst = 1
        idle_every = "2 s"
        [gpio.trigger]
        pin = 4
    "#;

    fn agent() -> Agent {
        let text = CONFIG.replace("scanner = []\n", "");
        Agent::new(&Config::parse("edge.toml", &text).unwrap(), "b0")
    }

    fn time() -> DeviceTime {
        DeviceTime { boot: [0; 16], wall_us: 1_000_000, boot_us: 0, synced: true }
    }

    fn sent((lane, draft): &Effect) -> (usize, Vec<(String, String)>, Vec<u8>) {
        let stored =
            Stored { offset: 0, key: Vec::new(), headers: draft.headers.clone(), envelope: draft.encode() };
        let out = Envelope::parse(&stored.envelope).unwrap().finish(&stored, &Stamps::default());
        let headers = out.headers.into_iter().map(|(n, v)| (n, String::from_utf8(v).unwrap())).collect();
        (*lane, headers, out.value)
    }

    #[test]
    fn a_scan_has_the_columns_of_the_floor() {
        let mut agent = agent();
        let (lane, _, value) = sent(&agent.code(0, "]E04006381333931", time(), 0));
        let text = String::from_utf8(value).unwrap();
        let seen: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "event_id": "d1/b0/1", "warehouse": "W1", "device": "d1", "station": "P1", "scan_id": "b0-1",
            "barcode": "4006381333931", "symbology": "EAN13", "method": "scanner", "read_count": 1,
            "scanned_at": "1970-01-01T00:00:01Z",
        });
        assert_eq!(seen, expected);
        assert_eq!(lane, SCANS);
        let (_, _, second) = sent(&agent.code(0, "A", time(), 0));
        assert!(String::from_utf8(second).unwrap().contains("d1/b0/2"));
    }

    #[test]
    fn a_frame_is_its_bytes_with_the_columns_as_headers() {
        let mut agent = agent();
        let frame = |now_us| Frame {
            jpeg: Jpeg { bytes: vec![0xff, 0xd8, 1], width: 640, height: 480 },
            time: time(),
            now_us,
        };
        let (lane, headers, value) = sent(&agent.frame(0, &frame(0)).unwrap().0);
        assert_eq!((lane, value), (FRAMES, vec![0xff, 0xd8, 1]));
        let names: Vec<&str> = headers.iter().map(|(n, _)| n.as_str()).collect();
        let columns = [
            "event_id",
            "warehouse",
            "device",
            "station",
            "frame_id",
            "width",
            "height",
            "trigger",
            "captured_at",
        ];
        assert_eq!(names.len(), columns.len());
        assert!(columns.iter().all(|c| names.contains(c)), "{names:?}");
        let of = |name: &str| headers.iter().find(|(n, _)| n == name).unwrap().1.as_str();
        assert_eq!((of("trigger"), of("width"), of("frame_id").len()), ("idle", "640", 64));
        assert!(agent.frame(0, &frame(1_000)).is_none());
        agent.edge(2_000);
        assert!(agent.frame(0, &frame(50_000)).is_none(), "not settled");
        let kept = agent.frame(0, &frame(103_000)).unwrap().0;
        assert!(sent(&kept).1.contains(&("trigger".into(), "gpio".into())));
        assert_eq!(agent.shots(0), (2, 0));
        (0..10).for_each(|_| agent.edge(200_000));
        assert_eq!(agent.shots(0), (2, 2));
    }

    #[test]
    fn a_scan_opens_the_gates_that_wait_for_one_and_an_edge_the_others() {
        let (camera, rest) = CONFIG.split_once("[[camera]]").unwrap().1.split_once("[gpio.trigger]").unwrap();
        let on_scan = camera.replace("\"gpio\"", "\"scan\"\n name = \"top\"");
        let head = "device = { id = 'd1', warehouse = 'W1', station = 'P1' }\npublish = { to = 'spool' }\n";
        let scanner = "[[scanner]]\nkind = 'stdin'\n";
        let text = format!("{head}{scanner}[[camera]]{camera}[[camera]]{on_scan}[gpio.trigger]{rest}");
        let mut agent = Agent::new(&Config::parse("edge.toml", &text).unwrap(), "b0");
        let shown = |agent: &mut Agent, camera: usize, now_us: i64| {
            let jpeg = Jpeg { bytes: vec![1], width: 0, height: 0 };
            let (effect, _) = agent.frame(camera, &Frame { jpeg, time: time(), now_us })?;
            sent(&effect).1.into_iter().find(|(name, _)| name == "trigger").map(|(_, why)| why)
        };
        let idle = Some("idle".to_owned());
        assert_eq!([0, 1].map(|camera| shown(&mut agent, camera, 0)), [idle.clone(), idle]);
        agent.code(0, "A", time(), 2_000);
        assert_eq!([0, 1].map(|camera| shown(&mut agent, camera, 103_000)), [None, Some("scan".to_owned())]);
        agent.edge(200_000);
        assert_eq!([0, 1].map(|camera| shown(&mut agent, camera, 301_000)), [Some("gpio".to_owned()), None]);
    }

    #[test]
    fn a_frame_above_the_inline_size_says_where_its_bytes_go_and_so_do_its_detections() {
        let text = CONFIG.replace("scanner = []\n", "frame_store = { to = 'x', inline_bytes = '4 B' }\n");
        let mut agent = Agent::new(&Config::parse("edge.toml", &text).unwrap(), "b0");
        let model = ModelName { name: "m".into(), sha256: "s".into(), engine: "e".into() };
        for (now_us, bytes) in [(0, 4), (2_000_000, 5)] {
            let jpeg = Jpeg { bytes: vec![7; bytes], width: 0, height: 0 };
            let (effect, kept) = agent.frame(0, &Frame { jpeg, time: time(), now_us }).unwrap();
            let uri = (bytes > 4).then(|| format!("sha256:{}", kept.frame_id));
            let (_, headers, value) = sent(&effect);
            // The spool has the bytes in any case.
            assert_eq!(value, vec![7; bytes]);
            let header = headers.iter().find(|(name, _)| name == "frame_uri").map(|(_, uri)| uri.clone());
            assert_eq!(header, uri);
            let rows = agent.detections(&kept, &[], &model, time());
            let row: Value = serde_json::from_slice(&sent(&rows[0]).2).unwrap();
            assert_eq!(row["frame_uri"], json!(uri));
        }
    }

    #[test]
    fn health_is_told_with_ids_and_time() {
        let mut agent = agent();
        let health = Health { kind: "camera", fps: Some(2.5), ..Health::default() };
        let (lane, _, value) = sent(&agent.health(&health, Some("c1"), time()));
        let value: Value = serde_json::from_slice(&value).unwrap();
        assert_eq!(
            (lane, &value["kind"], &value["fps"], &value["part"]),
            (HEALTH, &json!("camera"), &json!(2.5), &json!("c1"))
        );
        assert_eq!(value["sent_at"], "1970-01-01T00:00:01Z");
    }
}
