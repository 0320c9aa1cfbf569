//! Received messages to domain values. Everything is untrusted: each length, count, range, enum value and digest is
//! checked here, once, against `protocol::limits`, and an error names the field, what was found and what is allowed.
//!
//! Memory: prost needs at most about thirty bytes for each byte of a message (repeated empty texts), so a session's
//! message costs at most 16 MiB before it is refused; bulk data travels in chunks and is never `repeated`.

use std::fmt;
use std::time::Duration;

use params::{Digest, Share};
use protocol::evaluation::{Evaluation, ModelScore};
use protocol::id::{ClientId, ClientIdError, Round, RunId, Version};
use protocol::limits::{
    CERTIFICATE_BYTES_MAX, DOWNLOAD_PARTS_MAX, EVALUATION_BYTES_MAX, SNAPSHOT_BYTES_MAX, TOKEN_SECRET_BYTES,
    UPDATE_BYTES_MAX,
};
use protocol::message::{Hello, Part, PartKind, Receipt, Refusal, ToClient, ToCoordinator, UpdateHeader};
use protocol::plan::{EvaluationPlan, ModelSpec, RoundPlan};
use thiserror::Error;

use crate::chunk::{Begun, DownloadHeader, DownloadRequest, UploadReply};
use crate::proto;
use crate::proto::{receipt, refusal, to_client, to_coordinator};

mod field;
mod plan;

/// Why a message is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// A field, or the choice of a message's kind, is absent.
    #[error("{field} is missing")]
    Missing {
        /// Dotted path of the field.
        field: &'static str,
    },
    /// Too many bytes or entries.
    #[error("{field} has {found} {unit}, at most {max} are allowed")]
    TooLong {
        /// Dotted path of the field.
        field: &'static str,
        /// What was sent.
        found: u64,
        /// The bound.
        max: u64,
        /// `bytes` or `entries`.
        unit: &'static str,
    },
    /// A field of fixed length has another one.
    #[error("{field} has {found} bytes instead of {expected}")]
    Length {
        /// Dotted path of the field.
        field: &'static str,
        /// The length it has to have.
        expected: usize,
        /// What was sent.
        found: usize,
    },
    /// A number outside its range, or not finite.
    #[error("{field} is {found}, allowed is {allowed}")]
    Range {
        /// Dotted path of the field.
        field: &'static str,
        /// What was sent.
        found: String,
        /// The range in words.
        allowed: String,
    },
    /// An enum value this build does not know.
    #[error("{field} is {found}, which this build does not know")]
    Unknown {
        /// Dotted path of the field.
        field: &'static str,
        /// What was sent.
        found: i32,
    },
    /// A name that may appear once appears twice.
    #[error("{field} has {name:?} twice")]
    Repeated {
        /// Dotted path of the field.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// A name with characters that are not allowed in it, or an empty one.
    #[error("{field} has {name:?}, which is empty or has control characters")]
    Name {
        /// Dotted path of the field.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// Not a client's name.
    #[error(transparent)]
    Client(#[from] ClientIdError),
}

/// A device that asks to become a client.
#[derive(Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// Protocol version of the device; to be compared before anything else.
    pub protocol: u32,
    /// The token's secret.
    pub secret: [u8; TOKEN_SECRET_BYTES],
    /// PKCS #10 request, DER.
    pub signing_request: Vec<u8>,
    /// The name it would like.
    pub name: Option<ClientId>,
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret must not get into a log.
        write!(f, "Enrolment {{ protocol: {}, name: {:?}, .. }}", self.protocol, self.name)
    }
}

/// What an enrolled device keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// Its name.
    pub client: ClientId,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// The authority's certificate, DER.
    pub authority: Vec<u8>,
}

