//! Every connected client is equally likely.

use protocol::id::{ClientId, Round};
use protocol::randomness::{Purpose, stream};
use rand::RngExt;
use serde::Deserialize;

use super::Select;
use crate::registry::Entry;

pub(super) const ENTRY: Entry<dyn Select> = Entry {
    name: "uniform",
    about: "every connected client is equally likely",
    build: |choice| Ok(Box::new(choice.parse::<Uniform>()?)),
};

/// No settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Uniform {}

impl Select for Uniform {
    fn select(&self, seed: u64, round: Round, candidates: &[&ClientId], size: usize) -> Vec<ClientId> {
        let size = size.min(candidates.len());
        let mut rng = stream(seed, Some(round), None, Purpose::Cohort);
        // The first `size` steps of a Fisher-Yates shuffle draw without replacement.
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        for place in 0..size.min(candidates.len().saturating_sub(1)) {
            let other = rng.random_range(place..order.len());
            order.swap(place, other);
        }
        order.truncate(size);
        order.sort_unstable();
        order.into_iter().map(|index| candidates[index].clone()).collect()
    }
}
