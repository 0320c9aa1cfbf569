//! What a client is asked to do in a round.

use std::time::Duration;

use params::{Digest, Share};
use serde::{Deserialize, Serialize};

use crate::id::{Round, Version};

/// The architecture and label space of a run, frozen before the first round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Preset name, for example `small256` (or `toy` in simulations).
    pub preset: String,
    /// Class names in the order of the class layer's outputs.
    pub classes: Vec<String>,
}

/// One round's task for one client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundPlan {
    /// The round.
    pub round: Round,
    /// The version to start from.
    pub version: Version,
    /// Digest of that version's shared weights.
    pub model_digest: Digest,
    /// Time the client has from receipt to upload; later updates are refused.
    pub time_limit: Duration,
    /// How to train.
    pub train: TrainPlan,
    /// How to compress what is sent.
    pub uplink: UplinkPlan,
    /// Personalisation method by registry name (`none`, `head`).
    pub personalise: String,
}

/// One version's evaluation by one client. It names all the client needs, so that one that has never trained in the run
/// evaluates like the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationPlan {
    /// The round that published the version.
    pub round: Round,
    /// The version.
    pub version: Version,
    /// Digest of its shared weights.
    pub model_digest: Digest,
    /// The channels whose statistics this client is to report.
    pub share: Share,
    /// Batch-norm statistics: the device's own, or those of the version.
    pub norm: Norm,
    /// Personalisation method by registry name (`none`, `head`).
    pub personalise: String,
}

/// Which optimiser runs on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimiser {
    /// Decoupled weight decay (Loshchilov and Hutter 2019), beta 0.9 / 0.999.
    AdamW,
    /// SGD with Nesterov momentum 0.9.
    Sgd,
    /// AdamW with one second moment per tensor (after Zhang et al. 2024, arXiv:2406.16793), beta 0.9 / 0.95. Within a tensor
    /// steps keep the proportions of the gradients, so far fewer values of an update matter than with [`Self::AdamW`].
    #[serde(rename = "adam-mini")]
    AdamMini,
}

/// Which tensors train; in configuration `head`, `neck+head`, `light` or `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Freeze {
    /// Only the head trains.
    #[serde(rename = "head")]
    Head,
    /// Neck and head train.
    #[serde(rename = "neck+head")]
    NeckHead,
    /// Everything but the 1x1 convolutions of the backbone behind its finest tapped level: three quarters of all weights, and
    /// those that contribute least in tens of rounds, so the bytes of an update go where they count.
    #[serde(rename = "light")]
    Light,
    /// Everything trains.
    #[serde(rename = "all")]
    None,
}

/// What batch norm does with its statistics in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Batch statistics in training; each device scores with statistics of its own data.
    Local,
    /// The statistics the model came with, never changed.
    Frozen,
}

/// Which class loss trains the class layer, by registry name of the detection crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassLoss {
    /// Quality focal loss: the score learns the IoU.
    QualityFocal,
    /// Sigmoid focal loss.
    Focal,
}

/// Local training, the same for every client of a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainPlan {
    /// Passes over the device's training images.
    pub local_epochs: u32,
    /// Images per optimiser step.
    pub batch: u32,
    /// Images per forward pass; gradients accumulate until `batch` is reached, so memory follows this.
    pub micro_batch: u32,
    /// The optimiser.
    pub optimiser: Optimiser,
    /// Peak learning rate (per batch, not per image).
    pub learning_rate: f32,
    /// Weight decay, on weights only.
    pub weight_decay: f32,
    /// Largest L2 norm of a step's gradient.
    pub clip_norm: f32,
    /// Decay of the average of weights over steps that is scored and sent; 0 sends the last weights.
    pub ema_decay: f32,
    /// Share of the whole run's schedule at which this round starts, 0..1: places the round on warm-up and cosine.
    pub progress_start: f32,
    /// Share of the whole run's schedule at which this round ends, 0..1.
    pub progress_end: f32,
    /// Share of the whole run spent in linear warm-up.
    pub warm_up: f32,
    /// The last learning rate as a share of the peak.
    pub final_rate: f32,
    /// Which tensors train.
    pub freeze: Freeze,
    /// Batch-norm statistics.
    pub norm: Norm,
    /// The class loss.
    pub class_loss: ClassLoss,
    /// Whether targets are assigned by centres (a young head) rather than task-aligned.
    pub static_assignment: bool,
    /// Probability of a mosaic of four images.
    pub mosaic: f32,
    /// Whether horizontal flips are allowed (text-like classes forbid them).
    pub flip: bool,
    /// Whether vertical flips are allowed (microscopes and aerial views).
    pub flip_vertical: bool,
}

/// Personalisation methods a plan may name; the client's core implements each under the same name.
pub const PERSONALISATIONS: &[&str] = &["none", "head"];

/// How an update is compressed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UplinkPlan {
    /// Codec by registry name.
    pub codec: String,
    /// Share of shared values that are sent, 0..1.
    pub density: f32,
    /// Share of a tensor that is sent at least (never less than one value), 0..1.
    pub floor: f32,
    /// What remains of the unsent residual at each participation, 0..1.
    pub residual_decay: f32,
    /// Largest norm of what is held back of a tensor, relative to that of what training has just changed in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residual_guard: Option<f32>,
    /// Bits per value, sign included.
    pub value_bits: u8,
    /// Most bytes of an update, from which the codec chooses what is sent instead of from `density`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_bytes: Option<u32>,
}

impl Default for UplinkPlan {
    /// 1.6 % of the values in 2 bits each, 1 % from every tensor at least, residual decayed by 0.9: with `light` training
    /// about 1/270 of dense f32.
    fn default() -> Self {
        Self {
            codec: "sparse".into(),
            density: 0.016,
            floor: 0.01,
            residual_decay: 0.9,
            residual_guard: None,
            value_bits: 2,
            budget_bytes: None,
        }
    }
}
