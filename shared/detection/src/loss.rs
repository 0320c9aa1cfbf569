//! The detection loss of a batch and its gradients, on plain slices.
//!
//! ```text
//! norm  = max(1, sum over the batch of the class targets)
//! class = sum over locations and annotated classes of class_loss(logit, target or 0) / norm
//! box   = box_weight * sum over positives of target * (1 - GIoU(predicted box, labelled box)) / norm
//! ```
//!
//! As in TOOD (Feng et al. 2021) and NanoDet, a positive counts by its class target in both parts. Assignment and
//! class targets look at the predictions, and no gradient flows through either.

use serde::{Deserialize, Serialize};

use crate::assign::{AssignConfig, Assignment, Phase, assign};
use crate::boxes::{BBox, giou_loss_grad};
use crate::class_loss::{ClassLoss, ClassLossChoice};
use crate::grid::LocationGrid;
use crate::math::sigmoid;
use crate::shape::{LengthError, check_length};
use crate::targets::{ImageTargets, Predictions, decode_boxes};

/// Settings of the loss. The defaults are the recipe measured best from a random start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// Loss of the class logits.
    pub class_loss: ClassLossChoice,
    /// Weight of the box loss against the class loss; finite and not negative.
    pub box_weight: f32,
    /// How locations find their objects.
    pub assign: AssignConfig,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self { class_loss: ClassLossChoice::default(), box_weight: 2.0, assign: AssignConfig::default() }
    }
}

impl LossConfig {
    /// Checks the range of every setting.
    ///
    /// # Errors
    /// The first setting out of its range.
    pub fn check(&self) -> Result<(), LossError> {
        let (centre, aligned) = (&self.assign.centre, &self.assign.task_aligned);
        let positive = |value: f32| value > 0.0 && value.is_finite();
        let rules = [
            (
                "box_weight",
                self.box_weight,
                self.box_weight >= 0.0 && self.box_weight.is_finite(),
                "0 or more",
            ),
            ("centre.radius", centre.radius, positive(centre.radius), "above 0"),
            ("centre.cells", centre.cells, positive(centre.cells), "above 0"),
            ("centre.floor", centre.floor, (0.0..=1.0).contains(&centre.floor), "0 to 1"),
            ("task_aligned.candidates", aligned.candidates as f32, aligned.candidates > 0, "1 or more"),
            ("task_aligned.iou_power", aligned.iou_power as f32, aligned.iou_power <= 16, "0 to 16"),
        ];
        match rules.into_iter().find(|rule| !rule.2) {
            None => Ok(()),
            Some((field, found, _, expected)) => Err(LossError::Config { field, expected, found }),
        }
    }
}

/// The outputs of a batch of `N` images with `L` locations each, and what they should have been.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Where the `L` locations are.
    pub grid: &'a LocationGrid,
    /// Number of classes `C`.
    pub classes: usize,
    /// Class logits, `[N, L, C]`.
    pub logits: &'a [f32],
    /// Box logits, `[N, L, 4]`: the distances to left, top, right and bottom are `softplus(logit) * stride` pixels.
    pub box_logits: &'a [f32],
    /// Labels, `N`.
    pub targets: &'a [ImageTargets],
    /// Per image, the classes its annotator looks for, `[N][C]`; the others are not taught there.
    pub class_masks: &'a [&'a [bool]],
}

/// Where gradients of the normalised total go; both are overwritten.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// By the class logits, `[N, L, C]`.
    pub logits: &'a mut [f32],
    /// By the box logits, `[N, L, 4]`.
    pub boxes: &'a mut [f32],
}

/// The loss of a batch; all figures are means as described for the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LossReport {
    /// `class + boxes`, what the gradients belong to.
    pub total: f32,
    /// The class part.
    pub class: f32,
    /// The box part, with its weight.
    pub boxes: f32,
    /// Locations with an object.
    pub positives: usize,
    /// Sum of their class targets.
    pub target_sum: f32,
    /// What losses and gradients were divided by: `target_sum`, but at least 1. To train on a batch in parts,
    /// multiply by it, add, and divide by the `target_sum` of all parts, at least 1.
    pub norm: f32,
    /// Mean IoU of their predicted boxes with their objects, 0 without positives.
    pub mean_iou: f32,
}

/// What every location of a batch was taught, for reuse by a second class layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AssignedBatch {
    images: Vec<Assignment>,
}

impl AssignedBatch {
    /// One per image.
    pub fn images(&self) -> &[Assignment] {
        &self.images
    }

    /// Sum of the class targets of the batch.
    pub fn target_sum(&self) -> f64 {
        self.images.iter().map(Assignment::target_sum).sum()
    }

