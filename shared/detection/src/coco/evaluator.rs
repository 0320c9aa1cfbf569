//! Evaluation fed image by image, for detections of our own model.

use std::collections::BTreeMap;

use super::accumulate::ClassOutcomes;
use super::matching::{Candidate, Truth, match_image};
use super::report::{CocoReport, summarise};
use crate::boxes::BBox;
use crate::decode::Detection;

/// What a labelled region stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// One object, to be found.
    #[default]
    Object,
    /// One object that need not be found (`difficult` of Pascal VOC).
    Difficult,
    /// A region with any number of objects that need not be found (`iscrowd` of COCO).
    Crowd,
}

/// A labelled region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroundTruth {
    /// Where, in the pixels of the detections.
    pub bbox: BBox,
    /// Index of the class.
    pub class: u32,
    /// Area in square pixels if it is not that of the box (COCO counts that of the mask).
    pub area: Option<f32>,
    /// What it stands for.
    pub role: Role,
}

/// Why an image cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// A class the evaluator was not made for.
    #[error("{what} {index}: class {found}, expected one below {expected}")]
    Class {
        /// `detection` or `object`.
        what: &'static str,
        /// Its index in the image.
        index: usize,
        /// Number of classes.
        expected: usize,
        /// The class given.
        found: u32,
    },
    /// A box, area or score that is not a finite number.
    #[error("{what} {index} is not finite")]
    NotFinite {
        /// `detection` or `object`.
        what: &'static str,
        /// Its index in the image.
        index: usize,
    },
}

/// Collects outcomes; memory grows by 32 bytes per detection.
#[derive(Clone, Debug)]
pub struct Evaluator {
    names: Vec<String>,
    classes: Vec<ClassOutcomes>,
    images: usize,
}

impl Evaluator {
    /// An evaluator for classes of these names; repeated names are numbered in the report.
    pub fn new(names: &[String]) -> Self {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let unique = |name: &String| {
            let count = seen.entry(name.clone()).and_modify(|count| *count += 1).or_insert(1);
            if *count == 1 { name.clone() } else { format!("{name} #{count}") }
        };
        let names: Vec<String> = names.iter().map(unique).collect();
        let classes = vec![ClassOutcomes::default(); names.len()];
        Self { names, classes, images: 0 }
    }

    /// Adds an image; equal scores rank by the order of images, then of detections. An image with
    /// neither changes nothing but the count of images.
    ///
    /// # Errors
    /// A class out of range or a number that is not finite; nothing is added then.
    pub fn add_image(
        &mut self,
        detections: &[Detection],
        truths: &[GroundTruth],
    ) -> Result<(), EvaluationError> {
        let mut per_class: BTreeMap<u32, (Vec<Candidate>, Vec<Truth>)> = BTreeMap::new();
        for (index, detection) in detections.iter().enumerate() {
            let finite = detection.bbox.is_finite() && detection.score.is_finite();
            self.check("detection", index, detection.class, finite)?;
            let candidate = Candidate { xywh: xywh(&detection.bbox), score: f64::from(detection.score) };
            per_class.entry(detection.class).or_default().0.push(candidate);
        }
        for (index, truth) in truths.iter().enumerate() {
            let finite = truth.bbox.is_finite() && truth.area.is_none_or(f32::is_finite);
            self.check("object", index, truth.class, finite)?;
            let xywh = xywh(&truth.bbox);
            per_class.entry(truth.class).or_default().1.push(Truth {
                xywh,
                area: truth.area.map_or(xywh[2] * xywh[3], f64::from),
                crowd: truth.role == Role::Crowd,
                ignore: truth.role != Role::Object,
                counts: true,
            });
        }
        for (class, (candidates, truths)) in per_class {
            self.add_class(class as usize, &candidates, &truths);
        }
        self.images += 1;
        Ok(())
    }

    /// Images added so far.
    pub fn images(&self) -> usize {
        self.images
    }

    /// The figures of everything added so far.
    pub fn report(&self) -> CocoReport {
        summarise(&self.names, &self.classes, self.images)
    }

    /// Adds one class of one image.
    pub(super) fn add_class(&mut self, class: usize, candidates: &[Candidate], truths: &[Truth]) {
        self.classes[class].push(match_image(candidates, truths));
    }

    /// Sets the number of images, where they are counted elsewhere.
    pub(super) fn set_images(&mut self, images: usize) {
        self.images = images;
    }

    /// Outcomes class by class.
    pub(crate) fn classes(&self) -> &[ClassOutcomes] {
        &self.classes
    }

    fn check(
        &self,
        what: &'static str,
        index: usize,
        class: u32,
        finite: bool,
    ) -> Result<(), EvaluationError> {
        let expected = self.classes.len();
        if class as usize >= expected {
            return Err(EvaluationError::Class { what, index, expected, found: class });
        }
        if finite { Ok(()) } else { Err(EvaluationError::NotFinite { what, index }) }
    }
}

fn xywh(bbox: &BBox) -> [f64; 4] {
    let [x1, y1, x2, y2] = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(f64::from);
    [x1, y1, x2 - x1, y2 - y1]
}
