//! The state folder: who this device is, and what it must not forget. One folder, one device, one process.
//!
//! ```text
//! fovea.json                     what the folder is: the device's name and its coordinator; written last when joining
//! lock                           held by the process that runs
//! key.pem                        the device's key; it never leaves the folder
//! certificate.der authority.der  what the coordinator gave for it
//! data.json                      which images the device learned from
//! state/                         what client-core remembers, one file per name
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use client_core::state::{NAMES, Stored};
use identity::DeviceKey;
use protocol::id::ClientId;
use protocol::limits::UPDATE_BYTES_MAX;
use rustls::pki_types::CertificateDer;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::durable;

mod error;

pub use error::FolderError;

const MARK: &str = "fovea.json";
const LOCK: &str = "lock";
const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.der";
const AUTHORITY: &str = "authority.der";
const DATA: &str = "data.json";
const STATE: &str = "state";
const KIND: &str = "client";
const FORMAT: u32 = 1;
/// Most bytes of one file in here: what is held back and what waits for its receipt, at their largest.
const FILE_BYTES_MAX: u64 = 3 * UPDATE_BYTES_MAX as u64;

/// Who the device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub client: ClientId,
    /// Its coordinator.
    pub coordinator: Address,
    /// Whether the two prove who they are with certificates; without, they talk over loopback only.
    pub secure: bool,
}

/// What the device proves its name with.
#[derive(Debug)]
pub struct Credentials {
    /// Its key.
    pub key: DeviceKey,
    /// The certificate of that key.
    pub certificate: CertificateDer<'static>,
    /// The certificate of the coordinator's authority.
    pub authority: CertificateDer<'static>,
}

/// Which images the device learned from, so that `client evaluate` scores on those held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataChoice {
    /// The split of the data folder, if one was chosen.
    pub split: Option<String>,
    /// Share of the images held out, 0..1.
    pub held_out: f64,
}

#[derive(Serialize, Deserialize)]
struct Mark {
    kind: String,
    format: u32,
    #[serde(flatten)]
    member: Member,
}

/// What every version and program writes.
#[derive(Deserialize)]
struct Kind {
    kind: String,
    format: u32,
}

/// A state folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Goes with the process, however it ends.
    _lock: Option<File>,
}

impl Folder {
    /// A folder to join with: made if it is missing, held against other processes. What an interrupted join has left in it is
    /// no obstacle.
    ///
    /// # Errors
    /// A folder that has joined, that holds something else, or that cannot be made.
    pub fn prepare(path: &Path) -> Result<Self, FolderError> {
        let mut folder = Self { path: path.to_path_buf(), _lock: None };
        folder.io("make", "", durable::make_folder)?;
        if let Some(member) = folder.member()? {
            let Member { client, coordinator, .. } = member;
            return Err(FolderError::AlreadyJoined { path: folder.path, client, coordinator });
        }
        if let Some(found) = folder.foreign_file()? {
            return Err(FolderError::Foreign { path: folder.path, found });
        }
        folder.protect()?;
        folder.lock()?;
        Ok(folder)
    }

    /// A folder that has joined, held against other processes.
    ///
    /// # Errors
    /// A folder that has not joined, that is not ours, or that is in use.
    pub fn open(path: &Path) -> Result<(Self, Member), FolderError> {
        let (mut folder, member) = Self::look(path)?;
        folder.lock()?;
        Ok((folder, member))
    }

