//! What must survive a crash, and how a run goes on from it.
//!
//! The journal is the truth about rounds, the published versions are the truth about weights. Three orders make that safe:
//! an `Accepted` record is durable before its receipt is sent; `RoundClosed` is durable before the version it announces is
//! published; and a version is published before anything is asked of clients about it. So whatever was cut off, the version
//! can be computed again from the last published one and the accepted updates, bit for bit.

use std::sync::Arc;

use protocol::id::{ClientId, Round, RunId, Version};
use protocol::message::UpdateHeader;
use protocol::plan::ModelSpec;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::Settings;
use crate::report::RoundReport;

/// One line of the journal. Stored by [`Record::encode`]: serialisation alone leaves `payload` out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The classes are frozen and the run begins.
    RunStarted {
        /// The run.
        run: RunId,
        /// Its settings.
        settings: Box<Settings>,
        /// Architecture and classes.
        spec: ModelSpec,
    },
    /// A round opens.
    RoundOpened {
        /// The round.
        round: Round,
        /// The version it starts from.
        version: Version,
        /// Who is asked, in order of name.
        cohort: Vec<ClientId>,
        /// Updates after which it closes.
        goal: u32,
    },
    /// An update counts; durable before its receipt is sent.
    Accepted {
        /// The round.
        round: Round,
        /// From whom.
        client: ClientId,
        /// Its header.
        header: UpdateHeader,
        /// Its bytes.
        #[serde(skip)]
        payload: Arc<[u8]>,
    },
    /// A round closed: all updates accepted in it make the version.
    RoundClosed {
        /// What the round's report says so far: round, version, digest, contributors.
        report: Box<RoundReport>,
    },
    /// A round ended without a version; its updates do not count.
    RoundAbandoned {
        /// The round.
        round: Round,
    },
    /// The round's report has been given; evaluation and scoring are over.
    RoundReported {
        /// The round.
        round: Round,
    },
}

/// Why bytes are not a record.
#[derive(Debug, Error)]
pub enum RecordError {
    /// No line of JSON at the start.
    #[error("a journal record of {found} bytes has no end of line after its head")]
    Head {
        /// Length of the record.
        found: usize,
    },
    /// The line says something else.
    #[error("a journal record cannot be read: {0}")]
    Json(#[from] serde_json::Error),
}

impl Record {
    /// The record as bytes: one line of JSON, then the payload as it is.
    pub fn encode(&self) -> Vec<u8> {
        let Ok(mut bytes) = serde_json::to_vec(self) else { unreachable!("records are plain values") };
        bytes.push(b'\n');
        if let Self::Accepted { payload, .. } = self {
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    /// Reads what [`Record::encode`] wrote.
    ///
    /// # Errors
    /// Bytes without a head, or a head of another build.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let end =
            bytes.iter().position(|&byte| byte == b'\n').ok_or(RecordError::Head { found: bytes.len() })?;
        let mut record = serde_json::from_slice(&bytes[..end])?;
        if let Self::Accepted { payload, .. } = &mut record {
            *payload = bytes[end + 1..].into();
        }
        Ok(record)
    }
}
