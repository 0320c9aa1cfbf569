//! Label formats: one file each, registered in [`READERS`].
//!
//! A reader only says what is written in the files. Sizes, clipping, duplicates and class lists are the same for all
//! formats and are settled once, in `assemble`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::folder::Folder;
use crate::open::OpenError;
use crate::problem::Problems;

mod coco;
mod voc;
mod yolo;

/// Every reader. To add a format: one file in `format/`, one line here.
pub(crate) static READERS: &[Reader] = &[coco::READER, voc::READER, yolo::READER];

/// A label format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One json file with `images`, `annotations` and `categories`.
    Coco,
    /// One xml file for each image.
    Voc,
    /// One txt file for each image, with normalised centres and sizes.
    Yolo,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Coco => "COCO json",
            Self::Voc => "VOC xml",
            Self::Yolo => "YOLO txt",
        })
    }
}

/// One format: how to recognise it and how to read it.
pub(crate) struct Reader {
    pub(crate) format: Format,
    /// What a folder of this format has, for the message when nothing is found.
    pub(crate) about: &'static str,
    /// The label files of this format in a folder; none if it is another format.
    pub(crate) evidence: fn(&Folder) -> Vec<PathBuf>,
    /// Reads the label files, of one split if one is asked for.
    pub(crate) read: Read,
}

/// From a folder, the label files found in it and a split to what they say.
type Read = fn(&Folder, &[PathBuf], Option<&str>) -> Result<RawDataset, OpenError>;

/// What the label files say, before any image is looked at.
#[derive(Default)]
pub(crate) struct RawDataset {
    /// Class names; the first of two equal names counts.
    pub(crate) classes: Vec<String>,
    /// The file the class names are from, relative to the root.
    pub(crate) classes_file: PathBuf,
    pub(crate) items: Vec<RawItem>,
    pub(crate) problems: Problems,
}

/// One image with its labels.
pub(crate) struct RawItem {
    /// An image of the listing, relative to the root.
    pub(crate) image: PathBuf,
    /// The file its labels are in, relative to the root.
    pub(crate) label: PathBuf,
    /// Width and height as stated in the labels; zero means not stated.
    pub(crate) stated: (u32, u32),
    /// `None` when nobody labelled the image.
    pub(crate) boxes: Option<Vec<RawBox>>,
}

/// One box as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RawBox {
    /// Index into [`RawDataset::classes`].
    pub(crate) class: usize,
    /// Left, top, right, bottom: 0-based continuous, in pixels, or in image sizes if `normalised`.
    pub(crate) corners: [f64; 4],
    pub(crate) normalised: bool,
    pub(crate) ignore: bool,
    pub(crate) line: Option<usize>,
}

/// Names that people use for the same split.
fn same_split(asked: &str, found: &str) -> bool {
    let name = |s: &str| match s.to_lowercase().as_str() {
        "valid" | "validation" | "dev" => "val".to_owned(),
        "training" => "train".to_owned(),
        "testing" => "test".to_owned(),
        other => other.to_owned(),
    };
    let (asked, found) = (name(asked), name(found));
    asked == found || (asked == "trainval" && matches!(found.as_str(), "train" | "val"))
}

/// Whether a path has the split as a word of its own: `valid/_annotations.json`, `instances_val2017.json`.
fn path_in_split(path: &Path, split: &str) -> bool {
    let text = path.with_extension("").to_string_lossy().into_owned();
    text.split(|c: char| !c.is_alphanumeric())
        .map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()))
        .any(|word| same_split(split, word))
}

/// Class names from a text file, one a line; blank lines at the end do not count.
fn name_list(text: &str) -> Vec<String> {
    let text = text.trim_start_matches('\u{feff}').trim_end();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// Reads a text file of the listing.
fn read_text(folder: &Folder, file: &Path) -> Result<String, String> {
    let path = folder.root.join(file);
    let bytes = std::fs::metadata(&path).map_err(|e| e.to_string())?.len();
    if bytes > TEXT_BYTES_MAX {
        return Err(format!("{bytes} bytes, at most {TEXT_BYTES_MAX} allowed"));
    }
    let text = std::fs::read(&path).map_err(|e| e.to_string())?;
    String::from_utf8(text).map_err(|_| "not UTF-8 text".to_owned())
}

/// Largest label file of a single image or list of names, in bytes.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// How many files of an ending are looked into before a format is ruled out.
const SNIFF_FILES_MAX: usize = 50;
