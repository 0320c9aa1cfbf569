//! Order-independent weighted sums: integers, not floats.
//!
//! A contribution's value `x` on a tensor with step `s` becomes `round(x / s * 2^8)` subticks, multiplied by the integer
//! weight and added as i64. With |x / s| <= 2^26 (checked), weights that total at most 2^28 and 8 fractional bits, sums stay
//! within 2^62: no order of arrival and no thread count can change or overflow them.

use std::sync::Arc;

use thiserror::Error;

use crate::{Grid, Layout};

/// Fractional binary digits kept below one tick while summing.
pub const SUBTICK_BITS: u32 = 8;
/// Largest total weight of one sum.
pub const WEIGHT_TOTAL_MAX: u64 = 1 << 28;
/// Largest magnitude of a single contribution, in ticks.
const TICKS_MAX: f64 = (1_u64 << 26) as f64;

/// Why a contribution cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SumError {
    /// NaN, infinite, or further than 2^26 steps.
    #[error("value {value} at index {index} cannot be summed (not finite, or beyond 2^26 steps)")]
    Value {
        /// Flat index.
        index: usize,
        /// The value as text.
        value: String,
    },
    /// Index outside the layout.
    #[error("index {index} is outside the {len} values of the layout")]
    Index {
        /// The index.
        index: usize,
        /// Number of values.
        len: usize,
    },
    /// Weights would total more than [`WEIGHT_TOTAL_MAX`].
    #[error("weights would total {found}, more than {max}")]
    Weight {
        /// Total with this contribution.
        found: u64,
        /// The bound.
        max: u64,
    },
}

/// A weighted sum of sparse or dense contributions over one layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Accumulator {
    layout: Arc<Layout>,
    /// `2^8 / step` per tensor.
    scales: Vec<f64>,
    sums: Vec<i64>,
    weight: u64,
}

impl Accumulator {
    /// An empty sum: 8 bytes per value, whatever the number of contributors.
    pub fn new(layout: Arc<Layout>, grid: &Grid) -> Self {
        let fraction = f64::from(1_u32 << SUBTICK_BITS);
        let scales = (0..layout.tensors().len()).map(|tensor| fraction / grid.step(tensor)).collect();
        let sums = vec![0; layout.len()];
        Self { layout, scales, sums, weight: 0 }
    }

    /// Total weight added so far.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// Adds one contribution: `(index, value)` pairs in increasing order of index, values absent meaning zero.
    ///
    /// # Errors
    /// Leaves the sum untouched when an index, a value or the weight is out of bounds.
    pub fn add(&mut self, entries: &[(u32, f32)], weight: u32) -> Result<(), SumError> {
        let total = self.weight + u64::from(weight);
        if total > WEIGHT_TOTAL_MAX {
            return Err(SumError::Weight { found: total, max: WEIGHT_TOTAL_MAX });
        }
        self.for_each_subtick(entries, |_, _| {})?;
        let mut sums = std::mem::take(&mut self.sums);
        let added =
            self.for_each_subtick(entries, |index, subticks| sums[index] += subticks * i64::from(weight));
        self.sums = sums;
        self.weight = total;
        added
    }

    fn for_each_subtick(
        &self,
        entries: &[(u32, f32)],
        mut visit: impl FnMut(usize, i64),
    ) -> Result<(), SumError> {
        let tensors = self.layout.tensors();
        let bound = TICKS_MAX * f64::from(1_u32 << SUBTICK_BITS);
        let mut tensor = 0;
        for &(index, value) in entries {
            let index = index as usize;
            if index >= self.layout.len() {
                return Err(SumError::Index { index, len: self.layout.len() });
            }
            if index < tensors[tensor].offset {
                tensor = 0;
            }
            while index >= tensors[tensor].offset + tensors[tensor].len {
                tensor += 1;
            }
            let subticks = (f64::from(value) * self.scales[tensor]).round();
            if !subticks.is_finite() || subticks.abs() > bound {
                return Err(SumError::Value { index, value: value.to_string() });
            }
            visit(index, subticks as i64);
        }
        Ok(())
    }

    /// The weighted mean in subticks (rounded half away from zero); all zero when nothing was added.
    pub fn mean_subticks(&self) -> Vec<i64> {
        let weight = i64::try_from(self.weight.max(1)).unwrap_or(i64::MAX);
        self.sums.iter().map(|&sum| rounded_div(sum, weight)).collect()
    }
}

/// `numerator / denominator`, rounded half away from zero; `denominator` is positive.
fn rounded_div(numerator: i64, denominator: i64) -> i64 {
    let half = denominator / 2;
    if numerator >= 0 { (numerator + half) / denominator } else { (numerator - half) / denominator }
}

#[cfg(test)]
mod tests;
