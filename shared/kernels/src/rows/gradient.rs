//! The gradient that enters a backward pass.

use super::source::Source;
use crate::activation::Bounds;
use crate::norm::NormMap;
use crate::simd::{self, Piece, Simd, padded, prefetch};
use std::ops::Range;

/// Rows ahead of the one being read whose cache lines are asked for.
const AHEAD: usize = 8;

/// The gradient with respect to a raw convolution output, made on load: `slope * g + curve * y + level` per channel
/// (see [`crate::norm::Pullback`]), `g` gated first where an activation followed.
#[derive(Clone, Copy)]
pub(crate) struct GradientSource<'a> {
    pub(crate) gradient: &'a [f32],
    /// None: the gradient is taken as it is.
    pub(crate) pullback: Option<PullbackView<'a>>,
}

/// Coefficients of [`GradientSource`], padded.
#[derive(Clone, Copy)]
pub(crate) struct PullbackView<'a> {
    /// The raw output `y`.
    pub(crate) raw: &'a [f32],
    pub(crate) slope: &'a [f32],
    pub(crate) curve: &'a [f32],
    pub(crate) level: &'a [f32],
    /// Pending map whose activation gates the gradient.
    pub(crate) gate: Option<&'a NormMap>,
}

impl GradientSource<'_> {
    /// Checks the sizes for `rows` of `columns` values.
    pub(crate) fn check(&self, rows: usize, columns: usize) {
        assert_eq!(self.gradient.len(), rows * columns, "gradient is rows x columns");
        if let Some(p) = &self.pullback {
            assert_eq!(p.raw.len(), rows * columns, "raw output is rows x columns");
            let width = padded(columns);
            assert!(
                p.slope.len() == width && p.curve.len() == width && p.level.len() == width,
                "padded coefficients"
            );
            assert!(p.gate.is_none_or(|map| map.channels() == columns), "the gate has the same channels");
        }
    }

    /// As [`Source::fill`].
    ///
    /// # Safety
    /// As for [`Source::fill`].
    #[inline(always)]
    pub(crate) unsafe fn fill<S: Simd>(&self, rows: Range<usize>, columns: usize, to: *mut f32) {
        // SAFETY: forwarded; the rows exist.
        unsafe {
            let Some(pullback) = self.pullback else {
                return Source::Plain(self.gradient).fill::<S>(rows, columns, to);
            };
            let gradient = self.gradient.as_ptr().add(rows.start * columns);
            let raw = pullback.raw.as_ptr().add(rows.start * columns);
            S::call(&Fill { pullback, rows: Rows { gradient, raw, count: rows.len(), columns, to } });
        }
    }
}

struct Fill<'a> {
    pullback: PullbackView<'a>,
    rows: Rows,
}

impl Piece for Fill<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self) {
        // SAFETY: made by `GradientSource::fill`, whose caller promises what it says.
        unsafe {
            match self.pullback.gate {
                None => self.pullback.all_columns::<S, false, false>(self.rows),
                Some(map) if map.activation.swish() => self.pullback.all_columns::<S, true, true>(self.rows),
                Some(_) => self.pullback.all_columns::<S, true, false>(self.rows),
            }
        }
    }
}

/// Rows of gradient and raw output, `columns` apart, on their way to rows `padded(columns)` apart.
#[derive(Clone, Copy)]
struct Rows {
    gradient: *const f32,
    raw: *const f32,
    count: usize,
    columns: usize,
    to: *mut f32,
}

impl PullbackView<'_> {
    /// # Safety
    /// As for [`Source::fill`].
    #[inline(always)]
    unsafe fn all_columns<S: Simd, const GATED: bool, const SWISH: bool>(&self, rows: Rows) {
        let mut c = 0;
        // SAFETY: forwarded; pairs of vectors, then single ones, the last one masked.
        unsafe {
            while S::SPECIAL && c + 2 * S::LANES <= rows.columns {
                self.columns::<S, GATED, SWISH, 2, false>(rows, c);
                c += 2 * S::LANES;
            }
            while S::SPECIAL && c + S::LANES <= rows.columns {
                self.columns::<S, GATED, SWISH, 1, false>(rows, c);
                c += S::LANES;
            }
            while c < padded(rows.columns) {
                self.columns::<S, GATED, SWISH, 1, true>(rows, c);
                c += S::LANES;
            }
        }
    }

    /// # Safety
    /// As for [`Source::fill`].
    #[inline(always)]
    unsafe fn columns<S: Simd, const GATED: bool, const SWISH: bool, const NV: usize, const EDGE: bool>(
        &self,
        Rows { gradient, raw, count, columns, to }: Rows,
        c: usize,
    ) {
        // SAFETY: columns c..c + NV * LANES of each row, masked at the edge; coefficients and `to` are padded.
        unsafe {
            let zero = [S::zero(); NV];
            let (mut slope, mut curve, mut level, mut scale, mut offset) = (zero, zero, zero, zero, zero);
            for v in 0..NV {
                let c = c + v * S::LANES;
                slope[v] = S::load(self.slope.as_ptr().add(c));
                curve[v] = S::load(self.curve.as_ptr().add(c));
                level[v] = S::load(self.level.as_ptr().add(c));
                if let Some(map) = self.gate {
                    scale[v] = S::load(map.scale.as_ptr().add(c));
                    offset[v] = S::load(map.offset.as_ptr().add(c));
                }
            }
            let bounds = Bounds::<S>::of(self.gate.map_or_else(Default::default, |map| map.activation));
            let stride = padded(columns);
            for r in 0..count {
                for v in 0..NV {
                    let place = r * columns + c + v * S::LANES;
                    let n = columns.saturating_sub(c + v * S::LANES);
                    prefetch(gradient.wrapping_add(place + AHEAD * columns));
                    prefetch(raw.wrapping_add(place + AHEAD * columns));
                    let y = simd::load::<S, EDGE>(raw.wrapping_add(place), n);
                    let mut g = simd::load::<S, EDGE>(gradient.wrapping_add(place), n);
                    if GATED {
                        g = bounds.gate::<SWISH>(S::fma(y, scale[v], offset[v]), g);
                    }
                    let value = S::fma(slope[v], g, S::fma(curve[v], y, level[v]));
                    S::store(to.add(r * stride + c + v * S::LANES), value);
                }
            }
        }
    }
}
