//! Server momentum (`FedAvgM`, Hsu, Qi and Brown 2019, arXiv 1909.06335): `v = beta v + u`, `x += learning_rate v`.
//!
//! Decayed error feedback on the devices is a momentum already, so the two together should stay mild: beta at most 0.5
//! where residuals decay by 0.9 or slower.

use serde::Deserialize;

use super::{ServerOptimiser, ticks};
use crate::registry::{Choice, ChoiceError, Entry};

pub(super) const ENTRY: Entry<dyn ServerOptimiser> = Entry {
    name: "momentum",
    about: "momentum on the combined update (settings: beta, learning_rate)",
    build: |choice| Ok(Box::new(Momentum::new(choice)?)),
};

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Momentum {
    /// Share of the velocity kept per round, 0 <= beta < 1.
    beta: f64,
    /// Share of the velocity applied per round, above 0.
    learning_rate: f64,
}

impl Default for Momentum {
    fn default() -> Self {
        Self { beta: 0.5, learning_rate: 1.0 }
    }
}

impl Momentum {
    fn new(choice: &Choice) -> Result<Self, ChoiceError> {
        let settings: Self = choice.parse()?;
        if !(0.0..1.0).contains(&settings.beta) {
            return Err(
                choice.refuse(format!("beta must be at least 0 and below 1, found {}", settings.beta))
            );
        }
        if !(settings.learning_rate > 0.0 && settings.learning_rate <= 100.0) {
            let found = settings.learning_rate;
            return Err(
                choice.refuse(format!("learning_rate must be above 0 and at most 100, found {found}"))
            );
        }
        Ok(settings)
    }
}

impl ServerOptimiser for Momentum {
    fn start(&self, values: usize) -> Vec<f32> {
        vec![0.0; values]
    }

    fn step(&self, state: &mut [f32], combined: &[i64]) -> Vec<i32> {
        debug_assert_eq!(state.len(), combined.len());
        let pairs = state.iter_mut().zip(combined);
        pairs
            .map(|(velocity, &update)| {
                // Rounded to f32 before use, so that a velocity read back from a version is the one that was used.
                *velocity = (self.beta * f64::from(*velocity) + update as f64) as f32;
                ticks(self.learning_rate * f64::from(*velocity))
            })
            .collect()
    }
}
