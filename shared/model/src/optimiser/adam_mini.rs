//! AdamW with one second moment per tensor, after Adam-mini (Zhang et al. 2024, arXiv:2406.16793).
//!
//! AdamW moves all values of a tensor by about the same amount, so the largest hundredth of an update holds a tenth of its
//! energy; here steps keep the proportions of the gradients, and it holds several times that. The state is half of AdamW's.

use super::{Group, Norms, Optimiser, Step, pieces};

const BETA1: f32 = 0.9;
/// Lower than AdamW's: a mean over a whole tensor needs little smoothing over time, and local trainings are short.
const BETA2: f64 = 0.95;
const EPSILON: f32 = 1e-8;

pub(super) struct AdamMini {
    mean: Vec<f32>,
    /// Second moment of each group, once there was a step.
    squares: Vec<f64>,
    weight_decay: f32,
    steps: i32,
}

impl AdamMini {
    pub(super) fn new(len: usize, weight_decay: f32) -> Self {
        Self { mean: vec![0.0; len], squares: Vec::new(), weight_decay, steps: 0 }
    }
}

impl Optimiser for AdamMini {
    fn step(&mut self, groups: &[Group], norms: &Norms, step: Step<'_>) {
        self.steps = self.steps.saturating_add(1);
        self.squares.resize(groups.len(), 0.0);
        let rate = step.rate / (1.0 - f64::from(BETA1).powi(self.steps)) as f32;
        let correction = 1.0 - BETA2.powi(self.steps);
        let decayed = 1.0 - step.rate * self.weight_decay;
        let coefficients = groups.iter().enumerate().map(|(at, group)| {
            let clipped = f64::from(step.clipped(group, norms));
            let square = &mut self.squares[at];
            *square = BETA2 * *square
                + (1.0 - BETA2) * clipped * clipped * norms.squares[at] / group.range.len().max(1) as f64;
            let root = (*square / correction).sqrt() as f32;
            (rate / (root + EPSILON), if group.decays { decayed } else { 1.0 })
        });
        let coefficients: Vec<(f32, f32)> = coefficients.collect();
        let states = pieces(groups, &mut self.mean).zip(coefficients);
        step.each(groups, norms, states, |share, (mean, (rate, keep))| {
            share.sweep(mean.iter_mut(), |value, gradient, mean| {
                *mean = BETA1 * *mean + (1.0 - BETA1) * gradient;
                *value = keep * *value - rate * *mean;
            });
        });
    }
}
