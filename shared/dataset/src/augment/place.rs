//! Where an image lies in the input, and what becomes of its boxes.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{AugmentSpec, Source};
use crate::sample::Annotation;

/// An axis-aligned map from image pixels to input pixels: `input = gain * image + shift` for x and y. A negative gain
/// mirrors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Input pixels for each image pixel, in x and y.
    pub gain: [f32; 2],
    /// Where the image's corner (or its mirror image) lies in the input, in pixels.
    pub shift: [f32; 2],
}

impl Placement {
    /// The whole image, as large as fits, in the middle of the input: what evaluation and prediction use.
    pub fn letterbox(image: (u32, u32), input: (u32, u32)) -> Self {
        let gain = fit(image, input);
        let middle = |image: u32, input: u32| (input as f32 - gain * image as f32) / 2.0;
        Self { gain: [gain; 2], shift: [middle(image.0, input.0), middle(image.1, input.1)] }
    }

    /// A box of the image in pixels of the input.
    pub fn to_input(&self, bbox: [f32; 4]) -> [f32; 4] {
        let map = |axis: usize, value: f32| self.gain[axis] * value + self.shift[axis];
        sorted([map(0, bbox[0]), map(1, bbox[1]), map(0, bbox[2]), map(1, bbox[3])])
    }

    /// A box of the input in pixels of the image, for instance a prediction.
    pub fn to_image(&self, bbox: [f32; 4]) -> [f32; 4] {
        let map = |axis: usize, value: f32| (value - self.shift[axis]) / self.gain[axis];
        sorted([map(0, bbox[0]), map(1, bbox[1]), map(0, bbox[2]), map(1, bbox[3])])
    }

    /// The same place for the pixels of a copy of `size` = (width, height) that covers a part of the frame (left, top, right,
    /// bottom).
    pub(super) fn of_copy(&self, covers: [f32; 4], size: (u32, u32)) -> Self {
        let size = [size.0 as f32, size.1 as f32];
        let gain = [0, 1].map(|axis| self.gain[axis] * ((covers[axis + 2] - covers[axis]) / size[axis]));
        let shift = [0, 1].map(|axis| self.shift[axis] + self.gain[axis] * covers[axis]);
        Self { gain, shift }
    }

    /// Where the edges of the image lie in the input, the lesser first, in x and y.
    pub(super) fn edges(&self, image: (u32, u32)) -> [(f32, f32); 2] {
        let size = [image.0 as f32, image.1 as f32];
        [0, 1].map(|axis| {
            let (begin, end) = (self.shift[axis], self.shift[axis] + self.gain[axis] * size[axis]);
            (begin.min(end), begin.max(end))
        })
    }
}

/// The largest scale at which the image fits into the input.
fn fit(image: (u32, u32), input: (u32, u32)) -> f32 {
    (input.0 as f32 / image.0 as f32).min(input.1 as f32 / image.1 as f32)
}

fn sorted([a, b, c, d]: [f32; 4]) -> [f32; 4] {
    [a.min(c), b.min(d), a.max(c), b.max(d)]
}

/// The part of the input that one source is drawn into: columns `left..right`, rows `top..bottom`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) right: u32,
    pub(super) bottom: u32,
}

impl Tile {
    pub(super) fn whole(input: (u32, u32)) -> Self {
        Self { left: 0, top: 0, right: input.0, bottom: input.1 }
    }

    /// First and past-the-last pixel in x (axis 0) or y (axis 1).
    pub(super) fn range(&self, axis: usize) -> (u32, u32) {
        if axis == 0 { (self.left, self.right) } else { (self.top, self.bottom) }
    }
}

/// The geometric draws for one source.
pub(super) struct Jitter {
    zoom: f32,
    mirrored: [bool; 2],
    /// Where in the free range the image lies, 0..1 in x and y.
    at: [f32; 2],
    /// Which box is kept whole, 0..1 of the list; none if the image is to lie in the middle.
    focus: Option<f32>,
}

impl Jitter {
    pub(super) fn draw(spec: &AugmentSpec, scale: [f32; 2], rng: &mut ChaCha8Rng) -> Self {
        let draws: [f32; 6] = rng.random();
        let at = if spec.shift { [draws[3], draws[4]] } else { [0.5; 2] };
        Self {
            zoom: scale[0] + (scale[1] - scale[0]) * draws[0],
            mirrored: [draws[1] < spec.horizontal_flip, draws[2] < spec.vertical_flip],
            at,
            focus: spec.shift.then_some(draws[5]),
        }
    }

    pub(super) fn place(&self, source: &Source<'_>, input: (u32, u32), tile: Tile) -> Placement {
        let frame = [source.frame.0 as f32, source.frame.1 as f32];
        let gain = fit(source.frame, input) * self.zoom;
        let counted = || source.annotations.iter().filter(|a| !a.ignore);
        let focus = self.focus.and_then(|draw| counted().nth((draw * counted().count() as f32) as usize));
        let mut placement = Placement { gain: [gain; 2], shift: [0.0; 2] };
        for axis in 0..2 {
            let (begin, end) = tile.range(axis);
            let room = (end - begin) as f32 - gain * frame[axis];
            // With room to spare the image lies anywhere inside the tile; else the tile lies anywhere inside it.
            let (mut low, mut high) = (room.min(0.0), room.max(0.0));
            if let (Some(Annotation { bbox, .. }), true) = (focus, room < 0.0) {
                let (from, to) = if self.mirrored[axis] {
                    (frame[axis] - bbox[axis + 2], frame[axis] - bbox[axis])
                } else {
                    (bbox[axis], bbox[axis + 2])
                };
                let (whole_from, whole_to) = (-gain * from, (end - begin) as f32 - gain * to);
                if whole_from <= whole_to {
                    (low, high) = (low.max(whole_from), high.min(whole_to));
                }
            }
            let offset = begin as f32 + low + (high - low) * self.at[axis];
            if self.mirrored[axis] {
                placement.gain[axis] = -gain;
                placement.shift[axis] = offset + gain * frame[axis];
            } else {
                placement.shift[axis] = offset;
            }
        }
        placement
    }
}

/// The boxes as they appear in the tile.
pub(super) fn carry<'a>(
    annotations: &'a [Annotation],
    placement: &'a Placement,
    tile: Tile,
    min_visibility: f32,
) -> impl Iterator<Item = Annotation> + 'a {
    let [left, top, right, bottom] = [tile.left, tile.top, tile.right, tile.bottom].map(|edge| edge as f32);
    annotations.iter().filter_map(move |annotation| {
        let mapped = placement.to_input(annotation.bbox);
        let bbox = [mapped[0].max(left), mapped[1].max(top), mapped[2].min(right), mapped[3].min(bottom)];
        let (width, height) = (bbox[2] - bbox[0], bbox[3] - bbox[1]);
        if !(width > 0.0 && height > 0.0) {
            return None;
        }
        let full = (mapped[2] - mapped[0]) * (mapped[3] - mapped[1]);
        let remnant = width * height < min_visibility * full || width.min(height) < 1.0;
        Some(Annotation { bbox, ignore: annotation.ignore || remnant, ..*annotation })
    })
}
