//! Depthwise forward, with the statistics of the result or its final form.

use super::{Form, Geometry, SIDE_MAX, Tags, clear_ring, pad_kernel};
use crate::buffer::Buffer;
use crate::rows::source::Source;
use crate::simd::{self, Simd, padded, prefetch};
use crate::sums::{BLOCK_PIXELS, Slot, Sums, SumsView};
use crate::threads::{Output, Pass, Split};
use std::ops::Range;

/// Convolves `source` into `out`, raw, writing every value; returns the moments of the result when asked.
pub(crate) fn convolve(
    geometry: Geometry,
    source: Source<'_>,
    kernel: &[f32],
    moments: bool,
    out: Output<'_>,
) -> Option<Sums> {
    let channels = geometry.channels;
    let side = geometry.side;
    assert!(side <= SIDE_MAX, "kernels have up to {SIDE_MAX} rows, found {side}");
    assert_eq!(out.len(), geometry.out_rows() * channels, "output fits the geometry");
    assert!(!matches!(source, Source::Patches(_)), "patches feed the stem alone");
    source.check(geometry.rows(), channels);
    let kernel = pad_kernel(kernel, side, channels);
    let units = geometry.batch * geometry.out_height();
    let split = Split::new(units, 1, side * side * geometry.out_width() * channels);
    let mut sums = moments.then(|| Sums::new(channels, 2, split.parts()));
    let ring_row = geometry.ring_row(geometry.width);
    let mut ring = Buffer::take(split.parts() * (side + 1) * ring_row);
    let pass = Convolve {
        geometry,
        source,
        kernel: &kernel,
        out,
        sums: sums.as_mut().map(Sums::view),
        ring: Output::new(&mut ring),
        ring_row,
    };
    // SAFETY: the sizes were checked above; every part has its own ring and sums and writes its own rows.
    unsafe { split.run(&pass) };
    sums
}

struct Convolve<'a> {
    geometry: Geometry,
    source: Source<'a>,
    kernel: &'a [f32],
    out: Output<'a>,
    sums: Option<SumsView<'a>>,
    ring: Output<'a>,
    ring_row: usize,
}

impl Pass for Convolve<'_> {
    /// Output rows `units` (over all images).
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, part: usize, units: Range<usize>) {
        // SAFETY: forwarded.
        unsafe {
            match (self.geometry.side, self.geometry.stride) {
                (3, 1) if S::SPECIAL => self.rows::<S, 3, 1>(part, units),
                (3, 2) if S::SPECIAL => self.rows::<S, 3, 2>(part, units),
                _ => self.rows::<S, 0, 0>(part, units),
            }
        }
    }
}

