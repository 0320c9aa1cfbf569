//! The seam to models: what the coordinator asks of whoever owns tensors and images.

use std::path::Path;

use coordinator_core::{InitialModel, Published};
use protocol::evaluation::CentralScore;
use protocol::plan::ModelSpec;

#[cfg(feature = "detector")]
mod detector;

#[cfg(feature = "detector")]
pub use detector::{Detector, DetectorError};

/// Makes, scores and saves models. Called from worker threads; one call at a time, each of which may take minutes. Failures
/// are one line for the operator.
pub trait Learning: Send + Sync {
    /// Whether there is a model of this name; the error lists those there are.
    ///
    /// # Errors
    /// There is none.
    fn knows(&self, preset: &str) -> Result<(), String>;

    /// The start of a run: layout, shared weights, statistics. The same spec and seed give the same start.
    ///
    /// # Errors
    /// Weights to start from that do not fit.
    fn initial(&self, spec: &ModelSpec, seed: u64) -> Result<InitialModel, String>;

    /// Scores a version on the coordinator's own data.
    ///
    /// # Errors
    /// There is none, or its images cannot be read.
    fn score(&self, spec: &ModelSpec, published: &Published) -> Result<CentralScore, String>;

    /// Saves a version as a weights file, durably.
    ///
    /// # Errors
    /// The file cannot be written.
    fn save(&self, path: &Path, spec: &ModelSpec, published: &Published) -> Result<(), String>;
}
