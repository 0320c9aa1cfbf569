//! The operations on our own kernels, as burn extension operations: burn-flex tensors in and out, without a copy where rows
//! are contiguous, and one node of the autodiff graph per operation.
//!
//! What backward needs is kept as plain memory in the node, not as tensors. Gradients of parents that track none are not
//! computed, and a call without autodiff keeps nothing.

#![expect(clippy::too_many_arguments, reason = "they are the parents of one node")]

mod autodiff;
mod run;
#[cfg(test)]
mod tests;

use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Device, Tensor};

use super::{BatchMoments, BlockArgs, NormArgs, Statistics};

/// What an operation is, besides its tensors.
#[derive(Clone, Debug)]
struct Form {
    kind: Kind,
    /// Statistics to normalise with, one per norm; none for those of the batch.
    fixed: Option<Vec<Fixed>>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Stem,
    Block { expand: bool, stride: usize, activate_output: bool, residual: bool, recompute: bool },
    Pointwise { activate: bool },
    Predict,
    UpsampleAdd,
}

#[derive(Clone, Debug)]
struct Fixed {
    mean: Vec<f32>,
    var: Vec<f32>,
}

/// The operations as burn's dispatch routes them, by number of tensors. Each returns its output, then mean and variance of
/// each norm with statistics of the batch.
#[backend_extension(Flex, Autodiff)]
trait NativeOps: Backend {
    /// Small and lateral map.
    fn native_two(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        form: Form,
    ) -> (FloatTensor<Self>, Vec<FloatTensor<Self>>);

    /// Input, weight, bias.
    fn native_three(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        form: Form,
    ) -> (FloatTensor<Self>, Vec<FloatTensor<Self>>);

    /// Input, then weight, gamma and beta.
    fn native_four(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        form: Form,
    ) -> (FloatTensor<Self>, Vec<FloatTensor<Self>>);

    /// Input, then weight, gamma and beta of two layers.
    fn native_seven(
        x: FloatTensor<Self>,
        weight1: FloatTensor<Self>,
        gamma1: FloatTensor<Self>,
        beta1: FloatTensor<Self>,
        weight2: FloatTensor<Self>,
        gamma2: FloatTensor<Self>,
        beta2: FloatTensor<Self>,
        form: Form,
    ) -> (FloatTensor<Self>, Vec<FloatTensor<Self>>);

    /// Input, then weight, gamma and beta of three layers.
    fn native_ten(
        x: FloatTensor<Self>,
        weight1: FloatTensor<Self>,
        gamma1: FloatTensor<Self>,
        beta1: FloatTensor<Self>,
        weight2: FloatTensor<Self>,
        gamma2: FloatTensor<Self>,
        beta2: FloatTensor<Self>,
        weight3: FloatTensor<Self>,
        gamma3: FloatTensor<Self>,
        beta3: FloatTensor<Self>,
        form: Form,
    ) -> (FloatTensor<Self>, Vec<FloatTensor<Self>>);
}

impl NativeOps for Flex {
    fn native_two(a: FlexTensor, b: FlexTensor, form: Form) -> (FlexTensor, Vec<FlexTensor>) {
        run::plain(&form, [a, b])
    }

    fn native_three(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        form: Form,
    ) -> (FlexTensor, Vec<FlexTensor>) {
        run::plain(&form, [x, weight, bias])
    }

    fn native_four(
        x: FlexTensor,
        weight: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        form: Form,
    ) -> (FlexTensor, Vec<FlexTensor>) {
        run::plain(&form, [x, weight, gamma, beta])
    }

    fn native_seven(
        x: FlexTensor,
        weight1: FlexTensor,
        gamma1: FlexTensor,
        beta1: FlexTensor,
        weight2: FlexTensor,
        gamma2: FlexTensor,
        beta2: FlexTensor,
        form: Form,
    ) -> (FlexTensor, Vec<FlexTensor>) {
        run::plain(&form, [x, weight1, gamma1, beta1, weight2, gamma2, beta2])
    }

