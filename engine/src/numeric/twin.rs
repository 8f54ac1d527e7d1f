//! A naive twin for the tests: whole numbers as decimal-like digit vectors, nothing shared with the engine.
//!
//! Every float is a whole multiple of 2^-1074, so a sum is a whole number of those; products of two
//! count in 2^-2148. Rounding is found by trying the neighbours of a guess, not by shifting.

use std::cmp::Ordering;

/// Sign and base 2^32 digits, least first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    negative: bool,
    digits: Vec<u32>,
}

impl Whole {
    pub fn from(value: u64) -> Self {
        Self { negative: false, digits: vec![value as u32, (value >> 32) as u32] }.trim()
    }

    fn trim(mut self) -> Self {
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        self.negative &= !self.digits.is_empty();
        self
    }

    /// value / 2^-1074.
    pub fn of(value: f64) -> Self {
        let bits = value.to_bits();
        let exponent = (bits >> 52) & 0x7ff;
        let fraction = bits & 0xf_ffff_ffff_ffff;
        let mut whole = Self::from(if exponent == 0 { fraction } else { fraction + (1 << 52) });
        (1..exponent).for_each(|_| whole = whole.add(&whole));
        if value < 0.0 { whole.negate() } else { whole }
    }

    pub fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    pub fn negate(mut self) -> Self {
        self.negative = !self.negative && !self.digits.is_empty();
        self
    }

    fn magnitude(&self, other: &Self) -> Ordering {
        let by_len = self.digits.len().cmp(&other.digits.len());
        by_len.then_with(|| self.digits.iter().rev().cmp(other.digits.iter().rev()))
    }

    pub fn add(&self, other: &Self) -> Self {
        let (big, small) = if self.magnitude(other).is_lt() { (other, self) } else { (self, other) };
        let sign: i64 = if big.negative == small.negative { 1 } else { -1 };
        let mut carry = 0i64;
        let mut digits = Vec::with_capacity(big.digits.len() + 1);
        for (at, digit) in big.digits.iter().enumerate() {
            let sum =
                i64::from(*digit) + sign * i64::from(small.digits.get(at).copied().unwrap_or(0)) + carry;
            digits.push(sum.rem_euclid(1 << 32) as u32);
            carry = sum.div_euclid(1 << 32);
        }
        digits.push(carry as u32);
        Self { negative: big.negative, digits }.trim()
    }

    pub fn sub(&self, other: &Self) -> Self {
        self.add(&other.clone().negate())
    }

    pub fn mul(&self, other: &Self) -> Self {
        let mut digits = vec![0u32; self.digits.len() + other.digits.len() + 1];
        for (i, a) in self.digits.iter().enumerate() {
            let mut carry = 0u64;
            for (j, b) in other.digits.iter().chain([&0]).enumerate() {
                let sum = u64::from(*a) * u64::from(*b) + u64::from(digits[i + j]) + carry;
                digits[i + j] = sum as u32;
                carry = sum >> 32;
            }
        }
        Self { negative: self.negative != other.negative, digits }.trim()
    }

    /// This many times 2^-(1074 · units), rounded to the nearest float, ties to the even one. For a number
    /// whose float is normal or which needs no rounding.
    pub fn nearest(&self, units: u32) -> f64 {
        let mut guess = 0.0f64;
        for digit in self.digits.iter().rev().take(4) {
            guess = guess * 4_294_967_296.0 + f64::from(*digit);
        }
        let mut left = 32 * self.digits.len().saturating_sub(4) as i64 - 1074 * i64::from(units);
        while left != 0 {
            let step = left.clamp(-32, 32);
            guess *= 2.0f64.powi(step as i32);
            left -= step;
        }
        let mut unit = Self::from(1);
        (1..units).for_each(|_| unit = unit.mul(&Self::of(1.0)));
        let size = Self { negative: false, ..self.clone() };
        let far = |float: f64| {
            let mut gap = size.sub(&Self::of(float).mul(&unit));
            gap.negative = false;
            gap
        };
        let mut best = guess.min(f64::MAX);
        for float in [best.next_down().max(0.0), best.next_up().min(f64::MAX)] {
            let order = far(float).magnitude(&far(best));
            if order.is_lt() || order.is_eq() && float.to_bits() % 2 == 0 {
                best = float;
            }
        }
        // Beyond the largest float by half a step or more: infinite.
        let step = Self::of(f64::MAX).sub(&Self::of(f64::MAX.next_down())).mul(&unit);
        let beyond = size.sub(&Self::of(f64::MAX).mul(&unit));
        if !beyond.negative && beyond.add(&beyond).magnitude(&step).is_ge() {
            best = f64::INFINITY;
        }
        if self.negative { -best } else { best }
    }
}

/// n, Σx, Σy, Σx², Σxy, Σy² of pairs (x, y).
pub struct Sums {
    pub n: Whole,
    pub x: Whole,
    pub y: Whole,
    pub xx: Whole,
    pub xy: Whole,
    pub yy: Whole,
}

impl Sums {
    pub fn of(pairs: &[(f64, f64)]) -> Self {
        let zero = Whole::from(0);
        let mut sums = Self {
            n: Whole::from(pairs.len() as u64),
            x: zero.clone(),
            y: zero.clone(),
            xx: zero.clone(),
            xy: zero.clone(),
            yy: zero,
        };
        for (x, y) in pairs {
            let (x, y) = (Whole::of(*x), Whole::of(*y));
            sums.xx = sums.xx.add(&x.mul(&x));
            sums.xy = sums.xy.add(&x.mul(&y));
            sums.yy = sums.yy.add(&y.mul(&y));
            sums.x = sums.x.add(&x);
            sums.y = sums.y.add(&y);
        }
        sums
    }

    pub fn sxx(&self) -> Whole {
        self.n.mul(&self.xx).sub(&self.x.mul(&self.x))
    }

    pub fn sxy(&self) -> Whole {
        self.n.mul(&self.xy).sub(&self.x.mul(&self.y))
    }

    pub fn syy(&self) -> Whole {
        self.n.mul(&self.yy).sub(&self.y.mul(&self.y))
    }
}
