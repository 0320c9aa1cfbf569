//! Depthwise backward: input gradient and kernel gradient from the same loads.
//!
//! The loop runs over input rows. The ring holds the gradient with respect to the raw output, made on the way in
//! by the batch norm's pullback; the input is read once, normalised and gated in registers.

use super::{Form, Geometry, SIDE_MAX, Tags, clear_ring, pad_kernel};
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
    let geometry = of.geometry;
    let channels = geometry.channels;
    let values = geometry.rows() * channels;
    let (side, stride) = (geometry.side, geometry.stride);
    assert!(side <= SIDE_MAX, "kernels have up to {SIDE_MAX} rows, found {side}");
    of.gradient.check(geometry.out_rows(), channels);
    assert_eq!(of.input.len(), values, "input fits the geometry");
    assert!(of.gate.is_none_or(|g| g.map.channels() == channels), "the gate has the same channels");
    assert!(of.out.is_none_or(|o| o.len() == values), "input gradient fits the geometry");
    assert!(of.residual.is_none_or(|r| r.len() == values), "residual fits the geometry");

    let kernel = pad_kernel(of.kernel, side, channels);
    let units = geometry.batch * geometry.height;
    let split = Split::new(units, 1, 2 * side * side * geometry.width * channels / (stride * stride));
    let mut sums = of.gate.is_some_and(|g| g.sums).then(|| Sums::new(channels, 2, split.parts()));
    let mut kernels = of.kernel_gradient.then(|| Sums::new(channels, side * side, split.parts()));
    let ring_row = geometry.ring_row(geometry.out_width());
    let mut ring = Buffer::take(split.parts() * (side + 1) * ring_row);
    let pass = ConvolveGradients {
        of,
        kernel: &kernel,
        sums: sums.as_mut().map(Sums::view),
        kernels: kernels.as_mut().map(Sums::view),
        ring: Output::new(&mut ring),
        ring_row,
    };
    // SAFETY: the sizes were checked above; every part has its own ring and sums and writes its own rows.
    unsafe { split.run(&pass) };
    let taps = 0..side * side;
    let kernel = kernels.map(|k| taps.flat_map(|tap| k.total(tap, channels)).map(|v| v as f32).collect());
    Gradients { kernel, sums }
}

struct ConvolveGradients<'a> {
    of: Convolution<'a>,
    /// Padded.
    kernel: &'a [f32],
    sums: Option<SumsView<'a>>,
    kernels: Option<SumsView<'a>>,
    ring: Output<'a>,
    ring_row: usize,
}

/// One input row: the gradient rows its taps reach, by `ky`, and where it lies.
struct Row {
    taps: [Option<*const f32>; SIDE_MAX],
    first_pixel: usize,
    /// The input's gate, without raw values.
    gate: Option<Gate>,
    kernels: Option<Slot>,
}

impl Pass for ConvolveGradients<'_> {
    /// Input rows `units` (over all images).
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, part: usize, units: Range<usize>) {
        // SAFETY: forwarded.
        unsafe {
            match (self.of.geometry.side, self.of.geometry.stride) {
                (3, 1) if S::SPECIAL => self.rows::<S, 3, 1>(part, units),
                (3, 2) if S::SPECIAL => self.rows::<S, 3, 2>(part, units),
                _ => self.rows::<S, 0, 0>(part, units),
            }
        }
    }
}

