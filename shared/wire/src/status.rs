//! What can be wrong with a call, and the one place where that becomes a gRPC status and is read back from one.

use protocol::id::{RunId, Version};
use thiserror::Error;
use tonic::{Code, Status};

use crate::chunk::ChunkError;
use crate::decode::DecodeError;

/// Why a call has no answer. A refused *update* is not among these: that is a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// The two sides speak different protocol versions.
    #[error(
        "the coordinator speaks protocol {coordinator}, this client protocol {client}: \
             install the same Fovea version on both"
    )]
    Protocol {
        /// The coordinator's.
        coordinator: u32,
        /// The client's.
        client: u32,
    },
    /// The call does not say which protocol version the caller speaks.
    #[error("the call has no metadata {metadata}: is this a Fovea client?", metadata = crate::grpc::PROTOCOL_METADATA)]
    NoProtocol,
    /// A message that is not one of ours.
    #[error("malformed message: {0}")]
    Decode(#[from] DecodeError),
    /// Bulk data that does not amount to what was announced.
    #[error("broken transfer: {0}")]
    Chunk(#[from] ChunkError),
    /// A stream's messages come in another order.
    #[error("expected {expected}, found {found}")]
    Order {
        /// What has to come now.
        expected: &'static str,
        /// What came.
        found: &'static str,
    },
    /// No client certificate (or, in insecure mode, no name).
    #[error("no client certificate: join first (client join ADDRESS --token ...)")]
    NoIdentity,
    /// The token does not entitle to a certificate.
    #[error("{0}")]
    Token(String),
    /// The caller will never be let in as it is.
    #[error("{0}")]
    Forbidden(String),
    /// The run asked for is not the one that runs here.
    #[error("this coordinator runs {here}, not {asked}")]
    UnknownRun {
        /// The coordinator's run.
        here: RunId,
        /// The run asked for.
        asked: RunId,
    },
    /// A version that is not served (any more).
    #[error("version {version} is not available; the newest is {newest}")]
    UnknownVersion {
        /// The version asked for.
        version: Version,
        /// The newest version, as text; `none` before the first.
        newest: String,
    },
    /// Too little arrived in too long.
    #[error("too slow: {what} within {seconds} s")]
    TooSlow {
        /// What had to arrive.
        what: &'static str,
        /// In which time.
        seconds: u64,
    },
    /// A bound on what is served at a time is reached.
    #[error("busy: at most {max} {what} at a time; try again later")]
    Busy {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The session was replaced by a newer one of the same client.
    #[error("another session of this client has taken over")]
    Replaced,
    /// The coordinator is shutting down.
    #[error("the coordinator is stopping")]
    Stopping,
    /// The coordinator failed.
    #[error("the coordinator failed: {0}")]
    Failed(String),
}

/// The status of a failed call.
pub fn to_status(error: &CallError) -> Status {
    let code = match error {
        CallError::Protocol { .. } | CallError::NoProtocol | CallError::UnknownRun { .. } => {
            Code::FailedPrecondition
        }
        CallError::Decode(_) | CallError::Order { .. } => Code::InvalidArgument,
        CallError::Chunk(_) => Code::DataLoss,
        CallError::NoIdentity => Code::Unauthenticated,
        CallError::Token(_) | CallError::Forbidden(_) => Code::PermissionDenied,
        CallError::UnknownVersion { .. } => Code::NotFound,
        CallError::TooSlow { .. } => Code::DeadlineExceeded,
        CallError::Busy { .. } => Code::ResourceExhausted,
        CallError::Replaced => Code::Aborted,
        CallError::Stopping => Code::Unavailable,
        CallError::Failed(_) => Code::Internal,
    };
    Status::new(code, error.to_string())
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        to_status(&error)
    }
}

/// Whether the same call can succeed later without anyone changing anything.
pub fn can_retry(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::FailedPrecondition
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::Unimplemented
            | Code::InvalidArgument
            | Code::Aborted
    )
}
