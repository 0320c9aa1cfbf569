//! A model version as it is stored and served.

use std::sync::Arc;

use params::{Canonical, Digest, Layout};
use protocol::id::Version;

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
}
