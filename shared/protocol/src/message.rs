//! What is said: instructions to a client, events from a client, and the receipt of an upload.

use std::fmt;

use params::Digest;
use serde::{Deserialize, Serialize};

use crate::evaluation::Evaluation;
use crate::id::{Round, RunId, Version};
use crate::plan::{EvaluationPlan, ModelSpec, RoundPlan};

/// A client introduces itself at the start of a session. Its name is not in here: it comes from its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::PROTOCOL_VERSION`] of the client.
    pub protocol: u32,
    /// Names of the classes its images are annotated with.
    pub classes: Vec<String>,
    /// Training images.
    pub examples: u32,
    /// Held-out images.
    pub held_out: u32,
    /// The run it last took part in, if any.
    pub run: Option<RunId>,
}

/// From a client, over its session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToCoordinator {
    /// First message of a session.
    Hello(Hello),
    /// Answer to [`ToClient::Evaluate`].
    Evaluated {
        /// The version evaluated.
        version: Version,
        /// The scores.
        evaluation: Evaluation,
    },
    /// The client cannot do what the plan asks (training or evaluation failed, out of memory); it stays in the run.
    Declined {
        /// The round.
        round: Round,
        /// One line.
        reason: String,
    },
}

/// To a client, pushed over its session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToClient {
    /// Answer to a hello: the run the client is in. Said again, with the model, once the classes are frozen.
    Welcome {
        /// The run.
        run: RunId,
        /// Seed of the run; client streams derive from it.
        seed: u64,
        /// Architecture and classes; `None` while the first cohort gathers.
        model: Option<ModelSpec>,
    },
    /// The session ends: this client cannot take part.
    Refused {
        /// One line saying what is wrong and what to do.
        reason: String,
        /// Whether trying again later can help.
        retry: bool,
    },
    /// Train.
    Train(RoundPlan),
    /// Score a version on held-out images (and answer with [`ToCoordinator::Evaluated`], or [`ToCoordinator::Declined`]).
    Evaluate(EvaluationPlan),
    /// The round is over for this client: an update would be refused as late.
    Closed {
        /// The round.
        round: Round,
    },
    /// The run has ended; the client may fetch the final version and stop.
    Finished {
        /// The final version.
        version: Version,
        /// Its digest.
        model_digest: Digest,
    },
}

/// What precedes the bytes of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateHeader {
    /// The run.
    pub run: RunId,
    /// The round.
    pub round: Round,
    /// The version the update is relative to.
    pub version: Version,
    /// Digest of the layout of the shared tensors.
    pub layout: Digest,
    /// Training images behind the update; the coordinator caps what it counts.
    pub examples: u32,
    /// Optimiser steps taken.
    pub steps: u32,
    /// Mean training loss, in thousandths, for the report only.
    pub loss_milli: u32,
    /// Length of the payload, bytes.
    pub length: u32,
    /// Digest of the payload.
    pub payload_digest: Digest,
}

/// Answer to an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receipt {
    /// Durable, and counted once in its round; repeated uploads of the same bytes get the same receipt.
    Accepted {
        /// The round it counts in.
        round: Round,
    },
    /// Not counted; the client takes its residual back.
    Refused(Refusal),
}

/// Why an update is not counted. A normal outcome: counted, reported and told to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The round has closed.
    Late {
        /// The update's round.
        round: Round,
    },
    /// The client was not asked in this round.
    NotAsked {
        /// The update's round.
        round: Round,
    },
    /// Another update of this client already counts in this round.
    Duplicate {
        /// Digest of the one that counts.
        accepted: Digest,
        /// Digest of this one.
        found: Digest,
    },
    /// Made from another version than the plan's.
    WrongVersion {
        /// The plan's.
        expected: Version,
        /// The update's.
        found: Version,
    },
    /// Another architecture, class list or tensor order.
    WrongLayout {
        /// The run's layout of shared tensors.
        expected: Digest,
        /// The update's.
        found: Digest,
    },
    /// Another run.
    WrongRun {
        /// The coordinator's.
        expected: RunId,
        /// The update's.
        found: RunId,
    },
    /// The bytes break a rule of the codec or of the round.
    Malformed {
        /// One line naming offset and rule.
        rule: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late { round } => write!(f, "round {round} has closed"),
            Self::NotAsked { round } => write!(f, "this client was not asked in round {round}"),
            Self::Duplicate { accepted, found } => {
                write!(
                    f,
                    "update {accepted:?} of this client already counts in the round; this one is {found:?}"
                )
            }
            Self::WrongVersion { expected, found } => {
                write!(f, "update starts from version {found}, the round from version {expected}")
            }
            Self::WrongLayout { expected, found } => {
                write!(f, "update has tensor layout {found:?}, the run has {expected:?}")
            }
            Self::WrongRun { expected, found } => {
                write!(f, "update belongs to run {found}, this is run {expected}")
            }
            Self::Malformed { rule } => write!(f, "update is malformed: {rule}"),
        }
    }
}

/// What a piece of a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// A whole version.
    Snapshot,
    /// What leads from one version to another, or to itself with other statistics.
    Delta,
}

/// A piece of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// The version it is applied to; of a whole version, the version itself.
    pub from: Version,
    /// The version it gives.
    pub to: Version,
    /// Its bytes.
    pub length: u64,
}
