//! Feature extractors as tables: a stem and the bottlenecks behind it, one file each.

use super::builder::Builder;
use super::{BlockIndex, ConvIndex, Part};
use crate::ops::Activation;

mod mobilenet_v2;
mod mobilenet_v3;

/// The feature extractors there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Backbone {
    /// MobileNetV2 (Sandler et al. 2018, table 2) without its last convolution.
    MobileNetV2 {
        /// Width multiplier; channels are rounded to multiples of 8, never below 0.9 of the product.
        width: f64,
    },
    /// MobileNetV3-Small (Howard et al. 2019, table 2) without its last convolution.
    MobileNetV3Small,
}

impl Backbone {
    /// Its stem's channels and activation, and its bottlenecks.
    fn table(self) -> (usize, Activation, Vec<Bottleneck>) {
        match self {
            Self::MobileNetV2 { width } => mobilenet_v2::table(width),
            Self::MobileNetV3Small => mobilenet_v3::small(),
        }
    }
}

/// An inverted residual as papers list it; its input is the output of the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bottleneck {
    /// Side of the depthwise kernel.
    pub(super) kernel: usize,
    /// Hidden channels; as many as the input has need no expansion.
    pub(super) hidden: usize,
    /// Output channels.
    pub(super) out: usize,
    /// Channels between the matrices of a squeeze-excite.
    pub(super) squeezed: Option<usize>,
    /// After the expansion and the depthwise convolution.
    pub(super) activation: Activation,
    /// Step of the depthwise convolution.
    pub(super) stride: usize,
}

/// A feature extractor whose tensors have their places.
pub(super) struct Built {
    pub(super) stem: ConvIndex,
    pub(super) stem_activation: Activation,
    /// Blocks with, where their output is tapped, the level it becomes.
    pub(super) blocks: Vec<(BlockIndex, Option<usize>)>,
    /// Channels of each level.
    pub(super) tapped: Vec<usize>,
}

/// Builds `backbone` up to the coarsest of `strides`. Of each stride the last output is tapped: it has seen most.
pub(super) fn build(b: &mut Builder, backbone: Backbone, strides: &[u32]) -> Built {
    let (mut current, stem_activation, bottlenecks) = backbone.table();
    let stem = b.conv(Part::Backbone, "backbone.0", &[3, 3, 3, current]);
    let (mut blocks, mut tapped) = (Vec::new(), Vec::new());
    let mut reached = 2;
    for (at, bottleneck) in bottlenecks.iter().enumerate() {
        if tapped.len() == strides.len() {
            break;
        }
        let pointwise = if tapped.is_empty() { Part::Backbone } else { Part::Deep };
        let block = b.inverted_residual(&format!("backbone.{}", at + 1), pointwise, current, bottleneck);
        current = bottleneck.out;
        reached *= bottleneck.stride as u32;
        let last = bottlenecks.get(at + 1).is_none_or(|next| next.stride > 1);
        let tap = (last && strides.contains(&reached)).then_some(tapped.len());
        tapped.extend(tap.map(|_| current));
        blocks.push((block, tap));
    }
    Built { stem, stem_activation, blocks, tapped }
}

/// Channels at a multiplier: the nearest multiple of 8 that is not below 0.9 of the product.
fn scaled(base: f64, multiplier: f64) -> usize {
    let target = base * multiplier;
    let rounded = (((target + 4.0) / 8.0).floor() as usize * 8).max(8);
    if (rounded as f64) < 0.9 * target { rounded + 8 } else { rounded }
}

#[cfg(test)]
mod tests;
