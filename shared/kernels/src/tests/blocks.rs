//! Forward and backward of blocks, the network's unit, against the reference.

use super::reference::*;
use super::{BACKWARD, FORWARD, KINK_MARGIN, NormValues, Random, channels, close, everywhere, sized};
use crate::block::{Block, Layer, Weights};
use crate::squeeze::{self, Linear, Squeeze};
use crate::{Activation, Keep, Map, Wanted, block};

/// Shape of a block under test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) map: Map,
    pub(super) inputs: usize,
    /// None: no expansion.
    pub(super) hidden: Option<usize>,
    pub(super) outputs: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) activation: Activation,
    pub(super) output_activation: Activation,
    /// Width between the matrices of a squeeze-excite.
    pub(super) squeeze: Option<usize>,
    pub(super) residual: bool,
    pub(super) live: bool,
}

impl Shape {
    /// Itself, or under miri something smaller of the same form.
    pub(super) fn sized(self) -> Self {
        let (inputs, outputs) = (channels(self.inputs), channels(self.outputs));
        Self { map: sized(self.map), inputs, outputs, hidden: self.hidden.map(channels), ..self }
    }
}

/// The form of MobileNetV2 with fixed statistics.
pub(super) const PLAIN: Shape = Shape {
    map: Map { batch: 2, height: 6, width: 6 },
    inputs: 16,
    hidden: Some(32),
    outputs: 16,
    kernel: 3,
    stride: 1,
    activation: Activation::Relu6,
    output_activation: Activation::None,
    squeeze: None,
    residual: false,
    live: false,
};

pub(super) const fn map(batch: usize, height: usize, width: usize) -> Map {
    Map { batch, height, width }
}

/// A block's tensors and what the reference makes of them.
pub(super) struct BlockCase {
    pub(super) shape: Shape,
    pub(super) x: Vec<f32>,
    expand: Option<(Vec<f32>, NormValues)>,
    depthwise: (Vec<f32>, NormValues),
    squeeze: Option<SqueezeValues>,
    project: (Vec<f32>, NormValues),
    pub(super) gradient: Vec<f32>,
}

impl BlockCase {
    pub(super) fn random(shape: Shape, seed: u64) -> Self {
        let r = &mut Random(seed);
        let hidden = shape.hidden.unwrap_or(shape.inputs);
        let layer = |r: &mut Random, len: usize, fan: usize, channels: usize| {
            let bound = (3.0 / fan as f32).sqrt();
            (r.values(len, -bound, bound), NormValues::new(r, channels, shape.live))
        };
        let expand = shape.hidden.map(|h| layer(r, h * shape.inputs, shape.inputs, h));
        let taps = shape.kernel * shape.kernel;
        let depthwise = layer(r, taps * hidden, taps, hidden);
        let squeeze = shape.squeeze.map(|few| {
            let bound = (3.0 / hidden as f32).sqrt();
            let reduce = (r.values(few * hidden, -bound, bound), r.values(few, 0.0, 1.0));
            SqueezeValues {
                reduce,
                restore: (r.values(hidden * few, -1.0, 1.0), r.values(hidden, -4.0, 4.0)),
            }
        });
        let project = layer(r, shape.outputs * hidden, hidden, shape.outputs);
        let x = r.values(shape.map.pixels() * shape.inputs, -1.0, 1.5);
        let gradient = r.values(shape.map.strided(shape.stride).pixels() * shape.outputs, -1.0, 1.0);
        Self { shape, x, expand, depthwise, squeeze, project, gradient }
    }

    /// The first seed whose values keep away from the kinks.
    pub(super) fn new(shape: Shape) -> (Self, BlockReference) {
        for seed in 0..400 {
            let case = Self::random(shape, seed);
            let reference = case.reference();
            if reference.margin > KINK_MARGIN {
                return (case, reference);
            }
        }
        panic!("no seed keeps {shape:?} away from the kinks");
    }

    /// The same tensors with the statistics of the batch.
    pub(super) fn live(mut self) -> Self {
        self.expand.iter_mut().for_each(|(_, norm)| norm.live = true);
        self.depthwise.1.live = true;
        self.project.1.live = true;
        self
    }

