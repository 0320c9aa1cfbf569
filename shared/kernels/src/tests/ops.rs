//! Forward and backward of each op against the reference.

use super::reference::*;
use super::{BACKWARD, FORWARD, KINK_MARGIN, NormValues, Random, close, everywhere};
use crate::block::{Block, Layer, Weights};
use crate::pointwise::Pointwise;
use crate::stem::Stem;
use crate::{Map, Wanted, block, pointwise, predict, stem, upsample};

/// Shape of a block under test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) map: Map,
    pub(super) inputs: usize,
    /// None: no expansion.
    pub(super) hidden: Option<usize>,
    pub(super) outputs: usize,
    pub(super) stride: usize,
    pub(super) activate: bool,
    pub(super) residual: bool,
    pub(super) live: bool,
}

pub(super) fn map(batch: usize, height: usize, width: usize) -> Map {
    Map { batch, height, width }
}

/// A block's tensors and what the reference makes of them.
pub(super) struct BlockCase {
    pub(super) shape: Shape,
    pub(super) x: Vec<f32>,
    expand: Option<(Vec<f32>, NormValues)>,
    depthwise: (Vec<f32>, NormValues),
    project: (Vec<f32>, NormValues),
    pub(super) gradient: Vec<f32>,
}

impl BlockCase {
    fn random(shape: Shape, seed: u64) -> Self {
        let r = &mut Random(seed);
        let hidden = shape.hidden.unwrap_or(shape.inputs);
        let layer = |r: &mut Random, len: usize, fan: usize, channels: usize| {
            let bound = (3.0 / fan as f32).sqrt();
            (r.values(len, -bound, bound), NormValues::new(r, channels, shape.live))
        };
        let expand = shape.hidden.map(|h| layer(r, h * shape.inputs, shape.inputs, h));
        let depthwise = layer(r, 9 * hidden, 9, hidden);
        let project = layer(r, shape.outputs * hidden, hidden, shape.outputs);
        let x = r.values(shape.map.pixels() * shape.inputs, -1.0, 1.5);
        let gradient = r.values(shape.map.strided(shape.stride).pixels() * shape.outputs, -1.0, 1.0);
        Self { shape, x, expand, depthwise, project, gradient }
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
            project: layer(&self.project),
            stride: self.shape.stride,
            activate_output: self.shape.activate,
            residual: self.shape.residual,
        }
    }

    pub(super) fn weights(&self) -> Weights<'_> {
        Weights {
            expand: self.expand.as_ref().map(|(w, _)| &w[..]),
            depthwise: &self.depthwise.0,
            project: &self.project.0,
        }
    }

    fn reference(&self) -> BlockReference {
        let Shape { map, inputs, outputs, stride, .. } = self.shape;
        let hidden = self.shape.hidden.unwrap_or(inputs);
        let (x, gradient) = (wide(&self.x), wide(&self.gradient));
        let mut nearest = f64::INFINITY;

        let expanded = self.expand.as_ref().map(|(w, p)| norm(&pointwise(&x, &wide(w), inputs, hidden), p));
        let h = expanded.as_ref().map_or_else(|| x.clone(), |e| relu6(&e.value));
        if let Some(e) = &expanded {
            nearest = nearest.min(margin(&e.value));
        }
        let kernel = wide(&self.depthwise.0);
        let d = norm(&depthwise(&h, &kernel, map, stride, hidden), &self.depthwise.1);
        nearest = nearest.min(margin(&d.value));
        let a = relu6(&d.value);
        let project = wide(&self.project.0);
        let p = norm(&pointwise(&a, &project, hidden, outputs), &self.project.1);
        let mut y = p.value.clone();
        let mut g = gradient.clone();
        if self.shape.activate {
            nearest = nearest.min(margin(&p.value));
            y = relu6(&p.value);
            g = relu6_back(&p.value, &g);
        }
        if self.shape.residual {
            y.iter_mut().zip(&x).for_each(|(y, x)| *y += x);
        }

        let (dp, project_gamma, project_beta) = norm_back(&p, &self.project.1, &g);
        let (da, dw_project) = pointwise_back(&a, &project, &dp, hidden, outputs);
        let (dd, depthwise_gamma, depthwise_beta) =
            norm_back(&d, &self.depthwise.1, &relu6_back(&d.value, &da));
        let (dh, dk) = depthwise_back(&h, &kernel, &dd, map, stride, hidden);
        let mut layers = vec![];
        let mut moments = vec![];
        let mut dx = dh.clone();
        if let (Some(e), Some((w, norm))) = (&expanded, &self.expand) {
            let (de, gamma, beta) = norm_back(e, norm, &relu6_back(&e.value, &dh));
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
        BlockReference { y, dx, layers, moments, margin: nearest }
    }
}

