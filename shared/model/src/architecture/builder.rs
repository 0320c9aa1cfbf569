//! Names and places of tensors, in the order in which the detector is built.

use params::{Scope, TensorSpec};

use super::backbone::Bottleneck;
use super::{BlockIndex, ConvIndex, LinearIndex, NormIndex, Part, Role, SqueezeIndex, TensorIndex};
use crate::ops::Activation;

/// Collects tensors; equal calls in equal order give equal layouts.
#[derive(Default)]
pub(super) struct Builder {
    pub(super) specs: Vec<TensorSpec>,
    pub(super) parts: Vec<Part>,
    pub(super) roles: Vec<Role>,
}

impl Builder {
    fn push(&mut self, part: Part, name: String, shape: &[usize], role: Role) -> TensorIndex {
        let scope = match (role, part) {
            (Role::Mean | Role::Variance, _) => Scope::Statistic,
            (_, Part::Personal) => Scope::Personal,
            (_, Part::Deep | Part::Backbone | Part::Neck | Part::Head) => Scope::Shared,
        };
        self.specs.push(TensorSpec { name, shape: shape.to_vec(), scope });
        self.parts.push(part);
        self.roles.push(role);
        self.specs.len() - 1
    }

    /// A running mean and the variance beside it.
    fn statistics(&mut self, part: Part, name: &str, channels: usize) -> (TensorIndex, TensorIndex) {
        let mean = self.push(part, format!("{name}.mean"), &[channels], Role::Mean);
        (mean, self.push(part, format!("{name}.var"), &[channels], Role::Variance))
    }

    /// A convolution with weight and affine part but without statistics: weight, gamma, beta.
    fn affine_conv(&mut self, part: Part, name: &str, shape: &[usize]) -> [TensorIndex; 3] {
        let channels = out_channels(shape);
        let taps = if shape.len() > 2 { shape[0] * shape[1] } else { 1 };
        let role = Role::Convolution { fan_out: channels * taps };
        let weight = self.push(part, format!("{name}.weight"), shape, role);
        let gamma = self.push(part, format!("{name}.gamma"), &[channels], Role::Scale);
        [weight, gamma, self.push(part, format!("{name}.beta"), &[channels], Role::Shift)]
    }

    /// A convolution with batch norm; the weight's shape says which kind, see [`crate::ops`].
    pub(super) fn conv(&mut self, part: Part, name: &str, shape: &[usize]) -> ConvIndex {
        let [weight, gamma, beta] = self.affine_conv(part, name, shape);
        let (mean, var) = self.statistics(part, name, out_channels(shape));
        ConvIndex { weight, norm: NormIndex { gamma, beta, mean, var } }
    }

    /// `pointwise` is the part that the weights (not norms and biases) of 1x1 convolutions and squeeze-excite belong to.
    pub(super) fn inverted_residual(
        &mut self,
        name: &str,
        pointwise: Part,
        from: usize,
        form: &Bottleneck,
    ) -> BlockIndex {
        let Bottleneck { kernel, hidden, out, squeezed, activation, stride } = *form;
        let part = Part::Backbone;
        let expand = (hidden != from).then(|| {
            let conv = self.conv(part, &format!("{name}.expand"), &[hidden, from]);
            self.parts[conv.weight] = pointwise;
            conv
        });
        let depthwise = self.conv(part, &format!("{name}.depthwise"), &[kernel, kernel, hidden]);
        let squeeze = squeezed.map(|few| SqueezeIndex {
            reduce: self.matrix(pointwise, &format!("{name}.squeeze.reduce"), few, hidden),
            restore: self.matrix(pointwise, &format!("{name}.squeeze.restore"), hidden, few),
        });
        let project = self.conv(part, &format!("{name}.project"), &[out, hidden]);
        self.parts[project.weight] = pointwise;
        let (output_activation, residual) = (Activation::None, stride == 1 && from == out);
        BlockIndex { expand, depthwise, squeeze, project, stride, activation, output_activation, residual }
    }

    /// A matrix of a squeeze-excite in the backbone.
    fn matrix(&mut self, part: Part, name: &str, out: usize, from: usize) -> LinearIndex {
        let role = Role::Convolution { fan_out: out };
        let weight = self.push(part, format!("{name}.weight"), &[out, from], role);
        let bias = self.push(Part::Backbone, format!("{name}.bias"), &[out], Role::Bias);
        LinearIndex { weight, bias }
    }

    /// Depthwise and 1x1 convolution of equal width.
    pub(super) fn unit(&mut self, part: Part, name: &str, channels: usize, stride: usize) -> BlockIndex {
        let depthwise = self.conv(part, &format!("{name}.depthwise"), &[3, 3, channels]);
        let project = self.conv(part, &format!("{name}.project"), &[channels, channels]);
        separable(depthwise, project, stride)
    }

    /// The head's units: weights once, statistics for each stride.
    pub(super) fn shared_units(
        &mut self,
        channels: usize,
        units: usize,
        strides: &[u32],
    ) -> Vec<Vec<BlockIndex>> {
        let mut levels = vec![Vec::with_capacity(units); strides.len()];
        for unit in 0..units {
            let mut per_level = |kind: &str, shape: &[usize]| -> Vec<ConvIndex> {
                let name = format!("head.{unit}.{kind}");
                let [weight, gamma, beta] = self.affine_conv(Part::Head, &name, shape);
                let at = |stride: &u32| {
                    let (mean, var) = self.statistics(Part::Head, &format!("{name}.level{stride}"), channels);
                    ConvIndex { weight, norm: NormIndex { gamma, beta, mean, var } }
                };
                strides.iter().map(at).collect()
            };
            let depthwise = per_level("depthwise", &[3, 3, channels]);
            let project = per_level("project", &[channels, channels]);
            for ((level, depthwise), project) in levels.iter_mut().zip(depthwise).zip(project) {
                level.push(separable(depthwise, project, 1));
            }
        }
        levels
    }

    pub(super) fn linear(
        &mut self,
        part: Part,
        name: &str,
        out: usize,
        from: usize,
        bias: Role,
    ) -> LinearIndex {
        let weight = self.push(part, format!("{name}.weight"), &[out, from], Role::Output);
        LinearIndex { weight, bias: self.push(part, format!("{name}.bias"), &[out], bias) }
    }
}

fn separable(depthwise: ConvIndex, project: ConvIndex, stride: usize) -> BlockIndex {
    BlockIndex {
        expand: None,
        depthwise,
        squeeze: None,
        project,
        stride,
        activation: Activation::Relu6,
        output_activation: Activation::Relu6,
        residual: false,
    }
}

/// Outputs come first in a 1x1 weight and last in a 3x3 one.
fn out_channels(shape: &[usize]) -> usize {
    let at = if shape.len() == 2 { shape.first() } else { shape.last() };
    at.copied().unwrap_or(0)
}
