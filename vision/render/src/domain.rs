//! Scenes by chance, for training and for measuring.
//!
//! In:   a domain and a seed.
//! Out:  a scene.
//! Owns: the distributions. Held-out frames follow the plain one, and so do most training frames; the
//!       rest of the training frames are hard (any rotation, darker, more blur, more in the way, floors
//!       that do not exist). Shifted frames are as hard, and lie on floors that training never sees.
//!
//! D1  No two domains share a scene: the domain's name is part of the seed.
//! D2  Pallets, chevrons and mesh occur in shifted frames only.

use crate::barcode::{Barcode, check_digit};
use crate::brand::Brand;
use crate::dice::Dice;
use crate::scene::{
    Belt, Blob, Glare, Ink, Kind, Layout, Lens, Light, Material, Parcel, Rgb, Scene, Strap, Thing,
};

/// Share of training frames that are hard.
const HARD: f32 = 0.4;

const WORDS: [&str; 16] = [
    "FRAGILE",
    "THIS SIDE UP",
    "Express",
    "HEAVY",
    "Return",
    "ECO",
    "Handle with care",
    "PRIORITY",
    "Alpina",
    "Borealis",
    "Corda",
    "Dune",
    "Vostok",
    "Garden",
    "Forza",
    "Estate",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    Train,
    HeldOut,
    Shifted,
}

impl Domain {
    pub const ALL: [Domain; 3] = [Domain::Train, Domain::HeldOut, Domain::Shifted];

    pub fn name(self) -> &'static str {
        match self {
            Domain::Train => "train",
            Domain::HeldOut => "held-out",
            Domain::Shifted => "shifted",
        }
    }

    /// The scene of this domain's frame `seed`.
    pub fn scene(self, seed: u64) -> Scene {
        let mut dice = Dice::of(seed, self.name());
        let hard = match self {
            Domain::Train => dice.chance(HARD),
            Domain::HeldOut => false,
            Domain::Shifted => true,
        };
        let belt = match (self, hard) {
            (Domain::Shifted, _) => dice.pick(&[Belt::Pallet, Belt::Chevron, Belt::Mesh], Belt::Pallet),
            (Domain::Train, true) if dice.chance(0.7) => Belt::Abstract,
            _ => dice.pick(&[Belt::Rubber, Belt::Rollers, Belt::Concrete], Belt::Rubber),
        };
        let tint = match belt {
            Belt::Rubber => dice.tinted([48, 50, 54], 26.0),
            Belt::Rollers => dice.tinted([150, 154, 158], 40.0),
            Belt::Concrete => dice.tinted([140, 138, 132], 36.0),
            Belt::Abstract => dice.colour(),
            Belt::Pallet => dice.tinted([170, 130, 84], 40.0),
            Belt::Chevron => [0; 3],
            Belt::Mesh => dice.tinted([165, 170, 175], 50.0),
        };
        let parcels = parcels(&mut dice, hard);
        let blobs = if dice.chance(if hard { 0.45 } else { 0.12 }) { 1 + dice.below(3) } else { 0 };
        Scene {
            belt,
            tint,
            belt_run: dice.range(0.0, 40.0),
            tilt: (dice.near(0.0, 0.2), dice.near(0.0, 0.2)),
            roll: dice.near(0.0, 0.1),
            parcels,
            blobs: (0..blobs).map(|_| blob(&mut dice)).collect(),
            light: light(&mut dice, hard),
            lens: lens(&mut dice, hard),
        }
    }
}

fn light(dice: &mut Dice, hard: bool) -> Light {
    let glare = dice.chance(if hard { 0.35 } else { 0.25 }).then(|| Glare {
        x: dice.near(0.0, 0.5),
        y: dice.near(0.0, 0.5),
        radius: dice.range(0.1, 0.4),
        strength: dice.range(0.2, 0.75),
    });
    Light {
        gain: if hard { dice.range(0.5, 1.05) } else { dice.range(0.75, 1.2) },
        gamma: if hard { dice.range(0.9, 1.8) } else { dice.range(0.8, 1.35) },
        slope: dice.range(0.0, if hard { 0.8 } else { 0.5 }),
        direction: dice.angle(),
        warmth: dice.near(0.0, 0.1),
        glare,
    }
}

