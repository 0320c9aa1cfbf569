//! What has arrived of an upload, and a file for it, so that it goes on where it broke off, even after a restart.
//!
//! A file holds the update's header, then the bytes of the payload so far. It is not synced: what a power cut spoils is found by
//! the digest of the whole, and then the upload begins anew. The file of a large update becomes the one that the journal
//! names: its bytes are written once, and are never in memory as a whole.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use codec::payload::Payload;
use params::{Digest, Digester};
use protocol::id::{ClientId, Round};
use protocol::limits::{CHUNK_BYTES_MAX, PIECE_BYTES};
use protocol::message::UpdateHeader;
use wire::chunk::ChunkError;

use crate::durable::sync_folder;
use crate::limits::{EMBEDDED_BYTES_MAX, SPOOLED_BYTES, UNSYNCED_BYTES_MAX};
use crate::locked;
use crate::store::updates::{HEAD_BYTES, UpdateFile, Updates};

/// The folder of uploads that broke off: one file a client.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: Option<PathBuf>,
    /// Where large updates stay.
    updates: Option<Updates>,
    /// Files of other rounds are gone.
    round: Mutex<Option<Round>>,
}

/// An upload as far as it has arrived.
#[derive(Debug)]
pub(crate) struct Partial {
    header: UpdateHeader,
    path: Option<PathBuf>,
    /// What becomes of the file of a large update; where it is already, if all of it has arrived before.
    kept: Option<PathBuf>,
    /// The file, once there is one.
    file: Option<File>,
    /// Bytes of the payload in the file.
    stored: u64,
    /// Of those, not known to be on the disk.
    unsynced: u64,
    /// Those after them.
    fresh: Vec<u8>,
    /// Of what is in the file, unless some of it arrived in an earlier attempt.
    digester: Option<Digester>,
    reader: Option<Arc<UpdateFile>>,
}

impl Spool {
    pub(crate) fn new(folder: Option<PathBuf>, updates: Option<Updates>) -> Self {
        Self { folder, updates, round: Mutex::new(None) }
    }

    /// What there is of this upload; blocks. Files of rounds that are over go.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub(crate) fn open(&self, client: &ClientId, header: UpdateHeader) -> io::Result<Partial> {
        let mut partial = Partial {
            header,
            path: None,
            kept: None,
            file: None,
            stored: 0,
            unsynced: 0,
            fresh: Vec::new(),
            digester: Some(Digester::default()),
            reader: None,
        };
        let Some(folder) = &self.folder else { return Ok(partial) };
        let header = partial.header.clone();
        fs::create_dir_all(folder)?;
        let mut round = locked(&self.round);
        if *round != Some(header.round) {
            forget_others(folder, header.round)?;
            *round = Some(header.round);
        }
        drop(round);
        let large = header.length as usize > EMBEDDED_BYTES_MAX;
        partial.kept = self.updates.as_ref().filter(|_| large).map(|updates| updates.path(client, &header));
        let part = folder.join(format!("{client}.part"));
        for path in partial.kept.clone().into_iter().chain([part.clone()]) {
            if let Some((found, stored, file)) = stored(&path)
                && found == header
                && stored <= u64::from(header.length)
            {
                partial.digester = None;
                (partial.stored, partial.unsynced, partial.file) = (stored, stored, Some(file));
                partial.path = Some(path);
                return Ok(partial);
            }
        }
        remove(&part)?;
        partial.path = Some(part);
        Ok(partial)
    }
}

/// The header in a file, how many bytes follow it, and the file.
fn stored(path: &Path) -> Option<(UpdateHeader, u64, File)> {
    let mut file = File::options().read(true).append(true).open(path).ok()?;
    let mut head = [0; HEAD_BYTES];
    file.read_exact(&mut head).ok()?;
    let header = serde_json::from_slice(&head).ok()?;
    let length = file.metadata().ok()?.len();
    Some((header, length - HEAD_BYTES as u64, file))
}

