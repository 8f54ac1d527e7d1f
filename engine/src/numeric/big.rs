//! Whole numbers of a fixed width times a power of two, for the moment of evaluation, and rounded ones.
//!
//! In:   the finite part of exact sums, and counts.
//! Out:  products and differences, exact; a float or a `Scaled`, rounded once to nearest even.
//! Owns: no state. Everything is on the stack.
//!
//! B1  No operation rounds but `nearest` and `scaled`. A result that does not fit into `N` limbs is a bug
//!     and stops by an index out of range; `moments` chooses `N` from the range of the sums.

/// Sign and magnitude: ±Σ limbs[i] · 2^(64 i + least). No zero limbs at either end; zero has none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Big<const N: usize> {
    negative: bool,
    len: usize,
    /// Weight of the least bit, as a power of two; equal modulo 64 in all numbers of one formula.
    least: i32,
    limbs: [u64; N],
}

impl<const N: usize> Big<N> {
    const ZERO: Self = Self { negative: false, len: 0, least: 0, limbs: [0; N] };

    pub fn from_u128(value: u128) -> Self {
        Self::from_magnitude(&[value as u64, (value >> 64) as u64], false, 0)
    }

    /// From two's complement limbs whose least bit weighs 2^least.
    pub fn from_signed(words: &[u64], least: i32) -> Self {
        let negative = words.last().is_some_and(|w| w >> 63 != 0);
        let Some(first) = words.iter().position(|w| *w != 0) else {
            return Self::ZERO;
        };
        let flip = |at: usize| match (negative, at == first) {
            (false, _) => words[at],
            (true, true) => words[at].wrapping_neg(),
            (true, false) => !words[at],
        };
        let last = (first..words.len()).rev().find(|at| flip(*at) != 0).unwrap_or(first);
        let mut limbs = [0; N];
        for (limb, at) in limbs.iter_mut().zip(first..=last) {
            *limb = flip(at);
        }
        assert!(last - first < N, "an exact sum is longer than its range allows");
        Self { negative, len: last - first + 1, least: least + 64 * first as i32, limbs }
    }

    fn from_magnitude(words: &[u64], negative: bool, least: i32) -> Self {
        let Some(first) = words.iter().position(|w| *w != 0) else {
            return Self::ZERO;
        };
        let len = words.iter().rposition(|w| *w != 0).map_or(0, |last| last + 1 - first);
        let mut limbs = [0; N];
        limbs[..len].copy_from_slice(&words[first..first + len]);
        Self { negative, len, least: least + 64 * first as i32, limbs }
    }

    pub fn is_zero(&self) -> bool {
        self.len == 0
    }

    pub fn times(&self, other: &Self) -> Self {
        if self.is_zero() || other.is_zero() {
            return Self::ZERO;
        }
        let mut limbs = [0u64; N];
        for (i, a) in self.limbs[..self.len].iter().enumerate() {
            let mut carry = 0u128;
            for (j, b) in other.limbs[..other.len].iter().enumerate() {
                carry += u128::from(*a) * u128::from(*b) + u128::from(limbs[i + j]);
                limbs[i + j] = carry as u64;
                carry >>= 64;
            }
            if carry != 0 {
                limbs[i + other.len] = carry as u64;
            }
        }
        Self::from_magnitude(&limbs, self.negative != other.negative, self.least + other.least)
    }

    pub fn minus(&self, other: &Self) -> Self {
        if other.is_zero() {
            return *self;
        }
        if self.is_zero() {
            return Self { negative: !other.negative, ..*other };
        }
        let least = self.least.min(other.least);
        let (a, b) = (self.spread(least), other.spread(least));
        let mut limbs = [0u64; N];
        let mut carry = false;
        if self.negative != other.negative {
            for (limb, (x, y)) in limbs.iter_mut().zip(a.iter().zip(b)) {
                (*limb, carry) = x.carrying_add(y, carry);
            }
            assert!(!carry, "a sum is longer than its range allows");
            return Self::from_magnitude(&limbs, self.negative, least);
        }
        let less = a.iter().rev().lt(b.iter().rev());
        let (big, small) = if less { (b, a) } else { (a, b) };
        for (limb, (x, y)) in limbs.iter_mut().zip(big.iter().zip(small)) {
            (*limb, carry) = x.borrowing_sub(y, carry);
        }
        Self::from_magnitude(&limbs, self.negative != less, least)
    }

