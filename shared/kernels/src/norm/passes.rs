//! The two passes that batch norm needs at the end of an op: its output, and the sums over the incoming gradient.

use super::NormMap;
use crate::activation::Activation;
use crate::simd::{self, Simd, prefetch};
use crate::sums::{BLOCK_PIXELS, Slot, Sums, SumsView};
use crate::threads::{Output, Pass, Split};
use std::ops::Range;

/// Writes every value of `out = activation(scale * raw + offset) + residual`.
pub(crate) fn apply(raw: &[f32], map: &NormMap, residual: Option<&[f32]>, out: Output<'_>) {
    let channels = map.channels;
    assert!(raw.len() == out.len() && raw.len().is_multiple_of(channels), "rows of channels");
    assert!(residual.is_none_or(|r| r.len() == raw.len()), "residual is laid out like the output");
    let split = Split::new(raw.len() / channels, 1, channels);
    let pass = Apply { raw, map, residual, out };
    // SAFETY: the sizes were checked above; each part writes its own rows.
    unsafe { split.run(&pass) };
}

struct Apply<'a> {
    raw: &'a [f32],
    map: &'a NormMap,
    residual: Option<&'a [f32]>,
    out: Output<'a>,
}

impl Pass for Apply<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _part: usize, units: Range<usize>) {
        let channels = self.map.channels;
        // SAFETY: rows `units` of all tensors, the last vector masked; coefficients are padded.
        unsafe {
            for row in units {
                for c in (0..channels).step_by(S::LANES) {
                    if channels - c >= S::LANES {
                        self.vector::<S, false>(row * channels + c, c, channels - c);
                    } else {
                        self.vector::<S, true>(row * channels + c, c, channels - c);
                    }
                }
            }
        }
    }
}

impl Apply<'_> {
    /// # Safety
    /// As for [`Pass::run`].
    #[inline(always)]
    unsafe fn vector<S: Simd, const EDGE: bool>(&self, place: usize, c: usize, n: usize) {
        // SAFETY: forwarded.
        unsafe {
            let from = self.raw.as_ptr().add(place);
            prefetch(from.wrapping_add(256));
            let scale = S::load(self.map.scale.as_ptr().add(c));
            let offset = S::load(self.map.offset.as_ptr().add(c));
            let mut values = [S::fma(simd::load::<S, EDGE>(from, n), scale, offset)];
            self.map.activation.apply::<S>(&mut values);
            let [mut value] = values;
            if let Some(residual) = self.residual {
                value = S::add(value, simd::load::<S, EDGE>(residual.as_ptr().add(place), n));
            }
            simd::store::<S, EDGE>(self.out.at(place), value, n);
        }
    }
}

/// Sums of `g` and, with a map, of `g * (raw - mean)` per channel; `g` is gated by the map's activation.
pub(crate) fn gradient_sums(gradient: &[f32], channels: usize, norm: Option<(&[f32], &NormMap)>) -> Sums {
    assert!(gradient.len().is_multiple_of(channels), "rows of channels");
    if let Some((raw, map)) = norm {
        assert!(raw.len() == gradient.len() && map.channels == channels, "gradient and raw output agree");
    }
    let split = Split::new(gradient.len() / channels, 1, channels);
    let mut sums = Sums::new(channels, 2, split.parts());
    let pass = GradientSums { gradient, channels, norm, sums: sums.view() };
    // SAFETY: the sizes were checked above; each part has its own sums.
    unsafe { split.run(&pass) };
    sums
}

struct GradientSums<'a> {
    gradient: &'a [f32],
    channels: usize,
    norm: Option<(&'a [f32], &'a NormMap)>,
    sums: SumsView<'a>,
}

/// Rows whose vectors are summed in registers.
const ROWS: usize = 4;

impl Pass for GradientSums<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, part: usize, units: Range<usize>) {
        // SAFETY: the slot belongs to this part alone; rows `units` exist.
        unsafe {
            let slot = self.sums.part(part);
            let mut row = units.start;
            while row < units.end {
                let end = units.end.min(row + BLOCK_PIXELS);
                while row + ROWS <= end {
                    self.rows::<S, ROWS>(slot, row);
                    row += ROWS;
                }
                while row < end {
                    self.rows::<S, 1>(slot, row);
                    row += 1;
                }
                slot.fold();
            }
        }
    }
}

impl GradientSums<'_> {
    /// # Safety
    /// As for [`Pass::run`]; rows `row..row + R` exist.
    #[inline(always)]
    unsafe fn rows<S: Simd, const R: usize>(&self, slot: Slot, row: usize) {
        let channels = self.channels;
        let mut c = 0;
        // SAFETY: forwarded; the last vector is masked.
        unsafe {
            while c + S::LANES <= channels {
                self.vectors::<S, R, false>(slot, row, c);
                c += S::LANES;
            }
            if c < channels {
                self.vectors::<S, R, true>(slot, row, c);
            }
        }
    }

    /// # Safety
    /// As for [`GradientSums::rows`].
    #[inline(always)]
    unsafe fn vectors<S: Simd, const R: usize, const EDGE: bool>(&self, slot: Slot, row: usize, c: usize) {
        let n = self.channels - c;
        // SAFETY: forwarded; sums and coefficients are padded to whole vectors.
        unsafe {
            let (mut g, mut y) = ([S::zero(); R], [S::zero(); R]);
            for i in 0..R {
                let place = (row + i) * self.channels + c;
                let from = self.gradient.as_ptr().add(place);
                prefetch(from.wrapping_add(ROWS * self.channels));
                g[i] = simd::load::<S, EDGE>(from, n);
                if let Some((raw, _)) = self.norm {
                    let from = raw.as_ptr().add(place);
                    prefetch(from.wrapping_add(ROWS * self.channels));
                    y[i] = simd::load::<S, EDGE>(from, n);
                }
            }
            match self.norm {
                Some((_, map)) if map.activation != Activation::None => {
                    map.gate(std::ptr::null(), Some(slot)).close::<S>(c, &mut g, &y);
                }
                _ => {
                    let mean = match self.norm {
                        Some((_, map)) => S::load(map.mean.as_ptr().add(c)),
                        None => S::zero(),
                    };
                    let (mut sum, mut moment) = (S::load(slot.at(0, c)), S::load(slot.at(1, c)));
                    for i in 0..R {
                        sum = S::add(sum, g[i]);
                        moment = S::fma(g[i], S::sub(y[i], mean), moment);
                    }
                    S::store(slot.at(0, c), sum);
                    S::store(slot.at(1, c), moment);
                }
            }
        }
    }
}

const _: () = assert!(BLOCK_PIXELS.is_multiple_of(ROWS), "blocks are whole groups of rows");
