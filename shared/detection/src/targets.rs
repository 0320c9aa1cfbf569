//! What an image is to be taught, and what the network says about it.

use crate::boxes::BBox;
use crate::grid::LocationGrid;
use crate::math::{sigmoid, softplus};

/// A labelled object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetBox {
    /// Where it is, in pixels of the network input.
    pub bbox: BBox,
    /// Index of its class in the model's class list.
    pub class: u32,
}

/// The labels of one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageTargets {
    /// Labelled objects.
    pub boxes: Vec<TargetBox>,
    /// Regions about which nothing is known (crowds, difficult objects): locations inside that belong to no
    /// object teach no class, in pixels of the network input.
    pub ignore: Vec<BBox>,
}

/// The raw outputs of one image, with boxes decoded; as input of assignment no gradient flows through it.
#[derive(Clone, Copy, Debug)]
pub struct Predictions<'a> {
    /// Class logits, `[locations, classes]`.
    pub logits: &'a [f32],
    /// Number of classes.
    pub classes: usize,
    /// Predicted box of every location, in pixels of the network input.
    pub boxes: &'a [BBox],
}

impl Predictions<'_> {
    /// Probability of a class at a location, in `0..=1`.
    pub fn score(&self, location: usize, class: u32) -> f32 {
        sigmoid(self.logits[location * self.classes + class as usize])
    }
}

/// Distances `softplus(logit) * stride` to the left, top, right and bottom of every location, as boxes in pixels
/// of the network input. `box_logits` is `[locations, 4]`; `boxes` is cleared and filled.
pub(crate) fn decode_boxes(
    grid: &LocationGrid,
    box_logits: &[f32],
    distances: &mut Vec<f32>,
    boxes: &mut Vec<BBox>,
) {
    distances.clear();
    distances.extend(box_logits.iter().map(|&logit| softplus(logit)));
    boxes.clear();
    boxes.extend(grid.locations().iter().zip(distances.chunks_exact(4)).map(|(at, d)| {
        BBox::new(
            at.x - d[0] * at.stride,
            at.y - d[1] * at.stride,
            at.x + d[2] * at.stride,
            at.y + d[3] * at.stride,
        )
    }));
}
