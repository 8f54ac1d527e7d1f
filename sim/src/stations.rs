//! One station: parcels under a camera and a scanner, an agent that sends what they see.
//!
//! In:   the station, its spans of faults, a stretch of time.
//! Out:  rows of `scans`, `detections`, `device_health`; the incidents planted on single parcels.
//! Owns: the parcels. Where a record may stand among others is `record`; what devices say of themselves `health`.
//!
//! S1  Parcels are at least 6 s apart; a parcel is seen only within 1 s of its scan.
//! S2  Without a trigger the camera gives a frame each 2 s; none stands near a parcel.
//! S3  At most one incident per parcel, none near a span of faults that shows in scans or frames.
//! S4  A parcel whose frames would be seen in part only, at the edge of a silence, waits.

use std::collections::BTreeMap;

use crate::floor::{Article, BRANDS, Station, check_digit};
use crate::options::{DayOptions, QUIET_END};
use crate::plan::{Fault, STATION_MASK, Span};
use crate::record::{Json, Outbox, Sent, Topic};
use crate::rng::Rng;

mod health;

const SECOND: i64 = 1_000_000;
const MODEL: &str = "brandnet-4";
const MODEL_SHA256: &str = "5f1c7b0de2a94c8391d6a3b7f0e8452c6d9b17e4a05c38f2917d6e0b4ac3f581";

/// The longest way of a record whose clock is behind: with what it is behind, less than any lateness.
const MOST_BEHIND: i64 = 300_000;

/// Parcels that a station packs for one order.
const PARCELS_PER_ORDER: u64 = 3;

/// Kinds of parcel incidents in the order of their rates.
const PARCEL_KINDS: [&str; 6] =
    ["wrong_brand", "mixed_brands", "empty_frame", "unknown_barcode", "bad_check_digit", "double_scan"];

/// An incident on one parcel: kind, and the event time of the scan that shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParcelIncident {
    pub kind: &'static str,
    pub at: i64,
}

/// How a record of this moment travels.
struct Travel {
    stamp: i64,
    sent: Sent,
    copy_after: Option<i64>,
    corrupt: bool,
}

#[derive(Debug)]
pub struct Desk {
    station: Station,
    site: String,
    lane: usize,
    spans: Vec<Span>,
    rates: [u32; 6],
    /// First and last moment at which anything may be planted on a parcel.
    planting: (i64, i64),
    end: i64,
    parcels: Rng,
    incidents: Rng,
    marks: Rng,
    health: Rng,
    delays: Rng,
    next_parcel: i64,
    next_frame: i64,
    next_health: [i64; 3],
    boot: usize,
    /// Sequence numbers of scans, frames, and the health of agent, camera, scanner.
    seqs: [u64; 5],
    parcel_count: u64,
    /// Articles of the order that is being packed.
    order: [usize; PARCELS_PER_ORDER as usize],
    shop: bool,
    backlog: i64,
    /// Records that the agent gave up so far.
    gone: i64,
    /// Last frame, and last word of agent, camera, scanner.
    last_frame: i64,
    last_health: [i64; 3],
    pub planted: Vec<ParcelIncident>,
    /// Per fault, by its start, and kind: when the rule's predicate began to hold.
    pub onsets: BTreeMap<(i64, &'static str), i64>,
}

impl Desk {
    /// A station that works from `start` to the end of the day.
    pub fn new(
        options: &DayOptions,
        station: &Station,
        site: &str,
        lane: usize,
        spans: Vec<Span>,
        start: i64,
    ) -> Desk {
        let stream = |what: &str| Rng::of(options.seed, &format!("station {} {what}", station.id));
        let r = &options.rates;
        let mut health = stream("health");
        Desk {
            lane,
            spans,
            rates: [
                r.wrong_brand,
                r.mixed_brands,
                r.empty_frame,
                r.unknown_barcode,
                r.bad_check_digit,
                r.double_scan,
            ],
            planting: (start + 30 * SECOND, options.to_us() - QUIET_END),
            end: options.to_us(),
            next_parcel: start + health.range(4_000, 12_000) * 1000,
            next_frame: start + health.range(0, 1_500) * 1000,
            next_health: [0, 1, 2].map(|n| start + (4 + n) * SECOND + health.range(0, 990) * 1000),
            parcels: stream("parcels"),
            incidents: stream("incidents"),
            marks: stream("marks"),
            health,
            delays: stream("delays"),
            boot: 0,
            seqs: [0; 5],
            parcel_count: 0,
            order: [0; PARCELS_PER_ORDER as usize],
            shop: options.shop,
            backlog: 0,
            gone: 0,
            last_frame: start,
            last_health: [start; 3],
            planted: Vec::new(),
            onsets: BTreeMap::new(),
            station: station.clone(),
            site: site.to_owned(),
        }
    }

