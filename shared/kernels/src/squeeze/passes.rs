//! The two passes over whole maps: sums per image, and their gradient spread over the image's pixels.

use crate::norm::NormMap;
use crate::rows::pending::{Factors, Pending};
use crate::simd::{self, PAD, Simd, padded, prefetch};
use crate::sums::{BLOCK_PIXELS, Slot, Sums, SumsView};
use crate::threads::{Output, Pass, Split};
use std::ops::Range;

/// Channels summed by one unit: whole vectors of every instruction set, four lines of a cache.
const UNIT_CHANNELS: usize = 4 * PAD;

/// Sums of the values behind `source` over the `pixels` of each image, each times the value of `by` if there is one:
/// `[images, channels]`. The number of threads changes no bit of them.
pub(crate) fn image_sums(
    source: Pending<'_>,
    pixels: usize,
    channels: usize,
    by: Option<&[f32]>,
) -> Vec<f32> {
    let rows = source.raw.len() / channels;
    assert!(rows.is_multiple_of(pixels) && source.factors.is_none(), "whole images without factors");
    source.check(rows, channels);
    assert!(by.is_none_or(|by| by.len() == source.raw.len()), "multipliers are laid out like the values");
    let mut out = vec![0.0; rows / pixels * channels];
    let pass = ImageSums { source, pixels, channels, by, out: Output::new(&mut out) };
    let units = rows / pixels * channels.div_ceil(UNIT_CHANNELS);
    // SAFETY: the sizes were checked above; each unit writes its own channels of its own image.
    unsafe { Split::new(units, 1, pixels * UNIT_CHANNELS.min(channels)).run(&pass) };
    out
}

struct ImageSums<'a> {
    source: Pending<'a>,
    pixels: usize,
    channels: usize,
    by: Option<&'a [f32]>,
    out: Output<'a>,
}

impl Pass for ImageSums<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _part: usize, units: Range<usize>) {
        let groups = self.channels.div_ceil(UNIT_CHANNELS);
        for unit in units {
            let (image, start) = (unit / groups, unit % groups * UNIT_CHANNELS);
            let end = self.channels.min(start + UNIT_CHANNELS);
            let mut c = start;
            // SAFETY: channels of the unit, the last vector masked.
            unsafe {
                while c + 4 * S::LANES <= end {
                    self.vectors::<S, 4, false>(image, c);
                    c += 4 * S::LANES;
                }
                while c + S::LANES <= end {
                    self.vectors::<S, 1, false>(image, c);
                    c += S::LANES;
                }
                if c < end {
                    self.vectors::<S, 1, true>(image, c);
                }
            }
        }
    }
}

impl ImageSums<'_> {
    /// # Safety
    /// As for [`Pass::run`].
    #[inline(always)]
    unsafe fn vectors<S: Simd, const NV: usize, const EDGE: bool>(&self, image: usize, c: usize) {
        let n = self.channels - c;
        // SAFETY: channels c..c + NV * LANES of each pixel, masked at the edge; coefficients are padded.
        unsafe {
            let (mut scale, mut offset, mut totals) = ([S::zero(); NV], [S::zero(); NV], [S::zero(); NV]);
            for v in 0..NV {
                scale[v] = S::load(self.source.scale.as_ptr().add(c + v * S::LANES));
                offset[v] = S::load(self.source.offset.as_ptr().add(c + v * S::LANES));
            }
            let (mut pixel, end) = (image * self.pixels, (image + 1) * self.pixels);
            while pixel < end {
                // Sums of sums: few roundings lie on the way of each value.
                let mut sums = [S::zero(); NV];
                let stop = end.min(pixel + BLOCK_PIXELS);
                while pixel < stop {
                    let place = pixel * self.channels + c;
                    let mut values = [S::zero(); NV];
                    for v in 0..NV {
                        let from = self.source.raw.as_ptr().add(place + v * S::LANES);
                        prefetch(from.wrapping_add(8 * self.channels));
                        values[v] = S::fma(simd::load::<S, EDGE>(from, n), scale[v], offset[v]);
                    }
                    self.source.activation.apply::<S>(&mut values);
                    for v in 0..NV {
                        sums[v] = match self.by {
                            Some(by) => {
                                let from = by.as_ptr().add(place + v * S::LANES);
                                prefetch(from.wrapping_add(8 * self.channels));
                                S::fma(values[v], simd::load::<S, EDGE>(from, n), sums[v])
                            }
                            None => S::add(sums[v], values[v]),
                        };
                    }
                    pixel += 1;
                }
                for (total, sum) in totals.iter_mut().zip(&sums) {
                    *total = S::add(*total, *sum);
                }
            }
            let to = self.out.at(image * self.channels + c);
            for (v, total) in totals.iter().enumerate() {
                simd::store::<S, EDGE>(to.add(v * S::LANES), *total, n);
            }
        }
    }
}

