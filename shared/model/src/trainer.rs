//! The real [`Trainer`]: images on disk, tensors in burn.

use std::sync::Arc;

use dataset::partition::split_holdout;
use dataset::{Dataset, DecodeLimits};
use detection::histogram::HistogramConfig;
use params::{Layout, Scope};
use protocol::evaluation::Evaluation;
use protocol::plan::{ModelSpec, Norm};
use protocol::train::{
    DataSummary, DeviceModel, EvaluateJob, EvaluateOutcome, StartValues, TrainError, TrainJob, TrainOutcome,
    Trainer,
};
use rayon::ThreadPool;

use crate::architecture::Architecture;
use crate::budget::{self, Recompute};
use crate::calibrate::calibrate;
use crate::device::{Backend, pool};
use crate::evaluate::{DetectConfig, evaluate};
use crate::examples::Examples;
use crate::fit::Fit;
use crate::initial::{adopt_class_layer, initial};

/// What a device grants to training.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerConfig {
    /// Where tensors live.
    pub backend: Backend,
    /// Threads that work on them; 0 takes all cores.
    pub threads: usize,
    /// Share of the images held out for evaluation, 0..1.
    pub held_out: f64,
    /// Images held out at least, as far as half the images allow.
    pub held_out_min: usize,
    /// Seed of the choice of held-out images; the same seed and images give the same choice.
    pub held_out_seed: u64,
    /// Memory for decoded training images, bytes.
    pub cache_bytes: usize,
    /// Most memory a training step may take, bytes, apart from decoded images; no limit without it.
    pub memory_bytes: Option<usize>,
    /// Whether steps take less memory and more time.
    pub recompute: Recompute,
    /// Whether a training looks for the first layer with a value that is not finite.
    pub check_finite: bool,
    /// Images per forward pass when nothing is trained.
    pub batch: usize,
    /// Resolution of score histograms, the same for all devices of a run.
    pub histogram: HistogramConfig,
    /// Bounds on each image.
    pub limits: DecodeLimits,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            threads: 0,
            held_out: 0.15,
            held_out_min: 1,
            held_out_seed: 0,
            cache_bytes: 256 << 20,
            memory_bytes: None,
            recompute: Recompute::default(),
            check_finite: false,
            batch: 8,
            histogram: HistogramConfig::default(),
            limits: DecodeLimits::default(),
        }
    }
}

/// Trains and evaluates a detector on the labelled images of one data set.
pub struct DetectorTrainer {
    config: TrainerConfig,
    pool: ThreadPool,
    train: Dataset,
    held_out: Dataset,
    prepared: Option<Prepared>,
}

/// What the run's spec fixes.
struct Prepared {
    architecture: Architecture,
    train: Examples,
    held_out: Examples,
}

impl DetectorTrainer {
    /// Divides the labelled images of `dataset` into training and held-out ones.
    ///
    /// # Errors
    /// No labelled images; threads that cannot be started.
    pub fn new(dataset: &Dataset, config: TrainerConfig) -> Result<Self, TrainError> {
        let labelled: Vec<usize> =
            (0..dataset.samples.len()).filter(|&index| dataset.samples[index].labelled).collect();
        if labelled.is_empty() {
            return Err(TrainError::Data("no labelled images".to_owned()));
        }
        let labelled = dataset.subset(&labelled);
        let split =
            split_holdout(&labelled.traits(), config.held_out, config.held_out_min, config.held_out_seed);
        let (train, held_out) = (labelled.subset(&split.train), labelled.subset(&split.held_out));
        Ok(Self { pool: pool(config.threads)?, config, train, held_out, prepared: None })
    }

    fn prepared(&self) -> Result<&Prepared, TrainError> {
        self.prepared.as_ref().ok_or_else(|| TrainError::Model("no model has been prepared".to_owned()))
    }
}

impl Trainer for DetectorTrainer {
    fn summary(&self) -> DataSummary {
        DataSummary {
            classes: self.train.classes.clone(),
            examples: self.train.samples.len() as u32,
            held_out: self.held_out.samples.len() as u32,
        }
    }

    fn prepare(&mut self, spec: &ModelSpec) -> Result<Arc<Layout>, TrainError> {
        if let Some(prepared) = &self.prepared
            && prepared.architecture.spec() == *spec
        {
            return Ok(Arc::clone(prepared.architecture.layout()));
        }
        let architecture =
            Architecture::new(spec).map_err(|refused| TrainError::Model(refused.to_string()))?;
        let (classes, pixels, limits) = (architecture.classes(), architecture.pixels(), self.config.limits);
        // Held-out images are looked at twice a round at most; training images many times.
        let held_out_bytes = self.config.cache_bytes / 8;
        let train_bytes = self.config.cache_bytes - held_out_bytes;
        let train = Examples::for_training(self.train.clone(), classes, pixels, train_bytes, limits);
        let held_out = Examples::new(self.held_out.clone(), classes, pixels, held_out_bytes, limits);
        let layout = Arc::clone(architecture.layout());
        self.prepared = Some(Prepared { architecture, train, held_out });
        Ok(layout)
    }

