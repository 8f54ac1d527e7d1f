//! Count and exact sums of x, y and their products, and the statistics that are made of them.
//!
//! In:   pairs (x, y), of which a `Terms` mask says what to sum.
//! Out:  `Statistic::evaluate`: a float or NULL.
//! Owns: the formulas, and what they give for no rows, one row, no variance, NaN and infinities.

use datafusion::error::Result;

use super::big::{Big, Scaled};
use super::exact::{ExactSum, take};

/// Which sums a statistic needs, as bits of a mask.
pub(super) const X: u8 = 1;
pub(super) const Y: u8 = 2;
pub(super) const XX: u8 = 4;
pub(super) const XY: u8 = 8;
pub(super) const YY: u8 = 16;

/// The functions of this module. `regr_*`, `covar*` and `corr` take (y, x) as SQL does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Statistic {
    Sum,
    Avg,
    VarSample,
    VarPopulation,
    StddevSample,
    StddevPopulation,
    CovarSample,
    CovarPopulation,
    Corr,
    Slope,
    Intercept,
    R2,
    Count,
    AvgX,
    AvgY,
    Sxx,
    Syy,
    Sxy,
}

impl Statistic {
    /// Whether the function has two arguments; a row with a NULL in either does not count.
    pub fn is_pair(self) -> bool {
        use Statistic::*;
        !matches!(self, Sum | Avg | VarSample | VarPopulation | StddevSample | StddevPopulation)
    }

    /// Whether x is the first argument: so for one argument, and for statistics of y alone, which are
    /// those of x with the arguments exchanged.
    pub fn x_first(self) -> bool {
        !self.is_pair() || matches!(self, Statistic::AvgY | Statistic::Syy)
    }
}

/// Count and sums over the rows of one group: `K` sums, chosen by the mask `T`.
#[derive(Debug, Clone)]
pub(super) struct Moments<const T: u8, const K: usize> {
    pub count: u64,
    sums: [ExactSum; K],
}

impl<const T: u8, const K: usize> Default for Moments<T, K> {
    fn default() -> Self {
        const { assert!(T.count_ones() as usize == K) };
        Self { count: 0, sums: [ExactSum::ZERO; K] }
    }
}

impl<const T: u8, const K: usize> Moments<T, K> {
    /// Where the sum of a term stands: behind those of the lower bits of the mask.
    const fn place(term: u8) -> usize {
        (T & (term - 1)).count_ones() as usize
    }

    /// Adds a row, or takes one back. Returns the bytes that had to be allocated.
    #[inline]
    pub fn put<const RETRACT: bool>(&mut self, x: f64, y: f64) -> usize {
        self.count = if RETRACT { self.count.wrapping_sub(1) } else { self.count.wrapping_add(1) };
        let mut grew = 0;
        if T & X != 0 {
            grew += self.sums[Self::place(X)].put::<RETRACT>(x);
        }
        if T & Y != 0 {
            grew += self.sums[Self::place(Y)].put::<RETRACT>(y);
        }
        if T & XX != 0 {
            grew += self.sums[Self::place(XX)].put_product::<RETRACT>(x, x);
        }
        if T & XY != 0 {
            grew += self.sums[Self::place(XY)].put_product::<RETRACT>(x, y);
        }
        if T & YY != 0 {
            grew += self.sums[Self::place(YY)].put_product::<RETRACT>(y, y);
        }
        grew
    }

    pub fn merge(&mut self, other: &Self) -> usize {
        self.count = self.count.wrapping_add(other.count);
        self.sums.iter_mut().zip(&other.sums).map(|(ours, theirs)| ours.merge(theirs)).sum()
    }

    pub fn heap(&self) -> usize {
        self.sums.iter().map(ExactSum::heap).sum()
    }