    pub(super) fn block(&self) -> Block<'_> {
        fn layer((weight, norm): &(Vec<f32>, NormValues)) -> Layer<'_> {
            Layer { weight, norm: norm.norm() }
        }
        Block {
            expand: self.expand.as_ref().map(layer),
            depthwise: layer(&self.depthwise),
            squeeze: self.squeeze.as_ref().map(|SqueezeValues { reduce, restore }| Squeeze {
                reduce: Linear { weight: &reduce.0, bias: &reduce.1 },
                restore: Linear { weight: &restore.0, bias: &restore.1 },
            }),
            project: layer(&self.project),
            kernel: self.shape.kernel,
            stride: self.shape.stride,
            activation: self.shape.activation,
            output_activation: self.shape.output_activation,
            residual: self.shape.residual,
        }
    }

    pub(super) fn weights(&self) -> Weights<'_> {
        Weights {
            expand: self.expand.as_ref().map(|(w, _)| &w[..]),
            depthwise: &self.depthwise.0,
            squeeze: self
                .squeeze
                .as_ref()
                .map(|s| squeeze::Weights { reduce: &s.reduce.0, restore: &s.restore.0 }),
            project: &self.project.0,
        }
    }

    fn reference(&self) -> BlockReference {
        let Shape { map, inputs, outputs, kernel: side, stride, activation, output_activation, .. } =
            self.shape;
        let hidden = self.shape.hidden.unwrap_or(inputs);
        let (x, gradient) = (wide(&self.x), wide(&self.gradient));
        let mut nearest = f64::INFINITY;

        let expanded = self.expand.as_ref().map(|(w, p)| norm(&pointwise(&x, &wide(w), inputs, hidden), p));
        let h = expanded.as_ref().map_or_else(|| x.clone(), |e| activate(&e.value, activation));
        if let Some(e) = &expanded {
            nearest = nearest.min(margin(&e.value, activation));
        }
        let kernel = wide(&self.depthwise.0);
        let d = norm(&depthwise(&h, &kernel, map, side, stride, hidden), &self.depthwise.1);
        nearest = nearest.min(margin(&d.value, activation));
        let shallow = activate(&d.value, activation);
        let to = map.strided(stride);
        let pixels = to.height * to.width;
        let squeezed = self.squeeze.as_ref().map(|p| (squeeze(&shallow, pixels, hidden, p), p));
        if let Some((squeezed, _)) = &squeezed {
            nearest = nearest.min(squeezed.margin);
        }
        let a = squeezed.as_ref().map_or_else(|| shallow.clone(), |(squeezed, _)| squeezed.value.clone());
        let project = wide(&self.project.0);
        let p = norm(&pointwise(&a, &project, hidden, outputs), &self.project.1);
        nearest = nearest.min(margin(&p.value, output_activation));
        let mut y = activate(&p.value, output_activation);
        let g = activate_back(&p.value, output_activation, &gradient);
        if self.shape.residual {
            y.iter_mut().zip(&x).for_each(|(y, x)| *y += x);
        }

        let (dp, project_gamma, project_beta) = norm_back(&p, &self.project.1, &g);
        let (mut da, dw_project) = pointwise_back(&a, &project, &dp, hidden, outputs);
        let mut squeeze_gradients = None;
        if let Some((squeezed, p)) = &squeezed {
            let (before, gradients) = squeeze_back(&shallow, pixels, hidden, p, squeezed, &da);
            da = before;
            squeeze_gradients = Some(gradients);
        }
        let (dd, depthwise_gamma, depthwise_beta) =
            norm_back(&d, &self.depthwise.1, &activate_back(&d.value, activation, &da));
        let (dh, dk) = depthwise_back(&h, &kernel, &dd, map, side, stride, hidden);
        let mut layers = vec![];
        let mut moments = vec![];
        let mut dx = dh.clone();
        if let (Some(e), Some((w, norm))) = (&expanded, &self.expand) {
            let (de, gamma, beta) = norm_back(e, norm, &activate_back(&e.value, activation, &dh));
            let (from_expand, dw) = pointwise_back(&x, &wide(w), &de, inputs, hidden);
            dx = from_expand;
            layers.push(("expand", dw, gamma, beta));
            moments.push((e.mean.clone(), e.var.clone()));
        }
        layers.push(("depthwise", dk, depthwise_gamma, depthwise_beta));
        layers.push(("project", dw_project, project_gamma, project_beta));
        moments.push((d.mean, d.var));
        moments.push((p.mean, p.var));
        if self.shape.residual {
            dx.iter_mut().zip(&gradient).for_each(|(d, g)| *d += g);
        }
        BlockReference { y, dx, layers, squeeze: squeeze_gradients, moments, margin: nearest }
    }
}

