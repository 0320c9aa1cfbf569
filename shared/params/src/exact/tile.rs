//! Neighbouring sums of one tensor, which take 32 bits each as long as they cannot be larger, then 40, then 64.
//!
//! A sum is `upper * 2^32 + lower` with a signed lower part. So a sum near zero has nothing above, on either side of it: widening
//! changes no sum, and adding touches what is above only where a lower part overflows, which is rare.

use std::ops::Range;

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
    /// 64: and the higher ones instead of the middle ones, which are zero again.
    Wide,
}

/// Largest magnitude of which the upper part, rounded, fits into 8 bits.
const MIDDLE_MAX: u64 = (1 << 39) - (1 << 31) - 1;

/// Sums in their parts, lower 32 bits first. Those above that a tile does not use are zero.
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
            bound if bound <= MIDDLE_MAX => Width::Middle,
            _ => Width::Wide,
        }
    }

    /// Prepares its `sums` for products of at most this magnitude.
    pub(super) fn widen(&mut self, product_max: u64, sums: &mut Sums<'_>) {
        let before = self.width();
        self.bound = self.bound.saturating_add(product_max);
        if before == Width::Middle && self.width() == Width::Wide {
            let Sums { middle, high, .. } = sums;
            high.iter_mut().zip(&**middle).for_each(|(high, &middle)| *high = middle.into());
            // Equal sums are equal however they came to be.
            middle.fill(0);
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

    /// Adds to the sum at `position`, which seldom needs to know how wide it is.
    #[inline]
    pub(super) fn add(&mut self, width: impl FnOnce() -> Width, position: usize, product: i64) {
        let low = &mut self.low[position];
        let carry;
        (*low, carry) = halves(i64::from(*low) + product);
        if carry != 0 {
            self.carry(width(), position, carry);
        }
    }

    /// Adds to what is above the sum at `position`.
    #[cold]
    pub(super) fn carry(&mut self, width: Width, position: usize, carry: i32) {
        match width {
            Width::Narrow => debug_assert!(false, "a narrow sum has no upper part"),
            Width::Middle => self.middle[position] = self.middle[position].wrapping_add(carry as i8),
            Width::Wide => self.high[position] = self.high[position].wrapping_add(carry),
        }
    }
}

/// A sum of its lower and upper part.
pub(super) fn joined(low: i32, upper: i32) -> i64 {
    (i64::from(upper) << 32) + i64::from(low)
}

/// The lower and the upper part of a sum.
pub(super) fn halves(sum: i64) -> (i32, i32) {
    let low = sum as i32;
    (low, ((sum - i64::from(low)) >> 32) as i32)
}

/// Number of the tile that has the sum with this flat index.
pub(super) fn of(tiles: &[Tile], index: usize) -> usize {
    tiles.partition_point(|tile| tile.first <= index).saturating_sub(1)
}

/// Flat indices of the sums of a tile; `end` is that of the last one's.
pub(super) fn range(tiles: &[Tile], number: usize, end: usize) -> Range<usize> {
    tiles[number].first..tiles.get(number + 1).map_or(end, |next| next.first)
}
