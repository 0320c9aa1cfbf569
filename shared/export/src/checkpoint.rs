//! Named tensors as they lie in a file, whatever its format.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use half::{bf16, f16};

use crate::error::LoadError;
use crate::{safetensors, torch};

/// Largest weights file: twice the largest model in f32, since checkpoints may carry more than the model.
pub const FILE_BYTES_MAX: u64 = 8 * params::PARAMETERS_MAX as u64;

/// A tensor as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    /// Shape; without axes for a single number.
    pub shape: Vec<usize>,
    /// Values in row-major order.
    pub values: Vec<f32>,
}

/// The floating-point tensors of a file; tensors of integers (counters) are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// By name.
    pub tensors: BTreeMap<String, StoredTensor>,
    /// What a safetensors file says of itself.
    pub metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Reads safetensors or a PyTorch checkpoint (zip or the older form), whichever the bytes are.
    ///
    /// # Errors
    /// Files that cannot be read, are too large, damaged, or of another kind.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let bytes = read_bounded(path)?;
        let parsed = if bytes.starts_with(b"PK\x03\x04") {
            torch::read_zip(&bytes)
        } else if bytes.first() == Some(&torch::PICKLE_PROTOCOL) {
            torch::read_legacy(&bytes)
        } else {
            safetensors::read(&bytes)
        };
        parsed.map_err(|problem| LoadError::Format { path: path.to_path_buf(), problem })
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, LoadError> {
    let io = |source| LoadError::Io { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(io)?;
    let found = file.metadata().map_err(io)?.len();
    if found > FILE_BYTES_MAX {
        return Err(LoadError::TooLarge { path: path.to_path_buf(), found, max: FILE_BYTES_MAX });
    }
    let mut bytes = Vec::new();
    // The file may grow while it is read.
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// Encodings of a floating-point number, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F64,
    F32,
    F16,
    Bf16,
}

impl Element {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// One number from exactly [`Element::bytes`] bytes.
    pub(crate) fn decode(self, bytes: &[u8]) -> f32 {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let [a, b, c, d, ..] = wide;
        match self {
            Self::F64 => f64::from_le_bytes(wide) as f32,
            Self::F32 => f32::from_le_bytes([a, b, c, d]),
            Self::F16 => f16::from_le_bytes([a, b]).to_f32(),
            Self::Bf16 => bf16::from_le_bytes([a, b]).to_f32(),
        }
    }
}
