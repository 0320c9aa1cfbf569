//! One optimiser step, forward and backward in micro-batches.

use detection::Phase;
use params::{Scope, Tensor};
use protocol::plan::Norm;
use protocol::train::TrainError;

use super::{Epoch, Fit, trains};
use crate::examples::Batch;
use crate::finite;
use crate::loss;
use crate::moments;
use crate::ops::Statistics;
use crate::optimiser::{self, Norms};
use crate::schedule;
use crate::weights::Weights;

/// A step under way: sums over its micro-batches.
pub(super) struct Step {
    weights: Weights,
    gradients: Vec<f32>,
    norm: f32,
    loss: f64,
    iou: f64,
    positives: usize,
    images: u32,
}

/// Sums over finished steps.
#[derive(Default)]
pub(super) struct Sums {
    loss: f64,
    iou: f64,
    gradient_norm: f32,
    images: u32,
    steps: u32,
}

impl Sums {
    pub(super) fn means(self) -> Epoch {
        let steps = f64::from(self.steps.max(1));
        Epoch {
            loss: (self.loss / steps) as f32,
            iou: (self.iou / steps) as f32,
            gradient_norm: self.gradient_norm / steps as f32,
            images: self.images,
            steps: self.steps,
        }
    }
}

impl Fit<'_> {
    pub(super) fn begin(&self) -> Step {
        let (architecture, freeze) = (self.architecture, self.plan.freeze);
        let trains =
            |index: usize| architecture.roles[index].learns() && trains(freeze, architecture.parts[index]);
        let weights = Weights::trainable(architecture.layout(), &self.values, &self.device, trains);
        Step {
            weights: weights.recomputing(self.recompute),
            gradients: vec![0.0; self.values.len()],
            norm: 0.0,
            loss: 0.0,
            iou: 0.0,
            positives: 0,
            images: 0,
        }
    }

    /// Adds the gradients of a micro-batch.
    pub(super) fn accumulate(&mut self, step: &mut Step, mut drawn: Batch) -> Result<(), TrainError> {
        let architecture = self.architecture;
        let layout = architecture.layout();
        let phase = if self.step < self.static_steps { Phase::Static } else { Phase::TaskAligned };
        let statistics = match self.plan.norm {
            Norm::Local => Statistics::Batch,
            Norm::Frozen => Statistics::Fixed,
        };
        let at = self.step;
        let diverged = |what: String| TrainError::Diverged { step: at, what };

        let pixels = drawn.take_pixels(&step.weights.device());
        let mut outputs = if self.check_finite {
            if let Some(name) = finite::first_tensor(layout, &self.values) {
                return Err(diverged(name.to_owned()));
            }
            let outputs = architecture.forward_checked(&step.weights, pixels, statistics);
            outputs.map_err(|found| diverged(found.what))?
        } else {
            architecture.forward(&step.weights, pixels, statistics)
        };
        let used = std::mem::take(&mut outputs.moments);
        let back = loss::backward(architecture, &self.loss, phase, outputs, &drawn);
        let mut back = back.map_err(|refused| TrainError::Data(refused.to_string()))?;
        if !back.report.total.is_finite() {
            return Err(diverged("loss".to_owned()));
        }
        step.weights.add_gradients(&mut back.gradients, &mut step.gradients);
        if self.check_finite
            && let Some(name) = finite::first_tensor(layout, &step.gradients)
        {
            return Err(diverged(format!("gradient of {name}")));
        }
        moments::track(layout, &mut self.values, used);
        step.norm += back.report.target_sum;
        step.loss += f64::from(back.report.total) * f64::from(back.norm);
        step.iou += f64::from(back.report.mean_iou) * back.report.positives as f64;
        step.positives += back.report.positives;
        step.images += drawn.len() as u32;
        Ok(())
    }

    /// Moves the weights by the sum of the gradients.
    pub(super) fn finish(&mut self, step: Step, sums: &mut Sums) -> Result<(), TrainError> {
        let Step { gradients, norm, loss, iou, positives, images, .. } = step;
        let norm = norm.max(1.0);
        let norms = Norms::new(&self.groups, &gradients, 1.0 / norm);
        if !norms.shared.is_finite() || !norms.personal.is_finite() {
            let tensor = finite::first_tensor(self.architecture.layout(), &gradients);
            let what = tensor.map_or_else(|| "gradient".to_owned(), |name| format!("gradient of {name}"));
            return Err(TrainError::Diverged { step: self.step, what });
        }
        let progress = schedule::progress(&self.plan, self.step, self.steps);
        let rate = schedule::learning_rate(&self.plan, progress);
        let (average, decay) = self.average.advance();
        let tensors = self.architecture.layout().tensors().iter();
        for range in tensors.filter(|tensor| tensor.spec.scope == Scope::Statistic).map(Tensor::range) {
            optimiser::follow(&mut average[range.clone()], &self.values[range], decay);
        }
        let step = optimiser::Step {
            values: &mut self.values,
            average,
            gradients: &gradients,
            scale: 1.0 / norm,
            clip: self.plan.clip_norm,
            rate,
            decay,
        };
        self.optimiser.step(&self.groups, &norms, step);
        self.step += 1;
        sums.loss += loss / f64::from(norm);
        sums.iou += iou / positives.max(1) as f64;
        sums.gradient_norm += norms.shared;
        sums.images += images;
        sums.steps += 1;
        Ok(())
    }
}
