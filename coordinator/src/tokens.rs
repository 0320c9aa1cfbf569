//! Invitations, as files: so that `coordinator token create` works while a coordinator runs.
//!
//! A token's file is named by the hash of its secret and holds until when and how often it may be used. Creating one writes a
//! new file; only the coordinator changes files, so there is nothing to lock.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use identity::{Fingerprint, IdentityError, Secret, Token};
use params::Digest;
use protocol::id::ClientId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::durable::{self, Access};
use crate::state::{StateError, StateFolder};

const FOLDER: &str = "tokens";
/// Files of tokens that nobody can use any more are kept this long, to tell "used" and "expired" from "wrong".
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);

/// A token cannot be made.
#[derive(Debug, Error)]
pub enum TokenCreateError {
    /// The state folder refuses.
    #[error(transparent)]
    State(#[from] StateError),
    /// No randomness.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Why a token entitles to nothing. Each message is one line for the device's owner.
#[derive(Debug, Error)]
pub enum TokenRefusal {
    /// No such token.
    #[error("wrong token: this coordinator has not made it, or has forgotten it")]
    Unknown,
    /// Too late.
    #[error("the token has expired: ask for a new one (coordinator token create)")]
    Expired,
    /// Used up.
    #[error("the token has been used: ask for a new one (coordinator token create)")]
    Used,
    /// The file cannot be read or written.
    #[error("{0}")]
    State(#[from] StateError),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    expires_unix_s: u64,
    uses: u32,
    /// Keys that have used it.
    used_by: Vec<Use>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Use {
    key: Digest,
    client: ClientId,
}

/// The tokens of a coordinator.
#[derive(Debug)]
pub struct Tokens {
    folder: StateFolder,
}

impl Tokens {
    /// The tokens in a state folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: &StateFolder) -> Result<Self, StateError> {
        folder.make(FOLDER)?;
        Ok(Self { folder: folder.clone() })
    }

    /// A new token for `uses` devices within `ttl`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(
        &self,
        authority: Fingerprint,
        now: SystemTime,
        ttl: Duration,
        uses: u32,
    ) -> Result<Token, TokenCreateError> {
        let secret = Secret::generate()?;
        let file = File { expires_unix_s: unix_s(now + ttl), uses, used_by: Vec::new() };
        self.write(&secret.hash(), &file)?;
        Ok(Token { secret, authority })
    }

    /// Uses a token for a device's key; the name the client gets. `name` chooses one. The same key again gets the same name and
    /// uses nothing, so that a device may ask again when an answer was lost. Durable on return.
    ///
    /// # Errors
    /// Unknown, expired or used tokens, and whatever `name` says.
    pub fn redeem<E: From<TokenRefusal>>(
        &mut self,
        secret: &Secret,
        key: Digest,
        now: SystemTime,
        name: impl FnOnce() -> Result<ClientId, E>,
    ) -> Result<ClientId, E> {
        let hash = secret.hash();
        let mut file = self.read(&hash)?.ok_or(TokenRefusal::Unknown)?;
        if let Some(before) = file.used_by.iter().find(|used| used.key == key) {
            return Ok(before.client.clone());
        }
        if file.used_by.len() >= file.uses as usize {
            return Err(TokenRefusal::Used.into());
        }
        if unix_s(now) >= file.expires_unix_s {
            return Err(TokenRefusal::Expired.into());
        }
        let client = name()?;
        file.used_by.push(Use { key, client: client.clone() });
        self.write(&hash, &file).map_err(TokenRefusal::State)?;
        Ok(client)
    }

    /// Removes the files of tokens that expired long ago.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn forget_old(&self, now: SystemTime) -> Result<(), StateError> {
        let long_ago = unix_s(now).saturating_sub(REMEMBERED.as_secs());
        for entry in self.folder.io(FOLDER, |folder| fs::read_dir(folder))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let hash = name.strip_suffix(".json").and_then(Digest::from_hex);
            let Some(Ok(Some(file))) = hash.map(|hash| self.read(&hash)) else { continue };
            if file.expires_unix_s < long_ago {
                self.folder.io(&format!("{FOLDER}/{name}"), |file| fs::remove_file(file))?;
            }
        }
        Ok(())
    }

