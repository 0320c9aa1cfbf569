//! From burn-flex tensors to kernels and back.

use burn::backend::flex::FlexTensor;
use burn::tensor::{Shape, TensorData};
use kernels::block::{self, Block, Layer, LayerGradients, Weights};
use kernels::pointwise::{self, Pointwise};
use kernels::squeeze::{self, Linear, LinearGradients, Squeeze};
use kernels::stem::{self, Stem};
use kernels::{
    EPSILON, Error, Keep, Map, Moments, Norm, NormGradients, Statistics, Wanted, predict, upsample,
};

use super::{BlockForm, Form, Kind};

/// What backward needs besides the inputs.
#[derive(Debug)]
pub(super) enum Saved {
    Stem(stem::Saved),
    Block(Box<block::Saved>),
    Pointwise(pointwise::Saved),
    Nothing,
}

/// A forward pass: its output, mean and variance of each live norm, what backward needs.
pub(super) struct Run {
    pub(super) output: FlexTensor,
    pub(super) moments: Vec<FlexTensor>,
    pub(super) saved: Saved,
}

/// Without autodiff: nothing is kept.
pub(super) fn plain<const N: usize>(form: &Form, inputs: [FlexTensor; N]) -> (FlexTensor, Vec<FlexTensor>) {
    let run = forward(form, &inputs.map(|input| input.to_contiguous()), false);
    (run.output, run.moments)
}

/// Runs `form` on contiguous `inputs`.
///
/// # Panics
/// When shapes do not fit, as burn's own operations do.
pub(super) fn forward(form: &Form, inputs: &[FlexTensor], save: bool) -> Run {
    match attempt(form, inputs, save) {
        Ok(run) => run,
        Err(error) => panic!("{:?}: {error}", form.kind),
    }
}

fn attempt(form: &Form, inputs: &[FlexTensor], save: bool) -> Result<Run, Error> {
    let map = map_of(&inputs[0]);
    let x = values(&inputs[0]);
    let layer = |at: usize| Layer { weight: values(&inputs[at]), norm: norm(form, inputs, at) };
    Ok(match form.kind {
        Kind::Stem(activation) => {
            let Layer { weight, norm } = layer(1);
            let run = stem::forward(map, x, &Stem { weight, norm, activation }, save)?;
            let output = pixels(map.strided(2), run.output);
            let saved = run.saved.map_or(Saved::Nothing, Saved::Stem);
            Run { output, moments: moments(run.moments), saved }
        }
        Kind::Block(block) => {
            let at = depthwise(block);
            let linear = |at: usize| Linear { weight: values(&inputs[at]), bias: values(&inputs[at + 1]) };
            let squeeze = matrices(block)
                .map(|[reduce, restore]| Squeeze { reduce: linear(reduce), restore: linear(restore) });
            let op = Block {
                expand: block.expand.then(|| layer(1)),
                depthwise: layer(at),
                squeeze,
                project: layer(at + 3),
                kernel: inputs[at].layout().shape()[0],
                stride: block.stride,
                activation: block.activation,
                output_activation: block.output_activation,
                residual: block.residual,
            };
            let keep = match (save, block.recompute) {
                (false, _) => Keep::Nothing,
                (true, true) => Keep::Input,
                (true, false) => Keep::All,
            };
            let run = block::forward(map, x, &op, keep)?;
            let output = pixels(map.strided(block.stride), run.output);
            let saved = run.saved.map_or(Saved::Nothing, |saved| Saved::Block(Box::new(saved)));
            Run { output, moments: moments(run.moments), saved }
        }
        Kind::Pointwise(activation) => {
            let Layer { weight, norm } = layer(1);
            let op = Pointwise { weight, norm, activation };
            let run = pointwise::forward(map, x, &op, save)?;
            let saved = run.saved.map_or(Saved::Nothing, Saved::Pointwise);
            Run { output: pixels(map, run.output), moments: moments(run.moments), saved }
        }
        Kind::Predict => {
            let output = predict::forward(map, x, values(&inputs[1]), values(&inputs[2]))?;
            Run { output: pixels(map, output), moments: vec![], saved: Saved::Nothing }
        }
        Kind::UpsampleAdd => {
            let large = map_of(&inputs[1]);
            let output = upsample::forward(map, x, large, values(&inputs[1]))?;
            Run { output: pixels(large, output), moments: vec![], saved: Saved::Nothing }
        }
    })
}

/// Gradients of the inputs whose entry in `tracked` is set (perhaps of others too), in their order.
///
/// # Panics
/// When the gradient does not have the output's shape.
pub(super) fn backward(
    form: &Form,
    inputs: &[FlexTensor],
    saved: &Saved,
    gradient: &FlexTensor,
    tracked: &[bool],
) -> Vec<Option<FlexTensor>> {
    match attempt_backward(form, inputs, saved, gradient, tracked) {
        Ok(gradients) => gradients,
        Err(error) => panic!("backward of {:?}: {error}", form.kind),
    }
}

