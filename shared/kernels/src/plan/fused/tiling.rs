//! How a map is cut into stripes, and what scratch a part needs for the highest of them.

use super::{Enter, Fused};
use crate::Map;
use crate::gemm::TILE_ROWS_MAX;
use crate::rows::block_rows;
use crate::simd::padded;
use crate::unless_interpreted;

/// Values of hidden maps per part: 512 KiB, half of a second-level cache of 1 MiB.
const STRIPE_VALUES: usize = unless_interpreted(128 * 1024, 2048);

/// How a map is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiling {
    /// Stripes of an image; 1: images come in groups.
    pub(super) stripes: usize,
    /// Images in a group.
    pub(super) group: usize,
    /// Stripes, or images.
    pub(super) units: usize,
    /// Values of a row of the hidden map with its border.
    pub(super) row: usize,
    /// Output rows of the highest stripe.
    rows_max: usize,
    /// Input rows of the highest stripe.
    pub(super) taps_max: usize,
}

impl Tiling {
    /// For `fused` with a hidden map of `map`.
    pub(super) fn new(map: Map, fused: &Fused, threads: usize) -> Self {
        let (side, stride, width) = (fused.side, fused.stride, padded(fused.hidden));
        let to = map.strided(stride);
        let row = (map.width + side - 1) * width;
        let taps = |rows: usize| (rows - 1) * stride + side;
        let values = |rows: usize| taps(rows) * row + rows * to.width * width;
        let mut stripes = 1;
        while stripes < to.height && values(to.height.div_ceil(stripes)) > STRIPE_VALUES {
            stripes += 1;
        }
        // Few and unequal shares make threads wait for each other.
        while stripes < to.height
            && map.batch * stripes < 6 * threads
            && !(map.batch * stripes).is_multiple_of(threads)
        {
            stripes += 1;
        }
        let rows_max = to.height.div_ceil(stripes);
        let group = if stripes == 1 { (STRIPE_VALUES / values(rows_max)).clamp(1, map.batch) } else { 1 };
        Self { stripes, group, units: map.batch * stripes, row, rows_max, taps_max: taps(rows_max) }
    }

    pub(super) fn scratch(&self, fused: &Fused) -> Scratch {
        let width = padded(fused.hidden);
        let pixels = (self.row / width - (fused.side - 1)).div_ceil(fused.stride);
        Scratch {
            spare: TILE_ROWS_MAX * fused.taken().max(fused.hidden),
            patches: match &fused.enter {
                Enter::Stem(stem) => block_rows(stem.panels.k()) * padded(stem.panels.k()),
                Enter::Plain | Enter::Expand(_) => 0,
            },
            hidden: self.group * self.taps_max * self.row,
            rows: self.group * self.rows_max * pixels * width,
            places: self.group * self.taps_max * (self.row / width),
        }
    }
}

/// Values of each kind of a part's scratch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scratch {
    pub(super) spare: usize,
    pub(super) patches: usize,
    pub(super) hidden: usize,
    pub(super) rows: usize,
    pub(super) places: usize,
}

impl Scratch {
    pub(super) fn total(self) -> usize {
        self.spare + self.patches + self.hidden + self.rows
    }
}
