//! Where a block of rows comes from.

use super::pending::Pending;
use crate::Map;
use crate::simd::{Piece, Simd, padded};
use std::ops::Range;

/// The rows that enter a product.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// Values as they are.
    Plain(&'a [f32]),
    /// A raw convolution output with its pending map.
    Pending(Pending<'a>),
    /// The 3x3 neighbourhoods (stride 2, pad 1) of an image, `[ky][kx][channel]`.
    Patches(Patches<'a>),
}

/// See [`Source::Patches`].
#[derive(Clone, Copy)]
pub(crate) struct Patches<'a> {
    pub(crate) image: &'a [f32],
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
}

impl Source<'_> {
    /// Checks the sizes for `rows` of `columns` values.
    pub(crate) fn check(&self, rows: usize, columns: usize) {
        match self {
            Self::Plain(values) => assert_eq!(values.len(), rows * columns, "values are rows x columns"),
            Self::Pending(pending) => pending.check(rows, columns),
            Self::Patches(p) => {
                let images = rows / (p.out_height * p.out_width);
                assert_eq!(
                    p.image.len(),
                    images * p.height * p.width * p.channels,
                    "the image fits the rows"
                );
                assert!(
                    p.out_height == p.height.div_ceil(2) && p.out_width == p.width.div_ceil(2),
                    "stride 2, pad 1"
                );
                assert_eq!(columns, 9 * p.channels, "3x3 patches");
            }
        }
    }

    /// Whether the rows lie in memory as the product wants them (then there is nothing to fill).
    #[inline(always)]
    pub(crate) fn plain(&self) -> Option<*const f32> {
        match self {
            Self::Plain(values) => Some(values.as_ptr()),
            _ => None,
        }
    }

    /// Writes `rows` of `columns` values to `to`, rows `padded(columns)` apart, the padding zero.
    ///
    /// # Safety
    /// As for [`Simd`]; the rows exist, `to` has room, coefficients are padded.
    #[inline(always)]
    pub(crate) unsafe fn fill<S: Simd>(&self, rows: Range<usize>, columns: usize, to: *mut f32) {
        // SAFETY: forwarded.
        unsafe { S::call(&Fill { source: *self, start: rows.start, count: rows.len(), columns, to }) }
    }
}

struct Fill<'a> {
    source: Source<'a>,
    start: usize,
    count: usize,
    columns: usize,
    to: *mut f32,
}

impl Piece for Fill<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self) {
        let (rows, columns, to) = (self.start..self.start + self.count, self.columns, self.to);
        // SAFETY: made by `Source::fill`, whose caller promises what it says.
        unsafe {
            match self.source {
                Source::Plain(values) => {
                    let stride = padded(columns);
                    for (i, row) in rows.enumerate() {
                        let to = to.add(i * stride);
                        std::ptr::copy_nonoverlapping(values.as_ptr().add(row * columns), to, columns);
                        to.add(columns).write_bytes(0, stride - columns);
                    }
                }
                Source::Pending(pending) => pending.fill::<S>(rows, columns, to),
                Source::Patches(patches) => patches.fill(rows, to),
            }
        }
    }
}

impl<'a> Patches<'a> {
    /// Those of `image`, `[batch, height, width, channels]`.
    pub(crate) fn new(map: Map, image: &'a [f32]) -> Self {
        let out = map.strided(2);
        Self {
            image,
            height: map.height,
            width: map.width,
            channels: image.len() / map.pixels(),
            out_height: out.height,
            out_width: out.width,
        }
    }
}

impl Patches<'_> {
    /// # Safety
    /// As for [`Source::fill`].
    #[inline(always)]
    unsafe fn fill(&self, rows: Range<usize>, to: *mut f32) {
        // SAFETY: forwarded.
        unsafe {
            match self.channels {
                3 => self.fill_lines::<9>(rows, to),
                _ => self.fill_lines::<0>(rows, to),
            }
        }
    }

    /// `LINE`: the values of three neighbouring pixels, if known when compiled (a copy of unknown length is a call), else 0.
    ///
    /// # Safety
    /// As for [`Source::fill`].
    #[inline(always)]
    unsafe fn fill_lines<const LINE: usize>(&self, rows: Range<usize>, to: *mut f32) {
        let c = if LINE > 0 { LINE / 3 } else { self.channels };
        let stride = padded(9 * c);
        let (mut line, mut ox) = (rows.start / self.out_width, rows.start % self.out_width);
        let (mut n, mut oy) = (line / self.out_height, line % self.out_height);
        for i in 0..rows.len() {
            if ox == self.out_width {
                (line, ox) = (line + 1, 0);
                (n, oy) = (line / self.out_height, line % self.out_height);
            }
            let left = usize::from(ox == 0);
            let right = 3.min(self.width + 1 - 2 * ox);
            for ky in 0..3 {
                let iy = 2 * oy + ky;
                // SAFETY: the row exists; `1 <= iy <= height` and `left <= kx < right` keep the read inside the
                // image (coordinates are shifted by the padding of one), writes stay inside the row of scratch.
                unsafe {
                    let to = to.add(i * stride + ky * 3 * c);
                    if iy < 1 || iy > self.height {
                        to.write_bytes(0, 3 * c);
                        continue;
                    }
                    let line = (n * self.height + iy - 1) * self.width;
                    if LINE > 0 && left == 0 && right == 3 {
                        let from = self.image.as_ptr().add((line + 2 * ox - 1) * c);
                        to.cast::<[f32; LINE]>().write(from.cast::<[f32; LINE]>().read());
                        continue;
                    }
                    let from = self.image.as_ptr().add((line + 2 * ox + left - 1) * c);
                    to.write_bytes(0, left * c);
                    for j in 0..(right - left) * c {
                        *to.add(left * c + j) = *from.add(j);
                    }
                    to.add(right * c).write_bytes(0, (3 - right) * c);
                }
            }
            for pad in 9 * c..stride {
                // SAFETY: the padding of the row.
                unsafe { *to.add(i * stride + pad) = 0.0 };
            }
            ox += 1;
        }
    }
}
