//! A version made from what was downloaded, and from what was there before.

use std::sync::Arc;

use codec::delta::{Content, Delta, content};
use codec::snapshot::decode_snapshot;
use codec::statistics::{StatisticsLayout, StatisticsLayoutError};
use params::{Canonical, Digest, Layout, Scope};
use protocol::message::{Part, PartKind};
use thiserror::Error;

/// A version with its statistics, bit for bit as it was published.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedModel {
    /// Weights of scope `Shared`.
    pub model: Canonical,
    /// Values of scope `Statistic`.
    pub statistics: Vec<f32>,
}

impl FetchedModel {
    /// Its name, by which the coordinator knows what leads on from it.
    pub fn content(&self) -> Content {
        content(&self.model.digest(), &self.statistics)
    }
}

/// What decoding versions needs to know of a model.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The shared tensors.
    pub shared: Arc<Layout>,
    /// The statistics.
    pub statistics: StatisticsLayout,
}

impl Shape {
    /// Of a model with this layout (all scopes).
    ///
    /// # Errors
    /// Statistics that do not come in pairs.
    pub fn new(layout: &Layout) -> Result<Self, StatisticsLayoutError> {
        let statistics = StatisticsLayout::new(&layout.of_scope(Scope::Statistic))?;
        Ok(Self { shared: Arc::new(layout.of_scope(Scope::Shared)), statistics })
    }
}

/// Why there is no version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FetchError {
    /// The connection; what has arrived may still be of use.
    #[error("{0}")]
    Broken(String),
    /// What arrived does not make the version that was announced; a whole one may.
    #[error("{0}")]
    Unfit(String),
}

/// Makes the version with this digest from the downloaded `bytes`, which are these `parts`, and from what is `held`. Hashes and decodes a
/// whole model: call it where blocking is allowed.
///
/// # Errors
/// [`FetchError::Unfit`] for everything that is not that version.
pub fn assemble(
    shape: &Shape,
    held: Option<&FetchedModel>,
    parts: &[Part],
    mut bytes: &[u8],
    expected: Digest,
) -> Result<FetchedModel, FetchError> {
    let unfit = |reason: String| FetchError::Unfit(reason);
    let mut version = held.cloned();
    // What the last delta says that it gives.
    let mut name = None;
    for part in parts {
        let piece = usize::try_from(part.length).ok().and_then(|length| bytes.split_at_checked(length));
        let (piece, rest) = piece.ok_or_else(|| unfit("the download is shorter than its parts".into()))?;
        bytes = rest;
        match (part.kind, &mut version) {
            (PartKind::Snapshot, _) => {
                let decoded = decode_snapshot(&shape.shared, &shape.statistics, piece);
                let decoded =
                    decoded.map_err(|error| unfit(format!("the snapshot is malformed: {error}")))?;
                let (model, statistics) = decoded;
                version = Some(FetchedModel { model, statistics });
                name = None;
            }
            (PartKind::Delta, Some(version)) => {
                let decoded = Delta::decode(&version.model, shape.statistics.len(), piece);
                let decoded = decoded.map_err(|error| unfit(format!("the delta is malformed: {error}")))?;
                let (heading, delta) = decoded;
                if heading.base != name.unwrap_or_else(|| version.content()) {
                    return Err(unfit(format!("the delta to version {} starts from elsewhere", heading.to)));
                }
                delta.apply(&shape.statistics, &mut version.model, &mut version.statistics);
                name = Some(heading.result);
            }
            (PartKind::Delta, None) => return Err(unfit("a delta, but nothing is held".into())),
        }
    }
    let version = version.ok_or_else(|| unfit("the download is empty, and nothing is held".into()))?;
    let found = version.model.digest();
    if found != expected {
        return Err(unfit(format!("the version has digest {found:?}, announced was {expected:?}")));
    }
    if name.is_some_and(|name| name != content(&found, &version.statistics)) {
        return Err(unfit("the deltas lead to other statistics than they say".into()));
    }
    Ok(version)
}
