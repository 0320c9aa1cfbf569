//! Labelled images: readers, decoding, checking, augmentation, partitions, procedural scenes.
//!
//! [`open()`] turns a folder into a [`Dataset`]; [`Sample::load`] gives pixels; [`augment::render`] writes them into a
//! network input together with the boxes in its frame. Boxes are left, top, right, bottom in continuous pixels from
//! the top left corner, everywhere in this crate.
//!
//! Pure apart from reading folders and, in [`write_voc`], writing them: no runtime, no clock, no tensors.

mod assemble;
pub mod augment;
pub mod cache;
pub mod check;
pub mod decode;
#[cfg(test)]
mod fixtures;
mod folder;
mod format;
mod holdout;
mod image;
mod open;
pub mod partition;
mod problem;
mod sample;
pub mod scenes;
mod write;

pub use crate::decode::{DecodeError, DecodeLimits, DecodeReason};
pub use crate::format::Format;
pub use crate::image::{Image, Picture};
pub use crate::open::{OpenError, OpenOptions, UnknownClasses, detect, open};
pub use crate::problem::{PROBLEMS_MAX, Problem, Severity, Trouble};
pub use crate::sample::{Annotation, Dataset, ImageSource, Sample};
pub use crate::write::{WriteError, write_voc};

/// Grey level of everything around an image in the network input, and under transparent pixels.
pub const PAD: u8 = 114;

/// Mean of the ImageNet training pixels, red, green, blue, in 0..1. Pretrained weights expect it.
pub const PIXEL_MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// Standard deviation of the ImageNet training pixels, red, green, blue, in 0..1.
pub const PIXEL_STD: [f32; 3] = [0.229, 0.224, 0.225];
