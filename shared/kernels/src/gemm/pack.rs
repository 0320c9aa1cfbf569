//! Weights in the order the product reads them.

use super::Right;
use crate::buffer::Buffer;
use crate::simd::{PAD, Simd, transpose4};
use crate::threads::{Output, Pass, Split};
use std::ops::Range;

/// A `k x n` matrix as the product reads it.
#[derive(Debug)]
pub(crate) struct Panels<'a> {
    data: Data<'a>,
    k: usize,
    n: usize,
}

#[derive(Debug)]
enum Data<'a> {
    /// Panels of one vector of columns: `[panel][k][LANES]`, the last panel padded with zeros.
    Packed(Buffer),
    /// Rows of whole vectors, where they lie.
    Rows(&'a [f32]),
}

impl<'a> Panels<'a> {
    /// For `weights` `[k, n]` row by row.
    pub(crate) fn rows(weights: &'a [f32], k: usize, n: usize) -> Self {
        if n.is_multiple_of(PAD) {
            assert_eq!(weights.len(), k * n, "weights are k x n");
            return Self { data: Data::Rows(weights), k, n };
        }
        Self::pack(weights, k, n, false)
    }

    /// For the transpose of `weights`, `[n, k]` row by row.
    pub(crate) fn transposed(weights: &[f32], k: usize, n: usize) -> Self {
        Self::pack(weights, k, n, true)
    }

    fn pack(weights: &[f32], k: usize, n: usize, transposed: bool) -> Self {
        assert_eq!(weights.len(), k * n, "weights are k x n");
        let mut data = Buffer::take(k * n.next_multiple_of(PAD));
        // Units are columns of the widest vector, whatever the instruction set, so that the split is the same.
        let split = Split::new(n.div_ceil(PAD), 1, k * PAD);
        let pass = Pack { weights, k, n, transposed, out: Output::new(&mut data) };
        // SAFETY: the pass covers n columns in units of PAD; out has room for all of them.
        unsafe { split.run(&pass) };
        Self { data: Data::Packed(data), k, n }
    }

    /// The right matrix for [`super::multiply`].
    #[inline(always)]
    pub(crate) fn right<S: Simd>(&self) -> Right {
        match &self.data {
            Data::Packed(data) => Right { data: data.as_ptr(), row: S::LANES, vector: self.k * S::LANES },
            Data::Rows(data) => Right { data: data.as_ptr(), row: self.n, vector: S::LANES },
        }
    }

    pub(crate) fn k(&self) -> usize {
        self.k
    }

    pub(crate) fn n(&self) -> usize {
        self.n
    }
}

struct Pack<'a> {
    weights: &'a [f32],
    k: usize,
    n: usize,
    transposed: bool,
    out: Output<'a>,
}

impl Pass for Pack<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _part: usize, units: Range<usize>) {
        let (k, n) = (self.k, self.n);
        for column in (units.start * PAD..units.end * PAD).step_by(S::LANES) {
            if column >= n {
                break;
            }
            let columns = (n - column).min(S::LANES);
            // SAFETY: panel `column / LANES` starts at column * k and holds k * LANES values of this part alone;
            // weights hold k x n values, of which rows < k and columns < n are read.
            unsafe {
                let panel = self.out.at(column * k);
                if self.transposed {
                    if columns < S::LANES {
                        panel.write_bytes(0, k * S::LANES);
                    }
                    let from = self.weights.as_ptr().add(column * k);
                    let (lanes, rows) = (columns / 4 * 4, k / 4 * 4);
                    for i in (0..rows).step_by(4) {
                        for lane in (0..lanes).step_by(4) {
                            transpose4(from.add(lane * k + i), k, panel.add(i * S::LANES + lane), S::LANES);
                        }
                    }
                    for lane in 0..columns {
                        for i in if lane < lanes { rows..k } else { 0..k } {
                            *panel.add(i * S::LANES + lane) = *from.add(lane * k + i);
                        }
                    }
                } else {
                    for i in 0..k {
                        let from = self.weights.as_ptr().add(i * n + column);
                        let vector = crate::simd::load::<S, true>(from, columns);
                        S::store(panel.add(i * S::LANES), vector);
                    }
                }
            }
        }
    }
}
