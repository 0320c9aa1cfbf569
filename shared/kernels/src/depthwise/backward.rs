//! Depthwise backward: input gradient and kernel gradient from the same loads.
//!
//! The loop runs over input rows. The ring holds the gradient with respect to the raw output, made on the way in
//! by the batch norm's pullback; the input is read once, normalised and gated in registers.

use super::{Geometry, Tags, clear_ring, every_rest, fours, pad_kernel};
use crate::buffer::Buffer;
use crate::gemm::epilogue::Gate;
use crate::rows::backward::GateInput;
use crate::rows::gradient::GradientSource;
use crate::simd::{self, Simd, padded, prefetch};
use crate::sums::{BLOCK_PIXELS, Slot, Sums, SumsView};
use crate::threads::{Output, Pass, Split};
use std::ops::Range;

/// What [`convolve_gradients`] computes besides the input gradient it writes.
pub(crate) struct Gradients {
    /// `[side, side, channels]`.
    pub(crate) kernel: Option<Vec<f32>>,
    /// Of the gated input gradient.
    pub(crate) sums: Option<Sums>,
}

/// What [`convolve_gradients`] works on.
#[derive(Clone, Copy)]
pub(crate) struct Convolution<'a> {
    pub(crate) geometry: Geometry,
    /// With respect to the output.
    pub(crate) gradient: GradientSource<'a>,
    /// The raw input, behind the pending map of the `gate` if there is one.
    pub(crate) input: &'a [f32],
    pub(crate) gate: Option<GateInput<'a>>,
    pub(crate) kernel: &'a [f32],
    /// Whether the kernel's gradient is wanted.
    pub(crate) kernel_gradient: bool,
    /// Where every value of the input gradient goes.
    pub(crate) out: Option<Output<'a>>,
    /// Added to the input gradient.
    pub(crate) residual: Option<&'a [f32]>,
}

/// Gradients of a depthwise convolution.
pub(crate) fn convolve_gradients(of: Convolution<'_>) -> Gradients {
    match (of.geometry.side, of.geometry.stride) {
        (3, 1) => gradients_form::<3, 1>(of),
        (3, 2) => gradients_form::<3, 2>(of),
        (5, 1) => gradients_form::<5, 1>(of),
        (5, 2) => gradients_form::<5, 2>(of),
        (side, stride) => unreachable!("no kernel of {side} with stride {stride}"),
    }
}

fn gradients_form<const K: usize, const STRIDE: usize>(of: Convolution<'_>) -> Gradients {
    let geometry = of.geometry;
    let channels = geometry.channels;
    let values = geometry.rows() * channels;
    assert_eq!((geometry.side, geometry.stride), (K, STRIDE), "the form of the geometry");
    of.gradient.check(geometry.out_rows(), channels);
    assert_eq!(of.input.len(), values, "input fits the geometry");
    assert!(of.gate.is_none_or(|g| g.map.channels() == channels), "the gate has the same channels");
    assert!(of.out.is_none_or(|o| o.len() == values), "input gradient fits the geometry");
    assert!(of.residual.is_none_or(|r| r.len() == values), "residual fits the geometry");

    let kernel = pad_kernel(of.kernel, K, channels);
    let units = geometry.batch * geometry.height;
    let split = Split::new(units, 1, 2 * K * K * geometry.width * channels / (STRIDE * STRIDE));
    let mut sums = of.gate.is_some_and(|g| g.sums).then(|| Sums::new(channels, 2, split.parts()));
    let mut kernels = of.kernel_gradient.then(|| Sums::new(channels, K * K, split.parts()));
    let ring_row = geometry.ring_row(geometry.out_width());
    let mut ring = Buffer::take(split.parts() * (K + 1) * ring_row);
    let pass = ConvolveGradients::<K, STRIDE> {
        of,
        kernel: &kernel,
        sums: sums.as_mut().map(Sums::view),
        kernels: kernels.as_mut().map(Sums::view),
        ring: Output::new(&mut ring),
        ring_row,
    };
    // SAFETY: the sizes were checked above; every part has its own ring and sums and writes its own rows.
    unsafe { split.run(&pass) };
    let kernel =
        kernels.map(|k| (0..K * K).flat_map(|tap| k.total(tap, channels)).map(|v| v as f32).collect());
    Gradients { kernel, sums }
}

struct ConvolveGradients<'a, const K: usize, const STRIDE: usize> {
    of: Convolution<'a>,
    /// Padded.
    kernel: &'a [f32],
    sums: Option<SumsView<'a>>,
    kernels: Option<SumsView<'a>>,
    ring: Output<'a>,
    ring_row: usize,
}

/// One input row: the gradient rows its taps reach, by `ky`, and where it lies.
struct Row<const K: usize> {
    taps: [Option<*const f32>; K],
    first_pixel: usize,
    /// The input's gate, without raw values.
    gate: Option<Gate>,
    kernels: Option<Slot>,
}

