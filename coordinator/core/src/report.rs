//! What a round tells the operator once it is over.

use std::collections::BTreeMap;

use params::Digest;
use protocol::id::{Round, Version};
use serde::{Deserialize, Serialize};

use crate::contributions::Totals;
use crate::published::Published;

/// How a round's collecting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// As many updates as wanted.
    Goal,
    /// Everyone asked has answered, declined or stayed away.
    Answered,
    /// The time limit.
    Deadline,
    /// The operator asked to stop.
    Stop,
}

/// One round, over. Rounds count attempts: an abandoned round has a number and a report, but no version of its own.
///
/// The report of a round may be given twice when the coordinator was killed in between; the later one replaces the earlier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundReport {
    /// The round, counted from 1.
    pub round: Round,
    /// The version after the round: a new one, or the one it started from when the round was abandoned.
    pub version: Version,
    /// Digest of that version's shared weights.
    pub model_digest: Digest,
    /// Whether too few updates came for a new version.
    pub abandoned: bool,
    /// How collecting ended.
    pub ending: Ending,
    /// Clients asked.
    pub asked: u32,
    /// Updates that make the version (of an abandoned round: that wait for the next one).
    pub contributors: u32,
    /// Of them, accepted in rounds before that were abandoned.
    #[serde(default)]
    pub carried: u32,
    /// Clients that declined.
    pub declined: u32,
    /// Clients whose session broke and who did not come back in time.
    pub lost: u32,
    /// Updates and evaluations refused since the last report, by reason.
    pub refused: BTreeMap<String, u32>,
    /// Mean training loss, weighted like the updates.
    pub loss: Option<f64>,

    /// Payload bytes of the updates accepted in this round.
    pub uplink_bytes: u64,
    /// Bytes of the accepted evaluations: score histograms and statistics.
    pub evaluation_bytes: u64,
    /// Payload bytes of versions fetched by clients since the last report, as `Event::Fetched` tells them.
    pub downlink_bytes: u64,
    /// Fetches behind `downlink_bytes`.
    pub fetches: u32,
    /// What these updates would be as dense f32: 4 bytes x shared values x (`contributors` - `carried`).
    pub dense_bytes: u64,
    /// Values that these updates send, where they leave some out.
    #[serde(default)]
    pub entries: u64,
    /// Bits of these updates for each of them, everything included.
    #[serde(default)]
    pub bits_per_entry: Option<f64>,
    /// The same over what it takes at least: log2 C(n, k) / k for which values are sent, if each choice is as likely, and the entropy of
    /// what they are. Codecs that send no places may be below 1.
    #[serde(default)]
    pub over_entropy: Option<f64>,
    /// The same where it is known how many of each tensor are sent.
    #[serde(default)]
    pub over_tensor_entropy: Option<f64>,
    /// Bytes received on the wire since the last report, everything included. The core leaves `None`; a driver that
    /// measures fills it in when it performs `Effect::Report`.
    pub wire_uplink_bytes: Option<u64>,
    /// Bytes sent on the wire; as `wire_uplink_bytes`.
    pub wire_downlink_bytes: Option<u64>,
    /// Seconds from opening the round to this report (after a restart: from the restart).
    pub seconds: f64,

    /// AP50 on the coordinator's own data, 0..1.
    pub ap50: Option<f64>,
    /// AP over IoU 0.50:0.05:0.95 on the coordinator's own data, 0..1.
    pub ap: Option<f64>,
    /// AP50 on the coordinator's own data by class; `None` for classes without boxes there.
    pub ap50_per_class: BTreeMap<String, Option<f64>>,
    /// Clients whose evaluation counts: those with boxes among their held-out images.
    pub evaluators: u32,
    /// Mean over evaluators of the AP50 of the version as published.
    pub ap50_global: Option<f64>,
    /// Mean over evaluators of the AP50 with their personal tensors.
    pub ap50_personal: Option<f64>,
    /// Smallest AP50 of an evaluator, of the version as published.
    pub ap50_worst: Option<f64>,
    /// AP50 of the version as published over all evaluators' detections together, from merged score histograms.
    pub ap50_merged: Option<f64>,
}

impl RoundReport {
    /// What is known when collecting ends: the updates. The rest is empty.
    pub(crate) fn new(round: Round, after: &Published, ending: Ending, totals: &Totals) -> Self {
        Self {
            round,
            version: after.version,
            model_digest: after.digest,
            abandoned: false,
            ending,
            asked: 0,
            contributors: totals.count,
            carried: totals.carried,
            declined: 0,
            lost: 0,
            refused: BTreeMap::new(),
            loss: totals.loss(),
            uplink_bytes: totals.payload_bytes,
            evaluation_bytes: 0,
            downlink_bytes: 0,
            fetches: 0,
            dense_bytes: 4 * after.model.ticks().len() as u64 * u64::from(totals.count - totals.carried),
            entries: totals.accounts.entries,
            bits_per_entry: totals.accounts.bits_per_entry(),
            over_entropy: totals.accounts.over_entropy(),
            over_tensor_entropy: totals.accounts.over_tensor_entropy(),
            wire_uplink_bytes: None,
            wire_downlink_bytes: None,
            seconds: 0.0,
            ap50: None,
            ap: None,
            ap50_per_class: BTreeMap::new(),
            evaluators: 0,
            ap50_global: None,
            ap50_personal: None,
            ap50_worst: None,
            ap50_merged: None,
        }
    }
}