impl Convolve<'_> {
    /// # Safety
    /// As for [`Pass::run`]; the form is that of the geometry.
    #[inline(always)]
    unsafe fn rows<S: Simd, const K: usize, const STRIDE: usize>(&self, part: usize, units: Range<usize>) {
        let g = &self.geometry;
        let (side, stride) = Form::<K, STRIDE>::of(g.side, g.stride);
        let (width, height, channels) = (g.width, g.height, g.channels);
        let (out_height, out_width) = (g.out_height(), g.out_width());
        // SAFETY: `convolve` checked the sizes; ring rows are inside the part's ring, output rows are its own.
        unsafe {
            let ring = self.ring.at(part * (side + 1) * self.ring_row);
            clear_ring(ring, side, self.ring_row, width, channels);
            let zeros = ring.add(side * self.ring_row).cast_const();
            let mut tags = Tags::new();
            let slot = self.sums.map(|sums| sums.part(part));
            let mut pixels = 0;
            for unit in units {
                let (n, oy) = (unit / out_height, unit % out_height);
                let mut taps = [zeros; SIDE_MAX];
                for (ky, tap) in taps.iter_mut().enumerate().take(side) {
                    let iy = oy * stride + ky;
                    if iy < side / 2 || iy >= height + side / 2 {
                        continue;
                    }
                    let iy = iy - side / 2;
                    let (row, slot) = (n * height + iy, iy % side);
                    let place = ring.add(slot * self.ring_row);
                    if tags.claim(slot, row) {
                        let from = row * width;
                        let to = place.add(side / 2 * padded(channels));
                        self.source.fill::<S>(from..from + width, channels, to);
                    }
                    *tap = place.cast_const();
                }
                let row =
                    Row { taps, out: self.out.at(unit * out_width * channels), slot, begins: pixels == 0 };
                let mut ox = 0;
                while ox + 4 <= out_width {
                    self.pixels::<S, K, STRIDE, 4>(&row, ox);
                    ox += 4;
                }
                if Form::<K, STRIDE>::THREES && out_width - ox == 3 {
                    self.pixels::<S, K, STRIDE, 3>(&row, ox);
                    ox += 3;
                }
                while ox + 2 <= out_width {
                    self.pixels::<S, K, STRIDE, 2>(&row, ox);
                    ox += 2;
                }
                if ox < out_width {
                    self.pixels::<S, K, STRIDE, 1>(&row, ox);
                }
                let whole = channels / S::LANES * S::LANES;
                if !Form::<K, STRIDE>::READ && whole < channels {
                    for ox in 0..out_width {
                        self.vectors::<S, K, STRIDE, 1, true>(&row, ox, whole);
                    }
                }
                pixels += out_width;
                if pixels >= BLOCK_PIXELS {
                    fold(slot, pixels, channels);
                    pixels = 0;
                }
            }
            if pixels > 0 {
                fold(slot, pixels, channels);
            }
        }
    }

    /// `P` output pixels from `ox` on, all channels; in forms known when compiled, all whole vectors of channels.
    ///
    /// # Safety
    /// As for [`Convolve::rows`]; the pixels exist.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const K: usize, const STRIDE: usize, const P: usize>(
        &self,
        row: &Row,
        ox: usize,
    ) {
        let channels = self.geometry.channels;
        let mut c = 0;
        // SAFETY: forwarded; the last vector is masked.
        unsafe {
            if Form::<K, STRIDE>::READ {
                while c < channels {
                    self.vectors::<S, K, STRIDE, P, true>(row, ox, c);
                    c += S::LANES;
                }
            } else {
                while c + S::LANES <= channels {
                    self.vectors::<S, K, STRIDE, P, false>(row, ox, c);
                    c += S::LANES;
                }
            }
        }
    }

    /// # Safety
    /// As for [`Convolve::pixels`].
    #[inline(always)]
    unsafe fn vectors<S: Simd, const K: usize, const STRIDE: usize, const P: usize, const EDGE: bool>(
        &self,
        row: &Row,
        ox: usize,
        c: usize,
    ) {
        let (side, stride) = Form::<K, STRIDE>::of(self.geometry.side, self.geometry.stride);
        let channels = self.geometry.channels;
        let pixel = padded(channels);
        // SAFETY: taps are ring rows with pixels of zeros left and right; kernel and ring are padded.
        unsafe {
            let mut acc = [S::zero(); P];
            for (ky, tap) in row.taps.iter().enumerate().take(side) {
                let from = tap.add(ox * stride * pixel + c);
                let kernel = self.kernel.as_ptr().add(ky * side * pixel + c);
                for kx in 0..side {
                    let weight = S::load(kernel.add(kx * pixel));
                    for (p, sum) in acc.iter_mut().enumerate() {
                        *sum = S::fma(S::load(from.add((p * stride + kx) * pixel)), weight, *sum);
                    }
                }
            }
            for (p, sum) in acc.iter().enumerate() {
                let to = row.out.add((ox + p) * channels + c);
                prefetch(to.wrapping_add(2 * P * channels));
                simd::store::<S, EDGE>(to, *sum, channels - c);
            }
            if let Some(slot) = row.slot {
                slot.moments::<S>(c, &acc, row.begins && ox == 0);
            }
        }
    }
}

/// One output row.
struct Row {
    /// The input rows its taps reach, by `ky`.
    taps: [*const f32; SIDE_MAX],
    out: *mut f32,
    slot: Option<Slot>,
    /// Whether a block of statistics starts with it.
    begins: bool,
}

/// # Safety
/// The slot belongs to the caller's part.
#[inline(always)]
unsafe fn fold(slot: Option<Slot>, pixels: usize, channels: usize) {
    if let Some(slot) = slot {
        // SAFETY: forwarded.
        unsafe { slot.fold_moments(pixels, channels) };
    }
}
