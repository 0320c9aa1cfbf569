//! Depthwise forward, with the statistics of the result or its final form.

use super::{Geometry, Tags, clear_ring, every_rest, fours, pad_kernel};
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
    match (geometry.side, geometry.stride) {
        (3, 1) => convolve_form::<3, 1>(geometry, source, kernel, moments, out),
        (3, 2) => convolve_form::<3, 2>(geometry, source, kernel, moments, out),
        (5, 1) => convolve_form::<5, 1>(geometry, source, kernel, moments, out),
        (5, 2) => convolve_form::<5, 2>(geometry, source, kernel, moments, out),
        (side, stride) => unreachable!("no kernel of {side} with stride {stride}"),
    }
}

fn convolve_form<const K: usize, const STRIDE: usize>(
    geometry: Geometry,
    source: Source<'_>,
    kernel: &[f32],
    moments: bool,
    out: Output<'_>,
) -> Option<Sums> {
    let channels = geometry.channels;
    assert_eq!((geometry.side, geometry.stride), (K, STRIDE), "the form of the geometry");
    assert_eq!(out.len(), geometry.out_rows() * channels, "output fits the geometry");
    assert!(!matches!(source, Source::Patches(_)), "patches feed the stem alone");
    source.check(geometry.rows(), channels);
    let kernel = pad_kernel(kernel, K, channels);
    let units = geometry.batch * geometry.out_height();
    let split = Split::new(units, 1, K * K * geometry.out_width() * channels);
    let mut sums = moments.then(|| Sums::new(channels, 2, split.parts()));
    let ring_row = geometry.ring_row(geometry.width);
    let mut ring = Buffer::take(split.parts() * (K + 1) * ring_row);
    let pass = Convolve::<K, STRIDE> {
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

struct Convolve<'a, const K: usize, const STRIDE: usize> {
    geometry: Geometry,
    source: Source<'a>,
    kernel: &'a [f32],
    out: Output<'a>,
    sums: Option<SumsView<'a>>,
    ring: Output<'a>,
    ring_row: usize,
}

/// Statistics in progress: how many pixels the current block has.
#[derive(Clone, Copy)]
struct Block {
    slot: Option<Slot>,
    pixels: usize,
}

impl<const K: usize, const STRIDE: usize> Pass for Convolve<'_, K, STRIDE> {
    /// Output rows `units` (over all images).
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, part: usize, units: Range<usize>) {
        let g = &self.geometry;
        let (width, height, channels) = (g.width, g.height, g.channels);
        let (out_height, out_width) = (g.out_height(), g.out_width());
        // SAFETY: `convolve` checked the sizes; ring rows are inside the part's ring, output rows are its own.
        unsafe {
            let ring = self.ring.at(part * (K + 1) * self.ring_row);
            clear_ring::<K>(ring, self.ring_row, width, channels);
            let zeros = ring.add(K * self.ring_row).cast_const();
            let mut tags = Tags::<K>::new();
            let mut block = Block { slot: self.sums.map(|sums| sums.part(part)), pixels: 0 };
            for unit in units {
                let (n, oy) = (unit / out_height, unit % out_height);
                let mut taps = [zeros; K];
                for (ky, tap) in taps.iter_mut().enumerate() {
                    let iy = oy * STRIDE + ky;
                    if iy < K / 2 || iy >= height + K / 2 {
                        continue;
                    }
                    let iy = iy - K / 2;
                    let (row, slot) = (n * height + iy, iy % K);
                    let place = ring.add(slot * self.ring_row);
                    if tags.claim(slot, row) {
                        let from = row * width;
                        self.source.fill::<S>(
                            from..from + width,
                            channels,
                            place.add(K / 2 * padded(channels)),
                        );
                    }
                    *tap = place.cast_const();
                }
                let out = self.out.at(unit * out_width * channels);
                let mut ox = 0;
                while fours::<S>(K) && ox + 4 <= out_width {
                    self.pixels::<S, 4>(&taps, out, ox, &mut block);
                    ox += 4;
                }
                if every_rest(K) && out_width - ox == 3 {
                    self.pixels::<S, 3>(&taps, out, ox, &mut block);
                    ox += 3;
                }
                while ox + 2 <= out_width {
                    self.pixels::<S, 2>(&taps, out, ox, &mut block);
                    ox += 2;
                }
                if ox < out_width {
                    self.pixels::<S, 1>(&taps, out, ox, &mut block);
                }
                if block.pixels >= BLOCK_PIXELS {
                    fold(&mut block, channels);
                }
            }
            fold(&mut block, channels);
        }
    }
}

impl<const K: usize, const STRIDE: usize> Convolve<'_, K, STRIDE> {
    /// `P` output pixels from `ox` on, all channels.
    ///
    /// # Safety
    /// As for [`Pass::run`]; the pixels exist.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const P: usize>(
        &self,
        taps: &[*const f32; K],
        out: *mut f32,
        ox: usize,
        block: &mut Block,
    ) {
        let channels = self.geometry.channels;
        let mut c = 0;
        // SAFETY: forwarded; the last vector is masked.
        unsafe {
            while every_rest(K) && c + S::LANES <= channels {
                self.vectors::<S, P, false>(taps, out, ox, c, block);
                c += S::LANES;
            }
            while c < channels {
                self.vectors::<S, P, true>(taps, out, ox, c, block);
                c += S::LANES;
            }
        }
        block.pixels += P;
    }

    /// # Safety
    /// As for [`Convolve::pixels`].
    #[inline(always)]
    unsafe fn vectors<S: Simd, const P: usize, const EDGE: bool>(
        &self,
        taps: &[*const f32; K],
        out: *mut f32,
        ox: usize,
        c: usize,
        block: &Block,
    ) {
        let channels = self.geometry.channels;
        let pixel = padded(channels);
        // SAFETY: taps are ring rows with pixels of zeros left and right; kernel and ring are padded.
        unsafe {
            let mut acc = [S::zero(); P];
            for (ky, tap) in taps.iter().enumerate() {
                let from = tap.add(ox * STRIDE * pixel + c);
                let kernel = self.kernel.as_ptr().add(ky * K * pixel + c);
                let mut weights = [S::zero(); K];
                for (kx, weight) in weights.iter_mut().enumerate() {
                    *weight = S::load(kernel.add(kx * pixel));
                }
                for (p, sum) in acc.iter_mut().enumerate() {
                    for (kx, weight) in weights.iter().enumerate() {
                        *sum = S::fma(S::load(from.add((p * STRIDE + kx) * pixel)), *weight, *sum);
                    }
                }
            }
            for (p, sum) in acc.iter().enumerate() {
                let to = out.add((ox + p) * channels + c);
                prefetch(to.wrapping_add(2 * P * channels));
                simd::store::<S, EDGE>(to, *sum, channels - c);
            }
            if let Some(slot) = block.slot {
                slot.moments::<S>(c, &acc, block.pixels == 0);
            }
        }
    }
}

/// # Safety
/// The slot belongs to the caller's part.
#[inline(always)]
unsafe fn fold(block: &mut Block, channels: usize) {
    if let Some(slot) = block.slot
        && block.pixels > 0
    {
        // SAFETY: forwarded.
        unsafe { slot.fold_moments(block.pixels, channels) };
    }
    block.pixels = 0;
}
