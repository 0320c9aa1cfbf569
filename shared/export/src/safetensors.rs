//! Fovea's own weights files: safetensors with the layout's tensor names.
//!
//! Metadata is one JSON object under the key `fovea`, so that equal models make equal bytes: the format's own map has no
//! order.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use params::{Layout, Scope};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::checkpoint::{Checkpoint, Element, StoredTensor};
use crate::error::{LoadError, SaveError};
use crate::metadata::Metadata;

const METADATA_KEY: &str = "fovea";

/// The bytes of a weights file: `values` in `layout`, f32, and `metadata`. Equal arguments give equal bytes.
///
/// # Errors
/// Values of another length than the layout's.
pub fn encode_safetensors(
    layout: &Layout,
    values: &[f32],
    metadata: &Metadata,
) -> Result<Vec<u8>, SaveError> {
    if values.len() != layout.len() {
        return Err(SaveError::Length { expected: layout.len(), found: values.len() });
    }
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let format = |problem: &dyn std::fmt::Display| SaveError::Format(problem.to_string());
    let mut views = Vec::with_capacity(layout.tensors().len());
    for tensor in layout.tensors() {
        let raw = &bytes[4 * tensor.offset..4 * (tensor.offset + tensor.len)];
        let view = TensorView::new(Dtype::F32, tensor.spec.shape.clone(), raw).map_err(|e| format(&e))?;
        views.push((tensor.spec.name.as_str(), view));
    }
    let json = serde_json::to_string(metadata).map_err(|e| format(&e))?;
    let about = HashMap::from([(METADATA_KEY.to_owned(), json)]);
    serialize(views, Some(about)).map_err(|e| format(&e))
}

/// Writes a weights file. A crash leaves the old file or the new one, never a part; on return it is on the disk.
///
/// # Errors
/// Values of another length than the layout's; a full or unwritable disk, and then the old file is untouched.
pub fn save_safetensors(
    path: &Path,
    layout: &Layout,
    values: &[f32],
    metadata: &Metadata,
) -> Result<(), SaveError> {
    let bytes = encode_safetensors(layout, values, metadata)?;
    write_durably(path, &bytes).map_err(|source| SaveError::Io { path: path.to_path_buf(), source })
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(refused) = written.and_then(|()| fs::rename(&partial, path)) {
        // Nobody else will clean up after us; the first error is the one worth telling.
        let _ = fs::remove_file(&partial);
        return Err(refused);
    }
    // A rename is durable once its folder is. Folders cannot be opened everywhere; there the rename alone must do.
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
        && let Ok(folder) = File::open(folder)
    {
        folder.sync_all()?;
    }
    Ok(())
}

/// Reads a weights file into `values`, which are in `layout`, and returns what it says of itself.
///
/// Every tensor of scope `Shared` and `Statistic` must be there. Personal tensors never travel, so they usually are not:
/// those absent keep their values. Tensors that the layout does not have are passed over.
///
/// # Errors
/// Files that cannot be read, miss a tensor, or have one of another shape or with a value that is not finite. `values` are
/// untouched then.
pub fn load_safetensors(path: &Path, layout: &Layout, values: &mut [f32]) -> Result<Metadata, LoadError> {
    let checkpoint = Checkpoint::read(path)?;
    adopt(path, &checkpoint, layout, values)?;
    Ok(checkpoint.metadata)
}

/// Copies tensors of equal names; returns how many.
pub(crate) fn adopt(
    path: &Path,
    checkpoint: &Checkpoint,
    layout: &Layout,
    values: &mut [f32],
) -> Result<usize, LoadError> {
    let mut found = Vec::new();
    for tensor in layout.tensors() {
        let name = &tensor.spec.name;
        match checkpoint.tensors.get(name) {
            Some(stored) => {
                check(path, name, stored, &tensor.spec.shape)?;
                found.push((tensor, stored));
            }
            None if tensor.spec.scope == Scope::Personal => {}
            None => {
                let (name, expected) = (name.clone(), tensor.spec.shape.clone());
                return Err(LoadError::Missing { path: path.to_path_buf(), name, expected });
            }
        }
    }
    for (tensor, stored) in &found {
        values[tensor.range()].copy_from_slice(&stored.values);
    }
    Ok(found.len())
}

/// Shape as expected and every value finite.
pub(crate) fn check(
    path: &Path,
    name: &str,
    stored: &StoredTensor,
    expected: &[usize],
) -> Result<(), LoadError> {
    let (path, name) = (path.to_path_buf(), name.to_owned());
    if stored.shape != expected {
        let (expected, found) = (expected.to_vec(), stored.shape.clone());
        return Err(LoadError::Shape { path, name, expected, found });
    }
    match stored.values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        Some((position, value)) => {
            Err(LoadError::NotFinite { path, name, position, value: value.to_string() })
        }
        None => Ok(()),
    }
}

/// The floating-point tensors of a safetensors file.
pub(crate) fn read(bytes: &[u8]) -> Result<Checkpoint, String> {
    let problem = |e: &dyn std::fmt::Display| format!("neither a PyTorch checkpoint nor safetensors: {e}");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| problem(&e))?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| problem(&e))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let element = match view.dtype() {
            Dtype::F64 => Element::F64,
            Dtype::F32 => Element::F32,
            Dtype::F16 => Element::F16,
            Dtype::BF16 => Element::Bf16,
            _ => continue,
        };
        let values = view.data().chunks_exact(element.bytes()).map(|bytes| element.decode(bytes)).collect();
        tensors.insert(name.to_owned(), StoredTensor { shape: view.shape().to_vec(), values });
    }
    let mut metadata: Metadata =
        header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    if let Some(json) = metadata.remove(METADATA_KEY) {
        let ours: Metadata =
            serde_json::from_str(&json).map_err(|e| format!("metadata {METADATA_KEY:?}: {e}"))?;
        metadata.extend(ours);
    }
    Ok(Checkpoint { tensors, metadata })
}

#[cfg(test)]
mod tests;
