//! Greedy suppression of duplicate boxes, class by class.

use serde::{Deserialize, Serialize};

use crate::decode::Detection;

/// Settings of [`nms`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NmsConfig {
    /// A box is dropped if its IoU with a better kept one of its class is above this, in `0..=1`.
    pub iou: f32,
    /// At most this many boxes are kept over all classes, the best ones.
    pub detections: usize,
}

impl Default for NmsConfig {
    fn default() -> Self {
        Self { iou: 0.6, detections: 100 }
    }
}

/// The detections that are not duplicates of a better one, best first. Equal scores are taken in order of class,
/// then of the input, so the result is the same on every machine. Cost: input times kept, at worst.
pub fn nms(config: &NmsConfig, mut detections: Vec<Detection>) -> Vec<Detection> {
    detections.sort_by(Detection::rank);
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in detections {
        if kept.len() == config.detections {
            break;
        }
        let duplicate = |better: &Detection| {
            better.class == candidate.class && better.bbox.iou(&candidate.bbox) > config.iou
        };
        if !kept.iter().any(duplicate) {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests;
