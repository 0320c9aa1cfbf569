//! A model that is nothing but weights, as many as a test wants, for those that are about bytes.

use std::path::Path;
use std::sync::Arc;

use coordinator::learning::Learning;
use coordinator_core::{InitialModel, Published};
use params::{Layout, Scope, TensorSpec};
use protocol::evaluation::{CentralScore, Evaluation};
use protocol::plan::ModelSpec;
use protocol::train::{
    DataSummary, EvaluateJob, EvaluateOutcome, StartValues, TrainError, TrainJob, TrainOutcome, Trainer,
};

/// Both sides of it. Training moves every weight, a few of them far; evaluation finds nothing.
#[derive(Clone, Copy, Debug)]
pub struct Flat {
    /// Weights, in 16 tensors.
    pub values: usize,
}

impl Flat {
    const TENSORS: usize = 16;

    fn layout(self) -> Result<Arc<Layout>, String> {
        let from = |index: usize| self.values * index / Self::TENSORS;
        let tensor = |index: usize| TensorSpec {
            name: format!("tensor{index}"),
            shape: vec![from(index + 1) - from(index)],
            scope: Scope::Shared,
        };
        let layout = Layout::new((0..Self::TENSORS).map(tensor).collect());
        layout.map(Arc::new).map_err(|error| error.to_string())
    }

    fn start_values(self) -> Vec<f32> {
        (0..self.values).map(|index| (index as f32 * 0.37).sin()).collect()
    }
}

impl Learning for Flat {
    fn knows(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn initial(&self, _: &ModelSpec, _: u64) -> Result<InitialModel, String> {
        Ok(InitialModel { layout: self.layout()?, shared: self.start_values(), statistics: Vec::new() })
    }

    fn score(&self, _: &ModelSpec, _: &Published) -> Result<CentralScore, String> {
        Err("there is nothing to score".to_owned())
    }

    fn save(&self, _: &Path, _: &ModelSpec, _: &Published) -> Result<(), String> {
        Ok(())
    }
}

impl Trainer for Flat {
    fn summary(&self) -> DataSummary {
        DataSummary { classes: vec!["cat".to_owned()], examples: 5, held_out: 0 }
    }

    fn prepare(&mut self, _: &ModelSpec) -> Result<Arc<Layout>, TrainError> {
        self.layout().map_err(TrainError::Data)
    }

    fn start(&self, _: u64) -> Option<StartValues> {
        Some(StartValues { shared: self.start_values(), statistics: Vec::new() })
    }

    fn train(&mut self, job: TrainJob) -> Result<TrainOutcome, TrainError> {
        let mut model = job.model;
        let round = job.round.0 as f32;
        for (index, value) in model.shared.iter_mut().enumerate() {
            *value += 1e-3 * (index as f32 * 0.7 + round).sin().powi(5);
        }
        Ok(TrainOutcome { model, examples: 5, steps: 1, loss: 1.0 })
    }

    fn evaluate(&mut self, job: EvaluateJob) -> Result<EvaluateOutcome, TrainError> {
        let (evaluation, statistics) = (Evaluation::default(), job.model.statistics);
        Ok(EvaluateOutcome { evaluation, statistics, statistics_images: 0 })
    }
}
