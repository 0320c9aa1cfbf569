//! A model that only looks: on the kernels' inference plan where they serve, else as the training graph.

use burn::tensor::{Device, Tensor, TensorData};
use kernels::block::{Block, Layer};
use kernels::plan::{InferencePlan, Node, PlanBuilder};
use kernels::pointwise::Pointwise;
use kernels::squeeze::{Linear, Squeeze};
use kernels::stem::Stem;
use kernels::{Activation, EPSILON, Error, Map, Norm};
use protocol::train::TrainError;

use crate::architecture::{Architecture, BlockIndex, ConvIndex, LinearIndex, NormIndex, TensorIndex};
use crate::ops::{Statistics, plans};
use crate::weights::{Weights, host};

/// A model with its weights in place: `values` (all scopes, statistics included) once, then any number of images.
#[derive(Debug)]
pub struct Inference(Path);

#[derive(Debug)]
enum Path {
    Plan(InferencePlan),
    Graph(Weights, Device),
}

/// What a network says of `N` images with `L` locations each, `C` classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// Logits of the shared class layer, `[N, L, C]`.
    pub class: Vec<f32>,
    /// Logits of the device's own class layer, `[N, L, C]`.
    pub personal: Vec<f32>,
    /// Box distances before softplus, `[N, L, 4]`.
    pub boxes: Vec<f32>,
}

impl Inference {
    /// Puts `values`, in the layout of `architecture`, in place on `device`.
    ///
    /// # Errors
    /// Values of another length than the layout's.
    pub fn new(architecture: &Architecture, values: &[f32], device: &Device) -> Result<Self, TrainError> {
        let expected = architecture.layout().len();
        if values.len() != expected {
            return Err(TrainError::Length { scope: "all", expected, found: values.len() });
        }
        if plans(device) {
            let plan = Planner::plan(architecture, values).map_err(refused)?;
            Ok(Self(Path::Plan(plan)))
        } else {
            Ok(Self::graph(architecture, values, device))
        }
    }

    /// As [`Inference::new`], on the training graph whatever the device.
    pub(crate) fn graph(architecture: &Architecture, values: &[f32], device: &Device) -> Self {
        Self(Path::Graph(Weights::fixed(architecture.layout(), values, device), device.clone()))
    }

    /// Runs the network of `architecture` on normalised `pixels`, `[images, side, side, 3]`.
    ///
    /// # Errors
    /// Pixels that are not whole images of the architecture's side.
    pub fn run(&self, architecture: &Architecture, pixels: Vec<f32>) -> Result<Answers, TrainError> {
        let side = architecture.pixels() as usize;
        let size = side * side * 3;
        let images = pixels.len() / size;
        if pixels.len() != images * size {
            return Err(TrainError::Model(format!("{} values are not whole images of {size}", pixels.len())));
        }
        if images == 0 {
            return Ok(Answers::default());
        }
        match &self.0 {
            Path::Plan(plan) => {
                let map = Map { batch: images, height: side, width: side };
                let levels = plan.run(map, &pixels).map_err(refused)?;
                Ok(gather(&levels, images, architecture.classes().len()))
            }
            Path::Graph(weights, device) => {
                let pixels = Tensor::from_data(TensorData::new(pixels, [images, side, side, 3]), device);
                let outputs = architecture.forward(weights, pixels, Statistics::Fixed);
                Ok(Answers {
                    class: host(outputs.class),
                    personal: host(outputs.personal),
                    boxes: host(outputs.boxes),
                })
            }
        }
    }
}

fn refused(error: Error) -> TrainError {
    TrainError::Model(error.to_string())
}

/// Takes levels of `[images, locations, classes + classes + 4]` apart and puts the locations of an image together.
fn gather(levels: &[Vec<f32>], images: usize, classes: usize) -> Answers {
    let width = 2 * classes + 4;
    let locations: usize = levels.iter().map(|level| level.len() / width / images).sum();
    let per_class = || Vec::with_capacity(images * locations * classes);
    let mut answers = Answers {
        class: per_class(),
        personal: per_class(),
        boxes: Vec::with_capacity(images * locations * 4),
    };
    for image in 0..images {
        for level in levels {
            let size = level.len() / images;
            for location in level[image * size..(image + 1) * size].chunks_exact(width) {
                answers.class.extend_from_slice(&location[..classes]);
                answers.personal.extend_from_slice(&location[classes..2 * classes]);
                answers.boxes.extend_from_slice(&location[2 * classes..]);
            }
        }
    }
    answers
}

