//! The authority in the state folder: made at the first start, by whoever comes first.

use std::fs;
use std::time::SystemTime;

use identity::Authority;

use crate::Error;
use crate::durable::{self, Access};
use crate::state::{StateError, StateFolder};

/// Certificate and key in one file: it is there whole or not at all.
const FILE: &str = "authority.pem";
const KEY: &str = "-----BEGIN PRIVATE KEY-----";

/// Reads the authority, or makes it.
pub(crate) fn open(folder: &StateFolder, now: SystemTime) -> Result<Authority, Error> {
    if !folder.join(FILE).exists() {
        let made = Authority::create(now)?;
        let text = made.certificate_pem() + &made.key_pem();
        folder.io(FILE, |file| durable::write_new(file, text.as_bytes(), Access::Owner))?;
    }
    // Read back what is there: another process may have been quicker.
    let text = folder.io(FILE, |file| fs::read_to_string(file))?;
    let damaged = |reason: String| StateError::Damaged { path: folder.join(FILE), reason };
    let split = text.find(KEY).ok_or_else(|| damaged("there is no private key in it".to_owned()))?;
    let (certificate, key) = text.split_at(split);
    Ok(Authority::from_pem(certificate, key).map_err(|error| damaged(error.to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_is_private() {
        let root = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(root.path()).unwrap();
        let made = open(&folder, SystemTime::now()).unwrap();
        assert_eq!(open(&folder, SystemTime::now()).unwrap().fingerprint(), made.fingerprint());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(root.path().join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::write(root.path().join(FILE), "nothing").unwrap();
        let error = open(&folder, SystemTime::now()).unwrap_err().to_string();
        assert!(error.ends_with("authority.pem: damaged: there is no private key in it"), "{error}");
    }
}
