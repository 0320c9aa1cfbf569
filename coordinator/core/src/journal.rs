//! What must survive a crash, and how a run goes on from it.
//!
//! The journal is the truth about rounds, the published versions are the truth about weights. Three orders make that safe:
//! an `Accepted` record is durable before its receipt is sent; `RoundClosed` and `RoundEvaluated` are durable before what they
//! announce is published; and a version is published before anything is asked of clients about it. So whatever was cut off,
//! the version can be made again from the last published one and the accepted updates, bit for bit.

use codec::payload::Payload;
use params::Digest;
use protocol::id::{ClientId, Round, RunId, Version};
use protocol::message::UpdateHeader;
use protocol::plan::ModelSpec;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::Settings;
use crate::report::RoundReport;

/// One line of the journal. Stored by [`Record::encode`]: serialisation alone leaves `payload` and `statistics` out.
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
        /// Who is asked, in order of name: not those whose updates are carried over from an abandoned round.
        cohort: Vec<ClientId>,
        /// Updates after which it closes, those carried over included.
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
        payload: Payload,
    },
    /// A round closed: all updates accepted in it make the version.
    RoundClosed {
        /// What the round's report says so far: round, version, digest, contributors.
        report: Box<RoundReport>,
    },
    /// The evaluations of a round's version are in; durable before the statistics pooled from them are published, so
    /// that differences are never taken twice.
    RoundEvaluated {
        /// The round's report with the federated figures.
        report: Box<RoundReport>,
        /// Pooled statistics of the version, in layout order; empty when none were reported.
        #[serde(skip)]
        statistics: Vec<f32>,
    },
    /// A round ended without a version; its updates count in the next one.
    RoundAbandoned {
        /// The round.
        round: Round,
    },
    /// The round's report has been given; evaluation and scoring are over.
    RoundReported {
        /// The round.
        round: Round,
    },
    /// Stands for all rounds up to one: they need not be gone through again, since the version they made is stored.
    Compacted {
        /// The last of these rounds.
        round: Round,
        /// The version it made.
        version: Version,
        /// Whom the last of them asked, and whose updates were carried over to it, in order of name.
        asked: Vec<ClientId>,
        /// The last accepted update of each client, for uploads that are repeated.
        receipts: Vec<(ClientId, Round, Digest)>,
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
    /// What follows the line is not what the record keeps there.
    #[error("a journal record has {found} bytes after its head that do not belong to it")]
    Tail {
        /// Bytes after the head.
        found: usize,
    },
}

impl Record {
    /// The record as bytes: one line of JSON, then payload or statistics (f32, little-endian) as they are. A payload that is
    /// stored stays where it is: whoever keeps the record has to bring it back.
    pub fn encode(&self) -> Vec<u8> {
        let Ok(mut bytes) = serde_json::to_vec(self) else { unreachable!("records are plain values") };
        bytes.push(b'\n');
        match self {
            Self::Accepted { payload, .. } => {
                bytes.extend_from_slice(payload.in_memory().unwrap_or_default())
            }
            Self::RoundEvaluated { statistics, .. } => {
                bytes.extend(statistics.iter().flat_map(|value| value.to_le_bytes()));
            }
            Self::RunStarted { .. }
            | Self::RoundOpened { .. }
            | Self::RoundClosed { .. }
            | Self::RoundAbandoned { .. }
            | Self::RoundReported { .. }
            | Self::Compacted { .. } => {}
        }
        bytes
    }

    /// Reads what [`Record::encode`] wrote.
    ///
    /// # Errors
    /// Bytes without a head, a head of another build, or bytes behind it that it does not have.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let end =
            bytes.iter().position(|&byte| byte == b'\n').ok_or(RecordError::Head { found: bytes.len() })?;
        let mut record = serde_json::from_slice(&bytes[..end])?;
        let tail = &bytes[end + 1..];
        match &mut record {
            Self::Accepted { header, payload, .. } => *payload = Payload::known(tail, header.payload_digest),
            Self::RoundEvaluated { statistics, .. } if tail.len().is_multiple_of(4) => {
                let words = tail.chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]);
                *statistics = words.map(f32::from_le_bytes).collect();
            }
            _ if tail.is_empty() => {}
            _ => return Err(RecordError::Tail { found: tail.len() }),
        }
        Ok(record)
    }
}

mod compaction;
#[cfg(test)]
mod tests;

pub use compaction::Compaction;