impl<const K: usize, const STRIDE: usize> Pass for ConvolveGradients<'_, K, STRIDE> {
    /// Input rows `units` (over all images).
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, part: usize, units: Range<usize>) {
        let g = &self.of.geometry;
        let (width, height, channels) = (g.width, g.height, g.channels);
        let (out_height, out_width) = (g.out_height(), g.out_width());
        // SAFETY: `convolve_gradients` checked the sizes; ring rows are inside the part's ring.
        unsafe {
            let ring = self.ring.at(part * (K + 1) * self.ring_row);
            clear_ring::<K>(ring, self.ring_row, out_width, channels);
            let mut tags = Tags::<K>::new();
            let sums = self.sums.map(|sums| sums.part(part));
            let mut row = Row {
                taps: [None; K],
                first_pixel: 0,
                gate: self.of.gate.map(|gate| gate.map.gate(std::ptr::null(), sums)),
                kernels: self.kernels.map(|kernels| kernels.part(part)),
            };
            let mut pixels = 0;
            for unit in units {
                let (n, iy) = (unit / height, unit % height);
                row.first_pixel = unit * width;
                for ky in 0..K {
                    // Output row oy has tap ky on input row oy * STRIDE + ky - K / 2.
                    row.taps[ky] = None;
                    let above = iy + K / 2;
                    if above < ky
                        || !(above - ky).is_multiple_of(STRIDE)
                        || (above - ky) / STRIDE >= out_height
                    {
                        continue;
                    }
                    let oy = (above - ky) / STRIDE;
                    let slot = oy % K;
                    let place = ring.add(slot * self.ring_row);
                    let from = n * out_height + oy;
                    if tags.claim(slot, from) {
                        let pixels = from * out_width..(from + 1) * out_width;
                        self.of.gradient.fill::<S>(pixels, channels, place.add(K / 2 * padded(channels)));
                    }
                    row.taps[ky] = Some(place.cast_const());
                }
                let mut ix = 0;
                while fours::<S>(K) && ix + 4 <= width {
                    self.pixels::<S, 4>(&row, ix);
                    ix += 4;
                }
                if every_rest(K) && width - ix == 3 {
                    self.pixels::<S, 3>(&row, ix);
                    ix += 3;
                }
                while ix + 2 <= width {
                    self.pixels::<S, 2>(&row, ix);
                    ix += 2;
                }
                if ix < width {
                    self.pixels::<S, 1>(&row, ix);
                }
                pixels += width;
                if pixels >= BLOCK_PIXELS {
                    fold(&row);
                    pixels = 0;
                }
            }
            fold(&row);
        }
    }
}

impl<const K: usize, const STRIDE: usize> ConvolveGradients<'_, K, STRIDE> {
    /// `P` input pixels from `ix` (even) on, all channels.
    ///
    /// # Safety
    /// As for [`Pass::run`]; the pixels exist.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const P: usize>(&self, row: &Row<K>, ix: usize) {
        let channels = self.of.geometry.channels;
        let mut c = 0;
        // SAFETY: forwarded; the last vector is masked.
        unsafe {
            while every_rest(K) && c + S::LANES <= channels {
                self.vectors::<S, P, false>(row, ix, c);
                c += S::LANES;
            }
            while c < channels {
                self.vectors::<S, P, true>(row, ix, c);
                c += S::LANES;
            }
        }
    }

    /// # Safety
    /// As for [`ConvolveGradients::pixels`].
    #[inline(always)]
    unsafe fn vectors<S: Simd, const P: usize, const EDGE: bool>(&self, row: &Row<K>, ix: usize, c: usize) {
        let channels = self.of.geometry.channels;
        let pixel = padded(channels);
        let rest = channels - c;
        // SAFETY: taps are ring rows with zero pixels left and right; kernel, ring and sums are padded; the
        // tensors are read and written inside their own rows, the last vector masked.
        unsafe {
            let place = (row.first_pixel + ix) * channels + c;
            let mut raws = [S::zero(); P];
            for (p, raw) in raws.iter_mut().enumerate() {
                let from = self.of.input.as_ptr().add(place + p * channels);
                prefetch(from.wrapping_add(8 * channels));
                *raw = simd::load::<S, EDGE>(from, rest);
            }
            let mut inputs = raws;
            if let Some(gate) = &row.gate {
                gate.open::<S>(c, &mut inputs);
            }
            let mut gradients = [S::zero(); P];
            for (ky, tap) in row.taps.iter().enumerate() {
                let Some(tap) = tap else { continue };
                for kx in 0..K {
                    let tap_index = ky * K + kx;
                    let weight = S::load(self.kernel.as_ptr().add(tap_index * pixel + c));
                    let mut sum = match row.kernels {
                        Some(slot) => S::load(slot.at(tap_index, c)),
                        None => S::zero(),
                    };
                    for p in 0..P {
                        // Input pixel ix + p meets tap kx of output pixel (ix + p + K / 2 - kx) / STRIDE; groups
                        // start at even ones, so the parity is that of p. The ring is shifted by its pads.
                        if STRIDE == 2 && (p + K / 2 + kx) % 2 == 1 {
                            continue;
                        }
                        let ox = (ix + p + K / 2 + STRIDE * (K / 2) - kx) / STRIDE;
                        let d = S::load(tap.add(ox * pixel + c));
                        gradients[p] = S::fma(d, weight, gradients[p]);
                        sum = S::fma(d, inputs[p], sum);
                    }
                    if let Some(slot) = row.kernels {
                        S::store(slot.at(tap_index, c), sum);
                    }
                }
            }
            if let Some(gate) = &row.gate {
                gate.close::<S>(c, &mut gradients, &raws);
            }
            if let Some(out) = self.of.out {
                for (p, gradient) in gradients.iter().enumerate() {
                    let mut value = *gradient;
                    if let Some(residual) = self.of.residual {
                        let from = residual.as_ptr().add(place + p * channels);
                        value = S::add(value, simd::load::<S, EDGE>(from, rest));
                    }
                    let to = out.at(place + p * channels);
                    prefetch(to.wrapping_add(8 * channels));
                    simd::store::<S, EDGE>(to, value, rest);
                }
            }
        }
    }
}

/// # Safety
/// The slots belong to the caller's part.
#[inline(always)]
unsafe fn fold<const K: usize>(row: &Row<K>) {
    // SAFETY: forwarded.
    unsafe {
        if let Some(Gate { sums: Some(slot), .. }) = row.gate {
            slot.fold();
        }
        if let Some(slot) = row.kernels {
            slot.fold();
        }
    }
}
