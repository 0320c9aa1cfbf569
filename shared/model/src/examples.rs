//! Labelled images as the network wants them: normalised pixels, boxes in the input's frame, classes of the run.

use burn::tensor::{Device, Tensor, TensorData};
use dataset::augment::{AugmentSpec, Output, Placement, Source, render};
use dataset::cache::{ImageCache, Resolution};
use dataset::{Annotation, Dataset, DecodeError, DecodeLimits, Sample};
use detection::coco::{GroundTruth, Role};
use detection::{BBox, Detection, ImageTargets, TargetBox};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// The labelled images of a data set, in the label space of a run.
#[derive(Debug)]
pub struct Examples {
    samples: Vec<Sample>,
    /// Per sample, the run's classes somebody looked for in it.
    masks: Vec<Vec<bool>>,
    /// The run's class for each class of the data set.
    class_map: Vec<Option<u32>>,
    cache: ImageCache,
    pixels: u32,
}

/// What a network is shown at once.
#[derive(Debug)]
pub struct Batch {
    /// Which examples (for a mosaic: the first of its four).
    pub examples: Vec<usize>,
    /// Normalised pixels, `[images, side, side, 3]`.
    pub pixels: Vec<f32>,
    /// Labels in pixels of the input.
    pub targets: Vec<ImageTargets>,
    /// Per image, the classes that may be taught, `[images][classes]`.
    pub masks: Vec<Vec<bool>>,
    /// Side of the input in pixels.
    pub side: u32,
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// Moves the pixels to a device, `[images, side, side, 3]`.
    pub fn take_pixels(&mut self, device: &Device) -> Tensor<4> {
        let side = self.side as usize;
        let data = TensorData::new(std::mem::take(&mut self.pixels), [self.examples.len(), side, side, 3]);
        Tensor::from_data(data, device)
    }
}

/// A batch that is still to be drawn. All its randomness is decided, so it can be drawn at any time and on any threads.
#[derive(Clone, Debug)]
pub struct Order {
    /// Which examples.
    pub examples: Vec<usize>,
    /// Whether mosaics may be drawn, as far as the augmentation asks for them.
    pub mosaic: bool,
    /// One random stream per image.
    seeds: Vec<u64>,
}

impl Order {
    /// Of `examples` (indices); `draws` makes one random stream per image.
    pub fn new(examples: &[usize], mosaic: bool, draws: &mut ChaCha8Rng) -> Self {
        let seeds = examples.iter().map(|_| draws.random()).collect();
        Self { examples: examples.to_vec(), mosaic, seeds }
    }
}

/// One image of a batch in the making.
struct Rendered {
    example: usize,
    targets: ImageTargets,
    mask: Vec<bool>,
}

impl Examples {
    /// The labelled images of `dataset` for a run with these `classes`, shown on an input of `pixels` by `pixels`. Boxes of
    /// classes that the run does not have are left out. Decoded images are kept within `cache_bytes`. Images are decoded
    /// whole: for scores.
    pub fn new(
        dataset: Dataset,
        classes: &[String],
        pixels: u32,
        cache_bytes: usize,
        limits: DecodeLimits,
    ) -> Self {
        Self::at(Resolution::Whole, dataset, classes, pixels, cache_bytes, limits)
    }

    /// As [`Examples::new`], for training: photographs are decoded at the part of their size that the largest zoom of the
    /// augmentation needs, which takes a fraction of the time.
    pub fn for_training(
        dataset: Dataset,
        classes: &[String],
        pixels: u32,
        cache_bytes: usize,
        limits: DecodeLimits,
    ) -> Self {
        let zoom = AugmentSpec::default().zoom_max();
        Self::at(Resolution::Zoomed(zoom), dataset, classes, pixels, cache_bytes, limits)
    }

