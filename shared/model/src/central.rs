//! Scoring published versions on images that the coordinator has.

use dataset::Dataset;
use protocol::evaluation::CentralScore;
use protocol::plan::ModelSpec;
use protocol::train::TrainError;
use rayon::ThreadPool;

use crate::architecture::Architecture;
use crate::device::pool;
use crate::evaluate::{DetectConfig, evaluate};
use crate::examples::Examples;
use crate::trainer::{TrainerConfig, join_published};

/// Labelled images to score versions on.
pub struct CentralEvaluator {
    architecture: Architecture,
    examples: Examples,
    pool: ThreadPool,
    config: TrainerConfig,
}

impl CentralEvaluator {
    /// Takes all labelled images of `dataset`; of `config`, what is said of backend, threads, memory and batches counts.
    ///
    /// # Errors
    /// An unknown preset, bad class names, no labelled images, threads that cannot be started.
    pub fn new(dataset: Dataset, spec: &ModelSpec, config: TrainerConfig) -> Result<Self, TrainError> {
        let architecture =
            Architecture::new(spec).map_err(|refused| TrainError::Model(refused.to_string()))?;
        let (classes, pixels) = (architecture.classes(), architecture.pixels());
        let examples = Examples::new(dataset, classes, pixels, config.cache_bytes, config.limits);
        if examples.is_empty() {
            return Err(TrainError::Data("no labelled images".to_owned()));
        }
        Ok(Self { architecture, examples, pool: pool(config.threads)?, config })
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.examples.len()
    }

    /// Scores a version: its shared values and the statistics published with it, each in its scope's part of the layout.
    ///
    /// # Errors
    /// Wrong lengths; images that cannot be read any more.
    pub fn score(&self, shared: &[f32], statistics: &[f32]) -> Result<CentralScore, TrainError> {
        let architecture = &self.architecture;
        let values = join_published(architecture, shared, statistics)?;
        let (device, batch) = (self.config.backend.device(), self.config.batch.max(1));
        let scored = self.pool.install(|| {
            evaluate(architecture, &self.examples, &device, &values, batch, &DetectConfig::default())
        })?;
        Ok(scored.shared.central(architecture.classes()))
    }
}
