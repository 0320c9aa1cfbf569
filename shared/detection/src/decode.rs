//! From raw outputs of one image to scored boxes, before suppression of duplicates.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::boxes::BBox;
use crate::grid::LocationGrid;
use crate::math::{sigmoid, softplus};
use crate::shape::{LengthError, check_length};

/// A scored box.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Where, in pixels of the frame the caller works in.
    pub bbox: BBox,
    /// Index of the class in the model's class list.
    pub class: u32,
    /// Probability, in `0..=1`.
    pub score: f32,
}

impl Detection {
    /// Best score first, then the lower class; equal for detections that only differ in their box.
    pub fn rank(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.class.cmp(&other.class))
    }
}

/// Which scores become detections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecodeConfig {
    /// Only scores above this are kept, in `0..1`.
    pub score_min: f32,
    /// At most this many detections are kept, the best ones.
    pub candidates: usize,
}

impl Default for DecodeConfig {
    fn default() -> Self {
        Self { score_min: 0.02, candidates: 1000 }
    }
}

/// Scored boxes of one image in pixels of the network input, not clipped, best first; a location gives one for
/// every class that passes. Equal scores are in order of class, then location. `logits` is `[L, C]`, `box_logits`
/// is `[L, 4]`. Locations with non-finite outputs give nothing.
///
/// # Errors
/// Slices of other lengths than the grid needs.
pub fn decode(
    config: &DecodeConfig,
    grid: &LocationGrid,
    classes: usize,
    logits: &[f32],
    box_logits: &[f32],
) -> Result<Vec<Detection>, LengthError> {
    check_length("logits", grid.len() * classes, logits.len())?;
    check_length("box logits", grid.len() * 4, box_logits.len())?;
    // Most logits are far below the threshold: the margin only has to be wider than rounding errors of the sigmoid.
    let threshold = f64::from(config.score_min.clamp(0.0, 1.0));
    let surely_below = ((threshold / (1.0 - threshold)).ln() - 0.01) as f32;
    let mut found: Vec<(f32, u32, usize)> = Vec::new();
    for (index, &logit) in logits.iter().enumerate() {
        if logit >= surely_below && logit.is_finite() {
            let score = sigmoid(logit);
            if score > config.score_min {
                found.push((score, (index % classes) as u32, index / classes));
            }
        }
    }
    let order = |a: &(f32, u32, usize), b: &(f32, u32, usize)| {
        b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2))
    };
    if found.len() > config.candidates {
        found.select_nth_unstable_by(config.candidates, order);
        found.truncate(config.candidates);
    }
    found.sort_unstable_by(order);
    let detection = |(score, class, location): (f32, u32, usize)| {
        let at = &grid.locations()[location];
        let distance = |edge: usize| softplus(box_logits[location * 4 + edge]) * at.stride;
        let bbox = BBox::new(at.x - distance(0), at.y - distance(1), at.x + distance(2), at.y + distance(3));
        bbox.is_finite().then_some(Detection { bbox, class, score })
    };
    Ok(found.into_iter().filter_map(detection).collect())
}

#[cfg(test)]
mod tests;
