//! The wide form of an exact sum: every float, every product of two floats, 2^63 of them.
//!
//! In:   mantissas with their weight, narrow sums, NaN and infinities, other wide sums.
//! Out:  the finite part as a `Big`, the counts, canonical bytes.
//! Owns: the layout: two's complement limbs of 64 bits, least bit 2^-2176.
//!
//! W1  The least product is 2^-2148 and the greatest sum below 2^(2048 + 63): nothing falls off either end.

use datafusion::error::Result;

use super::big::Big;
use super::exact::{damaged, take};

/// Limbs of the wide form.
pub(super) const LIMBS: usize = 68;
/// Weight of the least bit, as a power of two: half of the limbs are fraction.
const LEAST: i32 = -(LIMBS as i32) * 32;
/// The limb where the narrow form begins, least bit 2^-128.
const NARROW_LIMB: usize = LIMBS / 2 - 2;

/// A sum over the whole range, and what cannot be summed.
#[derive(Debug, Clone)]
pub(super) struct Wide {
    nans: u64,
    plus: u64,
    minus: u64,
    limbs: [u64; LIMBS],
}

impl Default for Wide {
    fn default() -> Self {
        Self { nans: 0, plus: 0, minus: 0, limbs: [0; LIMBS] }
    }
}

impl Wide {
    /// Counts a NaN or an infinity in, or out again.
    pub fn count(&mut self, value: f64, retract: bool) {
        let count = if value.is_nan() {
            &mut self.nans
        } else if value > 0.0 {
            &mut self.plus
        } else {
            &mut self.minus
        };
        *count = if retract { count.wrapping_sub(1) } else { count.wrapping_add(1) };
    }

    /// What a sum with these in it is: NaN beats all, opposite infinities are NaN.
    pub fn not_finite(&self) -> Option<f64> {
        match (self.nans, self.plus, self.minus) {
            (0, 0, 0) => None,
            (0, _, 0) => Some(f64::INFINITY),
            (0, 0, _) => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }

    /// Adds ±mantissa · 2^weight, at most 106 bits, weight at least -2148.
    pub fn add(&mut self, mantissa: u128, weight: i32, negative: bool) {
        let position = (weight - LEAST).cast_unsigned() as usize;
        let (first, shift) = (position / 64, (position % 64) as u32);
        let low = mantissa << shift;
        let high = if shift == 0 { 0 } else { (mantissa >> (128 - shift)) as u64 };
        let words = [low as u64, (low >> 64) as u64, high];
        if negative {
            let mut borrow = false;
            for (at, limb) in self.limbs[first..].iter_mut().enumerate() {
                let word = words.get(at).copied().unwrap_or(0);
                if at >= words.len() && !borrow {
                    break;
                }
                (*limb, borrow) = limb.borrowing_sub(word, borrow);
            }
        } else {
            let mut carry = false;
            for (at, limb) in self.limbs[first..].iter_mut().enumerate() {
                let word = words.get(at).copied().unwrap_or(0);
                if at >= words.len() && !carry {
                    break;
                }
                (*limb, carry) = limb.carrying_add(word, carry);
            }
        }
    }

    /// Adds the narrow form.
    pub fn add_narrow(&mut self, lo: u128, hi: i128) {
        let sign = (hi >> 127) as u64;
        let words = [lo as u64, (lo >> 64) as u64, hi as u64, (hi >> 64) as u64];
        let mut carry = false;
        for (at, limb) in self.limbs[NARROW_LIMB..].iter_mut().enumerate() {
            (*limb, carry) = limb.carrying_add(words.get(at).copied().unwrap_or(sign), carry);
        }
    }

    pub fn merge(&mut self, other: &Wide) {
        self.nans = self.nans.wrapping_add(other.nans);
        self.plus = self.plus.wrapping_add(other.plus);
        self.minus = self.minus.wrapping_add(other.minus);
        let mut carry = false;
        for (limb, word) in self.limbs.iter_mut().zip(other.limbs) {
            (*limb, carry) = limb.carrying_add(word, carry);
        }
    }

    /// The finite part.
    pub fn exact<const N: usize>(&self) -> Big<N> {
        Big::from_signed(&self.limbs, LEAST)
    }

    /// The narrow form of the same value, where it has one.
    pub fn to_narrow(&self) -> Option<(u128, i128)> {
        let sign = 0u64.wrapping_sub(self.limbs[LIMBS - 1] >> 63);
        let (low, rest) = self.limbs.split_at(NARROW_LIMB);
        let (middle, high) = rest.split_at(4);
        // The narrow form keeps its top two bits equal (E2 of `exact`).
        let top = middle[3] >> 62 == sign >> 62;
        let fits = top && low.iter().all(|l| *l == 0) && high.iter().all(|l| *l == sign);
        (fits && self.not_finite().is_none()).then(|| {
            let pair = |at: usize| u128::from(middle[at]) | u128::from(middle[at + 1]) << 64;
            (pair(0), pair(2).cast_signed())
        })
    }

    /// Appends the canonical bytes: three counts, then first limb, limb count, and the limbs without
    /// the zeros below and the sign words above.
    pub fn write(&self, out: &mut Vec<u8>) {
        for count in [self.nans, self.plus, self.minus] {
            out.extend_from_slice(&count.to_le_bytes());
        }
        let sign = 0u64.wrapping_sub(self.limbs[LIMBS - 1] >> 63);
        let first = self.limbs.iter().position(|l| *l != 0).unwrap_or(LIMBS);
        let last = self.limbs.iter().rposition(|l| *l != sign).map_or(first, |l| (l + 1).max(first));
        out.extend_from_slice(&[first as u8, (last - first) as u8, sign as u8]);
        for limb in &self.limbs[first..last] {
            out.extend_from_slice(&limb.to_le_bytes());
        }
    }

    /// Reads what `write` gave.
    pub fn read(from: &mut &[u8]) -> Result<Self> {
        let mut wide = Self {
            nans: u64::from_le_bytes(take(from)?),
            plus: u64::from_le_bytes(take(from)?),
            minus: u64::from_le_bytes(take(from)?),
            limbs: [0; LIMBS],
        };
        let [first, count, sign] = take::<3>(from)?.map(usize::from);
        let end = first + count;
        let limbs = wide.limbs.get_mut(first..end).ok_or_else(|| damaged("limbs outside the range"))?;
        for limb in limbs {
            *limb = u64::from_le_bytes(take(from)?);
        }
        if sign != 0 {
            wide.limbs[end..].fill(u64::MAX);
        }
        Ok(wide)
    }
}
