//! The simulator's analytic model, for the real coordinator, and trainers that wait until a test lets them go on.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use coordinator::learning::Learning;
use coordinator_core::{InitialModel, Published, Settings};
use params::Layout;
use protocol::evaluation::CentralScore;
use protocol::plan::ModelSpec;
use protocol::train::{
    DataSummary, EvaluateJob, EvaluateOutcome, StartValues, TrainError, TrainJob, TrainOutcome, Trainer,
};
use simulations::toy::{self, ToyDevice};

/// The coordinator's side of the toy.
#[derive(Debug)]
pub struct ToyLearning;

impl Learning for ToyLearning {
    fn knows(&self, preset: &str) -> Result<(), String> {
        if preset == toy::PRESET { Ok(()) } else { Err(format!("there is no model {preset}")) }
    }

    fn initial(&self, spec: &ModelSpec, _seed: u64) -> Result<InitialModel, String> {
        toy::initial(spec).map_err(|error| error.to_string())
    }

    fn score(&self, _: &ModelSpec, _: &Published) -> Result<CentralScore, String> {
        Err("the toy has no images to score on".to_owned())
    }

    fn save(&self, path: &Path, _: &ModelSpec, published: &Published) -> Result<(), String> {
        std::fs::write(path, published.encode()).map_err(|error| error.to_string())
    }
}

/// A run of the toy on so many clients, all of whom take part in every round.
pub fn settings(clients: u32, rounds: u32) -> Settings {
    let mut settings = Settings {
        seed: 7,
        rounds,
        preset: toy::PRESET.to_owned(),
        min_clients: clients,
        ..Settings::default()
    };
    settings.train.learning_rate = 0.05;
    settings
}

/// Toy device number `index`: its data differ from the others', its classes do not.
pub fn device(index: u32) -> Box<dyn Trainer> {
    Box::new(ToyDevice::new(vec!["cat".to_owned(), "dog".to_owned()], 10 + 5 * index, 0.5, u64::from(index)))
}

/// Closed until it is opened, for good.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody through from now on.
    pub fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open; blocks the thread.
    pub fn pass(&self) {
        let mut open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open {
            open = self.0.1.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What a trainer is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Train for a round.
    Train(u32),
    /// Score a version.
    Evaluate(u32),
}

/// A trainer with somebody who looks on before each job, may hold it up, and may spoil it.
pub struct Watched<F> {
    /// Who does the work.
    pub trainer: Box<dyn Trainer>,
    /// Who looks on.
    pub watch: F,
}

impl<F> Trainer for Watched<F>
where
    F: FnMut(Work) -> Result<(), TrainError> + Send,
{
    fn summary(&self) -> DataSummary {
        self.trainer.summary()
    }

    fn prepare(&mut self, spec: &ModelSpec) -> Result<Arc<Layout>, TrainError> {
        self.trainer.prepare(spec)
    }

    fn start(&self, seed: u64) -> Option<StartValues> {
        self.trainer.start(seed)
    }

    fn train(&mut self, job: TrainJob) -> Result<TrainOutcome, TrainError> {
        (self.watch)(Work::Train(job.round.0))?;
        self.trainer.train(job)
    }

    fn evaluate(&mut self, job: EvaluateJob) -> Result<EvaluateOutcome, TrainError> {
        (self.watch)(Work::Evaluate(job.version.0))?;
        self.trainer.evaluate(job)
    }
}
