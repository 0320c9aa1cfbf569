//! What has arrived of an upload, and a file for it, so that it goes on where it broke off, even after a restart.
//!
//! A file holds the update's header as a line of JSON, then the bytes of the payload so far. It is not synced: what a power cut
//! spoils is found by the digest of the whole, and then the upload begins anew.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use protocol::id::{ClientId, Round};
use protocol::limits::CHUNK_BYTES_MAX;
use protocol::message::UpdateHeader;
use wire::chunk::ChunkError;

use crate::limits::PIECE_BYTES;
use crate::locked;

/// Longest line of a header, bytes.
const HEAD_BYTES_MAX: u64 = 4 << 10;

/// The folder of uploads that broke off: one file a client.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: Option<PathBuf>,
    /// Files of other rounds are gone.
    round: Mutex<Option<Round>>,
}

/// An upload as far as it has arrived.
#[derive(Debug)]
pub(crate) struct Partial {
    header: UpdateHeader,
    file: Option<PathBuf>,
    /// Bytes in the file.
    stored: u64,
    /// Those after them.
    fresh: Vec<u8>,
    resumed: bool,
}

impl Spool {
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, round: Mutex::new(None) }
    }

    /// What there is of this upload; blocks. Files of rounds that are over go.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub(crate) fn open(&self, client: &ClientId, header: UpdateHeader) -> io::Result<Partial> {
        let Some(folder) = &self.folder else {
            return Ok(Partial { header, file: None, stored: 0, fresh: Vec::new(), resumed: false });
        };
        fs::create_dir_all(folder)?;
        let mut round = locked(&self.round);
        if *round != Some(header.round) {
            forget_others(folder, header.round)?;
            *round = Some(header.round);
        }
        drop(round);
        let path = folder.join(format!("{client}.part"));
        let stored = match stored(&path) {
            Some((found, stored)) if found == header && stored <= u64::from(header.length) => stored,
            _ => {
                remove(&path)?;
                0
            }
        };
        Ok(Partial { header, file: Some(path), stored, fresh: Vec::new(), resumed: stored > 0 })
    }
}

/// The header in a file, and how many bytes follow it.
fn stored(path: &Path) -> Option<(UpdateHeader, u64)> {
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let mut line = Vec::new();
    BufReader::new(file.take(HEAD_BYTES_MAX)).read_until(b'\n', &mut line).ok()?;
    let header = serde_json::from_slice(line.strip_suffix(b"\n")?).ok()?;
    Some((header, length - line.len() as u64))
}

fn forget_others(folder: &Path, round: Round) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        if stored(&entry.path()).is_none_or(|(header, _)| header.round != round) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Partial {
    /// Bytes so far.
    pub(crate) fn received(&self) -> u64 {
        self.stored + self.fresh.len() as u64
    }

    /// Whether some of it arrived in an earlier attempt.
    pub(crate) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Adds the next chunk.
    ///
    /// # Errors
    /// Empty or oversized chunks, and more bytes than announced.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<(), ChunkError> {
        if chunk.is_empty() || chunk.len() > CHUNK_BYTES_MAX {
            return Err(ChunkError::Size { found: chunk.len(), max: CHUNK_BYTES_MAX });
        }
        let (expected, found) = (u64::from(self.header.length), self.received() + chunk.len() as u64);
        if found > expected {
            return Err(ChunkError::TooMany { expected, found });
        }
        self.fresh.extend_from_slice(chunk);
        Ok(())
    }

    /// Whether it is time to [`Self::put_away`] what is in memory.
    pub(crate) fn is_full(&self) -> bool {
        self.file.is_some() && self.fresh.len() >= PIECE_BYTES
    }

    /// Whether all of it is in memory.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.stored == 0
    }

    /// Writes what is in memory to the file; blocks.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub(crate) fn put_away(&mut self) -> io::Result<()> {
        let Some(path) = self.file.as_ref().filter(|_| !self.fresh.is_empty()) else { return Ok(()) };
        let mut file = File::options().append(true).create(true).open(path)?;
        if self.stored == 0 {
            let Ok(mut head) = serde_json::to_vec(&self.header) else { unreachable!("a header is plain") };
            head.push(b'\n');
            file.write_all(&head)?;
        }
        file.write_all(&self.fresh)?;
        self.stored += self.fresh.len() as u64;
        self.fresh = Vec::new();
        Ok(())
    }

    /// All bytes, once there are as many as announced; blocks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn whole(&mut self) -> io::Result<Vec<u8>> {
        if self.stored == 0 {
            return Ok(std::mem::take(&mut self.fresh));
        }
        self.put_away()?;
        let Some(path) = &self.file else { return Ok(Vec::new()) };
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(self.stored)))?;
        let mut bytes = Vec::with_capacity(self.stored as usize);
        file.take(self.stored).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Removes the file, if there is one: the upload is answered, or has to begin anew.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn discard(self) -> io::Result<()> {
        self.file.as_deref().filter(|_| self.stored > 0).map_or(Ok(()), remove)
    }
}