    fn start(&self, seed: u64) -> Option<StartValues> {
        let architecture = &self.prepared.as_ref()?.architecture;
        let values = initial(architecture, seed);
        let of = |scope| architecture.layout().gather(&values, scope);
        Some(StartValues { shared: of(Scope::Shared), statistics: of(Scope::Statistic) })
    }

    fn train(&mut self, job: TrainJob) -> Result<TrainOutcome, TrainError> {
        let Prepared { architecture, train, .. } = self.prepared()?;
        let TrainerConfig { memory_bytes, recompute, check_finite, .. } = self.config;
        let recompute = budget::settle(architecture, &job.plan, train.len(), memory_bytes, recompute)?;
        let values = join(architecture.layout(), &job.model)?;
        let device = self.config.backend.device();
        self.pool.install(|| {
            let fit = Fit::new(architecture, train, &device, &job.plan, values, job.seed)?;
            let mut fit = fit.check_finite(check_finite).recompute(recompute);
            let mut loss = 0.0;
            for _ in 0..job.plan.local_epochs {
                loss = fit.epoch()?.loss;
            }
            Ok(TrainOutcome {
                model: split(architecture.layout(), fit.values()),
                examples: train.len() as u32,
                steps: fit.steps_taken(),
                loss,
            })
        })
    }

    fn evaluate(&mut self, job: EvaluateJob) -> Result<EvaluateOutcome, TrainError> {
        let Prepared { architecture, train, held_out } = self.prepared()?;
        let mut values = join(architecture.layout(), &job.model)?;
        let device = self.config.backend.device();
        let batch = self.config.batch.max(1);
        let data = |refused: &dyn std::fmt::Display| TrainError::Data(refused.to_string());
        self.pool.install(|| {
            let statistics_images = match job.norm {
                Norm::Local => calibrate(architecture, train, &device, &mut values, batch, job.seed)
                    .map_err(|refused| data(&refused))?,
                Norm::Frozen => 0,
            };
            let scored = evaluate(architecture, held_out, &device, &values, batch, &DetectConfig::default())?;
            let histogram = self.config.histogram;
            let global = scored.shared.score(histogram).map_err(|refused| data(&refused))?;
            let personal = scored.personal.score(histogram).map_err(|refused| data(&refused))?;
            let evaluation = Evaluation {
                images: scored.images,
                boxes: scored.boxes,
                global,
                personal,
                statistics: Vec::new(),
                statistics_images,
            };
            let statistics = architecture.layout().gather(&values, Scope::Statistic);
            Ok(EvaluateOutcome { evaluation, statistics, statistics_images })
        })
    }
}

/// The scopes of a device's model as one flat vector in `layout`.
///
/// # Errors
/// A scope of another length than the layout's.
pub fn join(layout: &Layout, model: &DeviceModel) -> Result<Vec<f32>, TrainError> {
    let mut values = vec![0.0; layout.len()];
    let scopes = [
        (Scope::Shared, "shared", &model.shared),
        (Scope::Statistic, "statistic", &model.statistics),
        (Scope::Personal, "personal", &model.personal),
    ];
    for (scope, name, scoped) in scopes {
        let expected = layout.of_scope(scope).len();
        if scoped.len() != expected {
            return Err(TrainError::Length { scope: name, expected, found: scoped.len() });
        }
        layout.scatter(scoped, scope, &mut values);
    }
    Ok(values)
}

/// A published version as one flat vector in the layout; the personal class layer starts as the shared one.
///
/// # Errors
/// A scope of another length than the layout's.
pub fn join_published(
    architecture: &Architecture,
    shared: &[f32],
    statistics: &[f32],
) -> Result<Vec<f32>, TrainError> {
    let layout = architecture.layout();
    let personal = vec![0.0; layout.of_scope(Scope::Personal).len()];
    let model = DeviceModel { shared: shared.to_vec(), statistics: statistics.to_vec(), personal };
    let mut values = join(layout, &model)?;
    adopt_class_layer(architecture, &mut values);
    Ok(values)
}

/// A flat vector in `layout` by scopes.
pub fn split(layout: &Layout, values: &[f32]) -> DeviceModel {
    DeviceModel {
        shared: layout.gather(values, Scope::Shared),
        statistics: layout.gather(values, Scope::Statistic),
        personal: layout.gather(values, Scope::Personal),
    }
}

#[cfg(test)]
mod tests;
