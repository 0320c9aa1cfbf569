//! Stochastic gradient descent with Nesterov momentum, weight decay added to the gradient (Sutskever et al. 2013, in the form
//! that PyTorch made common).

use super::{Group, Optimiser};

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
    fn step(&mut self, groups: &[Group], values: &mut [f32], gradients: &[f32], rate: f32) {
        for Group { range, decays } in groups {
            let decay = if *decays { self.weight_decay } else { 0.0 };
            let values = values[range.clone()].iter_mut().zip(&gradients[range.clone()]);
            for ((value, &gradient), velocity) in values.zip(&mut self.velocity[range.clone()]) {
                let gradient = gradient + decay * *value;
                *velocity = MOMENTUM * *velocity + gradient;
                *value -= rate * (gradient + MOMENTUM * *velocity);
            }
        }
    }
}