    /// The limbs with the least bit at 2^least, which is not above this number's own.
    fn spread(&self, least: i32) -> [u64; N] {
        let up = ((self.least - least) / 64).cast_unsigned() as usize;
        let mut limbs = [0; N];
        limbs[up..up + self.len].copy_from_slice(&self.limbs[..self.len]);
        limbs
    }

    /// Weight of the highest bit; the number is not zero.
    fn top(&self) -> i32 {
        let highest = self.limbs[self.len - 1];
        self.least + 64 * self.len as i32 - 1 - highest.leading_zeros().cast_signed()
    }

    /// The magnitude in units of 2^unit, rounded to nearest even; at most 2^53 when `unit` is 52 below the
    /// top. A unit below the number's least bit is exact.
    fn rounded(&self, unit: i32) -> u64 {
        let bit = |at: i32| {
            let at = at - self.least;
            at >= 0 && self.limbs[..self.len].get((at / 64) as usize).is_some_and(|l| l >> (at % 64) & 1 != 0)
        };
        let from = unit - self.least;
        if from <= 0 {
            return self.limbs[0] << from.unsigned_abs();
        }
        let (limb, shift) = ((from / 64) as usize, (from % 64) as u32);
        let word = |at: usize| if at < self.len { self.limbs[at] } else { 0 };
        let high = if shift == 0 { 0 } else { word(limb + 1) << (64 - shift) };
        let kept = word(limb) >> shift | high;
        let half = bit(unit - 1);
        // Is anything left below the half? The least limb is never zero, so its lowest bit tells.
        let below = half && self.least + (self.limbs[0].trailing_zeros().cast_signed()) < unit - 1;
        kept + u64::from(half && (below || kept & 1 != 0))
    }

    /// Rounded once, to nearest even, among the floats, the subnormals too; ±∞ when out of range.
    pub fn nearest(&self) -> f64 {
        if self.is_zero() {
            return 0.0;
        }
        let unit = (self.top() - 52).max(-1074);
        if unit > 1023 {
            return if self.negative { f64::NEG_INFINITY } else { f64::INFINITY };
        }
        let value = power(self.rounded(unit) as f64, unit);
        if self.negative { -value } else { value }
    }

    /// Rounded once to 53 bits, whatever the exponent.
    pub fn scaled(&self) -> Scaled {
        if self.is_zero() {
            return Scaled { mantissa: 0.0, exponent: 0 };
        }
        let unit = self.top() - 52;
        let mantissa = self.rounded(unit) as f64;
        Scaled { mantissa: if self.negative { -mantissa } else { mantissa }, exponent: unit }
    }
}

/// value · 2^exponent, rounded once where the result is subnormal, ±∞ where it is too large.
fn power(value: f64, exponent: i32) -> f64 {
    let two_to = |e: i32| f64::from_bits(((e + 1023) as u64) << 52);
    let exponent = exponent.clamp(-2000, 2000);
    value * two_to(exponent / 2) * two_to(exponent - exponent / 2)
}

/// A float with an exponent of its own: mantissa · 2^exponent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaled {
    /// Zero, or of magnitude 2^52 to 2^53 before an operation; near that after one.
    mantissa: f64,
    exponent: i32,
}

impl Scaled {
    pub fn over(self, other: Self) -> Self {
        Self { mantissa: self.mantissa / other.mantissa, exponent: self.exponent - other.exponent }
    }

    pub fn root(self) -> Self {
        let odd = self.exponent & 1;
        let mantissa = if odd == 0 { self.mantissa } else { self.mantissa * 2.0 };
        Self { mantissa: mantissa.sqrt(), exponent: (self.exponent - odd) / 2 }
    }

    pub fn to_f64(self) -> f64 {
        // A zero has no sign: −0.0 never leaves an aggregate.
        power(self.mantissa, self.exponent) + 0.0
    }
}
