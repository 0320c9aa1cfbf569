//! The first layer: 3x3 convolution of an image with stride 2 and padding 1, batch norm, activation. The image gets no
//! gradient.

use crate::activation::Activation;
use crate::buffer::Buffer;
use crate::error::{Error, check_dim, check_len};
use crate::gemm::pack::Panels;
use crate::norm::{Moments, Norm, NormGradients, NormMap, gradient_sums};
use crate::rows::backward::product_gradients;
use crate::rows::forward::{Normed, normed};
use crate::rows::gradient::GradientSource;
use crate::rows::source::{Patches, Source};
use crate::{Map, Wanted};

/// Parameters of the op.
#[derive(Clone, Copy, Debug)]
pub struct Stem<'a> {
    /// `[3, 3, inputs, outputs]`.
    pub weight: &'a [f32],
    /// Over the outputs.
    pub norm: Norm<'a>,
    /// After the norm.
    pub activation: Activation,
}

/// What [`forward`] returns.
#[derive(Debug)]
pub struct Forward {
    /// `[batch, ceil(height / 2), ceil(width / 2), outputs]`.
    pub output: Vec<f32>,
    /// Of the batch, when the statistics are [`crate::Statistics::Batch`].
    pub moments: Option<Moments>,
    /// For [`backward`], when asked for.
    pub saved: Option<Saved>,
}

/// What [`backward`] needs of the forward pass.
#[derive(Debug)]
pub struct Saved {
    map: Map,
    inputs: usize,
    raw: Buffer,
    norm: NormMap,
}

/// What [`backward`] returns; a gradient is there if it was wanted.
#[derive(Debug)]
pub struct Gradients {
    /// `[3, 3, inputs, outputs]`.
    pub weight: Option<Vec<f32>>,
    /// Of gamma and beta.
    pub norm: Option<NormGradients>,
}

/// `activation(norm(conv(image)))` for an `image` of `[batch, height, width, inputs]`. Nothing is kept unless `save`.
///
/// # Errors
/// When lengths disagree or a dimension is zero.
pub fn forward(map: Map, image: &[f32], op: &Stem<'_>, save: bool) -> Result<Forward, Error> {
    let outputs = op.norm.gamma.len();
    check_dim("stem weight", "outputs", outputs)?;
    let inputs = map.channels("stem input", image)?;
    map.check("stem output", outputs)?;
    check_len("stem weight", op.weight, 9 * inputs * outputs)?;
    op.norm.check(outputs)?;

    let rows = map.strided(2).pixels();
    let panels = Panels::rows(op.weight, 9 * inputs, outputs);
    let source = Source::Patches(Patches::new(map, image));
    let Normed { output, map: norm, raw } =
        normed(source, rows, &panels, (&op.norm, op.activation), None, save);
    let moments = norm.moments.clone();
    let saved = raw.filter(|_| save).map(|raw| Saved { map, inputs, raw, norm });
    Ok(Forward { output, moments, saved })
}

/// Gradients of a loss whose gradient with respect to the output is `gradient`; `image` is that of the forward
/// pass. `wanted.input` is ignored.
///
/// # Errors
/// When lengths disagree with the forward pass.
pub fn backward(saved: &Saved, image: &[f32], gradient: &[f32], wanted: Wanted) -> Result<Gradients, Error> {
    let rows = saved.map.strided(2).pixels();
    let (inputs, outputs) = (saved.inputs, saved.raw.len() / rows);
    check_len("stem input", image, saved.map.pixels() * inputs)?;
    check_len("stem output gradient", gradient, rows * outputs)?;
    let needs_sums = (saved.norm.live() && wanted.weights) || wanted.affine;
    let sums = needs_sums.then(|| gradient_sums(gradient, outputs, Some((&saved.raw, &saved.norm))));
    let (pullback, norm) = saved.norm.pullback(sums.as_ref(), wanted.affine);
    let weight = if wanted.weights {
        let source =
            GradientSource { gradient, pullback: Some(pullback.view(&saved.raw, Some(&saved.norm))) };
        let input = Source::Patches(Patches::new(saved.map, image));
        product_gradients(rows, (9 * inputs, outputs), source, input, true, true, None).weights
    } else {
        None
    };
    Ok(Gradients { weight, norm })
}
