//! The store in memory, for tests: the same promises, none of the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use coordinator_core::RoundReport;
use coordinator_core::journal::Compaction;
use params::Digest;
use protocol::id::{ClientId, Round, Version};

use super::{Enrolled, Entries, Entry, Store, StoreError, WriteParts, compacted};
use crate::limits::VERSIONS_MAX;

/// Clones share what they hold, so that a test can go on with what a "killed" coordinator has left.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    entries: Vec<Entry>,
    blobs: BTreeMap<Digest, Vec<u8>>,
}

impl MemoryStore {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        self.held().entries.extend_from_slice(entries);
        Ok(())
    }

    fn entries(&self) -> Result<Entries, StoreError> {
        Ok(Box::new(self.held().entries.clone().into_iter().map(Ok)))
    }

    fn put(&mut self, write: &mut WriteParts<'_>) -> Result<Digest, StoreError> {
        let mut bytes = Vec::new();
        let written = write(&mut |part| {
            bytes.extend_from_slice(part);
            Ok(())
        });
        written.map_err(|source| StoreError::io("memory", source))?;
        let blob = Digest::of(&[&bytes]);
        self.held().blobs.insert(blob, bytes);
        Ok(blob)
    }

    fn get(&self, blob: &Digest) -> Result<Vec<u8>, StoreError> {
        let found = self.held().blobs.get(blob).cloned();
        found.ok_or(StoreError::Blob { blob: *blob, problem: "missing" })
    }

    fn keep_only(&mut self, blobs: &BTreeSet<Digest>) -> Result<(), StoreError> {
        self.held().blobs.retain(|blob, _| blobs.contains(blob));
        Ok(())
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        let Some(&stored) = self.versions()?.keys().rev().take(VERSIONS_MAX).next_back() else {
            return Ok(());
        };
        let entries = self.held().entries.clone();
        let records = entries.iter().filter_map(|entry| match entry {
            Entry::Record(record) => Some(Ok::<_, StoreError>(record.clone())),
            _ => None,
        });
        let Some(plan) = Compaction::plan(records, stored)? else { return Ok(()) };
        self.held().entries = compacted(plan, entries.into_iter().map(Ok)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn versions(&self) -> Result<BTreeMap<Version, Digest>, StoreError> {
        let version = |entry: &Entry| match entry {
            Entry::Version { version, blob } => Some((*version, *blob)),
            _ => None,
        };
        Ok(self.held().entries.iter().filter_map(version).collect())
    }

    fn reports(&self) -> Result<BTreeMap<Round, RoundReport>, StoreError> {
        let report = |entry: &Entry| match entry {
            Entry::Report(report) => Some((report.round, (**report).clone())),
            _ => None,
        };
        Ok(self.held().entries.iter().filter_map(report).collect())
    }

    fn enrolled(&self, client: &ClientId) -> Result<Option<Enrolled>, StoreError> {
        let of_client = |entry: &Entry| match entry {
            Entry::Enrolled(enrolled) if enrolled.client == *client => Some(enrolled.clone()),
            _ => None,
        };
        Ok(self.held().entries.iter().find_map(of_client))
    }

    fn has_clients(&self) -> Result<bool, StoreError> {
        Ok(self.held().entries.iter().any(|entry| matches!(entry, Entry::Enrolled(_))))
    }
}