    fn norm(&self) -> f64 {
        self.target_sum().max(1.0)
    }
}

/// Why a loss cannot be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LossError {
    /// A setting out of its range.
    #[error("loss setting {field} is {found}, expected {expected}")]
    Config {
        /// The setting.
        field: &'static str,
        /// Its range.
        expected: &'static str,
        /// The value given.
        found: f32,
    },
    /// A slice of another length than the batch needs.
    #[error(transparent)]
    Length(#[from] LengthError),
    /// A label of a class the model does not have.
    #[error("image {image}, box {index}: class {found}, expected one below {expected}")]
    Class {
        /// Image in the batch.
        image: usize,
        /// Box in the image.
        index: usize,
        /// Number of classes.
        expected: usize,
        /// The class given.
        found: u32,
    },
    /// A label that is not a finite box with a positive area.
    #[error("image {image}, box {index}: {found:?} is not a finite box with an area")]
    BBox {
        /// Image in the batch.
        image: usize,
        /// Box in the image.
        index: usize,
        /// The box given.
        found: BBox,
    },
}

/// Assigns every location of a batch, and gives the loss and its gradients by both kinds of logits.
///
/// # Errors
/// Settings out of range, slices of other lengths than the batch needs, labels without area or of unknown class.
/// Non-finite logits are no error: the report shows them as a non-finite loss.
pub fn loss_and_grad(
    config: &LossConfig,
    phase: Phase,
    batch: &Batch<'_>,
    gradients: Gradients<'_>,
) -> Result<(LossReport, AssignedBatch), LossError> {
    config.check()?;
    check_batch(batch, &gradients)?;
    let locations = batch.grid.len();
    let loss = config.class_loss.entry().loss;
    let assigner = (phase.entry().build)(&config.assign);

    let mut distances = Vec::new();
    let mut decoded = vec![Vec::new(); batch.targets.len()];
    let mut assigned = AssignedBatch::default();
    let raw =
        batch.box_logits.chunks_exact(locations * 4).zip(image_rows(batch.logits, locations, batch.classes));
    for ((targets, (box_logits, logits)), boxes) in batch.targets.iter().zip(raw).zip(&mut decoded) {
        decode_boxes(batch.grid, box_logits, &mut distances, boxes);
        let predictions = Predictions { logits, classes: batch.classes, boxes };
        let mut assignment = assign(&*assigner, batch.grid, targets, &predictions);
        for positive in &mut assignment.positives {
            positive.target = loss.target(positive.target);
        }
        assigned.images.push(assignment);
    }

    let mut report = class_part(
        loss,
        &assigned,
        locations,
        batch.classes,
        batch.logits,
        batch.class_masks,
        gradients.logits,
    );
    let scale = f64::from(config.box_weight) / assigned.norm();
    let (boxes, iou_sum) = box_part(&assigned, &decoded, scale, batch, gradients.boxes);
    report.boxes = boxes;
    report.total = report.class + report.boxes;
    report.mean_iou = (iou_sum / report.positives.max(1) as f64) as f32;
    Ok((report, assigned))
}

/// The box part times `scale`, its gradients, and the sum of the IoU of all positives.
fn box_part(
    assigned: &AssignedBatch,
    decoded: &[Vec<BBox>],
    scale: f64,
    batch: &Batch<'_>,
    gradients: &mut [f32],
) -> (f32, f64) {
    let (mut sum, mut iou_sum) = (0.0_f64, 0.0_f64);
    gradients.fill(0.0);
    for (image, assignment) in assigned.images.iter().enumerate() {
        for positive in &assignment.positives {
            let location = positive.location as usize;
            let target = &batch.targets[image].boxes[positive.bbox as usize].bbox;
            let predicted = &decoded[image][location];
            let (value, slopes) = giou_loss_grad(predicted, target);
            let weight = f64::from(positive.target) * scale;
            sum += weight * f64::from(value);
            iou_sum += f64::from(predicted.iou(target));
            let per_stride = weight as f32 * batch.grid.locations()[location].stride;
            let first = (image * batch.grid.len() + location) * 4;
            for (edge, slope) in slopes.into_iter().enumerate() {
                // Left and top edges move against their distances.
                let direction = if edge < 2 { -per_stride } else { per_stride };
                gradients[first + edge] = direction * sigmoid(batch.box_logits[first + edge]) * slope;
            }
        }
    }
    (sum as f32, iou_sum)
}

