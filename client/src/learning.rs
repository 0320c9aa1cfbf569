//! The detector at work: the one file of the client that knows the crate `model`.

use dataset::partition::split_holdout;
use dataset::{Dataset, DecodeLimits, Image};
use detection::coco::CocoReport;
use detection::{DecodeConfig, Detection};
use model::budget::Recompute;
use model::device::pool;
use model::evaluate::{DetectConfig, evaluate};
use model::examples::Examples;
use model::trainer::join;
use model::{Architecture, Backend, ClassLayer, DetectorTrainer, Predictor, TrainerConfig};
use protocol::id::ClientId;
use protocol::randomness::{Purpose, stream};
use protocol::train::Trainer;
use rand::Rng as _;

use crate::cli::Compute;
use crate::failure::Failure;
use crate::stored::StoredModel;

/// Images held out at least, as far as half the images allow.
const HELD_OUT_MIN: usize = 1;
/// Images per forward pass when nothing is trained.
const BATCH: usize = 8;
/// Memory for decoded images when each is looked at once.
const NO_CACHE: usize = 0;

/// Where and with how many threads to compute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resources {
    backend: Backend,
    threads: usize,
}

impl Resources {
    /// As the command line says.
    ///
    /// # Errors
    /// A device that this build does not have.
    pub(crate) fn new(compute: &Compute) -> Result<Self, Failure> {
        let backend = compute.device.parse().map_err(|error| Failure::usage(format!("--device: {error}")))?;
        Ok(Self { backend, threads: compute.threads })
    }
}

/// What a device grants to training.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub(crate) resources: Resources,
    /// Memory for decoded images.
    pub(crate) cache_bytes: usize,
    /// Memory for a step.
    pub(crate) memory_bytes: usize,
    /// Whether a step takes less memory and more time.
    pub(crate) recompute: Recompute,
    /// Whether to look for values that are not finite.
    pub(crate) check_finite: bool,
}

/// Which images a device holds out: always the same ones for the same name and the same images.
fn held_out_seed(client: &ClientId) -> u64 {
    stream(0, None, Some(client), Purpose::HoldOut).next_u64()
}

/// A trainer on a device's images.
///
/// # Errors
/// No labelled images; threads that cannot be started.
pub(crate) fn trainer(
    dataset: &Dataset,
    client: &ClientId,
    held_out: f64,
    grant: Grant,
) -> Result<Box<dyn Trainer>, Failure> {
    let config = TrainerConfig {
        backend: grant.resources.backend,
        threads: grant.resources.threads,
        held_out,
        held_out_min: if held_out > 0.0 { HELD_OUT_MIN } else { 0 },
        held_out_seed: held_out_seed(client),
        cache_bytes: grant.cache_bytes,
        memory_bytes: Some(grant.memory_bytes),
        recompute: grant.recompute,
        check_finite: grant.check_finite,
        batch: BATCH,
        ..TrainerConfig::default()
    };
    Ok(Box::new(DetectorTrainer::new(dataset, config).map_err(Failure::run)?))
}

/// The images of `dataset` that [`trainer`] holds out.
pub(crate) fn held_out(dataset: &Dataset, client: &ClientId, share: f64) -> Dataset {
    let labelled: Vec<usize> =
        (0..dataset.samples.len()).filter(|&index| dataset.samples[index].labelled).collect();
    let labelled = dataset.subset(&labelled);
    let min = if share > 0.0 { HELD_OUT_MIN } else { 0 };
    labelled.subset(&split_holdout(&labelled.traits(), share, min, held_out_seed(client)).held_out)
}

/// Scores of a stored model.
#[derive(Debug)]
pub(crate) struct Scores {
    pub(crate) images: u32,
    pub(crate) boxes: u32,
    pub(crate) global: CocoReport,
    pub(crate) personal: CocoReport,
}

/// Scores the stored model on all labelled images of `dataset`, as the version was published and with what the device has of
/// its own; both with the device's own statistics.
///
/// # Errors
/// A model this build does not know; unreadable images.
pub(crate) fn score(stored: &StoredModel, dataset: Dataset, resources: Resources) -> Result<Scores, Failure> {
    let architecture = architecture(stored)?;
    let values = join(architecture.layout(), &stored.values(architecture.layout())?).map_err(Failure::run)?;
    let classes = architecture.classes();
    let examples = Examples::new(dataset, classes, architecture.pixels(), NO_CACHE, DecodeLimits::default());
    let (pool, device) = (pool(resources.threads).map_err(Failure::run)?, resources.backend.device());
    let config = DetectConfig::default();
    let scored = pool.install(|| evaluate(&architecture, &examples, &device, &values, BATCH, &config));
    let scored = scored.map_err(Failure::run)?;
    Ok(Scores {
        images: scored.images,
        boxes: scored.boxes,
        global: scored.shared.report(),
        personal: scored.personal.report(),
    })
}

/// The stored model, ready for pictures.
pub(crate) struct Detector {
    predictor: Predictor,
    layer: ClassLayer,
}

impl Detector {
    /// Puts the stored model in place, keeping objects from `score` on; `global` leaves aside what the device has of its own.
    ///
    /// # Errors
    /// A model this build does not know; threads that cannot be started.
    pub(crate) fn new(
        stored: &StoredModel,
        global: bool,
        score: f32,
        resources: Resources,
    ) -> Result<Self, Failure> {
        let architecture = architecture(stored)?;
        let values =
            join(architecture.layout(), &stored.values(architecture.layout())?).map_err(Failure::run)?;
        let decode = DecodeConfig { score_min: score, ..DecodeConfig::default() };
        let config = DetectConfig { decode, ..DetectConfig::default() };
        let predictor = Predictor::new(architecture, &values, resources.backend, resources.threads, config);
        let layer = if global { ClassLayer::Shared } else { ClassLayer::Personal };
        Ok(Self { predictor: predictor.map_err(Failure::run)?, layer })
    }

    /// Objects in `image`, in its pixels, best first.
    ///
    /// # Errors
    /// Never for weights of the architecture.
    pub(crate) fn find(&self, image: &Image) -> Result<Vec<Detection>, Failure> {
        self.predictor.predict(image, self.layer).map_err(Failure::run)
    }
}

fn architecture(stored: &StoredModel) -> Result<Architecture, Failure> {
    let spec = &stored.last.about.spec;
    Architecture::new(spec)
        .map_err(|error| Failure::run(format!("the stored version cannot be used: {error}")))
}

#[cfg(test)]
mod tests;
