//! An analytic trainer: exact answers at next to no cost, so that a run of ten thousand devices takes seconds.
//!
//! A device's loss is `f(x) = |x - target|^2 / 2`, so `k` gradient steps at rate `r` have the closed form
//! `x' = target + (1 - r)^k (x - target)`. Targets are a centre all devices share, plus an offset of the device's site
//! (feature shift) and one of its own (label skew). The personal tensor corrects the shared one on the device:
//! predictions come from `x` with the personal part in place of the class part. Scores map the loss to 0..1:
//! `ap50 = exp(-2 f / n)`.

use std::sync::Arc;

use coordinator_core::InitialModel;
use params::{Layout, Scope, TensorSpec};
use protocol::evaluation::{Evaluation, ModelScore};
use protocol::plan::{ModelSpec, Norm};
use protocol::train::{
    DataSummary, DeviceModel, EvaluateJob, EvaluateOutcome, StartValues, TrainError, TrainJob, TrainOutcome,
    Trainer,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Preset name of the toy model.
pub const PRESET: &str = "toy";
/// Values of the shared body.
const BODY: usize = 48;
/// Values of the class layer, per class.
const PER_CLASS: usize = 4;

/// The toy's layout for a label space: a body, a class layer, its personal twin, and one pair of statistics.
///
/// # Errors
/// [`TrainError::Model`] when the preset is not `toy` or there are no classes.
pub fn layout(spec: &ModelSpec) -> Result<Arc<Layout>, TrainError> {
    if spec.preset != PRESET {
        return Err(TrainError::Model(format!(
            "the toy trainer knows the preset {PRESET}, not {}",
            spec.preset
        )));
    }
    let tensor = |name: &str, len, scope| TensorSpec { name: name.into(), shape: vec![len], scope };
    let class = PER_CLASS * spec.classes.len();
    let specs = vec![
        tensor("body", BODY, Scope::Shared),
        tensor("class", class, Scope::Shared),
        tensor("input.mean", 4, Scope::Statistic),
        tensor("input.var", 4, Scope::Statistic),
        tensor("personal.class", class, Scope::Personal),
    ];
    Layout::new(specs).map(Arc::new).map_err(|error| TrainError::Model(error.to_string()))
}

/// Where a run of the toy starts: shared zeros, statistics of a standard normal.
///
/// # Errors
/// As [`layout`].
pub fn initial(spec: &ModelSpec) -> Result<InitialModel, TrainError> {
    let layout = layout(spec)?;
    let StartValues { shared, statistics } = start(&layout);
    Ok(InitialModel { layout, shared, statistics })
}

fn start(layout: &Layout) -> StartValues {
    let shared = vec![0.0; layout.of_scope(Scope::Shared).len()];
    StartValues { shared, statistics: [[0.0; 4], [1.0; 4]].concat() }
}

/// A device's data, as far as the toy has any.
#[derive(Clone, Debug)]
pub struct ToyDevice {
    classes: Vec<String>,
    examples: u32,
    /// Offset of this device's optimum from the common one.
    shift: f32,
    /// Seed of the device's own offset.
    seed: u64,
    statistics: Vec<f32>,
    target: Vec<f32>,
    layout: Option<Arc<Layout>>,
}

impl ToyDevice {
    /// A device with `examples` images of `classes`; `shift` 0 makes all devices alike, 1 makes them as different as the
    /// common optimum is from the start.
    pub fn new(classes: Vec<String>, examples: u32, shift: f32, seed: u64) -> Self {
        let target = Vec::new();
        Self { classes, examples, shift, seed, statistics: Vec::new(), target, layout: None }
    }

    fn loss(&self, values: &[f32]) -> f32 {
        let squares: f32 =
            values.iter().zip(&self.target).map(|(value, target)| (value - target).powi(2)).sum();
        squares / 2.0
    }

    fn score(&self, values: &[f32]) -> ModelScore {
        let ap50 = f64::from(-2.0 * self.loss(values) / self.target.len() as f32).exp();
        ModelScore { ap50, ap: ap50 / 2.0, histogram: Vec::new() }
    }

    /// The values predictions come from: the personal class layer in place of the shared one.
    fn personalised(shared: &[f32], personal: &[f32]) -> Vec<f32> {
        let body = shared.len() - personal.len();
        [&shared[..body], personal].concat()
    }

    fn check(&self, model: &DeviceModel) -> Result<(), TrainError> {
        let Some(layout) = &self.layout else {
            return Err(TrainError::Model("prepare comes before training".into()));
        };
        for (name, scope, values) in [
            ("shared", Scope::Shared, &model.shared),
            ("statistic", Scope::Statistic, &model.statistics),
            ("personal", Scope::Personal, &model.personal),
        ] {
            let expected = layout.of_scope(scope).len();
            if values.len() != expected {
                return Err(TrainError::Length { scope: name, expected, found: values.len() });
            }
        }
        Ok(())
    }
}

impl Trainer for ToyDevice {
    fn summary(&self) -> DataSummary {
        DataSummary { classes: self.classes.clone(), examples: self.examples, held_out: self.examples / 5 }
    }

    fn prepare(&mut self, spec: &ModelSpec) -> Result<Arc<Layout>, TrainError> {
        let layout = layout(spec)?;
        let mut own: ChaCha8Rng = rand::SeedableRng::seed_from_u64(self.seed);
        let len = layout.of_scope(Scope::Shared).len();
        // The common optimum: a fixed, uneven pattern, so that some values matter more than others.
        let common = (0..len)
            .map(|index| if index % 7 == 0 { 1.5 } else { 0.5 } * if index % 2 == 0 { 1.0 } else { -1.0 });
        self.target = common.map(|value: f32| value + self.shift * own.random_range(-1.0..1.0)).collect();
        self.statistics = vec![self.shift * own.random_range(-1.0..1.0); 4];
        self.statistics.extend([1.0 + self.shift; 4]);
        self.layout = Some(layout.clone());
        Ok(layout)
    }

    fn start(&self, _seed: u64) -> Option<StartValues> {
        self.layout.as_deref().map(start)
    }

    fn train(&mut self, job: TrainJob) -> Result<TrainOutcome, TrainError> {
        self.check(&job.model)?;
        let steps = job.plan.local_epochs * self.examples.div_ceil(job.plan.batch.max(1)).max(1);
        let remains = (1.0 - job.plan.learning_rate.min(1.0)).powi(steps.min(10_000) as i32);
        let mut model = job.model;
        let towards = |value: &mut f32, target: f32| *value = target + remains * (*value - target);
        let body = model.shared.len() - model.personal.len();
        for (value, target) in model.shared.iter_mut().zip(&self.target) {
            towards(value, *target);
        }
        for (value, target) in model.personal.iter_mut().zip(&self.target[body..]) {
            towards(value, *target);
        }
        let loss = self.loss(&model.shared);
        Ok(TrainOutcome { model, examples: self.examples, steps, loss })
    }

    fn evaluate(&mut self, job: EvaluateJob) -> Result<EvaluateOutcome, TrainError> {
        self.check(&job.model)?;
        let DeviceModel { shared, statistics, personal } = job.model;
        let images = self.examples / 5;
        let evaluation = Evaluation {
            images,
            boxes: 3 * images,
            global: self.score(&shared),
            personal: self.score(&Self::personalised(&shared, &personal)),
            ..Evaluation::default()
        };
        let statistics = if job.norm == Norm::Frozen { statistics } else { self.statistics.clone() };
        Ok(EvaluateOutcome { evaluation, statistics, statistics_images: self.examples })
    }
}