fn forget_others(folder: &Path, round: Round) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        if stored(&entry.path()).is_none_or(|(header, ..)| header.round != round) {
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
        self.digester.is_none()
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
        if self.fresh.capacity() == 0 {
            // Growing by doubling it would be up to twice as large.
            let rest = usize::try_from(expected - self.received()).unwrap_or(usize::MAX);
            self.fresh.reserve_exact(rest.min(SPOOLED_BYTES + PIECE_BYTES));
        }
        self.fresh.extend_from_slice(chunk);
        Ok(())
    }

    /// Whether it is time to [`Self::put_away`] what is in memory.
    pub(crate) fn is_full(&self) -> bool {
        self.path.is_some() && self.fresh.len() >= SPOOLED_BYTES
    }

    /// Writes what is in memory to the file; blocks.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub(crate) fn put_away(&mut self) -> io::Result<()> {
        let Some(path) = self.path.as_ref().filter(|_| !self.fresh.is_empty()) else { return Ok(()) };
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = File::options().read(true).append(true).create(true).open(path)?;
                none.insert(file)
            }
        };
        if self.stored == 0 {
            let Ok(mut head) = serde_json::to_vec(&self.header) else { unreachable!("a header is plain") };
            head.resize(HEAD_BYTES - 1, b' ');
            head.push(b'\n');
            file.write_all(&head)?;
        }
        file.write_all(&self.fresh)?;
        if let Some(digester) = &mut self.digester {
            digester.update(&self.fresh);
        }
        self.stored += self.fresh.len() as u64;
        self.unsynced += self.fresh.len() as u64;
        self.fresh.clear();
        Ok(())
    }

    /// The file, if so much of it is not on the disk that it is time to sync it, beside what goes on arriving: what is left to do
    /// at the end is little then. Whoever takes it has to see to it that a failure ends the upload.
    pub(crate) fn due_for_sync(&mut self) -> Option<File> {
        let due = self.kept.is_some() && self.unsynced >= UNSYNCED_BYTES_MAX;
        let file = self.file.as_ref().filter(|_| due)?.try_clone().ok()?;
        self.unsynced = 0;
        Some(file)
    }

    /// The payload, once there are as many bytes as announced: where it is if it is large, else in memory; blocks.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(crate) fn payload(&mut self) -> io::Result<Payload> {
        if self.kept.is_none() {
            let whole = self.whole()?;
            return Ok(Payload::from(whole));
        }
        self.put_away()?;
        let (Some(file), Some(path)) = (&self.file, &self.path) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let digest = match &self.digester {
            Some(digester) => digester.clone().finish(),
            None => digest_of(file)?,
        };
        let reader = UpdateFile::opened(path, file.try_clone()?);
        self.reader = Some(reader.clone());
        Ok(reader.payload(self.stored as usize, digest))
    }

    fn whole(&mut self) -> io::Result<Vec<u8>> {
        if self.stored == 0 {
            return Ok(std::mem::take(&mut self.fresh));
        }
        self.put_away()?;
        let Some(mut file) = self.file.as_ref() else { return Ok(Vec::new()) };
        file.seek(SeekFrom::Start(HEAD_BYTES as u64))?;
        let mut bytes = Vec::with_capacity(self.stored as usize);
        file.take(self.stored).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the payload's file could not be read.
    pub(crate) fn has_failed(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.has_failed())
    }

    /// Makes a large update durable where the journal will look for it; blocks.
    ///
    /// # Errors
    /// A full disk, or one that cannot be written.
    pub(crate) fn keep(&mut self) -> io::Result<()> {
        let (Some(kept), Some(path), Some(file)) = (&self.kept, &mut self.path, &self.file) else {
            return Ok(());
        };
        file.sync_all()?;
        if path != kept {
            fs::rename(&*path, kept)?;
            path.clone_from(kept);
        }
        sync_folder(kept)
    }

    /// Removes the file, if there is one: the upload is answered, or has to begin anew.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn discard(self) -> io::Result<()> {
        self.path.as_deref().filter(|_| self.stored > 0).map_or(Ok(()), remove)
    }

    /// Removes the file of an update that counts, unless the journal names it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn counted(self) -> io::Result<()> {
        if self.kept.is_some() && self.path == self.kept { Ok(()) } else { self.discard() }
    }
}

/// Digest of the payload in a file.
fn digest_of(mut file: &File) -> io::Result<Digest> {
    file.seek(SeekFrom::Start(HEAD_BYTES as u64))?;
    let mut digester = Digester::default();
    let mut piece = vec![0; SPOOLED_BYTES];
    loop {
        let read = match file.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Ok(digester.finish());
        }
        digester.update(&piece[..read]);
    }
}
