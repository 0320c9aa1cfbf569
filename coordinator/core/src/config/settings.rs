//! The settings of a run as a file or a command line gives them; [`super::RunConfig`] is what remains after checking.

use protocol::id::Version;
use protocol::plan::{ClassLoss, Freeze, Norm, Optimiser, TrainPlan};
use serde::{Deserialize, Serialize};

use super::links::{DownlinkSettings, UplinkSettings};
use crate::registry::Choice;

/// What can be set about a run. Every field has a default; unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Seed of everything random in the run: weights, cohorts, the order of training images.
    pub seed: u64,
    /// Versions to publish after the start.
    pub rounds: u32,
    /// Model preset, for example `small256`; the driver knows which there are.
    pub preset: String,
    /// Class names in the order of the class layer; without them the union of the first cohort's, sorted.
    pub classes: Option<Vec<String>>,
    /// Clients that must be connected before a round opens.
    pub min_clients: u32,
    /// Updates without which a round publishes nothing. When not given, half of `min_clients` or of `cohort`, whichever is
    /// smaller, but two if that is not more than it.
    pub min_contributors: Option<u32>,
    /// Updates after which a round closes; everyone connected at its opening when not given.
    pub cohort: Option<u32>,
    /// Clients asked per update wanted (at least 1), for those that decline or are slow. Only with `cohort`.
    pub over_selection: f64,
    /// How clients are chosen.
    pub select: Choice,
    /// Time from opening a round until later updates are refused, seconds.
    pub round_time_limit_s: f64,
    /// Time for evaluations after a version is published, seconds.
    pub evaluation_time_limit_s: f64,
    /// How long a round waits for a client whose session broke, seconds.
    pub grace_s: f64,
    /// Rounds abandoned in a row after which the run stops.
    pub abandoned_rounds_max: u32,
    /// How updates become one.
    pub combine: Choice,
    /// Examples that one update counts for at most.
    pub weight_cap: u32,
    /// How the combined update moves the model.
    pub server_optimiser: Choice,
    /// The contributors of every n-th version evaluate it; those of the last version always.
    pub evaluate_every: u32,
    /// Whether the coordinator scores each version on data of its own.
    pub central_score: bool,
    /// Personalisation method of the devices.
    pub personalise: String,
    /// Local training.
    pub train: TrainSettings,
    /// Compression of updates.
    pub uplink: UplinkSettings,
    /// Compression of versions.
    pub downlink: DownlinkSettings,
}

/// Settings that may change when a run is continued: they decide when and whom to wait for, not what an update means.
pub(crate) const OPERATIONAL: &[&str] = &[
    "min_clients",
    "min_contributors",
    "cohort",
    "over_selection",
    "round_time_limit_s",
    "evaluation_time_limit_s",
    "grace_s",
    "abandoned_rounds_max",
    "evaluate_every",
    "central_score",
];

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            rounds: 20,
            preset: "small256".into(),
            classes: None,
            min_clients: 2,
            min_contributors: None,
            cohort: None,
            over_selection: 1.3,
            select: Choice::named("uniform"),
            round_time_limit_s: 3600.0,
            evaluation_time_limit_s: 600.0,
            grace_s: 60.0,
            abandoned_rounds_max: 20,
            combine: Choice::named("mean"),
            weight_cap: 4096,
            server_optimiser: Choice::named("none"),
            evaluate_every: 1,
            central_score: false,
            personalise: "head".into(),
            train: TrainSettings::default(),
            uplink: UplinkSettings::default(),
            downlink: DownlinkSettings::default(),
        }
    }
}

/// Local training, over the whole run. [`TrainSettings::plan`] cuts out one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSettings {
    /// Passes over the device's training images per round.
    pub local_epochs: u32,
    /// Images per optimiser step.
    pub batch: u32,
    /// Images per forward pass; gradients accumulate until `batch`, so memory follows this.
    pub micro_batch: u32,
    /// The optimiser: `adamw`, `adam-mini` or `sgd`.
    pub optimiser: Optimiser,
    /// Peak learning rate.
    pub learning_rate: f32,
    /// Weight decay, on weights only.
    pub weight_decay: f32,
    /// Largest L2 norm of a step's gradient.
    pub clip_norm: f32,
    /// Largest decay of the average of weights over steps that is sent and scored; 0 sends the last weights.
    pub ema_decay: f32,
    /// Share of the run spent in linear warm-up, 0..1.
    pub warm_up: f32,
    /// The last learning rate as a share of the peak, after a cosine.
    pub final_rate: f32,
    /// Which tensors train: `head`, `neck+head`, `light` (all but the 1x1 convolutions of the deep backbone) or `all`.
    pub trained: Freeze,
    /// Batch norm: `local` or `frozen`.
    pub norm: Norm,
    /// Class loss: `quality_focal` or `focal`.
    pub class_loss: ClassLoss,
    /// Versions from the start that are trained with static assignment; task-aligned afterwards.
    pub static_rounds: u32,
    /// Probability of a mosaic of four images, 0..1.
    pub mosaic: f32,
    /// Share of the run after which there are no mosaics, 0..1.
    pub mosaic_until: f32,
    /// Whether images may be flipped left to right (text-like classes forbid it).
    pub flip: bool,
    /// Whether images may be flipped upside down (microscopes and aerial views).
    pub flip_vertical: bool,
}

impl Default for TrainSettings {
    /// The recipe that learned a detector from random weights over federated rounds in the fewest passes. Steps matter most
    /// when a device has few images: on blood cells (BCCD) the same passes in batches of 8, 4 and 2 gave AP50 0.60, 0.64 and
    /// 0.74 on the validation split.
    fn default() -> Self {
        Self {
            local_epochs: 4,
            batch: 2,
            micro_batch: 2,
            optimiser: Optimiser::AdamMini,
            learning_rate: 6e-3,
            weight_decay: 0.05,
            clip_norm: 10.0,
            ema_decay: 0.998,
            warm_up: 0.05,
            final_rate: 0.02,
            trained: Freeze::Light,
            norm: Norm::Local,
            class_loss: ClassLoss::QualityFocal,
            static_rounds: 2,
            mosaic: 0.0,
            mosaic_until: 0.85,
            flip: true,
            flip_vertical: false,
        }
    }
}

impl TrainSettings {
    /// The plan of the round that starts from `version`, in a run of so many `rounds`.
    ///
    /// The schedule follows versions, not attempts: an abandoned round is trained again at the same rate.
    pub fn plan(&self, version: Version, rounds: u32) -> TrainPlan {
        let share = |version: u32| (f64::from(version) / f64::from(rounds.max(1))).min(1.0) as f32;
        let progress_start = share(version.0);
        TrainPlan {
            local_epochs: self.local_epochs,
            batch: self.batch,
            micro_batch: self.micro_batch,
            optimiser: self.optimiser,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            clip_norm: self.clip_norm,
            ema_decay: self.ema_decay,
            progress_start,
            progress_end: share(version.0.saturating_add(1)),
            warm_up: self.warm_up,
            final_rate: self.final_rate,
            freeze: self.trained,
            norm: self.norm,
            class_loss: self.class_loss,
            static_assignment: version.0 < self.static_rounds,
            mosaic: if progress_start < self.mosaic_until { self.mosaic } else { 0.0 },
            flip: self.flip,
            flip_vertical: self.flip_vertical,
        }
    }
}
