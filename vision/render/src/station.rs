//! A station of the simulated day as its camera sees it.
//!
//! In:   the station's name, the time, the parcels before it: their marks, their barcode, how long ago
//!       each stood in the middle.
//! Out:  a scene. One station always looks the same, and so does one parcel; both move with time alone.
//!
//! S1  A parcel whose time is within ±0.6 s has its marks and its barcode in the frame.

use crate::barcode::Barcode;
use crate::brand::Brand;
use crate::dice::Dice;
use crate::scene::{Belt, Glare, Ink, Kind, Layout, Lens, Light, Material, Parcel, Scene, Thing};

/// Floor units per second.
pub const BELT_SPEED: f32 = 0.42;

/// A parcel that a camera may see.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its look follows from this name.
    pub parcel: String,
    /// At most two are drawn.
    pub marks: Vec<Brand>,
    pub barcode: Option<Barcode>,
    /// Seconds since it stood in the middle; negative while it comes.
    pub since_s: f32,
}

fn seed_of(name: &str) -> u64 {
    Dice::of(0, name).bits()
}

/// What the camera of `station` sees `at_s` seconds into the day.
pub fn scene(station: &str, at_s: f64, shown: &[Shown]) -> Scene {
    let mut dice = Dice::of(seed_of(station), "station");
    let belt = dice.pick(&[Belt::Rubber, Belt::Rollers, Belt::Concrete], Belt::Rubber);
    let tint = match belt {
        Belt::Rollers => dice.tinted([150, 154, 158], 20.0),
        Belt::Concrete => dice.tinted([140, 138, 132], 20.0),
        _ => dice.tinted([48, 50, 54], 14.0),
    };
    let glare = dice.chance(0.4).then(|| Glare {
        x: dice.near(0.0, 0.45),
        y: dice.near(0.0, 0.45),
        radius: dice.range(0.1, 0.25),
        strength: dice.range(0.1, 0.35),
    });
    let moving = if belt == Belt::Concrete { 0.0 } else { 1.0 };
    Scene {
        belt,
        tint,
        // A belt's own marks come round again; its run stays small enough for exact floats.
        belt_run: -moving * ((at_s * f64::from(BELT_SPEED)) % 84.0) as f32,
        tilt: (dice.near(0.0, 0.1), dice.near(0.0, 0.1)),
        roll: dice.near(0.0, 0.05),
        parcels: shown.iter().map(parcel).collect(),
        blobs: Vec::new(),
        light: Light {
            gain: dice.range(0.9, 1.1),
            gamma: dice.range(0.9, 1.15),
            slope: dice.range(0.0, 0.25),
            direction: dice.angle(),
            warmth: dice.near(0.0, 0.06),
            glare,
        },
        lens: Lens {
            blur: dice.range(0.0, 0.25),
            motion: 0.0,
            motion_angle: 0.0,
            noise: dice.range(1.0, 4.0),
            jpeg_quality: 88,
        },
    }
}

fn parcel(shown: &Shown) -> Parcel {
    let mut dice = Dice::of(seed_of(&shown.parcel), "look");
    let material =
        dice.pick(&[Material::Cardboard, Material::Cardboard, Material::White], Material::Cardboard);
    let tint = match material {
        Material::White => dice.tinted([224, 222, 216], 12.0),
        _ => dice.tinted([178, 138, 94], 20.0),
    };
    let (length, width) = (dice.range(0.46, 0.52), dice.range(0.46, 0.6));
    let mut things = Vec::new();
    // Marks on the upper half of the lid, the label on the lower.
    let marks = &shown.marks[..shown.marks.len().min(2)];
    let room = length / marks.len().max(1) as f32;
    for (number, brand) in marks.iter().enumerate() {
        let layout = dice.pick(&[Layout::NameBelow, Layout::NameBeside, Layout::Alone], Layout::NameBelow);
        let most = if layout == Layout::NameBeside { 0.8 * room } else { (0.7 * room).min(0.4 * width) };
        things.push(Thing {
            u: -length / 2.0 + room * (number as f32 + 0.5),
            v: -0.22 * width,
            angle: dice.near(0.0, 0.06),
            width: most * dice.range(0.85, 1.0),
            kind: Kind::Mark { brand: *brand, layout, ink: Ink::Full { shift: dice.near(0.0, 14.0) as i8 } },
        });
    }
    if let Some(code) = &shown.barcode {
        things.push(Thing {
            u: dice.near(0.0, 0.02),
            v: 0.25 * width,
            angle: dice.near(0.0, 0.04),
            width: 0.38,
            kind: Kind::Barcode { code: code.clone(), height: 0.38 },
        });
    }
    Parcel {
        material,
        tint,
        x: shown.since_s * BELT_SPEED,
        y: dice.near(0.0, 0.05),
        length,
        width,
        height: dice.range(0.05, 0.16),
        angle: dice.near(0.0, 0.08),
        tape: false,
        things,
        straps: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::{Class, render};

    #[test]
    fn a_passing_parcel_shows_its_marks_and_its_barcode() {
        for (number, brand) in (0..).zip(Brand::ALL) {
            let other = Brand::ALL[(number + 3) % 8];
            let code = Barcode::of("8410001012346").unwrap();
            for since_s in [-0.58, 0.02, 0.62] {
                let shown = Shown {
                    parcel: format!("P{number}"),
                    marks: vec![brand, other],
                    barcode: Some(code.clone()),
                    since_s,
                };
                let scene = scene(&format!("MAD1-P{number}"), 61.0, &[shown]);
                let truth = render(&scene, (640, 480), 1).unwrap().truth;
                for class in [Class::Brand(brand), Class::Brand(other), Class::Barcode, Class::Parcel] {
                    let found = truth.iter().find(|t| t.class == class);
                    let visible = found.map_or(0.0, |t| t.visible);
                    assert!(visible > 0.6, "{class:?} of parcel {number} at {since_s}: {visible}");
                }
            }
        }
    }

    #[test]
    fn an_empty_station_has_an_empty_truth() {
        assert!(render(&scene("MAD1-P1", 5.0, &[]), (320, 320), 1).unwrap().truth.is_empty());
    }
}
