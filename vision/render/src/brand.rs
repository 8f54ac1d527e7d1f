//! The marks of the eight brands, and what looks like one and is none.
//!
//! In:   a brand, or chance.
//! Out:  art, about 1 × 1 around the origin.
//! Owns: names and shapes. The names are those of the simulated day (`sim/src/floor.rs`); shapes and
//!       names are invented.

use serde::Serialize;
use tiny_skia::PathBuilder;

use crate::dice::Dice;
use crate::shape::{Art, bar, line, on_circle, outlined, polygon, push_bar, push_polygon, rounded, star};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Brand {
    Alba,
    Boreal,
    Cendra,
    Duna,
    Estel,
    Fosca,
    Garbi,
    Horta,
}

impl Brand {
    pub const ALL: [Brand; 8] = [
        Brand::Alba,
        Brand::Boreal,
        Brand::Cendra,
        Brand::Duna,
        Brand::Estel,
        Brand::Fosca,
        Brand::Garbi,
        Brand::Horta,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Brand::Alba => "Alba",
            Brand::Boreal => "Boreal",
            Brand::Cendra => "Cendra",
            Brand::Duna => "Duna",
            Brand::Estel => "Estel",
            Brand::Fosca => "Fosca",
            Brand::Garbi => "Garbi",
            Brand::Horta => "Horta",
        }
    }

    pub fn of_name(name: &str) -> Option<Brand> {
        Brand::ALL.into_iter().find(|b| b.name() == name)
    }

    /// Ink of the mark, and of its second part.
    pub fn colours(self) -> [[u8; 3]; 2] {
        match self {
            Brand::Alba => [[232, 119, 34], [196, 60, 30]],
            Brand::Boreal => [[0, 122, 108], [0, 160, 150]],
            Brand::Cendra => [[140, 28, 48], [90, 90, 96]],
            Brand::Duna => [[150, 100, 40], [200, 150, 60]],
            Brand::Estel => [[22, 60, 160], [240, 180, 20]],
            Brand::Fosca => [[70, 30, 110], [40, 20, 60]],
            Brand::Garbi => [[0, 140, 200], [0, 90, 150]],
            Brand::Horta => [[40, 130, 40], [110, 170, 40]],
        }
    }

    /// The mark without its name.
    pub fn symbol(self) -> Art {
        let mut art = Art::default();
        match self {
            // A sun half above the horizon.
            Brand::Alba => {
                let mut sun: Vec<(f32, f32)> =
                    on_circle(33, 0.27, -std::f32::consts::FRAC_PI_2)[..17].to_vec();
                sun.iter_mut().for_each(|p| p.1 += 0.2);
                art.add(polygon(&sun));
                for ray in on_circle(12, 1.0, -std::f32::consts::FRAC_PI_2).into_iter().take(7) {
                    let at = |r: f32| (ray.0 * r, ray.1 * r + 0.2);
                    art.add(line(&[at(0.34), at(0.5)], 0.08));
                }
                art.second(bar(-0.5, 0.26, 1.0, 0.1));
            }
            // A disc with a peak cut out, and a smaller peak inside.
            Brand::Boreal => {
                let mut path = PathBuilder::new();
                path.push_circle(0.0, 0.0, 0.5);
                push_polygon(&mut path, &[(0.0, -0.38), (0.34, 0.26), (-0.34, 0.26)]);
                art.holed(path.finish());
                art.second(polygon(&[(0.0, -0.06), (0.17, 0.26), (-0.17, 0.26)]));
            }
            // A diamond in a diamond.
            Brand::Cendra => {
                let mut path = PathBuilder::new();
                push_polygon(&mut path, &on_circle(4, 0.52, 0.0));
                push_polygon(&mut path, &on_circle(4, 0.34, 0.0));
                art.holed(path.finish());
                art.second(polygon(&on_circle(4, 0.2, 0.0)));
            }
            // Two dunes, one behind the other.
            Brand::Duna => {
                for (dy, second) in [(-0.2, false), (0.16, true)] {
                    let mut path = PathBuilder::new();
                    path.move_to(-0.5, dy + 0.2);
                    path.cubic_to(-0.3, dy - 0.3, 0.0, dy - 0.3, 0.08, dy + 0.02);
                    path.cubic_to(0.2, dy - 0.16, 0.36, dy - 0.1, 0.5, dy + 0.2);
                    path.cubic_to(0.3, dy + 0.02, 0.2, dy + 0.04, 0.08, dy + 0.2);
                    path.cubic_to(-0.1, dy - 0.06, -0.3, dy - 0.04, -0.5, dy + 0.2);
                    path.close();
                    if second {
                        art.second(path.finish())
                    } else {
                        art.add(path.finish())
                    };
                }
            }
            // A star of five points with a bar under it.
            Brand::Estel => {
                let mut tips = star(5, 0.48, 0.2, 0.0);
                tips.iter_mut().for_each(|p| p.1 -= 0.06);
                art.add(polygon(&tips)).second(bar(-0.36, 0.42, 0.72, 0.09));
            }
            // A crescent with a dot in its arms.
            Brand::Fosca => {
                let mut path = PathBuilder::new();
                path.move_to(0.2, -0.46);
                path.cubic_to(-0.76, -0.5, -0.76, 0.5, 0.2, 0.46);
                path.cubic_to(-0.3, 0.3, -0.3, -0.3, 0.2, -0.46);
                path.close();
                art.add(path.finish()).second(PathBuilder::from_circle(0.2, 0.0, 0.13));
            }
            // Three blades of a wheel.
            Brand::Garbi => {
                for blade in 0..3 {
                    let turn = blade as f32 * std::f32::consts::TAU / 3.0;
                    let (s, c) = libm::sincosf(turn);
                    let at = |x: f32, y: f32| (x * c - y * s, x * s + y * c);
                    let mut path = PathBuilder::new();
                    let (a, b, d) = (at(0.12, -0.3), at(0.42, -0.3), at(0.46, -0.02));
                    let (e, f) = (at(0.3, -0.14), at(0.12, -0.12));
                    path.move_to(0.0, 0.0);
                    path.cubic_to(a.0, a.1, b.0, b.1, d.0, d.1);
                    path.cubic_to(e.0, e.1, f.0, f.1, 0.0, 0.0);
                    path.close();
                    art.add(path.finish());
                }
                let ring = PathBuilder::from_circle(0.0, 0.0, 0.47);
                art.second(ring.and_then(|r| outlined(&r, 0.06)));
            }
            // A sprout of two leaves.
            Brand::Horta => {
                for (side, second) in [(-1.0, false), (1.0, true)] {
                    let mut path = PathBuilder::new();
                    path.move_to(0.0, 0.16);
                    path.cubic_to(side * 0.1, -0.26, side * 0.34, -0.36, side * 0.5, -0.38);
                    path.cubic_to(side * 0.5, -0.04, side * 0.34, 0.2, 0.0, 0.16);
                    path.close();
                    if second {
                        art.second(path.finish())
                    } else {
                        art.add(path.finish())
                    };
                }
                art.add(bar(-0.05, 0.1, 0.1, 0.38));
            }
        }
        art
    }
}