impl ConvolveGradients<'_> {
    /// # Safety
    /// As for [`Pass::run`]; the form is that of the geometry.
    #[inline(always)]
    unsafe fn rows<S: Simd, const K: usize, const STRIDE: usize>(&self, part: usize, units: Range<usize>) {
        let g = &self.of.geometry;
        let (side, stride) = Form::<K, STRIDE>::of(g.side, g.stride);
        let (width, height, channels) = (g.width, g.height, g.channels);
        let (out_height, out_width) = (g.out_height(), g.out_width());
        // SAFETY: `convolve_gradients` checked the sizes; ring rows are inside the part's ring, input rows and sums
        // are its own.
        unsafe {
            let ring = self.ring.at(part * (side + 1) * self.ring_row);
            clear_ring(ring, side, self.ring_row, out_width, channels);
            let mut tags = Tags::new();
            let sums = self.sums.map(|sums| sums.part(part));
            let mut row = Row {
                taps: [None; SIDE_MAX],
                first_pixel: 0,
                gate: self.of.gate.map(|gate| gate.map.gate(std::ptr::null(), sums)),
                kernels: self.kernels.map(|kernels| kernels.part(part)),
            };
            let mut pixels = 0;
            for unit in units {
                let (n, iy) = (unit / height, unit % height);
                row.first_pixel = unit * width;
                for ky in 0..side {
                    // Output row oy has tap ky on input row oy * stride + ky - side / 2.
                    row.taps[ky] = None;
                    let above = iy + side / 2;
                    if above < ky
                        || !(above - ky).is_multiple_of(stride)
                        || (above - ky) / stride >= out_height
                    {
                        continue;
                    }
                    let oy = (above - ky) / stride;
                    let slot = oy % side;
                    let place = ring.add(slot * self.ring_row);
                    let from = n * out_height + oy;
                    if tags.claim(slot, from) {
                        let pixels = from * out_width..(from + 1) * out_width;
                        self.of.gradient.fill::<S>(pixels, channels, place.add(side / 2 * padded(channels)));
                    }
                    row.taps[ky] = Some(place.cast_const());
                }
                let mut ix = 0;
                while ix + 4 <= width {
                    self.pixels::<S, K, STRIDE, 4>(&row, ix);
                    ix += 4;
                }
                if Form::<K, STRIDE>::THREES && width - ix == 3 {
                    self.pixels::<S, K, STRIDE, 3>(&row, ix);
                    ix += 3;
                }
                while ix + 2 <= width {
                    self.pixels::<S, K, STRIDE, 2>(&row, ix);
                    ix += 2;
                }
                if ix < width {
                    self.pixels::<S, K, STRIDE, 1>(&row, ix);
                }
                let whole = channels / S::LANES * S::LANES;
                if !Form::<K, STRIDE>::READ && whole < channels {
                    for ix in 0..width {
                        self.vectors::<S, K, STRIDE, 1, true>(&row, ix, whole);
                    }
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

    /// `P` input pixels from `ix` on (even unless `P` is 1), all channels; in forms known when compiled, all whole
    /// vectors of channels.
    ///
    /// # Safety
    /// As for [`ConvolveGradients::rows`]; the pixels exist.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const K: usize, const STRIDE: usize, const P: usize>(
        &self,
        row: &Row,
        ix: usize,
    ) {
        let channels = self.of.geometry.channels;
        let mut c = 0;
        // SAFETY: forwarded; the last vector is masked.
        unsafe {
            if Form::<K, STRIDE>::READ {
                while c < channels {
                    self.vectors::<S, K, STRIDE, P, true>(row, ix, c);
                    c += S::LANES;
                }
            } else {
                while c + S::LANES <= channels {
                    self.vectors::<S, K, STRIDE, P, false>(row, ix, c);
                    c += S::LANES;
                }
            }
        }
    }

    /// # Safety
    /// As for [`ConvolveGradients::pixels`].
    #[inline(always)]
    unsafe fn vectors<S: Simd, const K: usize, const STRIDE: usize, const P: usize, const EDGE: bool>(
        &self,
        row: &Row,
        ix: usize,
        c: usize,
    ) {
        let (side, stride) = Form::<K, STRIDE>::of(self.of.geometry.side, self.of.geometry.stride);
        let half = side / 2;
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
            // Groups start at even pixels, single ones may be odd.
            let odd = if P == 1 { ix % 2 } else { 0 };
            for (ky, tap) in row.taps.iter().enumerate().take(side) {
                let Some(tap) = tap else { continue };
                for kx in 0..side {
                    let tap_index = ky * side + kx;
                    let weight = S::load(self.kernel.as_ptr().add(tap_index * pixel + c));
                    let mut sum = match row.kernels {
                        Some(slot) => S::load(slot.at(tap_index, c)),
                        None => S::zero(),
                    };
                    for p in 0..P {
                        // Input pixel ix + p meets tap kx of output pixel (ix + p + half - kx) / stride, if that is a
                        // whole number. The ring is shifted by its pads.
                        if stride == 2 && (odd + p + half + kx) % 2 == 1 {
                            continue;
                        }
                        let ox = (ix + p + half + stride * half - kx) >> (stride - 1);
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
unsafe fn fold(row: &Row) {
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