/// An architecture on its way to a plan; the order is that of the forward pass.
struct Planner<'a> {
    architecture: &'a Architecture,
    values: &'a [f32],
    builder: PlanBuilder,
}

impl<'a> Planner<'a> {
    fn plan(architecture: &'a Architecture, values: &'a [f32]) -> Result<InferencePlan, Error> {
        let mut planner = Self { architecture, values, builder: PlanBuilder::new(3)? };
        let tapped = planner.backbone()?;
        let levels = planner.neck(&tapped)?;
        let mut outputs = Vec::with_capacity(levels.len());
        let head = &architecture.head;
        for (mut level, units) in levels.into_iter().zip(&head.units) {
            for unit in units {
                level = planner.block(level, unit, None)?;
            }
            outputs.push(planner.predict(level, [head.class, head.personal, head.boxes])?);
        }
        Ok(planner.builder.finish(&outputs))
    }

    fn backbone(&mut self) -> Result<Vec<Node>, Error> {
        let ConvIndex { weight, norm } = self.architecture.stem;
        let activation = self.architecture.stem_activation;
        let stem = Stem { weight: self.tensor(weight), norm: self.norm(norm), activation };
        let mut x = self.builder.stem(self.builder.input(), &stem)?;
        let mut tapped = Vec::new();
        for (block, tap) in &self.architecture.blocks {
            x = self.block(x, block, None)?;
            if tap.is_some() {
                tapped.push(x);
            }
        }
        Ok(tapped)
    }

    fn neck(&mut self, tapped: &[Node]) -> Result<Vec<Node>, Error> {
        let neck = &self.architecture.neck;
        let mut levels = Vec::with_capacity(tapped.len());
        for (&x, conv) in tapped.iter().zip(&neck.lateral) {
            let Layer { weight, norm } = self.layer(*conv);
            levels
                .push(self.builder.pointwise(x, &Pointwise { weight, norm, activation: Activation::None })?);
        }
        for (at, unit) in neck.top_down.iter().enumerate().rev() {
            let sum = self.builder.upsample_add(levels[at + 1], levels[at])?;
            levels[at] = self.block(sum, unit, None)?;
        }
        for (finer, (down, merge)) in neck.bottom_up.iter().enumerate() {
            let sum = self.block(levels[finer], down, Some(levels[finer + 1]))?;
            levels[finer + 1] = self.block(sum, merge, None)?;
        }
        Ok(levels)
    }

    fn block(&mut self, x: Node, block: &BlockIndex, plus: Option<Node>) -> Result<Node, Error> {
        let op = Block {
            expand: block.expand.map(|conv| self.layer(conv)),
            depthwise: self.layer(block.depthwise),
            squeeze: block
                .squeeze
                .map(|at| Squeeze { reduce: self.linear(at.reduce), restore: self.linear(at.restore) }),
            project: self.layer(block.project),
            kernel: self.architecture.layout().tensors()[block.depthwise.weight].spec.shape[0],
            stride: block.stride,
            activation: block.activation,
            output_activation: block.output_activation,
            residual: block.residual,
        };
        self.builder.block(x, &op, plus)
    }

    /// Several output layers as one, their outputs beside each other.
    fn predict(&mut self, x: Node, layers: [LinearIndex; 3]) -> Result<Node, Error> {
        let join = |part: fn(LinearIndex) -> TensorIndex| -> Vec<f32> {
            layers.iter().flat_map(|&layer| self.tensor(part(layer))).copied().collect()
        };
        let (weight, bias) = (join(|layer| layer.weight), join(|layer| layer.bias));
        self.builder.predict(x, &weight, &bias)
    }

    fn tensor(&self, index: TensorIndex) -> &'a [f32] {
        &self.values[self.architecture.layout().tensors()[index].range()]
    }

    fn norm(&self, at: NormIndex) -> Norm<'a> {
        let (gamma, beta) = (self.tensor(at.gamma), self.tensor(at.beta));
        let statistics = kernels::Statistics::Fixed { mean: self.tensor(at.mean), var: self.tensor(at.var) };
        Norm { gamma, beta, statistics, epsilon: EPSILON }
    }

    fn linear(&self, at: LinearIndex) -> Linear<'a> {
        Linear { weight: self.tensor(at.weight), bias: self.tensor(at.bias) }
    }

    fn layer(&self, conv: ConvIndex) -> Layer<'a> {
        Layer { weight: self.tensor(conv.weight), norm: self.norm(conv.norm) }
    }
}

#[cfg(test)]
mod tests;
