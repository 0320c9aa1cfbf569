//! Training on one device's images.

use burn::tensor::Device;
use dataset::augment::AugmentSpec;
use detection::loss::LossError;
use detection::{LossConfig, Phase};
use protocol::plan::{Freeze, Norm, TrainPlan};
use protocol::train::TrainError;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::architecture::{Architecture, Part};
use crate::examples::Examples;
use crate::loss;
use crate::moments;
use crate::ops::Statistics;
use crate::optimiser::{Average, Group, Optimiser, clip, optimiser};
use crate::schedule;
use crate::weights::Weights;

/// A training under way: its state is three flat vectors and a random stream, no tensors.
pub struct Fit<'a> {
    architecture: &'a Architecture,
    examples: &'a Examples,
    device: Device,
    plan: TrainPlan,
    loss: LossConfig,
    augment: AugmentSpec,
    rng: ChaCha8Rng,
    values: Vec<f32>,
    average: Average,
    optimiser: Box<dyn Optimiser>,
    shared: Vec<Group>,
    personal: Vec<Group>,
    static_steps: u32,
    step: u32,
    steps: u32,
}

/// What one pass over the images gave, as means over its steps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Epoch {
    /// Loss.
    pub loss: f32,
    /// IoU of predicted boxes where there is an object.
    pub iou: f32,
    /// Norm of the shared gradient before clipping.
    pub gradient_norm: f32,
    /// Images seen.
    pub images: u32,
    /// Optimiser steps taken.
    pub steps: u32,
}

/// Sums of a step under way.
#[derive(Default)]
struct Sums {
    loss: f64,
    iou: f64,
    images: u32,
}

impl<'a> Fit<'a> {
    /// Prepares `plan.local_epochs` passes from `values` (all scopes, in the layout). `seed` decides order and augmentation.
    ///
    /// # Errors
    /// Values of another length than the layout's, or a plan without images per step.
    pub fn new(
        architecture: &'a Architecture,
        examples: &'a Examples,
        device: &Device,
        plan: &TrainPlan,
        values: Vec<f32>,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let expected = architecture.layout().len();
        if values.len() != expected {
            return Err(TrainError::Length { scope: "all", expected, found: values.len() });
        }
        if plan.batch == 0 || plan.micro_batch == 0 {
            return Err(TrainError::Model("the plan asks for batches of no images".to_owned()));
        }
        let per_epoch = examples.len().div_ceil(plan.batch as usize) as u32;
        let augment = AugmentSpec {
            horizontal_flip: if plan.flip { 0.5 } else { 0.0 },
            vertical_flip: if plan.flip_vertical { 0.5 } else { 0.0 },
            mosaic: plan.mosaic,
            ..AugmentSpec::default()
        };
        augment.validate().map_err(|refused| TrainError::Model(refused.to_string()))?;
        Ok(Self {
            architecture,
            examples,
            device: device.clone(),
            loss: loss::config(plan.class_loss),
            augment,
            rng: ChaCha8Rng::seed_from_u64(seed),
            average: Average::new(&values, plan.ema_decay),
            optimiser: optimiser(plan.optimiser, values.len(), plan.weight_decay),
            shared: groups(architecture, |part| part != Part::Personal && trains(plan.freeze, part)),
            personal: groups(architecture, |part| part == Part::Personal),
            values,
            static_steps: if plan.static_assignment { u32::MAX } else { 0 },
            step: 0,
            steps: per_epoch.saturating_mul(plan.local_epochs),
            plan: plan.clone(),
        })
    }

    /// Assigns by centres for the first `steps` steps only, whatever the plan says: for a training that is not cut into
    /// rounds.
    pub fn static_steps(mut self, steps: u32) -> Self {
        self.static_steps = steps;
        self
    }

    /// One pass over the images in random order, in steps of nearly equal size. Call it inside the thread pool that is to
    /// do the work.
    ///
    /// # Errors
    /// No readable images; a loss or gradient that is not finite.
    pub fn epoch(&mut self) -> Result<Epoch, TrainError> {
        let mut order: Vec<usize> = (0..self.examples.len()).collect();
        order.shuffle(&mut self.rng);
        let mut sums = Sums::default();
        let mut epoch = Epoch::default();
        for batch in even_chunks(&order, self.plan.batch as usize) {
            epoch.gradient_norm += self.take_step(batch, &mut sums)?;
            epoch.steps += 1;
        }
        let steps = f64::from(epoch.steps.max(1));
        epoch.loss = (sums.loss / steps) as f32;
        epoch.iou = (sums.iou / steps) as f32;
        epoch.gradient_norm /= steps as f32;
        epoch.images = sums.images;
        Ok(epoch)
    }

    /// The weights after the last step: averaged ones if the plan says so, with the running statistics that belong to them.
    pub fn values(&self) -> &[f32] {
        self.average.values()
    }

