//! The floor that stands before the day begins: warehouses, stations, items, paths, units.
//!
//! In:   how many warehouses, stations and partitions.
//! Out:  the entities, by index, and the reference rows that describe them (`reference`).
//! Owns: names, capacities, thresholds. The same for every seed.
//!
//! F1  Ids of stations, devices, paths and units are unique over all warehouses.
//! F2  Paths of one workpool have equal capacity, and a total holds 1.3 times their sum, so that one
//!     path's trouble alone never reaches its total.

use crate::rng::Rng;

pub const WORKPOOLS: [&str; 3] = ["PICK", "PACK", "SHIP"];
pub const BRANDS: [&str; 8] = ["Alba", "Boreal", "Cendra", "Duna", "Estel", "Fosca", "Garbi", "Horta"];

/// Lines of paths: A and B run through all workpools, the induct stands alone in the first.
pub const LINE_NAMES: [&str; 3] = ["A", "B", "INDUCT"];
pub const INDUCT: usize = 2;

const SITES: [(&str, &str, &str, i64); 6] = [
    ("MAD1", "Madrid", "Europe/Madrid", 1),
    ("LIS1", "Lisbon", "Europe/Lisbon", 0),
    ("BER1", "Berlin", "Europe/Berlin", 1),
    ("ATH1", "Athens", "Europe/Athens", 2),
    ("DUB1", "Dublin", "Europe/Dublin", 0),
    ("WAW1", "Warsaw", "Europe/Warsaw", 1),
];

/// The warehouse that sends records before anybody has inserted it.
pub const LATECOMER: &str = "OPO9";

#[derive(Debug, Clone)]
pub struct Warehouse {
    pub id: String,
    pub name: String,
    pub zone: &'static str,
    /// Hours by which local time is ahead of UTC in the simulated season.
    pub utc_offset_h: i64,
    pub partition: u32,
}

#[derive(Debug, Clone)]
pub struct Station {
    pub id: String,
    /// Index into `Floor::warehouses`.
    pub warehouse: usize,
    pub stage: &'static str,
    pub unit_id: String,
    pub agent: String,
    pub camera: String,
    pub scanner: String,
}