    /// Appends the canonical bytes: the count, then the sums in the order of the mask.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_le_bytes());
        self.sums.iter().for_each(|sum| sum.write(out));
    }

    pub fn read(mut from: &[u8]) -> Result<Self> {
        let mut moments = Self { count: u64::from_le_bytes(take(&mut from)?), ..Self::default() };
        for sum in &mut moments.sums {
            *sum = ExactSum::read(&mut from)?;
        }
        if from.is_empty() { Ok(moments) } else { Err(super::exact::damaged("too long")) }
    }

    fn sum(&self, term: u8) -> &ExactSum {
        assert!(T & term != 0, "a statistic asks for a sum that was not kept");
        &self.sums[Self::place(term)]
    }

    /// The statistic, or `None` for NULL.
    pub fn evaluate(&self, statistic: Statistic) -> Option<f64> {
        // The narrow form has 4 limbs, and no formula more than 18; see the widths in `wide` and `big`.
        if self.sums.iter().all(ExactSum::is_narrow) {
            self.formula::<20>(statistic)
        } else {
            self.formula::<160>(statistic)
        }
    }

    fn formula<const N: usize>(&self, statistic: Statistic) -> Option<f64> {
        use Statistic::*;
        let n = self.count;
        let rows = || Big::<N>::from_u128(n.into()).scaled();
        let rows_but_one = || Big::<N>::from_u128(u128::from(n) * u128::from(n.wrapping_sub(1))).scaled();
        let rows_squared = || Big::<N>::from_u128(u128::from(n) * u128::from(n)).scaled();
        match statistic {
            Count => Some(n as f64),
            _ if n == 0 => None,
            Sum => Some(self.sum(X).to_f64()),
            Avg | AvgX | AvgY => Some(
                self.sum(X)
                    .not_finite()
                    .unwrap_or_else(|| self.sum(X).exact::<N>().scaled().over(rows()).to_f64()),
            ),
            VarPopulation => self.spread::<N>(rows_squared()).map(Scaled::to_f64).or(NAN),
            StddevPopulation => self.spread::<N>(rows_squared()).map(|v| v.root().to_f64()).or(NAN),
            Sxx | Syy => self.spread::<N>(rows()).map(Scaled::to_f64).or(NAN),
            CovarPopulation => self.shared::<N>(rows_squared()).or(NAN),
            Sxy => self.shared::<N>(rows()).or(NAN),
            _ if n < 2 => None,
            VarSample => self.spread::<N>(rows_but_one()).map(Scaled::to_f64).or(NAN),
            StddevSample => self.spread::<N>(rows_but_one()).map(|v| v.root().to_f64()).or(NAN),
            CovarSample => self.shared::<N>(rows_but_one()).or(NAN),
            Slope | Intercept => self.line::<N>(statistic),
            Corr | R2 => self.correlation::<N>(statistic),
        }
    }

    /// n Σab − Σa Σb, or `None` with a NaN or an infinity among the rows.
    fn difference<const N: usize>(&self, ab: u8, a: u8, b: u8) -> Option<Big<N>> {
        let finite = [ab, a, b].iter().all(|term| self.sum(*term).not_finite().is_none());
        finite.then(|| {
            let squares = Big::from_u128(self.count.into()).times(&self.sum(ab).exact());
            squares.minus(&self.sum(a).exact().times(&self.sum(b).exact()))
        })
    }

    fn spread<const N: usize>(&self, divisor: Scaled) -> Option<Scaled> {
        Some(self.difference::<N>(XX, X, X)?.scaled().over(divisor))
    }

    fn shared<const N: usize>(&self, divisor: Scaled) -> Option<f64> {
        Some(self.difference::<N>(XY, X, Y)?.scaled().over(divisor).to_f64())
    }

    /// `regr_slope` = Sxy / Sxx and `regr_intercept` = (Σy Σxx − Σx Σxy) / Sxx, all times n. NULL when all x
    /// are equal.
    fn line<const N: usize>(&self, statistic: Statistic) -> Option<f64> {
        let Some(xx) = self.difference::<N>(XX, X, X) else {
            return NAN;
        };
        if xx.is_zero() {
            return None;
        }
        let Some(xy) = self.difference::<N>(XY, X, Y) else {
            return NAN;
        };
        let numerator = if statistic == Statistic::Slope {
            xy
        } else {
            let left = self.sum(Y).exact::<N>().times(&self.sum(XX).exact());
            left.minus(&self.sum(X).exact().times(&self.sum(XY).exact()))
        };
        Some(numerator.scaled().over(xx.scaled()).to_f64())
    }

    /// `corr` = Sxy / √(Sxx Syy), kept within ±1, and `regr_r2` = Sxy² / (Sxx Syy). NULL when all x or all
    /// y are equal.
    fn correlation<const N: usize>(&self, statistic: Statistic) -> Option<f64> {
        let (xx, yy) = (self.difference::<N>(XX, X, X), self.difference::<N>(YY, Y, Y));
        if [&xx, &yy].into_iter().flatten().any(Big::is_zero) {
            return None;
        }
        let (Some(xx), Some(yy), Some(xy)) = (xx, yy, self.difference::<N>(XY, X, Y)) else {
            return NAN;
        };
        let product = xx.times(&yy).scaled();
        Some(if statistic == Statistic::R2 {
            xy.times(&xy).scaled().over(product).to_f64()
        } else {
            xy.scaled().over(product.root()).to_f64().clamp(-1.0, 1.0)
        })
    }
}

const NAN: Option<f64> = Some(f64::NAN);
