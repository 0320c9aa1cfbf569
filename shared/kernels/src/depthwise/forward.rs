//! Depthwise forward, with the statistics of the result or its final form.

use super::{Geometry, Tags, clear_ring, pad_kernel};
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
    assert_eq!(out.len(), geometry.out_rows() * channels, "output fits the geometry");
    match source {
        Source::Plain(values) => {
            assert_eq!(values.len(), geometry.rows() * channels, "input fits the geometry")
        }
        Source::Normalised { raw, scale, offset } => {
            assert_eq!(raw.len(), geometry.rows() * channels, "input fits the geometry");
            assert!(
                scale.len() == padded(channels) && offset.len() == padded(channels),
                "padded coefficients"
            );
        }
        Source::Patches(_) => unreachable!("patches feed the stem alone"),
    }
    let kernel = pad_kernel(kernel, channels);
    let units = geometry.batch * geometry.out_height();
    let split = Split::new(units, 1, 9 * geometry.out_width() * channels);
    let mut sums = moments.then(|| Sums::new(channels, 2, split.parts()));
    let ring_row = geometry.ring_row(geometry.width);
    let mut ring = Buffer::take(split.parts() * 4 * ring_row);
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
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, part: usize, units: Range<usize>) {
        // SAFETY: forwarded.
        unsafe {
            if self.geometry.stride == 1 {
                self.rows::<S, 1>(part, units);
            } else {
                self.rows::<S, 2>(part, units);
            }
        }
    }
}

/// Statistics in progress: how many pixels the current block has.
#[derive(Clone, Copy)]
struct Block {
    slot: Option<Slot>,
    pixels: usize,
}

impl Convolve<'_> {
    /// Output rows `units` (over all images).
    ///
    /// # Safety
    /// As for [`Pass::run`].
    #[inline(always)]
    unsafe fn rows<S: Simd, const STRIDE: usize>(&self, part: usize, units: Range<usize>) {
        let g = &self.geometry;
        let (width, height, channels) = (g.width, g.height, g.channels);
        let (out_height, out_width) = (g.out_height(), g.out_width());
        // SAFETY: `convolve` checked the sizes; ring rows are inside the part's ring, output rows are its own.
        unsafe {
            let ring = self.ring.at(part * 4 * self.ring_row);
            clear_ring(ring, self.ring_row, width, channels);
            let zeros = ring.add(3 * self.ring_row).cast_const();
            let mut tags = Tags::new();
            let mut block = Block { slot: self.sums.map(|sums| sums.part(part)), pixels: 0 };
            for unit in units {
                let (n, oy) = (unit / out_height, unit % out_height);
                let mut taps = [zeros; 3];
                for (ky, tap) in taps.iter_mut().enumerate() {
                    let iy = oy * STRIDE + ky;
                    if iy < 1 || iy > height {
                        continue;
                    }
                    let row = n * height + iy - 1;
                    let slot = (iy - 1) % 3;
                    let place = ring.add(slot * self.ring_row);
                    if tags.claim(slot, row) {
                        let from = row * width;
                        self.source.fill::<S>(from..from + width, channels, place.add(padded(channels)));
                    }
                    *tap = place.cast_const();
                }
                let out = self.out.at(unit * out_width * channels);
                let mut ox = 0;
                while ox + 4 <= out_width {
                    self.pixels::<S, STRIDE, 4>(&taps, out, ox, &mut block);
                    ox += 4;
                }
                match out_width - ox {
                    3 => self.pixels::<S, STRIDE, 3>(&taps, out, ox, &mut block),
                    2 => self.pixels::<S, STRIDE, 2>(&taps, out, ox, &mut block),
                    1 => self.pixels::<S, STRIDE, 1>(&taps, out, ox, &mut block),
                    _ => {}
                }
                if block.pixels >= BLOCK_PIXELS {
                    fold(&mut block, channels);
                }
            }
            fold(&mut block, channels);
        }
    }

    /// `P` output pixels from `ox` on, all channels.
    ///
    /// # Safety
    /// As for [`Pass::run`]; the pixels exist.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const STRIDE: usize, const P: usize>(
        &self,
        taps: &[*const f32; 3],
        out: *mut f32,
        ox: usize,
        block: &mut Block,
    ) {
        let channels = self.geometry.channels;
        let mut c = 0;
        // SAFETY: forwarded; the last vector is masked.
        unsafe {
            while c + S::LANES <= channels {
                self.vectors::<S, STRIDE, P, false>(taps, out, ox, c, block);
                c += S::LANES;
            }
            if c < channels {
                self.vectors::<S, STRIDE, P, true>(taps, out, ox, c, block);
            }
        }
        block.pixels += P;
    }

    /// # Safety
    /// As for [`Convolve::pixels`].
    #[inline(always)]
    unsafe fn vectors<S: Simd, const STRIDE: usize, const P: usize, const EDGE: bool>(
        &self,
        taps: &[*const f32; 3],
        out: *mut f32,
        ox: usize,
        c: usize,
        block: &Block,
    ) {
        let channels = self.geometry.channels;
        let pixel = padded(channels);
        // SAFETY: taps are ring rows with a pixel of zeros left and right; kernel and ring are padded.
        unsafe {
            let mut acc = [S::zero(); P];
            for (ky, tap) in taps.iter().enumerate() {
                let from = tap.add(ox * STRIDE * pixel + c);
                let kernel = self.kernel.as_ptr().add(ky * 3 * pixel + c);
                let weights = [S::load(kernel), S::load(kernel.add(pixel)), S::load(kernel.add(2 * pixel))];
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
