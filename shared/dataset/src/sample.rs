//! A data set: class names, images with their boxes, and what was wrong with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::decode::{DecodeError, DecodeLimits, DecodeReason, decode_file, decode_file_reduced};
use crate::image::{Image, Picture};
use crate::partition::SampleTraits;
use crate::problem::{Problem, Problems, Trouble};
use crate::scenes::{SiteSpec, scene};

/// One labelled object.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Annotation {
    /// Index into the class names of the data set.
    pub class: u32,
    /// Left, top, right, bottom in pixels: continuous coordinates from the image's top left corner, so that an image
    /// of width `w` spans `0.0..=w`. The frame is the image as shown, after its EXIF orientation.
    pub bbox: [f32; 4],
    /// Neither object nor background: COCO crowds, VOC difficult objects, objects cut to a remnant.
    pub ignore: bool,
}

impl Annotation {
    /// Width times height in square pixels.
    pub fn area(&self) -> f32 {
        (self.bbox[2] - self.bbox[0]).max(0.0) * (self.bbox[3] - self.bbox[1]).max(0.0)
    }
}

/// Where the pixels of a sample come from. They are made or decoded when asked for, every time.
#[derive(Clone, Debug)]
pub enum ImageSource {
    /// A JPEG or PNG file.
    File(PathBuf),
    /// A picture that is already there.
    Memory(Arc<Image>),
    /// Scene number `1` of site `0`, drawn on demand.
    Scene(Arc<SiteSpec>, u64),
}

/// One image and what is known about it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Where the pixels come from.
    pub image: ImageSource,
    /// Width in pixels, after EXIF orientation.
    pub width: u32,
    /// Height in pixels, after EXIF orientation.
    pub height: u32,
    /// Boxes; empty for an unlabelled image and for one that shows no object.
    pub annotations: Vec<Annotation>,
    /// Whether somebody looked: without boxes, a labelled image shows no object (a negative), and an unlabelled one
    /// may show anything.
    pub labelled: bool,
    /// The classes somebody looked for in this image, ascending indices: an object of any other class may be there
    /// without a box. Empty for an unlabelled image.
    pub annotated_classes: Arc<[u32]>,
}

impl Sample {
    /// The image file, if the pixels come from one.
    pub fn path(&self) -> Option<&Path> {
        match &self.image {
            ImageSource::File(path) => Some(path),
            ImageSource::Memory(_) | ImageSource::Scene(..) => None,
        }
    }

    /// The image file, or a description in its place.
    pub fn name(&self) -> PathBuf {
        match &self.image {
            ImageSource::File(path) => path.clone(),
            ImageSource::Memory(_) => PathBuf::from("image in memory"),
            ImageSource::Scene(site, index) => PathBuf::from(format!("scene {index} of site {}", site.index)),
        }
    }

    /// Decodes or draws the image: always `width` by `height`.
    ///
    /// # Errors
    /// [`DecodeError`] when the file is missing, damaged or beyond the limits, or has changed its size.
    pub fn load(&self, limits: &DecodeLimits) -> Result<Arc<Image>, DecodeError> {
        let image = match &self.image {
            ImageSource::File(path) => Arc::new(decode_file(path, limits)?),
            ImageSource::Memory(image) => Arc::clone(image),
            ImageSource::Scene(site, index) => Arc::new(scene(site, *index, (self.width, self.height)).0),
        };
        self.expect_size((image.width(), image.height()))?;
        Ok(image)
    }

    /// Decodes or draws the image at `scale` of its size or more, see [`decode_file_reduced`]. Boxes stay in the frame of
    /// `width` by `height`.
    ///
    /// # Errors
    /// As [`Sample::load`]; the size that must not have changed is that of the whole image.
    pub fn load_reduced(&self, limits: &DecodeLimits, scale: f32) -> Result<Picture, DecodeError> {
        let ImageSource::File(path) = &self.image else {
            return self.load(limits).map(Picture::whole);
        };
        let (picture, frame) = decode_file_reduced(path, limits, scale)?;
        self.expect_size(frame)?;
        Ok(picture)
    }

    fn expect_size(&self, (found_width, found_height): (u32, u32)) -> Result<(), DecodeError> {
        if (found_width, found_height) == (self.width, self.height) {
            return Ok(());
        }
        let (expected_width, expected_height) = (self.width, self.height);
        let reason = DecodeReason::SizeChanged { expected_width, expected_height, found_width, found_height };
        Err(DecodeError { file: self.name(), reason })
    }

    /// The distinct classes with a box that counts, ascending.
    pub fn classes_present(&self) -> Vec<u32> {
        let mut classes: Vec<u32> = self.annotations.iter().filter(|a| !a.ignore).map(|a| a.class).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }
}

/// A set of images with boxes in one list of classes.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// Class names; an annotation's class is an index into this list.
    pub classes: Vec<String>,
    /// The usable images. Those that could not be used are in `problems`.
    pub samples: Vec<Sample>,
    /// What was wrong, in the order it was found.
    pub problems: Vec<Problem>,
}

impl Dataset {
    /// The samples at `indices`, in that order, with all classes and no problems. Indices out of range are left out.
    pub fn subset(&self, indices: &[usize]) -> Self {
        let samples = indices.iter().filter_map(|&i| self.samples.get(i)).cloned().collect();
        Self { classes: self.classes.clone(), samples, problems: Vec::new() }
    }

    /// Decodes every image once and moves those that cannot be decoded to the problems.
    pub fn verify(&mut self, limits: &DecodeLimits) {
        let mut problems = Problems::from(std::mem::take(&mut self.problems));
        self.samples.retain(|sample| match sample.load(limits) {
            Ok(_) => true,
            Err(DecodeError { file, reason }) => {
                problems.push(file, None, Trouble::ImageUnreadable { reason: reason.to_string() });
                false
            }
        });
        self.problems = problems.into_vec();
    }

    /// What a partition looks at: the classes in each sample and its site. The site is the scene's site, or a number
    /// for the folder that the image file lies in (folders in order of their names).
    pub fn traits(&self) -> Vec<SampleTraits> {
        let mut folders: BTreeMap<&Path, u32> =
            self.samples.iter().filter_map(|s| s.path()?.parent()).map(|folder| (folder, 0)).collect();
        for (number, site) in folders.values_mut().enumerate() {
            *site = u32::try_from(number).unwrap_or(u32::MAX);
        }
        let site = |sample: &Sample| match &sample.image {
            ImageSource::File(path) => path.parent().and_then(|folder| folders.get(folder)).copied(),
            ImageSource::Memory(_) => None,
            ImageSource::Scene(site, _) => Some(site.index),
        };
        self.samples.iter().map(|s| SampleTraits { classes: s.classes_present(), site: site(s) }).collect()
    }
}
