//! Files named by the hash of their bytes: written once, checked whenever they are read.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use codec::payload::{Stored, Unreadable};
use params::{Digest, Digester};

use super::updates::read_at;
use super::{StoreError, WriteParts};
use crate::durable::{self, Access};

/// The end of a blob.
#[derive(Debug)]
struct Tail {
    path: PathBuf,
    file: File,
    start: u64,
}

impl Stored for Tail {
    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Unreadable> {
        let read = read_at(&self.file, &self.path, self.start + offset as u64, into);
        read.map_err(|error| Unreadable(format!("{}: {error}", self.path.display())))
    }
}

#[derive(Debug)]
pub(super) struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    /// The blobs in `folder`, which exists.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(super) fn put(&self, write: &mut WriteParts<'_>) -> Result<Digest, StoreError> {
        let mut digester = Digester::default();
        // Its name is known when all of it is written. One that is there already is replaced: it may be damaged.
        let written = durable::write_parts(&self.folder.join("blob"), Access::Usual, |file| {
            write(&mut |part| {
                digester.update(part);
                file.write_all(part)
            })?;
            let blob = std::mem::take(&mut digester).finish();
            Ok((blob, self.folder.join(blob.to_string())))
        });
        written.map_err(|source| StoreError::io(&self.folder, source))
    }

    pub(super) fn get(&self, blob: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.folder.join(blob.to_string());
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Blob { blob: *blob, problem: "missing" });
            }
            Err(source) => return Err(StoreError::io(path, source)),
        };
        if Digest::of(&[&bytes]) != *blob {
            return Err(StoreError::Blob { blob: *blob, problem: "damaged" });
        }
        Ok(bytes)
    }

    /// The last so many bytes of a blob; `None` if it cannot be opened.
    pub(super) fn tail(&self, blob: &Digest, bytes: usize) -> Option<Arc<dyn Stored>> {
        let path = self.folder.join(blob.to_string());
        let file = File::open(&path).ok()?;
        let start = file.metadata().ok()?.len().checked_sub(bytes as u64)?;
        Some(Arc::new(Tail { path, file, start }))
    }

    /// Removes all others, and what interrupted writes have left.
    pub(super) fn keep_only(&self, blobs: &BTreeSet<Digest>) -> Result<(), StoreError> {
        let entries = fs::read_dir(&self.folder).map_err(|source| StoreError::io(&self.folder, source))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let kept = match Digest::from_hex(&name) {
                Some(blob) => blobs.contains(&blob),
                None => !durable::is_partial(&name),
            };
            if !kept {
                fs::remove_file(entry.path()).map_err(|source| StoreError::io(entry.path(), source))?;
            }
        }
        Ok(())
    }
}
