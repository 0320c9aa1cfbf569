//! 1x1 convolution, batch norm, activation.

use crate::activation::Activation;
use crate::buffer::Buffer;
use crate::error::{Error, check_dim, check_len};
use crate::gemm::pack::Panels;
use crate::norm::{Moments, Norm, NormGradients, NormMap, gradient_sums};
use crate::rows::backward::plain_gradients;
use crate::rows::forward::{Normed, normed};
use crate::rows::gradient::GradientSource;
use crate::rows::source::Source;
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
    let inputs = map.channels("pointwise input", x)?;
    map.check("pointwise output", outputs)?;
    check_len("pointwise weight", op.weight, outputs * inputs)?;
    op.norm.check(outputs)?;

    let rows = map.pixels();
    let panels = Panels::transposed(op.weight, inputs, outputs);
    let Normed { output, map, raw } =
        normed(Source::Plain(x), rows, &panels, (&op.norm, op.activation), None, save);
    let moments = map.moments.clone();
    let saved = raw.filter(|_| save).map(|raw| Saved { rows, inputs, raw, map });
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
    let source = GradientSource { gradient, pullback: Some(pullback.view(&saved.raw, Some(&saved.map))) };
    let (input, weight) = plain_gradients(rows, source, x, weight, None, wanted);
    Ok(Gradients { input, weight, norm })
}
