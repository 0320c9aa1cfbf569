//! Axis-aligned boxes in pixels, their overlaps, and the generalised IoU loss with its gradient.

use serde::{Deserialize, Serialize};

/// A box by its corners `(x1, y1)` and `(x2, y2)`, in pixels, continuous coordinates with the origin at the
/// outer corner of the first pixel, so an image of width `w` spans `0..w`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BBox {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
}

impl BBox {
    /// A box from its corners, not checked: see [`BBox::is_valid`].
    pub const fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Self { x1, y1, x2, y2 }
    }

    /// A box from its left top corner and its size, as COCO writes it.
    pub fn from_xywh([x, y, width, height]: [f32; 4]) -> Self {
        Self::new(x, y, x + width, y + height)
    }

    /// Left, top, width, height.
    pub fn to_xywh(self) -> [f32; 4] {
        [self.x1, self.y1, self.x2 - self.x1, self.y2 - self.y1]
    }

    /// A box from its centre and its size, as YOLO writes it (there in parts of the image: see [`BBox::scale`]).
    pub fn from_centre([x, y, width, height]: [f32; 4]) -> Self {
        Self::new(x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0)
    }

    /// `x2 - x1`, negative for an inverted box.
    pub fn width(&self) -> f32 {
        self.x2 - self.x1
    }

    /// `y2 - y1`, negative for an inverted box.
    pub fn height(&self) -> f32 {
        self.y2 - self.y1
    }

    /// The middle of the box.
    pub fn centre(&self) -> (f32, f32) {
        ((self.x1 + self.x2) / 2.0, (self.y1 + self.y2) / 2.0)
    }

    /// Area in square pixels; 0 for an inverted box.
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// Whether all four edges are finite numbers.
    pub fn is_finite(&self) -> bool {
        [self.x1, self.y1, self.x2, self.y2].iter().all(|edge| edge.is_finite())
    }

    /// Whether the box is finite and has a positive, finite area.
    pub fn is_valid(&self) -> bool {
        self.is_finite() && self.x1 < self.x2 && self.y1 < self.y2 && self.area().is_finite()
    }

    /// Whether the point lies strictly inside.
    pub fn contains(&self, x: f32, y: f32) -> bool {
        x > self.x1 && x < self.x2 && y > self.y1 && y < self.y2
    }

    /// Area common to both boxes, 0 if they do not meet.
    pub fn intersection(&self, other: &Self) -> f32 {
        let width = self.x2.min(other.x2) - self.x1.max(other.x1);
        let height = self.y2.min(other.y2) - self.y1.max(other.y1);
        width.max(0.0) * height.max(0.0)
    }

    /// Intersection over union, in `0..=1`; 0 when both boxes are empty.
    pub fn iou(&self, other: &Self) -> f32 {
        let common = self.intersection(other);
        let union = self.area() + other.area() - common;
        if union > 0.0 { (common / union).min(1.0) } else { 0.0 }
    }

    /// The smallest box that holds both.
    pub fn hull(&self, other: &Self) -> Self {
        Self::new(self.x1.min(other.x1), self.y1.min(other.y1), self.x2.max(other.x2), self.y2.max(other.y2))
    }

    /// Generalised IoU, in `-1..=1`: IoU minus the part of the hull outside the union (Rezatofighi et al.,
    /// CVPR 2019).
    pub fn giou(&self, other: &Self) -> f32 {
        1.0 - giou_loss_grad(self, other).0
    }

    /// The part of the box inside an image of the given size; empty boxes stay at its border.
    #[must_use]
    pub fn clip(&self, width: f32, height: f32) -> Self {
        Self::new(
            self.x1.clamp(0.0, width),
            self.y1.clamp(0.0, height),
            self.x2.clamp(0.0, width),
            self.y2.clamp(0.0, height),
        )
    }

    /// Every coordinate multiplied by the factor of its axis.
    #[must_use]
    pub fn scale(&self, x: f32, y: f32) -> Self {
        Self::new(self.x1 * x, self.y1 * y, self.x2 * x, self.y2 * y)
    }

    /// The box moved by an offset.
    #[must_use]
    pub fn translate(&self, x: f32, y: f32) -> Self {
        Self::new(self.x1 + x, self.y1 + y, self.x2 + x, self.y2 + y)
    }
}

/// One axis of [`giou_loss_grad`]: extents and the derivatives of overlap and hull by the two predicted edges.
struct Axis {
    predicted: f64,
    target: f64,
    overlap: f64,
    hull: f64,
    d_overlap: [f64; 2],
    d_hull: [f64; 2],
}

impl Axis {
    fn new(predicted: (f32, f32), target: (f32, f32)) -> Self {
        let (p1, p2) = (f64::from(predicted.0), f64::from(predicted.1));
        let (t1, t2) = (f64::from(target.0), f64::from(target.1));
        // Where two edges coincide, min and max have no derivative: half to each side, as autograd systems do.
        let above = |a: f64, b: f64| {
            if a > b {
                1.0
            } else if a == b {
                0.5
            } else {
                0.0
            }
        };
        let overlap = p2.min(t2) - p1.max(t1);
        let d_overlap = if overlap > 0.0 { [-above(p1, t1), above(t2, p2)] } else { [0.0, 0.0] };
        Self {
            predicted: (p2 - p1).max(0.0),
            target: (t2 - t1).max(0.0),
            overlap: overlap.max(0.0),
            hull: p2.max(t2) - p1.min(t1),
            d_overlap,
            d_hull: [-above(t1, p1), above(p2, t2)],
        }
    }
}

/// `1 - GIoU` of a predicted box, in `0..=2`, and its derivative by the predicted `x1, y1, x2, y2` (Rezatofighi
/// et al., CVPR 2019). Differentiable wherever no two edges coincide; the target must have a positive area.
pub fn giou_loss_grad(predicted: &BBox, target: &BBox) -> (f32, [f32; 4]) {
    let x = Axis::new((predicted.x1, predicted.x2), (target.x1, target.x2));
    let y = Axis::new((predicted.y1, predicted.y2), (target.y1, target.y2));
    let common = x.overlap * y.overlap;
    let union = x.predicted * y.predicted + x.target * y.target - common;
    let hull = x.hull * y.hull;
    if union <= 0.0 || hull <= 0.0 {
        return (1.0, [0.0; 4]);
    }
    let loss = 2.0 - common / union - union / hull;
    // d(common/union) and d(union/hull) along one edge of the axis `a`, the other axis being `b`.
    let along = |a: &Axis, b: &Axis, edge: usize| {
        let outward = if edge == 0 { -1.0 } else { 1.0 };
        let d_common = a.d_overlap[edge] * b.overlap;
        let d_union = outward * b.predicted - d_common;
        let d_hull = a.d_hull[edge] * b.hull;
        let d_iou = (d_common * union - common * d_union) / (union * union);
        let d_fill = (d_union * hull - union * d_hull) / (hull * hull);
        (-d_iou - d_fill) as f32
    };
    (loss as f32, [along(&x, &y, 0), along(&y, &x, 0), along(&x, &y, 1), along(&y, &x, 1)])
}

#[cfg(test)]
mod tests;
