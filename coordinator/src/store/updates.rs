//! Large updates, each in a file of its own: written once, as they arrive; the journal names them.
//!
//! A file's name says round, payload and client, so that another update of the client cannot take its place. Its first
//! [`HEAD_BYTES`] are the update's header, the payload follows. It is whole and synced before the journal names it, and goes
//! once the journal has forgotten its round.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use codec::payload::{Payload, Stored, Unreadable};
use params::Digest;
use protocol::id::{ClientId, Round};
use protocol::message::UpdateHeader;

use super::StoreError;

/// Bytes of a file before the payload: the header as a line of JSON, filled up with spaces.
pub(crate) const HEAD_BYTES: usize = 1 << 10;

/// The folder of large updates.
#[derive(Clone, Debug)]
pub struct Updates {
    folder: PathBuf,
}

impl Updates {
    /// The updates in `folder`, which exists.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where the update with this header is, or has to be put before the journal names it.
    pub(crate) fn path(&self, client: &ClientId, header: &UpdateHeader) -> PathBuf {
        let payload: String = header.payload_digest.to_string().chars().take(32).collect();
        self.folder.join(format!("{}-{payload}-{client}", header.round.0))
    }

    /// The payload of an update that the journal names; nothing is read before it is needed.
    pub(super) fn payload(&self, client: &ClientId, header: &UpdateHeader) -> Payload {
        UpdateFile::new(self.path(client, header)).payload(header.length as usize, header.payload_digest)
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> Result<u64, StoreError> {
        let files = fs::read_dir(&self.folder).map_err(|source| StoreError::io(&self.folder, source))?;
        Ok(files.flatten().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum())
    }

    /// Removes those of all rounds up to one.
    pub(super) fn forget(&self, last: Round) -> Result<(), StoreError> {
        let files = fs::read_dir(&self.folder).map_err(|source| StoreError::io(&self.folder, source))?;
        for file in files.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let round = name.split_once('-').and_then(|(round, _)| round.parse().ok());
            if round.is_some_and(|round: u32| round <= last.0) {
                fs::remove_file(file.path()).map_err(|source| StoreError::io(file.path(), source))?;
            }
        }
        Ok(())
    }
}

/// The file of an update, opened when it is first read.
#[derive(Debug)]
pub(crate) struct UpdateFile {
    path: PathBuf,
    file: OnceLock<File>,
    failed: AtomicBool,
}

impl UpdateFile {
    fn new(path: PathBuf) -> std::sync::Arc<Self> {
        Self { path, file: OnceLock::new(), failed: AtomicBool::new(false) }.into()
    }

    /// One that is open for reading already.
    pub(crate) fn opened(path: &Path, file: File) -> std::sync::Arc<Self> {
        Self { path: path.to_path_buf(), file: file.into(), failed: AtomicBool::new(false) }.into()
    }

    /// What is in it.
    pub(crate) fn payload(self: std::sync::Arc<Self>, length: usize, digest: Digest) -> Payload {
        Payload::stored(length, digest, self)
    }

    /// Whether some of it could not be read.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    fn try_read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let file = match self.file.get() {
            Some(file) => file,
            None => {
                let file = File::open(&self.path)?;
                self.file.get_or_init(|| file)
            }
        };
        read_at(file, &self.path, HEAD_BYTES as u64 + offset, into)
    }
}

impl Stored for UpdateFile {
    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Unreadable> {
        self.try_read(offset as u64, into).map_err(|error| {
            self.failed.store(true, Ordering::Relaxed);
            Unreadable(format!("{}: {error}", self.path.display()))
        })
    }
}

/// Reads without moving where others read.
#[cfg(unix)]
pub(super) fn read_at(file: &File, _: &Path, offset: u64, into: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, offset)
}

#[cfg(not(unix))]
pub(super) fn read_at(_: &File, path: &Path, offset: u64, into: &mut [u8]) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(into)
}
