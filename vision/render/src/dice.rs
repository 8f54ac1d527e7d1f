//! Chance by seed.
//!
//! In:   a seed and a word for what it is drawn for.
//! Out:  floats, choices; and cheap noise by lattice point for textures.
//! Owns: the mapping from the generator's integers to floats, so that no other crate's version moves a frame.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

pub struct Dice(ChaCha8Rng);

impl Dice {
    /// One generator per seed and purpose: drawing more for one purpose moves no other.
    pub fn of(seed: u64, purpose: &str) -> Dice {
        let folded = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(folded);
        Dice(rng)
    }

    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// From 0 to below 1, in steps of 2⁻²⁴.
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / 16_777_216.0
    }

    pub fn range(&mut self, from: f32, to: f32) -> f32 {
        from + (to - from) * self.unit()
    }

    /// `centre` give or take `spread`.
    pub fn near(&mut self, centre: f32, spread: f32) -> f32 {
        centre + spread * (2.0 * self.unit() - 1.0)
    }

    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// From 0 to below `n`; 0 for `n` = 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.0.next_u32()) * n as u64) >> 32) as usize
    }

    pub fn pick<T: Copy>(&mut self, of: &[T], otherwise: T) -> T {
        of.get(self.below(of.len())).copied().unwrap_or(otherwise)
    }

    pub fn angle(&mut self) -> f32 {
        self.range(0.0, std::f32::consts::TAU)
    }

    pub fn colour(&mut self) -> [u8; 3] {
        let bits = self.0.next_u32().to_le_bytes();
        [bits[0], bits[1], bits[2]]
    }

    /// `colour` with each channel moved by up to `spread`.
    pub fn tinted(&mut self, colour: [u8; 3], spread: f32) -> [u8; 3] {
        let all = self.near(0.0, spread);
        colour.map(|c| (f32::from(c) + all + self.near(0.0, spread * 0.4)).clamp(0.0, 255.0) as u8)
    }
}

/// The next value of a small generator for per-pixel noise, where quality matters less than speed.
pub fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn lattice(x: i32, y: i32, salt: u32) -> f32 {
    let mut h = (x as u32).wrapping_mul(0x85eb_ca6b) ^ (y as u32).wrapping_mul(0xc2b2_ae35) ^ salt;
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    (h >> 8) as f32 / 16_777_216.0
}

/// Smooth noise from 0 to 1; one lattice cell is 1 × 1.
pub fn cloud(x: f32, y: f32, salt: u32) -> f32 {
    let (fx, fy) = (x.floor(), y.floor());
    let (ix, iy) = (fx as i32, fy as i32);
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (tx, ty) = (ease(x - fx), ease(y - fy));
    let top = lattice(ix, iy, salt) * (1.0 - tx) + lattice(ix + 1, iy, salt) * tx;
    let low = lattice(ix, iy + 1, salt) * (1.0 - tx) + lattice(ix + 1, iy + 1, salt) * tx;
    top * (1.0 - ty) + low * ty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_are_independent_and_values_stay_in_range() {
        let (mut a, mut b, mut again) = (Dice::of(7, "a"), Dice::of(7, "b"), Dice::of(7, "a"));
        let first: Vec<u64> = (0..8).map(|_| a.bits()).collect();
        assert_ne!(first, (0..8).map(|_| b.bits()).collect::<Vec<_>>());
        assert_eq!(first, (0..8).map(|_| again.bits()).collect::<Vec<_>>());
        let drawn: Vec<f32> = (0..2_000).map(|_| a.unit()).collect();
        assert!(drawn.iter().all(|v| (0.0..1.0).contains(v)));
        let mean = drawn.iter().sum::<f32>() / 2_000.0;
        assert!((0.47..0.53).contains(&mean), "{mean}");
        assert!((0..500).all(|_| a.below(3) < 3) && a.below(0) == 0);
    }

    #[test]
    fn clouds_are_smooth() {
        for step in 0..400 {
            let x = step as f32 * 0.05 - 10.0;
            let (here, there) = (cloud(x, 0.3, 5), cloud(x + 0.001, 0.3, 5));
            assert!((0.0..=1.0).contains(&here) && (here - there).abs() < 0.01);
        }
    }
}