type LayerReference = (&'static str, Vec<f64>, Vec<f64>, Vec<f64>);

pub(super) struct BlockReference {
    y: Vec<f64>,
    dx: Vec<f64>,
    /// Name, weight, gamma and beta gradient.
    layers: Vec<LayerReference>,
    moments: Vec<(Vec<f64>, Vec<f64>)>,
    margin: f64,
}

pub(super) fn check_block(shape: Shape) {
    let (case, expected) = BlockCase::new(shape);
    everywhere(|isa| {
        let tag = |what: &str| format!("{what} of {shape:?} on {}", isa.name());
        let run = block::forward(shape.map, &case.x, &case.block(), true).unwrap();
        close(&tag("output"), &run.output, &expected.y, FORWARD);
        let lean = block::forward(shape.map, &case.x, &case.block(), false).unwrap();
        close(&tag("output without saving"), &lean.output, &expected.y, FORWARD);
        assert!(lean.saved.is_none());
        if shape.live {
            assert_eq!(lean.moments, run.moments, "{}", tag("moments"));
            assert_eq!(run.moments.len(), expected.moments.len());
            for (found, (mean, var)) in run.moments.iter().zip(&expected.moments) {
                close(&tag("mean"), &found.mean, mean, FORWARD);
                close(&tag("variance"), &found.var, var, FORWARD);
            }
        } else {
            assert!(run.moments.is_empty() && lean.moments.is_empty());
        }
        let saved = run.saved.unwrap();
        let found = block::backward(&saved, &case.x, &case.weights(), &case.gradient, Wanted::ALL).unwrap();
        close(&tag("input gradient"), found.input.as_ref().unwrap(), &expected.dx, BACKWARD);
        let layers = found.expand.iter().chain([&found.depthwise, &found.project]);
        for (layer, (name, weight, gamma, beta)) in layers.zip(&expected.layers) {
            close(&tag(&format!("{name} weight gradient")), layer.weight.as_ref().unwrap(), weight, BACKWARD);
            let norm = layer.norm.as_ref().unwrap();
            close(&tag(&format!("{name} gamma gradient")), &norm.gamma, gamma, BACKWARD);
            close(&tag(&format!("{name} beta gradient")), &norm.beta, beta, BACKWARD);
        }
    });
}

#[test]
fn blocks_match_the_reference() {
    let base = Shape {
        map: map(2, 6, 6),
        inputs: 16,
        hidden: Some(32),
        outputs: 16,
        stride: 1,
        activate: false,
        residual: true,
        live: true,
    };
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
        Shape { hidden: None, outputs: 16, activate: true, residual: false, ..base },
        Shape { hidden: None, inputs: 24, outputs: 24, activate: true, ..base },
        Shape { hidden: None, inputs: 5, outputs: 19, stride: 2, activate: true, residual: false, ..base },
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
    ];
    for shape in shapes {
        check_block(shape);
        check_block(Shape { live: false, ..shape });
    }
    // On a single pixel a live norm makes the depthwise kernel a mere scale, whose true gradient is zero.
    for batch in [1, 9] {
        check_block(Shape { map: map(batch, 1, 1), live: false, ..base });
        check_block(Shape { map: map(batch, 1, 1), live: false, residual: false, stride: 2, ..base });
    }
}

