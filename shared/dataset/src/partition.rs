//! Dividing one data set between clients: schemes by name, one file each, registered in [`REGISTRY`].
//!
//! A scheme only says which client each sample goes to, so every result is a partition by construction. [`divide`]
//! then makes sure that no client is left with nothing.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod by_site;
mod dirichlet;
mod iid;
mod quantity;

pub use crate::holdout::{Holdout, split_holdout};

/// Every scheme. To add one: one file in `partition/`, one line here.
pub static REGISTRY: &[Entry] = &[iid::ENTRY, dirichlet::ENTRY, quantity::ENTRY, by_site::ENTRY];

/// What a partition looks at: nothing of the pixels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleTraits {
    /// The distinct classes with a box in the image, ascending. Empty for negatives.
    pub classes: Vec<u32>,
    /// Where the image was taken, if known.
    pub site: Option<u32>,
}

/// A way to assign samples to clients.
pub trait Partition: std::fmt::Debug + Send + Sync {
    /// The client, `0..clients`, of each sample. `clients` is at least 1.
    ///
    /// # Errors
    /// [`PartitionError`] when the samples lack what the scheme divides by.
    fn assign(
        &self,
        samples: &[SampleTraits],
        clients: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<usize>, PartitionError>;
}

/// One scheme in the registry.
#[derive(Debug)]
pub struct Entry {
    /// Its name in configurations.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Settings to try, as JSON objects: one of each kind, for help texts and tests.
    pub examples: &'static [&'static str],
    /// Parses the settings.
    pub build: fn(Value) -> Result<Box<dyn Partition>, serde_json::Error>,
}

/// A scheme and its settings as they stand in a configuration: `scheme = "dirichlet"`, `alpha = 0.5`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionConfig {
    /// A name in [`REGISTRY`].
    pub scheme: String,
    /// The settings of that scheme.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// Why samples cannot be divided.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// No scheme of that name.
    #[error("partition: no scheme {found:?}, expected one of {expected}")]
    UnknownScheme {
        /// The name asked for.
        found: String,
        /// The names there are.
        expected: String,
    },
    /// The settings do not fit the scheme.
    #[error("partition {scheme}: {source}")]
    Settings {
        /// The scheme.
        scheme: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Nobody to divide between.
    #[error("partition: 0 clients, expected at least 1")]
    NoClients,
    /// A sample without a site.
    #[error("partition by-site: sample {sample} has no site")]
    NoSite {
        /// Index of the sample.
        sample: usize,
    },
}

impl PartitionConfig {
    /// The scheme with its settings checked.
    ///
    /// # Errors
    /// [`PartitionError`] for an unknown scheme or settings that do not fit it.
    pub fn build(&self) -> Result<Box<dyn Partition>, PartitionError> {
        let entry = REGISTRY.iter().find(|entry| entry.name == self.scheme).ok_or_else(|| {
            let names: Vec<&str> = REGISTRY.iter().map(|entry| entry.name).collect();
            PartitionError::UnknownScheme { found: self.scheme.clone(), expected: names.join(", ") }
        })?;
        (entry.build)(Value::Object(self.settings.clone()))
            .map_err(|source| PartitionError::Settings { scheme: entry.name, source })
    }
}

/// Divides samples between clients: for each client the ascending indices of its samples. Every sample goes to exactly
/// one client; the same arguments give the same result; nobody is empty when there are at least as many samples as
/// clients (then the largest clients give one sample each to those without).
///
/// # Errors
/// [`PartitionError`] without clients, or when the samples lack what the scheme divides by.
pub fn divide(
    scheme: &dyn Partition,
    samples: &[SampleTraits],
    clients: usize,
    seed: u64,
) -> Result<Vec<Vec<usize>>, PartitionError> {
    if clients == 0 {
        return Err(PartitionError::NoClients);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let assigned = scheme.assign(samples, clients, &mut rng)?;
    debug_assert_eq!(assigned.len(), samples.len());
    let mut parts = vec![Vec::new(); clients];
    for (sample, client) in assigned.into_iter().enumerate() {
        parts[client.min(clients - 1)].push(sample);
    }
    if samples.len() >= clients {
        while let Some(empty) = parts.iter().position(Vec::is_empty) {
            let largest = (0..clients).rev().max_by_key(|&client| parts[client].len()).unwrap_or(empty);
            let Some(sample) = parts[largest].pop() else { break };
            parts[empty].push(sample);
        }
    }
    Ok(parts)
}

/// Cuts `items` samples, in the order given, into consecutive runs proportional to `shares`, one for each client: the
/// client of each item. Shares need not sum to one; all zero means equal shares.
fn cut(items: usize, shares: &[f64]) -> impl Iterator<Item = usize> {
    let total: f64 = shares.iter().sum();
    let equal = !(total.is_finite() && total > 0.0);
    let mut ends = Vec::with_capacity(shares.len());
    let mut sum = 0.0;
    for share in shares {
        sum += if equal { 1.0 / shares.len() as f64 } else { share / total };
        ends.push((sum * items as f64).round() as usize);
    }
    let mut client = 0;
    (0..items).map(move |item| {
        while client + 1 < ends.len() && item >= ends[client] {
            client += 1;
        }
        client
    })
}

/// Draws shares of `clients` from a symmetric Dirichlet distribution; small `alpha` gives nearly all to one.
fn dirichlet_shares(clients: usize, alpha: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
    use rand::RngExt;
    use rand_distr::{Distribution, Gamma};
    // Gamma(a) = Gamma(a + 1) * U^(1/a) (Marsaglia and Tsang 2000, section 6), in logarithms: for a small alpha the
    // plain draws underflow to zero for every client.
    let logs: Vec<f64> = match Gamma::new(alpha + 1.0, 1.0) {
        Ok(gamma) => (0..clients)
            .map(|_| {
                let base: f64 = gamma.sample(rng);
                let uniform: f64 = 1.0 - rng.random::<f64>();
                base.ln() + uniform.ln() / alpha
            })
            .collect(),
        Err(_) => vec![0.0; clients],
    };
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logs.into_iter().map(|log| (log - largest).exp()).collect()
}

/// Parses settings into a scheme.
fn build<T: Partition + for<'de> Deserialize<'de> + 'static>(
    settings: Value,
) -> Result<Box<dyn Partition>, serde_json::Error> {
    Ok(Box::new(serde_json::from_value::<T>(settings)?))
}

/// A positive finite number: a concentration or a spread.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
struct Positive(f64);

impl TryFrom<f64> for Positive {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        if value.is_finite() && value > 0.0 {
            Ok(Self(value))
        } else {
            Err(format!("{value}, expected more than 0"))
        }
    }
}

#[cfg(test)]
mod tests;
