//! Outlines as signed distance functions: negative inside, in units of the radius, centred, within about one unit.
//! Formulas after Inigo Quilez, "2D distance functions" (the mathematics; exact for straight parts, close for others).

use std::f32::consts::{PI, TAU};

/// One kind of thing.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// Distance from a point; the second argument, 0..1, varies the proportions.
    pub(super) distance: fn([f32; 2], f32) -> f32,
}

/// What is labelled. Never reorder: class indices follow.
pub(super) static CLASSES: &[Shape] = &[
    Shape { name: "ring", distance: ring },
    Shape { name: "cross", distance: cross },
    Shape { name: "gear", distance: gear },
    Shape { name: "bolt", distance: bolt },
    Shape { name: "plate", distance: plate },
    Shape { name: "arrow", distance: arrow },
];

/// What is not.
pub(super) static DISTRACTORS: &[Shape] = &[
    Shape { name: "blob", distance: blob },
    Shape { name: "stick", distance: stick },
    Shape { name: "wedge", distance: wedge },
    Shape { name: "crescent", distance: crescent },
];

fn length([x, y]: [f32; 2]) -> f32 {
    (x * x + y * y).sqrt()
}

fn circle(p: [f32; 2], radius: f32) -> f32 {
    length(p) - radius
}

/// A rectangle with half sides `half`.
fn rectangle([x, y]: [f32; 2], half: [f32; 2]) -> f32 {
    let (dx, dy) = (x.abs() - half[0], y.abs() - half[1]);
    length([dx.max(0.0), dy.max(0.0)]) + dx.max(dy).min(0.0)
}

fn at([x, y]: [f32; 2], centre: [f32; 2]) -> [f32; 2] {
    [x - centre[0], y - centre[1]]
}

/// A hexagon with inner radius `radius`, standing on an edge.
fn hexagon([x, y]: [f32; 2], radius: f32) -> f32 {
    let (x, y) = (x.abs(), y.abs());
    (x * 0.866_025_4 + y * 0.5).max(y) - radius
}

fn ring(p: [f32; 2], v: f32) -> f32 {
    let thickness = 0.13 + 0.09 * v;
    (length(p) - (0.97 - thickness)).abs() - thickness
}

fn cross([x, y]: [f32; 2], v: f32) -> f32 {
    let arm = 0.2 + 0.1 * v;
    rectangle([x, y], [0.96, arm]).min(rectangle([x, y], [arm, 0.96]))
}

fn gear(p: [f32; 2], v: f32) -> f32 {
    let teeth = (7.0 + 4.0 * v).floor();
    let wave = (p[1].atan2(p[0]) * teeth).cos();
    // Steep flanks; the slope of the outline is bounded so that edges stay smooth.
    let edge = 0.84 + 0.12 * (2.2 * wave).clamp(-1.0, 1.0);
    let hole = 0.24 - length(p);
    (0.8 * (length(p) - edge)).max(hole)
}

fn bolt([x, y]: [f32; 2], v: f32) -> f32 {
    let shaft = 0.15 + 0.05 * v;
    let head = rectangle([x + 0.66, y], [0.24, 0.46]).max(hexagon([y, x + 0.66], 0.5));
    // A thread: the sides of the shaft are notched.
    let notch = 0.02 * (x * 26.0).sin();
    head.min(rectangle([x - 0.22, y], [0.74, shaft + notch]))
}

fn plate([x, y]: [f32; 2], v: f32) -> f32 {
    let half = [0.88, 0.5 + 0.14 * v];
    let body = rectangle([x, y], [half[0] - 0.12, half[1] - 0.12]) - 0.12;
    let hole = circle([x.abs() - 0.6, y.abs() - (half[1] - 0.26)], 0.105);
    body.max(-hole)
}

fn arrow([x, y]: [f32; 2], v: f32) -> f32 {
    let shaft = 0.14 + 0.08 * v;
    let (hx, hy) = (x - 0.1, y.abs());
    let head = (0.1 - x).max((hx * 0.62 + hy * 0.85) - 0.53).max(-hx);
    head.min(rectangle([x + 0.42, y], [0.54, shaft]))
}

fn blob(p: [f32; 2], v: f32) -> f32 {
    let angle = p[1].atan2(p[0]);
    0.8 * (length(p) - (0.72 + 0.12 * (2.0 * angle + 6.0 * v).sin() + 0.08 * (3.0 * angle + TAU * v).sin()))
}

fn stick([x, y]: [f32; 2], v: f32) -> f32 {
    rectangle([x, y - 0.06 * (3.0 * x + PI * v).sin()], [0.95, 0.06 + 0.05 * v]) - 0.03
}

fn wedge([x, y]: [f32; 2], v: f32) -> f32 {
    let slope = 0.45 + 0.2 * v;
    (-(x + 0.7)).max(0.85 * (y.abs() + slope * (x - 0.85)))
}

fn crescent(p: [f32; 2], v: f32) -> f32 {
    circle(p, 0.9).max(-circle(at(p, [0.38 + 0.15 * v, 0.0]), 0.78))
}