/// A request to enrol.
///
/// # Errors
/// A secret of another length, an oversized request, a name that is none.
pub fn enrol_request(message: proto::EnrolRequest) -> Result<Enrolment, DecodeError> {
    let proto::EnrolRequest { protocol, secret, signing_request, name } = message;
    let found = secret.len();
    let expected = TOKEN_SECRET_BYTES;
    let secret = secret.try_into().map_err(|_| DecodeError::Length { field: "secret", expected, found })?;
    let signing_request = field::bytes("signing_request", signing_request, CERTIFICATE_BYTES_MAX)?;
    Ok(Enrolment { protocol, secret, signing_request, name: name.map(ClientId::new).transpose()? })
}

/// The answer to a request to enrol.
///
/// # Errors
/// Oversized certificates, a name that is none.
pub fn enrol_reply(message: proto::EnrolReply) -> Result<Enrolled, DecodeError> {
    Ok(Enrolled {
        client: ClientId::new(message.client)?,
        certificate: field::bytes("certificate", message.certificate, CERTIFICATE_BYTES_MAX)?,
        authority: field::bytes("authority", message.authority, CERTIFICATE_BYTES_MAX)?,
    })
}

/// What a client says over its session.
///
/// # Errors
/// Any [`DecodeError`].
pub fn to_coordinator(message: proto::ToCoordinator) -> Result<ToCoordinator, DecodeError> {
    match message.kind.ok_or(DecodeError::Missing { field: "kind" })? {
        to_coordinator::Kind::Hello(hello) => Ok(ToCoordinator::Hello(self::hello(hello)?)),
        to_coordinator::Kind::Evaluated(message) => {
            let version = Version(message.version);
            Ok(ToCoordinator::Evaluated { version, evaluation: evaluation(message)? })
        }
        to_coordinator::Kind::Declined(proto::Declined { round, reason }) => Ok(ToCoordinator::Declined {
            round: Round(round),
            reason: field::text("declined.reason", reason)?,
        }),
    }
}

fn hello(message: proto::Hello) -> Result<Hello, DecodeError> {
    Ok(Hello {
        protocol: message.protocol,
        classes: field::classes("hello.classes", message.classes)?,
        examples: message.examples,
        held_out: message.held_out,
        run: message.run.map(RunId),
    })
}

fn evaluation(message: proto::Evaluated) -> Result<Evaluation, DecodeError> {
    let global = message.global.ok_or(DecodeError::Missing { field: "evaluated.global" })?;
    let personal = message.personal.ok_or(DecodeError::Missing { field: "evaluated.personal" })?;
    let found = (global.histogram.len() + personal.histogram.len() + message.statistics.len()) as u64;
    let max = EVALUATION_BYTES_MAX as u64;
    if found > max {
        return Err(DecodeError::TooLong { field: "evaluated", found, max, unit: "bytes" });
    }
    Ok(Evaluation {
        images: message.images,
        boxes: message.boxes,
        global: model_score(global)?,
        personal: model_score(personal)?,
        statistics: message.statistics,
        statistics_images: message.statistics_images,
    })
}

fn model_score(message: proto::ModelScore) -> Result<ModelScore, DecodeError> {
    let share = |field, value| field::within(field, value, 0.0, 1.0);
    Ok(ModelScore {
        ap50: share("evaluated.ap50", message.ap50)?,
        ap: share("evaluated.ap", message.ap)?,
        histogram: message.histogram,
    })
}

/// What the coordinator pushes to a client.
///
/// # Errors
/// Any [`DecodeError`].
pub fn to_client(message: proto::ToClient) -> Result<ToClient, DecodeError> {
    match message.kind.ok_or(DecodeError::Missing { field: "kind" })? {
        to_client::Kind::Welcome(proto::Welcome { run, seed, model }) => {
            Ok(ToClient::Welcome { run: RunId(run), seed, model: model.map(model_spec).transpose()? })
        }
        to_client::Kind::Refused(proto::Refused { reason, retry }) => {
            Ok(ToClient::Refused { reason: field::text("refused.reason", reason)?, retry })
        }
        to_client::Kind::Train(plan) => Ok(ToClient::Train(round_plan(plan)?)),
        to_client::Kind::Evaluate(message) => Ok(ToClient::Evaluate(evaluation_plan(message)?)),
        to_client::Kind::Closed(proto::Closed { round }) => Ok(ToClient::Closed { round: Round(round) }),
        to_client::Kind::Finished(proto::Finished { version, model_digest }) => Ok(ToClient::Finished {
            version: Version(version),
            model_digest: field::digest("finished.model_digest", &model_digest)?,
        }),
    }
}

