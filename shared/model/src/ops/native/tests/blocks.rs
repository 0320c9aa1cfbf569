//! Blocks in every form there is.

use super::{Case, Values, check, close};
use crate::ops::{Activation, BlockArgs, NormArgs, SqueezeArgs, Statistics, native, stock};

use burn::tensor::{Device, Tensor};

/// What a block is besides its sizes.
#[derive(Clone, Copy, Debug)]
struct Form {
    side: usize,
    stride: usize,
    squeezed: Option<usize>,
    activation: Activation,
    output_activation: Activation,
    residual: bool,
}

const PLAIN: Form = Form {
    side: 3,
    stride: 1,
    squeezed: None,
    activation: Activation::Relu6,
    output_activation: Activation::None,
    residual: false,
};

/// Images, rows, columns, inputs; hidden channels after an expansion; outputs.
type Sizes = ([usize; 4], Option<usize>, usize);

/// The tensors of a block.
struct Tensors {
    case: Case,
    expands: bool,
    form: Form,
}

impl Tensors {
    fn new(seed: u64, (map, hidden, outputs): Sizes, form: Form) -> Self {
        let values = &mut Values(seed);
        let device = Device::flex().autodiff();
        let inputs = map[3];
        let mut case = Case::new(values, map, -1.0);
        if let Some(hidden) = hidden {
            case.weights2.push(values.tensor([hidden, inputs], -0.4, 0.4, &device).require_grad());
            case.norm(values, hidden);
        }
        let channels = hidden.unwrap_or(inputs);
        let bound = 1.8 / form.side as f32;
        let kernel = values.tensor([form.side, form.side, channels], -bound, bound, &device);
        case.weights3.push(kernel.require_grad());
        case.norm(values, channels);
        case.weights2.push(values.tensor([outputs, channels], -0.3, 0.3, &device).require_grad());
        case.norm(values, outputs);
        if let Some(few) = form.squeezed {
            // Some factors at either end of the hard sigmoid, some between.
            for (out, from, weights, biases) in [(few, channels, 0.4, 1.0), (channels, few, 0.6, 3.0)] {
                case.weights2.push(values.tensor([out, from], -weights, weights, &device).require_grad());
                case.vectors.push(values.tensor([out], -biases, biases, &device).require_grad());
            }
        }
        Self { case, expands: hidden.is_some(), form }
    }

    fn args(&self, recompute: bool) -> BlockArgs {
        let mut norms = self.case.norms.iter().cloned();
        let mut weights = self.case.weights2.iter().cloned();
        let mut biases = self.case.vectors.iter().skip(2 * self.case.norms.len()).cloned();
        let expand = self.expands.then(|| (weights.next().unwrap(), norms.next().unwrap()));
        let depthwise = (self.case.weights3[0].clone(), norms.next().unwrap());
        let project = (weights.next().unwrap(), norms.next().unwrap());
        let mut matrix = || (weights.next().unwrap(), biases.next().unwrap());
        let squeeze = self.form.squeezed.map(|_| SqueezeArgs { reduce: matrix(), restore: matrix() });
        let Form { stride, activation, output_activation, residual, .. } = self.form;
        BlockArgs {
            expand,
            depthwise,
            squeeze,
            project,
            stride,
            activation,
            output_activation,
            residual,
            recompute,
        }
    }
}

/// With either kind of statistics, keeping maps and making them again, and without autodiff.
#[track_caller]
fn agree(seed: u64, sizes: Sizes, form: Form) {
    let tensors = Tensors::new(seed, sizes, form);
    let x = || tensors.case.x.clone();
    let squeeze = if form.squeezed.is_some() { 4 } else { 0 };
    let gradients = 1 + 3 * tensors.case.norms.len() + squeeze;
    for statistics in [Statistics::Batch, Statistics::Fixed] {
        for recompute in [false, true] {
            let what = format!("{sizes:?} {form:?}, {statistics:?}, recompute {recompute}");
            let native = || native::block(x(), tensors.args(recompute), statistics);
            let stock = || stock::block(x(), tensors.args(recompute), statistics);
            check(&what, &tensors.case, [&native, &stock], [gradients]);
        }
        let looking = native::block(x().inner(), inner(tensors.args(false)), statistics);
        let (expected, _) = stock::block(x(), tensors.args(false), statistics);
        let what = format!("{sizes:?} {form:?}, {statistics:?}, without autodiff");
        close(&what, &looking.0.to_data(), &expected.to_data(), 2e-5);
    }
}

fn inner(args: BlockArgs) -> BlockArgs {
    let norm = |n: NormArgs| NormArgs {
        gamma: n.gamma.inner(),
        beta: n.beta.inner(),
        mean: n.mean.inner(),
        var: n.var.inner(),
    };
    let linear = |(w, b): (Tensor<2>, Tensor<1>)| (w.inner(), b.inner());
    BlockArgs {
        expand: args.expand.map(|(w, n)| (w.inner(), norm(n))),
        depthwise: (args.depthwise.0.inner(), norm(args.depthwise.1)),
        squeeze: args.squeeze.map(|s| SqueezeArgs { reduce: linear(s.reduce), restore: linear(s.restore) }),
        project: (args.project.0.inner(), norm(args.project.1)),
        ..args
    }
}

#[test]
fn inverted_residuals_and_units_agree_with_stock() {
    let unit = Form { output_activation: Activation::Relu6, ..PLAIN };
    for (seed, sizes, form) in [
        (0, ([2, 8, 8, 16], Some(48), 16), Form { residual: true, ..PLAIN }),
        (1, ([2, 9, 7, 8], Some(48), 24), Form { stride: 2, ..PLAIN }),
        (2, ([2, 6, 6, 24], None, 24), unit),
        (3, ([2, 7, 6, 12], None, 20), Form { stride: 2, ..unit }),
        (4, ([1, 6, 6, 24], None, 24), Form { residual: true, ..unit }),
    ] {
        agree(seed, sizes, form);
    }
}

#[test]
fn every_form_agrees_with_stock() {
    let mut seed = 20;
    for side in [3, 5] {
        for stride in [1, 2] {
            for activation in [Activation::Relu, Activation::Relu6, Activation::HardSwish] {
                for squeezed in [None, Some(6)] {
                    let form = Form { side, stride, squeezed, activation, ..PLAIN };
                    seed += 1;
                    // Odd sizes and channels; with an expansion, and a residual where it fits.
                    let residual = stride == 1;
                    let outputs = if residual { 10 } else { 13 };
                    agree(seed, ([2, 7, 6, 10], Some(21), outputs), Form { residual, ..form });
                    agree(seed, ([2, 5, 6, 18], None, 9), Form { output_activation: activation, ..form });
                }
            }
        }
    }
}
