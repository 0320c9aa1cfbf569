//! The ops written as one would on paper, in f64, everything materialised.

use super::NormValues;
use crate::{EPSILON, Map};

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

/// Every (output pixel, input pixel, tap) of a 3x3 convolution with padding 1.
pub(super) fn taps(map: Map, stride: usize) -> Vec<(usize, usize, usize)> {
    let out = map.strided(stride);
    let mut found = Vec::new();
    for n in 0..map.batch {
        for oy in 0..out.height {
            for ox in 0..out.width {
                for ky in 0..3 {
                    for kx in 0..3 {
                        let (iy, ix) = (oy * stride + ky, ox * stride + kx);
                        if iy >= 1 && iy <= map.height && ix >= 1 && ix <= map.width {
                            let input = (n * map.height + iy - 1) * map.width + ix - 1;
                            found.push(((n * out.height + oy) * out.width + ox, input, ky * 3 + kx));
                        }
                    }
                }
            }
        }
    }
    found
}

pub(super) fn depthwise(x: &[f64], k: &[f64], map: Map, stride: usize, c: usize) -> Vec<f64> {
    let mut out = vec![0.0; map.strided(stride).pixels() * c];
    for (o, i, t) in taps(map, stride) {
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
    stride: usize,
    c: usize,
) -> (Vec<f64>, Vec<f64>) {
    let (mut dx, mut dk) = (vec![0.0; x.len()], vec![0.0; k.len()]);
    for (o, i, t) in taps(map, stride) {
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

pub(super) fn relu6(z: &[f64]) -> Vec<f64> {
    z.iter().map(|v| v.clamp(0.0, 6.0)).collect()
}

pub(super) fn relu6_back(z: &[f64], g: &[f64]) -> Vec<f64> {
    z.iter().zip(g).map(|(v, g)| if *v > 0.0 && *v < 6.0 { *g } else { 0.0 }).collect()
}

/// Distance of the nearest value to a kink of ReLU6.
pub(super) fn margin(z: &[f64]) -> f64 {
    z.iter().fold(f64::INFINITY, |m, v| m.min(v.abs()).min((v - 6.0).abs()))
}