    fn read(&self, hash: &Digest) -> Result<Option<File>, TokenRefusal> {
        let path = self.path(hash);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { path, source }.into()),
        };
        let damaged = |error: serde_json::Error| StateError::Damaged { path, reason: error.to_string() };
        Ok(Some(serde_json::from_slice(&text).map_err(damaged)?))
    }

    fn write(&self, hash: &Digest, file: &File) -> Result<(), StateError> {
        let Ok(text) = serde_json::to_vec(file) else { unreachable!("a token's file is plain") };
        let path = self.path(hash);
        durable::write(&path, &text, Access::Owner).map_err(|source| StateError::Io { path, source })
    }

    fn path(&self, hash: &Digest) -> PathBuf {
        self.folder.join(FOLDER).join(format!("{hash}.json"))
    }
}

/// Seconds since 1970; 0 before.
pub(crate) fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn tokens() -> (tempfile::TempDir, Tokens) {
        let root = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(&StateFolder::open(root.path()).unwrap()).unwrap();
        (root, tokens)
    }

    fn redeem(tokens: &mut Tokens, token: &Token, key: &str, now: SystemTime) -> Result<ClientId, String> {
        let name = || Ok(ClientId::new(format!("client-{key}")).unwrap());
        let key = Digest::of(&[key.as_bytes()]);
        let redeemed: Result<_, TokenRefusal> = tokens.redeem(&token.secret, key, now, name);
        redeemed.map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_token_works_as_often_and_as_long_as_it_says() {
        let (_root, mut tokens) = tokens();
        let (now, authority) = (SystemTime::now(), Fingerprint::of(b"x"));
        let once = tokens.create(authority, now, MINUTE, 1).unwrap();
        let twice = tokens.create(authority, now, MINUTE, 2).unwrap();
        let used = "the token has been used: ask for a new one (coordinator token create)";
        let expired = "the token has expired: ask for a new one (coordinator token create)";

        assert_eq!(redeem(&mut tokens, &once, "a", now).unwrap().as_str(), "client-a");
        assert_eq!(redeem(&mut tokens, &once, "b", now).unwrap_err(), used);
        assert!(redeem(&mut tokens, &twice, "a", now).is_ok());
        assert_eq!(redeem(&mut tokens, &twice, "b", now + MINUTE).unwrap_err(), expired);
        assert!(redeem(&mut tokens, &twice, "b", now).is_ok());
        assert_eq!(redeem(&mut tokens, &twice, "c", now).unwrap_err(), used);
    }

    /// A device whose answer was lost asks again with the same key, even after the token has expired.
    #[test]
    fn the_same_key_gets_the_same_name_again() {
        let (_root, mut tokens) = tokens();
        let now = SystemTime::now();
        let token = tokens.create(Fingerprint::of(b"x"), now, MINUTE, 1).unwrap();
        let first = redeem(&mut tokens, &token, "a", now).unwrap();
        assert_eq!(redeem(&mut tokens, &token, "a", now + 10 * MINUTE).unwrap(), first);
    }

    #[test]
    fn a_guess_is_a_wrong_token() {
        let (_root, mut tokens) = tokens();
        let guess = Token { secret: Secret::generate().unwrap(), authority: Fingerprint::of(b"x") };
        assert!(redeem(&mut tokens, &guess, "a", SystemTime::now()).unwrap_err().starts_with("wrong token"));
    }

    #[test]
    fn the_secret_is_not_stored_and_files_are_private() {
        let (root, tokens) = tokens();
        let token = tokens.create(Fingerprint::of(b"x"), SystemTime::now(), MINUTE, 1).unwrap();
        let secret: String = token.secret.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let [entry] = &fs::read_dir(root.path().join(FOLDER)).unwrap().flatten().collect::<Vec<_>>()[..]
        else {
            panic!("one file per token");
        };
        let stored = format!("{:?} {}", entry.path(), fs::read_to_string(entry.path()).unwrap());
        assert!(!stored.contains(&secret));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn tokens_are_forgotten_a_month_after_they_expired() {
        let (root, tokens) = tokens();
        let now = SystemTime::now();
        tokens.create(Fingerprint::of(b"x"), now, MINUTE, 1).unwrap();
        let count = || fs::read_dir(root.path().join(FOLDER)).unwrap().count();
        tokens.forget_old(now + REMEMBERED).unwrap();
        assert_eq!(count(), 1);
        tokens.forget_old(now + REMEMBERED + 2 * MINUTE).unwrap();
        assert_eq!(count(), 0);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let (root, mut tokens) = tokens();
        let now = SystemTime::now();
        let token = tokens.create(Fingerprint::of(b"x"), now, MINUTE, 1).unwrap();
        let path = root.path().join(FOLDER).join(format!("{}.json", token.secret.hash()));
        fs::write(path, b"{").unwrap();
        assert!(redeem(&mut tokens, &token, "a", now).unwrap_err().contains(".json: damaged: "));
    }
}
