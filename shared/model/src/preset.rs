//! The detectors that come with Fovea: one file each, listed in [`PRESETS`].
//!
//! A preset is named `NAME` or `NAME@PIXELS`: the input size is no parameter of a network without dense layers, so
//! `small256@320` has the weights of `small256` and looks closer.

use std::fmt;

use thiserror::Error;

use crate::architecture::Backbone;

mod medium320;
mod nano96;
mod small256;
mod v3small256;

/// All presets; the first is the default.
pub static PRESETS: &[PresetEntry] = &[small256::ENTRY, nano96::ENTRY, medium320::ENTRY, v3small256::ENTRY];

/// Least and largest side of the input in pixels.
pub const PIXELS_RANGE: (u32, u32) = (32, 1280);

/// A listed detector.
#[derive(Clone, Copy, Debug)]
pub struct PresetEntry {
    /// Name in configuration, messages and files.
    pub name: &'static str,
    /// What it is for, in one line.
    pub about: &'static str,
    /// What it is made of.
    pub shape: Shape,
    /// Side of its square input in pixels, if the name says nothing else.
    pub pixels: u32,
}

/// What a detector is made of: a feature extractor, a neck, and a head shared by all levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// The feature extractor.
    pub backbone: Backbone,
    /// Strides of the feature maps, finest first, among 8, 16 and 32; the backbone ends at the last one.
    pub strides: &'static [u32],
    /// Channels of neck and head.
    pub channels: usize,
    /// Whether the neck has a second, bottom-up path.
    pub bottom_up: bool,
    /// Separable convolutions of the head.
    pub head_units: usize,
}

/// A preset with its input size.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// The listed detector.
    pub entry: &'static PresetEntry,
    /// Side of the square input in pixels.
    pub pixels: u32,
}

/// A text that names no preset.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PresetError {
    /// Not listed.
    #[error("unknown preset {found:?}, expected one of {expected} (or one of them with @PIXELS)")]
    Unknown {
        /// The names there are.
        expected: String,
        /// The name given.
        found: String,
    },
    /// An input size that is no number, out of range or no multiple of the coarsest stride.
    #[error("preset {preset}: input size {found:?}, expected a multiple of {step} from {min} to {max}")]
    Pixels {
        /// The preset.
        preset: &'static str,
        /// The size given.
        found: String,
        /// Coarsest stride.
        step: u32,
        /// Least size.
        min: u32,
        /// Largest size.
        max: u32,
    },
}

impl Preset {
    /// Reads `NAME` or `NAME@PIXELS`.
    ///
    /// # Errors
    /// A name that is not listed, or a size the network cannot have.
    pub fn parse(text: &str) -> Result<Self, PresetError> {
        let (name, size) = match text.split_once('@') {
            Some((name, size)) => (name, Some(size)),
            None => (text, None),
        };
        let Some(entry) = PRESETS.iter().find(|entry| entry.name == name) else {
            let expected = PRESETS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
            return Err(PresetError::Unknown { expected, found: name.chars().take(80).collect() });
        };
        let Some(size) = size else { return Ok(Self { entry, pixels: entry.pixels }) };
        let (min, max) = PIXELS_RANGE;
        let step = entry.shape.strides.iter().copied().max().unwrap_or(1);
        match size.parse::<u32>() {
            Ok(pixels) if (min..=max).contains(&pixels) && pixels % step == 0 => Ok(Self { entry, pixels }),
            Ok(_) | Err(_) => {
                let found = size.chars().take(80).collect();
                Err(PresetError::Pixels { preset: entry.name, found, step, min, max })
            }
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pixels == self.entry.pixels {
            f.write_str(self.entry.name)
        } else {
            write!(f, "{}@{}", self.entry.name, self.pixels)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, name: &str, pixels: u32) {
        let preset = Preset::parse(text).unwrap();
        assert_eq!((preset.entry.name, preset.pixels), (name, pixels));
        assert_eq!(Preset::parse(&preset.to_string()).unwrap().pixels, pixels);
    }

    #[test]
    fn names_with_and_without_a_size() {
        check("small256", "small256", 256);
        check("small256@320", "small256", 320);
        check("medium320@256", "medium320", 256);
        check("nano96@96", "nano96", 96);
        check("nano96@48", "nano96", 48);
    }

    #[test]
    fn what_is_no_preset_is_refused_with_what_would_be() {
        for text in ["", "toy", "small", "small256 ", "@320"] {
            assert!(matches!(Preset::parse(text), Err(PresetError::Unknown { .. })), "{text:?}");
        }
        for text in ["small256@", "small256@0", "small256@16", "small256@300", "small256@1312", "nano96@-96"]
        {
            assert!(matches!(Preset::parse(text), Err(PresetError::Pixels { .. })), "{text:?}");
        }
        let message = Preset::parse("small256@300").unwrap_err().to_string();
        assert_eq!(
            message,
            r#"preset small256: input size "300", expected a multiple of 32 from 32 to 1280"#
        );
    }
}
