//! 1x1 convolutions backward: weight gradient and input gradient while a row block is in the cache.

use super::block_rows;
use super::gradient::GradientSource;
use super::source::Source;
use crate::Wanted;
use crate::buffer::{Buffer, Fresh};
use crate::gemm::epilogue::{Accumulate, Gradient};
use crate::gemm::pack::Panels;
use crate::gemm::{Left, Right, Size, TILE_ROWS_MAX, multiply};
use crate::norm::NormMap;
use crate::simd::{self, Simd, padded};
use crate::sums::{Sums, SumsView};
use crate::threads::{Output, Pass, Split};
use std::ops::Range;

/// How the input gradient leaves.
pub(crate) struct InputGradient<'a> {
    /// Weights as `[outputs, inputs]` packed by rows.
    pub(crate) panels: &'a Panels<'a>,
    /// Every value is written.
    pub(crate) out: Output<'a>,
    /// Added to the gradient.
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) gate: Option<GateInput<'a>>,
}

/// The raw input behind the gate of [`InputGradient`], with its pending map.
#[derive(Clone, Copy)]
pub(crate) struct GateInput<'a> {
    pub(crate) raw: &'a [f32],
    pub(crate) map: &'a NormMap,
    /// Gather the sums of `g` and `g * (raw - mean)`.
    pub(crate) sums: bool,
}

/// What [`product_gradients`] computes besides the input gradient it writes.
pub(crate) struct Gradients {
    /// `[outputs, inputs]`.
    pub(crate) weights: Option<Vec<f32>>,
    /// Of the gated input gradient.
    pub(crate) sums: Option<Sums>,
}

/// Gradients of `output[rows, outputs] = input[rows, inputs] x weights^T`.
///
/// `flipped`: the weights are laid out `[inputs, outputs]`, and so is their gradient.
pub(crate) fn product_gradients(
    rows: usize,
    (inputs, outputs): (usize, usize),
    gradient: GradientSource<'_>,
    input: Source<'_>,
    weights: bool,
    flipped: bool,
    input_gradient: Option<InputGradient<'_>>,
) -> Gradients {
    gradient.check(rows, outputs);
    input.check(rows, inputs);
    if let Some(g) = &input_gradient {
        assert_eq!(g.out.len(), rows * inputs, "input gradient is rows x inputs");
        assert!((g.panels.k(), g.panels.n()) == (outputs, inputs), "weights are outputs x inputs");
        assert!(g.residual.is_none_or(|r| r.len() == rows * inputs), "residual is rows x inputs");
        if let Some(gate) = &g.gate {
            assert_eq!(gate.raw.len(), rows * inputs, "raw input is rows x inputs");
            assert_eq!(gate.map.channels(), inputs, "the gate has the same channels");
        }
    }

    let products = usize::from(weights) + usize::from(input_gradient.is_some());
    let split = Split::new(rows, 2 * TILE_ROWS_MAX, inputs * outputs * products);
    let block = block_rows(padded(inputs) + padded(outputs));
    // The weight gradient's broadcast side is read up to a tile's rows past its end.
    let each = block * (padded(inputs) + padded(outputs)) + 2 * TILE_ROWS_MAX + TILE_ROWS_MAX * outputs;
    let mut scratch = Buffer::take(split.parts() * each);
    let (m, n) = if flipped { (inputs, outputs) } else { (outputs, inputs) };
    let mut partial = weights.then(|| Buffer::take(split.parts() * m * padded(n)));
    let mut sums = match &input_gradient {
        Some(InputGradient { gate: Some(GateInput { sums: true, .. }), .. }) => {
            Some(Sums::new(inputs, 2, split.parts()))
        }
        _ => None,
    };
    let pass = ProductGradients {
        inputs,
        outputs,
        gradient,
        input,
        flipped,
        partial: partial.as_mut().map(|p| Output::new(p)),
        panels: input_gradient.as_ref().map(|g| g.panels),
        residual: input_gradient.as_ref().and_then(|g| g.residual),
        gate: input_gradient.as_ref().and_then(|g| g.gate),
        sums: sums.as_mut().map(Sums::view),
        out: input_gradient.map(|g| g.out),
        scratch: Output::new(&mut scratch),
        each,
        block,
    };
    // SAFETY: the sizes were checked above; scratch, partial gradients and sums have room for every part.
    unsafe { split.run(&pass) };
    Gradients { weights: partial.map(|p| reduce(&p, split.parts(), m, n)), sums }
}

/// Gradients of a 1x1 convolution `[outputs, inputs]` of `x`, by input (with `residual` added) and by weight, as wanted.
pub(crate) fn plain_gradients(
    rows: usize,
    gradient: GradientSource<'_>,
    x: &[f32],
    weight: &[f32],
    residual: Option<&[f32]>,
    wanted: Wanted,
) -> (Option<Vec<f32>>, Option<Vec<f32>>) {
    if !wanted.input && !wanted.weights {
        return (None, None);
    }
    let inputs = x.len() / rows;
    let outputs = weight.len() / inputs;
    let panels = wanted.input.then(|| Panels::rows(weight, outputs, inputs));
    let mut input = wanted.input.then(|| Fresh::new(rows * inputs));
    let input_gradient = panels.as_ref().zip(input.as_mut()).map(|(panels, fresh)| InputGradient {
        panels,
        out: fresh.output(),
        residual,
        gate: None,
    });
    let shape = (inputs, outputs);
    let found =
        product_gradients(rows, shape, gradient, Source::Plain(x), wanted.weights, false, input_gradient);
    // SAFETY: the pass wrote every value.
    (input.map(|fresh| unsafe { fresh.finish() }), found.weights)
}