#[test]
fn pointwise_matches_the_reference() {
    for (m, inputs, outputs, activate, live) in [
        (map(2, 5, 4), 16, 32, true, true),
        (map(1, 7, 3), 24, 7, false, true),
        (map(1, 7, 3), 9, 50, true, false),
        (map(4, 1, 1), 3, 16, false, false),
        (map(2, 30, 21), 40, 80, true, true),
    ] {
        let (x, w, norm_values, gradient, normed, z) = (0..400)
            .find_map(|seed| {
                let r = &mut Random(seed);
                let x = r.values(m.pixels() * inputs, -1.0, 1.5);
                let w = r.values(outputs * inputs, -0.5, 0.5);
                let p = NormValues::new(r, outputs, live);
                let gradient = r.values(m.pixels() * outputs, -1.0, 1.0);
                let normed = norm(&pointwise(&wide(&x), &wide(&w), inputs, outputs), &p);
                let z = normed.value.clone();
                (!activate || margin(&z) > KINK_MARGIN).then_some((x, w, p, gradient, normed, z))
            })
            .expect("a seed away from the kinks");
        let y = if activate { relu6(&z) } else { z.clone() };
        let g = if activate { relu6_back(&z, &wide(&gradient)) } else { wide(&gradient) };
        let (dy, gamma, beta) = norm_back(&normed, &norm_values, &g);
        let (dx, dw) = pointwise_back(&wide(&x), &wide(&w), &dy, inputs, outputs);
        everywhere(|isa| {
            let tag = |what: &str| format!("{what}, {m:?} {inputs} to {outputs} on {}", isa.name());
            let op = Pointwise { weight: &w, norm: norm_values.norm(), activate };
            let run = pointwise::forward(m, &x, &op, true).unwrap();
            close(&tag("output"), &run.output, &y, FORWARD);
            close(&tag("lean"), &pointwise::forward(m, &x, &op, false).unwrap().output, &y, FORWARD);
            assert_eq!(run.moments.is_some(), live);
            let found = pointwise::backward(&run.saved.unwrap(), &x, &w, &gradient, Wanted::ALL).unwrap();
            close(&tag("input gradient"), &found.input.unwrap(), &dx, BACKWARD);
            close(&tag("weight gradient"), &found.weight.unwrap(), &dw, BACKWARD);
            let norm = found.norm.unwrap();
            close(&tag("gamma gradient"), &norm.gamma, &gamma, BACKWARD);
            close(&tag("beta gradient"), &norm.beta, &beta, BACKWARD);
        });
    }
}

#[test]
fn stem_matches_the_reference() {
    for (m, inputs, outputs, live) in [
        (map(2, 12, 10), 3, 16, true),
        (map(1, 9, 7), 3, 8, true),
        (map(2, 5, 6), 3, 33, false),
        (map(5, 1, 1), 1, 16, false),
        (map(3, 40, 36), 3, 16, true),
    ] {
        let convolve = |x: &[f64], w: &[f64]| {
            let mut out = vec![0.0; m.strided(2).pixels() * outputs];
            for (o, i, t) in taps(m, 2) {
                for c in 0..inputs {
                    for k in 0..outputs {
                        out[o * outputs + k] += x[i * inputs + c] * w[(t * inputs + c) * outputs + k];
                    }
                }
            }
            out
        };
        let (x, w, p, gradient, normed) = (0..400)
            .find_map(|seed| {
                let r = &mut Random(seed);
                let x = r.values(m.pixels() * inputs, 0.0, 1.0);
                let w = r.values(9 * inputs * outputs, -0.5, 0.5);
                let p = NormValues::new(r, outputs, live);
                let gradient = r.values(m.strided(2).pixels() * outputs, -1.0, 1.0);
                let normed = norm(&convolve(&wide(&x), &wide(&w)), &p);
                (margin(&normed.value) > KINK_MARGIN).then_some((x, w, p, gradient, normed))
            })
            .expect("a seed away from the kinks");
        let (dy, gamma, beta) = norm_back(&normed, &p, &relu6_back(&normed.value, &wide(&gradient)));
        let mut dw = vec![0.0; w.len()];
        for (o, i, t) in taps(m, 2) {
            for c in 0..inputs {
                for k in 0..outputs {
                    dw[(t * inputs + c) * outputs + k] += f64::from(x[i * inputs + c]) * dy[o * outputs + k];
                }
            }
        }
        everywhere(|isa| {
            let tag = |what: &str| format!("{what}, {m:?} to {outputs} on {}", isa.name());
            let op = Stem { weight: &w, norm: p.norm() };
            let run = stem::forward(m, &x, &op, true).unwrap();
            close(&tag("output"), &run.output, &relu6(&normed.value), FORWARD);
            close(
                &tag("lean"),
                &stem::forward(m, &x, &op, false).unwrap().output,
                &relu6(&normed.value),
                FORWARD,
            );
            let found = stem::backward(&run.saved.unwrap(), &x, &gradient, Wanted::ALL).unwrap();
            close(&tag("weight gradient"), &found.weight.unwrap(), &dw, BACKWARD);
            let norm = found.norm.unwrap();
            close(&tag("gamma gradient"), &norm.gamma, &gamma, BACKWARD);
            close(&tag("beta gradient"), &norm.beta, &beta, BACKWARD);
        });
    }
}

