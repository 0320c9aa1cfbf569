//! Scoring a model on labelled images.

use burn::tensor::Device;
use detection::coco::{CocoReport, Evaluator, Role};
use detection::histogram::{ApHistogram, HistogramConfig, HistogramError};
use detection::{DecodeConfig, Detection, NmsConfig, decode, nms};
use protocol::evaluation::{CentralScore, ModelScore};
use protocol::train::TrainError;

use crate::architecture::Architecture;
use crate::examples::Examples;
use crate::fit::even_chunks;
use crate::inference::{Answers, Inference};
use crate::prefetch::ahead;

/// What counts as a detection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DetectConfig {
    /// Which scores are kept.
    pub decode: DecodeConfig,
    /// What becomes of duplicates.
    pub nms: NmsConfig,
}

/// Detections of one image by both class layers, in pixels of the input, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detections {
    /// By the shared class layer.
    pub shared: Vec<Detection>,
    /// By the device's own class layer, on the same boxes.
    pub personal: Vec<Detection>,
}

/// Detects on normalised pixels, `[N, side, side, 3]`, with a model of `architecture`; one result per image.
///
/// # Errors
/// Pixels that are not whole images; [`TrainError::Model`] says what else does not fit.
pub fn detect(
    architecture: &Architecture,
    model: &Inference,
    pixels: Vec<f32>,
    config: &DetectConfig,
) -> Result<Vec<Detections>, TrainError> {
    let (grid, classes) = (architecture.grid(), architecture.classes().len());
    let Answers { class: shared, personal, boxes } = model.run(architecture, pixels)?;
    let (size, box_size) = (grid.len() * classes, grid.len() * 4);
    let find = |logits: &[f32], image: usize| {
        let logits = &logits[image * size..(image + 1) * size];
        let boxes = &boxes[image * box_size..(image + 1) * box_size];
        let found = decode(&config.decode, grid, classes, logits, boxes);
        Ok(nms(&config.nms, found.map_err(|refused| TrainError::Model(refused.to_string()))?))
    };
    let both = |image| Ok(Detections { shared: find(&shared, image)?, personal: find(&personal, image)? });
    (0..boxes.len() / box_size).map(both).collect()
}

/// Outcomes of one class layer over a set of images.
#[derive(Clone, Debug)]
pub struct Outcomes(Evaluator);

impl Outcomes {
    /// The COCO figures.
    pub fn report(&self) -> CocoReport {
        self.0.report()
    }

    /// What a device says of its held-out images. Figures that nothing is behind are 0.
    ///
    /// # Errors
    /// A histogram resolution out of range.
    pub fn score(&self, config: HistogramConfig) -> Result<ModelScore, HistogramError> {
        let report = self.report();
        let histogram = ApHistogram::from_evaluator(config, &self.0)?.encode();
        Ok(ModelScore { ap50: report.ap50.max(0.0), ap: report.ap.max(0.0), histogram })
    }

    /// What the coordinator says of a version, per class in the order of `classes`.
    pub fn central(&self, classes: &[String]) -> CentralScore {
        let report = self.report();
        let figure =
            |class: &String| report.classes.get(class).map(|found| found.ap50).filter(|&ap| ap >= 0.0);
        let ap50_per_class = classes.iter().map(figure).collect();
        CentralScore { ap50: report.ap50.max(0.0), ap: report.ap.max(0.0), ap50_per_class }
    }
}

/// Outcomes of both class layers.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// Of the shared class layer.
    pub shared: Outcomes,
    /// Of the device's own.
    pub personal: Outcomes,
    /// Images scored.
    pub images: u32,
    /// Labelled objects in them.
    pub boxes: u32,
}

impl Evaluated {
    fn add(&mut self, examples: &Examples, example: usize, found: Detections) -> Result<(), TrainError> {
        let truths = examples.truths(example);
        for (outcomes, found) in [(&mut self.shared, found.shared), (&mut self.personal, found.personal)] {
            let added = outcomes.0.add_image(&examples.in_image(example, &found), &truths);
            added.map_err(|refused| TrainError::Data(refused.to_string()))?;
        }
        self.images += 1;
        self.boxes += truths.iter().filter(|truth| truth.role == Role::Object).count() as u32;
        Ok(())
    }
}

/// Scores `values` (all scopes, in the layout) with their statistics on all `examples`, letterboxed, in batches of at most
/// `batch`. Boxes are compared in pixels of the original images.
///
/// # Errors
/// A whole batch of unreadable images; labels that are no numbers.
pub fn evaluate(
    architecture: &Architecture,
    examples: &Examples,
    device: &Device,
    values: &[f32],
    batch: usize,
    config: &DetectConfig,
) -> Result<Evaluated, TrainError> {
    let model = Inference::new(architecture, values, device)?;
    let all: Vec<usize> = (0..examples.len()).collect();
    let empty = || Outcomes(Evaluator::new(architecture.classes()));
    let mut evaluated = Evaluated { shared: empty(), personal: empty(), images: 0, boxes: 0 };
    let parts: Vec<&[usize]> = even_chunks(&all, batch).collect();
    ahead(
        &parts,
        |part| examples.plain(part),
        |_, drawn| {
            let mut drawn = drawn.map_err(|refused| TrainError::Data(refused.to_string()))?;
            let found = detect(architecture, &model, std::mem::take(&mut drawn.pixels), config)?;
            drawn
                .examples
                .iter()
                .zip(found)
                .try_for_each(|(&example, found)| evaluated.add(examples, example, found))
        },
    )?;
    Ok(evaluated)
}

#[cfg(test)]
mod tests;