    /// Sends everything that enters before `until`.
    pub fn run_to(&mut self, until: i64, articles: &[Article], out: &mut Outbox) {
        let until = until.min(self.end);
        loop {
            let enters = self.next_parcel - 1_200_000;
            let (turn, health) = self
                .next_health
                .iter()
                .copied()
                .enumerate()
                .min_by_key(|(n, t)| (*t, *n))
                .unwrap_or((0, until));
            let first = enters.min(self.next_frame).min(health);
            if first >= until {
                return;
            }
            self.notice_restart(first);
            if first == enters {
                self.parcel(articles, out);
            } else if first == self.next_frame {
                self.frame(first, &[], out);
                self.next_frame = first + 2 * SECOND + self.marks.range(-40, 40) * 1000;
            } else {
                self.tell_health(turn, out);
            }
        }
    }

    /// A restarted agent has a new boot id and counts anew; it tells its health after ten seconds.
    fn notice_restart(&mut self, now: i64) {
        let boots = self.spans.iter().filter(|s| s.fault == Fault::DeadAgent && s.to <= now).count();
        if boots > self.boot {
            let back = self.spans.iter().filter(|s| s.fault == Fault::DeadAgent).nth(boots - 1);
            self.boot = boots;
            self.seqs = [0; 5];
            for (n, next) in self.next_health.iter_mut().enumerate() {
                *next = (*next).max(back.map_or(0, |s| s.to) + (10 + n as i64) * SECOND);
            }
        }
    }

    fn travel(&mut self, topic: Topic, made_us: i64) -> Option<Travel> {
        let most = match topic {
            Topic::Scans => 600,
            Topic::Detections => 1400,
            _ => 900,
        };
        let usual = self.delays.range(40, most) * 1000;
        let mut travel = Travel {
            stamp: made_us,
            sent: Sent { made_us, delay_us: usual, fault: false },
            copy_after: None,
            corrupt: false,
        };
        let Some(span) = self.spans.iter().copied().find(|s| s.from <= made_us && made_us < s.to) else {
            return Some(travel);
        };
        let lateness = topic.lateness_us();
        travel.sent.fault = true;
        match span.fault {
            Fault::DeadAgent => {
                // No record for 30 s, of the device that spoke first.
                let first = self.last_health.into_iter().min().unwrap_or(span.from);
                self.onsets.entry((span.from, "dead_agent")).or_insert(first + 30 * SECOND);
                return None;
            }
            Fault::SilentCamera => {
                travel.sent.fault = false;
                if topic == Topic::Detections {
                    // No frame for 10 s.
                    let silent = self.last_frame + 10 * SECOND;
                    self.onsets.entry((span.from, "silent_camera")).or_insert(silent);
                    return None;
                }
            }
            Fault::Offline => {
                self.backlog += 1;
                travel.sent.delay_us = span.to + self.backlog * 8_000 - made_us;
            }
            Fault::ClockOff(off) => travel.stamp += off,
            Fault::Drift(gain) => travel.stamp += (made_us - span.from) / SECOND * gain,
            Fault::Duplicates => {
                travel.sent.fault = false;
                travel.copy_after = Some(self.delays.range(30, 2_000) * 1000);
            }
            Fault::Disorder => {
                travel.sent.fault = false;
                travel.sent.delay_us = self.delays.range(0, lateness * 95 / 100_000) * 1000;
            }
            Fault::Stragglers => {
                travel.sent.delay_us = lateness + self.delays.range(3_000, 15_000) * 1000;
            }
            Fault::Corrupt => travel.corrupt = true,
            Fault::ClockSkew(off) => {
                travel.sent.fault = false;
                travel.stamp += off;
                if off < 0 {
                    // What is behind has less time to be on time.
                    travel.sent.delay_us = usual.min(MOST_BEHIND);
                }
            }
            Fault::Unsynced | Fault::Backlog(_) | Fault::Refused(_) | Fault::NoDisk => {
                travel.sent.fault = false;
            }
            Fault::Hot | Fault::FullDisk | Fault::HotAndFull | Fault::BatteryLow => {
                travel.sent.fault = false;
            }
        }
        Some(travel)
    }

