//! Sparse contributions: most of the sums they are added to are in none of the nearer caches, so whatever can be done beforehand is,
//! and the processor waits for many sums at a time.

use std::ops::Range;

use super::product::{Multiple, PRODUCT_MAX};
use super::tile::{self, Sums, Tile};
use super::{Accumulator, SumError};

/// Entries of which the products are made ready together.
const READY: usize = 64;

/// Neighbouring entries that belong to one tile.
#[derive(Clone, Debug)]
struct Run {
    /// Number of the tile.
    tile: usize,
    /// Number of its tensor.
    tensor: usize,
    /// Which entries.
    range: Range<usize>,
    /// The bits of the largest magnitude of a value. They are in the order of magnitudes, with those that are not finite above.
    most: u32,
}

impl Accumulator {
    /// Adds one contribution: `(index, value)` pairs in increasing order of index, values absent meaning zero.
    ///
    /// # Errors
    /// Leaves the sum untouched when an index, a value or the weight is out of bounds.
    pub fn add(&mut self, entries: &[(u32, f32)], weight: u32) -> Result<(), SumError> {
        let total = self.total_with(weight)?;
        let runs = divide(entries, &self.tiles, self.layout.len())?;
        for run in &runs {
            let most = self.scales.largest(run.tensor);
            let unfit = |entry: &&(u32, f32)| entry.1.abs().to_bits() > most.to_bits();
            if run.most > most.to_bits()
                && let Some((index, value)) = entries[run.range.clone()].iter().find(unfit)
            {
                return Err(SumError::Value { index: *index as usize, value: value.to_string() });
            }
        }
        for runs in runs.chunk_by(|one, next| one.tensor == next.tensor) {
            self.add_to_tensor(entries, runs, weight);
        }
        self.weight = total;
        Ok(())
    }

    /// Adds the entries of runs that are of one tensor.
    fn add_to_tensor(&mut self, entries: &[(u32, f32)], runs: &[Run], weight: u32) {
        let (first, last) = (&runs[0], &runs[runs.len() - 1]);
        let multiple = Multiple::new(self.scales.of_tensor(first.tensor), weight);
        let mut sums = Sums { low: &mut self.low, middle: &mut self.middle, high: &mut self.high };
        let mut product_max = 0;
        for run in runs {
            let most = multiple.largest(f32::from_bits(run.most));
            let range = tile::range(&self.tiles, run.tile, self.layout.len());
            self.tiles[run.tile].widen(most, &mut sums.at(range));
            product_max = product_max.max(most);
        }
        let mut products = [0; READY];
        for entries in entries[first.range.start..last.range.end].chunks(READY) {
            let ready = entries.iter().zip(&mut products);
            if product_max < PRODUCT_MAX {
                ready.for_each(|(entry, product)| *product = multiple.product(entry.1));
            } else {
                ready.for_each(|(entry, product)| *product = multiple.large(entry.1));
            }
            for (&(index, _), &product) in entries.iter().zip(&products) {
                let width = || self.tiles[tile::of(&self.tiles, index as usize)].width();
                sums.add(width, index as usize, product);
            }
        }
    }
}

/// Divides entries by tiles; fails at the first index that is outside the `len` values of the layout.
fn divide(entries: &[(u32, f32)], tiles: &[Tile], len: usize) -> Result<Vec<Run>, SumError> {
    let mut runs = Vec::with_capacity(entries.len().min(tiles.len()));
    let mut tile = 0;
    let mut start = 0;
    while let Some(&(index, _)) = entries.get(start) {
        let index = index as usize;
        if index >= len {
            return Err(SumError::Index { index, len });
        }
        if index < tiles[tile].first {
            tile = 0;
        }
        while index >= tile::range(tiles, tile, len).end {
            tile += 1;
        }
        let inside = tile::range(tiles, tile, len);
        let (mut end, mut most) = (start, 0);
        for &(index, value) in &entries[start..] {
            if (index as usize).wrapping_sub(inside.start) >= inside.len() {
                break;
            }
            most = most.max(value.abs().to_bits());
            end += 1;
        }
        runs.push(Run { tile, tensor: tiles[tile].tensor, range: start..end, most });
        start = end;
    }
    Ok(runs)
}
