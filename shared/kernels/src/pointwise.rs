//! 1x1 convolution, batch norm, activation.

use crate::activation::Activation;
use crate::buffer::{Buffer, Fresh};
use crate::error::{Error, check_dim, check_len};
use crate::gemm::pack::Panels;
use crate::norm::{Moments, Norm, NormGradients, NormMap, apply, gradient_sums};
use crate::rows::backward::{InputGradient, product_gradients};
use crate::rows::forward::{Finish, product};
use crate::rows::gradient::GradientSource;
use crate::rows::source::Source;
use crate::threads::Output;
use crate::{Map, Wanted};

/// Parameters of the op.
#[derive(Clone, Copy, Debug)]
pub struct Pointwise<'a> {
    /// `[outputs, inputs]`.
    pub weight: &'a [f32],
    /// Over the outputs.
    pub norm: Norm<'a>,
    /// After the norm.
    pub activation: Activation,
}

/// What [`forward`] returns.
#[derive(Debug)]
pub struct Forward {
    /// `[batch, height, width, outputs]`.
    pub output: Vec<f32>,
    /// Of the batch, when the statistics are [`crate::Statistics::Batch`].
    pub moments: Option<Moments>,
    /// For [`backward`], when asked for.
    pub saved: Option<Saved>,
}

/// What [`backward`] needs of the forward pass.
#[derive(Debug)]
pub struct Saved {
    rows: usize,
    inputs: usize,
    raw: Buffer,
    map: NormMap,
}

/// What [`backward`] returns; a gradient is there if it was wanted.
#[derive(Debug)]
pub struct Gradients {
    /// `[batch, height, width, inputs]`.
    pub input: Option<Vec<f32>>,
    /// `[outputs, inputs]`.
    pub weight: Option<Vec<f32>>,
    /// Of gamma and beta.
    pub norm: Option<NormGradients>,
}

/// `activation(norm(weight * x))` per pixel of `x`, `[batch, height, width, inputs]`. Nothing is kept unless `save`.
///
/// # Errors
/// When lengths disagree or a dimension is zero.
pub fn forward(map: Map, x: &[f32], op: &Pointwise<'_>, save: bool) -> Result<Forward, Error> {
    let outputs = op.norm.gamma.len();
    check_dim("pointwise weight", "outputs", outputs)?;
    map.check("pointwise input", 1)?;
    let (rows, inputs) = (map.pixels(), x.len() / map.pixels());
    map.check("pointwise input", inputs)?;
    map.check("pointwise output", outputs)?;
    check_len("pointwise input", x, rows * inputs)?;
    check_len("pointwise weight", op.weight, outputs * inputs)?;
    op.norm.check(outputs)?;

    let panels = Panels::transposed(op.weight, inputs, outputs);
    let mut output = Fresh::new(rows * outputs);
    if !op.norm.live() && !save {
        let map = op.norm.map(op.activation, None, rows);
        let finish = Finish::Affine {
            scale: Some(&map.scale),
            offset: &map.offset,
            activation: op.activation,
            residual: None,
        };
        product(Source::Plain(x), rows, &panels, finish, false, output.output());
        // SAFETY: the pass wrote every value.
        let output = unsafe { output.finish() };
        return Ok(Forward { output, moments: None, saved: None });
    }
    let mut raw = Buffer::take(rows * outputs);
    let sums = product(Source::Plain(x), rows, &panels, Finish::Raw, op.norm.live(), Output::new(&mut raw));
    let map = op.norm.map(op.activation, sums.as_ref(), rows);
    apply(&raw, &map, None, output.output());
    // SAFETY: the pass wrote every value.
    let output = unsafe { output.finish() };
    let moments = map.moments.clone();
    let saved = save.then(|| Saved { rows, inputs, raw, map });
    Ok(Forward { output, moments, saved })
}

/// Gradients of a loss whose gradient with respect to the output is `gradient`, `[batch, height, width, outputs]`;
/// `x` and `weight` are those of the forward pass.
///
/// # Errors
/// When lengths disagree with the forward pass.
pub fn backward(
    saved: &Saved,
    x: &[f32],
    weight: &[f32],
    gradient: &[f32],
    wanted: Wanted,
) -> Result<Gradients, Error> {
    let (rows, inputs, outputs) = (saved.rows, saved.inputs, saved.raw.len() / saved.rows);
    check_len("pointwise input", x, rows * inputs)?;
    check_len("pointwise weight", weight, outputs * inputs)?;
    check_len("pointwise output gradient", gradient, rows * outputs)?;

    let needs_sums = saved.map.live() || wanted.affine;
    let sums = needs_sums.then(|| gradient_sums(gradient, outputs, Some((&saved.raw, &saved.map))));
    let (pullback, norm) = saved.map.pullback(sums.as_ref(), wanted.affine);
    if !wanted.input && !wanted.weights {
        return Ok(Gradients { input: None, weight: None, norm });
    }
    let source = GradientSource { gradient, pullback: Some(pullback.view(&saved.raw, Some(&saved.map))) };
    let panels = wanted.input.then(|| Panels::rows(weight, outputs, inputs));
    let mut input = wanted.input.then(|| Fresh::new(rows * inputs));
    let input_gradient = match (&panels, &mut input) {
        (Some(panels), Some(out)) => {
            Some(InputGradient { panels, out: out.output(), residual: None, gate: None })
        }
        _ => None,
    };
    let shape = (inputs, outputs);
    let found =
        product_gradients(rows, shape, source, Source::Plain(x), wanted.weights, false, input_gradient);
    // SAFETY: the pass wrote every value.
    let input = input.map(|fresh| unsafe { fresh.finish() });
    Ok(Gradients { input, weight: found.weights, norm })
}