/// Art that is no brand's: what a detector must not speak about.
pub fn stranger(dice: &mut Dice) -> Art {
    let mut art = Art::default();
    let turn = dice.angle();
    match dice.below(9) {
        0 => art.add(polygon(&on_circle(3 + 2 * dice.below(3), 0.5, turn))),
        1 => {
            let ring = PathBuilder::from_circle(0.0, 0.0, 0.4);
            art.add(ring.and_then(|r| outlined(&r, dice.range(0.08, 0.2))))
        }
        2 => {
            let mut cross = PathBuilder::new();
            let arm = dice.range(0.12, 0.3);
            push_bar(&mut cross, -0.5, -arm / 2.0, 1.0, arm);
            push_bar(&mut cross, -arm / 2.0, -0.5, arm, 1.0);
            art.add(cross.finish())
        }
        3 => {
            let tips = dice.pick(&[4, 6, 7, 8, 12], 6);
            art.add(polygon(&star(tips, 0.5, dice.range(0.16, 0.4), turn)))
        }
        4 => {
            let mut stripes = PathBuilder::new();
            for i in 0..4 {
                push_bar(&mut stripes, -0.5, -0.5 + 0.26 * i as f32, dice.range(0.4, 1.0), 0.14);
            }
            art.add(stripes.finish())
        }
        5 => art.add(polygon(&[
            (0.0, -0.5),
            (0.4, -0.1),
            (0.15, -0.1),
            (0.15, 0.5),
            (-0.15, 0.5),
            (-0.15, -0.1),
            (-0.4, -0.1),
        ])),
        6 => {
            let mut glass = PathBuilder::new();
            push_polygon(&mut glass, &[(-0.3, -0.5), (0.3, -0.5), (0.1, 0.05), (-0.1, 0.05)]);
            push_bar(&mut glass, -0.04, 0.05, 0.08, 0.35);
            push_bar(&mut glass, -0.25, 0.4, 0.5, 0.1);
            art.add(glass.finish())
        }
        7 => {
            let blob: Vec<(f32, f32)> = on_circle(7, 1.0, turn)
                .into_iter()
                .map(|(x, y)| {
                    let r = dice.range(0.22, 0.5);
                    (x * r, y * r)
                })
                .collect();
            art.add(rounded(&blob))
        }
        _ => {
            let dots = on_circle(dice.below(5) + 3, 0.36, turn);
            let mut path = PathBuilder::new();
            let radius = dice.range(0.08, 0.16);
            for (x, y) in dots {
                path.push_circle(x, y, radius);
            }
            art.add(path.finish())
        }
    };
    if dice.chance(0.35) {
        let frame = PathBuilder::from_circle(0.0, 0.0, 0.62);
        art.second(frame.and_then(|f| outlined(&f, 0.07)));
    }
    art
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_brands() {
        for brand in Brand::ALL {
            assert_eq!(Brand::of_name(brand.name()), Some(brand));
        }
        assert_eq!(Brand::of_name("alba"), None);
    }

    #[test]
    fn every_mark_is_about_one_wide_and_unlike_the_others() {
        let mut seen = Vec::new();
        for brand in Brand::ALL {
            let bounds = brand.symbol().bounds().unwrap();
            assert!((0.6..1.15).contains(&bounds.width()), "{brand:?} {bounds:?}");
            assert!((0.5..1.15).contains(&bounds.height()), "{brand:?} {bounds:?}");
            let shape: Vec<usize> = brand.symbol().0.iter().map(|p| p.path.len()).collect();
            assert!(!seen.contains(&shape), "{brand:?} is drawn as another");
            seen.push(shape);
        }
    }

    #[test]
    fn strangers_draw_something() {
        let mut dice = Dice::of(3, "strangers");
        assert!((0..200).all(|_| stranger(&mut dice).bounds().is_some()));
    }
}
