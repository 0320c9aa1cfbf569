//! Depthwise backward: input gradient and kernel gradient from the same loads.
//!
//! The loop runs over input rows. The ring holds the gradient with respect to the raw output, made on the way in
//! by the batch norm's pullback; the input is read once, normalised and gated in registers.

use super::{Geometry, Tags, clear_ring, pad_kernel};
use crate::buffer::Buffer;
use crate::gemm::epilogue::Gate;
use crate::rows::backward::GateInput;
use crate::rows::source::GradientSource;
use crate::simd::{self, Simd, padded, prefetch};
use crate::sums::{BLOCK_PIXELS, Slot, Sums, SumsView};
use crate::threads::{Output, Pass, Split};
use std::ops::Range;

/// What [`convolve_gradients`] computes besides the input gradient it writes.
pub(crate) struct Gradients {
    /// `[3, 3, channels]`.
    pub(crate) kernel: Option<Vec<f32>>,
    /// Of the gated input gradient.
    pub(crate) sums: Option<Sums>,
}

/// Gradients of a depthwise convolution. `input` holds the raw input (behind a pending map when there is a
/// `gate`), every value of `out` becomes the input gradient plus `residual`.
#[expect(clippy::too_many_arguments, reason = "one call per op, each argument a different tensor")]
pub(crate) fn convolve_gradients(
    geometry: Geometry,
    gradient: GradientSource<'_>,
    input: &[f32],
    gate: Option<GateInput<'_>>,
    kernel: &[f32],
    kernel_gradient: bool,
    out: Option<Output<'_>>,
    residual: Option<&[f32]>,
) -> Gradients {
    let channels = geometry.channels;
    let width = padded(channels);
    let (values, out_values) = (geometry.rows() * channels, geometry.out_rows() * channels);
    assert_eq!(gradient.gradient.len(), out_values, "gradient fits the geometry");
    if let Some(p) = &gradient.pullback {
        assert_eq!(p.raw.len(), out_values, "raw output fits the geometry");
        assert!(
            p.slope.len() == width && p.curve.len() == width && p.level.len() == width,
            "padded coefficients"
        );
        assert!(p.gate.is_none_or(|(a, b)| a.len() == width && b.len() == width), "padded coefficients");
    }
    assert_eq!(input.len(), values, "input fits the geometry");
    if let Some(g) = &gate {
        assert!(
            g.scale.len() == width && g.offset.len() == width && g.mean.len() == width,
            "padded coefficients"
        );
    }
    assert!(out.as_ref().is_none_or(|o| o.len() == values), "input gradient fits the geometry");
    assert!(residual.is_none_or(|r| r.len() == values), "residual fits the geometry");

    let kernel = pad_kernel(kernel, channels);
    let units = geometry.batch * geometry.height;
    let split = Split::new(units, 1, 18 * geometry.width * channels / (geometry.stride * geometry.stride));
    let mut sums = gate.is_some_and(|g| g.sums).then(|| Sums::new(channels, 2, split.parts()));
    let mut kernels = kernel_gradient.then(|| Sums::new(channels, 9, split.parts()));
    let ring_row = geometry.ring_row(geometry.out_width());
    let mut ring = Buffer::take(split.parts() * 4 * ring_row);
    let pass = ConvolveGradients {
        geometry,
        gradient,
        input,
        gate,
        kernel: &kernel,
        out,
        residual,
        sums: sums.as_mut().map(Sums::view),
        kernels: kernels.as_mut().map(Sums::view),
        ring: Output::new(&mut ring),
        ring_row,
    };
    // SAFETY: the sizes were checked above; every part has its own ring and sums and writes its own rows.
    unsafe { split.run(&pass) };
    let kernel = kernels.map(|k| (0..9).flat_map(|tap| k.total(tap, channels)).map(|v| v as f32).collect());
    Gradients { kernel, sums }
}

struct ConvolveGradients<'a> {
    geometry: Geometry,
    gradient: GradientSource<'a>,
    input: &'a [f32],
    gate: Option<GateInput<'a>>,
    kernel: &'a [f32],
    out: Option<Output<'a>>,
    residual: Option<&'a [f32]>,
    sums: Option<SumsView<'a>>,
    kernels: Option<SumsView<'a>>,
    ring: Output<'a>,
    ring_row: usize,
}

/// One input row: the gradient rows its taps reach, by `ky`, and where it lies.
struct Row {
    taps: [Option<*const f32>; 3],
    first_pixel: usize,
    sums: Option<Slot>,
    kernels: Option<Slot>,
}

impl Pass for ConvolveGradients<'_> {
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

