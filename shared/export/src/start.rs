//! Weights to start a run from, whoever made them.

use std::path::Path;

use params::Layout;

use crate::checkpoint::Checkpoint;
use crate::error::LoadError;
use crate::metadata::Metadata;
use crate::safetensors;
use crate::torchvision;

/// Whose names a file uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A model that Fovea saved.
    Fovea,
    /// A MobileNetV2 in torchvision's names: the backbone is taken, neck and head are not in there.
    Torchvision,
}

/// What was taken from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Whose file it is.
    pub origin: Origin,
    /// Tensors taken.
    pub tensors: usize,
    /// What the file says of itself.
    pub metadata: Metadata,
}

/// Reads the weights of `path` into `values` (in `layout`): a Fovea model, or a torchvision MobileNetV2 as safetensors or as
/// a PyTorch checkpoint in its zip or older form. What the file does not have keeps its value.
///
/// # Errors
/// Files that cannot be read or hold something else; tensors of another shape (for torchvision's: of another width). `values`
/// are untouched then.
pub fn load_start(path: &Path, layout: &Layout, values: &mut [f32]) -> Result<Start, LoadError> {
    let checkpoint = Checkpoint::read(path)?;
    let (origin, tensors) = if torchvision::recognises(&checkpoint) {
        (Origin::Torchvision, torchvision::adopt(path, &checkpoint, layout, values)?)
    } else if layout.tensors().iter().any(|tensor| checkpoint.tensors.contains_key(&tensor.spec.name)) {
        (Origin::Fovea, safetensors::adopt(path, &checkpoint, layout, values)?)
    } else {
        let found = checkpoint.tensors.keys().take(3).cloned().collect::<Vec<_>>().join(", ");
        return Err(LoadError::Names { path: path.to_path_buf(), found });
    };
    Ok(Start { origin, tensors, metadata: checkpoint.metadata })
}