impl Station {
    fn new(warehouse: usize, site: &str, number: usize, packing: bool) -> Station {
        let (letter, stage, pool) =
            if packing { ('P', "packing", "PACK") } else { ('D', "dispatch", "SHIP") };
        let id = format!("{site}-{letter}{number}");
        Station {
            agent: format!("{id}-AGENT"),
            camera: format!("{id}-CAM"),
            scanner: format!("{id}-SCN"),
            id,
            warehouse,
            stage,
            unit_id: format!("{site}_{pool}_TOTAL"),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Article {
    pub barcode: String,
    pub symbology: &'static str,
    pub sku: String,
    /// Index into `BRANDS`.
    pub brand: usize,
}

#[derive(Debug, Clone)]
pub struct Path {
    pub id: String,
    pub warehouse: usize,
    /// Index into `WORKPOOLS`.
    pub workpool: usize,
    /// Index into `LINE_NAMES`.
    pub line: usize,
    /// Items.
    pub capacity: i64,
    /// Index into `Floor::paths`.
    pub upstream: Option<usize>,
}

/// Thresholds in thousandths of the capacity; `horizon_min` in minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub overflow_on: i64,
    pub overflow_off: i64,
    pub starve_on: i64,
    pub starve_off: i64,
    pub horizon_min: i64,
}

#[derive(Debug, Clone)]
pub struct Unit {
    pub id: String,
    pub warehouse: usize,
    pub workpool: usize,
    /// `total`, `path` or `induct`.
    pub unit_type: &'static str,
    pub capacity: i64,
    pub limits: Limits,
    /// Indexes into `Floor::paths`.
    pub paths: Vec<usize>,
}

/// Everything that stands. Indexes are stable for a size of floor.
#[derive(Debug, Clone)]
pub struct Floor {
    pub warehouses: Vec<Warehouse>,
    pub stations: Vec<Station>,
    pub articles: Vec<Article>,
    pub paths: Vec<Path>,
    pub units: Vec<Unit>,
    pub partitions: u32,
}

/// Paths of one warehouse, in `Floor::paths` order: workpool × line A, B, then the induct.
pub const PATHS_PER_WAREHOUSE: usize = 7;

impl Floor {
    pub fn new(warehouses: u32, stations_per_warehouse: u32, partitions: u32) -> Floor {
        let mut floor = Floor {
            warehouses: Vec::new(),
            stations: Vec::new(),
            articles: articles(),
            paths: Vec::new(),
            units: Vec::new(),
            partitions: partitions.max(1),
        };
        for w in 0..warehouses as usize {
            let (id, name, zone, utc_offset_h) = match SITES.get(w) {
                Some(&(id, name, zone, offset)) => (id.to_owned(), name.to_owned(), zone, offset),
                None => (format!("WH{w}"), format!("Warehouse {w}"), "UTC", 0),
            };
            for s in 0..stations_per_warehouse as usize {
                floor.stations.push(Station::new(w, &id, s + 1, s * 2 < stations_per_warehouse as usize));
            }
            floor.warehouses.push(Warehouse {
                id,
                name,
                zone,
                utc_offset_h,
                partition: w as u32 % floor.partitions,
            });
            floor.add_buffers(w);
        }
        floor
    }

    fn add_buffers(&mut self, warehouse: usize) {
        let site = self.warehouses[warehouse].id.clone();
        let first = self.paths.len();
        for (workpool, pool) in WORKPOOLS.iter().enumerate() {
            let capacity = [480, 560, 640][workpool] + 20 * (warehouse as i64 % 4);
            for (line, name) in LINE_NAMES[..INDUCT].iter().enumerate() {
                self.paths.push(Path {
                    id: format!("{site}_{pool}_{name}"),
                    warehouse,
                    workpool,
                    line,
                    capacity,
                    upstream: (workpool > 0).then(|| first + (workpool - 1) * 2 + line),
                });
            }
        }
        self.paths.push(Path {
            id: format!("{site}_PICK_INDUCT"),
            warehouse,
            workpool: 0,
            line: INDUCT,
            capacity: 300,
            upstream: None,
        });
        let path =
            Limits { overflow_on: 900, overflow_off: 800, starve_on: 100, starve_off: 200, horizon_min: 10 };
        let total =
            Limits { overflow_on: 700, overflow_off: 600, starve_on: 50, starve_off: 100, horizon_min: 10 };
        let mut unit =
            |id: String, workpool: usize, unit_type: &'static str, limits: Limits, paths: Vec<usize>| {
                let sum: i64 = paths.iter().map(|p| self.paths[*p].capacity).sum();
                let capacity = if unit_type == "total" { sum * 13 / 10 } else { sum };
                self.units.push(Unit { id, warehouse, workpool, unit_type, capacity, limits, paths });
            };
        for (workpool, pool) in WORKPOOLS.iter().enumerate() {
            let (a, b) = (first + workpool * 2, first + workpool * 2 + 1);
            unit(format!("{site}_{pool}_TOTAL"), workpool, "total", total, vec![a, b]);
            unit(format!("{site}_{pool}_A"), workpool, "path", path, vec![a]);
            unit(format!("{site}_{pool}_B"), workpool, "path", path, vec![b]);
        }
        let induct = Limits { horizon_min: 6, ..path };
        unit(format!("{site}_PICK_INDUCT"), 0, "induct", induct, vec![first + 6]);
    }

    /// The one station of the warehouse that nobody has inserted yet.
    pub fn latecomer(&self) -> (Warehouse, Station) {
        let w = self.warehouses.len();
        let warehouse = Warehouse {
            id: LATECOMER.into(),
            name: "Porto".into(),
            zone: "Europe/Lisbon",
            utc_offset_h: 0,
            partition: w as u32 % self.partitions,
        };
        (warehouse, Station::new(w, LATECOMER, 1, true))
    }

    /// Whether `outer` is a total and `inner` one of the units inside it.
    pub fn contains(&self, outer: usize, inner: usize) -> bool {
        let (o, i) = (&self.units[outer], &self.units[inner]);
        o.unit_type == "total"
            && i.unit_type != "total"
            && (o.warehouse, o.workpool) == (i.warehouse, i.workpool)
    }

    /// Whether a path of `unit` is directly upstream of a path of `other`.
    pub fn feeds(&self, unit: usize, other: usize) -> bool {
        let mut upstream = self.units[other].paths.iter().filter_map(|p| self.paths[*p].upstream);
        upstream.any(|p| self.units[unit].paths.contains(&p))
    }

    /// The units whose events an unseen incident on `unit` may explain: itself, those that contain
    /// it, those that feed it.
    pub fn touched(&self, unit: usize) -> Vec<usize> {
        (0..self.units.len())
            .filter(|u| *u == unit || self.contains(*u, unit) || self.feeds(*u, unit))
            .collect()
    }
}

/// The check digit of 12 (EAN-13) or 11 (UPC-A) leading digits.
pub fn check_digit(digits: &str) -> char {
    // From the right, weights 3, 1, 3, …
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| u32::from(b - b'0') * if i % 2 == 0 { 3 } else { 1 })
        .sum();
    char::from(b'0' + ((10 - sum % 10) % 10) as u8)
}

