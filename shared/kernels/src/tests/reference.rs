//! The ops written as one would on paper, in f64, everything materialised.

use super::NormValues;
use crate::{Activation, EPSILON, Map};

pub(super) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// `[rows, inputs] x [outputs, inputs]^T`.
pub(super) fn pointwise(x: &[f64], w: &[f64], inputs: usize, outputs: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for row in x.chunks_exact(inputs) {
        for o in 0..outputs {
            out.push(row.iter().zip(&w[o * inputs..(o + 1) * inputs]).map(|(a, b)| a * b).sum());
        }
    }
    out
}

/// Input and weight gradient of [`pointwise`].
pub(super) fn pointwise_back(
    x: &[f64],
    w: &[f64],
    g: &[f64],
    inputs: usize,
    outputs: usize,
) -> (Vec<f64>, Vec<f64>) {
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    for r in 0..x.len() / inputs {
        for o in 0..outputs {
            for i in 0..inputs {
                dx[r * inputs + i] += g[r * outputs + o] * w[o * inputs + i];
                dw[o * inputs + i] += g[r * outputs + o] * x[r * inputs + i];
            }
        }
    }
    (dx, dw)
}

/// Every (output pixel, input pixel, tap) of a convolution of `side`, padded by half of it.
pub(super) fn taps(map: Map, side: usize, stride: usize) -> Vec<(usize, usize, usize)> {
    let (out, pad) = (map.strided(stride), side / 2);
    let mut found = Vec::new();
    for n in 0..map.batch {
        for oy in 0..out.height {
            for ox in 0..out.width {
                for ky in 0..side {
                    for kx in 0..side {
                        let (iy, ix) = (oy * stride + ky, ox * stride + kx);
                        if iy >= pad && iy < map.height + pad && ix >= pad && ix < map.width + pad {
                            let input = (n * map.height + iy - pad) * map.width + ix - pad;
                            found.push(((n * out.height + oy) * out.width + ox, input, ky * side + kx));
                        }
                    }
                }
            }
        }
    }
    found
}

pub(super) fn depthwise(x: &[f64], k: &[f64], map: Map, side: usize, stride: usize, c: usize) -> Vec<f64> {
    let mut out = vec![0.0; map.strided(stride).pixels() * c];
    for (o, i, t) in taps(map, side, stride) {
        for j in 0..c {
            out[o * c + j] += x[i * c + j] * k[t * c + j];
        }
    }
    out
}

pub(super) fn depthwise_back(
    x: &[f64],
    k: &[f64],
    g: &[f64],
    map: Map,
    side: usize,
    stride: usize,
    c: usize,
) -> (Vec<f64>, Vec<f64>) {
    let (mut dx, mut dk) = (vec![0.0; x.len()], vec![0.0; k.len()]);
    for (o, i, t) in taps(map, side, stride) {
        for j in 0..c {
            dx[i * c + j] += g[o * c + j] * k[t * c + j];
            dk[t * c + j] += g[o * c + j] * x[i * c + j];
        }
    }
    (dx, dk)
}

/// A normalised tensor before its activation, and what its gradient needs.
pub(super) struct Normed {
    pub(super) value: Vec<f64>,
    hat: Vec<f64>,
    inverse: Vec<f64>,
    pub(super) mean: Vec<f64>,
    pub(super) var: Vec<f64>,
}

pub(super) fn norm(y: &[f64], p: &NormValues) -> Normed {
    let c = p.gamma.len();
    let n = (y.len() / c) as f64;
    let (mut mean, mut var) = (wide(&p.mean), wide(&p.var));
    if p.live {
        for j in 0..c {
            mean[j] = y.iter().skip(j).step_by(c).sum::<f64>() / n;
            var[j] = y.iter().skip(j).step_by(c).map(|v| (v - mean[j]).powi(2)).sum::<f64>() / n;
        }
    }
    let inverse: Vec<f64> = var.iter().map(|v| 1.0 / (v + f64::from(EPSILON)).sqrt()).collect();
    let hat: Vec<f64> = y.iter().enumerate().map(|(i, v)| (v - mean[i % c]) * inverse[i % c]).collect();
    let value = hat
        .iter()
        .enumerate()
        .map(|(i, h)| f64::from(p.gamma[i % c]) * h + f64::from(p.beta[i % c]))
        .collect();
    Normed { value, hat, inverse, mean, var }
}

/// Gradients with respect to the input, gamma and beta.
pub(super) fn norm_back(normed: &Normed, p: &NormValues, g: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let c = p.gamma.len();
    let n = (g.len() / c) as f64;
    let (mut gamma, mut beta) = (vec![0.0; c], vec![0.0; c]);
    for (i, v) in g.iter().enumerate() {
        gamma[i % c] += v * normed.hat[i];
        beta[i % c] += v;
    }
    let back = g.iter().enumerate().map(|(i, v)| {
        let j = i % c;
        let inner = if p.live { v - beta[j] / n - normed.hat[i] * gamma[j] / n } else { *v };
        f64::from(p.gamma[j]) * normed.inverse[j] * inner
    });
    (back.collect(), gamma, beta)
}

