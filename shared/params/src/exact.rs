//! Order-independent weighted sums: integers, not floats.
//!
//! A contribution's value `x` on a tensor with step `s` becomes `round(x / s * 2^8)` subticks, multiplied by the integer
//! weight and added as i64. With |x / s| <= 2^26 (checked), weights that total at most 2^28 and 8 fractional bits, sums stay
//! within 2^62: no order of arrival and no thread count can change or overflow them.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use crate::{Grid, Layout};

mod part;

pub use part::{Part, Scales};

/// Fractional binary digits kept below one tick while summing.
pub const SUBTICK_BITS: u32 = 8;
/// Largest total weight of one sum.
pub const WEIGHT_TOTAL_MAX: u64 = 1 << 28;
/// Sums that are given back together while a mean is taken: 1 MiB.
const GIVEN_BACK: usize = 1 << 17;
/// Largest magnitude of a single contribution, in subticks: 2^26 ticks.
const SUBTICKS_MAX: f64 = (1_u64 << (26 + SUBTICK_BITS)) as f64;

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
    scales: Scales,
    sums: Vec<i64>,
    weight: u64,
}

/// Neighbouring entries of one tensor.
struct Run<'a> {
    /// Subticks per unit.
    scale: f64,
    entries: &'a [(u32, f32)],
}

impl Accumulator {
    /// An empty sum: 8 bytes per value, whatever the number of contributors.
    pub fn new(layout: Arc<Layout>, grid: &Grid) -> Self {
        let sums = vec![0; layout.len()];
        Self { layout, scales: Scales::of(grid), sums, weight: 0 }
    }

    /// The layout of the values.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
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
        let total = self.total_with(weight)?;
        for run in self.runs(entries) {
            let Run { scale, entries } = run?;
            let fits = |value: f32| (f64::from(value) * scale).abs() <= SUBTICKS_MAX;
            if let Some((index, value)) = entries.iter().find(|entry| !fits(entry.1)) {
                return Err(SumError::Value { index: *index as usize, value: value.to_string() });
            }
        }
        let mut sums = std::mem::take(&mut self.sums);
        for Run { scale, entries } in self.runs(entries).flatten() {
            for &(index, value) in entries {
                sums[index as usize] += rounded(f64::from(value) * scale) * i64::from(weight);
            }
        }
        self.sums = sums;
        self.weight = total;
        Ok(())
    }

    /// `entries` divided by tensors; ends with the first index that is outside.
    fn runs<'a>(&self, entries: &'a [(u32, f32)]) -> impl Iterator<Item = Result<Run<'a>, SumError>> {
        let tensors = self.layout.tensors();
        let mut rest = entries;
        let mut tensor = 0;
        std::iter::from_fn(move || {
            let index = rest.first()?.0 as usize;
            if index >= self.layout.len() {
                rest = &[];
                return Some(Err(SumError::Index { index, len: self.layout.len() }));
            }
            if index < tensors[tensor].offset {
                tensor = 0;
            }
            while index >= tensors[tensor].range().end {
                tensor += 1;
            }
            let range = tensors[tensor].range();
            let within = |entry: &(u32, f32)| range.contains(&(entry.0 as usize));
            let run;
            (run, rest) = rest.split_at(rest.iter().position(|entry| !within(entry)).unwrap_or(rest.len()));
            Some(Ok(Run { scale: self.scales.of_tensor(tensor), entries: run }))
        })
    }

    /// The weighted mean in subticks (rounded half away from zero) of the values with these flat indices; all zero when nothing
    /// was added.
    pub fn mean_subticks(&self, values: Range<usize>) -> Vec<i64> {
        let weight = i64::try_from(self.weight.max(1)).unwrap_or(i64::MAX);
        self.sums[values].iter().map(|&sum| rounded_div(sum, weight)).collect()
    }

    /// As [`Accumulator::mean_subticks`], of the values from flat index `first` on, whose sums are gone then: a mean that is taken from
    /// the end to the start gives its memory back as it goes.
    ///
    /// # Panics
    /// If there are none so far back any more.
    pub fn take_mean_subticks(&mut self, first: usize) -> Vec<i64> {
        let mean = self.mean_subticks(first..self.sums.len());
        self.sums.truncate(first);
        if self.sums.capacity() - first >= GIVEN_BACK || first == 0 {
            self.sums.shrink_to_fit();
        }
        mean
    }
}

/// `value`, of which the magnitude is below 2^51, rounded half away from zero. (`f64::round` is a call where the processor has no
/// instruction for it.)
fn rounded(value: f64) -> i64 {
    // The largest number below one half: one half itself would round 0.49999999999999994 up.
    const HALF: f64 = 0.5_f64.next_down();
    (value + HALF.copysign(value)) as i64
}

/// `numerator / denominator`, rounded half away from zero; `denominator` is positive.
fn rounded_div(numerator: i64, denominator: i64) -> i64 {
    let half = denominator / 2;
    if numerator >= 0 { (numerator + half) / denominator } else { (numerator - half) / denominator }
}

#[cfg(test)]
mod tests;
