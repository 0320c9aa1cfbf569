//! Quality focal loss (Li et al., Generalized Focal Loss, NeurIPS 2020), beta 2.
//!
//! `|t - p|^2 * (softplus(x) - t x)` with `p = sigmoid(x)`: the score learns how good the box is, and locations
//! that already score right weigh little.

use super::{ClassLoss, ClassLossEntry, each};
use crate::math::logistic;

pub(super) const ENTRY: ClassLossEntry = ClassLossEntry {
    name: "quality_focal",
    about: "the score learns the IoU of the box (beta 2)",
    loss: &QualityFocal,
};

struct QualityFocal;

#[inline(always)]
fn scalar(x: f32, target: f32) -> (f32, f32) {
    let l = logistic(x);
    let d = l.p - target;
    let entropy = l.softplus - target * x;
    (d * d * entropy, d * (2.0 * l.p * l.q * entropy + d * d))
}

impl ClassLoss for QualityFocal {
    fn target(&self, quality: f32) -> f32 {
        quality
    }

    fn positive(&self, logit: f32, target: f32) -> (f32, f32) {
        scalar(logit, target)
    }

    fn negatives(&self, logits: &[f32], losses: &mut [f32], gradients: &mut [f32]) {
        each(logits, losses, gradients, |x| scalar(x, 0.0));
    }
}