fn lens(dice: &mut Dice, hard: bool) -> Lens {
    let moving = dice.chance(if hard { 0.4 } else { 0.25 });
    Lens {
        blur: if hard { dice.range(0.2, 1.4) } else { dice.range(0.0, 0.9) },
        motion: if moving { dice.range(1.0, if hard { 7.0 } else { 5.0 }) } else { 0.0 },
        motion_angle: dice.angle(),
        noise: if hard { dice.range(3.0, 13.0) } else { dice.range(1.0, 8.0) },
        jpeg_quality: (35 + dice.below(61)) as u8,
    }
}

fn blob(dice: &mut Dice) -> Blob {
    let skin = dice.tinted([190, 140, 110], 50.0);
    Blob {
        x: dice.near(0.0, 0.5),
        y: dice.near(0.0, 0.5),
        radius: dice.range(0.04, 0.14),
        colour: if dice.chance(0.5) { skin } else { dice.colour() },
        seed: dice.bits(),
    }
}

fn parcels(dice: &mut Dice, hard: bool) -> Vec<Parcel> {
    let count = match dice.unit() {
        u if u < 0.06 => 0,
        u if u < 0.5 => 1,
        u if u < 0.83 => 2,
        _ => 3,
    };
    let lengths = [(0.4, 0.85), (0.32, 0.62), (0.28, 0.48)];
    let mut parcels: Vec<Parcel> = Vec::new();
    for _ in 0..count {
        let (from, to) = lengths[(count - 1).min(2)];
        let length = dice.range(from, to);
        let width = length * dice.range(0.5, 0.95);
        let (mut x, mut y) = (0.0, 0.0);
        let stacked = dice.chance(0.15);
        for _ in 0..16 {
            (x, y) = (dice.near(0.0, 0.42), dice.near(0.0, 0.42));
            let clear = |p: &Parcel| {
                let (dx, dy, apart) = (p.x - x, p.y - y, 0.42 * (p.length + length));
                dx * dx + dy * dy > apart * apart
            };
            if stacked || parcels.iter().all(clear) {
                break;
            }
        }
        parcels.push(parcel(dice, hard, (x, y), (length, width)));
    }
    parcels
}

fn parcel(dice: &mut Dice, hard: bool, (x, y): (f32, f32), (length, width): (f32, f32)) -> Parcel {
    let material = match dice.unit() {
        u if u < 0.5 => Material::Cardboard,
        u if u < 0.75 => Material::White,
        _ => Material::PolyBag,
    };
    let tint = match material {
        Material::Cardboard => dice.tinted([178, 138, 94], 28.0),
        Material::White => dice.tinted([224, 222, 216], 18.0),
        Material::PolyBag => {
            let base =
                dice.pick(&[[215, 218, 222], [60, 62, 70], [120, 125, 135], [190, 200, 170]], [215; 3]);
            dice.tinted(base, 22.0)
        }
    };
    let angle = if hard { dice.angle() } else { dice.near(0.0, 0.4) };
    let straps = (0..if dice.chance(if hard { 0.4 } else { 0.2 }) { 1 + dice.below(2) } else { 0 })
        .map(|_| Strap {
            at: dice.near(0.0, 0.7),
            across: dice.chance(0.5),
            width: dice.range(0.012, 0.05),
            colour: dice.pick(&[[30, 30, 32], [220, 220, 215], [240, 200, 40], [40, 90, 180]], [30; 3]),
        })
        .collect();
    let bag = material == Material::PolyBag;
    Parcel {
        material,
        tint,
        x,
        y,
        length,
        width,
        height: if bag { dice.range(0.01, 0.05) } else { dice.range(0.03, 0.26) },
        angle,
        tape: dice.chance(0.5),
        things: things(dice, (length / 2.0, width / 2.0), luma(tint)),
        straps,
    }
}

