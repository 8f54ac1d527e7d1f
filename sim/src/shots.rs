//! A few minutes of stations as their cameras and scanners meet them: what stands in front of a camera at
//! each moment, what is scanned when, and what a perfect observer would say.
//!
//! In:   a seed and a size.
//! Out:  one shift per station: moments in order of time; the truth of all.
//! Owns: the parcels. How a parcel looks is the renderer's; what a device makes of a moment is the agent's.
//!
//! S1  Parcels of a station are at least 7 s apart; at most one incident per parcel.
//! S2  A camera gives a frame every `1 / frames_per_s` seconds, whatever stands there, but for a silence.
//! S3  A parcel that a silence's edge would show in part waits until it is over.
//! S4  Nothing is planted in the first and last 20 seconds.

use weir_contract::EventTime;

use crate::floor::{Article, BRANDS, Floor, Station, check_digit};
use crate::options::DEFAULT_START;
use crate::reference::{self, Row};
use crate::rng::Rng;
use crate::truth::{Incident, Truth};

const SECOND: i64 = 1_000_000;
/// Nothing is planted so near to either end.
const EDGE: i64 = 20 * SECOND;
/// A parcel is before the camera for so long before and after it is scanned.
const IN_SIGHT: i64 = 2 * SECOND;
/// Around a parcel's scan: what the brand rule looks at.
const LOOK: i64 = 4 * SECOND;
const SILENCE_S: (i64, i64) = (65, 80);

/// Planted kinds and how many of 1 000 parcels have them.
const KINDS: [(&str, u64); 6] = [
    ("wrong_brand", 140),
    ("mixed_brands", 90),
    ("empty_frame", 90),
    ("unknown_barcode", 50),
    ("bad_check_digit", 50),
    ("double_scan", 50),
];

/// What is asked for. Equal options give equal shots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShotOptions {
    pub seed: u64,
    pub seconds: i64,
    pub stations: u32,
    pub frames_per_s: u32,
    /// One camera is silent for a minute.
    pub silence: bool,
}

impl ShotOptions {
    /// Two stations at one frame a second for five minutes.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, seconds: 300, stations: 2, frames_per_s: 1, silence: true }
    }
}

/// A parcel as it passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passing {
    /// Its look follows from it.
    pub id: String,
    /// When it stands in the middle and is scanned.
    pub at: EventTime,
    /// Names of the brands whose marks it bears.
    pub marks: Vec<&'static str>,
    /// What its label says.
    pub barcode: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// The camera looks; by index of [`Shift::parcels`] what may be in sight.
    Frame { at: EventTime, parcels: Vec<usize> },
    /// The scanner reads.
    Scan { at: EventTime, code: String },
}

impl Moment {
    pub fn at(&self) -> EventTime {
        match self {
            Moment::Frame { at, .. } | Moment::Scan { at, .. } => *at,
        }
    }
}

/// One station's part.
#[derive(Debug, Clone)]
pub struct Shift {
    pub station: Station,
    pub warehouse: String,
    pub parcels: Vec<Passing>,
    /// By time.
    pub moments: Vec<Moment>,
}

/// All stations, and the truth.
#[derive(Debug, Clone)]
pub struct Shots {
    pub floor: Floor,
    pub shifts: Vec<Shift>,
    pub truth: Truth,
}

impl Shots {
    pub fn new(options: &ShotOptions) -> Self {
        // A warehouse each: devices of one partition would have to keep pace with each other.
        let floor = Floor::new(options.stations, 1, options.stations);
        let from = DEFAULT_START.0;
        let mut truth = Truth {
            seed: options.seed,
            from: EventTime(from),
            to: EventTime(from + options.seconds * SECOND),
            stations: options.stations,
            units: floor.units.len() as u32,
            incidents: Vec::new(),
        };
        let silent = Rng::of(options.seed, "shots silence").below(u64::from(options.stations.max(1)));
        let shifts = floor
            .stations
            .iter()
            .enumerate()
            .map(|(n, station)| {
                let silence = options.silence && n as u64 == silent;
                shift(options, &floor, station, silence, &mut truth)
            })
            .collect();
        truth.incidents.sort_by(|a, b| (a.from, &a.kind, &a.key).cmp(&(b.from, &b.kind, &b.key)));
        Self { floor, shifts, truth }
    }

