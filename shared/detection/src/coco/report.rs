//! The twelve figures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::accumulate::ClassOutcomes;
use super::{ALL_AREAS, AREA_RANGES, DETECTIONS_MAX, IOU_THRESHOLDS};

/// Indices of 0.5 and 0.75 in [`IOU_THRESHOLDS`].
const IOU_50: usize = 0;
const IOU_75: usize = 5;
const SMALL: usize = 1;
const MEDIUM: usize = 2;
const LARGE: usize = 3;

/// Figures of one class; -1 if the data has no such object.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassFigures {
    /// Average precision over IoU 0.50:0.05:0.95, in `0..=1`.
    #[serde(rename = "AP")]
    pub ap: f64,
    /// Average precision at IoU 0.5.
    #[serde(rename = "AP50")]
    pub ap50: f64,
    /// Objects to be found.
    pub objects: u64,
}

/// The COCO figures, each in `0..=1`, or -1 if nothing of the kind is in the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CocoReport {
    /// Average precision over IoU 0.50:0.05:0.95.
    #[serde(rename = "AP")]
    pub ap: f64,
    /// Average precision at IoU 0.5.
    #[serde(rename = "AP50")]
    pub ap50: f64,
    /// Average precision at IoU 0.75.
    #[serde(rename = "AP75")]
    pub ap75: f64,
    /// AP of objects up to 32 x 32 pixels.
    #[serde(rename = "APs")]
    pub ap_small: f64,
    /// AP of objects between.
    #[serde(rename = "APm")]
    pub ap_medium: f64,
    /// AP of objects from 96 x 96 pixels.
    #[serde(rename = "APl")]
    pub ap_large: f64,
    /// Average recall with 1 detection per image and class.
    #[serde(rename = "AR1")]
    pub ar1: f64,
    /// Average recall with 10 detections per image and class.
    #[serde(rename = "AR10")]
    pub ar10: f64,
    /// Average recall with 100 detections per image and class.
    #[serde(rename = "AR100")]
    pub ar100: f64,
    /// Average recall of objects up to 32 x 32 pixels.
    #[serde(rename = "ARs")]
    pub ar_small: f64,
    /// Average recall of objects between.
    #[serde(rename = "ARm")]
    pub ar_medium: f64,
    /// Average recall of objects from 96 x 96 pixels.
    #[serde(rename = "ARl")]
    pub ar_large: f64,
    /// Images looked at.
    pub images: usize,
    /// Figures by class name.
    pub classes: BTreeMap<String, ClassFigures>,
}

/// The mean of what there is, or -1.
fn mean(values: impl Iterator<Item = Option<f64>>) -> f64 {
    let (sum, count) = values.flatten().fold((0.0, 0_u64), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { -1.0 } else { sum / count as f64 }
}

/// Summarises named classes.
pub(crate) fn summarise(names: &[String], classes: &[ClassOutcomes], images: usize) -> CocoReport {
    // precision[class][area][threshold]
    let precision: Vec<Vec<Vec<Option<f64>>>> = classes
        .iter()
        .map(|class| {
            let ranking = class.ranking();
            let at = |area, threshold| class.average_precision(&ranking, area, threshold);
            (0..AREA_RANGES.len())
                .map(|area| (0..IOU_THRESHOLDS.len()).map(|t| at(area, t)).collect())
                .collect()
        })
        .collect();
    let ap = |area: usize| mean(precision.iter().flat_map(|class| class[area].iter().copied()));
    let ap_at = |threshold: usize| mean(precision.iter().map(|class| class[ALL_AREAS][threshold]));
    let ar = |area: usize, limit: usize| {
        mean(
            classes
                .iter()
                .flat_map(|class| (0..IOU_THRESHOLDS.len()).map(move |t| class.recall(area, t, limit))),
        )
    };
    let figures = |(class, outcomes): (&Vec<Vec<Option<f64>>>, &ClassOutcomes)| ClassFigures {
        ap: mean(class[ALL_AREAS].iter().copied()),
        ap50: mean(class[ALL_AREAS][IOU_50..=IOU_50].iter().copied()),
        objects: outcomes.objects(ALL_AREAS),
    };
    CocoReport {
        ap: ap(ALL_AREAS),
        ap50: ap_at(IOU_50),
        ap75: ap_at(IOU_75),
        ap_small: ap(SMALL),
        ap_medium: ap(MEDIUM),
        ap_large: ap(LARGE),
        ar1: ar(ALL_AREAS, 1),
        ar10: ar(ALL_AREAS, 10),
        ar100: ar(ALL_AREAS, DETECTIONS_MAX),
        ar_small: ar(SMALL, DETECTIONS_MAX),
        ar_medium: ar(MEDIUM, DETECTIONS_MAX),
        ar_large: ar(LARGE, DETECTIONS_MAX),
        images,
        classes: names.iter().cloned().zip(precision.iter().zip(classes).map(figures)).collect(),
    }
}
