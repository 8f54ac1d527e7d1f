//! Chance from one seed: xoshiro256** behind named streams.
//!
//! In:   a seed and a label such as `station MAD1-P1 parcels`.
//! Out:  integers; no floats, so that a day has the same bytes on every machine.
//! Owns: the generator's state. Each entity and purpose has its own stream.
//!
//! R1  Equal seed and label give equal numbers; drawing from one stream never shifts another.

/// One stream of pseudo-random integers.
#[derive(Debug, Clone)]
pub struct Rng {
    s: [u64; 4],
}

fn splitmix(x: &mut u64) -> u64 {
    *x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *x;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream `label` of `seed`.
    pub fn of(seed: u64, label: &str) -> Rng {
        // FNV-1a spreads the label; splitmix then spreads seed and label over the state.
        let hash = label
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let mut x = seed.wrapping_mul(0xa076_1d64_78bd_642f) ^ hash;
        Rng { s: std::array::from_fn(|_| splitmix(&mut x)) }
    }

    pub fn next_u64(&mut self) -> u64 {
        let out = self.s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = self.s[1] << 17;
        self.s[2] ^= self.s[0];
        self.s[3] ^= self.s[1];
        self.s[1] ^= self.s[2];
        self.s[0] ^= self.s[3];
        self.s[2] ^= t;
        self.s[3] = self.s[3].rotate_left(45);
        out
    }

    /// A number in `0..n`; 0 where `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// A number in `low..=high`; `low` where the range is empty.
    pub fn range(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(high.saturating_sub(low).saturating_add(1).max(0) as u64) as i64
    }

    /// True `part` times in `of`.
    pub fn chance(&mut self, part: u32, of: u32) -> bool {
        self.below(u64::from(of)) < u64::from(part)
    }

    /// Expected `rate × minutes / 60 000` as a whole number, the rest by chance: how often a thing
    /// with a rate per 1 000 hours happens.
    pub fn count(&mut self, rate: u32, minutes: u32) -> u64 {
        let expected = u64::from(rate) * u64::from(minutes);
        expected / 60_000 + u64::from(self.below(60_000) < expected % 60_000)
    }

    /// Appends 64 hex digits, the shape of a sha256.
    pub fn push_hash(&mut self, out: &mut String) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        for _ in 0..4 {
            let mut word = self.next_u64();
            for _ in 0..16 {
                out.push(HEX[(word & 15) as usize] as char);
                word >>= 4;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_equal_by_label_and_differ_by_label_and_seed() {
        let draw = |seed, label| {
            let mut rng = Rng::of(seed, label);
            [rng.next_u64(), rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(draw(7, "a"), draw(7, "a"));
        assert_ne!(draw(7, "a"), draw(7, "b"));
        assert_ne!(draw(7, "a"), draw(8, "a"));
    }

    #[test]
    fn ranges_are_kept_and_reached() {
        let mut rng = Rng::of(1, "range");
        let seen: std::collections::BTreeSet<i64> = (0..500).map(|_| rng.range(-2, 2)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2]);
        assert_eq!(rng.range(5, 4), 5);
        let hits = (0..10_000).filter(|_| rng.chance(1, 10)).count();
        assert!((850..1150).contains(&hits), "{hits}");
        let total: u64 = (0..1000).map(|_| rng.count(250, 120)).sum();
        assert!((430..570).contains(&total), "{total}");
    }
}
