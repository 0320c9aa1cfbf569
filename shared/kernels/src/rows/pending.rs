//! A raw convolution output and all that is still to be done to it, done while it is loaded.

use crate::activation::{Activation, Bounds};
use crate::simd::{self, Simd, padded, prefetch};
use std::ops::Range;

/// Rows ahead of the one being read whose cache lines are asked for.
const AHEAD: usize = 8;

/// `activation(scale * raw + offset)` per channel, times a factor of the image if there are any.
#[derive(Clone, Copy)]
pub(crate) struct Pending<'a> {
    pub(crate) raw: &'a [f32],
    /// Padded.
    pub(crate) scale: &'a [f32],
    /// Padded.
    pub(crate) offset: &'a [f32],
    pub(crate) activation: Activation,
    pub(crate) factors: Option<Factors<'a>>,
}

/// A factor per image and channel.
#[derive(Clone, Copy)]
pub(crate) struct Factors<'a> {
    /// `[images, padded channels]`.
    pub(crate) values: &'a [f32],
    /// Rows of an image.
    pub(crate) pixels: usize,
}

impl Pending<'_> {
    /// Checks the sizes for `rows` of `columns` values.
    pub(crate) fn check(&self, rows: usize, columns: usize) {
        let width = padded(columns);
        assert_eq!(self.raw.len(), rows * columns, "raw values are rows x columns");
        assert!(self.scale.len() == width && self.offset.len() == width, "padded coefficients");
        if let Some(factors) = &self.factors {
            assert_eq!(factors.values.len() * factors.pixels, rows * width, "padded factors of each image");
        }
    }

    /// As [`super::source::Source::fill`].
    ///
    /// # Safety
    /// As for [`super::source::Source::fill`].
    #[inline(always)]
    pub(crate) unsafe fn fill<S: Simd>(&self, rows: Range<usize>, columns: usize, to: *mut f32) {
        let stride = padded(columns);
        // SAFETY: forwarded; images are whole, so the factors of each row's exist.
        unsafe {
            let Some(factors) = &self.factors else {
                return self.fill_image::<S, false>(rows, columns, std::ptr::null(), to);
            };
            let mut start = rows.start;
            while start < rows.end {
                let image = start / factors.pixels;
                let end = rows.end.min((image + 1) * factors.pixels);
                let factors = factors.values.as_ptr().add(image * stride);
                let to = to.add((start - rows.start) * stride);
                self.fill_image::<S, true>(start..end, columns, factors, to);
                start = end;
            }
        }
    }

    /// Rows that have the same factors, if `SCALED`.
    ///
    /// # Safety
    /// As for [`Pending::fill`].
    #[inline(always)]
    unsafe fn fill_image<S: Simd, const SCALED: bool>(
        &self,
        rows: Range<usize>,
        columns: usize,
        factors: *const f32,
        to: *mut f32,
    ) {
        // SAFETY: forwarded.
        unsafe {
            let from = self.raw.as_ptr().add(rows.start * columns);
            let rows = Rows { from, count: rows.len(), columns, factors, to };
            if self.activation.swish() {
                self.normalise::<S, SCALED, true>(rows);
            } else {
                self.normalise::<S, SCALED, false>(rows);
            }
        }
    }

    /// # Safety
    /// As for [`Pending::fill`].
    #[inline(always)]
    unsafe fn normalise<S: Simd, const SCALED: bool, const SWISH: bool>(&self, rows: Rows) {
        let mut c = 0;
        // SAFETY: forwarded; whole groups of four vectors, then single ones, the last one masked.
        unsafe {
            while S::SPECIAL && c + 4 * S::LANES <= rows.columns {
                self.columns::<S, SCALED, SWISH, 4, false>(rows, c);
                c += 4 * S::LANES;
            }
            while S::SPECIAL && c + S::LANES <= rows.columns {
                self.columns::<S, SCALED, SWISH, 1, false>(rows, c);
                c += S::LANES;
            }
            while c < padded(rows.columns) {
                self.columns::<S, SCALED, SWISH, 1, true>(rows, c);
                c += S::LANES;
            }
        }
    }

    /// # Safety
    /// As for [`Pending::fill`].
    #[inline(always)]
    unsafe fn columns<S: Simd, const SCALED: bool, const SWISH: bool, const NV: usize, const EDGE: bool>(
        &self,
        Rows { from, count, columns, factors, to }: Rows,
        c: usize,
    ) {
        // SAFETY: columns c..c + NV * LANES of each row, masked at the edge; coefficients and `to` are padded.
        unsafe {
            let bounds = Bounds::<S>::of(self.activation);
            let (mut a, mut b, mut f) = ([S::zero(); NV], [S::zero(); NV], [S::zero(); NV]);
            for v in 0..NV {
                a[v] = S::load(self.scale.as_ptr().add(c + v * S::LANES));
                b[v] = S::load(self.offset.as_ptr().add(c + v * S::LANES));
                if SCALED {
                    f[v] = S::load(factors.add(c + v * S::LANES));
                }
            }
            let stride = padded(columns);
            for r in 0..count {
                // In the padding of the last row this lies past the end, and nothing is read.
                let from = from.wrapping_add(r * columns + c);
                let to = to.add(r * stride + c);
                for v in 0..NV {
                    prefetch(from.wrapping_add(AHEAD * columns + v * S::LANES));
                    let n = columns.saturating_sub(c + v * S::LANES);
                    let value = simd::load::<S, EDGE>(from.wrapping_add(v * S::LANES), n);
                    let mut value = bounds.apply::<SWISH>(S::fma(value, a[v], b[v]));
                    if SCALED {
                        value = S::mul(value, f[v]);
                    }
                    S::store(to.add(v * S::LANES), value);
                }
            }
        }
    }
}

/// Rows of raw values, `columns` apart, on their way to rows `padded(columns)` apart.
#[derive(Clone, Copy)]
struct Rows {
    from: *const f32,
    count: usize,
    columns: usize,
    factors: *const f32,
    to: *mut f32,
}
