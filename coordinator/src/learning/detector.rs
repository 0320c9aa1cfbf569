//! The real models: burn, images on disk, safetensors.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use coordinator_core::{InitialModel, Published};
use dataset::{Dataset, DecodeLimits, OpenOptions, UnknownClasses};
use export::{Checkpoint, LoadError};
use model::evaluate::{DetectConfig, evaluate};
use model::examples::Examples;
use model::initial::{adopt_class_layer, initial};
use model::{Architecture, Backend, Preset};
use params::{Layout, Scope};
use protocol::evaluation::CentralScore;
use protocol::plan::ModelSpec;
use thiserror::Error;

use super::Learning;

/// Memory for decoded images that are scored again after every round.
const CACHE_BYTES: usize = 256 << 20;
/// Images per forward pass of scoring.
const BATCH: usize = 8;

/// Why the coordinator's own data or weights cannot be used.
#[derive(Debug, Error)]
pub enum DetectorError {
    /// The images to score on.
    #[error("evaluation data: {0}")]
    Data(#[from] dataset::OpenError),
    /// There are none with labels.
    #[error("evaluation data: {path}: no labelled images", path = path.display())]
    Unlabelled {
        /// The folder.
        path: PathBuf,
    },
    /// The weights to start from.
    #[error("start weights: {0}")]
    Weights(#[from] LoadError),
    /// Threads to score with.
    #[error("{0}")]
    Threads(#[from] protocol::train::TrainError),
}

/// Detectors from `shared/model`.
pub struct Detector {
    init: Option<PathBuf>,
    data: Option<Dataset>,
    pool: rayon::ThreadPool,
    /// Images of the run's classes; made at the first score, kept for the next.
    scored: Mutex<Option<Scored>>,
}

struct Scored {
    spec: ModelSpec,
    architecture: Architecture,
    examples: Examples,
}

impl Detector {
    /// Opens what the settings name, so that a mistyped path is noticed before anyone waits.
    ///
    /// # Errors
    /// A folder that is no labelled data set; a file that holds no weights.
    pub fn open(
        eval_data: Option<&Path>,
        eval_split: Option<&str>,
        init: Option<&Path>,
        threads: usize,
    ) -> Result<Self, DetectorError> {
        let data = eval_data.map(|path| open_data(path, eval_split)).transpose()?;
        if let Some(init) = init {
            Checkpoint::read(init)?;
        }
        let pool = model::device::pool(threads)?;
        Ok(Self { init: init.map(Path::to_path_buf), data, pool, scored: Mutex::new(None) })
    }
}

fn open_data(path: &Path, split: Option<&str>) -> Result<Dataset, DetectorError> {
    // The run's classes are not known yet; boxes of others are left out once they are.
    let unknown_classes = UnknownClasses::LeaveOut;
    let options = OpenOptions { split: split.map(str::to_owned), unknown_classes, ..OpenOptions::default() };
    let data = dataset::open(path, &options)?;
    if !data.samples.iter().any(|sample| sample.labelled) {
        return Err(DetectorError::Unlabelled { path: path.to_path_buf() });
    }
    Ok(data)
}

fn architecture(spec: &ModelSpec) -> Result<Architecture, String> {
    Architecture::new(spec).map_err(|error| error.to_string())
}

impl Learning for Detector {
    fn knows(&self, preset: &str) -> Result<(), String> {
        Preset::parse(preset).map(drop).map_err(|error| error.to_string())
    }

    fn initial(&self, spec: &ModelSpec, seed: u64) -> Result<InitialModel, String> {
        let architecture = architecture(spec)?;
        let layout = architecture.layout().clone();
        let mut values = initial(&architecture, seed);
        if let Some(path) = &self.init {
            let start = export::load_start(path, &layout, &mut values).map_err(|error| error.to_string())?;
            tracing::info!(path = %path.display(), origin = ?start.origin, tensors = start.tensors, "start weights");
        }
        let shared = layout.gather(&values, Scope::Shared);
        let statistics = layout.gather(&values, Scope::Statistic);
        Ok(InitialModel { layout, shared, statistics })
    }

    fn score(&self, spec: &ModelSpec, published: &Published) -> Result<CentralScore, String> {
        let data = self.data.as_ref().ok_or("there is no evaluation data")?;
        let mut scored = self.scored.lock().unwrap_or_else(PoisonError::into_inner);
        if scored.as_ref().is_none_or(|scored| scored.spec != *spec) {
            let architecture = architecture(spec)?;
            let (classes, pixels) = (architecture.classes(), architecture.pixels());
            let examples = Examples::new(data.clone(), classes, pixels, CACHE_BYTES, DecodeLimits::default());
            *scored = Some(Scored { spec: spec.clone(), architecture, examples });
        }
        let Some(Scored { architecture, examples, .. }) = &*scored else {
            return Err("there is nothing to score on".to_owned());
        };
        let values = values_of(architecture, published);
        let device = Backend::default().device();
        let evaluated = self
            .pool
            .install(|| evaluate(architecture, examples, &device, &values, BATCH, &DetectConfig::default()));
        let evaluated = evaluated.map_err(|error| error.to_string())?;
        Ok(evaluated.shared.central(architecture.classes()))
    }

    fn save(&self, path: &Path, spec: &ModelSpec, published: &Published) -> Result<(), String> {
        let architecture = architecture(spec)?;
        let all = values_of(&architecture, published);
        // Personal tensors belong to devices: from a file without them a new device starts with the shared class layer.
        let tensors = architecture.layout().tensors().iter();
        let ours: Vec<_> = tensors.filter(|tensor| tensor.spec.scope != Scope::Personal).collect();
        let values: Vec<f32> = ours.iter().flat_map(|tensor| &all[tensor.range()]).copied().collect();
        let layout = Layout::new(ours.iter().map(|tensor| tensor.spec.clone()).collect());
        let layout = layout.map_err(|error| error.to_string())?;
        let mut about = export::describe(&spec.preset, &spec.classes);
        about.insert("version".to_owned(), published.version.to_string());
        about.insert("digest".to_owned(), published.digest.to_string());
        export::save_safetensors(path, &layout, &values, &about).map_err(|error| error.to_string())
    }
}

/// All tensors of a version; a new device's personal layer is the shared one.
fn values_of(architecture: &Architecture, published: &Published) -> Vec<f32> {
    let layout = architecture.layout();
    let mut values = vec![0.0; layout.len()];
    layout.scatter(&published.model.values(), Scope::Shared, &mut values);
    layout.scatter(&published.statistics, Scope::Statistic, &mut values);
    adopt_class_layer(architecture, &mut values);
    values
}

#[cfg(test)]
mod tests;
