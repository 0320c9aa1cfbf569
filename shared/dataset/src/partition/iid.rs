//! Independent and identically distributed: shuffled and dealt out, sizes differ by at most one.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use super::{Entry, Partition, PartitionError, SampleTraits, build};

pub(super) const ENTRY: Entry =
    Entry { name: "iid", about: "shuffled and dealt out evenly", examples: &["{}"], build: build::<Iid> };

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Iid {}

impl Partition for Iid {
    fn assign(
        &self,
        samples: &[SampleTraits],
        clients: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<usize>, PartitionError> {
        let mut assigned: Vec<usize> = (0..samples.len()).map(|sample| sample % clients).collect();
        assigned.shuffle(rng);
        Ok(assigned)
    }
}