fn attempt_backward(
    form: &Form,
    inputs: &[FlexTensor],
    saved: &Saved,
    gradient: &FlexTensor,
    tracked: &[bool],
) -> Result<Vec<Option<FlexTensor>>, Error> {
    let x = values(&inputs[0]);
    let g = values(gradient);
    let wanted = wanted(form.kind, tracked);
    let mut found: Vec<Option<Vec<f32>>> = Vec::with_capacity(inputs.len());
    match (form.kind, saved) {
        (Kind::Stem(_), Saved::Stem(saved)) => {
            let back = stem::backward(saved, x, g, wanted)?;
            found.push(None);
            push_layer(&mut found, LayerGradients { weight: back.weight, norm: back.norm });
        }
        (Kind::Block(block), Saved::Block(saved)) => {
            let at = depthwise(block);
            let weights = Weights {
                expand: block.expand.then(|| values(&inputs[1])),
                depthwise: values(&inputs[at]),
                squeeze: matrices(block).map(|[reduce, restore]| squeeze::Weights {
                    reduce: values(&inputs[reduce]),
                    restore: values(&inputs[restore]),
                }),
                project: values(&inputs[at + 3]),
            };
            let back = block::backward(saved, x, &weights, g, wanted)?;
            found.push(back.input);
            for layer in back.expand.into_iter().chain([back.depthwise, back.project]) {
                push_layer(&mut found, layer);
            }
            if let Some(squeeze) = back.squeeze {
                for LinearGradients { weight, bias } in [squeeze.reduce, squeeze.restore] {
                    found.extend([weight, bias]);
                }
            }
        }
        (Kind::Pointwise(_), Saved::Pointwise(saved)) => {
            let back = pointwise::backward(saved, x, values(&inputs[1]), g, wanted)?;
            found.push(back.input);
            push_layer(&mut found, LayerGradients { weight: back.weight, norm: back.norm });
        }
        (Kind::Predict, Saved::Nothing) => {
            let back = predict::backward(map_of(&inputs[0]), x, values(&inputs[1]), g, wanted)?;
            found.extend([back.input, back.weight, back.bias]);
        }
        (Kind::UpsampleAdd, Saved::Nothing) => {
            let (small, large) = (map_of(&inputs[0]), map_of(&inputs[1]));
            let back = if tracked[0] { Some(upsample::backward(small, large, g)?) } else { None };
            let back = back.map(|values| tensor(values, inputs[0].layout().shape().clone()));
            return Ok(vec![back, Some(gradient.clone())]);
        }
        (kind, saved) => unreachable!("{kind:?} keeps its own state, found {saved:?}"),
    }
    let shapes = inputs.iter().map(|input| input.layout().shape().clone());
    Ok(found.into_iter().zip(shapes).map(|(values, shape)| values.map(|v| tensor(v, shape))).collect())
}

/// Index of a block's depthwise kernel among its tensors.
fn depthwise(block: BlockForm) -> usize {
    if block.expand { 4 } else { 1 }
}

/// Indices of the matrices of a block's squeeze-excite among its tensors; a bias follows each.
fn matrices(block: BlockForm) -> Option<[usize; 2]> {
    let at = 1 + 3 * block.layers();
    block.squeeze.then_some([at, at + 2])
}

/// After the input come weight, gamma and beta of each layer, then pairs of weight and bias.
fn wanted(kind: Kind, tracked: &[bool]) -> Wanted {
    let layers = match kind {
        Kind::Stem(_) | Kind::Pointwise(_) => 1,
        Kind::Block(block) => block.layers(),
        Kind::Predict | Kind::UpsampleAdd => 0,
    };
    let (in_layers, in_pairs) = tracked[1..].split_at(3 * layers);
    let groups = || in_layers.chunks_exact(3).chain(in_pairs.chunks_exact(2));
    Wanted {
        input: tracked[0],
        weights: groups().any(|group| group[0]),
        affine: groups().any(|group| group[1..].contains(&true)),
    }
}

fn push_layer(found: &mut Vec<Option<Vec<f32>>>, layer: LayerGradients) {
    found.push(layer.weight);
    let (gamma, beta) = layer.norm.map(|NormGradients { gamma, beta }| (gamma, beta)).unzip();
    found.extend([gamma, beta]);
}

/// The norm of the layer whose weight is input `at`: gamma and beta follow it.
fn norm<'a>(form: &'a Form, inputs: &'a [FlexTensor], at: usize) -> Norm<'a> {
    let statistics = match &form.fixed {
        Some(fixed) => {
            let fixed = &fixed[(at - 1) / 3];
            Statistics::Fixed { mean: &fixed.mean, var: &fixed.var }
        }
        None => Statistics::Batch,
    };
    Norm { gamma: values(&inputs[at + 1]), beta: values(&inputs[at + 2]), statistics, epsilon: EPSILON }
}

fn moments(found: impl IntoIterator<Item = Moments>) -> Vec<FlexTensor> {
    let vector = |values: Vec<f32>| {
        let shape = Shape::from([values.len()]);
        tensor(values, shape)
    };
    found.into_iter().flat_map(|Moments { mean, var }| [vector(mean), vector(var)]).collect()
}

fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().expect("inputs were made contiguous and are single precision")
}

fn map_of(tensor: &FlexTensor) -> Map {
    let shape = tensor.layout().shape();
    Map { batch: shape[0], height: shape[1], width: shape[2] }
}

/// `values` as `[batch, height, width, channels]`.
fn pixels(map: Map, values: Vec<f32>) -> FlexTensor {
    let channels = values.len() / map.pixels();
    tensor(values, Shape::from([map.batch, map.height, map.width, channels]))
}

fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}
