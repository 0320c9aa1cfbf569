//! Optimiser steps over the flat parameter vector.
//!
//! State and parameters are slices in layout order, so a step is a few passes over memory however many tensors there are.

use std::ops::Range;

use protocol::plan::Optimiser as Choice;

mod adam_mini;
mod adamw;
mod sgd;

/// The values of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Where they lie in the flat vector.
    pub range: Range<usize>,
    /// Whether weight decay applies.
    pub decays: bool,
}

/// An update rule with its state, which starts at zero.
pub trait Optimiser: Send {
    /// Moves the values of all groups once. `values` and `gradients` are flat vectors of the same layout.
    fn step(&mut self, groups: &[Group], values: &mut [f32], gradients: &[f32], rate: f32);
}

/// The rule a plan asks for, for vectors of `len` values.
pub fn optimiser(choice: Choice, len: usize, weight_decay: f32) -> Box<dyn Optimiser> {
    match choice {
        Choice::AdamW => Box::new(adamw::AdamW::new(len, weight_decay)),
        Choice::AdamMini => Box::new(adam_mini::AdamMini::new(len, weight_decay)),
        Choice::Sgd => Box::new(sgd::Sgd::new(len, weight_decay)),
    }
}

/// Scales the gradients of `groups` so that their L2 norm is at most `max`; returns the norm before.
pub fn clip(groups: &[Group], gradients: &mut [f32], max: f32) -> f32 {
    let square = |slice: &[f32]| slice.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
    let norm = groups.iter().map(|group| square(&gradients[group.range.clone()])).sum::<f64>().sqrt() as f32;
    if norm > max {
        let scale = max / norm;
        for group in groups {
            gradients[group.range.clone()].iter_mut().for_each(|gradient| *gradient *= scale);
        }
    }
    norm
}

/// Exponential average of the weights over steps: what is scored and sent.
///
/// After `n` updates the decay is `min((1 + n) / (10 + n), limit)`, so the start is forgotten quickly.
#[derive(Clone, Debug)]
pub struct Average {
    values: Vec<f32>,
    limit: f32,
    updates: u32,
}

impl Average {
    /// Starts at `values`. A `limit` of 0 follows the weights exactly.
    pub fn new(values: &[f32], limit: f32) -> Self {
        Self { values: values.to_vec(), limit, updates: 0 }
    }

    /// Moves towards `values`.
    pub fn update(&mut self, values: &[f32]) {
        self.updates += 1;
        let updates = self.updates as f32;
        let decay = ((1.0 + updates) / (10.0 + updates)).min(self.limit);
        for (average, &value) in self.values.iter_mut().zip(values) {
            *average = decay * *average + (1.0 - decay) * value;
        }
    }

    /// The averaged values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

#[cfg(test)]
mod tests;
