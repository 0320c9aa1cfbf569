//! Published versions as they are served: encoded once, shared by all downloads.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use coordinator_core::Published;
use params::Digest;
use protocol::id::Version;

use crate::limits::SNAPSHOTS_MAX;

/// A version's bytes on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
}

impl Snapshot {
    /// Encodes a version; takes some milliseconds per million weights.
    pub(crate) fn of(published: &Published) -> Self {
        let bytes = Bytes::from(codec::snapshot::encode_snapshot(&published.model, &published.statistics));
        Self { digest: Digest::of(&[&bytes]), bytes }
    }
}

/// The newest versions.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    held: RwLock<BTreeMap<Version, Snapshot>>,
}

impl Snapshots {
    /// Serves a version from now on; the oldest one goes.
    pub(crate) fn put(&self, version: Version, snapshot: Snapshot) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.insert(version, snapshot);
        while held.len() > SNAPSHOTS_MAX {
            held.pop_first();
        }
    }

    pub(crate) fn get(&self, version: Version) -> Option<Snapshot> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).get(&version).cloned()
    }

    pub(crate) fn newest(&self) -> Option<Version> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).keys().last().copied()
    }
}
