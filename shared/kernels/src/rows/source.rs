//! Where a block of rows comes from.

use crate::Map;
use crate::simd::{self, Simd, padded, prefetch};
use std::ops::Range;

/// Rows ahead of the one being read whose cache lines are asked for.
const AHEAD: usize = 8;

/// The rows that enter a product.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// Values as they are.
    Plain(&'a [f32]),
    /// `relu6(scale * raw + offset)` per channel: a raw convolution output with its pending map.
    Normalised { raw: &'a [f32], scale: &'a [f32], offset: &'a [f32] },
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
        unsafe {
            match *self {
                Self::Plain(values) => {
                    let stride = padded(columns);
                    for (i, row) in rows.enumerate() {
                        let to = to.add(i * stride);
                        std::ptr::copy_nonoverlapping(values.as_ptr().add(row * columns), to, columns);
                        to.add(columns).write_bytes(0, stride - columns);
                    }
                }
                Self::Normalised { raw, scale, offset } => {
                    let from = raw.as_ptr().add(rows.start * columns);
                    normalise::<S>(from, rows.len(), columns, scale.as_ptr(), offset.as_ptr(), to);
                }
                Self::Patches(patches) => patches.fill(rows, to),
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

/// `to = relu6(scale * from + offset)` for rows `columns` apart in `from`, `padded(columns)` apart in `to`.
///
/// # Safety
/// As for [`Source::fill`].
#[inline(always)]
pub(crate) unsafe fn normalise<S: Simd>(
    from: *const f32,
    rows: usize,
    columns: usize,
    scale: *const f32,
    offset: *const f32,
    to: *mut f32,
) {
    let mut c = 0;
    // SAFETY: forwarded; whole groups of four vectors, then single ones, the last one masked.
    unsafe {
        while c + 4 * S::LANES <= columns {
            normalise_columns::<S, 4, false>(from, rows, columns, c, scale, offset, to);
            c += 4 * S::LANES;
        }
        while c + S::LANES <= columns {
            normalise_columns::<S, 1, false>(from, rows, columns, c, scale, offset, to);
            c += S::LANES;
        }
        while c < padded(columns) {
            normalise_columns::<S, 1, true>(from, rows, columns, c, scale, offset, to);
            c += S::LANES;
        }
    }
}

/// # Safety
/// As for [`normalise`].
#[inline(always)]
unsafe fn normalise_columns<S: Simd, const NV: usize, const EDGE: bool>(
    from: *const f32,
    rows: usize,
    columns: usize,
    c: usize,
    scale: *const f32,
    offset: *const f32,
    to: *mut f32,
) {
    // SAFETY: columns c..c + NV * LANES of each row, masked at the edge; coefficients and `to` are padded.
    unsafe {
        let (mut a, mut b) = ([S::zero(); NV], [S::zero(); NV]);
        for v in 0..NV {
            a[v] = S::load(scale.add(c + v * S::LANES));
            b[v] = S::load(offset.add(c + v * S::LANES));
        }
        let stride = padded(columns);
        for r in 0..rows {
            let from = from.add(r * columns + c);
            let to = to.add(r * stride + c);
            for v in 0..NV {
                prefetch(from.wrapping_add(AHEAD * columns + v * S::LANES));
                let n = columns.saturating_sub(c + v * S::LANES);
                let value = simd::load::<S, EDGE>(from.wrapping_add(v * S::LANES), n);
                S::store(to.add(v * S::LANES), S::relu6(S::fma(value, a[v], b[v])));
            }
        }
    }
}

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
    /// Pending map whose ReLU6 gates the gradient.
    pub(crate) gate: Option<(&'a [f32], &'a [f32])>,
}

impl GradientSource<'_> {
    /// As [`Source::fill`].
    ///
    /// # Safety
    /// As for [`Source::fill`].
    #[inline(always)]
    pub(crate) unsafe fn fill<S: Simd>(&self, rows: Range<usize>, columns: usize, to: *mut f32) {
        // SAFETY: forwarded.
        unsafe {
            let Some(pullback) = &self.pullback else {
                return Source::Plain(self.gradient).fill::<S>(rows, columns, to);
            };
            let from = self.gradient.as_ptr().add(rows.start * columns);
            let raw = pullback.raw.as_ptr().add(rows.start * columns);
            let mut c = 0;
            while c + 2 * S::LANES <= columns {
                pullback.columns::<S, 2, false>(from, raw, rows.len(), columns, c, to);
                c += 2 * S::LANES;
            }
            while c + S::LANES <= columns {
                pullback.columns::<S, 1, false>(from, raw, rows.len(), columns, c, to);
                c += S::LANES;
            }
            while c < padded(columns) {
                pullback.columns::<S, 1, true>(from, raw, rows.len(), columns, c, to);
                c += S::LANES;
            }
        }
    }
}

impl PullbackView<'_> {
    /// # Safety
    /// As for [`Source::fill`].
    #[inline(always)]
    unsafe fn columns<S: Simd, const NV: usize, const EDGE: bool>(
        &self,
        gradient: *const f32,
        raw: *const f32,
        rows: usize,
        columns: usize,
        c: usize,
        to: *mut f32,
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
                if let Some((a, b)) = self.gate {
                    scale[v] = S::load(a.as_ptr().add(c));
                    offset[v] = S::load(b.as_ptr().add(c));
                }
            }
            let stride = padded(columns);
            let gated = self.gate.is_some();
            for r in 0..rows {
                for v in 0..NV {
                    let place = r * columns + c + v * S::LANES;
                    let n = columns.saturating_sub(c + v * S::LANES);
                    prefetch(gradient.wrapping_add(place + AHEAD * columns));
                    prefetch(raw.wrapping_add(place + AHEAD * columns));
                    let y = simd::load::<S, EDGE>(raw.wrapping_add(place), n);
                    let mut g = simd::load::<S, EDGE>(gradient.wrapping_add(place), n);
                    if gated {
                        g = S::gate6(S::fma(y, scale[v], offset[v]), g);
                    }
                    let value = S::fma(slope[v], g, S::fma(curve[v], y, level[v]));
                    S::store(to.add(r * stride + c + v * S::LANES), value);
                }
            }
        }
    }
}
