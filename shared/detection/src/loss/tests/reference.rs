//! The loss of a batch in double precision, straight from the formulas, with targets held fixed.

use super::Owned;
use crate::loss::AssignedBatch;

pub(super) struct Reference<'a> {
    batch: &'a Owned,
    assigned: &'a AssignedBatch,
    class_loss: &'a str,
    pub(super) logits: Vec<f64>,
    pub(super) box_logits: Vec<f64>,
    norm: f64,
}

const STEP: f64 = 1e-5;

fn entropy(x: f64, target: f64) -> f64 {
    x.max(0.0) - target * x + (-x.abs()).exp().ln_1p()
}

impl<'a> Reference<'a> {
    pub(super) fn new(batch: &'a Owned, assigned: &'a AssignedBatch, class_loss: &'a str) -> Self {
        let logits = batch.logits.iter().copied().map(f64::from).collect();
        let box_logits = batch.box_logits.iter().copied().map(f64::from).collect();
        let norm = assigned.target_sum().max(1.0);
        Self { batch, assigned, class_loss, logits, box_logits, norm }
    }

    /// The term of one class logit.
    fn class_term(&self, index: usize, x: f64) -> f64 {
        let (classes, locations) = (self.batch.classes, self.batch.grid.len());
        let (class, location) = (index % classes, index / classes % locations);
        let image = index / classes / locations;
        let assignment = &self.assigned.images()[image];
        if !self.batch.masks[image][class] || assignment.excluded.contains(&(location as u32)) {
            return 0.0;
        }
        let target = assignment.get(location).filter(|positive| positive.class as usize == class);
        let target = target.map_or(0.0, |positive| f64::from(positive.target));
        let p = 1.0 / (1.0 + (-x).exp());
        let value = match self.class_loss {
            "quality_focal" => (target - p).powi(2) * entropy(x, target),
            "focal" if target > 0.0 => 0.25 * (1.0 - p).powi(2) * entropy(x, 1.0),
            "focal" => 0.75 * p.powi(2) * entropy(x, 0.0),
            other => panic!("no reference for {other}"),
        };
        value / self.norm
    }

    pub(super) fn class(&self, logits: &[f64]) -> f64 {
        logits.iter().enumerate().map(|(index, &x)| self.class_term(index, x)).sum()
    }

    pub(super) fn class_slope(&self, index: usize) -> f64 {
        let x = self.logits[index];
        (self.class_term(index, x + STEP) - self.class_term(index, x - STEP)) / (2.0 * STEP)
    }

    /// The term of the location a box logit belongs to.
    fn box_term(&self, output: usize, box_logits: &[f64]) -> f64 {
        let locations = self.batch.grid.len();
        let image = output / locations;
        let Some(positive) = self.assigned.images()[image].get(output % locations) else { return 0.0 };
        let at = &self.batch.grid.locations()[output % locations];
        let target = self.batch.targets[image].boxes[positive.bbox as usize].bbox;
        let d: Vec<f64> =
            (0..4).map(|edge| box_logits[output * 4 + edge].exp().ln_1p() * f64::from(at.stride)).collect();
        let (x, y) = (f64::from(at.x), f64::from(at.y));
        let p = [x - d[0], y - d[1], x + d[2], y + d[3]];
        let t = [target.x1, target.y1, target.x2, target.y2].map(f64::from);
        let area = |b: [f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
        let w = (p[2].min(t[2]) - p[0].max(t[0])).max(0.0);
        let h = (p[3].min(t[3]) - p[1].max(t[1])).max(0.0);
        let union = area(p) + area(t) - w * h;
        let hull = (p[2].max(t[2]) - p[0].min(t[0])) * (p[3].max(t[3]) - p[1].min(t[1]));
        2.0 * f64::from(positive.target) * (1.0 - w * h / union + (hull - union) / hull) / self.norm
    }

    pub(super) fn boxes(&self, box_logits: &[f64]) -> f64 {
        (0..box_logits.len() / 4).map(|output| self.box_term(output, box_logits)).sum()
    }

    /// `None` where two edges nearly coincide and there is no derivative: both sides must agree.
    pub(super) fn box_slope(&self, index: usize) -> Option<f64> {
        let mut moved = self.box_logits.clone();
        let mut at = |offset: f64| {
            moved[index] = self.box_logits[index] + offset;
            self.box_term(index / 4, &moved)
        };
        let (down, here, up) = (at(-STEP), at(0.0), at(STEP));
        let (left, right) = ((here - down) / STEP, (up - here) / STEP);
        let smooth = (left - right).abs() <= 1e-3 * left.abs().max(right.abs()) + 1e-6;
        smooth.then_some((up - down) / (2.0 * STEP))
    }
}
