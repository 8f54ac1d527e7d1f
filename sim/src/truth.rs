//! The truth file: every planted incident, and what a perfect observer would say.
//!
//! In:   what was planted, and the true levels of the buffers.
//! Out:  incidents with kind, cause, key, times, onset; JSON both ways.
//! Owns: the format. `observer` says when a rule's predicate holds.

use weir_contract::EventTime;

/// The scored kinds, in the order in which they are printed.
pub const SCORED_KINDS: [&str; 16] = [
    "wrong_brand",
    "mixed_brands",
    "empty_frame",
    "silent_camera",
    "dead_agent",
    "unknown_barcode",
    "bad_check_digit",
    "double_scan",
    "overflow",
    "jam",
    "starvation",
    "clock_skew",
    "device_behind",
    "spool_growing",
    "hot_or_full",
    "battery_low",
];

/// One planted incident. Times are microseconds of event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    pub kind: String,
    /// Of a buffer incident: rush, jam, slow, work, people, upstream; of a station's: its fault; else the kind.
    pub cause: String,
    /// The reason that the event must give; empty where the score does not look.
    pub reason: String,
    /// The rule that a perfect observer would hear, by its name in the pack; empty where unseen.
    pub rule: String,
    pub warehouse: String,
    /// A station or a unit; of the latecomer the warehouse.
    pub key: String,
    pub from: EventTime,
    pub to: EventTime,
    /// First event time at which the rule's predicate holds on the truth; none where unseen.
    pub onset: Option<EventTime>,
    pub scored: bool,
    /// Stations, devices and units whose events this one explains: of a scored incident those it is
    /// found by, of an unseen one those it masks.
    pub touches: Vec<String>,
    /// To when an unseen incident masks: 60 s after its end, 10 min for units.
    pub masks_to: Option<EventTime>,
}

impl Incident {
    pub fn touches(&self, entity: &str) -> bool {
        self.touches.iter().any(|t| t == entity)
    }
}

/// Everything that was planted in one day. Incidents are by start, kind and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    pub seed: u64,
    pub from: EventTime,
    pub to: EventTime,
    pub stations: u32,
    pub units: u32,
    pub incidents: Vec<Incident>,
}

impl Truth {
    pub fn scored(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().filter(|i| i.scored)
    }

    /// Shares of station time and of unit time, in thousandths, that masks cover.
    pub fn masked_share(&self) -> (i64, i64) {
        let (mut stations, mut units) = (0, 0);
        for incident in self.incidents.iter().filter(|i| !i.scored) {
            let Some(to) = incident.masks_to else { continue };
            let length = to.0.min(self.to.0) - incident.from.0;
            // A unit's id has the form W_P_X; stations carry their devices along, which count once.
            let units_touched = incident.touches.iter().filter(|t| t.contains('_')).count() as i64;
            if units_touched > 0 {
                units += length * units_touched;
            } else {
                stations += length;
            }
        }
        let whole = (self.to.0 - self.from.0).max(1);
        let share = |part: i64, n: u32| part / 1000 * 1000 / (whole / 1000 * i64::from(n)).max(1);
        (share(stations, self.stations), share(units, self.units))
    }

    /// The truth file, one incident per line.
    pub fn to_json(&self) -> String {
        let mut head = serde_json::json!({
            "seed": self.seed, "from": self.from.to_string(), "to": self.to.to_string(),
            "stations": self.stations, "units": self.units,
        })
        .to_string();
        head.pop();
        head.push_str(",\"incidents\":[");
        for (n, i) in self.incidents.iter().enumerate() {
            head.push_str(if n == 0 { "\n" } else { ",\n" });
            let time = |t: Option<EventTime>| t.map(|t| t.to_string());
            let line = serde_json::json!({
                "kind": i.kind, "cause": i.cause, "reason": i.reason, "rule": i.rule, "warehouse": i.warehouse, "key": i.key,
                "from": i.from.to_string(), "to": i.to.to_string(), "onset": time(i.onset),
                "scored": i.scored, "touches": i.touches, "masks_to": time(i.masks_to),
            });
            head.push_str(&line.to_string());
        }
        head.push_str("\n]}\n");
        head
    }

    /// Reads a truth file; none where it is not one.
    pub fn from_json(text: &str) -> Option<Truth> {
        let v: serde_json::Value = serde_json::from_str(text).ok()?;
        let time = |v: &serde_json::Value| EventTime::parse(v.as_str()?);
        let text = |v: &serde_json::Value, c: &str| Some(v.get(c)?.as_str()?.to_owned());
        let incidents = v.get("incidents")?.as_array()?.iter().map(|i| {
            Some(Incident {
                kind: text(i, "kind")?,
                cause: text(i, "cause")?,
                reason: text(i, "reason")?,
                rule: text(i, "rule")?,
                warehouse: text(i, "warehouse")?,
                key: text(i, "key")?,
                from: time(i.get("from")?)?,
                to: time(i.get("to")?)?,
                onset: time(i.get("onset")?),
                scored: i.get("scored")?.as_bool()?,
                touches: i
                    .get("touches")?
                    .as_array()?
                    .iter()
                    .filter_map(|t| t.as_str().map(str::to_owned))
                    .collect(),
                masks_to: time(i.get("masks_to")?),
            })
        });
        Some(Truth {
            seed: v.get("seed")?.as_u64()?,
            from: time(v.get("from")?)?,
            to: time(v.get("to")?)?,
            stations: u32::try_from(v.get("stations")?.as_u64()?).ok()?,
            units: u32::try_from(v.get("units")?.as_u64()?).ok()?,
            incidents: incidents.collect::<Option<Vec<_>>>()?,
        })
    }
}
