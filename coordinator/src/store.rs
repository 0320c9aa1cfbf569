//! What must survive: the journal, the versions, and an index to find things by.
//!
//! The journal is the truth about everything but the versions' bytes; versions are blobs named by their hash. The index can be
//! made again from the journal at any time. [`folder::FolderStore`] keeps all three in the state folder,
//! [`memory::MemoryStore`] is its twin for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use codec::payload::Stored;
use coordinator_core::downlink::STEPS_MAX;
use coordinator_core::journal::{Compaction, RecordError};
use coordinator_core::{Record, RoundReport};
use params::Digest;
use protocol::id::{ClientId, Round, Version};
use serde::{Deserialize, Serialize};
use thiserror::Error;

mod blobs;
pub mod folder;
mod index;
mod journal;
pub mod memory;
pub(crate) mod updates;

pub use updates::Updates;

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// What the core asked to remember.
    Record(Record),
    /// A version is stored; a later entry of the same version replaces an earlier one.
    Version {
        /// The version.
        version: Version,
        /// Its blob.
        blob: Digest,
    },
    /// What leads from the version published before, or from the same one with other statistics, to this one.
    Delta {
        /// The version.
        version: Version,
        /// As devices get it.
        bytes: Arc<[u8]>,
    },
    /// A round is over; a later report of the same round replaces an earlier one.
    Report(Box<RoundReport>),
    /// A client has a certificate.
    Enrolled(Enrolled),
    /// The run has ended, and whoever took part has heard of it, or was waited for long enough.
    Farewell,
}

/// A client that may take part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// Its name.
    pub client: ClientId,
    /// When, seconds since 1970.
    pub at_unix_s: u64,
}

/// Why something is not stored, or what is stored cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// No space. Nothing that was acknowledged is lost.
    #[error("{path}: no space left on the disk; nothing acknowledged is lost: free some space and start again",
            path = path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refuses.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The journal's bytes are not what was written, and it is not the end that a crash may cut off.
    #[error("{path}: damaged at byte {offset}: {rule}; restore the state folder from a copy, or start a new run in another \
             folder", path = path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong there.
        rule: String,
    },
    /// Not a journal of ours.
    #[error("{path}: not a journal of a Fovea coordinator", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// An entry that this build cannot read.
    #[error("journal entry {sequence}: {reason}: use the Fovea version that wrote it")]
    Entry {
        /// Its number.
        sequence: u64,
        /// What is wrong.
        reason: String,
    },
    /// A blob that is missing, or has other bytes than its name says.
    #[error("blob {blob} is {problem}")]
    Blob {
        /// The blob.
        blob: Digest,
        /// `missing` or `damaged`.
        problem: &'static str,
    },
    /// The index fails.
    #[error("index: {0}")]
    Index(String),
    /// An earlier write failed, so nothing more is written.
    #[error("an earlier write to the state folder failed")]
    Failed,
}

impl StoreError {
    /// An error of the operating system at a file.
    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { path, source },
        }
    }
}

/// Everything durable of one coordinator. Calls block: make them where that is allowed.
pub trait Store: Send {
    /// Appends entries to the journal, all or none, durably.
    ///
    /// # Errors
    /// A full or unwritable disk. The caller must acknowledge nothing of these entries and stop: whether they are durable shows
    /// when the store is opened again.
    fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError>;

    /// All entries, in order, as far as the journal reaches now.
    ///
    /// # Errors
    /// The journal cannot be opened; each entry may fail by itself.
    fn entries(&self) -> Result<Entries, StoreError>;