fn luma(c: Rgb) -> f32 {
    0.3 * f32::from(c[0]) + 0.59 * f32::from(c[1]) + 0.11 * f32::from(c[2])
}

/// Places not yet taken on a parcel's top.
struct Room {
    half: (f32, f32),
    taken: Vec<(f32, f32, f32, f32)>,
}

impl Room {
    /// A free place for a thing that reaches `reach` to each side, if chance finds one.
    fn find(&mut self, dice: &mut Dice, reach: (f32, f32), angle: f32) -> Option<(f32, f32)> {
        let (s, c) = libm::sincosf(angle);
        let (s, c) = (s.abs(), c.abs());
        let (hu, hv) = (reach.0 * c + reach.1 * s + 0.008, reach.0 * s + reach.1 * c + 0.008);
        let (ru, rv) = (self.half.0 - hu, self.half.1 - hv);
        if ru < 0.0 || rv < 0.0 {
            return None;
        }
        for _ in 0..12 {
            let (u, v) = (dice.near(0.0, ru), dice.near(0.0, rv));
            let apart = |t: &(f32, f32, f32, f32)| (t.0 - u).abs() > t.2 + hu || (t.1 - v).abs() > t.3 + hv;
            if self.taken.iter().all(apart) {
                self.taken.push((u, v, hu, hv));
                return Some((u, v));
            }
        }
        None
    }
}

fn things(dice: &mut Dice, half: (f32, f32), luma: f32) -> Vec<Thing> {
    let mut room = Room { half, taken: Vec::new() };
    let mut things = Vec::new();
    let short = 2.0 * half.0.min(half.1);
    let marks = match dice.unit() {
        u if u < 0.1 => 0,
        u if u < 0.8 => 1,
        _ => 2,
    };
    for _ in 0..marks {
        let layout = match dice.unit() {
            u if u < 0.3 => Layout::Alone,
            u if u < 0.65 => Layout::NameBeside,
            _ => Layout::NameBelow,
        };
        let (width, reach) = match layout {
            Layout::Alone => (dice.range(0.28, 0.55) * short, (0.5, 0.5)),
            Layout::NameBelow => (dice.range(0.32, 0.6) * short, (0.42, 0.5)),
            Layout::NameBeside => (dice.range(0.5, 0.95) * short, (0.5, 0.2)),
        };
        let width = width.max(if layout == Layout::NameBeside { 0.17 } else { 0.075 });
        let kind =
            Kind::Mark { brand: dice.pick(&Brand::ALL, Brand::Alba), layout, ink: ink(dice, luma, 0.3) };
        place(dice, &mut room, &mut things, kind, width, reach);
    }
    if dice.chance(0.6) {
        let height = dice.range(0.35, 0.7);
        let width = dice.range(0.14, 0.36).min(1.4 * half.0);
        let kind = Kind::Barcode { code: article(dice), height };
        place(dice, &mut room, &mut things, kind, width, (0.58, 0.62 * height));
    }
    if dice.chance(0.4) {
        let height = dice.range(0.5, 0.9);
        let kind = Kind::Address { seed: dice.bits(), height };
        let width = dice.range(0.12, 0.3);
        place(dice, &mut room, &mut things, kind, width, (0.5, height / 2.0));
    }
    if dice.chance(0.4) {
        let kind =
            Kind::Stranger { seed: dice.bits(), ink: ink(dice, luma, 0.4), colour: stray_colour(dice) };
        let width = dice.range(0.25, 0.5) * short;
        place(dice, &mut room, &mut things, kind, width, (0.7, 0.7));
    }
    if dice.chance(0.3) {
        let text = dice.pick(&WORDS, "FRAGILE").to_owned();
        let kind = Kind::Word { text, ink: ink(dice, luma, 0.6), colour: stray_colour(dice) };
        let width = dice.range(0.3, 0.8) * short;
        place(dice, &mut room, &mut things, kind, width, (0.5, 0.14));
    }
    things
}

