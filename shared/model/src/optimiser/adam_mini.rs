//! AdamW with one second moment per tensor, after Adam-mini (Zhang et al. 2024, arXiv:2406.16793).
//!
//! AdamW moves all values of a tensor by about the same amount, so the largest hundredth of an update holds a tenth of its
//! energy; here steps keep the proportions of the gradients, and it holds several times that. The state is half of AdamW's.

use std::collections::BTreeMap;

use super::{Group, Optimiser};

const BETA1: f32 = 0.9;
/// Lower than AdamW's: a mean over a whole tensor needs little smoothing over time, and local trainings are short.
const BETA2: f64 = 0.95;
const EPSILON: f32 = 1e-8;

pub(super) struct AdamMini {
    mean: Vec<f32>,
    /// One per group, by where it starts in the flat vector.
    moments: BTreeMap<usize, Moment>,
    weight_decay: f32,
}

/// What is known of one tensor's gradients.
#[derive(Default)]
struct Moment {
    square: f64,
    steps: i32,
}

impl AdamMini {
    pub(super) fn new(len: usize, weight_decay: f32) -> Self {
        Self { mean: vec![0.0; len], moments: BTreeMap::new(), weight_decay }
    }
}

impl Optimiser for AdamMini {
    fn step(&mut self, groups: &[Group], values: &mut [f32], gradients: &[f32], rate: f32) {
        for Group { range, decays } in groups {
            let gradients = &gradients[range.clone()];
            let sum: f64 = gradients.iter().map(|&gradient| f64::from(gradient) * f64::from(gradient)).sum();
            let Moment { square, steps } = self.moments.entry(range.start).or_default();
            *steps = steps.saturating_add(1);
            *square = BETA2 * *square + (1.0 - BETA2) * sum / gradients.len().max(1) as f64;
            let root = (*square / (1.0 - BETA2.powi(*steps))).sqrt() as f32;
            let step = rate / (1.0 - f64::from(BETA1).powi(*steps)) as f32 / (root + EPSILON);
            let keep = if *decays { 1.0 - rate * self.weight_decay } else { 1.0 };
            let state = values[range.clone()].iter_mut().zip(&mut self.mean[range.clone()]);
            for ((value, mean), &gradient) in state.zip(gradients) {
                *mean = BETA1 * *mean + (1.0 - BETA1) * gradient;
                *value = keep * *value - step * *mean;
            }
        }
    }
}