pub(super) fn activate(z: &[f64], activation: Activation) -> Vec<f64> {
    let f = |v: f64| match activation {
        Activation::None => v,
        Activation::Relu => v.max(0.0),
        Activation::Relu6 => v.clamp(0.0, 6.0),
        Activation::HardSwish => v * (v + 3.0).clamp(0.0, 6.0) / 6.0,
    };
    z.iter().map(|v| f(*v)).collect()
}

pub(super) fn activate_back(z: &[f64], activation: Activation, g: &[f64]) -> Vec<f64> {
    let slope = |v: f64| match activation {
        Activation::None => 1.0,
        Activation::Relu => f64::from(u8::from(v > 0.0)),
        Activation::Relu6 => f64::from(u8::from(v > 0.0 && v < 6.0)),
        Activation::HardSwish if v <= -3.0 => 0.0,
        Activation::HardSwish if v >= 3.0 => 1.0,
        Activation::HardSwish => (2.0 * v + 3.0) / 6.0,
    };
    z.iter().zip(g).map(|(v, g)| slope(*v) * g).collect()
}

/// Distance of the nearest value to a kink of the activation.
pub(super) fn margin(z: &[f64], activation: Activation) -> f64 {
    let kinks: &[f64] = match activation {
        Activation::None => &[],
        Activation::Relu => &[0.0],
        Activation::Relu6 => &[0.0, 6.0],
        Activation::HardSwish => &[-3.0, 3.0],
    };
    z.iter().flat_map(|v| kinks.iter().map(move |kink| (v - kink).abs())).fold(f64::INFINITY, f64::min)
}

/// The matrices of a squeeze-excite, owned.
pub(super) struct SqueezeValues {
    pub(super) reduce: (Vec<f32>, Vec<f32>),
    pub(super) restore: (Vec<f32>, Vec<f32>),
}

/// A squeeze-excite of `[images, pixels, channels]`, and what its gradient needs.
pub(super) struct Squeezed {
    pub(super) value: Vec<f64>,
    pub(super) margin: f64,
    means: Vec<f64>,
    /// Before ReLU, and before the hard sigmoid.
    reduced: Vec<f64>,
    restored: Vec<f64>,
    factors: Vec<f64>,
}

/// Index of the image's channel that value `i` of a map lies in.
fn of_image(i: usize, pixels: usize, channels: usize) -> usize {
    i / (pixels * channels) * channels + i % channels
}

fn linear(x: &[f64], (weight, bias): &(Vec<f32>, Vec<f32>)) -> Vec<f64> {
    let (inputs, outputs) = (weight.len() / bias.len(), bias.len());
    let mut out = pointwise(x, &wide(weight), inputs, outputs);
    out.iter_mut().enumerate().for_each(|(i, v)| *v += f64::from(bias[i % outputs]));
    out
}

pub(super) fn squeeze(a: &[f64], pixels: usize, channels: usize, p: &SqueezeValues) -> Squeezed {
    let mut means = vec![0.0; a.len() / pixels];
    for (i, v) in a.iter().enumerate() {
        means[of_image(i, pixels, channels)] += v / pixels as f64;
    }
    let reduced = linear(&means, &p.reduce);
    let restored = linear(&activate(&reduced, Activation::Relu), &p.restore);
    let factors: Vec<f64> = restored.iter().map(|z| (z + 3.0).clamp(0.0, 6.0) / 6.0).collect();
    let value = a.iter().enumerate().map(|(i, v)| v * factors[of_image(i, pixels, channels)]).collect();
    let margin = margin(&reduced, Activation::Relu).min(margin(&restored, Activation::HardSwish));
    Squeezed { value, margin, means, reduced, restored, factors }
}

/// Gradient with respect to the input; weight and bias gradients of both matrices.
pub(super) fn squeeze_back(
    a: &[f64],
    pixels: usize,
    channels: usize,
    p: &SqueezeValues,
    of: &Squeezed,
    g: &[f64],
) -> (Vec<f64>, [Vec<f64>; 4]) {
    let mut back = vec![0.0; of.factors.len()];
    for (i, (a, g)) in a.iter().zip(g).enumerate() {
        back[of_image(i, pixels, channels)] += a * g;
    }
    let open = |z: &f64| if z.abs() < 3.0 { 1.0 / 6.0 } else { 0.0 };
    back.iter_mut().zip(&of.restored).for_each(|(b, z)| *b *= open(z));
    let few = p.reduce.1.len();
    let sum = |g: &[f64], n: usize| (0..n).map(|c| g.iter().skip(c).step_by(n).sum()).collect::<Vec<f64>>();
    let squeezed = activate(&of.reduced, Activation::Relu);
    let (inner, restore) = pointwise_back(&squeezed, &wide(&p.restore.0), &back, few, channels);
    let inner = activate_back(&of.reduced, Activation::Relu, &inner);
    let (outer, reduce) = pointwise_back(&of.means, &wide(&p.reduce.0), &inner, channels, few);
    let spread = g.iter().enumerate().map(|(i, g)| {
        let at = of_image(i, pixels, channels);
        g * of.factors[at] + outer[at] / pixels as f64
    });
    (spread.collect(), [reduce, sum(&inner, few), restore, sum(&back, channels)])
}
