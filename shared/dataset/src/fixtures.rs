//! Folders and pictures for tests, made in code.

use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::image::Image;
use crate::open::{OpenError, OpenOptions, open};
use crate::sample::{Annotation, Dataset, Sample};

/// A folder that disappears with the test.
pub(crate) struct Tree(tempfile::TempDir);

impl Tree {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, with its folders.
    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Writes a grey picture, JPEG or PNG by its ending.
    pub(crate) fn image(self, path: &str, width: u32, height: u32) -> Self {
        let image = Image::filled(width, height, [90, 120, 150]);
        let bytes = if path.ends_with(".png") { png(&image) } else { jpeg(&image) };
        self.file(path, bytes)
    }

    pub(crate) fn open(&self) -> Dataset {
        open(self.path(), &OpenOptions::default()).unwrap()
    }

    pub(crate) fn open_split(&self, split: &str) -> Result<Dataset, OpenError> {
        open(self.path(), &OpenOptions { split: Some(split.to_owned()), ..OpenOptions::default() })
    }

    /// The one line that a user would see.
    pub(crate) fn refused(&self, options: &OpenOptions) -> String {
        let message = open(self.path(), options).unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    }
}

pub(crate) fn jpeg(image: &Image) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 95)
        .write_image(image.pixels(), image.width(), image.height(), ExtendedColorType::Rgb8)
        .unwrap();
    bytes
}

pub(crate) fn png(image: &Image) -> Vec<u8> {
    png_of(image.pixels(), image.width(), image.height(), ExtendedColorType::Rgb8)
}

pub(crate) fn png_of(pixels: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(pixels, width, height, colour).unwrap();
    bytes
}

/// A JPEG with an EXIF orientation: a segment with one entry put after the start marker.
pub(crate) fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
}

/// The sample of an image file, by name.
#[track_caller]
pub(crate) fn sample<'a>(dataset: &'a Dataset, name: &str) -> &'a Sample {
    let ends = |s: &&Sample| s.path().is_some_and(|path| path.ends_with(name));
    dataset.samples.iter().find(ends).unwrap_or_else(|| panic!("no sample {name} in {:?}", names(dataset)))
}

/// File names, sorted.
pub(crate) fn names(dataset: &Dataset) -> Vec<String> {
    let name = |s: &Sample| s.path().and_then(Path::file_name).unwrap().to_string_lossy().into_owned();
    let mut names: Vec<String> = dataset.samples.iter().map(name).collect();
    names.sort();
    names
}

/// `kind file line` of every problem.
pub(crate) fn troubles(dataset: &Dataset) -> Vec<(String, PathBuf, Option<usize>)> {
    dataset.problems.iter().map(|p| (p.trouble.kind().to_owned(), p.file.clone(), p.line)).collect()
}

pub(crate) fn counted(class: u32, bbox: [f32; 4]) -> Annotation {
    Annotation { class, bbox, ignore: false }
}