fn model_spec(message: proto::ModelSpec) -> Result<ModelSpec, DecodeError> {
    Ok(ModelSpec {
        preset: field::name("model.preset", message.preset)?,
        classes: field::classes("model.classes", message.classes)?,
    })
}

fn evaluation_plan(message: proto::Evaluate) -> Result<EvaluationPlan, DecodeError> {
    let of = field::within("evaluate.share_of", message.share_of, 1, Share::OF_MAX.into())?;
    let part = field::within("evaluate.share_part", message.share_part, 0, of - 1)?;
    Ok(EvaluationPlan {
        round: Round(message.round),
        version: Version(message.version),
        model_digest: field::digest("evaluate.model_digest", &message.model_digest)?,
        share: Share::new(part as u8, of as u8),
        norm: plan::norm("evaluate.norm", message.norm)?,
        personalise: field::name("evaluate.personalise", message.personalise)?,
    })
}

fn round_plan(message: proto::RoundPlan) -> Result<RoundPlan, DecodeError> {
    Ok(RoundPlan {
        round: Round(message.round),
        version: Version(message.version),
        model_digest: field::digest("train.model_digest", &message.model_digest)?,
        time_limit: Duration::from_millis(message.time_limit_ms),
        train: plan::train(message.train.ok_or(DecodeError::Missing { field: "train.train" })?)?,
        uplink: plan::uplink(message.uplink.ok_or(DecodeError::Missing { field: "train.uplink" })?)?,
        personalise: field::name("train.personalise", message.personalise)?,
    })
}

/// What a client asks for.
///
/// # Errors
/// A name or a digest of another length.
pub fn download_request(message: &proto::DownloadRequest) -> Result<DownloadRequest, DecodeError> {
    let held = message.held.as_deref().map(|held| {
        let name = <[u8; 8]>::try_from(held);
        name.map_err(|_| DecodeError::Length { field: "request.held", expected: 8, found: held.len() })
    });
    let digest = message.digest.as_deref().map(|digest| field::digest("request.digest", digest));
    let begun = digest.transpose()?.map(|digest| Begun { offset: message.offset, digest });
    let (run, version) = (RunId(message.run), Version(message.version));
    Ok(DownloadRequest { run, version, held: held.transpose()?, begun })
}

/// What the chunks of a download amount to.
///
/// # Errors
/// A length beyond [`SNAPSHOT_BYTES_MAX`], a digest of another length than 32 bytes, parts of another length than all together, chunks
/// that begin behind the end.
pub fn download_header(message: &proto::DownloadHeader) -> Result<DownloadHeader, DecodeError> {
    let max = SNAPSHOT_BYTES_MAX as u64;
    if message.length > max {
        let found = message.length;
        return Err(DecodeError::TooLong { field: "header.length", found, max, unit: "bytes" });
    }
    let found = message.parts.len();
    if found > DOWNLOAD_PARTS_MAX {
        let (found, max) = (found as u64, DOWNLOAD_PARTS_MAX as u64);
        return Err(DecodeError::TooLong { field: "header.parts", found, max, unit: "entries" });
    }
    let parts = message.parts.iter().map(piece).collect::<Result<Vec<_>, _>>()?;
    let length = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.length));
    if length != message.length {
        let (found, allowed) = (length.to_string(), message.length.to_string());
        return Err(DecodeError::Range { field: "length of header.parts", found, allowed });
    }
    Ok(DownloadHeader {
        version: Version(message.version),
        length,
        digest: field::digest("header.digest", &message.digest)?,
        from: field::within("header.from", message.from, 0, length)?,
        parts,
    })
}

