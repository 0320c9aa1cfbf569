//! Which tensors make up the model, in which order, and who may see each of them.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Digest;

/// Most values a layout may hold (64 Mi f32 = 256 MiB): bounds every allocation made from a declared layout.
pub const PARAMETERS_MAX: usize = 64 << 20;
/// Most tensors a layout may hold.
pub const TENSORS_MAX: usize = 4096;

/// Who owns a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Trained by all, averaged by the coordinator, part of every published version.
    Shared,
    /// Trained and kept on the device; never sent, and refused by the coordinator.
    Personal,
    /// State of the data rather than a weight (running mean and variance); pooled, never averaged as a weight.
    Statistic,
}

/// A tensor before it has a place in a layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Unique dotted path, for example `backbone.3.expand.weight`.
    pub name: String,
    /// Row-major shape; the product of its entries is the number of values.
    pub shape: Vec<usize>,
    /// Who owns it.
    pub scope: Scope,
}

/// A tensor with its place in the flat vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Name, shape and scope.
    pub spec: TensorSpec,
    /// First value's index in the flat vector.
    pub offset: usize,
    /// Number of values.
    pub len: usize,
}

impl Tensor {
    /// The tensor's place in the flat vector.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len
    }
}

/// Tensors laid end to end in a fixed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    tensors: Vec<Tensor>,
    len: usize,
    digest: Digest,
}

/// Why a list of tensors is not a layout.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// Two tensors share a name.
    #[error("tensor {name} appears twice")]
    Duplicate {
        /// The repeated name.
        name: String,
    },
    /// A tensor without values.
    #[error("tensor {name} is empty (shape {shape:?})")]
    Empty {
        /// The tensor.
        name: String,
        /// Its declared shape.
        shape: Vec<usize>,
    },
    /// Too many values or tensors.
    #[error("the layout has {found} {what}, more than the {max} allowed")]
    TooLarge {
        /// `values` or `tensors`.
        what: &'static str,
        /// What was declared.
        found: usize,
        /// The bound.
        max: usize,
    },
}

impl Layout {
    /// Lays `specs` end to end.
    ///
    /// # Errors
    /// Repeated names, tensors without values, more than [`TENSORS_MAX`] tensors or [`PARAMETERS_MAX`] values.
    pub fn new(specs: Vec<TensorSpec>) -> Result<Self, LayoutError> {
        if specs.len() > TENSORS_MAX {
            return Err(LayoutError::TooLarge { what: "tensors", found: specs.len(), max: TENSORS_MAX });
        }
        let mut names = BTreeSet::new();
        let mut tensors = Vec::with_capacity(specs.len());
        let mut offset = 0_usize;
        for spec in specs {
            let values = spec.shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
            let len = values.unwrap_or(usize::MAX);
            if len == 0 {
                return Err(LayoutError::Empty { name: spec.name, shape: spec.shape });
            }
            if !names.insert(spec.name.clone()) {
                return Err(LayoutError::Duplicate { name: spec.name });
            }
            let end = offset.saturating_add(len);
            if end > PARAMETERS_MAX {
                return Err(LayoutError::TooLarge { what: "values", found: end, max: PARAMETERS_MAX });
            }
            tensors.push(Tensor { spec, offset, len });
            offset = end;
        }
        let digest = digest_of(&tensors);
        Ok(Self { tensors, len: offset, digest })
    }

    /// The tensors in order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Number of values in the flat vector.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no values at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Digest over names, shapes, scopes and order: two sides with equal digests mean the same vector.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The tensor called `name`.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.spec.name == name)
    }

    /// The tensors of one scope as a layout of their own, in the same order.
    pub fn of_scope(&self, scope: Scope) -> Self {
        let mut offset = 0;
        let tensors: Vec<Tensor> = self
            .tensors
            .iter()
            .filter(|tensor| tensor.spec.scope == scope)
            .map(|tensor| {
                let placed = Tensor { spec: tensor.spec.clone(), offset, len: tensor.len };
                offset += tensor.len;
                placed
            })
            .collect();
        let digest = digest_of(&tensors);
        Self { tensors, len: offset, digest }
    }

    /// The values of one scope, copied out of a vector in this layout (length [`Layout::len`]).
    pub fn gather(&self, values: &[f32], scope: Scope) -> Vec<f32> {
        let of_scope = self.tensors.iter().filter(|tensor| tensor.spec.scope == scope);
        of_scope.flat_map(|tensor| &values[tensor.range()]).copied().collect()
    }

    /// Writes values of one scope (as [`Layout::gather`] returns them) back into a vector in this layout.
    pub fn scatter(&self, scoped: &[f32], scope: Scope, values: &mut [f32]) {
        let mut from = 0;
        for tensor in self.tensors.iter().filter(|tensor| tensor.spec.scope == scope) {
            values[tensor.range()].copy_from_slice(&scoped[from..from + tensor.len]);
            from += tensor.len;
        }
    }

    /// The specs, to send or store the layout.
    pub fn specs(&self) -> Vec<TensorSpec> {
        self.tensors.iter().map(|tensor| tensor.spec.clone()).collect()
    }
}

fn digest_of(tensors: &[Tensor]) -> Digest {
    let mut text = String::new();
    for Tensor { spec, .. } in tensors {
        // Name lengths make the text unambiguous whatever characters a name contains.
        text += &format!("{}:{} {:?} {:?}\n", spec.name.len(), spec.name, spec.shape, spec.scope);
    }
    Digest::of(&[b"fovea layout 1\n", text.as_bytes()])
}