    fn at(
        resolution: Resolution,
        dataset: Dataset,
        classes: &[String],
        pixels: u32,
        cache_bytes: usize,
        limits: DecodeLimits,
    ) -> Self {
        let place = |name: &String| classes.iter().position(|class| class == name).map(|class| class as u32);
        let class_map: Vec<Option<u32>> = dataset.classes.iter().map(place).collect();
        let samples: Vec<Sample> = dataset.samples.into_iter().filter(|sample| sample.labelled).collect();
        let mask = |sample: &Sample| {
            let mut mask = vec![false; classes.len()];
            let looked_for =
                sample.annotated_classes.iter().filter_map(|&class| *class_map.get(class as usize)?);
            looked_for.for_each(|class| mask[class as usize] = true);
            mask
        };
        let masks = samples.iter().map(mask).collect();
        let cache = ImageCache::new(samples.len(), (pixels, pixels), resolution, cache_bytes, limits);
        Self { samples, masks, class_map, cache, pixels }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are no labelled images.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Draws a batch on the threads of the current pool, whose number changes nothing. Images that cannot be read are left
    /// out; the batch then holds fewer, or none.
    ///
    /// # Errors
    /// The first [`DecodeError`], if no image of the batch can be read.
    pub fn draw(&self, order: &Order, spec: &AugmentSpec) -> Result<Batch, DecodeError> {
        let side = self.pixels as usize;
        let size = side * side * 3;
        let Order { examples, mosaic, seeds } = order;
        let mut pixels = vec![0.0; examples.len() * size];
        let drawn: Vec<Result<Rendered, DecodeError>> = pixels
            .par_chunks_mut(size)
            .zip(examples)
            .zip(seeds)
            .map(|((pixels, &example), &seed)| {
                self.render(example, spec, *mosaic, &mut ChaCha8Rng::seed_from_u64(seed), pixels)
            })
            .collect();
        let mut batch =
            Batch { examples: Vec::new(), pixels, targets: Vec::new(), masks: Vec::new(), side: self.pixels };
        let mut unreadable = None;
        for (place, rendered) in drawn.into_iter().enumerate() {
            match rendered {
                Ok(rendered) => {
                    // Close the gap that an unreadable image before this one has left.
                    let to = batch.len() * size;
                    batch.pixels.copy_within(place * size..(place + 1) * size, to);
                    batch.examples.push(rendered.example);
                    batch.targets.push(rendered.targets);
                    batch.masks.push(rendered.mask);
                }
                Err(refused) => unreadable = unreadable.or(Some(refused)),
            }
        }
        batch.pixels.truncate(batch.len() * size);
        match unreadable {
            Some(refused) if batch.is_empty() => Err(refused),
            _ => Ok(batch),
        }
    }

    /// Draws examples (indices) as they are: whole, in the middle of the input.
    ///
    /// # Errors
    /// As [`Examples::draw`].
    pub fn plain(&self, examples: &[usize]) -> Result<Batch, DecodeError> {
        let seeds = vec![0; examples.len()];
        let order = Order { examples: examples.to_vec(), mosaic: false, seeds };
        self.draw(&order, &AugmentSpec::none())
    }

    fn render(
        &self,
        example: usize,
        spec: &AugmentSpec,
        mosaic: bool,
        rng: &mut ChaCha8Rng,
        pixels: &mut [f32],
    ) -> Result<Rendered, DecodeError> {
        let mut chosen = vec![example];
        for _ in 1..spec.sources_wanted(mosaic, rng) {
            chosen.push(rng.random_range(0..self.samples.len()));
        }
        let images =
            chosen.iter().map(|&at| self.cache.get(at, &self.samples[at])).collect::<Result<Vec<_>, _>>()?;
        let mut sources = Vec::with_capacity(chosen.len());
        for (&at, picture) in chosen.iter().zip(&images) {
            let sample = &self.samples[at];
            let (image, covers) = (&*picture.pixels, picture.covers);
            let frame = (sample.width, sample.height);
            sources.push(Source { image, covers, annotations: &sample.annotations, frame });
        }
        let annotations = render(&sources, spec, (self.pixels, self.pixels), rng, Output::Normalised(pixels));
        let mut mask = self.masks[example].clone();
        for &other in &chosen[1..] {
            mask.iter_mut().zip(&self.masks[other]).for_each(|(mine, theirs)| *mine &= *theirs);
        }
        Ok(Rendered { example, targets: self.targets(&annotations), mask })
    }

    fn targets(&self, annotations: &[Annotation]) -> ImageTargets {
        let mut targets = ImageTargets::default();
        for annotation in annotations {
            let bbox = bbox(annotation.bbox);
            if annotation.ignore {
                targets.ignore.push(bbox);
            } else if let Some(class) = self.class(annotation)
                && bbox.is_valid()
            {
                targets.boxes.push(TargetBox { bbox, class });
            }
        }
        targets
    }

    fn class(&self, annotation: &Annotation) -> Option<u32> {
        *self.class_map.get(annotation.class as usize)?
    }

    /// Detections in pixels of the input as detections in pixels of example `index`, clipped to it; those of classes that
    /// nobody looked for there are left out, since nobody knows whether they are right.
    pub fn in_image(&self, index: usize, detections: &[Detection]) -> Vec<Detection> {
        let sample = &self.samples[index];
        let mask = &self.masks[index];
        let judged = detections.iter().filter(|found| mask[found.class as usize]).copied();
        to_image((sample.width, sample.height), self.pixels, judged)
    }

    /// The objects in example `index`, in its pixels and the classes of the run.
    pub fn truths(&self, index: usize) -> Vec<GroundTruth> {
        let truth = |annotation: &Annotation| {
            let class = self.class(annotation)?;
            let role = if annotation.ignore { Role::Crowd } else { Role::Object };
            Some(GroundTruth { bbox: bbox(annotation.bbox), class, area: None, role })
        };
        self.samples[index].annotations.iter().filter_map(truth).collect()
    }
}

/// Detections in pixels of a square input as detections in pixels of the image (width, height) letterboxed into it.
pub(crate) fn to_image(
    image: (u32, u32),
    pixels: u32,
    detections: impl Iterator<Item = Detection>,
) -> Vec<Detection> {
    let placement = Placement::letterbox(image, (pixels, pixels));
    let place = |found: Detection| {
        let BBox { x1, y1, x2, y2 } = found.bbox;
        let bbox = bbox(placement.to_image([x1, y1, x2, y2])).clip(image.0 as f32, image.1 as f32);
        Detection { bbox, ..found }
    };
    detections.map(place).collect()
}

fn bbox([x1, y1, x2, y2]: [f32; 4]) -> BBox {
    BBox::new(x1, y1, x2, y2)
}

#[cfg(test)]
mod tests;
