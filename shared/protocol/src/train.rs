//! The seam to learning: what a core asks of whoever owns tensors and images.
//!
//! The cores never see an image or a tensor; they hand flat vectors to a [`Trainer`] and get flat vectors back. The real one
//! (burn, images on disk) and the analytic toy of the simulator implement the same trait, and personal state is handed in
//! and out so that it is the client core, not the trainer, that owns and stores it.

use std::sync::Arc;

use params::Layout;
use thiserror::Error;

use crate::evaluation::Evaluation;
use crate::id::{Round, Version};
use crate::plan::{ModelSpec, Norm, TrainPlan};

/// What a device says of its data before it takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSummary {
    /// Names of the classes its images are annotated with.
    pub classes: Vec<String>,
    /// Training images.
    pub examples: u32,
    /// Held-out images.
    pub held_out: u32,
}

/// A model that a device has built.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// All tensors, all scopes.
    pub layout: Arc<Layout>,
    /// What the run starts from, if the device can tell.
    pub start: Option<StartValues>,
}

/// Weights of a run before anything is learned, each vector in its scope's part of the layout.
#[derive(Clone, Debug, PartialEq)]
pub struct StartValues {
    /// Values of scope `Shared`.
    pub shared: Vec<f32>,
    /// Values of scope `Statistic`.
    pub statistics: Vec<f32>,
}

/// The weights a device works with, each vector in its scope's part of the layout, in layout order.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceModel {
    /// Values of scope `Shared`: the published version (or that plus what this device has not yet sent).
    pub shared: Vec<f32>,
    /// Values of scope `Statistic`: the device's own, or the published ones at the start.
    pub statistics: Vec<f32>,
    /// Values of scope `Personal`; never leave the device.
    pub personal: Vec<f32>,
}

/// Train on the device's images.
#[derive(Clone, Debug)]
pub struct TrainJob {
    /// The round.
    pub round: Round,
    /// Seed of the client's training stream for this round.
    pub seed: u64,
    /// How.
    pub plan: TrainPlan,
    /// From where.
    pub model: DeviceModel,
}

/// What training gave.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOutcome {
    /// The weights after training (`shared` averaged over steps when the plan says so).
    pub model: DeviceModel,
    /// Training images used.
    pub examples: u32,
    /// Optimiser steps taken.
    pub steps: u32,
    /// Mean loss over the last epoch.
    pub loss: f32,
}

/// Score a version on the device's held-out images, with and without its personal tensors.
#[derive(Clone, Debug)]
pub struct EvaluateJob {
    /// The version.
    pub version: Version,
    /// Seed of the client's stream (which images calibrate the statistics).
    pub seed: u64,
    /// Whether statistics are recomputed on the device's training images first.
    pub norm: Norm,
    /// Published shared weights, the published statistics, and the device's personal tensors.
    pub model: DeviceModel,
}

/// What evaluation gave. `evaluation.statistics` is left empty: the client core encodes them.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluateOutcome {
    /// Scores and histograms.
    pub evaluation: Evaluation,
    /// Statistics of the device's training images under this version (scope `Statistic`, layout order); those of the job
    /// when the plan freezes them.
    pub statistics: Vec<f32>,
    /// Images behind the statistics.
    pub statistics_images: u32,
}

/// Training or evaluation failed on the device.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrainError {
    /// The preset is not known to this build, or the spec is inconsistent.
    #[error("cannot build the model: {0}")]
    Model(String),
    /// Weights do not fit the model.
    #[error("expected {expected} {scope} values, found {found}")]
    Length {
        /// Scope of the vector.
        scope: &'static str,
        /// Values of the layout.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// Images could not be read.
    #[error("cannot read the device's images: {0}")]
    Data(String),
    /// Loss or weights are not finite any more.
    #[error("training diverged at step {step}: {what} is not finite")]
    Diverged {
        /// Step in this round.
        step: u32,
        /// `loss`, or the tensor concerned.
        what: String,
    },
    /// A step takes more memory than the device grants.
    #[error(
        "a training step on {images} images at once takes about {needed_mb} MB of memory, and {granted_mb} MB are \
         granted: {}, or grant more (--memory-mb)", advice(*.fits)
    )]
    Memory {
        /// Images that go through the network at once.
        images: usize,
        /// What that takes, MB.
        needed_mb: u64,
        /// What the device grants, MB.
        granted_mb: u64,
        /// Most images at once that the grant is enough for.
        fits: usize,
    },
}

fn advice(fits: usize) -> String {
    match fits {
        0 => "choose a smaller preset or input".to_owned(),
        fits => format!("lower micro_batch (or batch) to {fits}"),
    }
}

/// Learns on one device. Called from a worker thread, one job at a time.
pub trait Trainer: Send {
    /// What the device has.
    fn summary(&self) -> DataSummary;

    /// Fixes the architecture and label space; returns the full layout (all scopes).
    ///
    /// # Errors
    /// [`TrainError::Model`] when this build does not know the preset.
    fn prepare(&mut self, spec: &ModelSpec) -> Result<Arc<Layout>, TrainError>;

    /// The weights that a run of this seed starts from, unless its coordinator was given others; `prepare` comes first. A device that
    /// can make them itself need not fetch them. `None`: it cannot.
    fn start(&self, _seed: u64) -> Option<StartValues> {
        None
    }

    /// Both of these: [`Trainer::prepare`], then [`Trainer::start`].
    ///
    /// # Errors
    /// As [`Trainer::prepare`].
    fn take_up(&mut self, spec: &ModelSpec, seed: u64) -> Result<Prepared, TrainError> {
        let layout = self.prepare(spec)?;
        Ok(Prepared { start: self.start(seed), layout })
    }

    /// Trains; `prepare` comes first.
    ///
    /// # Errors
    /// Wrong lengths, unreadable data, divergence.
    fn train(&mut self, job: TrainJob) -> Result<TrainOutcome, TrainError>;

    /// Evaluates; `prepare` comes first.
    ///
    /// # Errors
    /// Wrong lengths, unreadable data.
    fn evaluate(&mut self, job: EvaluateJob) -> Result<EvaluateOutcome, TrainError>;
}
