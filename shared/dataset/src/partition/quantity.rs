//! Quantity skew: the same mix for everyone, but very different amounts.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use serde::Deserialize;

use super::{Entry, Partition, PartitionError, Positive, SampleTraits, build, cut, dirichlet_shares};

pub(super) const ENTRY: Entry = Entry {
    name: "quantity",
    about: "quantity skew: shuffled, amounts by a log-normal or Dirichlet distribution",
    examples: &[r#"{"log_normal": 1.0}"#, r#"{"dirichlet": 0.3}"#],
    build: build::<Quantity>,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Quantity {
    /// Standard deviation of the logarithm of the amounts. 1 makes the upper sixth hold more than 2.7 times the median.
    LogNormal(Positive),
    /// Concentration of the Dirichlet distribution of the shares.
    Dirichlet(Positive),
}

impl Partition for Quantity {
    fn assign(
        &self,
        samples: &[SampleTraits],
        clients: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<usize>, PartitionError> {
        let shares = match *self {
            Self::Dirichlet(alpha) => dirichlet_shares(clients, alpha.0, rng),
            Self::LogNormal(spread) => {
                let normal = Normal::new(0.0, spread.0).ok();
                let logs: Vec<f64> =
                    (0..clients).map(|_| normal.map_or(0.0, |normal| normal.sample(rng))).collect();
                let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                logs.into_iter().map(|log| (log - largest).exp()).collect()
            }
        };
        let mut order: Vec<usize> = (0..samples.len()).collect();
        order.shuffle(rng);
        let mut assigned = vec![0; samples.len()];
        for (&sample, client) in order.iter().zip(cut(order.len(), &shares)) {
            assigned[sample] = client;
        }
        Ok(assigned)
    }
}
