//! The operations on our own kernels, as burn extension operations: burn-flex tensors in and out, without a copy where rows
//! are contiguous, and one node of the autodiff graph per operation.
//!
//! What backward needs is kept as plain memory in the node, not as tensors. Gradients of parents that track none are not
//! computed, and a call without autodiff keeps nothing.

mod autodiff;
mod dispatch;
mod run;
#[cfg(test)]
mod tests;

use burn::tensor::{DType, Device, Tensor};

use super::{Activation, BatchMoments, BlockArgs, NormArgs, Statistics};
use dispatch::{Dispatched, dispatch};

/// What an operation is, besides its tensors.
#[derive(Clone, Debug)]
struct Form {
    kind: Kind,
    /// Statistics to normalise with, one per norm; none for those of the batch.
    fixed: Option<Vec<Fixed>>,
}

/// The operations, and what their tensors are in order.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Input, weight, gamma, beta.
    Stem(Activation),
    /// Input; weight, gamma, beta of each layer; weight and bias of both matrices of a squeeze-excite.
    Block(BlockForm),
    /// Input, weight, gamma, beta.
    Pointwise(Activation),
    /// Input, weight, bias.
    Predict,
    /// Small and lateral map.
    UpsampleAdd,
}

#[derive(Clone, Copy, Debug)]
struct BlockForm {
    expand: bool,
    squeeze: bool,
    stride: usize,
    activation: Activation,
    output_activation: Activation,
    residual: bool,
    recompute: bool,
}

impl BlockForm {
    /// Layers with a batch norm.
    fn layers(self) -> usize {
        if self.expand { 3 } else { 2 }
    }
}

#[derive(Clone, Debug)]
struct Fixed {
    mean: Vec<f32>,
    var: Vec<f32>,
}

/// Whether the kernels can take `x`: single precision on burn-flex.
pub fn serves(x: &Tensor<4>) -> bool {
    x.dtype() == DType::F32 && x.device() == Device::flex()
}

/// See [`super::stem`].
pub fn stem(
    x: Tensor<4>,
    weight: Tensor<4>,
    norm: NormArgs,
    activation: Activation,
    statistics: Statistics,
) -> (Tensor<4>, BatchMoments) {
    let mut call = Call::new(x);
    call.layer(weight, norm);
    single(call.run(Kind::Stem(activation), statistics))
}

/// See [`super::pointwise`].
pub fn pointwise(
    x: Tensor<4>,
    weight: Tensor<2>,
    norm: NormArgs,
    activation: Activation,
    statistics: Statistics,
) -> (Tensor<4>, BatchMoments) {
    let mut call = Call::new(x);
    call.layer(weight, norm);
    single(call.run(Kind::Pointwise(activation), statistics))
}

/// See [`super::block`].
pub fn block(x: Tensor<4>, args: BlockArgs, statistics: Statistics) -> (Tensor<4>, Vec<BatchMoments>) {
    let BlockArgs { expand, depthwise, squeeze, project, .. } = args;
    let kind = Kind::Block(BlockForm {
        expand: expand.is_some(),
        squeeze: squeeze.is_some(),
        stride: args.stride,
        activation: args.activation,
        output_activation: args.output_activation,
        residual: args.residual,
        recompute: args.recompute,
    });
    let mut call = Call::new(x);
    if let Some((weight, norm)) = expand {
        call.layer(weight, norm);
    }
    call.layer(depthwise.0, depthwise.1);
    call.layer(project.0, project.1);
    if let Some(squeeze) = squeeze {
        for (weight, bias) in [squeeze.reduce, squeeze.restore] {
            call.tensors.extend([weight.into_dispatch(), bias.into_dispatch()]);
        }
    }
    call.run(kind, statistics)
}

/// See [`super::predict`].
pub fn predict(x: Tensor<4>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<4> {
    let mut call = Call::new(x);
    call.tensors.extend([weight.into_dispatch(), bias.into_dispatch()]);
    call.run(Kind::Predict, Statistics::Batch).0
}

/// See [`super::upsample_add`].
pub fn upsample_add(small: Tensor<4>, lateral: Tensor<4>) -> Tensor<4> {
    let mut call = Call::new(small);
    call.tensors.push(lateral.into_dispatch());
    call.run(Kind::UpsampleAdd, Statistics::Batch).0
}

/// The tensors of an operation, and the norms among them.
struct Call {
    tensors: Vec<Dispatched>,
    norms: Vec<NormArgs>,
}

impl Call {
    fn new(x: Tensor<4>) -> Self {
        Self { tensors: vec![x.into_dispatch()], norms: vec![] }
    }

    fn layer<const D: usize>(&mut self, weight: Tensor<D>, norm: NormArgs) {
        let (gamma, beta) = (norm.gamma.clone(), norm.beta.clone());
        self.tensors.extend([weight.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch()]);
        self.norms.push(norm);
    }

    /// The output, and the moments used: the batch's if there are any, else those given.
    fn run(self, kind: Kind, statistics: Statistics) -> (Tensor<4>, Vec<BatchMoments>) {
        let Self { tensors, norms } = self;
        let form = Form { kind, fixed: fixed(&norms, statistics) };
        let (output, moments) = dispatch(tensors, form);
        let mut of_batch = moments.into_iter().map(Tensor::<1>::from_dispatch);
        let moments = norms.into_iter().map(|norm| match (of_batch.next(), of_batch.next()) {
            (Some(mean), Some(var)) => BatchMoments { mean, var },
            _ => BatchMoments { mean: norm.mean.detach(), var: norm.var.detach() },
        });
        (Tensor::from_dispatch(output), moments.collect())
    }
}

fn fixed(norms: &[NormArgs], statistics: Statistics) -> Option<Vec<Fixed>> {
    let values = |t: &Tensor<1>| -> Vec<f32> { t.to_data().iter::<f32>().collect() };
    match statistics {
        Statistics::Batch => None,
        Statistics::Fixed => Some(
            norms.iter().map(|norm| Fixed { mean: values(&norm.mean), var: values(&norm.var) }).collect(),
        ),
    }
}

fn single((output, moments): (Tensor<4>, Vec<BatchMoments>)) -> (Tensor<4>, BatchMoments) {
    let moments = moments.into_iter().next();
    (output, moments.expect("one norm gives one pair of moments"))
}