#[test]
fn predict_matches_the_reference() {
    for (m, inputs, outputs) in [(map(2, 5, 4), 32, 4), (map(1, 3, 7), 48, 3), (map(3, 1, 1), 7, 20)] {
        let r = &mut Random(7);
        let x = r.values(m.pixels() * inputs, -1.0, 1.5);
        let w = r.values(outputs * inputs, -0.5, 0.5);
        let bias = r.values(outputs, -5.0, 5.0);
        let gradient = r.values(m.pixels() * outputs, -1.0, 1.0);
        let mut y = pointwise(&wide(&x), &wide(&w), inputs, outputs);
        y.iter_mut().enumerate().for_each(|(i, y)| *y += f64::from(bias[i % outputs]));
        let (dx, dw) = pointwise_back(&wide(&x), &wide(&w), &wide(&gradient), inputs, outputs);
        let db: Vec<f64> =
            (0..outputs).map(|o| wide(&gradient).iter().skip(o).step_by(outputs).sum()).collect();
        everywhere(|isa| {
            let tag = |what: &str| format!("{what}, {m:?} {inputs} to {outputs} on {}", isa.name());
            close(&tag("output"), &predict::forward(m, &x, &w, &bias).unwrap(), &y, FORWARD);
            let found = predict::backward(m, &x, &w, &gradient, Wanted::ALL).unwrap();
            close(&tag("input gradient"), &found.input.unwrap(), &dx, BACKWARD);
            close(&tag("weight gradient"), &found.weight.unwrap(), &dw, BACKWARD);
            close(&tag("bias gradient"), &found.bias.unwrap(), &db, BACKWARD);
        });
    }
}

#[test]
fn upsample_adds_each_pixel_to_its_copies() {
    for (small, large) in [
        (map(2, 3, 4), map(2, 6, 8)),
        (map(2, 3, 4), map(2, 5, 7)),
        (map(1, 1, 1), map(1, 1, 1)),
        (map(1, 2, 1), map(1, 3, 2)),
    ] {
        for channels in [1, 8, 16, 37] {
            let r = &mut Random(3);
            let values = r.values(small.pixels() * channels, -1.0, 1.0);
            let lateral = r.values(large.pixels() * channels, -1.0, 1.0);
            let mut y = wide(&lateral);
            let mut back = vec![0.0; values.len()];
            for n in 0..large.batch {
                for i in 0..large.height {
                    for j in 0..large.width {
                        for c in 0..channels {
                            let to = ((n * large.height + i) * large.width + j) * channels + c;
                            let from = ((n * small.height + i / 2) * small.width + j / 2) * channels + c;
                            y[to] += f64::from(values[from]);
                            back[from] += f64::from(lateral[to]);
                        }
                    }
                }
            }
            everywhere(|_| {
                close("sum", &upsample::forward(small, &values, large, &lateral).unwrap(), &y, FORWARD);
                close("gradient", &upsample::backward(small, large, &lateral).unwrap(), &back, BACKWARD);
            });
        }
    }
}
