//! Label skew: each stratum of samples is divided by shares from a Dirichlet distribution (Hsu et al. 2019,
//! arXiv:1909.06335, there over the class of an image).
//!
//! An image for detection has several classes. Over the most frequent one the scheme means nothing: where one class is
//! in nearly every image, all images are one stratum. So a stratum is the set of classes present, or the rarest class.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use super::{Entry, Partition, PartitionError, Positive, SampleTraits, build, cut, dirichlet_shares};

pub(super) const ENTRY: Entry = Entry {
    name: "dirichlet",
    about: "label skew: Dirichlet shares of each set of classes, or of each rarest class",
    examples: &[r#"{"alpha": 0.5}"#, r#"{"alpha": 0.05, "over": "rarest-class"}"#, r#"{"alpha": 1000.0}"#],
    build: build::<Dirichlet>,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dirichlet {
    /// Concentration, above 0. 0.1 is strong skew, 100 is nearly even.
    alpha: Positive,
    #[serde(default)]
    over: Strata,
}

/// What samples of one stratum have in common.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Strata {
    /// The set of classes present.
    #[default]
    ClassSet,
    /// Of the classes present, the one that is in the fewest images.
    RarestClass,
}

impl Partition for Dirichlet {
    fn assign(
        &self,
        samples: &[SampleTraits],
        clients: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<usize>, PartitionError> {
        let mut assigned = vec![0; samples.len()];
        for mut stratum in self.over.divide(samples).into_values() {
            stratum.shuffle(rng);
            let shares = dirichlet_shares(clients, self.alpha.0, rng);
            for (&sample, client) in stratum.iter().zip(cut(stratum.len(), &shares)) {
                assigned[sample] = client;
            }
        }
        Ok(assigned)
    }
}

impl Strata {
    fn divide(self, samples: &[SampleTraits]) -> BTreeMap<Vec<u32>, Vec<usize>> {
        let mut images: BTreeMap<u32, usize> = BTreeMap::new();
        for &class in samples.iter().flat_map(|sample| &sample.classes) {
            *images.entry(class).or_default() += 1;
        }
        let mut strata: BTreeMap<Vec<u32>, Vec<usize>> = BTreeMap::new();
        for (index, sample) in samples.iter().enumerate() {
            let key = match self {
                Self::ClassSet => sample.classes.clone(),
                Self::RarestClass => sample
                    .classes
                    .iter()
                    .copied()
                    .min_by_key(|class| (images[class], *class))
                    .into_iter()
                    .collect(),
            };
            strata.entry(key).or_default().push(index);
        }
        strata
    }
}