fn piece(message: &proto::DownloadPiece) -> Result<Part, DecodeError> {
    let kind = match proto::PieceKind::try_from(message.kind) {
        Ok(proto::PieceKind::Snapshot) => PartKind::Snapshot,
        Ok(proto::PieceKind::Delta) => PartKind::Delta,
        Ok(proto::PieceKind::Unspecified) | Err(_) => {
            return Err(DecodeError::Unknown { field: "header.parts.kind", found: message.kind });
        }
    };
    let (from, to) = (Version(message.from), Version(message.to));
    Ok(Part { kind, from, to, length: message.length })
}

/// What precedes the bytes of an upload.
///
/// # Errors
/// A length beyond [`UPDATE_BYTES_MAX`], digests of another length than 32 bytes.
pub fn update_header(message: &proto::UpdateHeader) -> Result<UpdateHeader, DecodeError> {
    let (found, max) = (u64::from(message.length), UPDATE_BYTES_MAX as u64);
    if found > max {
        return Err(DecodeError::TooLong { field: "header.length", found, max, unit: "bytes" });
    }
    Ok(UpdateHeader {
        run: RunId(message.run),
        round: Round(message.round),
        version: Version(message.version),
        layout: field::digest("header.layout", &message.layout)?,
        examples: message.examples,
        steps: message.steps,
        loss_milli: message.loss_milli,
        length: message.length,
        payload_digest: field::digest("header.payload_digest", &message.payload_digest)?,
    })
}

/// What the coordinator says to an upload.
///
/// # Errors
/// Any [`DecodeError`].
pub fn upload_reply(message: proto::UploadReply) -> Result<UploadReply, DecodeError> {
    match message.kind.ok_or(DecodeError::Missing { field: "kind" })? {
        proto::upload_reply::Kind::From(from) => {
            Ok(UploadReply::From(field::within("reply.from", from, 0, UPDATE_BYTES_MAX as u64)?))
        }
        proto::upload_reply::Kind::Receipt(answer) => receipt(answer).map(UploadReply::Receipt),
    }
}

/// The answer to an upload.
///
/// # Errors
/// Any [`DecodeError`].
pub fn receipt(message: proto::Receipt) -> Result<Receipt, DecodeError> {
    let refusal = match message.kind.ok_or(DecodeError::Missing { field: "kind" })? {
        receipt::Kind::Accepted(proto::Accepted { round }) => {
            return Ok(Receipt::Accepted { round: Round(round) });
        }
        receipt::Kind::Refusal(refusal) => refusal,
    };
    let refusal = match refusal.kind.ok_or(DecodeError::Missing { field: "refusal.kind" })? {
        refusal::Kind::Late(round) => Refusal::Late { round: Round(round) },
        refusal::Kind::NotAsked(round) => Refusal::NotAsked { round: Round(round) },
        refusal::Kind::Duplicate(digests) => {
            let (accepted, found) = disagreement(&digests)?;
            Refusal::Duplicate { accepted, found }
        }
        refusal::Kind::WrongVersion(proto::WrongVersion { expected, found }) => {
            Refusal::WrongVersion { expected: Version(expected), found: Version(found) }
        }
        refusal::Kind::WrongLayout(digests) => {
            let (expected, found) = disagreement(&digests)?;
            Refusal::WrongLayout { expected, found }
        }
        refusal::Kind::WrongRun(proto::WrongRun { expected, found }) => {
            Refusal::WrongRun { expected: RunId(expected), found: RunId(found) }
        }
        refusal::Kind::Malformed(rule) => {
            Refusal::Malformed { rule: field::text("refusal.malformed", rule)? }
        }
    };
    Ok(Receipt::Refused(refusal))
}

fn disagreement(message: &proto::Disagreement) -> Result<(Digest, Digest), DecodeError> {
    let expected = field::digest("refusal.expected", &message.expected)?;
    Ok((expected, field::digest("refusal.found", &message.found)?))
}