fn articles() -> Vec<Article> {
    let mut rng = Rng::of(0, "articles");
    (0..96)
        .map(|n| {
            let serial = rng.below(100_000);
            let (symbology, barcode) = match n % 8 {
                6 => {
                    let body = format!("0{:05}{serial:05}", 36_000 + n);
                    ("UPCA", format!("{body}{}", check_digit(&body)))
                }
                7 => ("CODE128", format!("SKU-{n:04}-{serial:05}")),
                _ => {
                    let body = format!("84{:05}{serial:05}", 10_000 + n);
                    ("EAN13", format!("{body}{}", check_digit(&body)))
                }
            };
            Article { barcode, symbology, sku: format!("SKU{n:04}"), brand: n as usize % BRANDS.len() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_of_known_codes() {
        assert_eq!(check_digit("400638133393"), '1');
        assert_eq!(check_digit("03600029145"), '2');
    }

    #[test]
    fn ids_are_unique_and_units_keep_their_pattern() {
        let floor = Floor::new(8, 5, 3);
        let mut ids: Vec<&str> = floor.units.iter().map(|u| u.id.as_str()).collect();
        ids.extend(floor.stations.iter().map(|s| s.id.as_str()));
        ids.extend(floor.articles.iter().map(|a| a.barcode.as_str()));
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
        for unit in &floor.units {
            let parts: Vec<&str> = unit.id.split('_').collect();
            assert_eq!(parts.len(), 3);
            assert!(parts.iter().all(|p| p.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())));
        }
        assert_eq!(floor.units.len(), 80);
        assert_eq!(floor.paths.len(), 8 * PATHS_PER_WAREHOUSE);
    }

    #[test]
    fn congestion_reaches_totals_and_upstream_units() {
        let floor = Floor::new(1, 4, 1);
        let at = |id: &str| floor.units.iter().position(|u| u.id == id).unwrap();
        let names = |id: &str| -> Vec<&str> {
            floor.touched(at(id)).into_iter().map(|u| floor.units[u].id.as_str()).collect()
        };
        assert_eq!(
            names("MAD1_PACK_A"),
            ["MAD1_PICK_TOTAL", "MAD1_PICK_A", "MAD1_PACK_TOTAL", "MAD1_PACK_A"]
        );
        assert_eq!(names("MAD1_PICK_INDUCT"), ["MAD1_PICK_TOTAL", "MAD1_PICK_INDUCT"]);
    }
}
