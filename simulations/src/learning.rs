//! Who learns in a simulation: one trainer per device, and what the coordinator does with tensors.

use coordinator_core::{InitialModel, Published};
use dataset::partition::{SampleTraits, divide};
use protocol::evaluation::CentralScore;
use protocol::plan::ModelSpec;
use protocol::train::Trainer;
use thiserror::Error;

use crate::scenario::{DataSpec, Scenario, Source};
use crate::toy::{self, ToyDevice};

#[cfg(feature = "detector")]
mod detector;

/// Data or a model that cannot be had.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct LearningError(String);

impl LearningError {
    fn new(reason: impl ToString) -> Self {
        Self(reason.to_string())
    }
}

/// The coordinator's side of learning.
pub trait Architect {
    /// Where a run starts.
    ///
    /// # Errors
    /// A preset that does not exist, or that is the toy where there are images.
    fn initial(&self, spec: &ModelSpec, seed: u64) -> Result<InitialModel, LearningError>;

    /// Scores a version on the coordinator's split.
    ///
    /// # Errors
    /// One line when there is nothing to score on, or scoring fails.
    fn score(&self, spec: &ModelSpec, published: &Published) -> Result<CentralScore, String>;
}

/// Everything that learns in one run.
pub struct Learning {
    /// One trainer per device, in order.
    pub trainers: Vec<Box<dyn Trainer>>,
    /// The coordinator's side.
    pub architect: Box<dyn Architect>,
}

impl Learning {
    /// Builds the fleet's trainers from the scenario's data.
    ///
    /// # Errors
    /// Folders that cannot be read, data that cannot be divided, a build without the real trainer.
    pub fn new(scenario: &Scenario) -> Result<Self, LearningError> {
        match scenario.data.source {
            Source::Toy => toy_fleet(scenario),
            #[cfg(feature = "detector")]
            Source::Scenes | Source::Folder => detector::fleet(scenario),
            #[cfg(not(feature = "detector"))]
            Source::Scenes | Source::Folder => Err(LearningError::new(
                "this build has no trainer for images: build it with the feature \"detector\"",
            )),
        }
    }
}

struct Toy;

impl Architect for Toy {
    fn initial(&self, spec: &ModelSpec, _seed: u64) -> Result<InitialModel, LearningError> {
        toy::initial(spec).map_err(LearningError::new)
    }

    fn score(&self, _spec: &ModelSpec, _published: &Published) -> Result<CentralScore, String> {
        Err("the toy has no images to score on".into())
    }
}

/// Toy devices: classes in turn, examples by the partition's sizes.
fn toy_fleet(scenario: &Scenario) -> Result<Learning, LearningError> {
    let DataSpec { images, classes, feature_shift, sites, .. } = scenario.data;
    let names: Vec<String> = (0..classes).map(|class| format!("class-{class}")).collect();
    let traits: Vec<SampleTraits> = (0..images)
        .map(|image| SampleTraits { classes: vec![image % classes], site: Some(image % sites) })
        .collect();
    let sizes = divided(scenario, &traits)?;
    let seed = scenario.run.settings().seed;
    let trainers = sizes.into_iter().enumerate().map(|(device, images)| {
        let examples = u32::try_from(images.len()).unwrap_or(u32::MAX).max(1);
        let own_seed = seed ^ (device as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Box::new(ToyDevice::new(names.clone(), examples, feature_shift, own_seed)) as Box<dyn Trainer>
    });
    Ok(Learning { trainers: trainers.collect(), architect: Box::new(Toy) })
}

fn divided(scenario: &Scenario, traits: &[SampleTraits]) -> Result<Vec<Vec<usize>>, LearningError> {
    let scheme = scenario.data.partition.build().map_err(LearningError::new)?;
    let clients = scenario.devices.count as usize;
    let parts = divide(&*scheme, traits, clients, scenario.run.settings().seed);
    let parts = parts.map_err(LearningError::new)?;
    if let Some(empty) = parts.iter().position(Vec::is_empty) {
        let images = traits.len();
        return Err(LearningError::new(format!(
            "device {empty} of {clients} gets none of the {images} images: raise data.images or lower devices.count"
        )));
    }
    Ok(parts)
}
