//! The forward pass of an [`Architecture`].

use burn::tensor::Tensor;

use crate::architecture::{Architecture, BlockIndex, ConvIndex, LinearIndex, NormIndex};
use crate::ops::{self, BatchMoments, BlockArgs, NormArgs, Statistics};
use crate::weights::Weights;

/// What the network says of a batch of `N` images with `L` locations each, `C` classes.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// Logits of the shared class layer, `[N, L, C]`.
    pub class: Tensor<3>,
    /// Logits of the device's own class layer, `[N, L, C]`. No gradient flows from here into the features.
    pub personal: Tensor<3>,
    /// Box distances before softplus, `[N, L, 4]`.
    pub boxes: Tensor<3>,
    /// What each batch norm was fed, in order of use; empty with fixed statistics.
    pub moments: Vec<(NormIndex, BatchMoments)>,
}

/// A forward pass under way.
struct Pass<'a> {
    weights: &'a Weights,
    statistics: Statistics,
    moments: Vec<(NormIndex, BatchMoments)>,
}

impl Architecture {
    /// Runs the network on normalised pixels, `[N, side, side, 3]`.
    pub fn forward(&self, weights: &Weights, pixels: Tensor<4>, statistics: Statistics) -> Outputs {
        let mut pass = Pass { weights, statistics, moments: Vec::new() };
        let tapped = self.backbone(&mut pass, pixels);
        let levels = self.neck(&mut pass, tapped);
        let features: Vec<Tensor<4>> = levels
            .into_iter()
            .zip(&self.head.units)
            .map(|(level, units)| {
                let features = units.iter().fold(level, |x, unit| pass.block(x, unit));
                let [images, rows, columns, channels] = features.dims();
                features.reshape([images, rows * columns, 1, channels])
            })
            .collect();
        let features = Tensor::cat(features, 1);
        let class = pass.predict(features.clone(), &self.head.class);
        let boxes = pass.predict(features.clone(), &self.head.boxes);
        let personal = pass.predict(features.detach(), &self.head.personal);
        Outputs { class, personal, boxes, moments: pass.moments }
    }

    fn backbone(&self, pass: &mut Pass<'_>, pixels: Tensor<4>) -> Vec<Tensor<4>> {
        let mut x = pass.stem(pixels, &self.stem);
        let mut tapped = Vec::with_capacity(self.neck.lateral.len());
        for (block, tap) in &self.blocks {
            x = pass.block(x, block);
            if tap.is_some() {
                tapped.push(x.clone());
            }
        }
        tapped
    }

    fn neck(&self, pass: &mut Pass<'_>, tapped: Vec<Tensor<4>>) -> Vec<Tensor<4>> {
        let neck = &self.neck;
        let mut levels: Vec<Tensor<4>> =
            tapped.into_iter().zip(&neck.lateral).map(|(x, conv)| pass.lateral(x, conv)).collect();
        for (at, unit) in neck.top_down.iter().enumerate().rev() {
            let sum = ops::upsample_add(levels[at + 1].clone(), levels[at].clone());
            levels[at] = pass.block(sum, unit);
        }
        for (finer, (down, merge)) in neck.bottom_up.iter().enumerate() {
            let sum = pass.block(levels[finer].clone(), down) + levels[finer + 1].clone();
            levels[finer + 1] = pass.block(sum, merge);
        }
        levels
    }
}

impl Pass<'_> {
    fn norm(&self, at: NormIndex) -> NormArgs {
        NormArgs {
            gamma: self.weights.get(at.gamma),
            beta: self.weights.get(at.beta),
            mean: self.weights.get(at.mean),
            var: self.weights.get(at.var),
        }
    }

    fn keep(&mut self, at: NormIndex, moments: BatchMoments) {
        if self.statistics == Statistics::Batch {
            self.moments.push((at, moments));
        }
    }

    fn stem(&mut self, x: Tensor<4>, conv: &ConvIndex) -> Tensor<4> {
        let (y, moments) = ops::stem(x, self.weights.get(conv.weight), self.norm(conv.norm), self.statistics);
        self.keep(conv.norm, moments);
        y
    }

    fn lateral(&mut self, x: Tensor<4>, conv: &ConvIndex) -> Tensor<4> {
        let (weight, norm) = (self.weights.get(conv.weight), self.norm(conv.norm));
        let (y, moments) = ops::pointwise(x, weight, norm, false, self.statistics);
        self.keep(conv.norm, moments);
        y
    }

    fn block(&mut self, x: Tensor<4>, block: &BlockIndex) -> Tensor<4> {
        let args = BlockArgs {
            expand: block.expand.map(|conv| (self.weights.get(conv.weight), self.norm(conv.norm))),
            depthwise: (self.weights.get(block.depthwise.weight), self.norm(block.depthwise.norm)),
            project: (self.weights.get(block.project.weight), self.norm(block.project.norm)),
            stride: block.stride,
            activate_output: block.activate_output,
            residual: block.residual,
        };
        let (y, moments) = ops::block(x, args, self.statistics);
        let norms = block.expand.into_iter().chain([block.depthwise, block.project]).map(|conv| conv.norm);
        norms.zip(moments).for_each(|(at, moments)| self.keep(at, moments));
        y
    }

    /// `[N, L, 1, channels]` to `[N, L, outputs]`.
    fn predict(&self, x: Tensor<4>, layer: &LinearIndex) -> Tensor<3> {
        let y = ops::predict(x, self.weights.get(layer.weight), self.weights.get(layer.bias));
        let [images, locations, _, outputs] = y.dims();
        y.reshape([images, locations, outputs])
    }
}

#[cfg(test)]
mod tests;