    /// Stores the bytes that `write` gives, part by part, durably under their digest.
    ///
    /// # Errors
    /// A full or unwritable disk.
    fn put(&mut self, write: &mut WriteParts<'_>) -> Result<Digest, StoreError>;

    /// Bytes as they were stored.
    ///
    /// # Errors
    /// A blob that is missing or damaged.
    fn get(&self, blob: &Digest) -> Result<Vec<u8>, StoreError>;

    /// The last so many bytes of a blob, to be read from where they are, if that is not memory. They can be read as long as the
    /// value lives, even if the blob is removed.
    fn tail(&self, _blob: &Digest, _bytes: usize) -> Option<Arc<dyn Stored>> {
        None
    }

    /// Rewrites the journal without what the stored versions make unnecessary, if that is worth the trouble. What a coordinator
    /// is after a start does not depend on it.
    ///
    /// # Errors
    /// A journal that cannot be read or written; it is then as it was, or takes no more.
    fn compact(&mut self) -> Result<(), StoreError>;

    /// Removes all blobs but these.
    ///
    /// # Errors
    /// A file that cannot be removed.
    fn keep_only(&mut self, blobs: &BTreeSet<Digest>) -> Result<(), StoreError>;

    /// The blob of each version, by the journal.
    ///
    /// # Errors
    /// The index fails.
    fn versions(&self) -> Result<BTreeMap<Version, Digest>, StoreError>;

    /// The report of each round, by the journal.
    ///
    /// # Errors
    /// The index fails.
    fn reports(&self) -> Result<BTreeMap<Round, RoundReport>, StoreError>;

    /// A client by its name, if it is enrolled.
    ///
    /// # Errors
    /// The index fails.
    fn enrolled(&self, client: &ClientId) -> Result<Option<Enrolled>, StoreError>;

    /// Whether any client is enrolled.
    ///
    /// # Errors
    /// The index fails.
    fn has_clients(&self) -> Result<bool, StoreError>;

    /// Where large updates are kept, if not in the journal: whoever appends the record of one has put it there.
    fn updates(&self) -> Option<Updates> {
        None
    }
}

/// Gives bytes to whom it is given.
pub type WriteParts<'a> = dyn FnMut(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> + 'a;

/// Entries of a journal, in order.
pub type Entries = Box<dyn Iterator<Item = Result<Entry, StoreError>> + Send>;

impl Entry {
    /// First byte of each kind. A kind that is unknown means a journal of a later build.
    const RECORD: u8 = 1;
    const VERSION: u8 = 2;
    const REPORT: u8 = 3;
    const ENROLLED: u8 = 4;
    const FAREWELL: u8 = 5;
    const DELTA: u8 = 6;
    /// A record whose payload is kept elsewhere.
    const UPDATE: u8 = 7;

    fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Record(record @ Record::Accepted { payload, .. }) if payload.in_memory().is_none() => {
                (Self::UPDATE, record.encode())
            }
            Self::Record(record) => (Self::RECORD, record.encode()),
            Self::Version { version, blob } => (Self::VERSION, json(&(version, blob))),
            Self::Report(report) => (Self::REPORT, json(report)),
            Self::Enrolled(enrolled) => (Self::ENROLLED, json(enrolled)),
            Self::Farewell => (Self::FAREWELL, Vec::new()),
            Self::Delta { version, bytes } => (Self::DELTA, [&version.0.to_le_bytes(), &**bytes].concat()),
        };
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&body);
        bytes
    }

    fn decode(bytes: &[u8], updates: &Updates) -> Result<Self, String> {
        let (kind, body) = bytes.split_first().ok_or("it is empty")?;
        let text = |error: serde_json::Error| error.to_string();
        match *kind {
            Self::RECORD => {
                Record::decode(body).map(Self::Record).map_err(|error: RecordError| error.to_string())
            }
            Self::UPDATE => match Record::decode(body).map_err(|error| error.to_string())? {
                Record::Accepted { round, client, header, .. } => {
                    let payload = updates.payload(&client, &header);
                    Ok(Self::Record(Record::Accepted { round, client, header, payload }))
                }
                _ => Err("it is no update".to_owned()),
            },
            Self::VERSION => {
                let (version, blob) = serde_json::from_slice(body).map_err(text)?;
                Ok(Self::Version { version, blob })
            }
            Self::REPORT => serde_json::from_slice(body).map(Self::Report).map_err(text),
            Self::ENROLLED => serde_json::from_slice(body).map(Self::Enrolled).map_err(text),
            Self::DELTA => {
                let (version, bytes) = body.split_first_chunk().ok_or("it has no version")?;
                let version = Version(u32::from_le_bytes(*version));
                Ok(Self::Delta { version, bytes: bytes.into() })
            }
            Self::FAREWELL if body.is_empty() => Ok(Self::Farewell),
            kind => Err(format!("kind {kind} is not known")),
        }
    }
}

/// What remains of a journal: the summary, then everything else that it does not stand for.
fn compacted(
    plan: Compaction,
    entries: impl Iterator<Item = Result<Entry, StoreError>>,
) -> impl Iterator<Item = Result<Entry, StoreError>> {
    let (mut to_drop, oldest) = (plan.dropped(), plan.version());
    let rest = entries.filter(move |entry| match entry {
        Ok(Entry::Record(_)) if to_drop > 0 => {
            to_drop -= 1;
            false
        }
        Ok(Entry::Version { version, .. }) => *version >= oldest,
        // Two for each version: one for its weights, one for its statistics.
        Ok(Entry::Delta { version, .. }) => version.0.saturating_add(STEPS_MAX as u32 / 2) >= oldest.0,
        _ => true,
    });
    plan.into_summary().map(|record| Ok(Entry::Record(record))).into_iter().chain(rest)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let Ok(bytes) = serde_json::to_vec(value) else { unreachable!("entries are plain values") };
    bytes
}

#[cfg(test)]
mod tests;
