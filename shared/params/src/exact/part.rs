//! Dense contributions: every value is there, so neighbouring ones are added together, and by as many threads as there are
//! parts.
//!
//! The sums are the same integers that [`Accumulator::add`] makes, only several at a time: a value becomes a whole number of
//! subticks and is multiplied by the weight in floating point, which is exact below 2^53, and turned into an integer by
//! adding 1.5 x 2^52, which every processor can do to several values at once (the conversion itself they often cannot).

use std::sync::Arc;

use super::{Accumulator, SUBTICK_BITS, SUBTICKS_MAX, SumError, WEIGHT_TOTAL_MAX, rounded};
use crate::Grid;

/// Subticks per unit of each tensor: by them alone it can be told whether a value can be summed.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales(Arc<[f64]>);

/// Values that are close together, looked at or added at a time.
const LANE: usize = 256;
/// Heaviest contribution whose products stay exact in floating point: 2^34 subticks times this.
const WEIGHT_MAX: u32 = 1 << 16;
/// Adding it moves a number below 2^51 so that the last digit of its mantissa is worth one.
const UNITS: f64 = 1.5 * (1_u64 << 52) as f64;

impl Scales {
    /// Those of a grid.
    pub fn of(grid: &Grid) -> Self {
        let fraction = f64::from(1_u32 << SUBTICK_BITS);
        Self(grid.exponents().iter().map(|&exponent| fraction / f64::from(exponent).exp2()).collect())
    }

    /// Subticks per unit of tensor number `tensor`.
    pub(super) fn of_tensor(&self, tensor: usize) -> f64 {
        self.0[tensor]
    }

    /// Checks that values of tensor number `tensor`, the first of which has the flat index `first`, can be summed.
    ///
    /// # Errors
    /// [`SumError::Value`] for the first that cannot.
    pub fn check(&self, tensor: usize, first: usize, values: &[f32]) -> Result<(), SumError> {
        // Scales are powers of two, so the bound is a number of the values' own kind, unless it is beyond all of them.
        let most = ((SUBTICKS_MAX / self.of_tensor(tensor)) as f32).min(f32::MAX);
        let fits = |value: f32| value.abs() <= most;
        for (number, lane) in values.chunks(LANE).enumerate() {
            // Without an exit inside a lane, several values are compared at a time.
            if lane.iter().map(|&value| u32::from(!fits(value))).fold(0, |any, bad| any | bad) == 0 {
                continue;
            }
            let position = lane.iter().position(|&value| !fits(value)).unwrap_or(0);
            let value = lane[position].to_string();
            return Err(SumError::Value { index: first + number * LANE + position, value });
        }
        Ok(())
    }
}

/// Neighbouring values of a sum, to which a dense contribution is being added.
#[derive(Debug)]
pub struct Part<'a> {
    first: usize,
    sums: &'a mut [i64],
    scales: Scales,
    weight: u32,
}

impl Accumulator {
    /// Begins a dense contribution: counts its weight and divides the sums at `cuts` (flat indices, increasing), so that
    /// threads can add its values side by side. All of its values have to be added then, and be such that [`Scales::check`]
    /// lets them through.
    ///
    /// # Errors
    /// Leaves the sum untouched when the weight is out of bounds.
    pub fn open(&mut self, weight: u32, cuts: &[usize]) -> Result<Vec<Part<'_>>, SumError> {
        self.weight = self.total_with(weight)?;
        let mut parts = Vec::with_capacity(cuts.len() + 1);
        let (mut first, mut rest) = (0, &mut *self.sums);
        for &cut in cuts.iter().chain([&self.layout.len()]) {
            let (sums, behind) = std::mem::take(&mut rest).split_at_mut(cut - first);
            parts.push(Part { first, sums, scales: self.scales.clone(), weight });
            (first, rest) = (cut, behind);
        }
        Ok(parts)
    }

    /// The total weight with one more contribution.
    pub(super) fn total_with(&self, weight: u32) -> Result<u64, SumError> {
        let found = self.weight + u64::from(weight);
        if found > WEIGHT_TOTAL_MAX {
            return Err(SumError::Weight { found, max: WEIGHT_TOTAL_MAX });
        }
        Ok(found)
    }
}

impl Part<'_> {
    /// The flat indices of the values it has.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.sums.len()
    }

    /// Adds values of tensor number `tensor`, the first of which has the flat index `first`; they lie within
    /// [`Part::range`].
    ///
    /// # Errors
    /// [`SumError::Value`] for values that should not have passed the check: the sum is then of no use any more.
    pub fn add(&mut self, tensor: usize, first: usize, values: &[f32]) -> Result<(), SumError> {
        self.scales.check(tensor, first, values)?;
        let scale = self.scales.of_tensor(tensor);
        let sums = &mut self.sums[first - self.first..][..values.len()];
        if self.weight <= WEIGHT_MAX {
            add_light(sums, values, scale, self.weight.into());
        } else {
            add_heavy(sums, values, scale, self.weight.into());
        }
        Ok(())
    }
}

fn add_light(sums: &mut [i64], values: &[f32], scale: f64, weight: f64) {
    const INTEGERS: f64 = (1_u64 << 52) as f64;
    for (sum, &value) in sums.iter_mut().zip(values) {
        let subticks = f64::from(value) * scale;
        let size = subticks.abs();
        // To the nearest whole number, halves to the even one; then halves away from zero.
        let even = (size + INTEGERS) - INTEGERS;
        let whole = even + if size - even == 0.5 { 1.0 } else { 0.0 };
        let product = (whole * weight).copysign(subticks) + UNITS;
        let product = product.to_bits().wrapping_sub(UNITS.to_bits()) as i64;
        *sum = sum.wrapping_add(product);
    }
}

fn add_heavy(sums: &mut [i64], values: &[f32], scale: f64, weight: i64) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum = sum.wrapping_add(rounded(f64::from(value) * scale).wrapping_mul(weight));
    }
}
