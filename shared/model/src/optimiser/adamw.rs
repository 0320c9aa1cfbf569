//! Adam with decoupled weight decay (Loshchilov and Hutter 2019).

use super::{Group, Norms, Optimiser, Step, pieces};

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

pub(super) struct AdamW {
    mean: Vec<f32>,
    square: Vec<f32>,
    weight_decay: f32,
    steps: i32,
}

impl AdamW {
    pub(super) fn new(len: usize, weight_decay: f32) -> Self {
        Self { mean: vec![0.0; len], square: vec![0.0; len], weight_decay, steps: 0 }
    }
}

impl Optimiser for AdamW {
    fn step(&mut self, groups: &[Group], norms: &Norms, step: Step<'_>) {
        self.steps = self.steps.saturating_add(1);
        // In f64: 1 - 0.999^t has few digits left in f32 for small t.
        let correction = |beta: f32| (1.0 - f64::from(beta).powi(self.steps)) as f32;
        let rate = step.rate / correction(BETA1);
        let square_scale = 1.0 / correction(BETA2);
        let decayed = 1.0 - step.rate * self.weight_decay;
        let keep = groups.iter().map(|group| if group.decays { decayed } else { 1.0 });
        let states = pieces(groups, &mut self.mean).zip(pieces(groups, &mut self.square)).zip(keep);
        step.each(groups, norms, states, |share, ((mean, square), keep)| {
            share.sweep(mean.iter_mut().zip(square), |value, gradient, (mean, square)| {
                *mean = BETA1 * *mean + (1.0 - BETA1) * gradient;
                *square = BETA2 * *square + (1.0 - BETA2) * gradient * gradient;
                *value = keep * *value - rate * *mean / ((*square * square_scale).sqrt() + EPSILON);
            });
        });
    }
}
