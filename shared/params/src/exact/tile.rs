//! Neighbouring sums of one tensor, which take 32 bits each as long as they cannot be larger, then 40, then 64.

use std::ops::Range;

use super::SumError;
use crate::Layout;

/// Sums of a tile; the last one of a tensor may have fewer. They fit into the nearest cache with the values that are added to them.
pub const TILE: usize = 4096;

/// A tile, apart from its sums.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tile {
    /// Flat index of its first sum.
    pub(super) first: usize,
    /// Number of its tensor.
    pub(super) tensor: usize,
    /// No sum can have a larger magnitude: of each contribution the largest product.
    bound: u64,
}

/// How many bits the sums of a tile take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Width {
    /// 32: the lower ones.
    Narrow,
    /// 40: and some.
    Middle,
    /// 64: and the higher ones, which the middle ones are among.
    Wide,
}

/// Sums in their parts, lower 32 bits first. Those above have a meaning where a tile is so wide; middle bits of wide sums are zero.
#[derive(Debug)]
pub(super) struct Sums<'a> {
    pub(super) low: &'a mut [i32],
    pub(super) middle: &'a mut [i8],
    pub(super) high: &'a mut [i32],
}

impl Tile {
    /// Those of a layout, in order.
    pub(super) fn all(layout: &Layout) -> Vec<Self> {
        let tensors = layout.tensors().iter().enumerate();
        let of_tensor = |(number, tensor): (usize, &crate::Tensor)| {
            let firsts = tensor.range().step_by(TILE);
            firsts.map(move |first| Self { first, tensor: number, bound: 0 })
        };
        tensors.flat_map(of_tensor).collect()
    }

    /// What of its sums counts.
    pub(super) fn width(&self) -> Width {
        match self.bound {
            bound if bound <= i32::MAX as u64 => Width::Narrow,
            bound if bound < 1 << 39 => Width::Middle,
            _ => Width::Wide,
        }
    }

    /// Prepares its `sums` for products of at most this magnitude.
    pub(super) fn widen(&mut self, product_max: u64, sums: &mut Sums<'_>) {
        let before = self.width();
        self.bound = self.bound.saturating_add(product_max);
        let Sums { low, middle, high } = sums;
        match (before, self.width()) {
            (Width::Narrow, Width::Middle) => {
                middle.iter_mut().zip(&**low).for_each(|(middle, &low)| *middle = (low >> 31) as i8);
            }
            (Width::Narrow, Width::Wide) => {
                high.iter_mut().zip(&**low).for_each(|(high, &low)| *high = low >> 31);
            }
            (Width::Middle, Width::Wide) => {
                high.iter_mut().zip(&**middle).for_each(|(high, &middle)| *high = middle.into());
                // Equal sums are equal however they came to be.
                middle.fill(0);
            }
            _ => {}
        }
    }
}

impl<'a> Sums<'a> {
    /// Divides them in front of the sum at `position`.
    pub(super) fn split_at(self, position: usize) -> (Self, Self) {
        let (low, low_behind) = self.low.split_at_mut(position);
        let (middle, middle_behind) = self.middle.split_at_mut(position);
        let (high, high_behind) = self.high.split_at_mut(position);
        (Self { low, middle, high }, Self { low: low_behind, middle: middle_behind, high: high_behind })
    }

    /// Those at `range`.
    pub(super) fn at(&mut self, range: Range<usize>) -> Sums<'_> {
        let (low, middle) = (&mut self.low[range.clone()], &mut self.middle[range.clone()]);
        Sums { low, middle, high: &mut self.high[range] }
    }

    /// Adds to the sum at `position`.
    pub(super) fn add(&mut self, width: Width, position: usize, product: i64) {
        let low = &mut self.low[position];
        match width {
            Width::Narrow => *low = low.wrapping_add(product as i32),
            Width::Middle => {
                let middle = &mut self.middle[position];
                let (lower, upper) = halves(joined(*low, (*middle).into()).wrapping_add(product));
                (*low, *middle) = (lower, upper as i8);
            }
            Width::Wide => {
                let high = &mut self.high[position];
                (*low, *high) = halves(joined(*low, *high).wrapping_add(product));
            }
        }
    }
}

/// A sum of its halves.
pub(super) fn joined(low: i32, high: i32) -> i64 {
    i64::from(high) << 32 | i64::from(low as u32)
}

/// The halves of a sum.
pub(super) fn halves(sum: i64) -> (i32, i32) {
    (sum as i32, (sum >> 32) as i32)
}

/// Number of the tile that has the sum with this flat index.
pub(super) fn of(tiles: &[Tile], index: usize) -> usize {
    tiles.partition_point(|tile| tile.first <= index).saturating_sub(1)
}

/// Flat indices of the sums of a tile; `end` is that of the last one's.
pub(super) fn range(tiles: &[Tile], number: usize, end: usize) -> Range<usize> {
    tiles[number].first..tiles.get(number + 1).map_or(end, |next| next.first)
}

/// Entries divided by tiles.
#[derive(Debug)]
pub(super) struct Runs<'a> {
    rest: &'a [(u32, f32)],
    tile: usize,
}

/// Number of a tile, and entries that belong to it.
type Run<'a> = (usize, &'a [(u32, f32)]);

impl<'a> Runs<'a> {
    pub(super) fn new(entries: &'a [(u32, f32)]) -> Self {
        Self { rest: entries, tile: 0 }
    }

    /// The next ones; fails at the first index that is outside the `len` values of the layout.
    pub(super) fn next(&mut self, tiles: &[Tile], len: usize) -> Result<Option<Run<'a>>, SumError> {
        let Some(&(index, _)) = self.rest.first() else { return Ok(None) };
        let index = index as usize;
        if index >= len {
            return Err(SumError::Index { index, len });
        }
        if index < tiles[self.tile].first {
            self.tile = 0;
        }
        while index >= range(tiles, self.tile, len).end {
            self.tile += 1;
        }
        let range = range(tiles, self.tile, len);
        let within = |entry: &(u32, f32)| range.contains(&(entry.0 as usize));
        let end = self.rest.iter().position(|entry| !within(entry)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(Some((self.tile, run)))
    }
}
