//! Dense contributions: every value is there, so neighbouring ones are added together, and by as many threads as there are
//! parts.
//!
//! The sums are the same integers that [`Accumulator::add`] makes, only several at a time: a value becomes a whole number of
//! subticks and is multiplied by the weight in floating point, which is exact below 2^53, and turned into an integer by
//! adding 1.5 x 2^52, which every processor can do to several values at once (the conversion itself they often cannot).

use std::ops::Range;
use std::sync::Arc;

use super::tile::{self, Sums, Tile, Width, halves, joined};
use super::{Accumulator, SUBTICK_BITS, SUBTICKS_MAX, SumError, WEIGHT_TOTAL_MAX, rounded};
use crate::Grid;

/// Subticks per unit of each tensor: by them alone it can be told whether a value can be summed.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales(Arc<[f64]>);

/// Values side by side that are looked at together.
const COLUMNS: usize = 16;
/// Products up to this stay exact in floating point.
const PRODUCT_MAX: u64 = 1 << 51;
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
    let product_max = rounded(f64::from(most) * scale).unsigned_abs() * u64::from(weight);
    tile.widen(product_max, &mut sums);
    let Sums { low, middle, high } = sums;
    let multiple = Multiple::new(scale, weight);
    match tile.width() {
        Width::Narrow => {
            for (low, &value) in low.iter_mut().zip(values) {
                *low = low.wrapping_add(multiple.lowest(value.number()));
            }
        }
        Width::Middle => {
            for ((low, middle), &value) in low.iter_mut().zip(middle).zip(values) {
                let sum = joined(*low, (*middle).into()).wrapping_add(multiple.product(value.number()));
                let (lower, upper) = halves(sum);
                (*low, *middle) = (lower, upper as i8);
            }
        }
        Width::Wide if product_max < PRODUCT_MAX => {
            for ((low, high), &value) in low.iter_mut().zip(high).zip(values) {
                let sum = joined(*low, *high).wrapping_add(multiple.product(value.number()));
                (*low, *high) = halves(sum);
            }
        }
        Width::Wide => {
            for ((low, high), &value) in low.iter_mut().zip(high).zip(values) {
                let product = rounded(f64::from(value.number()) * scale).wrapping_mul(weight.into());
                (*low, *high) = halves(joined(*low, *high).wrapping_add(product));
            }
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

/// Products of magnitudes below [`PRODUCT_MAX`].
struct Multiple {
    scale: f64,
    weight: u32,
}

impl Multiple {
    /// Scales by a little more than asked for: in an f32 of at most 2^34 subticks that moves halves away from zero, which is where they are
    /// to be rounded, but nothing else past a half. (Neighbouring f32 differ by 2^-24 of their size or more, and 2^-36 of 2^34 is below
    /// one half.)
    fn new(scale: f64, weight: u32) -> Self {
        const NUDGE: f64 = 1.0 + 1.0 / (1_u64 << 36) as f64;
        Self { scale: scale * NUDGE, weight }
    }

    /// The product in whole subticks.
    fn product(&self, value: f32) -> i64 {
        let whole = (f64::from(value) * self.scale + UNITS) - UNITS;
        (whole * f64::from(self.weight) + UNITS).to_bits().wrapping_sub(UNITS.to_bits()) as i64
    }

    /// Its lower 32 bits, which are those of the product of both factors' lower bits. (The bits of [`UNITS`] below them are zero.)
    fn lowest(&self, value: f32) -> i32 {
        let whole = (f64::from(value) * self.scale + UNITS).to_bits();
        ((whole & u64::from(u32::MAX)) * u64::from(self.weight)) as i32
    }
}
