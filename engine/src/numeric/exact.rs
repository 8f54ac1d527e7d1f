//! The exact sum of any number of floats, and of products of two floats.
//!
//! In:   floats to add, to take back, pairs whose product is to be added; other sums.
//! Out:  the sum, rounded once; its canonical bytes.
//! Owns: the narrow form (256 bits, least bit 2^-128) and when to leave it. `wide` has the other one.
//!
//! E1  value = narrow + wide + what is counted apart. The split may differ between equal sums.
//! E2  |narrow| <= 2^126 (its top two bits are equal) between calls, so that one addition never overflows it.
//! E3  `write` gives equal bytes for equal values, whichever form holds them.
//!
//! An addition in the narrow form is a shift, two additions with carry and a test. The product of
//! two floats is exact as an integer of 106 bits; no rounding step is needed to split it.

use datafusion::error::{DataFusionError, Result};

use super::big::Big;
use super::wide::Wide;

/// Weight of the narrow form's least bit, as a power of two.
const LEAST: i32 = -128;
/// Numbers below 2^115 enter the narrow form.
const NARROW_BITS: u32 = 115 + 128;
const MANTISSA_BITS: u32 = 53;
const MANTISSA: u64 = (1 << 52) - 1;
const HIDDEN: u64 = 1 << 52;
/// Biased exponent of a float whose mantissa's least bit is 2^`LEAST`.
const EXPONENT_LEAST: u32 = (1075 + LEAST) as u32;
const SHIFT_MAX: u32 = NARROW_BITS - MANTISSA_BITS;
const PRODUCT_SHIFT_MAX: u32 = NARROW_BITS - 2 * MANTISSA_BITS;

/// What the first byte of a sum's bytes says.
const ZERO: u8 = 0;
const NARROW: u8 = 1;
const WIDE: u8 = 2;

/// Mantissa and weight of its least bit of a finite float: |value| = mantissa · 2^weight.
fn parts(bits: u64) -> (u64, i32) {
    match (bits >> 52) as i32 & 0x7ff {
        0 => (bits & MANTISSA, -1074),
        exponent => (bits & MANTISSA | HIDDEN, exponent - 1075),
    }
}

/// An exact sum of floats. 48 bytes, and one box (about 570 bytes) once a number was outside
/// the narrow form: a set bit below 2^-128, 2^115 or more, NaN or an infinity.
#[derive(Debug, Clone, Default)]
pub struct ExactSum {
    lo: u128,
    hi: i128,
    wide: Option<Box<Wide>>,
}

impl ExactSum {
    pub const ZERO: Self = Self { lo: 0, hi: 0, wide: None };

    /// Adds a float. Returns the bytes that had to be allocated, mostly 0.
    #[inline]
    pub fn add(&mut self, value: f64) -> usize {
        self.put::<false>(value)
    }

    /// Takes back a float that was added.
    #[inline]
    pub fn sub(&mut self, value: f64) -> usize {
        self.put::<true>(value)
    }

    /// Adds the exact product of two floats.
    #[inline]
    pub fn add_product(&mut self, a: f64, b: f64) -> usize {
        self.put_product::<false>(a, b)
    }

    /// Takes back a product that was added.
    #[inline]
    pub fn sub_product(&mut self, a: f64, b: f64) -> usize {
        self.put_product::<true>(a, b)
    }

    #[inline]
    pub(super) fn put<const RETRACT: bool>(&mut self, value: f64) -> usize {
        let bits = value.to_bits();
        let shift = ((bits >> 52) as u32 & 0x7ff).wrapping_sub(EXPONENT_LEAST);
        if shift > SHIFT_MAX {
            return self.put_outside(value, RETRACT);
        }
        let negative = (bits >> 63 != 0) != RETRACT;
        self.shift_in(u128::from(bits & MANTISSA | HIDDEN), shift, negative)
    }