    /// Reference rows that stand from the beginning, table by table.
    pub fn reference_rows(&self) -> Vec<(&'static str, Row)> {
        reference::rows(&self.floor)
    }
}

/// The silence of a camera: from, to.
fn silence_of(options: &ShotOptions, rng: &mut Rng) -> Option<(i64, i64)> {
    let length = rng.range(SILENCE_S.0, SILENCE_S.1) * SECOND;
    let latest = options.seconds * SECOND - 2 * EDGE - length;
    (latest > EDGE).then(|| {
        let from = DEFAULT_START.0 + rng.range(EDGE / SECOND, latest / SECOND) * SECOND;
        (from, from + length)
    })
}

fn shift(options: &ShotOptions, floor: &Floor, station: &Station, silent: bool, truth: &mut Truth) -> Shift {
    let mut rng = Rng::of(options.seed, &format!("shots {}", station.id));
    let warehouse = floor.warehouses[station.warehouse].id.clone();
    let silence = if silent { silence_of(options, &mut rng) } else { None };
    let incident = |kind: &str, rule: &str, from: i64, to: i64, onset: i64| Incident {
        kind: kind.into(),
        cause: kind.into(),
        reason: String::new(),
        rule: rule.into(),
        warehouse: warehouse.clone(),
        key: station.id.clone(),
        from: EventTime(from),
        to: EventTime(to),
        onset: Some(EventTime(onset)),
        scored: true,
        touches: vec![station.id.clone(), station.agent.clone(), station.camera.clone()],
        masks_to: None,
    };

    let (mut parcels, mut moments) = (Vec::new(), Vec::new());
    let (start, end) = (truth.from.0, truth.to.0);
    let mut at = start + rng.range(5_000, 9_000) * 1_000;
    while at < end - LOOK {
        let edge = silence.into_iter().flat_map(|(from, to)| [from, to]).find(|e| (at - e).abs() <= LOOK);
        if let Some(edge) = edge {
            at = edge + LOOK + SECOND;
            continue;
        }
        let dark = silence.is_some_and(|(from, to)| from <= at && at < to);
        let may = start + EDGE <= at && at < end - EDGE && !dark;
        let (parcel, scans, kind) = pass(&floor.articles, &station.id, parcels.len(), at, may, &mut rng);
        if let Some(kind) = kind {
            let barcode = matches!(kind, "unknown_barcode" | "bad_check_digit" | "double_scan");
            let shown = scans.last().map_or(at, |(at, _)| *at);
            let rule = if barcode { "barcode" } else { "brand_mismatch" };
            truth.incidents.push(incident(kind, rule, shown, shown, shown));
        }
        moments.extend(scans.into_iter().map(|(at, code)| Moment::Scan { at: EventTime(at), code }));
        parcels.push(parcel);
        at += rng.range(7_000, 12_000) * 1_000;
    }

    let every = SECOND / i64::from(options.frames_per_s.max(1));
    let phase = rng.range(0, every / 1_000 - 1) * 1_000;
    let mut last_before = start;
    for at in (start + phase..end).step_by(every as usize) {
        if silence.is_some_and(|(from, to)| from <= at && at < to) {
            continue;
        }
        if silence.is_some_and(|(from, _)| at < from) {
            last_before = at;
        }
        let near = |p: &Passing| (p.at.0 - at).abs() < IN_SIGHT;
        let parcels = (0..parcels.len()).filter(|n| near(&parcels[*n])).collect();
        moments.push(Moment::Frame { at: EventTime(at), parcels });
    }
    if let Some((from, to)) = silence {
        truth.incidents.push(incident("silent_camera", "camera_silent", from, to, last_before + 10 * SECOND));
    }
    moments.sort_by_key(Moment::at);
    Shift { station: station.clone(), warehouse, parcels, moments }
}

type Scans = Vec<(i64, String)>;

