//! The state folder: one folder, one coordinator.
//!
//! ```text
//! fovea.json            what the folder is
//! lock                  held by the process that uses it
//! authority.pem         certificate and key of the certificate authority
//! tokens/               invitations: one file per token, named by the hash of its secret
//! journal               what happened, append-only: the truth
//! uploads/              updates that have not arrived whole
//! updates/              large updates that the journal names
//! blobs/                versions, named by the hash of their bytes
//! index/                sled; made again from the journal whenever it is missing or damaged
//! metrics.jsonl         one line per round
//! report.json, final.safetensors, MODEL_CARD.md   at the end of the run
//! ```

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::durable::{self, Access};

const MARK: &str = "fovea.json";
const FORMAT: u32 = 1;
const KIND: &str = "coordinator";

/// Why a folder cannot be the state folder.
#[derive(Debug, Error)]
pub enum StateError {
    /// The operating system refuses.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Something else is in it.
    #[error("{path}: not a state folder of a coordinator (there are other files in it, but no {MARK}): choose an empty or \
             new folder with --state", path = path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// It belongs to another program of ours.
    #[error("{path}: the state folder of a {found}, not of a coordinator: choose another with --state", path = path.display())]
    OtherKind {
        /// The folder.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// Another version of Fovea has written it.
    #[error("{path}: state format {found}, this build reads format {FORMAT}: use the Fovea version that wrote it",
            path = path.display())]
    Format {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The mark is unreadable.
    #[error("{path}: damaged: {reason}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another process holds the lock.
    #[error("{path}: the state folder is in use by another coordinator{holder}: stop it, or choose another folder with --state",
            path = path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// ` (process N)`, if it says so.
        holder: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Mark {
    kind: String,
    format: u32,
}

/// A state folder that exists and is ours.
#[derive(Clone, Debug)]
pub struct StateFolder {
    path: PathBuf,
}

/// Holds a state folder against other processes; the lock goes with the process, however it ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateFolder {
    /// Checks that `path` is a state folder; a folder that is missing or empty becomes one. Any number of processes may do
    /// this at the same time.
    ///
    /// # Errors
    /// A folder with something else in it, or one that cannot be read or made.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let folder = Self { path: path.to_path_buf() };
        folder.make("")?;
        if !folder.join(MARK).exists() {
            if !folder.is_vacant()? {
                return Err(StateError::Foreign { path: path.to_path_buf() });
            }
            let mark = Mark { kind: KIND.to_owned(), format: FORMAT };
            let Ok(mut text) = serde_json::to_string(&mark) else { unreachable!("the mark is plain") };
            text.push('\n');
            folder.io(MARK, |file| durable::write_new(file, text.as_bytes(), Access::Usual))?;
        }
        folder.check_mark()?;
        Ok(folder)
    }

    /// Takes the folder for this process.
    ///
    /// # Errors
    /// [`StateError::InUse`] when another process has it.
    pub fn lock(&self) -> Result<StateLock, StateError> {
        let open =
            |file: &Path| File::options().read(true).write(true).create(true).truncate(false).open(file);
        let mut file = self.io("lock", open)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only to help the operator find it.
                let known = file.read_to_string(&mut holder).is_ok() && holder.trim().parse::<u32>().is_ok();
                let holder = if known { format!(" (process {})", holder.trim()) } else { String::new() };
                return Err(StateError::InUse { path: self.path.clone(), holder });
            }
            Err(TryLockError::Error(source)) => {
                return Err(StateError::Io { path: self.join("lock"), source });
            }
        }
        let note = |file: &mut File| {
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())
        };
        note(&mut file).map_err(|source| StateError::Io { path: self.join("lock"), source })?;
        Ok(StateLock { _file: file })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a folder in it, readable by the owner alone, if it is not there.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn make(&self, name: &str) -> Result<PathBuf, StateError> {
        let path = if name.is_empty() { self.path.clone() } else { self.join(name) };
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt;
            builder.mode(0o700);
        }
        builder.create(&path).map_err(|source| StateError::Io { path: path.clone(), source })?;
        Ok(path)
    }

    /// Does something with a file in it; an error names the file.
    pub(crate) fn io<T>(
        &self,
        name: &str,
        act: impl FnOnce(&Path) -> io::Result<T>,
    ) -> Result<T, StateError> {
        let path = self.join(name);
        act(&path).map_err(|source| StateError::Io { path, source })
    }

    /// Nothing in it but what an interrupted start may have left.
    fn is_vacant(&self) -> Result<bool, StateError> {
        let entries = fs::read_dir(&self.path);
        let entries = entries.map_err(|source| StateError::Io { path: self.path.clone(), source })?;
        Ok(entries.flatten().all(|entry| {
            let name = entry.file_name();
            // The mark itself: another process may have written it just now.
            durable::is_partial(&name.to_string_lossy()) || name == MARK
        }))
    }

    fn check_mark(&self) -> Result<(), StateError> {
        let text = self.io(MARK, |file| fs::read_to_string(file))?;
        let mark: Mark = serde_json::from_str(&text)
            .map_err(|error| StateError::Damaged { path: self.join(MARK), reason: error.to_string() })?;
        let path = self.path.clone();
        if mark.kind != KIND {
            return Err(StateError::OtherKind { path, found: mark.kind.chars().take(40).collect() });
        }
        if mark.format != FORMAT {
            return Err(StateError::Format { path, found: mark.format });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T>(result: Result<T, StateError>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_missing_or_empty_folder_becomes_a_state_folder_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        StateFolder::open(&path).unwrap();
        let again = StateFolder::open(&path).unwrap();
        assert!(again.join(MARK).exists());
        StateFolder::open(root.path()).map(drop).unwrap_err();
    }

    #[test]
    fn other_folders_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("holiday.jpg"), b"x").unwrap();
        assert!(message(StateFolder::open(root.path())).contains("not a state folder of a coordinator"));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_an_interrupted_start_left_does_not_count() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(".fovea.json.partial-17"), b"{\"ki").unwrap();
        StateFolder::open(root.path()).unwrap();
    }

    #[test]
    fn other_kinds_formats_and_damage_are_named() {
        #[track_caller]
        fn check(mark: &str, expected: &str) {
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join(MARK), mark).unwrap();
            let found = message(StateFolder::open(root.path()));
            assert!(found.contains(expected), "{found}");
        }
        check(r#"{"kind":"client","format":1}"#, "the state folder of a client, not of a coordinator");
        check(r#"{"kind":"coordinator","format":9}"#, "state format 9, this build reads format 1");
        check("gibberish", "fovea.json: damaged: expected value at line 1");
    }

    #[test]
    fn one_process_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(root.path()).unwrap();
        let held = folder.lock().unwrap();
        let expected = format!("is in use by another coordinator (process {})", std::process::id());
        let found = message(folder.lock());
        assert!(found.contains(&expected), "{found}");
        drop(held);
        folder.lock().unwrap();
    }
}
