//! torchvision's MobileNetV2 by our names.
//!
//! torchvision numbers `features` as we number `backbone`. Its blocks are sequences, so a part's place depends on whether
//! the block expands: `conv.0.0` is then the expansion, and the depthwise convolution otherwise. Convolution weights are
//! `[out, in / groups, rows, columns]` there.

use std::path::Path;

use params::{Layout, Tensor};

use crate::checkpoint::Checkpoint;
use crate::error::LoadError;
use crate::safetensors::check;

/// How a weight's axes lie in the two conventions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axes {
    /// The same: vectors of a batch norm.
    Vector,
    /// `[out, in]` is `[out, in, 1, 1]`.
    Pointwise,
    /// `[3, 3, channels]` is `[channels, 1, 3, 3]`.
    Depthwise,
    /// `[3, 3, in, out]` is `[out, in, 3, 3]`.
    Full,
}

/// Whether the file looks like a MobileNetV2 of torchvision.
pub(crate) fn recognises(checkpoint: &Checkpoint) -> bool {
    checkpoint.tensors.contains_key("features.0.0.weight")
}

/// Copies the backbone; neck and head keep their values. Returns how many tensors were copied.
pub(crate) fn adopt(
    path: &Path,
    checkpoint: &Checkpoint,
    layout: &Layout,
    values: &mut [f32],
) -> Result<usize, LoadError> {
    let mut found = Vec::new();
    for tensor in layout.tensors() {
        let Some((name, axes)) = counterpart(layout, tensor) else { continue };
        let expected = theirs(&tensor.spec.shape, axes);
        let Some(stored) = checkpoint.tensors.get(&name) else {
            return Err(LoadError::Missing { path: path.to_path_buf(), name, expected });
        };
        check(path, &name, stored, &expected)?;
        found.push((tensor, axes, stored));
    }
    for &(tensor, axes, stored) in &found {
        rearrange(&stored.values, &tensor.spec.shape, axes, &mut values[tensor.range()]);
    }
    Ok(found.len())
}

/// torchvision's name of one of our tensors, if it has it.
fn counterpart(layout: &Layout, tensor: &Tensor) -> Option<(String, Axes)> {
    let path: Vec<&str> = tensor.spec.name.split('.').collect();
    let field = |field: &str| {
        Some(match field {
            "gamma" => "weight",
            "beta" => "bias",
            "mean" => "running_mean",
            "var" => "running_var",
            _ => return None,
        })
    };
    match path[..] {
        ["backbone", "0", "weight"] => Some(("features.0.0.weight".to_owned(), Axes::Full)),
        ["backbone", "0", kind] => Some((format!("features.0.1.{}", field(kind)?), Axes::Vector)),
        ["backbone", block, part, kind] => {
            let expands = layout.find(&format!("backbone.{block}.expand.weight")).is_some();
            let (convolution, norm, axes) = match (part, expands) {
                ("expand", true) => ("0.0", "0.1", Axes::Pointwise),
                ("depthwise", true) => ("1.0", "1.1", Axes::Depthwise),
                ("project", true) => ("2", "3", Axes::Pointwise),
                ("depthwise", false) => ("0.0", "0.1", Axes::Depthwise),
                ("project", false) => ("1", "2", Axes::Pointwise),
                _ => return None,
            };
            Some(if kind == "weight" {
                (format!("features.{block}.conv.{convolution}.weight"), axes)
            } else {
                (format!("features.{block}.conv.{norm}.{}", field(kind)?), Axes::Vector)
            })
        }
        _ => None,
    }
}

/// Their shape of a tensor of our shape.
fn theirs(ours: &[usize], axes: Axes) -> Vec<usize> {
    match (axes, ours) {
        (Axes::Pointwise, &[out, from]) => vec![out, from, 1, 1],
        (Axes::Depthwise, &[rows, columns, channels]) => vec![channels, 1, rows, columns],
        (Axes::Full, &[rows, columns, from, out]) => vec![out, from, rows, columns],
        _ => ours.to_vec(),
    }
}

/// From their order of values to ours.
fn rearrange(from: &[f32], shape: &[usize], axes: Axes, to: &mut [f32]) {
    let out = match (axes, shape) {
        (Axes::Depthwise, &[.., channels]) => channels,
        (Axes::Full, &[.., out]) => out,
        _ => return to.copy_from_slice(from),
    };
    // Seen as matrices, both are transpositions in the end: theirs is [out][in][rows x columns].
    let taps = shape[0] * shape[1];
    let inputs = from.len() / (out * taps);
    for (at, value) in to.iter_mut().enumerate() {
        let (rest, channel) = (at / out, at % out);
        let (tap, input) = (rest / inputs, rest % inputs);
        *value = from[(channel * inputs + input) * taps + tap];
    }
}

#[cfg(test)]
mod tests;