impl ConvolveGradients<'_> {
    /// Input rows `units` (over all images).
    ///
    /// # Safety
    /// As for [`Pass::run`].
    #[inline(always)]
    unsafe fn rows<S: Simd, const STRIDE: usize>(&self, part: usize, units: Range<usize>) {
        let g = &self.geometry;
        let (width, height, channels) = (g.width, g.height, g.channels);
        let (out_height, out_width) = (g.out_height(), g.out_width());
        // SAFETY: `convolve_gradients` checked the sizes; ring rows are inside the part's ring.
        unsafe {
            let ring = self.ring.at(part * 4 * self.ring_row);
            clear_ring(ring, self.ring_row, out_width, channels);
            let mut tags = Tags::new();
            let mut row = Row {
                taps: [None; 3],
                first_pixel: 0,
                sums: self.sums.map(|sums| sums.part(part)),
                kernels: self.kernels.map(|kernels| kernels.part(part)),
            };
            let mut pixels = 0;
            for unit in units {
                let (n, iy) = (unit / height, unit % height);
                row.first_pixel = unit * width;
                for ky in 0..3 {
                    // Output row oy has tap ky on input row oy * STRIDE + ky - 1.
                    row.taps[ky] = None;
                    let above = iy + 1;
                    if above < ky
                        || !(above - ky).is_multiple_of(STRIDE)
                        || (above - ky) / STRIDE >= out_height
                    {
                        continue;
                    }
                    let oy = (above - ky) / STRIDE;
                    let slot = oy % 3;
                    let place = ring.add(slot * self.ring_row);
                    let from = n * out_height + oy;
                    if tags.claim(slot, from) {
                        let pixels = from * out_width..(from + 1) * out_width;
                        self.gradient.fill::<S>(pixels, channels, place.add(padded(channels)));
                    }
                    row.taps[ky] = Some(place.cast_const());
                }
                let mut ix = 0;
                while ix + 4 <= width {
                    self.pixels::<S, STRIDE, 4>(&row, ix);
                    ix += 4;
                }
                match width - ix {
                    3 => self.pixels::<S, STRIDE, 3>(&row, ix),
                    2 => self.pixels::<S, STRIDE, 2>(&row, ix),
                    1 => self.pixels::<S, STRIDE, 1>(&row, ix),
                    _ => {}
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

    /// `P` input pixels from `ix` (a multiple of four) on, all channels.
    ///
    /// # Safety
    /// As for [`Pass::run`]; the pixels exist.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const STRIDE: usize, const P: usize>(&self, row: &Row, ix: usize) {
        let channels = self.geometry.channels;
        let mut c = 0;
        // SAFETY: forwarded; the last vector is masked.
        unsafe {
            while c + S::LANES <= channels {
                self.vectors::<S, STRIDE, P, false>(row, ix, c);
                c += S::LANES;
            }
            if c < channels {
                self.vectors::<S, STRIDE, P, true>(row, ix, c);
            }
        }
    }

    /// # Safety
    /// As for [`ConvolveGradients::pixels`].
    #[inline(always)]
    unsafe fn vectors<S: Simd, const STRIDE: usize, const P: usize, const EDGE: bool>(
        &self,
        row: &Row,
        ix: usize,
        c: usize,
    ) {
        let channels = self.geometry.channels;
        let pixel = padded(channels);
        let rest = channels - c;
        // SAFETY: taps are ring rows with zero pixels left and right; kernel, ring and sums are padded; the
        // tensors are read and written inside their own rows, the last vector masked.
        unsafe {
            let place = (row.first_pixel + ix) * channels + c;
            let mut raws = [S::zero(); P];
            for (p, raw) in raws.iter_mut().enumerate() {
                let from = self.input.as_ptr().add(place + p * channels);
                prefetch(from.wrapping_add(8 * channels));
                *raw = simd::load::<S, EDGE>(from, rest);
            }
            let mut inputs = raws;
            if let Some(gate) = &self.gate {
                let (scale, offset) =
                    (S::load(gate.scale.as_ptr().add(c)), S::load(gate.offset.as_ptr().add(c)));
                for input in &mut inputs {
                    *input = S::relu6(S::fma(*input, scale, offset));
                }
            }
            let mut gradients = [S::zero(); P];
            for (ky, tap) in row.taps.iter().enumerate() {
                let Some(tap) = tap else { continue };
                for kx in 0..3 {
                    let tap_index = ky * 3 + kx;
                    let weight = S::load(self.kernel.as_ptr().add(tap_index * pixel + c));
                    let mut sum = match row.kernels {
                        Some(slot) => S::load(slot.at(tap_index, c)),
                        None => S::zero(),
                    };
                    for p in 0..P {
                        // Input pixel ix + p meets tap kx of output pixel (ix + p + 1 - kx) / STRIDE; groups start
                        // at multiples of four, so the parity is that of p. The ring is shifted by its pad pixel.
                        if STRIDE == 2 && (p + 1 + kx) % 2 == 1 {
                            continue;
                        }
                        let ox = if STRIDE == 2 { (ix + p + 1 + 2 - kx) / 2 } else { ix + p + 2 - kx };
                        let d = S::load(tap.add(ox * pixel + c));
                        gradients[p] = S::fma(d, weight, gradients[p]);
                        sum = S::fma(d, inputs[p], sum);
                    }
                    if let Some(slot) = row.kernels {
                        S::store(slot.at(tap_index, c), sum);
                    }
                }
            }
            if let Some(gate) = &self.gate {
                let gate = Gate {
                    raw: std::ptr::null(),
                    scale: gate.scale.as_ptr(),
                    offset: gate.offset.as_ptr(),
                    mean: gate.mean.as_ptr(),
                    sums: row.sums,
                };
                gate.close::<S>(c, &mut gradients, &raws);
            }
            if let Some(out) = self.out {
                for (p, gradient) in gradients.iter().enumerate() {
                    let mut value = *gradient;
                    if let Some(residual) = self.residual {
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
        if let Some(slot) = row.sums {
            slot.fold();
        }
        if let Some(slot) = row.kernels {
            slot.fold();
        }
    }
}
