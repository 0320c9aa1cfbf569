//! A folder to a data set, whatever format its labels have.

use std::path::{Path, PathBuf};

use crate::assemble::assemble;
use crate::decode::DecodeLimits;
use crate::folder::Folder;
use crate::format::{Format, READERS, Reader};
use crate::sample::Dataset;

/// What to read of a folder. The default is everything, in whatever format it is, with the classes it has.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The label format, when a folder holds several; otherwise it is recognised.
    pub format: Option<Format>,
    /// One split only, by its usual name: `train`, `val`, `trainval`, `test`. VOC: the list in `ImageSets/Main`.
    /// COCO: the label files with that word in their path. YOLO: the entry of `data.yaml`, else the images with that
    /// word in their path.
    pub split: Option<String>,
    /// The classes of the run, in their order. Without it, the classes of the labels: in listed order for COCO and
    /// YOLO, in order of their names for VOC (over all splits, so that the splits agree).
    pub classes: Option<Vec<String>>,
    /// What to do with a box of a class that `classes` lacks.
    pub unknown_classes: UnknownClasses,
    /// Bounds on each image; the size is read from every header.
    pub limits: DecodeLimits,
}

/// What to do with a box whose class was not asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownClasses {
    /// Refuse the folder: a class name is probably misspelt.
    #[default]
    Refuse,
    /// Leave the box out and list it as a problem.
    LeaveOut,
}

/// Why a folder is no data set. Each message is one line: what is wrong, where, and what helps.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No such folder.
    #[error("{dir}: no such folder", dir = dir.display())]
    MissingFolder {
        /// The folder.
        dir: PathBuf,
    },
    /// A file where a folder is expected.
    #[error("{path}: is a file, expected a folder of images and labels", path = path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// A folder or label file cannot be read.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// More files than a data folder may have.
    #[error("{dir}: more than {limit} files", dir = dir.display())]
    TooManyFiles {
        /// The folder.
        dir: PathBuf,
        /// The bound.
        limit: usize,
    },
    /// The folder is empty.
    #[error("{dir}: the folder is empty, expected images and labels", dir = dir.display())]
    EmptyFolder {
        /// The folder.
        dir: PathBuf,
    },
    /// There are files but none is an image.
    #[error("{dir}: no image among {files} files", dir = dir.display())]
    NoImages {
        /// The folder.
        dir: PathBuf,
        /// How many files there are.
        files: usize,
    },
    /// There are images but no labels.
    #[error("{dir}: {images} images but no labels, expected {expected}", dir = dir.display())]
    NoLabels {
        /// The folder.
        dir: PathBuf,
        /// How many images there are.
        images: usize,
        /// The formats looked for.
        expected: String,
    },
    /// Labels of two formats.
    #[error(
        "{dir}: labels of two formats, {first_format} ({first_file}) and {second_format} ({second_file}): remove one \
         or choose the format", dir = dir.display(), first_file = first_file.display(), second_file = second_file.display()
    )]
    AmbiguousFormat {
        /// The folder.
        dir: PathBuf,
        /// One format found.
        first_format: Format,
        /// A file that shows it.
        first_file: PathBuf,
        /// The other format found.
        second_format: Format,
        /// A file that shows it.
        second_file: PathBuf,
    },
    /// The split is not there.
    #[error("{dir}: no split {split:?}, found {found}", dir = dir.display())]
    NoSuchSplit {
        /// The folder.
        dir: PathBuf,
        /// The split asked for.
        split: String,
        /// What there is instead.
        found: String,
    },
    /// A label has a class that was not asked for.
    #[error("{file}: unknown class {class:?}, the classes are {known}", file = file.display())]
    UnknownClass {
        /// The label file.
        file: PathBuf,
        /// The class name.
        class: String,
        /// The classes asked for.
        known: String,
    },
    /// YOLO labels are numbers, and nothing says what they mean.
    #[error("{dir}: YOLO labels without class names, expected data.yaml with names or classes.txt", dir = dir.display())]
    NoClassNames {
        /// The folder.
        dir: PathBuf,
    },
    /// The one label file or class list cannot be parsed.
    #[error("{file}: {reason}", file = file.display())]
    BadLabels {
        /// The file.
        file: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// Two COCO files label the same image.
    #[error("{first} and {second} both label {image}: choose a split or remove one", first = first.display(), second = second.display(), image = image.display())]
    LabelledTwice {
        /// One label file.
        first: PathBuf,
        /// The other label file.
        second: PathBuf,
        /// The image.
        image: PathBuf,
    },
    /// Labels and images are there, but no image can be used.
    #[error("{dir}: none of the {images} labelled images can be used, the first because of {first}", dir = dir.display())]
    NothingUsable {
        /// The folder.
        dir: PathBuf,
        /// How many images the labels name.
        images: usize,
        /// The first problem.
        first: String,
    },
}

/// Reads a folder of images and labels, recognising COCO json, Pascal VOC xml and YOLO txt. Image headers are read,
/// images are not decoded. Single bad files, lines and boxes become [`Dataset::problems`].
///
/// # Errors
/// [`OpenError`] when the folder as a whole cannot be used.
pub fn open(dir: &Path, options: &OpenOptions) -> Result<Dataset, OpenError> {
    let folder = Folder::list(dir)?;
    if folder.files.is_empty() {
        return Err(OpenError::EmptyFolder { dir: dir.to_path_buf() });
    }
    if folder.images.is_empty() {
        return Err(OpenError::NoImages { dir: dir.to_path_buf(), files: folder.files.len() });
    }
    let (reader, labels) = recognise(&folder, options.format)?;
    let raw = (reader.read)(&folder, &labels, options.split.as_deref())?;
    assemble(&folder, raw, options)
}

/// The format a folder's labels are in.
///
/// # Errors
/// [`OpenError`] when there is none, or more than one.
pub fn detect(dir: &Path) -> Result<Format, OpenError> {
    let folder = Folder::list(dir)?;
    recognise(&folder, None).map(|(reader, _)| reader.format)
}

/// The reader to use and the label files it recognised.
fn recognise(folder: &Folder, wanted: Option<Format>) -> Result<(&'static Reader, Vec<PathBuf>), OpenError> {
    let looked_for = || READERS.iter().filter(|r| wanted.is_none_or(|w| r.format == w));
    let mut found = looked_for().map(|r| (r, (r.evidence)(folder))).filter(|(_, labels)| !labels.is_empty());
    let expected = || looked_for().map(|r| r.about).collect::<Vec<_>>().join(", ");
    let Some((reader, labels)) = found.next() else {
        return Err(OpenError::NoLabels {
            dir: folder.root.clone(),
            images: folder.images.len(),
            expected: expected(),
        });
    };
    if let Some((other, others)) = found.next() {
        return Err(OpenError::AmbiguousFormat {
            dir: folder.root.clone(),
            first_format: reader.format,
            first_file: labels.into_iter().next().unwrap_or_default(),
            second_format: other.format,
            second_file: others.into_iter().next().unwrap_or_default(),
        });
    }
    Ok((reader, labels))
}

#[cfg(test)]
mod tests;
