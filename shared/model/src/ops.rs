//! The operations a detector is made of, on NHWC tensors.
//!
//! A whole inverted residual is one operation, because what makes training fast is passing raw convolution outputs with a
//! pending normalisation from one pass to the next, which separate autodiff operations cannot express. [`native`] does that
//! on burn-flex. [`stock`] composes them from burn's own operations: it runs on every other device and is the oracle of the
//! native ones.
//!
//! Maps are `[images, rows, columns, channels]`. A 1x1 weight is `[out, in]`, a depthwise weight `[side, side, channels]` with a
//! side of 3 or 5, the stem's `[3, 3, in, out]`. Convolutions pad by half of their side with zeros, so a stride of 2 halves sizes
//! and rounds up.

use std::sync::LazyLock;

use burn::tensor::{Device, Tensor};

pub use kernels::Activation;

pub mod native;
pub mod stock;

/// Added to variances before the square root.
pub const NORM_EPSILON: f64 = 1e-5;

/// Batch norm over the last axis: scale, shift and running statistics, each `[channels]`.
#[derive(Clone, Debug)]
pub struct NormArgs {
    /// Scale.
    pub gamma: Tensor<1>,
    /// Shift.
    pub beta: Tensor<1>,
    /// Running mean, used with [`Statistics::Fixed`].
    pub mean: Tensor<1>,
    /// Running biased variance, used with [`Statistics::Fixed`].
    pub var: Tensor<1>,
}

/// Which statistics normalise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Those of the batch at hand.
    Batch,
    /// The running ones.
    Fixed,
}

/// The statistics a batch norm used, each `[channels]`, without gradients.
#[derive(Clone, Debug)]
pub struct BatchMoments {
    /// Mean over images, rows and columns ([`Statistics::Fixed`]: the running mean).
    pub mean: Tensor<1>,
    /// Biased variance ([`Statistics::Fixed`]: the running variance).
    pub var: Tensor<1>,
}

/// A squeeze-excite: each channel of an image times a factor between 0 and 1, made from the means of all channels of that
/// image by two matrices with biases, ReLU between and the hard sigmoid `relu6(z + 3) / 6` behind them (Hu et al. 2018; the hard
/// sigmoid as in Howard et al. 2019, section 5).
#[derive(Clone, Debug)]
pub struct SqueezeArgs {
    /// `[squeezed, hidden]` and `[squeezed]`.
    pub reduce: (Tensor<2>, Tensor<1>),
    /// `[hidden, squeezed]` and `[hidden]`.
    pub restore: (Tensor<2>, Tensor<1>),
}

/// An inverted residual (Sandler et al. 2018; with a squeeze-excite Howard et al. 2019), or without `expand` a separable
/// convolution.
#[derive(Clone, Debug)]
pub struct BlockArgs {
    /// 1x1 convolution `[hidden, in]`, batch norm, activation.
    pub expand: Option<(Tensor<2>, NormArgs)>,
    /// Depthwise convolution `[side, side, hidden]` with a side of 3 or 5, batch norm, activation.
    pub depthwise: (Tensor<3>, NormArgs),
    /// What scales the hidden channels then.
    pub squeeze: Option<SqueezeArgs>,
    /// 1x1 convolution `[out, hidden]`, batch norm.
    pub project: (Tensor<2>, NormArgs),
    /// Step of the depthwise convolution, 1 or 2.
    pub stride: usize,
    /// After the first two batch norms.
    pub activation: Activation,
    /// After the last one.
    pub output_activation: Activation,
    /// Whether the input is added to the result, after that activation.
    pub residual: bool,
    /// Whether backward makes the maps in between again instead of keeping them; [`stock`] keeps them in any case.
    pub recompute: bool,
}

/// Whether the environment keeps the native operations out with `FOVEA_OPS=stock`, to compare the two.
fn stock_only() -> bool {
    static STOCK: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("FOVEA_OPS").is_some_and(|ops| ops == "stock"));
    *STOCK
}

fn natively(x: &Tensor<4>) -> bool {
    !stock_only() && native::serves(x)
}

/// Whether the kernels serve `device`, and may.
pub(crate) fn plans(device: &Device) -> bool {
    !stock_only() && *device == Device::flex()
}

/// 3x3 convolution with stride 2 (`weight` `[3, 3, in, out]`), batch norm, activation.
pub fn stem(
    x: Tensor<4>,
    weight: Tensor<4>,
    norm: NormArgs,
    activation: Activation,
    statistics: Statistics,
) -> (Tensor<4>, BatchMoments) {
    if natively(&x) {
        native::stem(x, weight, norm, activation, statistics)
    } else {
        stock::stem(x, weight, norm, activation, statistics)
    }
}

/// A block; the moments come in the order expand (if any), depthwise, project.
pub fn block(x: Tensor<4>, args: BlockArgs, statistics: Statistics) -> (Tensor<4>, Vec<BatchMoments>) {
    if natively(&x) { native::block(x, args, statistics) } else { stock::block(x, args, statistics) }
}

/// 1x1 convolution (`weight` `[out, in]`), batch norm, activation.
pub fn pointwise(
    x: Tensor<4>,
    weight: Tensor<2>,
    norm: NormArgs,
    activation: Activation,
    statistics: Statistics,
) -> (Tensor<4>, BatchMoments) {
    if natively(&x) {
        native::pointwise(x, weight, norm, activation, statistics)
    } else {
        stock::pointwise(x, weight, norm, activation, statistics)
    }
}

/// 1x1 convolution (`weight` `[out, in]`) with a bias `[out]`, nothing else.
pub fn predict(x: Tensor<4>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<4> {
    if natively(&x) { native::predict(x, weight, bias) } else { stock::predict(x, weight, bias) }
}

/// `lateral` plus `small` enlarged to twice its size (nearest neighbour) and cropped to `lateral`'s.
pub fn upsample_add(small: Tensor<4>, lateral: Tensor<4>) -> Tensor<4> {
    if natively(&small) { native::upsample_add(small, lateral) } else { stock::upsample_add(small, lateral) }
}
