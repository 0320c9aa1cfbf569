//! How the combined update moves the model: trait and registry.
//!
//! The combined update comes in subticks (2^-8 of a tensor's step) and leaves as whole ticks. What rounding drops, at most
//! half a tick (2^-21 of the tensor's range) per round and value, is not carried: it is unbiased and far below what the
//! devices' own quantisation leaves in their residuals. A state, where there is one, keeps the fraction.

use std::fmt;

use params::SUBTICK_BITS;

use crate::registry::{self, Choice, ChoiceError, Entry};

mod momentum;
mod none;

/// The server optimisers there are. One file and one line each; the law tests iterate this table.
pub static REGISTRY: &[Entry<dyn ServerOptimiser>] = &[none::ENTRY, momentum::ENTRY];

/// Turns combined updates into moves of the model. Its state is published with each version, so that a restart resumes it.
pub trait ServerOptimiser: Send + Sync + fmt::Debug {
    /// The state before the first round of a model with `values` shared values; empty when there is none to keep.
    fn start(&self, values: usize) -> Vec<f32>;

    /// Takes the combined update of neighbouring values (subticks, layout order), advances what `state` keeps of them, and returns
    /// their move in ticks. No value's move depends on another value.
    fn step(&self, state: &mut [f32], combined: &[i64]) -> Vec<i32>;
}

/// Builds the server optimiser `choice` names.
///
/// # Errors
/// An unknown name or wrong settings.
pub fn build(choice: &Choice) -> Result<Box<dyn ServerOptimiser>, ChoiceError> {
    registry::build(REGISTRY, "server optimiser", choice)
}

/// Whole ticks nearest to so many subticks (half away from zero), saturating at the ends of i32.
fn ticks(subticks: f64) -> i32 {
    (subticks / f64::from(1_u32 << SUBTICK_BITS)).round() as i32
}
