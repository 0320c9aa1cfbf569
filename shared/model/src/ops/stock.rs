//! The operations composed from burn's own: any device, gradients by autodiff, slow on the CPU.

use burn::tensor::Tensor;
use burn::tensor::activation::{hard_sigmoid, hard_swish, relu};
use burn::tensor::module::{batch_norm, batch_norm_train, conv2d};
use burn::tensor::ops::ConvOptions;

use super::{Activation, BatchMoments, BlockArgs, NORM_EPSILON, NormArgs, SqueezeArgs, Statistics};

/// See [`super::stem`].
pub fn stem(
    x: Tensor<4>,
    weight: Tensor<4>,
    norm: NormArgs,
    activation: Activation,
    statistics: Statistics,
) -> (Tensor<4>, BatchMoments) {
    let (y, moments) = normalise(convolve(x, weight.permute([3, 2, 0, 1]), 2, 1), norm, statistics);
    (activate(y, activation), moments)
}

/// See [`super::block`].
pub fn block(x: Tensor<4>, args: BlockArgs, statistics: Statistics) -> (Tensor<4>, Vec<BatchMoments>) {
    let input = args.residual.then(|| x.clone());
    let mut moments = Vec::with_capacity(3);
    let mut hidden = x;
    if let Some((weight, norm)) = args.expand {
        let (y, used) = pointwise(hidden, weight, norm, args.activation, statistics);
        moments.push(used);
        hidden = y;
    }
    let (weight, norm) = args.depthwise;
    let [rows, columns, channels] = weight.dims();
    // To burn's [channels, 1, rows, columns].
    let weight = weight.permute([2, 0, 1]).reshape([channels, 1, rows, columns]);
    let (y, used) = normalise(convolve(hidden, weight, args.stride, channels), norm, statistics);
    moments.push(used);
    let y = activate(y, args.activation);
    let y = match args.squeeze {
        Some(squeeze) => excite(y, squeeze),
        None => y,
    };
    let (weight, norm) = args.project;
    let (y, used) = pointwise(y, weight, norm, args.output_activation, statistics);
    moments.push(used);
    let y = match input {
        Some(input) => y + input,
        None => y,
    };
    (y, moments)
}

/// See [`super::pointwise`].
pub fn pointwise(
    x: Tensor<4>,
    weight: Tensor<2>,
    norm: NormArgs,
    activation: Activation,
    statistics: Statistics,
) -> (Tensor<4>, BatchMoments) {
    let (y, moments) = normalise(multiply(x, weight), norm, statistics);
    (activate(y, activation), moments)
}

/// See [`super::predict`].
pub fn predict(x: Tensor<4>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<4> {
    let [out] = bias.dims();
    multiply(x, weight) + bias.reshape([1, 1, 1, out])
}

/// See [`super::upsample_add`].
pub fn upsample_add(small: Tensor<4>, lateral: Tensor<4>) -> Tensor<4> {
    let [images, rows, columns, channels] = small.dims();
    let [_, lateral_rows, lateral_columns, _] = lateral.dims();
    let large = small
        .reshape([images, rows, 1, columns, 1, channels])
        .expand([images, rows, 2, columns, 2, channels])
        .reshape([images, 2 * rows, 2 * columns, channels]);
    large.slice([0..images, 0..lateral_rows, 0..lateral_columns, 0..channels]) + lateral
}

/// A convolution in burn's NCHW, padded by half of its side; `weight` is `[out, in / groups, side, side]`.
fn convolve(x: Tensor<4>, weight: Tensor<4>, stride: usize, groups: usize) -> Tensor<4> {
    let [_, _, rows, columns] = weight.dims();
    let options = ConvOptions::new([stride, stride], [rows / 2, columns / 2], [1, 1], groups);
    conv2d(x.permute([0, 3, 1, 2]), weight, None, options).permute([0, 2, 3, 1])
}

/// A 1x1 convolution as one matrix product over all pixels.
fn multiply(x: Tensor<4>, weight: Tensor<2>) -> Tensor<4> {
    let [images, rows, columns, channels] = x.dims();
    let [out, _] = weight.dims();
    x.reshape([images * rows * columns, channels])
        .matmul(weight.transpose())
        .reshape([images, rows, columns, out])
}

fn normalise(x: Tensor<4>, norm: NormArgs, statistics: Statistics) -> (Tensor<4>, BatchMoments) {
    let shape = x.dims();
    let [images, rows, columns, channels] = shape;
    let x = x.reshape([images * rows * columns, channels]);
    let NormArgs { gamma, beta, mean, var } = norm;
    let (y, mean, var) = match statistics {
        Statistics::Batch => {
            let used = batch_norm_train(x, gamma, beta, NORM_EPSILON);
            (used.output, used.mean, used.variance)
        }
        Statistics::Fixed => (batch_norm(x, gamma, beta, mean.clone(), var.clone(), NORM_EPSILON), mean, var),
    };
    (y.reshape(shape), BatchMoments { mean: mean.detach(), var: var.detach() })
}

fn activate(x: Tensor<4>, activation: Activation) -> Tensor<4> {
    match activation {
        Activation::None => x,
        Activation::Relu => relu(x),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::HardSwish => hard_swish(x),
    }
}

fn excite(x: Tensor<4>, SqueezeArgs { reduce, restore }: SqueezeArgs) -> Tensor<4> {
    let means = x.clone().mean_dim(1).mean_dim(2);
    let squeezed = relu(predict(means, reduce.0, reduce.1));
    x * hard_sigmoid(predict(squeezed, restore.0, restore.1), 1.0 / 6.0, 0.5)
}