    /// A folder that has joined, to read from while another process may be using it.
    ///
    /// # Errors
    /// A folder that has not joined, or that is not ours.
    pub fn look(path: &Path) -> Result<(Self, Member), FolderError> {
        let folder = Self { path: path.to_path_buf(), _lock: None };
        match folder.member()? {
            Some(member) => Ok((folder, member)),
            None => match folder.foreign_file()? {
                Some(found) => Err(FolderError::Foreign { path: folder.path, found }),
                None => Err(FolderError::NotJoined { path: folder.path }),
            },
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stores the key before it is used: a folder that cannot be written must not cost a token.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn store_key(&self, key: &DeviceKey) -> Result<(), FolderError> {
        self.write(KEY, key.pem().as_bytes())
    }

    /// Makes it the folder of `member`.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn settle(&self, member: &Member, certificates: Option<(&[u8], &[u8])>) -> Result<(), FolderError> {
        if let Some((certificate, authority)) = certificates {
            self.write(CERTIFICATE, certificate)?;
            self.write(AUTHORITY, authority)?;
        }
        self.write_json(MARK, &Mark { kind: KIND.to_owned(), format: FORMAT, member: member.clone() })
    }

    /// What the device proves its name with.
    ///
    /// # Errors
    /// A missing or unreadable key or certificate.
    pub fn credentials(&self) -> Result<Credentials, FolderError> {
        let damaged =
            |name: &str, reason: String| FolderError::Damaged { path: self.path.join(name), reason };
        let need = |name| self.read(name)?.ok_or_else(|| damaged(name, "it is missing".to_owned()));
        let key = String::from_utf8(need(KEY)?).map_err(|_| damaged(KEY, "it is not text".to_owned()))?;
        Ok(Credentials {
            key: DeviceKey::from_pem(&key).map_err(|error| damaged(KEY, error.to_string()))?,
            certificate: need(CERTIFICATE)?.into(),
            authority: need(AUTHORITY)?.into(),
        })
    }

    /// Credentials that can be read but not used.
    #[cfg(feature = "detector")]
    pub(crate) fn useless(&self, reason: String) -> FolderError {
        FolderError::Damaged { path: self.path.join(CERTIFICATE), reason }
    }

    /// Everything that client-core has stored.
    ///
    /// # Errors
    /// A file that is there but cannot be read.
    pub fn load(&self) -> Result<Stored, FolderError> {
        let mut stored = Stored::new();
        for name in NAMES {
            stored.extend(self.load_one(name)?.map(|bytes| (name, bytes)));
        }
        Ok(stored)
    }

    /// One state of client-core's, if it is stored.
    ///
    /// # Errors
    /// A file that is there but cannot be read.
    pub fn load_one(&self, name: &'static str) -> Result<Option<Vec<u8>>, FolderError> {
        self.read(&format!("{STATE}/{name}"))
    }

    /// Stores one state of client-core's; durable on return, and what was stored before stays whole if this fails.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn store(&self, name: &'static str, bytes: &[u8]) -> Result<(), FolderError> {
        self.io("make", STATE, durable::make_folder)?;
        self.write(&format!("{STATE}/{name}"), bytes)
    }

    /// Which images the device learned from, if it ever did.
    ///
    /// # Errors
    /// An unreadable file.
    pub fn data_choice(&self) -> Result<Option<DataChoice>, FolderError> {
        self.read_json(DATA)
    }

    /// Remembers which images the device learns from.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn store_data_choice(&self, choice: &DataChoice) -> Result<(), FolderError> {
        self.write_json(DATA, choice)
    }

    fn member(&self) -> Result<Option<Member>, FolderError> {
        let Some(Kind { kind, format }) = self.read_json(MARK)? else { return Ok(None) };
        let path = self.path.clone();
        if kind != KIND {
            return Err(FolderError::OtherKind { path, found: kind });
        }
        if format != FORMAT {
            return Err(FolderError::Format { path, found: format });
        }
        Ok(self.read_json(MARK)?.map(|mark: Mark| mark.member))
    }

    /// A file that neither a join nor a run has made, if any.
    fn foreign_file(&self) -> Result<Option<String>, FolderError> {
        let names = self.io("read", "", |path| match fs::read_dir(path) {
            Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        })?;
        let mut foreign = names.iter().map(|name| name.to_string_lossy().into_owned()).filter(|name| {
            ![LOCK, KEY, CERTIFICATE, AUTHORITY].contains(&&**name) && !durable::is_partial(name)
        });
        Ok(foreign.next())
    }

    /// An empty folder that was there before must not stay open to others.
    fn protect(&self) -> Result<(), FolderError> {
        #[cfg(unix)]
        self.io("protect", "", |path| {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        })?;
        Ok(())
    }

    fn lock(&mut self) -> Result<(), FolderError> {
        let file = self.io("write", LOCK, durable::create)?;
        match file.try_lock() {
            Ok(()) => {
                self._lock = Some(file);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse { path: self.path.clone() }),
            Err(TryLockError::Error(source)) => {
                Err(FolderError::Io { action: "lock", path: self.path.join(LOCK), source })
            }
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FolderError> {
        let read = self.io("read", name, |path| match File::open(path) {
            Ok(file) => {
                let mut bytes = Vec::new();
                file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })?;
        if read.as_ref().is_some_and(|bytes| bytes.len() as u64 > FILE_BYTES_MAX) {
            let reason = format!("it is larger than {FILE_BYTES_MAX} bytes");
            return Err(FolderError::Damaged { path: self.path.join(name), reason });
        }
        Ok(read)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        self.io("write", name, |path| durable::write(path, bytes))
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, FolderError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        let damaged = |error: serde_json::Error| FolderError::Damaged {
            path: self.path.join(name),
            reason: error.to_string(),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), FolderError> {
        // Plain structs with string keys always serialise.
        let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
        text.push(b'\n');
        self.write(name, &text)
    }

    fn io<T>(
        &self,
        action: &'static str,
        name: &str,
        act: impl FnOnce(&Path) -> io::Result<T>,
    ) -> Result<T, FolderError> {
        let path = if name.is_empty() { self.path.clone() } else { self.path.join(name) };
        act(&path).map_err(|source| FolderError::Io { action, path, source })
    }
}

#[cfg(test)]
mod tests;
