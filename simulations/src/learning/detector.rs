//! Devices with images: the detector's own trainer, one per device.

use std::path::Path;
use std::sync::Arc;

use coordinator_core::{InitialModel, Published};
use dataset::scenes::{World as Scenes, scene_dataset};
use dataset::{Dataset, DecodeLimits, OpenOptions};
use model::evaluate::{DetectConfig, evaluate};
use model::examples::Examples;
use model::trainer::join;
use model::{Architecture, Backend, DetectorTrainer, TrainerConfig, initial};
use params::Scope;
use protocol::evaluation::CentralScore;
use protocol::plan::ModelSpec;
use protocol::train::{DeviceModel, Trainer};

use super::{Architect, Learning, LearningError, divided};
use crate::scenario::{DataSpec, Scenario, Source};

/// Images per forward pass when the coordinator scores.
const SCORE_BATCH: usize = 8;
/// Memory for one device's decoded images: many devices share one machine.
const CACHE_BYTES: usize = 64 << 20;

struct Detector {
    score_on: Option<Dataset>,
}

impl Architect for Detector {
    fn initial(&self, spec: &ModelSpec, seed: u64) -> Result<InitialModel, LearningError> {
        let architecture = Architecture::new(spec).map_err(LearningError::new)?;
        let values = initial::initial(&architecture, seed);
        let layout = Arc::clone(architecture.layout());
        let (shared, statistics) =
            (layout.gather(&values, Scope::Shared), layout.gather(&values, Scope::Statistic));
        Ok(InitialModel { layout, shared, statistics })
    }

    fn score(&self, spec: &ModelSpec, published: &Published) -> Result<CentralScore, String> {
        let Some(data) = &self.score_on else { return Err("there are no images to score on".into()) };
        let architecture = Architecture::new(spec).map_err(|refused| refused.to_string())?;
        let layout = architecture.layout();
        // Scores come from the shared class layer, so the personal one may hold anything.
        let personal = vec![0.0; layout.of_scope(Scope::Personal).len()];
        let statistics = published.statistics.clone();
        let device = DeviceModel { shared: published.model.values(), statistics, personal };
        let values = join(layout, &device).map_err(|refused| refused.to_string())?;
        let limits = DecodeLimits::default();
        let examples = Examples::new(data.clone(), &spec.classes, architecture.pixels(), CACHE_BYTES, limits);
        let (backend, detect) = (Backend::default().device(), DetectConfig::default());
        let scored = evaluate(&architecture, &examples, &backend, &values, SCORE_BATCH, &detect);
        Ok(scored.map_err(|refused| refused.to_string())?.shared.central(&spec.classes))
    }
}

/// A fleet over the scenario's images.
pub(super) fn fleet(scenario: &Scenario) -> Result<Learning, LearningError> {
    let DataSpec { source, folder, split, score_split, .. } = &scenario.data;
    let (data, score_on) = match source {
        Source::Folder => {
            let folder = folder.as_deref().unwrap_or(Path::new("."));
            let data = open(folder, split, None)?;
            let classes = Some(data.classes.clone());
            let score_on = score_split.as_ref().map(|_| open(folder, score_split, classes)).transpose()?;
            (data, score_on)
        }
        Source::Toy | Source::Scenes => (scenes(scenario), None),
    };
    let seed = scenario.run.settings().seed;
    let mut trainers: Vec<Box<dyn Trainer>> = Vec::new();
    for part in divided(scenario, &data.traits())? {
        let config = TrainerConfig {
            // Devices train side by side, one thread each: nothing then depends on how many there are.
            threads: 1,
            held_out: scenario.data.held_out,
            held_out_seed: seed,
            cache_bytes: CACHE_BYTES,
            ..TrainerConfig::default()
        };
        trainers
            .push(Box::new(DetectorTrainer::new(&data.subset(&part), config).map_err(LearningError::new)?));
    }
    Ok(Learning { trainers, architect: Box::new(Detector { score_on }) })
}

fn open(
    folder: &Path,
    split: &Option<String>,
    classes: Option<Vec<String>>,
) -> Result<Dataset, LearningError> {
    let options = OpenOptions { split: split.clone(), classes, ..OpenOptions::default() };
    dataset::open(folder, &options).map_err(LearningError::new)
}

/// Procedural scenes of all sites in one data set, site after site.
fn scenes(scenario: &Scenario) -> Dataset {
    let data = &scenario.data;
    let world = Scenes {
        seed: scenario.run.settings().seed,
        classes: data.classes as usize,
        label_skew: data.label_skew,
        feature_shift: data.feature_shift,
        concept_shift: data.concept_shift,
    };
    let per_site = u64::from(data.images.div_ceil(data.sites));
    let mut all = Dataset { classes: world.class_names(), ..Dataset::default() };
    for index in 0..data.sites {
        let site = Arc::new(world.site(index));
        all.samples.extend(scene_dataset(&world, &site, 0..per_site, (data.size[0], data.size[1])).samples);
    }
    all
}
