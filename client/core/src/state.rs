//! What a device remembers across restarts, by name, and how it is written.
//!
//! Every state is a list of blocks (u32 length, bytes) and the CRC-32C of its name and blocks. Damaged state degrades: the device
//! says so and goes on as if it had none. State of another run or layout is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use codec::delta::{Content, content};
use codec::residual::{Lineage, Pending, Residual};
use codec::snapshot::{decode_snapshot, encode_snapshot};
use codec::statistics::StatisticsLayout;
use params::{Digest, Layout};
use protocol::id::{RunId, Version};
use protocol::message::UpdateHeader;
use protocol::plan::ModelSpec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::download::{FetchedModel, Shape};
pub use crate::pace::Pace;

/// Which run the device takes part in: [`Membership`].
pub const MEMBERSHIP: &str = "membership";
/// The residual, how often the device takes part, and the update that waits for its receipt, if any: [`Outgoing`]. One state, so that a power cut cannot
/// separate the two.
pub const OUTGOING: &str = "outgoing";
/// Names the last update that was accepted: [`encode_receipt`]. Small, so that committing a residual does not write it again.
pub const RECEIPT: &str = "receipt";
/// Personal values and statistics of the device: [`Device`].
pub const DEVICE: &str = "device";
/// The final version of the run: [`FinalModel`].
pub const MODEL: &str = "model";
/// The version it holds, from which it fetches what leads on: [`HeldVersion`].
pub const VERSION: &str = "version";
/// All names; a driver loads these at the start.
pub const NAMES: [&str; 6] = [MEMBERSHIP, OUTGOING, RECEIPT, DEVICE, MODEL, VERSION];

/// State by name, as persisted.
pub type Stored = BTreeMap<&'static str, Vec<u8>>;

/// Why stored state is of no use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StateError {
    /// Not what was written.
    #[error("stored {name} is damaged (checksum {found:08x}, the bytes give {expected:08x})")]
    Checksum {
        /// Name of the state.
        name: &'static str,
        /// Over the bytes.
        expected: u32,
        /// As stored.
        found: u32,
    },
    /// Written by something else.
    #[error("stored {name} cannot be read: {reason}")]
    Content {
        /// Name of the state.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// Of another run or another model.
    #[error("stored {name} belongs to another run or model")]
    Foreign {
        /// Name of the state.
        name: &'static str,
    },
}

impl StateError {
    fn content(name: &'static str, reason: impl ToString) -> Self {
        Self::Content { name, reason: reason.to_string() }
    }
}

/// The run a device takes part in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Membership {
    /// The run.
    pub run: RunId,
    /// Its seed.
    pub seed: u64,
    /// Architecture and classes, once known.
    pub spec: Option<ModelSpec>,
}

impl Membership {
    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        seal(MEMBERSHIP, &[&to_json(self)])
    }

    /// Reads what [`Self::encode`] gave.
    ///
    /// # Errors
    /// Damaged or unreadable bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let [json] = open(MEMBERSHIP, bytes)?;
        from_json(MEMBERSHIP, json)
    }
}

/// What the device owns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Device {
    /// Values of scope `Personal`; empty before the first training.
    pub personal: Vec<f32>,
    /// Statistics of its own data (scope `Statistic`); empty before the first training, and when the plan freezes them.
    pub statistics: Vec<f32>,
}

/// What a [`Device`] and a [`HeldVersion`] belong to: the run, and the layout of all scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The run.
    pub run: RunId,
    /// Digest of the full layout.
    pub layout: Digest,
}

impl Device {
    /// The bytes to store.
    pub fn encode(&self, origin: &Origin) -> Vec<u8> {
        seal(DEVICE, &[&to_json(origin), &to_bytes(&self.personal), &to_bytes(&self.statistics)])
    }

    /// Reads what [`Self::encode`] gave, with its origin.
    ///
    /// # Errors
    /// Damaged or unreadable bytes.
    pub fn decode(bytes: &[u8]) -> Result<(Origin, Self), StateError> {
        let [origin, personal, statistics] = open(DEVICE, bytes)?;
        let personal = to_values(DEVICE, personal)?;
        let statistics = to_values(DEVICE, statistics)?;
        Ok((from_json(DEVICE, origin)?, Self { personal, statistics }))
    }
}

/// A version in the middle of a run, bit for bit as it was published.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldVersion {
    /// The version.
    pub version: Version,
    /// Digest of its shared weights.
    pub digest: Digest,
    /// Its weights and statistics.
    pub model: Arc<FetchedModel>,
}

#[derive(Serialize, Deserialize)]
struct AboutHeld {
    origin: Origin,
    version: Version,
    digest: Digest,
}

impl HeldVersion {
    /// Its name, by which the coordinator knows what leads on from it.
    pub fn content(&self) -> Content {
        content(&self.digest, &self.model.statistics)
    }

    /// The bytes to store: a snapshot, as it would be fetched.
    pub fn encode(&self, origin: Origin, statistics: &StatisticsLayout) -> Vec<u8> {
        let about = AboutHeld { origin, version: self.version, digest: self.digest };
        let snapshot = encode_snapshot(statistics, &self.model.model, &self.model.statistics);
        seal(VERSION, &[&to_json(&about), &snapshot])
    }

