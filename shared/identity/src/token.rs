//! Join tokens: `fovea1-<secret>-<fingerprint>`, both in lower-case base32 without padding.
//!
//! The secret (128 bits) shows that the device was invited; the fingerprint tells the device whom to trust, so that enrolling
//! is safe over any network. The coordinator stores a hash of the secret only.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use params::Digest;
use protocol::limits::TOKEN_SECRET_BYTES;
use thiserror::Error;

use crate::{IdentityError, random};

const PREFIX: &str = "fovea1";

/// SHA-256 of an authority's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(Digest);

impl Fingerprint {
    /// The fingerprint of a certificate (DER).
    pub fn of(certificate: &[u8]) -> Self {
        Self(Digest::of(&[certificate]))
    }
}

/// The part of a token that must stay secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; TOKEN_SECRET_BYTES]);

impl Secret {
    /// A new secret.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        let mut secret = [0; TOKEN_SECRET_BYTES];
        random(&mut secret)?;
        Ok(Self(secret))
    }

    /// A secret as it arrived.
    pub fn from_bytes(bytes: [u8; TOKEN_SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// What travels.
    pub fn bytes(&self) -> [u8; TOKEN_SECRET_BYTES] {
        self.0
    }

    /// What the coordinator stores and looks up: with 128 random bits a plain hash cannot be inverted, and a look-up by hash
    /// tells nothing by its timing.
    pub fn hash(&self) -> Digest {
        Digest::of(&[b"fovea token 1\n", &self.0])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// An invitation to one coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Shows that the device was invited.
    pub secret: Secret,
    /// Whom the device is to trust.
    pub authority: Fingerprint,
}

/// Why a text is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It does not have the three parts.
    #[error("not a token: expected fovea1-SECRET-FINGERPRINT as `coordinator token create` prints it")]
    Shape,
    /// A part is cut off, or has been mistyped.
    #[error("the token's {part} has {found} characters instead of {expected}: copy the whole token")]
    Length {
        /// `secret` or `fingerprint`.
        part: &'static str,
        /// Characters it has to have.
        expected: usize,
        /// Characters found.
        found: usize,
    },
    /// A character that is not of the base32 alphabet.
    #[error("the token's {part} has a character that cannot be in it: copy the token again")]
    Character {
        /// `secret` or `fingerprint`.
        part: &'static str,
    },
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| BASE32_NOPAD.encode(bytes).to_ascii_lowercase();
        write!(f, "{PREFIX}-{}-{}", text(&self.secret.0), text(&self.authority.0.0))
    }
}

impl FromStr for Token {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.trim().split('-');
        let parts = (parts.next(), parts.next(), parts.next(), parts.next());
        let (Some(PREFIX), Some(secret), Some(authority), None) = parts else {
            return Err(TokenError::Shape);
        };
        let secret = Secret(part("secret", secret)?);
        Ok(Self { secret, authority: Fingerprint(Digest(part("fingerprint", authority)?)) })
    }
}

fn part<const N: usize>(part: &'static str, text: &str) -> Result<[u8; N], TokenError> {
    let expected = BASE32_NOPAD.encode_len(N);
    if text.len() != expected {
        return Err(TokenError::Length { part, expected, found: text.len() });
    }
    let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes());
    let bytes = bytes.map_err(|_| TokenError::Character { part })?;
    <[u8; N]>::try_from(bytes).map_err(|_| TokenError::Character { part })
}
