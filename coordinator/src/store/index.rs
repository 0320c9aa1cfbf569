//! What the journal says, by key, in sled: the only file that knows sled.
//!
//! Keys are a letter and a big-endian number or a name; values are JSON. The sequence number of the last frame taken in is
//! written in the same batch, so an index is behind the journal or level with it, never torn. One that is ahead, or that sled
//! cannot open, belongs to another journal or is damaged: it is removed and made again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use coordinator_core::{Record, RoundReport};
use params::Digest;
use protocol::id::{ClientId, Round, Version};
use serde::de::DeserializeOwned;
use sled::{Batch, Db, IVec};

use super::{Enrolled, Entry, StoreError, json};

/// Bytes of cache. The whole index is a few megabytes.
const CACHE_BYTES: u64 = 8 << 20;
const APPLIED: &[u8] = b"s";
const VERSION: u8 = b'v';
const REPORT: u8 = b'r';
const CLIENT: u8 = b'c';

#[derive(Debug)]
pub(super) struct Index {
    db: Db,
}

impl Index {
    /// Opens the index in `folder`. The second value says why it had to be begun anew, if it had.
    pub(super) fn open(folder: &Path, journal: u64) -> Result<(Self, Option<String>), StoreError> {
        let reason = match sled(folder) {
            Ok(db) => {
                let index = Self { db };
                match index.applied() {
                    Ok(applied) if applied <= journal => return Ok((index, None)),
                    Ok(applied) => format!("it knows entry {applied}, the journal ends at {journal}"),
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => error.to_string(),
        };
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(|source| StoreError::io(folder, source))?;
        }
        Ok((Self { db: sled(folder).map_err(failed)? }, Some(reason)))
    }

    /// Number of the last frame taken in.
    pub(super) fn applied(&self) -> Result<u64, StoreError> {
        let Some(value) = self.db.get(APPLIED).map_err(failed)? else { return Ok(0) };
        let bytes = <[u8; 8]>::try_from(&*value);
        bytes.map(u64::from_be_bytes).map_err(|_| StoreError::Index("a damaged sequence number".to_owned()))
    }

    /// Takes in a frame of the journal.
    pub(super) fn apply(&self, sequence: u64, entries: &[Entry]) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for entry in entries {
            match entry {
                Entry::Record(Record::Compacted { version, .. }) => self.forget(*version, &mut batch)?,
                Entry::Record(_) | Entry::Delta { .. } | Entry::Farewell => {}
                Entry::Version { version, blob } => batch.insert(number(VERSION, version.0), json(blob)),
                Entry::Report(report) => batch.insert(number(REPORT, report.round.0), json(report)),
                Entry::Enrolled(enrolled) => batch.insert(name(&enrolled.client), json(enrolled)),
            }
        }
        batch.insert(APPLIED, &sequence.to_be_bytes());
        self.db.apply_batch(batch).map_err(failed)
    }

    pub(super) fn versions(&self) -> Result<BTreeMap<Version, Digest>, StoreError> {
        let numbered = self.scan(VERSION)?;
        Ok(numbered.into_iter().map(|(number, blob)| (Version(number), blob)).collect())
    }

    pub(super) fn reports(&self) -> Result<BTreeMap<Round, RoundReport>, StoreError> {
        let numbered = self.scan(REPORT)?;
        Ok(numbered.into_iter().map(|(number, report)| (Round(number), report)).collect())
    }

    pub(super) fn enrolled(&self, client: &ClientId) -> Result<Option<Enrolled>, StoreError> {
        let value = self.db.get(name(client)).map_err(failed)?;
        value.map(|value| parse(&value)).transpose()
    }

    pub(super) fn has_clients(&self) -> Result<bool, StoreError> {
        self.db.scan_prefix([CLIENT]).next().transpose().map(|first| first.is_some()).map_err(failed)
    }

    /// Versions before this one are not stored any more.
    fn forget(&self, version: Version, batch: &mut Batch) -> Result<(), StoreError> {
        for key in self.db.range(number(VERSION, 0)..number(VERSION, version.0)).keys() {
            batch.remove(key.map_err(failed)?);
        }
        Ok(())
    }

    fn scan<T: DeserializeOwned>(&self, letter: u8) -> Result<BTreeMap<u32, T>, StoreError> {
        let mut found = BTreeMap::new();
        for entry in self.db.scan_prefix([letter]) {
            let (key, value) = entry.map_err(failed)?;
            let number = key.get(1..).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
            let number = number.ok_or_else(|| StoreError::Index("a damaged key".to_owned()))?;
            found.insert(u32::from_be_bytes(number), parse(&value)?);
        }
        Ok(found)
    }
}

fn sled(folder: &Path) -> sled::Result<Db> {
    sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).open()
}

fn failed(error: sled::Error) -> StoreError {
    StoreError::Index(error.to_string())
}

fn parse<T: DeserializeOwned>(value: &IVec) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Index(error.to_string()))
}

fn number(letter: u8, number: u32) -> Vec<u8> {
    let mut key = vec![letter];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn name(client: &ClientId) -> Vec<u8> {
    let mut key = vec![CLIENT];
    key.extend_from_slice(client.as_str().as_bytes());
    key
}
