//! A finished model at work on single images.

use dataset::Image;
use dataset::augment::{AugmentSpec, Output, Source, render};
use detection::Detection;
use protocol::train::TrainError;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::ThreadPool;

use crate::architecture::Architecture;
use crate::device::{Backend, pool};
use crate::evaluate::{DetectConfig, Detections, detect};
use crate::examples::to_image;
use crate::inference::Inference;

/// Which class layer decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClassLayer {
    /// The one of the published model.
    #[default]
    Shared,
    /// The device's own.
    Personal,
}

/// A model with its weights in place.
pub struct Predictor {
    architecture: Architecture,
    model: Inference,
    pool: ThreadPool,
    config: DetectConfig,
}

impl Predictor {
    /// Puts `values` (all scopes, in the layout of `architecture`, statistics included) in place; `threads` of 0 takes all
    /// cores.
    ///
    /// # Errors
    /// Values of another length than the layout's; threads that cannot be started.
    pub fn new(
        architecture: Architecture,
        values: &[f32],
        backend: Backend,
        threads: usize,
        config: DetectConfig,
    ) -> Result<Self, TrainError> {
        let model = Inference::new(&architecture, values, &backend.device())?;
        Ok(Self { architecture, model, pool: pool(threads)?, config })
    }

    /// Class names in the order of the detections' classes.
    pub fn classes(&self) -> &[String] {
        self.architecture.classes()
    }

    /// The objects in `image`, in its pixels, best first.
    ///
    /// # Errors
    /// Never for weights of the architecture; see [`detect`].
    pub fn predict(&self, image: &Image, layer: ClassLayer) -> Result<Vec<Detection>, TrainError> {
        let side = self.architecture.pixels();
        let frame = (image.width(), image.height());
        let mut pixels = vec![0.0; side as usize * side as usize * 3];
        let source = Source::whole(image, &[]);
        // Nothing is drawn from it without augmentation.
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        render(&[source], &AugmentSpec::none(), (side, side), &mut rng, Output::Normalised(&mut pixels));
        let found = self.pool.install(|| detect(&self.architecture, &self.model, pixels, &self.config))?;
        let Detections { shared, personal } = found.into_iter().next().unwrap_or_default();
        let chosen = match layer {
            ClassLayer::Shared => shared,
            ClassLayer::Personal => personal,
        };
        Ok(to_image(frame, side, chosen.into_iter()))
    }
}

#[cfg(test)]
mod tests;