    fn send(&mut self, topic: Topic, travel: &Travel, json: Json, out: &mut Outbox) {
        let mut value = json.finish();
        if travel.corrupt {
            value = self.corrupted(topic, value);
        }
        if let Some(after) = travel.copy_after {
            let copy = Sent { delay_us: travel.sent.delay_us + after, fault: true, ..travel.sent };
            out.row(topic, self.lane, copy, value.clone());
        }
        out.row(topic, self.lane, travel.sent, value);
    }

    /// Bytes from which no row can be made.
    fn corrupted(&mut self, topic: Topic, value: Vec<u8>) -> Vec<u8> {
        let column = format!("\"{}\":", topic.time_column());
        match self.delays.below(4) {
            0 => value[..value.len() / 2].to_vec(),
            1 => vec![0xff, 0xd8, 0xff, 0xe0, 0x00, 0x10],
            // The time is not a time; or it is missing.
            n => {
                let other = if n == 2 { format!("{column}\"soon\",\"was\":") } else { "\"was\":".into() };
                String::from_utf8_lossy(&value).replacen(&column, &other, 1).into_bytes()
            }
        }
    }

    /// `device/boot/seq` of the next record of sequence `n`.
    fn event_id(&mut self, n: usize) -> String {
        self.seqs[n] += 1;
        let device = match n {
            0 | 4 => &self.station.scanner,
            1 | 3 => &self.station.camera,
            _ => &self.station.agent,
        };
        // Scans and the scanner's health are two sequences of one device.
        let part = if n > 2 { "h" } else { "" };
        format!("{device}/b{}/{part}{}", self.boot + 1, self.seqs[n])
    }

    fn parcel(&mut self, articles: &[Article], out: &mut Outbox) {
        let at = self.next_parcel;
        if self.parcel_count.is_multiple_of(PARCELS_PER_ORDER) {
            self.open_order(at - 1_200_000, articles, out);
        }
        let article = &articles[self.order[(self.parcel_count % PARCELS_PER_ORDER) as usize]];
        let gap = self.parcels.range(7_000_000, 14_000_000);
        let serial = self.parcels.below(100_000_000);
        let order = (self.parcel_count / PARCELS_PER_ORDER, self.parcels.chance(9, 10));
        self.parcel_count += 1;
        self.next_parcel = self.clear_of_edges(at + gap);
        self.next_frame = self.next_frame.max(at + 1_250_000);
        let incident = self.draw_incident(at, article);
        let barcode = match incident {
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
        let symbology = if incident == Some("unknown_barcode") { "EAN13" } else { article.symbology };
        self.scan(at, &barcode, symbology, order, out);
        let mut shown_at = at;
        if incident == Some("double_scan") {
            shown_at = at + self.marks.range(400, 1_600) * 1000;
            self.scan(shown_at, &barcode, symbology, order, out);
        }
        for offset in [-520_000, 20_000, 560_000] {
            let marks = self.marks_of(article.brand, incident, offset == 20_000);
            let jitter = self.marks.range(-60_000, 60_000);
            self.frame(at + offset + jitter, &marks, out);
        }
        if let Some(kind) = incident {
            self.planted.push(ParcelIncident { kind, at: shown_at });
        }
    }

    /// Draws what the next order holds and, where the shop is asked for, sends its lines in a burst.
    fn open_order(&mut self, at: i64, articles: &[Article], out: &mut Outbox) {
        self.order = std::array::from_fn(|_| self.parcels.below(articles.len() as u64) as usize);
        let ship_by = at + self.parcels.range(20, 60) * 60 * SECOND;
        if !self.shop {
            return;
        }
        let order = format!("{}-O{:05}", self.station.id, self.parcel_count / PARCELS_PER_ORDER);
        for (line, article) in (1..).zip(self.order.map(|a| &articles[a])) {
            let mut json = Json::new();
            json.show("event_id", format_args!("{}-OMS/1/{order}-{line}", self.site))
                .text("warehouse", &self.site)
                .show("device", format_args!("{}-OMS", self.site))
                .text("order_id", &order)
                .int("line", line)
                .text("sku", &article.sku)
                .text("brand", BRANDS[article.brand])
                .int("qty", 1)
                .time("ship_by", ship_by)
                .time("created_at", at);
            let sent = Sent { made_us: at, delay_us: 400_000, fault: false };
            out.row(Topic::OrderLines, self.lane, sent, json.finish());
        }
    }

    fn draw_incident(&mut self, at: i64, article: &Article) -> Option<&'static str> {
        let mut drawn = None;
        for (kind, rate) in PARCEL_KINDS.iter().zip(self.rates) {
            let hit = self.incidents.chance(rate, 10_000);
            let possible = *kind != "bad_check_digit" || article.symbology != "CODE128";
            if hit && possible && drawn.is_none() {
                drawn = Some(*kind);
            }
        }
        let near = |s: &Span| {
            s.fault.disturbs() && s.from - 20 * SECOND <= at && at <= s.to + STATION_MASK + 20 * SECOND
        };
        let free = self.planting.0 <= at && at < self.planting.1 && !self.spans.iter().any(near);
        drawn.filter(|_| free)
    }

