//! Sigmoid focal loss (Lin et al., ICCV 2017), alpha 0.25, gamma 2.
//!
//! `-alpha (1 - p)^2 ln p` where there is an object, `-(1 - alpha) p^2 ln(1 - p)` where there is none.

use super::{ClassLoss, ClassLossEntry, each};
use crate::math::logistic;

pub(super) const ENTRY: ClassLossEntry =
    ClassLossEntry { name: "focal", about: "the score learns presence (alpha 0.25, gamma 2)", loss: &Focal };

const ALPHA: f32 = 0.25;

struct Focal;

/// Of a logit that should be large: a negative is the mirror image of a positive.
#[inline(always)]
fn present(x: f32, weight: f32) -> (f32, f32) {
    let l = logistic(-x); // l.p = 1 - p, l.q = p, l.softplus = -ln p
    let scale = weight * l.p * l.p;
    (scale * l.softplus, -scale * (2.0 * l.q * l.softplus + l.p))
}

impl ClassLoss for Focal {
    fn target(&self, _quality: f32) -> f32 {
        1.0
    }

    fn positive(&self, logit: f32, _target: f32) -> (f32, f32) {
        present(logit, ALPHA)
    }

    fn negatives(&self, logits: &[f32], losses: &mut [f32], gradients: &mut [f32]) {
        each(logits, losses, gradients, |x| {
            let (loss, gradient) = present(-x, 1.0 - ALPHA);
            (loss, -gradient)
        });
    }
}
