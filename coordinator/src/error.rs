//! Why the coordinator ends with an error: one line, and an exit code.

use coordinator_core::journal::RecordError;
use identity::IdentityError;
use thiserror::Error;

use crate::config::ConfigError;
use crate::state::StateError;
use crate::store::StoreError;
use crate::store::folder::OpenError;
use crate::tokens::TokenCreateError;

/// Why the coordinator ends with an error.
#[derive(Debug, Error)]
pub enum Error {
    /// Settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something that a setting names cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// What is stored, or cannot be.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored run and this configuration.
    #[error(transparent)]
    Recover(#[from] coordinator_core::RecoverError),
    /// A journal record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The address.
    #[error("cannot listen on {address}: {source}{hint}")]
    Listen {
        /// The address.
        address: String,
        /// What the operating system says.
        source: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// The run cannot go on.
    #[error("{0}")]
    Run(String),
}

impl Error {
    /// 2 for what the operator gave, 1 for what happened.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Usage(_) => 2,
            _ => 1,
        }
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::State(error) => Self::State(error),
            OpenError::Store(error) => Self::Store(error),
        }
    }
}

impl From<TokenCreateError> for Error {
    fn from(error: TokenCreateError) -> Self {
        match error {
            TokenCreateError::State(error) => Self::State(error),
            TokenCreateError::Identity(error) => Self::Identity(error),
        }
    }
}
