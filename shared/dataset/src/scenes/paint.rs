//! Things drawn onto the ground: smooth edges, bevel, shadow, pattern, and which pixels show which thing.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::setting::Setting;
use super::shapes::Shape;

/// Pixels that show no labelled thing.
const NOBODY: u8 = u8::MAX;
/// Width of the sloped edge of a thing, in radii.
const BEVEL: f32 = 0.1;

/// A picture being painted: colours 0..1 that may run over, and the owner of each pixel.
pub(super) struct Layer {
    pub(super) width: u32,
    pub(super) height: u32,
    /// `[height, width, 3]`.
    pub(super) pixels: Vec<f32>,
    owner: Vec<u8>,
    /// For each labelled thing: pixels it would show if nothing lay on it.
    full: Vec<u32>,
}

/// A thing to paint.
pub(super) struct Body {
    pub(super) shape: &'static Shape,
    /// In pixels.
    pub(super) centre: [f32; 2],
    /// In pixels.
    pub(super) radius: f32,
    /// Rotation in radians.
    pub(super) angle: f32,
    /// Width is multiplied by this, height divided.
    pub(super) stretch: f32,
    /// Proportions of the shape, 0..1.
    pub(super) variant: f32,
    pub(super) colour: [f32; 3],
    pub(super) pattern: Pattern,
}

/// What is on the surface of a thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pattern {
    Plain,
    /// Stripes across, of this many half waves and strength.
    Stripes(f32, f32),
    /// Concentric rings.
    Rings(f32, f32),
    /// A lighter and a darker half.
    Halves(f32),
}

impl Pattern {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let (kind, pitch, strength) =
            (rng.random_range(0..5), rng.random_range(7.0..15.0), rng.random_range(0.12..0.35));
        match kind {
            0 => Self::Stripes(pitch, strength),
            1 => Self::Rings(pitch, strength),
            2 => Self::Halves(strength),
            _ => Self::Plain,
        }
    }

    /// Brightness at a point of the thing.
    fn at(self, [x, y]: [f32; 2]) -> f32 {
        match self {
            Self::Plain => 1.0,
            Self::Stripes(pitch, strength) => 1.0 + strength * (x * pitch).sin(),
            Self::Rings(pitch, strength) => 1.0 + strength * ((x * x + y * y).sqrt() * pitch).sin(),
            Self::Halves(strength) => 1.0 + strength * (y * 20.0).clamp(-1.0, 1.0),
        }
    }
}

/// What is visible of a labelled thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    /// The outline of its visible pixels: left, top, right, bottom.
    pub(super) bbox: [f32; 4],
    /// Visible pixels, as a part of the whole thing (also of what lies outside the picture).
    pub(super) visible: f32,
}

impl Layer {
    pub(super) fn new(width: u32, height: u32) -> Self {
        let area = width as usize * height as usize;
        Self { width, height, pixels: vec![0.0; area * 3], owner: vec![NOBODY; area], full: Vec::new() }
    }

    /// Paints a thing over what is there. Labelled things have a number, counted from 0 without gaps.
    pub(super) fn paint(&mut self, body: &Body, setting: &Setting, number: Option<u8>) {
        let (sin, cos) = body.angle.sin_cos();
        // From the picture to the frame of the shape.
        let local = |x: f32, y: f32| {
            let (dx, dy) = ((x - body.centre[0]) / body.radius, (y - body.centre[1]) / body.radius);
            [(dx * cos + dy * sin) / body.stretch, (dy * cos - dx * sin) * body.stretch]
        };
        let distance = |x: f32, y: f32| (body.shape.distance)(local(x, y), body.variant) * body.radius;
        // The shadow falls away from the light.
        let drop = 0.13 * body.radius;
        let shadow = [setting.light[0] * drop, setting.light[1] * drop];
        let softness = 0.12 * body.radius + 0.7;
        let reach = 1.25 * body.radius + drop + softness + 1.0;
        let bevel = BEVEL * body.radius + 0.5;

        let range = |centre: f32, side: u32| {
            let from = (centre - reach).floor().max(-reach) as i32;
            (from, (centre + reach).ceil().min(side as f32 + reach) as i32)
        };
        let (left, right) = range(body.centre[0], self.width);
        let (top, bottom) = range(body.centre[1], self.height);
        let mut full = 0;
        for row in top..bottom {
            for column in left..right {
                let (x, y) = (column as f32 + 0.5, row as f32 + 0.5);
                let d = distance(x, y);
                full += u32::from(d < 0.0);
                if row < 0 || column < 0 || row >= self.height as i32 || column >= self.width as i32 {
                    continue;
                }
                let at = row as usize * self.width as usize + column as usize;
                let pixel = &mut self.pixels[at * 3..at * 3 + 3];
                let dark = (0.5 - distance(x + shadow[0], y + shadow[1]) / softness).clamp(0.0, 1.0);
                let shade = 1.0 - 0.55 * setting.relief * dark;
                pixel.iter_mut().for_each(|value| *value *= shade);
                let cover = (0.5 - d).clamp(0.0, 1.0);
                if cover == 0.0 {
                    continue;
                }
                let mut level = body.pattern.at(local(x, y));
                // A slight slope over the whole thing, and a bevelled edge that faces the light or away from it.
                let (dx, dy) = (x - body.centre[0], y - body.centre[1]);
                level *= 1.0
                    + 0.2 * setting.relief * (dx * setting.light[0] + dy * setting.light[1]) / body.radius;
                if d > -bevel {
                    let slope = [distance(x + 0.7, y) - d, distance(x, y + 0.7) - d];
                    let facing = (slope[0] * setting.light[0] + slope[1] * setting.light[1]) / 0.7;
                    level *= 1.0
                        + 0.5 * setting.relief * facing.clamp(-1.0, 1.0) * (1.0 + d / bevel).clamp(0.0, 1.0);
                }
                for (value, colour) in pixel.iter_mut().zip(body.colour) {
                    *value += (colour * level - *value) * cover;
                }
                if d < 0.0 {
                    self.owner[at] = number.unwrap_or(NOBODY);
                }
            }
        }
        if number.is_some() {
            self.full.push(full);
        }
    }

    /// What is visible of each of the `count` labelled things; `None` for one that is covered entirely.
    pub(super) fn extents(&self, count: usize) -> Vec<Option<Extent>> {
        let mut boxes = vec![[u32::MAX, u32::MAX, 0, 0]; count];
        let mut pixels = vec![0_u32; count];
        for (at, &owner) in self.owner.iter().enumerate() {
            let Some(bbox) = boxes.get_mut(usize::from(owner)) else { continue };
            let (x, y) = ((at % self.width as usize) as u32, (at / self.width as usize) as u32);
            *bbox = [bbox[0].min(x), bbox[1].min(y), bbox[2].max(x + 1), bbox[3].max(y + 1)];
            pixels[usize::from(owner)] += 1;
        }
        let extent = |((bbox, pixels), full): (([u32; 4], u32), &u32)| {
            (pixels > 0).then(|| Extent {
                bbox: bbox.map(|edge| edge as f32),
                visible: pixels as f32 / (*full).max(1) as f32,
            })
        };
        boxes.into_iter().zip(pixels).zip(&self.full).map(extent).collect()
    }
}