/// A parcel, when it is scanned as what, and what is planted on it.
fn pass(
    articles: &[Article],
    station: &str,
    number: usize,
    at: i64,
    may: bool,
    rng: &mut Rng,
) -> (Passing, Scans, Option<&'static str>) {
    let article = &articles[rng.below(articles.len() as u64) as usize];
    let other = (article.brand + 1 + rng.below(BRANDS.len() as u64 - 1) as usize) % BRANDS.len();
    let (mut draw, serial) = (rng.below(1_000), rng.below(100_000_000));
    let kind = KINDS.iter().find_map(|(kind, share)| {
        let hit = draw < *share;
        draw = draw.wrapping_sub(*share);
        hit.then_some(*kind)
    });
    let kind = kind.filter(|k| may && (*k != "bad_check_digit" || article.symbology != "CODE128"));
    let barcode = match kind {
        Some("unknown_barcode") => {
            let body = format!("8499{serial:08}");
            format!("{body}{}", check_digit(&body))
        }
        Some("bad_check_digit") => {
            let (body, last) = article.barcode.split_at(article.barcode.len() - 1);
            let wrong = (last.parse::<u64>().unwrap_or(0) + 1 + serial % 9) % 10;
            format!("{body}{wrong}")
        }
        _ => article.barcode.clone(),
    };
    let marks = match kind {
        Some("empty_frame") => vec![],
        Some("wrong_brand") => vec![BRANDS[other]],
        Some("mixed_brands") => vec![BRANDS[article.brand], BRANDS[other]],
        _ => vec![BRANDS[article.brand]],
    };
    let mut scans = vec![(at, barcode.clone())];
    if kind == Some("double_scan") {
        scans.push((at + rng.range(400, 1_600) * 1_000, barcode.clone()));
    }
    let id = format!("{station}-{number:04}-{serial:08}");
    (Passing { id, at: EventTime(at), marks, barcode }, scans, kind)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn equal_options_give_equal_shots() {
        let (a, b) = (Shots::new(&ShotOptions::seeded(3)), Shots::new(&ShotOptions::seeded(3)));
        assert_eq!(a.truth, b.truth);
        for (a, b) in a.shifts.iter().zip(&b.shifts) {
            assert_eq!((&a.parcels, &a.moments), (&b.parcels, &b.moments));
        }
        assert_ne!(a.truth, Shots::new(&ShotOptions::seeded(4)).truth);
    }

    #[test]
    fn twenty_seeds_plant_every_kind_and_keep_apart() {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for seed in 0..20 {
            let shots = Shots::new(&ShotOptions::seeded(seed));
            for incident in &shots.truth.incidents {
                *kinds.entry(incident.kind.clone()).or_default() += 1;
                assert!(incident.from >= EventTime(shots.truth.from.0 + EDGE), "{incident:?}");
                assert!(incident.to.0 <= shots.truth.to.0 - EDGE + 2 * SECOND, "{incident:?}");
            }
            for shift in &shots.shifts {
                assert!(shift.moments.is_sorted_by_key(Moment::at));
                assert!(shift.parcels.windows(2).all(|p| p[1].at.0 - p[0].at.0 >= 7 * SECOND));
                let frames = shift.moments.iter().filter(|m| matches!(m, Moment::Frame { .. })).count();
                assert!((215..=300).contains(&frames), "{frames}");
            }
        }
        assert!(kinds.len() == KINDS.len() + 1 && kinds["silent_camera"] == 20, "{kinds:?}");
        assert!(kinds.values().all(|n| *n >= 20), "{kinds:?}");
    }

    #[test]
    fn a_parcel_in_sight_is_seen_whole_at_least_once() {
        let shots = Shots::new(&ShotOptions::seeded(5));
        for shift in &shots.shifts {
            let silence =
                shots.truth.incidents.iter().find(|i| i.kind == "silent_camera" && i.key == shift.station.id);
            for (n, parcel) in shift.parcels.iter().enumerate() {
                let dark = silence.is_some_and(|s| s.from <= parcel.at && parcel.at < s.to);
                let seen = shift.moments.iter().any(|m| {
                    matches!(m, Moment::Frame { at, parcels }
                        if parcels.contains(&n) && (at.0 - parcel.at.0).abs() <= SECOND / 2)
                });
                assert_eq!(seen, !dark, "{parcel:?}");
            }
        }
    }
}
