//! Who is who: the coordinator's authority, certificates of server and clients, join tokens, and TLS 1.3 with them.
//!
//! A crate of its own because both shells need it and neither may depend on the other, and because it must not become a
//! second room of `wire`: it knows nothing of protobuf, and `wire` nothing of keys. It does no I/O; the shells store what it
//! makes and say what time it is.
//!
//! One run of trust, in order: the coordinator makes an [`Authority`]; an operator makes a [`Token`], which carries the
//! authority's [`Fingerprint`]; a device makes a [`DeviceKey`], connects with [`tls::enrolment_config`] (it trusts that
//! fingerprint and nothing else), and gets a certificate with its [`protocol::id::ClientId`] in it; from then on it uses
//! [`tls::client_config`], and the coordinator reads the name back with [`client_of`].

mod authority;
mod certificate;
mod token;

pub mod tls;

pub use authority::{Authority, ServerIdentity, key_of};
pub use certificate::{DeviceKey, client_of};
pub use token::{Fingerprint, Secret, Token, TokenError};

use thiserror::Error;

/// Why a certificate cannot be made, read or used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// Not PEM or DER of what was expected.
    #[error("cannot read {what}: {reason}")]
    Unreadable {
        /// `authority certificate`, `device key`, ...
        what: &'static str,
        /// The parser's words.
        reason: String,
    },
    /// Making a key or signing failed.
    #[error("cannot make {what}: {reason}")]
    Make {
        /// `authority`, `client certificate`, ...
        what: &'static str,
        /// The library's words.
        reason: String,
    },
    /// A certificate that does not name a client.
    #[error("the certificate names no client: {reason}")]
    NoClient {
        /// What is wrong with the name.
        reason: String,
    },
    /// Key and certificate do not belong together, or TLS refuses them.
    #[error("cannot use {what} for TLS: {reason}")]
    Tls {
        /// Whose.
        what: &'static str,
        /// The library's words.
        reason: String,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no random numbers")]
    Randomness,
}

/// Fills `bytes` from the operating system's generator.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), IdentityError> {
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(bytes).map_err(|_| IdentityError::Randomness)
}

#[cfg(test)]
mod tests;