    /// Optimiser steps taken so far.
    pub fn steps_taken(&self) -> u32 {
        self.step
    }

    /// One optimiser step on `batch`, forward and backward in micro-batches; returns the gradient's norm.
    fn take_step(&mut self, batch: &[usize], sums: &mut Sums) -> Result<f32, TrainError> {
        let architecture = self.architecture;
        let progress = schedule::progress(&self.plan, self.step, self.steps);
        let phase = if self.step < self.static_steps { Phase::Static } else { Phase::TaskAligned };
        let statistics = match self.plan.norm {
            Norm::Local => Statistics::Batch,
            Norm::Frozen => Statistics::Fixed,
        };
        let freeze = self.plan.freeze;
        let trains =
            |index: usize| architecture.roles[index].learns() && trains(freeze, architecture.parts[index]);
        let weights = Weights::trainable(architecture.layout(), &self.values, &self.device, trains);

        let mut gradients = vec![0.0; self.values.len()];
        let (mut norm, mut loss, mut iou, mut positives) = (0.0_f32, 0.0_f64, 0.0_f64, 0_usize);
        for part in even_chunks(batch, self.plan.micro_batch as usize) {
            let drawn = self.examples.batch(part, &self.augment, schedule::mosaic(progress), &mut self.rng);
            let mut drawn = drawn.map_err(|refused| TrainError::Data(refused.to_string()))?;
            let pixels = drawn.take_pixels(&weights.device());
            let mut outputs = architecture.forward(&weights, pixels, statistics);
            let used = std::mem::take(&mut outputs.moments);
            let mut back =
                loss::backward(architecture, &self.loss, phase, outputs, &drawn).map_err(refused)?;
            if !back.report.total.is_finite() {
                return Err(TrainError::Diverged { step: self.step, what: "loss".to_owned() });
            }
            weights.add_gradients(&mut back.gradients, &mut gradients);
            moments::track(architecture.layout(), &mut self.values, used);
            norm += back.report.target_sum;
            loss += f64::from(back.report.total) * f64::from(back.norm);
            iou += f64::from(back.report.mean_iou) * back.report.positives as f64;
            positives += back.report.positives;
            sums.images += drawn.len() as u32;
        }
        let norm = norm.max(1.0);
        gradients.iter_mut().for_each(|gradient| *gradient /= norm);
        sums.loss += loss / f64::from(norm);
        sums.iou += iou / positives.max(1) as f64;

        // Clipped apart, so that the personal layer cannot slow down what is shared.
        let gradient_norm = clip(&self.shared, &mut gradients, self.plan.clip_norm);
        let personal_norm = clip(&self.personal, &mut gradients, self.plan.clip_norm);
        if !gradient_norm.is_finite() || !personal_norm.is_finite() {
            return Err(TrainError::Diverged { step: self.step, what: self.first_not_finite(&gradients) });
        }
        let rate = schedule::learning_rate(&self.plan, progress);
        for groups in [&self.shared, &self.personal] {
            self.optimiser.step(groups, &mut self.values, &gradients, rate);
        }
        self.average.update(&self.values);
        self.step += 1;
        Ok(gradient_norm)
    }

    fn first_not_finite(&self, gradients: &[f32]) -> String {
        let tensors = self.architecture.layout().tensors();
        let bad =
            tensors.iter().find(|tensor| gradients[tensor.range()].iter().any(|value| !value.is_finite()));
        bad.map_or_else(|| "gradient".to_owned(), |tensor| format!("gradient of {}", tensor.spec.name))
    }
}

/// Whether a part trains under a policy. The personal layer always does.
fn trains(freeze: Freeze, part: Part) -> bool {
    let first = match freeze {
        Freeze::None => Part::Deep,
        Freeze::Light => Part::Backbone,
        Freeze::NeckHead => Part::Neck,
        Freeze::Head => Part::Head,
    };
    part >= first
}

/// The learnt tensors of some parts.
fn groups(architecture: &Architecture, wanted: impl Fn(Part) -> bool) -> Vec<Group> {
    let tensors = architecture.layout().tensors().iter().zip(&architecture.parts).zip(&architecture.roles);
    let learnt = tensors.filter(|((_, part), role)| role.learns() && wanted(**part));
    learnt.map(|((tensor, _), role)| Group { range: tensor.range(), decays: role.decays() }).collect()
}

/// Cuts into as few pieces of at most `most` as possible, equal but for one: a rest of a single image would make noisy
/// gradients and batch statistics.
pub(crate) fn even_chunks<T>(items: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    let pieces = items.len().div_ceil(most.max(1));
    (0..pieces).map(move |piece| &items[piece * items.len() / pieces..(piece + 1) * items.len() / pieces])
}

fn refused(error: LossError) -> TrainError {
    TrainError::Data(error.to_string())
}

#[cfg(test)]
mod tests;
