//! What can be wrong with a weights file.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A weights file cannot be read into a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The operating system refuses.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Larger than any model.
    #[error("{path}: {found} bytes, more than the {max} a weights file may have", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// Neither safetensors nor a PyTorch checkpoint, or a damaged one.
    #[error("{path}: {problem}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// A tensor of the model is not in the file.
    #[error("{path}: tensor {name} is missing (shape {expected:?} expected)", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Name in the file.
        name: String,
        /// Shape in the file's order of axes.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the model's.
    #[error("{path}: tensor {name} has shape {found:?}, the model expects {expected:?}", path = path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Name in the file.
        name: String,
        /// Shape in the file's order of axes.
        expected: Vec<usize>,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A value that is not a number.
    #[error("{path}: tensor {name} holds {value} at position {position}", path = path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Name in the file.
        name: String,
        /// Position in the tensor.
        position: usize,
        /// The value as text.
        value: String,
    },
    /// Tensors, but of no architecture that fits.
    #[error("{path}: neither Fovea's nor torchvision's MobileNetV2 tensor names, found {found}", path = path.display())]
    Names {
        /// The file.
        path: PathBuf,
        /// The first names.
        found: String,
    },
}

/// A weights file cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The operating system refuses: no space, no permission.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Values of another length than the layout's.
    #[error("expected {expected} values, found {found}")]
    Length {
        /// Values of the layout.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// The tensors cannot be described in the format.
    #[error("cannot encode as safetensors: {0}")]
    Format(String),
}
