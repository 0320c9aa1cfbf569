//! Stochastic gradient descent with Nesterov momentum, weight decay added to the gradient (Sutskever et al. 2013, in the form
//! that PyTorch made common).

use super::{Group, Norms, Optimiser, Step, pieces};

const MOMENTUM: f32 = 0.9;

pub(super) struct Sgd {
    velocity: Vec<f32>,
    weight_decay: f32,
}

impl Sgd {
    pub(super) fn new(len: usize, weight_decay: f32) -> Self {
        Self { velocity: vec![0.0; len], weight_decay }
    }
}

impl Optimiser for Sgd {
    fn step(&mut self, groups: &[Group], norms: &Norms, step: Step<'_>) {
        let rate = step.rate;
        let decay = groups.iter().map(|group| if group.decays { self.weight_decay } else { 0.0 });
        let states = pieces(groups, &mut self.velocity).zip(decay);
        step.each(groups, norms, states, |share, (velocity, decay)| {
            share.sweep(velocity.iter_mut(), |value, gradient, velocity| {
                let gradient = gradient + decay * *value;
                *velocity = MOMENTUM * *velocity + gradient;
                *value -= rate * (gradient + MOMENTUM * *velocity);
            });
        });
    }
}
