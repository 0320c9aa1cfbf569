//! A data set to a Pascal VOC folder, which every tool reads.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::decode::{DecodeError, DecodeLimits};
use crate::image::Image;
use crate::sample::{Annotation, Dataset, Sample};

/// JPEG quality of pictures that have no file yet.
const QUALITY: u8 = 92;

/// Why a folder cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A file or folder cannot be written.
    #[error("{path}: cannot be written: {source}", path = path.display())]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The folder already holds labels; nothing was changed.
    #[error("{dir}: already has Annotations, expected a new or empty folder", dir = dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// An image cannot be drawn or decoded.
    #[error(transparent)]
    Image(#[from] DecodeError),
    /// A picture cannot be encoded.
    #[error("{path}: cannot be encoded: {message}", path = path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What the encoder says.
        message: String,
    },
}

/// Writes `dataset` as a VOC folder: `JPEGImages`, `Annotations`, a list in `ImageSets/Main` for each of `splits` (a
/// name and indices of samples), and `classes.txt` so that classes without a box keep their place.
///
/// Image files are linked if they are on the same file system, else copied; other pictures are encoded as JPEG. Reading
/// the folder back gives the same boxes. Unlabelled samples have no xml file.
///
/// # Errors
/// [`WriteError`]; files written until then remain.
pub fn write_voc(dir: &Path, dataset: &Dataset, splits: &[(&str, &[usize])]) -> Result<(), WriteError> {
    let annotations = dir.join("Annotations");
    if annotations.exists() {
        return Err(WriteError::NotEmpty { dir: dir.to_path_buf() });
    }
    let images = dir.join("JPEGImages");
    let lists = dir.join("ImageSets").join("Main");
    for folder in [&annotations, &images, &lists] {
        fs::create_dir_all(folder).map_err(|source| unwritable(folder, source))?;
    }
    let names = names(dataset);
    for (sample, name) in dataset.samples.iter().zip(&names) {
        write_image(sample, &images.join(name))?;
        if sample.labelled {
            let path = annotations.join(name).with_extension("xml");
            write(&path, annotation_xml(sample, name, &dataset.classes).as_bytes())?;
        }
    }
    for (split, indices) in splits {
        let stems = indices.iter().filter_map(|&index| Path::new(names.get(index)?).file_stem()?.to_str());
        let list: String = stems.flat_map(|stem| [stem, "\n"]).collect();
        write(&lists.join(split).with_extension("txt"), list.as_bytes())?;
    }
    let classes: String = dataset.classes.iter().flat_map(|class| [class.as_str(), "\n"]).collect();
    write(&dir.join("classes.txt"), classes.as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    fs::write(path, bytes).map_err(|source| unwritable(path, source))
}

fn unwritable(path: &Path, source: std::io::Error) -> WriteError {
    WriteError::Unwritable { path: path.to_path_buf(), source }
}

/// A file name for each sample: its own, made unique (regardless of case and ending) and printable.
fn names(dataset: &Dataset) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let name = |(number, sample): (usize, &Sample)| {
        let path = sample.path();
        let part = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned());
        let stem = part(path.and_then(Path::file_stem)).unwrap_or_else(|| format!("scene_{number:06}"));
        let ending = part(path.and_then(Path::extension)).unwrap_or_else(|| "jpg".to_owned());
        let mut unique = stem.clone();
        let mut copy = 1;
        while !taken.insert(unique.to_lowercase()) {
            copy += 1;
            unique = format!("{stem}_{copy}");
        }
        format!("{unique}.{ending}")
    };
    dataset.samples.iter().enumerate().map(name).collect()
}

fn write_image(sample: &Sample, path: &Path) -> Result<(), WriteError> {
    if let Some(source) = sample.path() {
        if fs::hard_link(source, path).is_ok() {
            return Ok(());
        }
        return fs::copy(source, path).map(|_| ()).map_err(|source| unwritable(path, source));
    }
    let image = sample.load(&DecodeLimits::default())?;
    write(
        path,
        &encode(&image)
            .map_err(|e| WriteError::Encode { path: path.to_path_buf(), message: e.to_string() })?,
    )
}

fn encode(image: &Image) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
    encoder.write_image(image.pixels(), image.width(), image.height(), ExtendedColorType::Rgb8)?;
    Ok(bytes)
}

fn annotation_xml(sample: &Sample, name: &str, classes: &[String]) -> String {
    let mut xml = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        xml,
        "<annotation>\n  <folder>JPEGImages</folder>\n  <filename>{}</filename>\n  <size>\n    <width>{}</width>\n    \
         <height>{}</height>\n    <depth>3</depth>\n  </size>\n",
        escaped(name),
        sample.width,
        sample.height
    );
    for Annotation { class, bbox: [left, top, right, bottom], ignore } in &sample.annotations {
        let name = classes.get(*class as usize).map_or_else(|| format!("class {class}"), Clone::clone);
        // Counted from 1 and including the last pixel. Fractions are kept, as most tools accept them.
        let _ = write!(
            xml,
            "  <object>\n    <name>{}</name>\n    <difficult>{}</difficult>\n    <bndbox>\n      <xmin>{}</xmin>\n      \
             <ymin>{}</ymin>\n      <xmax>{right}</xmax>\n      <ymax>{bottom}</ymax>\n    </bndbox>\n  </object>\n",
            escaped(&name),
            u8::from(*ignore),
            f64::from(*left) + 1.0,
            f64::from(*top) + 1.0,
        );
    }
    xml.push_str("</annotation>\n");
    xml
}

fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests;
