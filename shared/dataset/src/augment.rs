//! Images and boxes into a network input: one pass from decoded pixels to the input, augmented or not.
//!
//! [`render`] is the only entry. With [`AugmentSpec::none`] it is the evaluation letterbox; with four sources it is a
//! mosaic. All it does to geometry is an axis-aligned scaling, shift and mirroring for each source, a [`Placement`], so
//! boxes stay boxes and the resampling is separable.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::image::Image;
use crate::sample::Annotation;

mod canvas;
mod colour;
mod mosaic;
mod place;
mod resample;

use canvas::Canvas;
use colour::ColourMatrix;
pub use place::Placement;
use place::{Jitter, Tile, carry};
pub(crate) use resample::resized;

/// How images are varied. Lengths are relative, probabilities in 0..=1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentSpec {
    /// Least and largest zoom relative to the letterbox, which just shows the whole image. Above 1 parts are cut off.
    pub scale: [f32; 2],
    /// Whether the image lies anywhere in the input (or, zoomed, shows any part), instead of in the middle.
    pub shift: bool,
    /// Probability of mirroring left and right. Set it to 0 for text and other things with a handedness.
    pub horizontal_flip: f32,
    /// Probability of mirroring top and bottom: for pictures taken from above.
    pub vertical_flip: f32,
    /// Brightness changes by at most this fraction of the full range.
    pub brightness: f32,
    /// Contrast changes by at most this fraction of itself.
    pub contrast: f32,
    /// Saturation changes by at most this fraction of itself.
    pub saturation: f32,
    /// Each of red, green and blue changes by at most this fraction of itself, independently.
    pub colour_shift: f32,
    /// Probability of a mosaic of four images.
    pub mosaic: f32,
    /// Least and largest zoom of a tile of a mosaic, relative to the letterbox of the whole input.
    pub mosaic_scale: [f32; 2],
    /// A box of which less than this fraction of its area is still visible becomes an ignored region.
    pub min_visibility: f32,
}

/// The recipe measured to work for small detectors: moderate zoom and colour, mirroring, no mosaic.
impl Default for AugmentSpec {
    fn default() -> Self {
        Self {
            scale: [0.8, 1.4],
            shift: true,
            horizontal_flip: 0.5,
            vertical_flip: 0.0,
            brightness: 0.12,
            contrast: 0.25,
            saturation: 0.3,
            colour_shift: 0.06,
            mosaic: 0.0,
            mosaic_scale: [0.5, 1.0],
            min_visibility: 0.25,
        }
    }
}

/// A setting out of its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("augmentation: {field} is {found}, expected {expected}")]
pub struct SpecError {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub found: String,
    /// The range.
    pub expected: &'static str,
}

impl AugmentSpec {
    /// No variation: the whole image in the middle of the input, the rest grey.
    pub fn none() -> Self {
        Self {
            scale: [1.0, 1.0],
            shift: false,
            horizontal_flip: 0.0,
            vertical_flip: 0.0,
            brightness: 0.0,
            contrast: 0.0,
            saturation: 0.0,
            colour_shift: 0.0,
            mosaic: 0.0,
            ..Self::default()
        }
    }

    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// [`SpecError`] names the first field that is out of its range.
    pub fn validate(&self) -> Result<(), SpecError> {
        for (field, [low, high]) in [("scale", self.scale), ("mosaic_scale", self.mosaic_scale)] {
            if !(0.05 <= low && low <= high && high <= 20.0) {
                return Err(SpecError {
                    field,
                    found: format!("{low} to {high}"),
                    expected: "0.05 <= low <= high <= 20",
                });
            }
        }
        let fractions = [
            ("horizontal_flip", self.horizontal_flip),
            ("vertical_flip", self.vertical_flip),
            ("brightness", self.brightness),
            ("contrast", self.contrast),
            ("saturation", self.saturation),
            ("colour_shift", self.colour_shift),
            ("mosaic", self.mosaic),
            ("min_visibility", self.min_visibility),
        ];
        match fractions.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            Some((field, value)) => Err(SpecError { field, found: value.to_string(), expected: "0 to 1" }),
            None => Ok(()),
        }
    }

    /// The largest zoom relative to the letterbox: images are shown at up to this many times the letterbox's scale.
    pub fn zoom_max(&self) -> f32 {
        if self.mosaic > 0.0 { self.scale[1].max(self.mosaic_scale[1]) } else { self.scale[1] }
    }

    /// How many sources the next [`render`] should get: 4 for a mosaic, else 1. Training ends without mosaics, since
    /// no real image looks like one: pass `mosaic = false` in its last steps.
    pub fn sources_wanted(&self, mosaic: bool, rng: &mut ChaCha8Rng) -> usize {
        let draw: f32 = rng.random();
        if mosaic && draw < self.mosaic { 4 } else { 1 }
    }
}