/// `gradient * factor + share` of the image and channel, gated by the activation of `map`, in place of `gradient`; with
/// `sums` also the sums of that and of its product with `raw - mean`.
pub(crate) fn spread(
    gradient: &mut [f32],
    raw: &[f32],
    map: &NormMap,
    factors: Factors<'_>,
    shares: &[f32],
    sums: bool,
) -> Option<Sums> {
    let channels = map.channels();
    let rows = raw.len() / channels;
    let (images, width) = (rows / factors.pixels, padded(channels));
    assert!(raw.len() == rows * channels && gradient.len() == raw.len(), "rows of channels");
    assert!(rows == images * factors.pixels, "whole images");
    assert!(
        factors.values.len() == images * width && shares.len() == images * width,
        "padded factors and shares of each image"
    );
    let split = Split::new(rows, 1, channels);
    let mut sums = sums.then(|| Sums::new(channels, 2, split.parts()));
    let pass = Spread {
        gradient: Output::new(gradient),
        raw,
        map,
        factors,
        shares,
        sums: sums.as_mut().map(Sums::view),
    };
    // SAFETY: the sizes were checked above; each part reads and writes its own rows and sums.
    unsafe { split.run(&pass) };
    sums
}

struct Spread<'a> {
    gradient: Output<'a>,
    raw: &'a [f32],
    map: &'a NormMap,
    factors: Factors<'a>,
    shares: &'a [f32],
    sums: Option<SumsView<'a>>,
}

/// Rows whose vectors are summed in registers.
const ROWS: usize = 4;

impl Pass for Spread<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, part: usize, units: Range<usize>) {
        let pixels = self.factors.pixels;
        // SAFETY: the slot belongs to this part alone; rows `units` exist, and those of one call are of one image.
        unsafe {
            let slot = self.sums.map(|sums| sums.part(part));
            let (mut row, mut gathered) = (units.start, 0);
            while row < units.end {
                let image = row / pixels;
                let end = units.end.min((image + 1) * pixels).min(row + BLOCK_PIXELS);
                gathered += end - row;
                while row + ROWS <= end {
                    self.rows::<S, ROWS>(slot, image, row);
                    row += ROWS;
                }
                while row < end {
                    self.rows::<S, 1>(slot, image, row);
                    row += 1;
                }
                if let Some(slot) = slot
                    && (gathered >= BLOCK_PIXELS || row == units.end)
                {
                    slot.fold();
                    gathered = 0;
                }
            }
        }
    }
}

impl Spread<'_> {
    /// # Safety
    /// As for [`Pass::run`]; rows `row..row + R` are of `image`.
    #[inline(always)]
    unsafe fn rows<S: Simd, const R: usize>(&self, slot: Option<Slot>, image: usize, row: usize) {
        let channels = self.map.channels();
        let mut c = 0;
        // SAFETY: forwarded; the last vector is masked.
        unsafe {
            while c + S::LANES <= channels {
                self.vectors::<S, R, false>(slot, image, row, c);
                c += S::LANES;
            }
            if c < channels {
                self.vectors::<S, R, true>(slot, image, row, c);
            }
        }
    }

    /// # Safety
    /// As for [`Spread::rows`].
    #[inline(always)]
    unsafe fn vectors<S: Simd, const R: usize, const EDGE: bool>(
        &self,
        slot: Option<Slot>,
        image: usize,
        row: usize,
        c: usize,
    ) {
        let channels = self.map.channels();
        let n = channels - c;
        // SAFETY: forwarded; factors, shares and coefficients are padded to whole vectors.
        unsafe {
            let of_image = image * padded(channels) + c;
            let factor = S::load(self.factors.values.as_ptr().add(of_image));
            let share = S::load(self.shares.as_ptr().add(of_image));
            let (mut g, mut y) = ([S::zero(); R], [S::zero(); R]);
            for i in 0..R {
                let place = (row + i) * channels + c;
                let from = self.gradient.at(place).cast_const();
                prefetch(from.wrapping_add(ROWS * channels));
                g[i] = S::fma(simd::load::<S, EDGE>(from, n), factor, share);
                let from = self.raw.as_ptr().add(place);
                prefetch(from.wrapping_add(ROWS * channels));
                y[i] = simd::load::<S, EDGE>(from, n);
            }
            self.map.gate(std::ptr::null(), slot).close::<S>(c, &mut g, &y);
            for (i, g) in g.iter().enumerate() {
                simd::store::<S, EDGE>(self.gradient.at((row + i) * channels + c), *g, n);
            }
        }
    }
}
