//! Dense contributions: every value is there, so neighbouring ones are added together, and by as many threads as there are
//! parts.

use std::ops::Range;
use std::sync::Arc;

use super::product::{Multiple, PRODUCT_MAX};
use super::tile::{self, Sums, Tile, Width};
use super::{Accumulator, SUBTICK_BITS, SUBTICKS_MAX, SumError, WEIGHT_TOTAL_MAX};
use crate::Grid;

/// Subticks per unit of each tensor: by them alone it can be told whether a value can be summed.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales(Arc<[f64]>);

/// Values side by side that are looked at together.
const COLUMNS: usize = 16;

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
    pub fn check<T: Number>(&self, tensor: usize, first: usize, values: &[T]) -> Result<(), SumError> {
        self.largest_of(tensor, first, values).map(|_| ())
    }

    /// The largest magnitude of values of tensor number `tensor` that can be summed; finite.
    pub fn largest(&self, tensor: usize) -> f32 {
        // Scales are powers of two, so the bound is a number of the values' own kind, unless it is beyond all of them.
        ((SUBTICKS_MAX / self.of_tensor(tensor)) as f32).min(f32::MAX)
    }

    /// The largest magnitude of values that pass [`Scales::check`].
    fn largest_of<T: Number>(&self, tensor: usize, first: usize, values: &[T]) -> Result<f32, SumError> {
        let most = self.largest(tensor);
        let fits = |size: f32| size <= most;
        // Without an exit, and with a largest one for each of some columns, several values are looked at at a time.
        let (rows, rest) = values.as_chunks::<COLUMNS>();
        let (mut largest, mut bad) = ([0.0_f32; COLUMNS], [0_u32; COLUMNS]);
        for row in rows {
            for ((&value, largest), bad) in row.iter().zip(&mut largest).zip(&mut bad) {
                let size = value.number().abs();
                *largest = if size > *largest { size } else { *largest };
                *bad |= u32::from(!fits(size));
            }
        }
        for ((&value, largest), bad) in rest.iter().zip(&mut largest).zip(&mut bad) {
            *largest = largest.max(value.number().abs());
            *bad |= u32::from(!fits(value.number().abs()));
        }
        if bad == [0; COLUMNS] {
            return Ok(largest.into_iter().fold(0.0, f32::max));
        }
        let position = values.iter().position(|value| !fits(value.number().abs())).unwrap_or(0);
        Err(SumError::Value { index: first + position, value: values[position].number().to_string() })
    }
}

/// Neighbouring values of a sum, to which a dense contribution is being added.
#[derive(Debug)]
pub struct Part<'a> {
    tiles: &'a mut [Tile],
    range: Range<usize>,
    sums: Sums<'a>,
    scales: Scales,
    weight: u32,
}

impl Accumulator {
    /// Begins a dense contribution: counts its weight and divides the sums into at most so many parts of about one size (at least
    /// one), so that threads can add its values side by side. Parts begin at multiples of [`TILE`](super::TILE) from the start of a
    /// tensor. All of its values have to be added then, and be such that [`Scales::check`] lets them through.
    ///
    /// # Errors
    /// Leaves the sum untouched when the weight is out of bounds.
    pub fn open(&mut self, weight: u32, parts: usize) -> Result<Vec<Part<'_>>, SumError> {
        self.weight = self.total_with(weight)?;
        let (len, each) = (self.layout.len(), self.tiles.len().div_ceil(parts.max(1)).max(1));
        let mut sums = Sums { low: &mut self.low, middle: &mut self.middle, high: &mut self.high };
        let mut first = 0;
        let mut rest = &mut *self.tiles;
        let mut opened = Vec::with_capacity(parts);
        while !rest.is_empty() {
            let (tiles, behind) = rest.split_at_mut(each.min(rest.len()));
            let range = first..behind.first().map_or(len, |tile| tile.first);
            let (own, others) = sums.split_at(range.len());
            (sums, rest, first) = (others, behind, range.end);
            opened.push(Part { tiles, range, sums: own, scales: self.scales.clone(), weight });
        }
        Ok(opened)
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
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Adds the values of one tile, of tensor number `tensor`, the first of which has the flat index `first` within [`Part::range`].
    ///
    /// # Errors
    /// [`SumError::Value`] for values that should not have passed the check: the sum is then of no use any more.
    ///
    /// # Panics
    /// If they are not as many as the tile has.
    pub fn add<T: Number>(&mut self, tensor: usize, first: usize, values: &[T]) -> Result<(), SumError> {
        let most = self.scales.largest_of(tensor, first, values)?;
        let scale = self.scales.of_tensor(tensor);
        let number = tile::of(self.tiles, first);
        let range = tile::range(self.tiles, number, self.range.end);
        assert_eq!((range.start, range.len()), (first, values.len()), "a whole tile");
        let inside = range.start - self.range.start..range.end - self.range.start;
        add_to_tile(&mut self.tiles[number], self.sums.at(inside), values, most, scale, self.weight);
        Ok(())
    }
}

/// Adds `values` of magnitudes up to `most` to the sums of a tile.
fn add_to_tile<T: Number>(
    tile: &mut Tile,
    mut sums: Sums<'_>,
    values: &[T],
    most: f32,
    scale: f64,
    weight: u32,
) {
    let multiple = Multiple::new(scale, weight);
    let product_max = multiple.largest(most);
    tile.widen(product_max, &mut sums);
    let width = tile.width();
    if width == Width::Narrow {
        for (low, &value) in sums.low.iter_mut().zip(values) {
            *low = low.wrapping_add(multiple.lowest(value.number()));
        }
    } else if product_max <= i32::MAX as u64 {
        for (number, values) in values.chunks(COLUMNS).enumerate() {
            add_lowest(&mut sums, width, COLUMNS * number, values, &multiple);
        }
    } else if product_max < PRODUCT_MAX {
        for (position, &value) in values.iter().enumerate() {
            sums.add(|| width, position, multiple.product(value.number()));
        }
    } else {
        for (position, &value) in values.iter().enumerate() {
            sums.add(|| width, position, multiple.large(value.number()));
        }
    }
}

/// Adds at most [`COLUMNS`] products of 32 bits to the sums from `first` on: their lower parts side by side, and what is above where
/// one of these overflows.
fn add_lowest<T: Number>(sums: &mut Sums<'_>, width: Width, first: usize, values: &[T], multiple: &Multiple) {
    let (mut overflows, mut any) = ([0_i32; COLUMNS], 0);
    for ((low, &value), overflow) in sums.low[first..].iter_mut().zip(values).zip(&mut overflows) {
        let product = multiple.lowest(value.number());
        let before = *low;
        *low = before.wrapping_add(product);
        // Negative where both had one sign and their sum has the other.
        *overflow = (before ^ *low) & (product ^ *low);
        any |= *overflow;
    }
    if any < 0 {
        for position in (0..values.len()).filter(|&position| overflows[position] < 0) {
            // A sum that became negative was too large.
            let carry = if sums.low[first + position] < 0 { 1 } else { -1 };
            sums.carry(width, first + position, carry);
        }
    }
}

/// A value of a contribution.
pub trait Number: Copy {
    /// As it is added.
    fn number(self) -> f32;
}

impl Number for f32 {
    fn number(self) -> f32 {
        self
    }
}

/// Little-endian bytes of an f32, wherever they lie.
impl Number for [u8; 4] {
    fn number(self) -> f32 {
        f32::from_le_bytes(self)
    }
}
