//! Optimiser steps over the flat parameter vector.
//!
//! State and parameters are slices in layout order, and a step passes over them twice however many tensors there are: once for
//! the norms of the gradients ([`Norms`]), and once in which gradients are scaled, values moved and their average updated
//! ([`Optimiser::step`]). Tensors are spread over the threads of the pool; as none of them is cut, the number of threads
//! changes no bit.

use std::ops::Range;

use protocol::plan::Optimiser as Choice;
use rayon::iter::{IntoParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _};

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
    /// Whether they are the device's own, and so clipped apart from what is shared.
    pub personal: bool,
}

/// An update rule with its state, which starts at zero.
pub trait Optimiser: Send {
    /// Moves the values of all groups once. They are always the same groups, in layout order; `norms` are theirs.
    fn step(&mut self, groups: &[Group], norms: &Norms, step: Step<'_>);
}

/// The rule a plan asks for, for vectors of `len` values.
pub fn optimiser(choice: Choice, len: usize, weight_decay: f32) -> Box<dyn Optimiser> {
    match choice {
        Choice::AdamW => Box::new(adamw::AdamW::new(len, weight_decay)),
        Choice::AdamMini => Box::new(adam_mini::AdamMini::new(len, weight_decay)),
        Choice::Sgd => Box::new(sgd::Sgd::new(len, weight_decay)),
    }
}

/// L2 norms of gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Norms {
    /// The square of each group's.
    squares: Vec<f64>,
    /// Of all that is shared.
    pub shared: f32,
    /// Of the device's own.
    pub personal: f32,
}

impl Norms {
    /// Of the gradients in a flat vector, each times `scale`.
    pub fn new(groups: &[Group], gradients: &[f32], scale: f32) -> Self {
        let unit = f64::from(scale) * f64::from(scale);
        let square = |group: &Group| unit * square_sum(&gradients[group.range.clone()]);
        let squares: Vec<f64> = groups.par_iter().map(square).collect();
        let norm = |personal: bool| {
            let chosen = groups.iter().zip(&squares).filter(|(group, _)| group.personal == personal);
            chosen.map(|(_, square)| square).sum::<f64>().sqrt() as f32
        };
        let (shared, personal) = (norm(false), norm(true));
        Self { squares, shared, personal }
    }
}

/// In lanes, for the compiler to use vectors.
fn square_sum(values: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0_f64; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    let rest: f64 = rest.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    sums.iter().sum::<f64>() + rest
}

/// What a step works on: flat vectors in the same layout.
pub struct Step<'a> {
    /// Moved.
    pub values: &'a mut [f32],
    /// Follows the values.
    pub average: &'a mut [f32],
    /// As they were added up.
    pub gradients: &'a [f32],
    /// What gradients are multiplied with, as for [`Norms::new`].
    pub scale: f32,
    /// Largest norm: gradients that exceed it are scaled down to it, shared and personal ones apart.
    pub clip: f32,
    /// Learning rate.
    pub rate: f32,
    /// Share of the average that stays: see [`Average::advance`].
    pub decay: f32,
}

impl Step<'_> {
    /// What clipping scales the gradients of `group` with.
    fn clipped(&self, group: &Group, norms: &Norms) -> f32 {
        let norm = if group.personal { norms.personal } else { norms.shared };
        if norm > self.clip { self.clip / norm } else { 1.0 }
    }

    /// Calls `work` for each group with its state, on all threads.
    fn each<S: Send>(
        self,
        groups: &[Group],
        norms: &Norms,
        states: impl Iterator<Item = S>,
        work: impl Fn(Share<'_>, S) + Sync,
    ) {
        let scales: Vec<f32> = groups.iter().map(|group| self.scale * self.clipped(group, norms)).collect();
        let parts = pieces(groups, self.values).zip(pieces(groups, self.average));
        let shares = groups.iter().zip(scales).zip(parts).map(|((group, scale), (values, average))| {
            let gradients = &self.gradients[group.range.clone()];
            Share { values, average, gradients, scale, decay: self.decay }
        });
        let shares: Vec<(Share<'_>, S)> = shares.zip(states).collect();
        shares.into_par_iter().for_each(|(share, state)| work(share, state));
    }
}

/// The part of a [`Step`] that one group is.
struct Share<'a> {
    values: &'a mut [f32],
    average: &'a mut [f32],
    gradients: &'a [f32],
    scale: f32,
    decay: f32,
}

impl Share<'_> {
    /// Has `rule` move each value by its scaled gradient and its state, and the average follow.
    #[inline(always)]
    fn sweep<S>(self, states: impl Iterator<Item = S>, rule: impl Fn(&mut f32, f32, S)) {
        let Self { values, average, gradients, scale, decay } = self;
        for (((value, average), &gradient), state) in
            values.iter_mut().zip(average).zip(gradients).zip(states)
        {
            rule(value, scale * gradient, state);
            *average = decay * *average + (1.0 - decay) * *value;
        }
    }
}

/// The parts of `flat` that `groups` name, in order.
fn pieces<'a>(groups: &[Group], flat: &'a mut [f32]) -> impl Iterator<Item = &'a mut [f32]> {
    let (mut rest, mut at) = (flat, 0);
    groups.iter().map(move |group| {
        let (_, from) = std::mem::take(&mut rest).split_at_mut(group.range.start - at);
        let (piece, after) = from.split_at_mut(group.range.len());
        (rest, at) = (after, group.range.end);
        piece
    })
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

    /// Begins an update: the values, and the share of them that stays.
    pub fn advance(&mut self) -> (&mut [f32], f32) {
        self.updates += 1;
        let updates = self.updates as f32;
        (&mut self.values, ((1.0 + updates) / (10.0 + updates)).min(self.limit))
    }

    /// The averaged values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// Moves `average` towards `values`, of which it keeps the share `decay`.
pub fn follow(average: &mut [f32], values: &[f32], decay: f32) {
    for (average, &value) in average.iter_mut().zip(values) {
        *average = decay * *average + (1.0 - decay) * value;
    }
}

#[cfg(test)]
mod tests;
