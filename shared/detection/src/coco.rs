//! Average precision and recall as COCO defines them, equal to pycocotools.
//!
//! pycocotools has habits that move the figures, and all of them are kept:
//! - equal scores keep the order of the file, and across images the order of the image ids;
//! - per image and class only the 100 best detections count, also for the small, medium and large figures;
//! - a detection may match any number of crowds, whose overlap is the part of the *detection* they cover;
//! - objects outside an area range are ignored there, and so are unmatched detections outside it;
//! - of equally overlapping objects the last one is matched;
//! - a match with an annotation whose id is 0 is a miss, since 0 there means unmatched (JSON only).

mod accumulate;
mod evaluator;
mod json;
mod matching;
mod report;

pub use evaluator::{EvaluationError, Evaluator, GroundTruth, Role};
pub use json::{CocoError, score_json};
pub use report::{ClassFigures, CocoReport};

pub(crate) use accumulate::{ClassOutcomes, recall_point};

/// The IoU thresholds 0.50, 0.55 … 0.95, to the bit as numpy spaces them.
pub const IOU_THRESHOLDS: [f64; 10] =
    [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.899_999_999_999_999_9, 0.95];

/// Recall is read at 0, 0.01 … 1.
pub(crate) const RECALL_POINTS: usize = 101;

/// Detections per image and class that count.
pub const DETECTIONS_MAX: usize = 100;

/// Least and largest area of all, small, medium and large objects, in square pixels, both included.
pub(crate) const AREA_RANGES: [(f64, f64); 4] =
    [(0.0, 1e10), (0.0, 1024.0), (1024.0, 9216.0), (9216.0, 1e10)];

/// The index of "all" in [`AREA_RANGES`].
pub(crate) const ALL_AREAS: usize = 0;

#[cfg(test)]
mod tests;