type LayerReference = (&'static str, Vec<f64>, Vec<f64>, Vec<f64>);

pub(super) struct BlockReference {
    y: Vec<f64>,
    dx: Vec<f64>,
    /// Name, weight, gamma and beta gradient.
    layers: Vec<LayerReference>,
    /// Weight and bias of the first matrix, then of the second.
    squeeze: Option<[Vec<f64>; 4]>,
    moments: Vec<(Vec<f64>, Vec<f64>)>,
    margin: f64,
}

pub(super) fn check_block(shape: Shape) {
    let (case, expected) = BlockCase::new(shape);
    everywhere(|isa| {
        let at = format!("of {shape:?} on {}", isa.name());
        let run = block::forward(shape.map, &case.x, &case.block(), Keep::All).unwrap();
        close(format_args!("output {at}"), &run.output, &expected.y, FORWARD);
        let lean = block::forward(shape.map, &case.x, &case.block(), Keep::Nothing).unwrap();
        close(format_args!("output without saving {at}"), &lean.output, &expected.y, FORWARD);
        assert!(lean.saved.is_none());
        if shape.live {
            assert_eq!(lean.moments, run.moments, "moments {at}");
            assert_eq!(run.moments.len(), expected.moments.len());
            for (found, (mean, var)) in run.moments.iter().zip(&expected.moments) {
                close(format_args!("mean {at}"), &found.mean, mean, FORWARD);
                close(format_args!("variance {at}"), &found.var, var, FORWARD);
            }
        } else {
            assert!(run.moments.is_empty() && lean.moments.is_empty());
        }
        let back = |saved: Option<block::Saved>| {
            let saved = saved.unwrap();
            block::backward(&saved, &case.x, &case.weights(), &case.gradient, Wanted::ALL).unwrap()
        };
        let found = back(run.saved);
        let spare = block::forward(shape.map, &case.x, &case.block(), Keep::Input).unwrap();
        close(format_args!("output when the input is kept {at}"), &spare.output, &expected.y, FORWARD);
        assert_eq!(spare.moments, run.moments, "moments when the input is kept {at}");
        assert_eq!(back(spare.saved), found, "gradients from outputs made again {at}");
        close(format_args!("input gradient {at}"), found.input.as_ref().unwrap(), &expected.dx, BACKWARD);
        let layers = found.expand.iter().chain([&found.depthwise, &found.project]);
        for (layer, (name, weight, gamma, beta)) in layers.zip(&expected.layers) {
            close(
                format_args!("{name} weight gradient {at}"),
                layer.weight.as_ref().unwrap(),
                weight,
                BACKWARD,
            );
            let norm = layer.norm.as_ref().unwrap();
            close(format_args!("{name} gamma gradient {at}"), &norm.gamma, gamma, BACKWARD);
            close(format_args!("{name} beta gradient {at}"), &norm.beta, beta, BACKWARD);
        }
        assert_eq!(found.squeeze.is_some(), expected.squeeze.is_some());
        if let (Some(found), Some(expected)) = (&found.squeeze, &expected.squeeze) {
            let found = [&found.reduce, &found.restore].map(|l| [&l.weight, &l.bias]);
            for (i, (found, expected)) in found.as_flattened().iter().zip(expected).enumerate() {
                close(format_args!("squeeze gradient {i} {at}"), found.as_ref().unwrap(), expected, BACKWARD);
            }
        }
    });
}

/// One small shape for each way that pointers take, for miri: whole vectors and a rest, rows in several blocks, weights read
/// where they lie (16 hidden channels), four vectors at a time (33, squeezed), a map smaller than the kernel.
const WAYS: [Shape; 6] = {
    let base = Shape { map: map(2, 5, 4), inputs: 9, hidden: Some(12), outputs: 9, ..PLAIN };
    let swish = Shape { activation: Activation::HardSwish, kernel: 5, ..base };
    [
        Shape { residual: true, live: true, ..base },
        Shape { map: map(1, 5, 4), inputs: 8, hidden: Some(16), outputs: 3, stride: 2, ..base },
        Shape { hidden: None, output_activation: Activation::Relu6, residual: true, live: true, ..base },
        Shape { hidden: None, stride: 2, ..swish },
        Shape { map: map(2, 2, 2), hidden: Some(33), squeeze: Some(3), live: true, ..swish },
        Shape { map: map(1, 1, 1), squeeze: Some(9), activation: Activation::Relu, stride: 2, ..swish },
    ]
};

#[test]
fn blocks_match_the_reference() {
    if cfg!(miri) {
        return WAYS.into_iter().for_each(check_block);
    }
    let base = Shape { residual: true, live: true, ..PLAIN };
    let active = Shape { hidden: None, output_activation: Activation::Relu6, ..base };
    let shapes = [
        base,
        Shape { stride: 2, residual: false, outputs: 24, ..base },
        Shape { map: map(1, 7, 5), inputs: 8, hidden: Some(48), outputs: 8, ..base },
        Shape { map: map(1, 7, 5), inputs: 8, hidden: Some(48), stride: 2, residual: false, ..base },
        Shape { map: map(1, 8, 7), stride: 2, residual: false, ..base },
        Shape { map: map(1, 1, 9), hidden: Some(17), residual: false, outputs: 5, inputs: 3, ..base },
        Shape { map: map(9, 1, 2), hidden: Some(33), residual: false, outputs: 40, inputs: 7, ..base },
        Shape { map: map(9, 2, 1), hidden: Some(33), residual: false, outputs: 40, stride: 2, ..base },
        Shape { map: map(1, 3, 3), inputs: 24, hidden: Some(144), outputs: 24, ..base },
        Shape { map: map(1, 3, 3), inputs: 56, hidden: Some(80), outputs: 112, residual: false, ..base },
        Shape { outputs: 16, residual: false, ..active },
        Shape { inputs: 24, outputs: 24, ..active },
        Shape { inputs: 5, outputs: 19, stride: 2, residual: false, ..active },
        Shape { hidden: None, inputs: 32, outputs: 16, residual: false, ..base },
        // Several parts, row blocks and folds.
        Shape { map: map(3, 19, 18), inputs: 8, hidden: Some(24), outputs: 8, ..base },
        Shape {
            map: map(2, 21, 23),
            inputs: 8,
            hidden: Some(24),
            outputs: 12,
            stride: 2,
            residual: false,
            ..base
        },
        // Of MobileNetV3: each activation, each kernel, with and without a squeeze-excite.
        Shape { kernel: 5, ..base },
        Shape { activation: Activation::Relu, squeeze: Some(8), ..base },
        Shape { activation: Activation::HardSwish, ..base },
        Shape { activation: Activation::HardSwish, hidden: Some(72), squeeze: Some(20), kernel: 5, ..base },
        Shape { activation: Activation::HardSwish, output_activation: Activation::HardSwish, ..base },
        Shape { activation: Activation::Relu, kernel: 5, map: map(3, 9, 8), squeeze: Some(3), ..active },
        Shape { kernel: 5, stride: 2, residual: false, map: map(2, 9, 8), squeeze: Some(5), ..base },
        Shape { kernel: 5, stride: 2, residual: false, map: map(2, 8, 9), hidden: Some(37), ..base },
        Shape { kernel: 5, map: map(9, 1, 2), hidden: Some(33), outputs: 40, residual: false, ..base },
        Shape { kernel: 5, map: map(2, 19, 18), hidden: Some(68), squeeze: Some(17), ..base },
    ];
    for shape in shapes {
        check_block(shape);
        check_block(Shape { live: false, ..shape });
    }
    // On a single pixel a live norm makes the depthwise kernel a mere scale, whose true gradient is zero.
    for batch in [1, 9] {
        check_block(Shape { map: map(batch, 1, 1), live: false, ..base });
        check_block(Shape { map: map(batch, 1, 1), live: false, residual: false, stride: 2, ..base });
        check_block(Shape { map: map(batch, 1, 1), live: false, kernel: 5, squeeze: Some(4), ..base });
    }
}