    fn native_ten(
        x: FlexTensor,
        weight1: FlexTensor,
        gamma1: FlexTensor,
        beta1: FlexTensor,
        weight2: FlexTensor,
        gamma2: FlexTensor,
        beta2: FlexTensor,
        weight3: FlexTensor,
        gamma3: FlexTensor,
        beta3: FlexTensor,
        form: Form,
    ) -> (FlexTensor, Vec<FlexTensor>) {
        run::plain(&form, [x, weight1, gamma1, beta1, weight2, gamma2, beta2, weight3, gamma3, beta3])
    }
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
    statistics: Statistics,
) -> (Tensor<4>, BatchMoments) {
    let (gamma, beta) = (norm.gamma.clone(), norm.beta.clone());
    let norms = vec![norm];
    let form = Form { kind: Kind::Stem, fixed: fixed(&norms, statistics) };
    let outcome = Dispatch::native_four(
        x.into_dispatch(),
        weight.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        form,
    );
    single(tensors(outcome, norms))
}

/// See [`super::pointwise`].
pub fn pointwise(
    x: Tensor<4>,
    weight: Tensor<2>,
    norm: NormArgs,
    activate: bool,
    statistics: Statistics,
) -> (Tensor<4>, BatchMoments) {
    let (gamma, beta) = (norm.gamma.clone(), norm.beta.clone());
    let norms = vec![norm];
    let form = Form { kind: Kind::Pointwise { activate }, fixed: fixed(&norms, statistics) };
    let outcome = Dispatch::native_four(
        x.into_dispatch(),
        weight.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        form,
    );
    single(tensors(outcome, norms))
}

/// See [`super::block`].
pub fn block(x: Tensor<4>, args: BlockArgs, statistics: Statistics) -> (Tensor<4>, Vec<BatchMoments>) {
    let BlockArgs { expand, depthwise, project, stride, activate_output, residual, recompute } = args;
    let kind = Kind::Block { expand: expand.is_some(), stride, activate_output, residual, recompute };
    let (expand, mut norms) = expand.map_or((None, vec![]), |(weight, norm)| (Some(weight), vec![norm]));
    norms.extend([depthwise.1, project.1]);
    let form = Form { kind, fixed: fixed(&norms, statistics) };
    let parameters = |i: usize| {
        let norm: &NormArgs = &norms[i];
        (norm.gamma.clone().into_dispatch(), norm.beta.clone().into_dispatch())
    };
    let (x, depthwise, project) = (x.into_dispatch(), depthwise.0.into_dispatch(), project.0.into_dispatch());
    let outcome = match expand {
        Some(expand) => {
            let ((g1, b1), (g2, b2), (g3, b3)) = (parameters(0), parameters(1), parameters(2));
            let expand = expand.into_dispatch();
            Dispatch::native_ten(x, expand, g1, b1, depthwise, g2, b2, project, g3, b3, form)
        }
        None => {
            let ((g1, b1), (g2, b2)) = (parameters(0), parameters(1));
            Dispatch::native_seven(x, depthwise, g1, b1, project, g2, b2, form)
        }
    };
    tensors(outcome, norms)
}

/// See [`super::predict`].
pub fn predict(x: Tensor<4>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<4> {
    let form = Form { kind: Kind::Predict, fixed: None };
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::native_three(x, weight, bias, form).0)
}

/// See [`super::upsample_add`].
pub fn upsample_add(small: Tensor<4>, lateral: Tensor<4>) -> Tensor<4> {
    let form = Form { kind: Kind::UpsampleAdd, fixed: None };
    Tensor::from_dispatch(Dispatch::native_two(small.into_dispatch(), lateral.into_dispatch(), form).0)
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

type Dispatched = FloatTensor<Dispatch>;

/// The output, and the moments used: the batch's if there are any, else those given.
fn tensors(
    (output, moments): (Dispatched, Vec<Dispatched>),
    norms: Vec<NormArgs>,
) -> (Tensor<4>, Vec<BatchMoments>) {
    let mut of_batch = moments.into_iter().map(Tensor::<1>::from_dispatch);
    let moments = norms.into_iter().map(|norm| match (of_batch.next(), of_batch.next()) {
        (Some(mean), Some(var)) => BatchMoments { mean, var },
        _ => BatchMoments { mean: norm.mean.detach(), var: norm.var.detach() },
    });
    (Tensor::from_dispatch(output), moments.collect())
}

fn single((output, moments): (Tensor<4>, Vec<BatchMoments>)) -> (Tensor<4>, BatchMoments) {
    let moments = moments.into_iter().next();
    (output, moments.expect("one norm gives one pair of moments"))
}