    #[inline]
    pub(super) fn put_product<const RETRACT: bool>(&mut self, a: f64, b: f64) -> usize {
        let (x, y) = (a.to_bits(), b.to_bits());
        let (ex, ey) = ((x >> 52) as i32 & 0x7ff, (y >> 52) as i32 & 0x7ff);
        let shift = (ex + ey - 2150 - LEAST).cast_unsigned();
        // A zero exponent (zero, subnormal) or all ones (NaN, infinite) is left to the other path.
        let ordinary =
            ex.wrapping_sub(1).cast_unsigned() < 0x7fe && ey.wrapping_sub(1).cast_unsigned() < 0x7fe;
        if shift > PRODUCT_SHIFT_MAX || !ordinary {
            return self.put_product_outside(a, b, RETRACT);
        }
        let mantissa = u128::from(x & MANTISSA | HIDDEN) * u128::from(y & MANTISSA | HIDDEN);
        let negative = ((x ^ y) >> 63 != 0) != RETRACT;
        self.shift_in(mantissa, shift, negative)
    }

    /// Adds ±mantissa · 2^(shift + LEAST) to the narrow form; the caller has checked that it fits.
    #[inline]
    fn shift_in(&mut self, mantissa: u128, shift: u32, negative: bool) -> usize {
        let (lo, hi) = if shift < 128 {
            (mantissa << shift, (mantissa >> 1) >> (127 - shift))
        } else {
            (0, mantissa << (shift - 128))
        };
        let flip = 0u128.wrapping_sub(u128::from(negative));
        let (low, c1) = self.lo.overflowing_add(lo ^ flip);
        let (low, c2) = low.overflowing_add(u128::from(negative));
        self.lo = low;
        self.hi = self.hi.wrapping_add((hi ^ flip).cast_signed()).wrapping_add(i128::from(c1 | c2));
        self.keep_room()
    }

    /// Restores E2.
    #[inline]
    fn keep_room(&mut self) -> usize {
        if (self.hi ^ (self.hi << 1)) < 0 { self.spill() } else { 0 }
    }

    #[cold]
    fn spill(&mut self) -> usize {
        let (lo, hi) = (std::mem::take(&mut self.lo), std::mem::take(&mut self.hi));
        let (wide, grew) = self.wide_mut();
        wide.add_narrow(lo, hi);
        grew
    }

    fn wide_mut(&mut self) -> (&mut Wide, usize) {
        let grew = if self.wide.is_none() { size_of::<Wide>() } else { 0 };
        (self.wide.get_or_insert_default(), grew)
    }

    #[cold]
    fn put_outside(&mut self, value: f64, retract: bool) -> usize {
        if !value.is_finite() {
            let (wide, grew) = self.wide_mut();
            wide.count(value, retract);
            return grew;
        }
        let (mantissa, weight) = parts(value.to_bits());
        self.put_parts(u128::from(mantissa), weight, value.is_sign_negative() != retract)
    }

    #[cold]
    fn put_product_outside(&mut self, a: f64, b: f64, retract: bool) -> usize {
        if !a.is_finite() || !b.is_finite() {
            let (wide, grew) = self.wide_mut();
            wide.count(a * b, retract);
            return grew;
        }
        let ((x, wx), (y, wy)) = (parts(a.to_bits()), parts(b.to_bits()));
        let negative = (a.is_sign_negative() != b.is_sign_negative()) != retract;
        self.put_parts(u128::from(x) * u128::from(y), wx + wy, negative)
    }

    fn put_parts(&mut self, mantissa: u128, weight: i32, negative: bool) -> usize {
        if mantissa == 0 {
            return 0;
        }
        let zeros = mantissa.trailing_zeros();
        let (odd, weight) = (mantissa >> zeros, weight + zeros.cast_signed());
        let shift = weight - LEAST;
        let bits = 128 - odd.leading_zeros();
        if shift >= 0 && shift.cast_unsigned() + bits <= NARROW_BITS {
            return self.shift_in(odd, shift.cast_unsigned(), negative);
        }
        let (wide, grew) = self.wide_mut();
        wide.add(odd, weight, negative);
        grew
    }