/// Adds the parts' `[m, padded(n)]` gradients into one `[m, n]`.
fn reduce(partial: &[f32], parts: usize, m: usize, n: usize) -> Vec<f32> {
    assert_eq!(partial.len(), parts * m * padded(n), "one padded matrix per part");
    let mut out = Fresh::new(m * n);
    let pass = Reduce { partial, parts, m, n, out: out.output() };
    // SAFETY: the pass covers m rows; the sizes were checked above.
    unsafe { Split::new(m, 1, n).run(&pass) };
    // SAFETY: the pass wrote every value.
    unsafe { out.finish() }
}

struct Reduce<'a> {
    partial: &'a [f32],
    parts: usize,
    m: usize,
    n: usize,
    out: Output<'a>,
}

impl Pass for Reduce<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _part: usize, units: Range<usize>) {
        let stride = padded(self.n);
        for row in units {
            for c in (0..self.n).step_by(S::LANES) {
                // SAFETY: the row exists in each part's matrix, whose rows are padded; the output is masked.
                unsafe {
                    let mut sum = S::load(self.partial.as_ptr().add(row * stride + c));
                    for part in 1..self.parts {
                        let from = self.partial.as_ptr().add((part * self.m + row) * stride + c);
                        sum = S::add(sum, S::load(from));
                    }
                    simd::store::<S, true>(self.out.at(row * self.n + c), sum, self.n - c);
                }
            }
        }
    }
}

struct ProductGradients<'a> {
    inputs: usize,
    outputs: usize,
    gradient: GradientSource<'a>,
    input: Source<'a>,
    flipped: bool,
    partial: Option<Output<'a>>,
    panels: Option<&'a Panels<'a>>,
    residual: Option<&'a [f32]>,
    gate: Option<GateInput<'a>>,
    sums: Option<SumsView<'a>>,
    out: Option<Output<'a>>,
    scratch: Output<'a>,
    each: usize,
    block: usize,
}

impl Pass for ProductGradients<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, part: usize, units: Range<usize>) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        // SAFETY: `product_gradients` checked the sizes; each part has its own scratch, partial weight gradient
        // and sums, and writes its own rows. Scratch rows are padded, so whole vectors can be read.
        unsafe {
            let spare = self.scratch.at(part * self.each);
            let dy = spare.add(TILE_ROWS_MAX * outputs);
            let x = dy.add(self.block * padded(outputs) + TILE_ROWS_MAX);
            let slot = self.sums.map(|sums| sums.part(part));
            if let Some(partial) = self.partial
                && units.is_empty()
            {
                let (m, n) = if self.flipped { (inputs, outputs) } else { (outputs, inputs) };
                partial.at(part * m * padded(n)).write_bytes(0, m * padded(n));
            }
            let mut start = units.start;
            while start < units.end {
                let rows = self.block.min(units.end - start);
                self.gradient.fill::<S>(start..start + rows, outputs, dy);
                if let Some(partial) = self.partial {
                    self.weight_gradient::<S>(start, rows, dy, x, partial, part, start == units.start, spare);
                }
                if let (Some(out), Some(panels)) = (self.out, self.panels) {
                    let place = start * inputs;
                    let epilogue = Gradient {
                        out: out.at(place),
                        stride: inputs,
                        residual: self.residual.map(|values| values.as_ptr().add(place)),
                        gate: self.gate.map(|gate| gate.map.gate(gate.raw.as_ptr().add(place), slot)),
                    };
                    let size = Size { m: rows, n: inputs, k: outputs };
                    let left = Left { data: dy, stride: padded(outputs) };
                    multiply::<S, _, false>(size, left, panels.right::<S>(), spare, &epilogue);
                }
                if let Some(slot) = slot {
                    slot.fold();
                }
                start += rows;
            }
        }
    }
}

impl ProductGradients<'_> {
    /// Adds one row block's weight gradient.
    ///
    /// # Safety
    /// As for [`Pass::run`]; `dy` holds the block's output gradient, `x` has room for its input.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "the state of one loop, split off for length")]
    unsafe fn weight_gradient<S: Simd>(
        &self,
        start: usize,
        rows: usize,
        dy: *mut f32,
        x: *mut f32,
        partial: Output<'_>,
        part: usize,
        replace: bool,
        spare: *mut f32,
    ) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        // SAFETY: forwarded.
        unsafe {
            let (data, stride) = match self.input.plain() {
                // Whole vectors can be read from the rows themselves, and as the broadcast side (flipped, read up
                // to a whole tile past its columns) they are never used in place.
                Some(values) if inputs.is_multiple_of(S::LANES) && !self.flipped => {
                    (values.add(start * inputs), inputs)
                }
                _ => {
                    self.input.fill::<S>(start..start + rows, inputs, x);
                    (x.cast_const(), padded(inputs))
                }
            };
            let x = (data, stride);
            let dy = (dy.cast_const(), padded(outputs));
            let (left, right, m, n) =
                if self.flipped { (x, dy, inputs, outputs) } else { (dy, x, outputs, inputs) };
            let size = Size { m, n, k: rows };
            let out = partial.at(part * m * padded(n));
            let epilogue = Accumulate { out, stride: padded(n), replace };
            let left = Left { data: left.0, stride: left.1 };
            let right = Right { data: right.0, row: right.1, vector: S::LANES };
            multiply::<S, _, true>(size, left, right, spare, &epilogue);
        }
    }
}
