//! Decoded images kept in memory, within a bound.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::augment::resized;
use crate::decode::{DecodeError, DecodeLimits};
use crate::image::Image;
use crate::sample::Sample;

/// How much larger than the input a kept image is at most. Zooming up to this factor loses nothing.
const OVERSIZE: f32 = 2.0;

/// Decoded images of the samples of one data set, reduced to what an input of a given size can show.
///
/// An image is kept if there is room when it is first decoded, and then for good. Training visits every image once an
/// epoch, in changing order; a cache that drops the oldest would have dropped each image just before its next use.
/// Shared between threads.
#[derive(Debug)]
pub struct ImageCache {
    slots: Vec<OnceLock<Arc<Image>>>,
    input: (u32, u32),
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    limits: DecodeLimits,
}

impl ImageCache {
    /// For `samples` images, shown on an input of `input` = (width, height) pixels, in at most `limit_bytes` of memory.
    pub fn new(samples: usize, input: (u32, u32), limit_bytes: usize, limits: DecodeLimits) -> Self {
        let slots = (0..samples).map(|_| OnceLock::new()).collect();
        Self { slots, input, limit_bytes, used_bytes: AtomicUsize::new(0), limits }
    }

    /// The image of `sample`, which is number `index` of its data set. It may be smaller than the sample says: boxes
    /// stay in the frame of the sample, see [`Source::frame`](crate::augment::Source::frame).
    ///
    /// # Errors
    /// [`DecodeError`] when the image is not kept yet and cannot be decoded.
    pub fn get(&self, index: usize, sample: &Sample) -> Result<Arc<Image>, DecodeError> {
        let slot = self.slots.get(index);
        if let Some(image) = slot.and_then(OnceLock::get) {
            return Ok(Arc::clone(image));
        }
        let image = self.reduced(sample.load(&self.limits)?);
        let bytes = image.pixels().len();
        if let Some(slot) = slot
            && self.reserve(bytes)
            && slot.set(Arc::clone(&image)).is_err()
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

    fn reduced(&self, image: Arc<Image>) -> Arc<Image> {
        let (width, height) = (image.width() as f32, image.height() as f32);
        let scale = OVERSIZE * (self.input.0 as f32 / width).min(self.input.1 as f32 / height);
        // Slightly too large is not worth a blur.
        if scale > 0.9 {
            return image;
        }
        Arc::new(resized(&image, (width * scale).ceil() as u32, (height * scale).ceil() as u32))
    }
}

#[cfg(test)]
mod tests;
