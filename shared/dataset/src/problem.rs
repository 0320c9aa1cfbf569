//! What is wrong with a data set: listed with file and line, never a reason to stop.

use std::path::PathBuf;

use serde::Serialize;
use serde::ser::SerializeStruct;

/// How many problems a data set lists at most. The rest are only counted: a label file of a million broken lines
/// must not fill memory or a terminal.
pub const PROBLEMS_MAX: usize = 10_000;

/// One finding, with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The file concerned, relative to the data folder where it lies inside.
    pub file: PathBuf,
    /// Line in that file, counted from 1, where there is one.
    pub line: Option<usize>,
    /// What is wrong.
    pub trouble: Trouble,
}

/// How much a problem costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a look; everything in the files is used.
    Warning,
    /// An image, a label file or a box is left out.
    Error,
}

/// What can be wrong with one image, one label file or one box.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The image cannot be decoded; it is left out.
    #[error("image left out: {reason}")]
    ImageUnreadable {
        /// What the decoder says.
        reason: String,
    },
    /// Labels name an image that is not in the folder; they are left out.
    #[error("labels name the image {image:?}, which is not in the folder")]
    ImageMissing {
        /// The name as written in the labels.
        image: String,
    },
    /// Labels name an image that several files could be; they are left out.
    #[error("labels name the image {image:?}, which could be {first:?} or {second:?}")]
    ImageAmbiguous {
        /// The name as written in the labels.
        image: String,
        /// One candidate.
        first: PathBuf,
        /// Another candidate.
        second: PathBuf,
    },
    /// The same image is labelled twice; the first labels count.
    #[error("labels of {image:?} appear a second time and are left out")]
    ImageRepeated {
        /// The image, relative to the data folder.
        image: PathBuf,
    },
    /// A list of a split names something that does not exist.
    #[error("the list names {name:?}, which has neither labels nor an image")]
    ListedMissing {
        /// The name as written in the list.
        name: String,
    },
    /// A label file cannot be read; its image counts as unlabelled.
    #[error("label file left out: {reason}")]
    LabelsUnreadable {
        /// What the parser says.
        reason: String,
    },
    /// One entry or line of a label file cannot be read; it is left out.
    #[error("entry left out: {reason}")]
    EntryUnreadable {
        /// What the parser says.
        reason: String,
    },
    /// An identifier is used twice; the first use counts.
    #[error("{what} id {id} is used twice, the second is left out")]
    DuplicateId {
        /// What the identifier is of: image, category or annotation.
        what: &'static str,
        /// The identifier.
        id: String,
    },
    /// A box refers to an identifier that does not exist; it is left out.
    #[error("box left out: no {what} has the id {id}")]
    UnknownId {
        /// What the identifier is of: image or category.
        what: &'static str,
        /// The identifier.
        id: String,
    },
    /// The class is not one of those asked for; the box is left out.
    #[error("box left out: class {class:?} is not among the {known} classes asked for")]
    UnknownClass {
        /// The class name in the labels.
        class: String,
        /// How many classes were asked for.
        known: usize,
    },
    /// The class list holds a name twice; both mean the same class.
    #[error("class name {class:?} appears twice in the class list")]
    RepeatedClass {
        /// The name.
        class: String,
    },
    /// The box has no area or its corners are not numbers; it is left out.
    #[error("box left out: corners {corners:?} enclose no area")]
    BoxEmpty {
        /// Corners as read: left, top, right, bottom in pixels.
        corners: [f64; 4],
    },
    /// The box lies outside the image; it is left out.
    #[error("box left out: corners {corners:?} lie outside the image of {width}x{height}")]
    BoxOutside {
        /// Corners as read: left, top, right, bottom in pixels.
        corners: [f64; 4],
        /// Image width in pixels.
        width: u32,
        /// Image height in pixels.
        height: u32,
    },
    /// The box reaches over the edge of the image; it is cut there.
    #[error("box cut at the edge: corners {corners:?}, image {width}x{height}")]
    BoxCut {
        /// Corners as read: left, top, right, bottom in pixels.
        corners: [f64; 4],
        /// Image width in pixels.
        width: u32,
        /// Image height in pixels.
        height: u32,
    },
    /// The box is thinner than an object can be seen; it is kept.
    #[error("box of {width} by {height} pixels: a slip of the mouse?")]
    BoxTiny {
        /// Width in pixels.
        width: f32,
        /// Height in pixels.
        height: f32,
    },
    /// The same box of the same class appears twice in an image; one is kept.
    #[error("the same box of class {class:?} appears twice, one is kept")]
    BoxRepeated {
        /// The class name.
        class: String,
    },
    /// The labels state another image size than the file has; the file is believed.
    #[error("labels say the image is {stated_width}x{stated_height}, it is {width}x{height}")]
    SizeMismatch {
        /// Width in the labels.
        stated_width: u32,
        /// Height in the labels.
        stated_height: u32,
        /// Width of the image as shown (EXIF orientation applied).
        width: u32,
        /// Height of the image as shown.
        height: u32,
    },
    /// The labels state the size that the image has before its EXIF rotation: its boxes may be in that frame.
    #[error(
        "labels say {stated_width}x{stated_height}, the size before the EXIF rotation; boxes are read in the rotated \
         frame {stated_height}x{stated_width}: look at this image"
    )]
    RotationDoubt {
        /// Width in the labels.
        stated_width: u32,
        /// Height in the labels.
        stated_height: u32,
    },
    /// The list of problems is full.
    #[error("{more} further problems are not listed")]
    More {
        /// How many are not listed.
        more: usize,
    },
}

