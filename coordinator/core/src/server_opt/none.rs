//! The combined update as it is: the model becomes the mean of the devices' models (`FedAvg`).

use serde::Deserialize;

use super::{ServerOptimiser, ticks};
use crate::registry::Entry;

pub(super) const ENTRY: Entry<dyn ServerOptimiser> = Entry {
    name: "none",
    about: "apply the combined update as it is",
    build: |choice| Ok(Box::new(choice.parse::<Identity>()?)),
};

/// No settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {}

impl ServerOptimiser for Identity {
    fn start(&self, _values: usize) -> Vec<f32> {
        Vec::new()
    }

    fn step(&self, _state: &mut [f32], combined: &[i64]) -> Vec<i32> {
        combined.iter().map(|&subticks| ticks(subticks as f64)).collect()
    }
}
