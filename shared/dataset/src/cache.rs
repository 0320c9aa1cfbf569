//! Decoded images kept in memory, within a bound.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::augment::resized;
use crate::decode::{DecodeError, DecodeLimits};
use crate::image::Picture;
use crate::sample::Sample;

/// How much larger than the input a kept image is at most.
const OVERSIZE: f32 = 2.0;

/// For what images are wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resolution {
    /// Decoded whole, then reduced by averages to what an input can show at twice the size: for scores.
    Whole,
    /// Photographs are decoded at the part of their size that shows everything when zoomed by this factor relative to the letterbox,
    /// which costs a fraction of the time: for training. See [`decode_file_reduced`](crate::decode::decode_file_reduced).
    Zoomed(f32),
}

/// Decoded images of the samples of one data set, reduced to what an input of a given size can show.
///
/// An image is kept if there is room when it is first decoded, and then for good. Training visits every image once an
/// epoch, in changing order; a cache that drops the oldest would have dropped each image just before its next use.
/// Shared between threads.
#[derive(Debug)]
pub struct ImageCache {
    slots: Vec<OnceLock<Picture>>,
    input: (u32, u32),
    resolution: Resolution,
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    limits: DecodeLimits,
}

impl ImageCache {
    /// For `samples` images, shown on an input of `input` = (width, height) pixels, in at most `limit_bytes` of memory. All
    /// who ask this cache get images of one resolution.
    pub fn new(
        samples: usize,
        input: (u32, u32),
        resolution: Resolution,
        limit_bytes: usize,
        limits: DecodeLimits,
    ) -> Self {
        let slots = (0..samples).map(|_| OnceLock::new()).collect();
        Self { slots, input, resolution, limit_bytes, used_bytes: AtomicUsize::new(0), limits }
    }

    /// The image of `sample`, which is number `index` of its data set. It may be smaller than the sample says: boxes
    /// stay in the frame of the sample, see [`Source::frame`](crate::augment::Source::frame).
    ///
    /// # Errors
    /// [`DecodeError`] when the image is not kept yet and cannot be decoded.
    pub fn get(&self, index: usize, sample: &Sample) -> Result<Picture, DecodeError> {
        let slot = self.slots.get(index);
        if let Some(image) = slot.and_then(OnceLock::get) {
            return Ok(image.clone());
        }
        let image = self.reduced(self.load(sample)?, (sample.width, sample.height));
        let bytes = image.pixels.pixels().len();
        if let Some(slot) = slot
            && self.reserve(bytes)
            && slot.set(image.clone()).is_err()
        {
            // Another thread was faster.
            self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok(image)
    }

    /// Bytes of pixels kept now, at most the limit.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn reserve(&self, bytes: usize) -> bool {
        let grow = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.limit_bytes);
        self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).is_ok()
    }

    fn load(&self, sample: &Sample) -> Result<Picture, DecodeError> {
        match self.resolution {
            Resolution::Whole => sample.load(&self.limits).map(Picture::whole),
            Resolution::Zoomed(zoom) => {
                sample.load_reduced(&self.limits, zoom * self.fit((sample.width, sample.height)))
            }
        }
    }

    /// The scale of the letterbox.
    fn fit(&self, frame: (u32, u32)) -> f32 {
        (self.input.0 as f32 / frame.0 as f32).min(self.input.1 as f32 / frame.1 as f32)
    }

    fn reduced(&self, picture: Picture, frame: (u32, u32)) -> Picture {
        let [width, height] = [frame.0 as f32, frame.1 as f32];
        let oversize = match self.resolution {
            Resolution::Whole => OVERSIZE,
            Resolution::Zoomed(zoom) => OVERSIZE.max(zoom),
        };
        let scale = oversize * self.fit(frame);
        // Slightly too large is not worth a blur.
        if scale * width > 0.9 * picture.pixels.width() as f32 {
            return picture;
        }
        let (width, height) = ((width * scale).ceil() as u32, (height * scale).ceil() as u32);
        let covers = [0.0, 0.0, frame.0 as f32, frame.1 as f32];
        Picture { pixels: Arc::new(resized(&picture, frame, width, height)), covers }
    }
}

#[cfg(test)]
mod tests;
