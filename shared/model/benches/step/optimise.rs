//! The optimiser's part of a step: norms, clipping, AdamW, average, for all weights.

use model::Architecture;
use model::optimiser::{Average, Group, Norms, Optimiser, Step, optimiser};

pub(super) struct Optimise {
    groups: Vec<Group>,
    values: Vec<f32>,
    average: Average,
    rule: Box<dyn Optimiser>,
}

impl Optimise {
    pub(super) fn new(architecture: &Architecture, values: &[f32]) -> Self {
        let tensors = architecture.layout().tensors().iter();
        let group = |tensor: &params::Tensor| Group { range: tensor.range(), decays: true, personal: false };
        Self {
            groups: tensors.map(group).collect(),
            values: values.to_vec(),
            average: Average::new(values, 0.99),
            rule: optimiser(protocol::plan::Optimiser::AdamW, values.len(), 0.05),
        }
    }

    pub(super) fn step(&mut self, gradients: &[f32]) {
        let norms = Norms::new(&self.groups, gradients, 0.1);
        let (average, decay) = self.average.advance();
        let (values, rate) = (&mut self.values, 1e-4);
        let step = Step { values, average, gradients, scale: 0.1, clip: 10.0, rate, decay };
        self.rule.step(&self.groups, &norms, step);
    }
}
