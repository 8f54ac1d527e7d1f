//! What lies under the parcels, pixel by pixel.
//!
//! In:   a kind of floor, a place on it in floor units.
//! Out:  a colour, 0 to 255 per channel.

use crate::dice::{Dice, cloud};
use crate::geometry::Plane;
use crate::scene::{Belt, Scene};

fn grey(v: f32) -> [f32; 3] {
    [v, v, v]
}

fn shaded(colour: [f32; 3], by: f32) -> [f32; 3] {
    colour.map(|c| c * by)
}

fn share(x: f32) -> f32 {
    x - x.floor()
}

/// 1 within `half` of a whole number, 0 beyond, with a soft edge.
fn near_whole(x: f32, half: f32, soft: f32) -> f32 {
    let off = (x - (x + 0.5).floor()).abs();
    ((half + soft - off) / soft).clamp(0.0, 1.0)
}

struct Stripes {
    direction: (f32, f32),
    frequency: f32,
    depth: f32,
    other: [f32; 3],
    cell: f32,
}

/// Fills `pixels` (rows of RGB) with the floor of a scene.
pub fn lay(
    scene: &Scene,
    plane: &Plane,
    width: u32,
    height: u32,
    seed: u64,
    put: &mut dyn FnMut(usize, [u8; 3]),
) {
    let mut dice = Dice::of(seed, "belt");
    let salt = dice.bits() as u32;
    let tint = scene.tint.map(f32::from);
    let (s, c) = libm::sincosf(dice.angle());
    let stripes = Stripes {
        direction: (s, c),
        frequency: dice.range(2.0, 26.0),
        depth: if dice.chance(0.6) { dice.range(0.1, 0.8) } else { 0.0 },
        other: dice.colour().map(f32::from),
        cell: dice.range(1.5, 14.0),
    };
    let back = plane.inverse();
    let mut at = 0;
    for row in 0..height {
        for column in 0..width {
            let p = back.at(column as f32 + 0.5, row as f32 + 0.5);
            let colour = floor(scene.belt, p.x + scene.belt_run, p.y, tint, salt, &stripes);
            put(at, colour.map(|v| v.clamp(0.0, 255.0) as u8));
            at += 1;
        }
    }
}

fn floor(belt: Belt, x: f32, y: f32, tint: [f32; 3], salt: u32, stripes: &Stripes) -> [f32; 3] {
    match belt {
        Belt::Rubber => {
            let rail = ((y.abs() - 0.47) / 0.01).clamp(0.0, 1.0);
            let grain =
                0.85 + 0.2 * cloud(x * 160.0, y * 160.0, salt) + 0.12 * cloud(x * 9.0, y * 14.0, salt ^ 1);
            let seam = 1.0 - 0.35 * near_whole(x / 0.42, 0.008, 0.004);
            let metal = grey(120.0 + 50.0 * cloud(x * 3.0, y * 60.0, salt ^ 2));
            let rubber = shaded(tint, grain * seam);
            [0, 1, 2].map(|i| rubber[i] * (1.0 - rail) + metal[i] * rail)
        }
        Belt::Rollers => {
            let phase = share(x / 0.09);
            let round = 1.0 - (2.0 * phase - 1.0) * (2.0 * phase - 1.0);
            let gap = if !(0.08..0.92).contains(&phase) { 0.25 } else { 1.0 };
            let worn = 0.9 + 0.15 * cloud(x * 30.0, y * 8.0, salt);
            shaded(tint, (0.35 + 0.75 * round) * gap * worn)
        }
        Belt::Concrete => {
            let rough = 0.5 * cloud(x * 6.0, y * 6.0, salt)
                + 0.3 * cloud(x * 23.0, y * 23.0, salt ^ 1)
                + 0.2 * cloud(x * 110.0, y * 110.0, salt ^ 2);
            let joint = 1.0 - 0.4 * near_whole(x / 0.8 + 0.3, 0.006, 0.004);
            shaded(tint, (0.75 + 0.5 * rough) * joint)
        }
        Belt::Abstract => {
            let along = x * stripes.direction.0 + y * stripes.direction.1;
            let wave = (share(along * stripes.frequency) - 0.5).abs() * 4.0 - 1.0;
            let blend = cloud(x * stripes.cell, y * stripes.cell, salt) + stripes.depth * wave * 0.5;
            let blend = blend.clamp(0.0, 1.0);
            let rough = 0.8 + 0.4 * cloud(x * 70.0, y * 70.0, salt ^ 3);
            [0, 1, 2].map(|i| (tint[i] * (1.0 - blend) + stripes.other[i] * blend) * rough)
        }
        Belt::Pallet => {
            let plank = y / 0.15 + 0.2;
            let number = plank.floor() as i32 as u32;
            let gap = 1.0 - 0.8 * near_whole(plank, 0.06, 0.03);
            let own = 0.8 + 0.4 * cloud(number as f32 * 7.7, 0.0, salt);
            let grain = 0.8 + 0.4 * cloud(x * 4.0, y * 90.0, salt ^ number);
            shaded(tint, own * grain * gap)
        }
        Belt::Chevron => {
            let phase = share((x + 0.6 * y.abs()) / 0.22);
            let worn = 0.8 + 0.3 * cloud(x * 40.0, y * 40.0, salt);
            if phase < 0.5 { shaded([230.0, 190.0, 30.0], worn) } else { shaded([35.0, 35.0, 38.0], worn) }
        }
        Belt::Mesh => {
            let wire = near_whole(x / 0.07, 0.09, 0.05).max(near_whole(y / 0.07, 0.09, 0.05));
            let depth = 0.3 + 0.5 * cloud(x * 4.0, y * 4.0, salt);
            [0, 1, 2].map(|i| tint[i] * (0.25 * depth * (1.0 - wire) + wire))
        }
    }
}
