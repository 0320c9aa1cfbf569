//! Weights in and out of files.
//!
//! Fovea's own files are safetensors with the tensor names of a [`params::Layout`]. [`load_start`] also reads what others
//! have trained: MobileNetV2 backbones in torchvision's names, from safetensors or from a PyTorch checkpoint. A checkpoint
//! is a program for a stack machine; only the handful of instructions that describe tensors are understood here, nothing
//! in a file is ever executed, and every size is bounded before memory is taken.

mod checkpoint;
mod error;
mod metadata;
mod safetensors;
mod start;
mod torch;
mod torchvision;

pub use checkpoint::{Checkpoint, FILE_BYTES_MAX, StoredTensor};
pub use error::{LoadError, SaveError};
pub use metadata::{Metadata, describe, described};
pub use safetensors::{encode_safetensors, load_safetensors, save_safetensors};
pub use start::{Origin, Start, load_start};