    /// Adds another sum. Returns the bytes that had to be allocated.
    pub fn merge(&mut self, other: &ExactSum) -> usize {
        let (low, carry) = self.lo.overflowing_add(other.lo);
        self.lo = low;
        self.hi = self.hi.wrapping_add(other.hi).wrapping_add(i128::from(carry));
        let mut grew = self.keep_room();
        if let Some(theirs) = &other.wide {
            let (ours, more) = self.wide_mut();
            ours.merge(theirs);
            grew += more;
        }
        grew
    }

    /// Bytes behind pointers.
    pub fn heap(&self) -> usize {
        if self.wide.is_some() { size_of::<Wide>() } else { 0 }
    }

    pub(super) fn is_narrow(&self) -> bool {
        self.wide.is_none()
    }

    /// NaN or an infinity where such a number is in the sum, else `None`.
    pub fn not_finite(&self) -> Option<f64> {
        self.wide.as_ref().and_then(|wide| wide.not_finite())
    }

    /// The finite part. `N` limbs must hold it: 4 for the narrow form, 70 for the wide one.
    pub(super) fn exact<const N: usize>(&self) -> Big<N> {
        match &self.wide {
            None => Big::from_signed(
                &[self.lo as u64, (self.lo >> 64) as u64, self.hi as u64, (self.hi >> 64) as u64],
                LEAST,
            ),
            Some(wide) => {
                let mut all = wide.as_ref().clone();
                all.add_narrow(self.lo, self.hi);
                all.exact()
            }
        }
    }

    /// The sum rounded once, to nearest even; ±∞ when out of range. An empty sum is 0.
    pub fn to_f64(&self) -> f64 {
        match self.not_finite() {
            Some(value) => value,
            None if self.is_narrow() => self.exact::<4>().nearest(),
            None => self.exact::<70>().nearest(),
        }
    }

    /// Appends the canonical bytes: a tag, then nothing (zero), 32 bytes (narrow), or the wide form's.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Some(wide) = &self.wide else {
            return self.write_narrow(out);
        };
        let mut all = wide.as_ref().clone();
        all.add_narrow(self.lo, self.hi);
        match all.to_narrow() {
            Some((lo, hi)) => Self { lo, hi, wide: None }.write_narrow(out),
            None => {
                out.push(WIDE);
                all.write(out);
            }
        }
    }

    fn write_narrow(&self, out: &mut Vec<u8>) {
        if self.lo == 0 && self.hi == 0 {
            return out.push(ZERO);
        }
        out.push(NARROW);
        out.extend_from_slice(&self.lo.to_le_bytes());
        out.extend_from_slice(&self.hi.to_le_bytes());
    }

    /// Reads what `write` gave and moves `from` behind it.
    pub fn read(from: &mut &[u8]) -> Result<Self> {
        let [tag] = take::<1>(from)?;
        match tag {
            ZERO => Ok(Self::ZERO),
            NARROW => {
                let (lo, hi) = (u128::from_le_bytes(take(from)?), i128::from_le_bytes(take(from)?));
                Ok(Self { lo, hi, wide: None })
            }
            WIDE => Ok(Self { lo: 0, hi: 0, wide: Some(Box::new(Wide::read(from)?)) }),
            other => Err(damaged(&format!("tag {other}"))),
        }
    }
}

/// Takes `N` bytes from the front.
pub(super) fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N]> {
    let (head, rest) = from.split_first_chunk::<N>().ok_or_else(|| damaged("too short"))?;
    *from = rest;
    Ok(*head)
}

pub(super) fn damaged(what: &str) -> DataFusionError {
    DataFusionError::Internal(format!("the state of an exact sum is damaged: {what}"))
}