/// The class part alone, for a second class layer that learns the same targets: `logits` and `gradients` are
/// `[N, L, C]`, `class_masks` `[N][C]`. The box part of the report is 0.
///
/// # Errors
/// Settings out of range, slices of other lengths than the assigned batch needs, targets of an unknown class.
pub fn class_loss_and_grad(
    config: &LossConfig,
    assigned: &AssignedBatch,
    grid: &LocationGrid,
    classes: usize,
    logits: &[f32],
    class_masks: &[&[bool]],
    gradients: &mut [f32],
) -> Result<LossReport, LossError> {
    config.check()?;
    let outputs = assigned.images.len() * grid.len() * classes;
    check_length("logits", outputs, logits.len())?;
    check_length("gradients of logits", outputs, gradients.len())?;
    check_masks(class_masks, assigned.images.len(), classes)?;
    for (image, assignment) in assigned.images.iter().enumerate() {
        for positive in &assignment.positives {
            if positive.class as usize >= classes {
                let (index, found) = (positive.bbox as usize, positive.class);
                return Err(LossError::Class { image, index, expected: classes, found });
            }
        }
        let furthest = assignment.positives.last().map(|positive| positive.location);
        let end =
            furthest.max(assignment.excluded.last().copied()).map_or(0, |location| location as usize + 1);
        if end > grid.len() {
            return Err(LengthError { what: "the grid", expected: end, found: grid.len() }.into());
        }
    }
    let loss = config.class_loss.entry().loss;
    Ok(class_part(loss, assigned, grid.len(), classes, logits, class_masks, gradients))
}

/// Class logits image by image; images without a class are empty.
fn image_rows(logits: &[f32], locations: usize, classes: usize) -> impl Iterator<Item = &[f32]> {
    let size = locations * classes;
    (0..).map(move |image| &logits[image * size..(image + 1) * size])
}

fn class_part(
    loss: &dyn ClassLoss,
    assigned: &AssignedBatch,
    locations: usize,
    classes: usize,
    logits: &[f32],
    class_masks: &[&[bool]],
    gradients: &mut [f32],
) -> LossReport {
    let norm = assigned.norm();
    let scale = (1.0 / norm) as f32;
    let size = locations * classes;
    let mut losses = vec![0.0; size];
    let mut sum = 0.0_f64;
    let mut positives = 0;
    for (image, (assignment, mask)) in assigned.images.iter().zip(class_masks).enumerate() {
        let logits = &logits[image * size..(image + 1) * size];
        let gradients = &mut gradients[image * size..(image + 1) * size];
        loss.negatives(logits, &mut losses, gradients);
        for positive in &assignment.positives {
            let at = positive.location as usize * classes + positive.class as usize;
            (losses[at], gradients[at]) = loss.positive(logits[at], positive.target);
        }
        for &location in &assignment.excluded {
            let row = location as usize * classes..(location as usize + 1) * classes;
            losses[row.clone()].fill(0.0);
            gradients[row].fill(0.0);
        }
        for class in (0..classes).filter(|&class| !mask[class]) {
            losses.iter_mut().skip(class).step_by(classes).for_each(|value| *value = 0.0);
            gradients.iter_mut().skip(class).step_by(classes).for_each(|value| *value = 0.0);
        }
        gradients.iter_mut().for_each(|gradient| *gradient *= scale);
        sum += losses.iter().map(|&value| f64::from(value)).sum::<f64>();
        positives += assignment.positives.len();
    }
    let class = (sum / norm) as f32;
    let target_sum = assigned.target_sum() as f32;
    LossReport { total: class, class, boxes: 0.0, positives, target_sum, norm: norm as f32, mean_iou: 0.0 }
}

fn check_masks(masks: &[&[bool]], images: usize, classes: usize) -> Result<(), LossError> {
    check_length("class masks", images, masks.len())?;
    Ok(masks.iter().try_for_each(|mask| check_length("a class mask", classes, mask.len()))?)
}

fn check_batch(batch: &Batch<'_>, gradients: &Gradients<'_>) -> Result<(), LossError> {
    let outputs = batch.targets.len() * batch.grid.len();
    check_length("logits", outputs * batch.classes, batch.logits.len())?;
    check_length("gradients of logits", outputs * batch.classes, gradients.logits.len())?;
    check_length("box logits", outputs * 4, batch.box_logits.len())?;
    check_length("gradients of box logits", outputs * 4, gradients.boxes.len())?;
    check_masks(batch.class_masks, batch.targets.len(), batch.classes)?;
    for (image, targets) in batch.targets.iter().enumerate() {
        for (index, target) in targets.boxes.iter().enumerate() {
            if target.class as usize >= batch.classes {
                let (expected, found) = (batch.classes, target.class);
                return Err(LossError::Class { image, index, expected, found });
            }
            if !target.bbox.is_valid() {
                return Err(LossError::BBox { image, index, found: target.bbox });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
