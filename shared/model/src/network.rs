//! The forward pass of an [`Architecture`].

use burn::tensor::Tensor;

use crate::architecture::{Architecture, BlockIndex, ConvIndex, LinearIndex, NormIndex};
use crate::finite::{NotFinite, Watch};
use crate::ops::{self, Activation, BatchMoments, BlockArgs, NormArgs, SqueezeArgs, Statistics};
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
    watch: Option<Watch<'a>>,
}

impl Architecture {
    /// Runs the network on normalised pixels, `[N, side, side, 3]`.
    pub fn forward(&self, weights: &Weights, pixels: Tensor<4>, statistics: Statistics) -> Outputs {
        self.run(&mut Pass { weights, statistics, moments: Vec::new(), watch: None }, pixels)
    }

    /// As [`Architecture::forward`], looking at the input and at the results of each operation.
    ///
    /// # Errors
    /// The first layer with a result that is not finite.
    pub fn forward_checked(
        &self,
        weights: &Weights,
        pixels: Tensor<4>,
        statistics: Statistics,
    ) -> Result<Outputs, NotFinite> {
        let watch = Watch::new(self.layout(), &pixels);
        let mut pass = Pass { weights, statistics, moments: Vec::new(), watch: Some(watch) };
        let outputs = self.run(&mut pass, pixels);
        pass.watch.map_or(Ok(()), Watch::finish)?;
        Ok(outputs)
    }

    fn run(&self, pass: &mut Pass<'_>, pixels: Tensor<4>) -> Outputs {
        let tapped = self.backbone(pass, pixels);
        let levels = self.neck(pass, tapped);
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
        Outputs { class, personal, boxes, moments: std::mem::take(&mut pass.moments) }
    }

    fn backbone(&self, pass: &mut Pass<'_>, pixels: Tensor<4>) -> Vec<Tensor<4>> {
        let mut x = pass.stem(pixels, &self.stem, self.stem_activation);
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

    /// Keeps what the norms of an operation were fed, and has its output looked at.
    fn keep(&mut self, convolutions: &[ConvIndex], moments: Vec<BatchMoments>, output: &Tensor<4>) {
        if let Some(watch) = &mut self.watch {
            watch.normalised(convolutions, &moments, output);
        }
        if self.statistics == Statistics::Batch {
            self.moments.extend(convolutions.iter().map(|conv| conv.norm).zip(moments));
        }
    }

    fn stem(&mut self, x: Tensor<4>, conv: &ConvIndex, activation: Activation) -> Tensor<4> {
        let (weight, norm) = (self.weights.get(conv.weight), self.norm(conv.norm));
        let (y, moments) = ops::stem(x, weight, norm, activation, self.statistics);
        self.keep(&[*conv], vec![moments], &y);
        y
    }

    fn lateral(&mut self, x: Tensor<4>, conv: &ConvIndex) -> Tensor<4> {
        let (weight, norm) = (self.weights.get(conv.weight), self.norm(conv.norm));
        let (y, moments) = ops::pointwise(x, weight, norm, Activation::None, self.statistics);
        self.keep(&[*conv], vec![moments], &y);
        y
    }

    fn block(&mut self, x: Tensor<4>, block: &BlockIndex) -> Tensor<4> {
        let linear = |at: LinearIndex| (self.weights.get(at.weight), self.weights.get(at.bias));
        let args = BlockArgs {
            expand: block.expand.map(|conv| (self.weights.get(conv.weight), self.norm(conv.norm))),
            depthwise: (self.weights.get(block.depthwise.weight), self.norm(block.depthwise.norm)),
            squeeze: block
                .squeeze
                .map(|at| SqueezeArgs { reduce: linear(at.reduce), restore: linear(at.restore) }),
            project: (self.weights.get(block.project.weight), self.norm(block.project.norm)),
            stride: block.stride,
            activation: block.activation,
            output_activation: block.output_activation,
            residual: block.residual,
            recompute: self.weights.recomputes(),
        };
        let (y, moments) = ops::block(x, args, self.statistics);
        let convolutions: Vec<ConvIndex> =
            block.expand.into_iter().chain([block.depthwise, block.project]).collect();
        self.keep(&convolutions, moments, &y);
        y
    }

    /// `[N, L, 1, channels]` to `[N, L, outputs]`.
    fn predict(&mut self, x: Tensor<4>, layer: &LinearIndex) -> Tensor<3> {
        let y = ops::predict(x, self.weights.get(layer.weight), self.weights.get(layer.bias));
        if let Some(watch) = &mut self.watch {
            watch.plain(layer.weight, &y);
        }
        let [images, locations, _, outputs] = y.dims();
        y.reshape([images, locations, outputs])
    }
}

#[cfg(test)]
mod tests;
