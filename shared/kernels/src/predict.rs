//! 1x1 convolution with a bias and nothing after it: the last layer of a head.

use crate::activation::Activation;
use crate::buffer::Fresh;
use crate::error::{Error, check_dim, check_len};
use crate::gemm::pack::Panels;
use crate::norm::gradient_sums;
use crate::rows::backward::plain_gradients;
use crate::rows::forward::{Finish, product};
use crate::rows::gradient::GradientSource;
use crate::rows::source::Source;
use crate::simd::padded;
use crate::{Map, Wanted};

/// What [`backward`] returns; a gradient is there if it was wanted.
#[derive(Debug)]
pub struct Gradients {
    /// `[batch, height, width, inputs]`.
    pub input: Option<Vec<f32>>,
    /// `[outputs, inputs]`.
    pub weight: Option<Vec<f32>>,
    /// `[outputs]`.
    pub bias: Option<Vec<f32>>,
}

fn sizes(map: Map, x: &[f32], weight: &[f32], outputs: usize) -> Result<(usize, usize), Error> {
    check_dim("predict weight", "outputs", outputs)?;
    let inputs = map.channels("predict input", x)?;
    map.check("predict output", outputs)?;
    check_len("predict weight", weight, outputs * inputs)?;
    Ok((map.pixels(), inputs))
}

/// `weight * x + bias` per pixel of `x`, `[batch, height, width, inputs]`: `[batch, height, width, outputs]`.
/// `weight` is `[outputs, inputs]`, `bias` `[outputs]`.
///
/// # Errors
/// When lengths disagree or a dimension is zero.
pub fn forward(map: Map, x: &[f32], weight: &[f32], bias: &[f32]) -> Result<Vec<f32>, Error> {
    let outputs = bias.len();
    let (rows, inputs) = sizes(map, x, weight, outputs)?;
    let panels = Panels::transposed(weight, inputs, outputs);
    let mut offset = vec![0.0; padded(outputs)];
    offset[..outputs].copy_from_slice(bias);
    let mut output = Fresh::new(rows * outputs);
    let finish =
        Finish::Affine { scale: None, offset: &offset, activation: Activation::None, residual: None };
    product(Source::Plain(x), rows, &panels, finish, false, output.output());
    // SAFETY: the pass wrote every value.
    Ok(unsafe { output.finish() })
}

/// Gradients of a loss whose gradient with respect to the output is `gradient`, `[batch, height, width, outputs]`.
/// The bias counts as affine.
///
/// # Errors
/// When lengths disagree or a dimension is zero.
pub fn backward(
    map: Map,
    x: &[f32],
    weight: &[f32],
    gradient: &[f32],
    wanted: Wanted,
) -> Result<Gradients, Error> {
    map.check("predict output", 1)?;
    let outputs = gradient.len() / map.pixels();
    let (rows, _) = sizes(map, x, weight, outputs)?;
    check_len("predict output gradient", gradient, rows * outputs)?;
    let bias = wanted.affine.then(|| {
        let sums = gradient_sums(gradient, outputs, None);
        sums.total(0, outputs).into_iter().map(|v| v as f32).collect()
    });
    let source = GradientSource { gradient, pullback: None };
    let (input, weight) = plain_gradients(rows, source, x, weight, None, wanted);
    Ok(Gradients { input, weight, bias })
}
