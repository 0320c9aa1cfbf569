//! A model version as it is stored and served.

use std::convert::Infallible;
use std::sync::Arc;

use codec::delta::Content;
use params::{Canonical, Digest, Grid, GridError, Layout, LayoutError, TensorSpec};
use protocol::id::Version;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Words that are turned into bytes together.
const WORDS_AT_A_TIME: usize = 1 << 12;

/// A model version, with everything needed to go on from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Its number.
    pub version: Version,
    /// All tensors of the model, all scopes.
    pub layout: Arc<Layout>,
    /// Shared weights, in the shared part of `layout`.
    pub model: Canonical,
    /// Pooled statistics, in the statistic part of `layout`.
    pub statistics: Vec<f32>,
    /// Digest of `model`.
    pub digest: Digest,
    /// State of the server optimiser after this version; for the coordinator alone, never served.
    pub optimiser: Vec<f32>,
    /// By how many ticks `model` is short of where the updates have led, layout order; empty when by none. For the coordinator alone,
    /// never served.
    pub residual: Vec<i32>,
}

/// The head of a stored version; weights, statistics, optimiser state and residual follow it as little-endian words.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: Version,
    digest: Digest,
    tensors: Vec<TensorSpec>,
    exponents: Vec<i8>,
    statistics: usize,
    optimiser: usize,
    residual: usize,
}

/// Why bytes are not a version.
#[derive(Debug, Error)]
pub enum PublishedError {
    /// No line of JSON at the start.
    #[error("a stored version of {found} bytes has no end of line after its head")]
    Head {
        /// Length of the bytes.
        found: usize,
    },
    /// The line says something else.
    #[error("the head of a stored version cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// The tensors are no layout.
    #[error("a stored version has a bad layout: {0}")]
    Layout(#[from] LayoutError),
    /// The weights do not fit the layout.
    #[error("a stored version does not fit its layout: {0}")]
    Grid(#[from] GridError),
    /// A residual of another model.
    #[error("a stored version of {expected} weights has a residual of {found}")]
    Residual {
        /// Weights.
        expected: usize,
        /// Of the residual.
        found: usize,
    },
    /// More or fewer bytes than the head announces.
    #[error("a stored version should have {expected} bytes after its head, found {found}")]
    Length {
        /// By the head.
        expected: usize,
        /// There are.
        found: usize,
    },
    /// The weights are not those that were stored.
    #[error("the weights of stored version {version} have digest {found}, expected {expected}")]
    Digest {
        /// The version.
        version: Version,
        /// By the head.
        expected: Digest,
        /// Of the weights.
        found: Digest,
    },
}

impl Published {
    /// The name of what a device holds that has this version with its statistics.
    pub fn content(&self) -> Content {
        codec::delta::content(&self.digest, &self.statistics)
    }

    /// The version as bytes: one line of JSON, then shared weights (i32 ticks), statistics and optimiser state
    /// (f32), residual (i32).
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Ok(()) = self.write_to(&mut |part| {
            bytes.extend_from_slice(part);
            Ok::<_, Infallible>(())
        });
        bytes
    }

    /// [`Published::encode`] in parts of some kilobytes, so that nobody has to hold it as a whole.
    ///
    /// # Errors
    /// Those of `write`, at which it ends.
    pub fn write_to<E>(&self, write: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let head = Head {
            version: self.version,
            digest: self.digest,
            tensors: self.layout.specs(),
            exponents: self.model.grid().exponents().to_vec(),
            statistics: self.statistics.len(),
            optimiser: self.optimiser.len(),
            residual: self.residual.len(),
        };
        let Ok(mut bytes) = serde_json::to_vec(&head) else {
            unreachable!("the head is made of plain values")
        };
        bytes.push(b'\n');
        write(&bytes)?;
        write_words(self.model.ticks(), |ticks| ticks.to_le_bytes(), write)?;
        write_words(&self.statistics, |value| value.to_le_bytes(), write)?;
        write_words(&self.optimiser, |value| value.to_le_bytes(), write)?;
        write_words(&self.residual, |ticks| ticks.to_le_bytes(), write)
    }

    /// The same without what is never served.
    pub fn served(&self) -> Self {
        let Self { version, digest, .. } = *self;
        let (layout, model, statistics) = (self.layout.clone(), self.model.clone(), self.statistics.clone());
        Self { version, layout, model, statistics, digest, optimiser: Vec::new(), residual: Vec::new() }
    }

    /// Reads what [`Published::encode`] wrote, and checks the digest of the weights.
    ///
    /// # Errors
    /// Bytes that are damaged, or not a version.
    pub fn decode(bytes: &[u8]) -> Result<Self, PublishedError> {
        let end = bytes
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or(PublishedError::Head { found: bytes.len() })?;
        let Head { version, digest, tensors, exponents, statistics, optimiser, residual } =
            serde_json::from_slice(&bytes[..end])?;
        let layout = Arc::new(Layout::new(tensors)?);
        let shared = Arc::new(layout.of_scope(params::Scope::Shared));
        if residual != 0 && residual != shared.len() {
            return Err(PublishedError::Residual { expected: shared.len(), found: residual });
        }
        let words = shared.len() + residual;
        let words = words.saturating_add(statistics).saturating_add(optimiser);
        let (expected, found) = (words.saturating_mul(4), bytes.len() - end - 1);
        if expected != found {
            return Err(PublishedError::Length { expected, found });
        }
        let mut words = bytes[end + 1..].chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]);
        let ticks = words.by_ref().take(shared.len()).map(i32::from_le_bytes).collect();
        let grid = Grid::from_exponents(&shared, exponents)?;
        let model = Canonical::from_ticks(shared, grid, ticks)?;
        let found = model.digest();
        if found != digest {
            return Err(PublishedError::Digest { version, expected: digest, found });
        }
        let statistics = words.by_ref().take(statistics).map(f32::from_le_bytes).collect();
        let optimiser = words.by_ref().take(optimiser).map(f32::from_le_bytes).collect();
        let residual = words.map(i32::from_le_bytes).collect();
        Ok(Self { version, layout, model, statistics, digest, optimiser, residual })
    }
}

fn write_words<T: Copy, E>(
    words: &[T],
    bytes_of: impl Fn(T) -> [u8; 4],
    write: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut bytes = Vec::with_capacity(4 * WORDS_AT_A_TIME.min(words.len()));
    for words in words.chunks(WORDS_AT_A_TIME) {
        bytes.clear();
        bytes.extend(words.iter().flat_map(|&word| bytes_of(word)));
        write(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
