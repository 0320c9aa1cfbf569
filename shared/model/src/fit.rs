//! Training on one device's images.

use burn::tensor::Device;
use dataset::augment::AugmentSpec;
use detection::LossConfig;
use params::Tensor;
use protocol::plan::{Freeze, TrainPlan};
use protocol::train::TrainError;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::architecture::{Architecture, Part, Role};
use crate::examples::{Batch, Examples, Order};
use crate::loss;
use crate::optimiser::{Average, Group, Optimiser, optimiser};
use crate::prefetch::ahead;
use crate::schedule;

mod step;

use step::Sums;

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
    groups: Vec<Group>,
    static_steps: u32,
    step: u32,
    steps: u32,
    check_finite: bool,
    recompute: bool,
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
            groups: groups(architecture, plan.freeze),
            values,
            static_steps: if plan.static_assignment { u32::MAX } else { 0 },
            step: 0,
            steps: per_epoch.saturating_mul(plan.local_epochs),
            plan: plan.clone(),
            check_finite: false,
            recompute: false,
        })
    }

    /// Assigns by centres for the first `steps` steps only, whatever the plan says: for a training that is not cut into
    /// rounds.
    pub fn static_steps(mut self, steps: u32) -> Self {
        self.static_steps = steps;
        self
    }

    /// Names the layer in which a value stops being finite first, at the price of reading all of them. Without it a training
    /// that diverges is stopped as well, but only says that its loss did.
    pub fn check_finite(mut self, check: bool) -> Self {
        self.check_finite = check;
        self
    }

    /// Makes the maps within blocks again on the way back instead of keeping them: see [`crate::budget::Recompute`].
    pub fn recompute(mut self, recompute: bool) -> Self {
        self.recompute = recompute;
        self
    }

    /// One pass over the images in random order, in steps of nearly equal size. Call it inside the thread pool that is to
    /// do the work; the next images are drawn there as well, while a step goes on.
    ///
    /// # Errors
    /// No readable images; a loss or gradient that is not finite.
    pub fn epoch(&mut self) -> Result<Epoch, TrainError> {
        let orders = self.orders();
        let (examples, augment) = (self.examples, self.augment.clone());
        let mut sums = Sums::default();
        let mut under_way = None;
        ahead(
            &orders,
            |(order, _)| examples.draw(order, &augment),
            |(_, closes_step), drawn| {
                let drawn = drawn.map_err(|refused| TrainError::Data(refused.to_string()))?;
                let mut step = under_way.take().unwrap_or_else(|| self.begin());
                self.accumulate(&mut step, drawn)?;
                if *closes_step {
                    self.finish(step, &mut sums)?;
                } else {
                    under_way = Some(step);
                }
                Ok(())
            },
        )?;
        Ok(sums.means())
    }

    /// One optimiser step on images that are drawn already, in one forward pass.
    ///
    /// # Errors
    /// A loss or gradient that is not finite.
    pub fn step(&mut self, drawn: Batch) -> Result<Epoch, TrainError> {
        let mut sums = Sums::default();
        let mut step = self.begin();
        self.accumulate(&mut step, drawn)?;
        self.finish(step, &mut sums)?;
        Ok(sums.means())
    }

    /// The micro-batches of an epoch, each with whether it is the last of its step.
    fn orders(&mut self) -> Vec<(Order, bool)> {
        let mut shuffled: Vec<usize> = (0..self.examples.len()).collect();
        shuffled.shuffle(&mut self.rng);
        let mut orders = Vec::new();
        for (step, batch) in (self.step..).zip(even_chunks(&shuffled, self.plan.batch as usize)) {
            let mosaic = schedule::mosaic(schedule::progress(&self.plan, step, self.steps));
            for part in even_chunks(batch, self.plan.micro_batch as usize) {
                orders.push((Order::new(part, mosaic, &mut self.rng), false));
            }
            if let Some((_, closes_step)) = orders.last_mut() {
                *closes_step = true;
            }
        }
        orders
    }

    /// The weights after the last step: averaged ones if the plan says so, with the running statistics that belong to them.
    pub fn values(&self) -> &[f32] {
        self.average.values()
    }

    /// Optimiser steps taken so far.
    pub fn steps_taken(&self) -> u32 {
        self.step
    }
}

/// Whether a part trains under a policy. The personal layer always does.
pub(crate) fn trains(freeze: Freeze, part: Part) -> bool {
    let first = match freeze {
        Freeze::None => Part::Deep,
        Freeze::Light => Part::Backbone,
        Freeze::NeckHead => Part::Neck,
        Freeze::Head => Part::Head,
    };
    part >= first
}

/// The tensors that train under a policy, in layout order.
fn groups(architecture: &Architecture, freeze: Freeze) -> Vec<Group> {
    let tensors = architecture.layout().tensors().iter().zip(&architecture.parts).zip(&architecture.roles);
    let learnt = tensors.filter(|((_, part), role)| role.learns() && trains(freeze, **part));
    let group = |((tensor, part), role): ((&Tensor, &Part), &Role)| Group {
        range: tensor.range(),
        decays: role.decays(),
        personal: *part == Part::Personal,
    };
    learnt.map(group).collect()
}

/// Cuts into as few pieces of at most `most` as possible, equal but for one: a rest of a single image would make noisy
/// gradients and batch statistics.
pub(crate) fn even_chunks<T>(items: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    let pieces = items.len().div_ceil(most.max(1));
    (0..pieces).map(move |piece| &items[piece * items.len() / pieces..(piece + 1) * items.len() / pieces])
}

#[cfg(test)]
mod tests;