    /// Reads what [`Self::encode`] gave, for a model of this `shape`.
    ///
    /// # Errors
    /// Damaged bytes, another run or model, weights that do not have the version's digest.
    pub fn decode(bytes: &[u8], origin: Origin, shape: &Shape) -> Result<Self, StateError> {
        let [about, snapshot] = open(VERSION, bytes)?;
        let about: AboutHeld = from_json(VERSION, about)?;
        if about.origin != origin {
            return Err(StateError::Foreign { name: VERSION });
        }
        let decoded = decode_snapshot(&shape.shared, &shape.statistics, snapshot);
        let (model, statistics) = decoded.map_err(|error| StateError::content(VERSION, error))?;
        if model.digest() != about.digest {
            return Err(StateError::content(VERSION, "its weights have another digest"));
        }
        let AboutHeld { version, digest, .. } = about;
        Ok(Self { version, digest, model: Arc::new(FetchedModel { model, statistics }) })
    }
}

/// The version a run ended with.
#[derive(Clone, Debug, PartialEq)]
pub struct FinalModel {
    /// Where it comes from.
    pub about: About,
    /// Values of scope `Shared`.
    pub shared: Vec<f32>,
    /// Pooled statistics.
    pub statistics: Vec<f32>,
}

/// Where a [`FinalModel`] comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The run.
    pub run: RunId,
    /// The version.
    pub version: Version,
    /// Digest of its shared weights on their grid.
    pub model_digest: Digest,
    /// Architecture and classes.
    pub spec: ModelSpec,
}

impl FinalModel {
    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        seal(MODEL, &[&to_json(&self.about), &to_bytes(&self.shared), &to_bytes(&self.statistics)])
    }

    /// Reads what [`Self::encode`] gave.
    ///
    /// # Errors
    /// Damaged or unreadable bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let [about, shared, statistics] = open(MODEL, bytes)?;
        let about = from_json(MODEL, about)?;
        Ok(Self { about, shared: to_values(MODEL, shared)?, statistics: to_values(MODEL, statistics)? })
    }
}

/// What a device has to send.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    /// Nothing but what it holds back.
    Settled(Residual),
    /// An update without a receipt.
    Unanswered {
        /// What precedes the bytes.
        header: UpdateHeader,
        /// The bytes, and what is held back when they are accepted.
        pending: Pending,
    },
}

impl Outgoing {
    /// The bytes to store.
    pub fn encode(&self, pace: &Pace) -> Vec<u8> {
        let pace = to_json(pace);
        match self {
            Self::Settled(residual) => seal(OUTGOING, &[&residual.encode(), &pace, &[], &[]]),
            Self::Unanswered { header, pending } => {
                seal(OUTGOING, &[&pending.after().encode(), &pace, &to_json(header), pending.payload()])
            }
        }
    }

    /// Reads what [`Self::encode`] gave for `lineage` over the `shared` layout; `receipt` is the state of that name. The
    /// update it names is settled.
    ///
    /// # Errors
    /// Damaged or unreadable bytes, or another lineage.
    pub fn decode(
        bytes: &[u8],
        receipt: Option<&[u8]>,
        lineage: Lineage,
        shared: &Layout,
    ) -> Result<(Self, Pace), StateError> {
        let [residual, pace, header, payload] = open(OUTGOING, bytes)?;
        let residual =
            Residual::decode(residual, lineage, shared.len()).map_err(|error| match error.rule {
                codec::Rule::Foreign { .. } => StateError::Foreign { name: OUTGOING },
                _ => StateError::content(OUTGOING, error),
            })?;
        let pace = from_json(OUTGOING, pace)?;
        if header.is_empty() {
            return Ok((Self::Settled(residual), pace));
        }
        let header: UpdateHeader = from_json(OUTGOING, header)?;
        // A damaged receipt only means that the update is sent again, and gets the same receipt.
        if receipt == Some(&encode_receipt(&header)) {
            return Ok((Self::Settled(residual), pace));
        }
        let pending = Pending::resume(residual, shared, payload.to_vec());
        let pending = pending.map_err(|error| StateError::content(OUTGOING, error))?;
        Ok((Self::Unanswered { header, pending }, pace))
    }
}

/// The state [`RECEIPT`] once the update with this header is accepted. It covers the whole header, since two rounds may have
/// equal payloads.
pub fn encode_receipt(header: &UpdateHeader) -> Vec<u8> {
    seal(RECEIPT, &[&Digest::of(&[&to_json(header)]).0])
}

fn checksum(name: &str, blocks: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(name.as_bytes()), blocks)
}

fn seal(name: &str, blocks: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(blocks.iter().map(|block| block.len() + 4).sum::<usize>() + 4);
    for block in blocks {
        bytes.extend_from_slice(&(block.len() as u32).to_le_bytes());
        bytes.extend_from_slice(block);
    }
    let checksum = checksum(name, &bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn open<'a, const N: usize>(name: &'static str, bytes: &'a [u8]) -> Result<[&'a [u8]; N], StateError> {
    let short = || StateError::content(name, "it ends too early");
    let (mut rest, stored) = bytes.split_last_chunk::<4>().ok_or_else(short)?;
    let (expected, found) = (checksum(name, rest), u32::from_le_bytes(*stored));
    if expected != found {
        return Err(StateError::Checksum { name, expected, found });
    }
    let mut blocks = [&[][..]; N];
    for block in &mut blocks {
        let (len, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        (*block, rest) = after.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(short)?;
    }
    if rest.is_empty() { Ok(blocks) } else { Err(StateError::content(name, "it has too many parts")) }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Plain structs with string keys always serialise.
    serde_json::to_vec(value).unwrap_or_default()
}

fn from_json<T: DeserializeOwned>(name: &'static str, json: &[u8]) -> Result<T, StateError> {
    serde_json::from_slice(json).map_err(|error| StateError::content(name, error))
}

fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn to_values(name: &'static str, bytes: &[u8]) -> Result<Vec<f32>, StateError> {
    let (words, rest) = bytes.as_chunks::<4>();
    let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    if rest.is_empty() && values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(StateError::content(name, "values are not finite numbers"))
    }
}

#[cfg(test)]
mod tests;
