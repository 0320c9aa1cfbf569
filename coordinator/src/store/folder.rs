//! The store in a state folder: journal and blobs are the truth, the index follows them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codec::payload::Stored;
use coordinator_core::RoundReport;
use coordinator_core::journal::Compaction;
use params::Digest;
use protocol::id::{ClientId, Round, Version};

use super::blobs::Blobs;
use super::index::Index;
use super::journal::{Frame, Journal};
use super::{Enrolled, Entries, Entry, Store, StoreError, Updates, WriteParts, compacted};
use crate::limits::{COMPACTED_BYTES_MIN, VERSIONS_MAX};
use crate::state::{StateError, StateFolder, StateLock};

/// Journal, blobs and index in a folder that this process has locked.
#[derive(Debug)]
pub struct FolderStore {
    journal: Journal,
    blobs: Blobs,
    updates: Updates,
    index: Index,
    /// Length of the journal and the updates it names, bytes, from which on it is worth to be rewritten.
    compact_at: u64,
    _lock: StateLock,
}

/// Why a state folder cannot be used as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// What is in it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FolderStore {
    /// Locks the folder and opens what is in it. The second value are notices for the operator: what was cut off or made
    /// again.
    ///
    /// # Errors
    /// A folder in use; a damaged or foreign journal.
    pub fn open(folder: &StateFolder) -> Result<(Self, Vec<String>), OpenError> {
        let lock = folder.lock()?;
        let mut notices = Vec::new();
        let (journal, cut) = Journal::open(&folder.join("journal"))?;
        if cut > 0 {
            notices.push(format!(
                "the journal's last entry was incomplete: {cut} bytes cut off (nothing acknowledged)"
            ));
        }
        let blobs = Blobs::new(folder.make("blobs")?);
        let updates = Updates::new(folder.make("updates")?);
        let (index, anew) = Index::open(&folder.join("index"), journal.sequence())?;
        if let Some(reason) = anew {
            notices.push(format!("the index is made again from the journal: {reason}"));
        }
        let store = Self { journal, blobs, updates, index, compact_at: COMPACTED_BYTES_MIN, _lock: lock };
        store.catch_up()?;
        Ok((store, notices))
    }

    /// Of the journal and the updates it names, bytes.
    fn length(&self) -> Result<u64, StoreError> {
        Ok(self.journal.length() + self.updates.bytes()?)
    }

    /// Gives the index what it has missed.
    fn catch_up(&self) -> Result<(), StoreError> {
        let applied = self.index.applied()?;
        if applied == self.journal.sequence() {
            return Ok(());
        }
        for frame in self.journal.frames()? {
            let frame = frame?;
            if frame.sequence > applied {
                self.index.apply(frame.sequence, &decode(&frame, &self.updates)?)?;
            }
        }
        Ok(())
    }
}

fn decode(frame: &Frame, updates: &Updates) -> Result<Vec<Entry>, StoreError> {
    let entry = |bytes: &Vec<u8>| {
        Entry::decode(bytes, updates).map_err(|reason| StoreError::Entry { sequence: frame.sequence, reason })
    };
    frame.entries.iter().map(entry).collect()
}

impl Store for FolderStore {
    fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let encoded: Vec<_> = entries.iter().map(Entry::encode).collect();
        let sequence = self.journal.append(&encoded)?;
        self.index.apply(sequence, entries)
    }

    fn entries(&self) -> Result<Entries, StoreError> {
        let updates = self.updates.clone();
        let entries = self.journal.frames()?.flat_map(move |frame| {
            let entries = frame.and_then(|frame| decode(&frame, &updates));
            match entries {
                Ok(entries) => entries.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            }
        });
        Ok(Box::new(entries))
    }

    fn put(&mut self, write: &mut WriteParts<'_>) -> Result<Digest, StoreError> {
        self.blobs.put(write)
    }

    fn get(&self, blob: &Digest) -> Result<Vec<u8>, StoreError> {
        self.blobs.get(blob)
    }

    fn tail(&self, blob: &Digest, bytes: usize) -> Option<Arc<dyn Stored>> {
        self.blobs.tail(blob, bytes)
    }

    fn keep_only(&mut self, blobs: &BTreeSet<Digest>) -> Result<(), StoreError> {
        self.blobs.keep_only(blobs)
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        let length = self.length()?;
        if length < self.compact_at {
            return Ok(());
        }
        // Whatever comes of it, not again before the journal has grown as much once more.
        self.compact_at = 2 * length;
        let Some(&stored) = self.versions()?.keys().rev().take(VERSIONS_MAX).next_back() else {
            return Ok(());
        };
        let records = self.entries()?.filter_map(|entry| match entry {
            Ok(Entry::Record(record)) => Some(Ok(record)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        let Some(plan) = Compaction::plan(records, stored)? else { return Ok(()) };
        let forgotten = plan.round();
        let entries = compacted(plan, self.entries()?);
        match self.journal.rewrite(entries.map(|entry| entry.map(|entry| entry.encode()))) {
            // Appends may still fit.
            Err(StoreError::Full { .. }) => return Ok(()),
            rewritten => rewritten?,
        }
        // Only now: the journal that named them is gone.
        self.updates.forget(forgotten)?;
        self.compact_at = (2 * self.length()?).max(COMPACTED_BYTES_MIN);
        self.catch_up()
    }

    fn versions(&self) -> Result<BTreeMap<Version, Digest>, StoreError> {
        self.index.versions()
    }

    fn reports(&self) -> Result<BTreeMap<Round, RoundReport>, StoreError> {
        self.index.reports()
    }

    fn enrolled(&self, client: &ClientId) -> Result<Option<Enrolled>, StoreError> {
        self.index.enrolled(client)
    }

    fn has_clients(&self) -> Result<bool, StoreError> {
        self.index.has_clients()
    }

    fn updates(&self) -> Option<Updates> {
        Some(self.updates.clone())
    }
}
