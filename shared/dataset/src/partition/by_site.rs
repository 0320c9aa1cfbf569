//! As the images came: each client has the images of its site. With more clients than sites, a site's images are
//! dealt out to the clients at that site; with fewer, a client has several sites.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use super::{Entry, Partition, PartitionError, SampleTraits, build};

pub(super) const ENTRY: Entry = Entry {
    name: "by-site",
    about: "each client has the images of its site",
    examples: &["{}"],
    build: build::<BySite>,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BySite {}

impl Partition for BySite {
    fn assign(
        &self,
        samples: &[SampleTraits],
        clients: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<usize>, PartitionError> {
        let mut sites: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, sample) in samples.iter().enumerate() {
            let site = sample.site.ok_or(PartitionError::NoSite { sample: index })?;
            sites.entry(site).or_default().push(index);
        }
        let mut assigned = vec![0; samples.len()];
        let count = sites.len().max(1);
        for (number, mut members) in sites.into_values().enumerate() {
            let residents: Vec<usize> = if count >= clients {
                vec![number % clients]
            } else {
                (number..clients).step_by(count).collect()
            };
            members.shuffle(rng);
            for (place, sample) in members.into_iter().enumerate() {
                assigned[sample] = residents[place % residents.len()];
            }
        }
        Ok(assigned)
    }
}
