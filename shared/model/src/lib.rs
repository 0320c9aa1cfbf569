//! The detector in burn: architectures, losses, local training, evaluation. The only crate that knows burn.
//!
//! A model is an [`Architecture`] and one flat vector of values in its layout. [`fit`] trains the vector, [`calibrate`] gives
//! it statistics of its own, [`evaluate`] scores it, and [`DetectorTrainer`] does all of that for the client core.
//! Tensors exist within a step only; the backend is named in [`device`] alone.

pub mod architecture;
pub mod budget;
pub mod calibrate;
pub mod central;
pub mod device;
pub mod evaluate;
pub mod examples;
pub mod finite;
pub mod fit;
pub mod inference;
pub mod initial;
pub mod loss;
mod moments;
pub mod network;
pub mod ops;
pub mod optimiser;
pub mod predictor;
mod prefetch;
pub mod preset;
pub mod schedule;
#[cfg(test)]
mod testing;
pub mod trainer;
pub mod weights;

pub use architecture::Architecture;
pub use central::CentralEvaluator;
pub use device::Backend;
pub use inference::Inference;
pub use predictor::{ClassLayer, Predictor};
pub use preset::{PRESETS, Preset};
pub use trainer::{DetectorTrainer, TrainerConfig};