fn place(
    dice: &mut Dice,
    room: &mut Room,
    things: &mut Vec<Thing>,
    kind: Kind,
    width: f32,
    reach: (f32, f32),
) {
    let quarter =
        if dice.chance(0.12) { std::f32::consts::FRAC_PI_2 * (1 + dice.below(3)) as f32 } else { 0.0 };
    let angle = quarter + dice.near(0.0, 0.12);
    if let Some((u, v)) = room.find(dice, (reach.0 * width, reach.1 * width), angle) {
        things.push(Thing { u, v, angle, width, kind });
    }
}

/// One colour with probability `mono`, and always on a dark parcel, where only white shows.
fn ink(dice: &mut Dice, luma: f32, mono: f32) -> Ink {
    let single = dice.chance(mono);
    if luma < 110.0 {
        Ink::Mono(dice.tinted([238, 238, 234], 14.0))
    } else if single {
        let base =
            dice.pick(&[[30, 28, 30], [30, 28, 30], [70, 48, 30], [40, 60, 110], [110, 30, 30]], [30; 3]);
        Ink::Mono(dice.tinted(base, 14.0))
    } else {
        Ink::Full { shift: dice.near(0.0, 24.0) as i8 }
    }
}

/// Strangers often wear a brand's colour.
fn stray_colour(dice: &mut Dice) -> Rgb {
    if dice.chance(0.6) {
        let brand = dice.pick(&Brand::ALL, Brand::Alba);
        dice.tinted(brand.colours()[0], 20.0)
    } else {
        dice.colour()
    }
}

/// An EAN-13 with its right check digit.
fn article(dice: &mut Dice) -> Barcode {
    let body: String = (0..12).map(|_| char::from(b'0' + dice.below(10) as u8)).collect();
    let text = format!("{body}{}", check_digit(&body));
    Barcode::new(crate::barcode::Symbology::Ean13, &text).unwrap_or_else(|_| Barcode::blank())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unseen_floors_are_unseen() {
        for seed in 0..400 {
            for domain in Domain::ALL {
                let unseen = matches!(domain.scene(seed).belt, Belt::Pallet | Belt::Chevron | Belt::Mesh);
                assert_eq!(unseen, domain == Domain::Shifted, "{domain:?} {seed}");
            }
        }
    }

    #[test]
    fn every_brand_material_and_kind_occurs() {
        let mut brands = std::collections::BTreeMap::new();
        let (mut codes, mut strangers, mut words, mut empty) = (0, 0, 0, 0);
        for seed in 0..600 {
            let scene = Domain::Train.scene(seed);
            empty += usize::from(scene.parcels.is_empty());
            for thing in scene.parcels.iter().flat_map(|p| &p.things) {
                match &thing.kind {
                    Kind::Mark { brand, .. } => *brands.entry(*brand).or_insert(0) += 1,
                    Kind::Barcode { code, .. } => {
                        codes += 1;
                        let (body, check) = code.text().split_at(12);
                        assert_eq!(check, check_digit(body).to_string());
                    }
                    Kind::Stranger { .. } => strangers += 1,
                    Kind::Word { .. } => words += 1,
                    Kind::Address { .. } => {}
                }
            }
        }
        assert_eq!(brands.len(), Brand::ALL.len());
        let few = brands.values().min().copied().unwrap_or(0);
        assert!(
            few > 60 && codes > 120 && strangers > 80 && words > 80 && empty > 15,
            "{brands:?} {codes} {strangers} {words} {empty}"
        );
        assert!(WORDS.iter().all(|w| Brand::of_name(w).is_none()));
    }
}