impl Trouble {
    /// Whether something is left out because of it.
    pub fn severity(&self) -> Severity {
        match self {
            Self::BoxCut { .. }
            | Self::BoxTiny { .. }
            | Self::BoxRepeated { .. }
            | Self::RepeatedClass { .. }
            | Self::SizeMismatch { .. }
            | Self::RotationDoubt { .. } => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// A stable name for scripts, such as `image-unreadable`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ImageUnreadable { .. } => "image-unreadable",
            Self::ImageMissing { .. } => "image-missing",
            Self::ImageAmbiguous { .. } => "image-ambiguous",
            Self::ImageRepeated { .. } => "image-repeated",
            Self::ListedMissing { .. } => "listed-missing",
            Self::LabelsUnreadable { .. } => "labels-unreadable",
            Self::EntryUnreadable { .. } => "entry-unreadable",
            Self::DuplicateId { .. } => "duplicate-id",
            Self::UnknownId { .. } => "unknown-id",
            Self::UnknownClass { .. } => "unknown-class",
            Self::RepeatedClass { .. } => "repeated-class",
            Self::BoxEmpty { .. } => "box-empty",
            Self::BoxOutside { .. } => "box-outside",
            Self::BoxCut { .. } => "box-cut",
            Self::BoxTiny { .. } => "box-tiny",
            Self::BoxRepeated { .. } => "box-repeated",
            Self::SizeMismatch { .. } => "size-mismatch",
            Self::RotationDoubt { .. } => "rotation-doubt",
            Self::More { .. } => "more",
        }
    }
}

/// `file:line: what is wrong`.
impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.trouble)
    }
}

/// Fields `file`, `line`, `severity`, `kind`, `message`.
impl Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Problem", 5)?;
        out.serialize_field("file", &self.file.to_string_lossy())?;
        out.serialize_field("line", &self.line)?;
        out.serialize_field("severity", &self.trouble.severity())?;
        out.serialize_field("kind", self.trouble.kind())?;
        out.serialize_field("message", &self.trouble.to_string())?;
        out.end()
    }
}

/// A list of problems that stops growing at [`PROBLEMS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    more: usize,
}

impl Problems {
    pub(crate) fn push(&mut self, file: impl Into<PathBuf>, line: Option<usize>, trouble: Trouble) {
        if self.list.len() < PROBLEMS_MAX {
            self.list.push(Problem { file: file.into(), line, trouble });
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn into_vec(mut self) -> Vec<Problem> {
        if self.more > 0 {
            self.list.push(Problem {
                file: PathBuf::new(),
                line: None,
                trouble: Trouble::More { more: self.more },
            });
        }
        self.list
    }
}

impl From<Vec<Problem>> for Problems {
    fn from(list: Vec<Problem>) -> Self {
        Self { list, more: 0 }
    }
}
