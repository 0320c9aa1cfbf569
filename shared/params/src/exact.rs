//! Order-independent weighted sums: integers, not floats.
//!
//! A contribution's value `x` on a tensor with step `s` becomes `round(x / s * 2^8)` subticks, multiplied by the integer
//! weight and added as i64. With |x / s| <= 2^26 (checked), weights that total at most 2^28 and 8 fractional bits, sums stay
//! within 2^62: no order of arrival and no thread count can change or overflow them.
//!
//! Most sums are far smaller than that, so each is kept in parts, and an upper one is touched only where the lower one overflows. Which
//! upper part counts is the same for a tile of them: none as long as the contributions so far cannot leave 32 bits, then a byte, for 40,
//! which some thousand contributions like those do not leave, then 4 bytes. So a tile takes little memory, and adding to it little
//! traffic. What they can leave is told by a sum too, so the same contributions end the same in any order.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use crate::{Grid, Layout};

mod part;
mod product;
mod sparse;
mod tile;

pub use part::{Number, Part, Scales};
pub use tile::TILE;
use tile::{Tile, Width};

/// Fractional binary digits kept below one tick while summing.
pub const SUBTICK_BITS: u32 = 8;
/// Largest total weight of one sum.
pub const WEIGHT_TOTAL_MAX: u64 = 1 << 28;
/// Sums that are given back together while a mean is taken: 1 MiB of lower parts.
const GIVEN_BACK: usize = 1 << 18;
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
    tiles: Vec<Tile>,
    low: Vec<i32>,
    /// Memory that is asked for in zeros and never touched is not taken.
    middle: Vec<i8>,
    /// As well.
    high: Vec<i32>,
    weight: u64,
}

impl Accumulator {
    /// An empty sum: 4 bytes per value, 5 where contributions are many, 9 where they are large as well.
    pub fn new(layout: Arc<Layout>, grid: &Grid) -> Self {
        let (scales, tiles, len) = (Scales::of(grid), Tile::all(&layout), layout.len());
        Self { layout, scales, tiles, low: vec![0; len], middle: vec![0; len], high: vec![0; len], weight: 0 }
    }

    /// The layout of the values.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Total weight added so far.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// The weighted mean in subticks (rounded half away from zero) of the values with these flat indices; all zero when nothing
    /// was added.
    pub fn mean_subticks(&self, values: Range<usize>) -> Vec<i64> {
        let weight = i64::try_from(self.weight.max(1)).unwrap_or(i64::MAX);
        let mut mean = Vec::with_capacity(values.len());
        let mut number = tile::of(&self.tiles, values.start);
        while values.start + mean.len() < values.end {
            let tile = tile::range(&self.tiles, number, self.layout.len());
            let range = values.start + mean.len()..values.end.min(tile.end);
            let low = &self.low[range.clone()];
            // Exact: the quotient is off by less than 2^-14 / weight, and never nearer than 0.5 / weight to a half that it is not.
            let divided = |sum: f64| rounded(sum / weight as f64);
            match self.tiles[number].width() {
                Width::Narrow => mean.extend(low.iter().map(|&sum| divided(sum.into()))),
                Width::Middle => {
                    let sums = low.iter().zip(&self.middle[range]);
                    mean.extend(sums.map(|(&low, &middle)| divided(tile::joined(low, middle.into()) as f64)));
                }
                Width::Wide => {
                    let sums = low.iter().zip(&self.high[range]);
                    mean.extend(sums.map(|(&low, &high)| rounded_div(tile::joined(low, high), weight)));
                }
            }
            number += 1;
        }
        mean
    }

    /// As [`Accumulator::mean_subticks`], of the values from flat index `first` on, whose sums are gone then: a mean that is taken from
    /// the end to the start gives its memory back as it goes.
    ///
    /// # Panics
    /// If there are none so far back any more.
    pub fn take_mean_subticks(&mut self, first: usize) -> Vec<i64> {
        let mean = self.mean_subticks(first..self.low.len());
        give_back(&mut self.low, first);
        give_back(&mut self.middle, first);
        give_back(&mut self.high, first);
        mean
    }
}

/// Lets go of all but the first so many.
fn give_back<T>(sums: &mut Vec<T>, first: usize) {
    sums.truncate(first);
    if sums.capacity() - first >= GIVEN_BACK || first == 0 {
        sums.shrink_to_fit();
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
