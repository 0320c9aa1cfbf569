//! What can be wrong with a state folder.

use std::io;
use std::path::PathBuf;

use protocol::id::ClientId;
use thiserror::Error;

use super::{FORMAT, MARK};
use crate::address::Address;

/// Why a folder cannot be the state folder.
#[derive(Debug, Error)]
pub enum FolderError {
    /// The operating system refuses.
    #[error("{path}: cannot {action}: {source}{hint}", path = path.display(), hint = hint(source))]
    Io {
        /// `read`, `write`, ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Nobody has joined with this folder.
    #[error("{path}: not joined: run `client join ADDRESS --token TOKEN --state {path}` first", path = path.display())]
    NotJoined {
        /// The folder.
        path: PathBuf,
    },
    /// The folder is a device's already.
    #[error("{path}: belongs to client {client} of the coordinator at {coordinator}: use it with `client run`, or choose \
             another folder with --state", path = path.display())]
    AlreadyJoined {
        /// The folder.
        path: PathBuf,
        /// The device.
        client: ClientId,
        /// Its coordinator.
        coordinator: Address,
    },
    /// Something else is in it.
    #[error("{path}: not the state folder of a client (it holds {found:?} but no {MARK}): choose an empty or new folder \
             with --state", path = path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// A file that has no place in it.
        found: String,
    },
    /// It belongs to another program of ours.
    #[error("{path}: the state folder of a {found}, not of a client: choose another with --state", path = path.display())]
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
    /// A file that cannot be done without is unreadable.
    #[error("{path}: damaged: {reason}; restore it, or join again with an empty folder", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another process holds the lock.
    #[error("{path}: in use by another client process: stop it, or choose another folder with --state", path = path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}

impl FolderError {
    /// Whether the command was given the wrong folder (rather than the right one being in trouble).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::NotJoined { .. }
            | Self::AlreadyJoined { .. }
            | Self::Foreign { .. }
            | Self::OtherKind { .. }
            | Self::Format { .. } => true,
            Self::Io { .. } | Self::Damaged { .. } | Self::InUse { .. } => false,
        }
    }
}

/// What helps, where the words of the operating system do not say it.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room and start again: what was stored before is whole"
        }
        _ => "",
    }
}