    /// Marks `(brand, confidence in thousandths)` that one frame of a parcel shows.
    fn marks_of(&mut self, brand: usize, incident: Option<&str>, middle: bool) -> Vec<(usize, i64)> {
        let other = (brand + 1 + self.marks.below(BRANDS.len() as u64 - 1) as usize) % BRANDS.len();
        let (right, wrong) = (self.marks.range(600, 980), self.marks.range(600, 960));
        let (seen, faint) = (middle || self.marks.chance(17, 20), self.marks.range(60, 240));
        let stray = self.marks.chance(1, 12);
        match incident {
            Some("empty_frame") => vec![],
            Some("wrong_brand") if stray => vec![(other, wrong), (brand, faint)],
            Some("wrong_brand") if seen => vec![(other, wrong)],
            Some("mixed_brands") if seen => vec![(brand, right), (other, wrong)],
            _ if stray && seen => vec![(brand, right), (other, faint + 150)],
            _ if seen => vec![(brand, right)],
            _ => vec![],
        }
    }

    /// The first moment from `at` on at which a parcel is seen whole or not at all.
    fn clear_of_edges(&self, mut at: i64) -> i64 {
        for span in &self.spans {
            let edges = match span.fault {
                Fault::SilentCamera => vec![
                    (span.from - 3_500_000, span.from + 2_500_000),
                    (span.to - 3_500_000, span.to + 2_500_000),
                ],
                Fault::DeadAgent => vec![(span.from - 4 * SECOND, span.to + 3 * SECOND)],
                _ => vec![],
            };
            for (from, to) in edges {
                if from <= at && at <= to {
                    at = to + 1000;
                }
            }
        }
        at
    }

    fn scan(&mut self, at: i64, barcode: &str, symbology: &str, order: (u64, bool), out: &mut Outbox) {
        let Some(travel) = self.travel(Topic::Scans, at) else { return };
        let id = self.event_id(0);
        let mut json = Json::new();
        json.text("event_id", &id)
            .text("warehouse", &self.site)
            .text("device", &self.station.scanner)
            .text("station", &self.station.id)
            .show("scan_id", format_args!("S-{id}"))
            .text("barcode", barcode)
            .text("symbology", symbology)
            .time("scanned_at", travel.stamp)
            .show("parcel_id", format_args!("{}-{:06}", self.station.id, self.parcel_count));
        match order {
            (n, true) => json.show("order_id", format_args!("{}-O{n:05}", self.station.id)),
            _ => json.null("order_id"),
        };
        json.text("method", "scanner").int("read_count", 1);
        self.send(Topic::Scans, &travel, json, out);
    }

    fn frame(&mut self, at: i64, marks: &[(usize, i64)], out: &mut Outbox) {
        let Some(travel) = self.travel(Topic::Detections, at) else { return };
        self.last_frame = at;
        let id = self.event_id(1);
        let mut frame_id = String::with_capacity(64);
        self.marks.push_hash(&mut frame_id);
        for ordinal in 0..marks.len().max(1) {
            let mut json = Json::new();
            json.show("event_id", format_args!("{id}/{ordinal}"))
                .text("warehouse", &self.site)
                .text("device", &self.station.camera)
                .text("station", &self.station.id)
                .text("frame_id", &frame_id)
                .show("frame_uri", format_args!("frames/{}/{}.jpg", self.station.id, &frame_id[..16]))
                .time("captured_at", travel.stamp);
            if let Some((brand, confidence)) = marks.get(ordinal) {
                let (x, y) = (self.marks.range(40, 900), self.marks.range(40, 600));
                json.text("brand", BRANDS[*brand])
                    .milli("confidence", *confidence)
                    .milli("x1", x * 1000)
                    .milli("y1", y * 1000)
                    .milli("x2", (x + 180) * 1000)
                    .milli("y2", (y + 90) * 1000);
            } else {
                for column in ["brand", "confidence", "x1", "y1", "x2", "y2"] {
                    json.null(column);
                }
            }
            json.text("model", MODEL).text("model_sha256", MODEL_SHA256);
            self.send(Topic::Detections, &travel, json, out);
        }
    }
}