/// One image with its boxes.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The pixels, perhaps of a reduced copy.
    pub image: &'a Image,
    /// Left, top, right, bottom of what the pixels show, in the frame, see [`Picture::covers`](crate::Picture::covers).
    pub covers: [f32; 4],
    /// Boxes in a frame of `frame` pixels.
    pub annotations: &'a [Annotation],
    /// Width and height of the frame that the boxes are in: the original image's.
    pub frame: (u32, u32),
}

impl<'a> Source<'a> {
    /// An image at its own size.
    pub fn whole(image: &'a Image, annotations: &'a [Annotation]) -> Self {
        let frame = (image.width(), image.height());
        Self { image, covers: [0.0, 0.0, frame.0 as f32, frame.1 as f32], annotations, frame }
    }
}

/// Where the pixels go, `[height, width, 3]` of the input size.
#[derive(Debug)]
pub enum Output<'a> {
    /// `(value / 255 - mean) / std` with [`PIXEL_MEAN`](crate::PIXEL_MEAN) and [`PIXEL_STD`](crate::PIXEL_STD).
    Normalised(&'a mut [f32]),
    /// Values as they are. Exactly what the other form is computed from.
    Bytes(&'a mut [u8]),
}

/// Renders one image, or a mosaic of four, into an input of `input` = (width, height) pixels, and returns the boxes in
/// its frame, inside its edges.
///
/// A box whose visible part is below [`AugmentSpec::min_visibility`], or thinner than a pixel, comes back as ignored;
/// one that is not visible at all is gone. Where a shifted zoom cuts the image, one box drawn at random stays whole if
/// it fits, so that zooming does not produce empty images. All randomness comes from `rng`, a fixed number of draws for
/// each source. With fewer than four sources the first is rendered alone; without any the input is all padding.
///
/// # Panics
/// When the output does not have `width * height * 3` elements.
pub fn render(
    sources: &[Source<'_>],
    spec: &AugmentSpec,
    input: (u32, u32),
    rng: &mut ChaCha8Rng,
    output: Output<'_>,
) -> Vec<Annotation> {
    let mut canvas = Canvas::new(input, output);
    canvas.fill();
    let mut annotations = Vec::new();
    let whole = Tile::whole(input);
    match sources {
        [a, b, c, d, ..] => {
            let tiles = mosaic::tiles(input, rng);
            for (source, tile) in [a, b, c, d].into_iter().zip(tiles) {
                draw(source, spec, spec.mosaic_scale, tile, rng, &mut canvas, &mut annotations);
            }
        }
        [first, ..] => draw(first, spec, spec.scale, whole, rng, &mut canvas, &mut annotations),
        [] => {}
    }
    annotations
}

fn draw(
    source: &Source<'_>,
    spec: &AugmentSpec,
    scale: [f32; 2],
    tile: Tile,
    rng: &mut ChaCha8Rng,
    canvas: &mut Canvas<'_>,
    annotations: &mut Vec<Annotation>,
) {
    let jitter = Jitter::draw(spec, scale, rng);
    let colour = ColourMatrix::draw(spec, rng);
    let placement = jitter.place(source, canvas.size(), tile);
    let size = (source.image.width(), source.image.height());
    let of_pixels = placement.of_copy(source.covers, size);
    resample::draw(source.image, &of_pixels, placement.edges(source.frame), tile, &colour, canvas);
    annotations.extend(carry(source.annotations, &placement, tile, spec.min_visibility));
}

#[cfg(test)]
mod tests;
