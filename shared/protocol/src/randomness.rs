//! Randomness as a stream derived from (run seed, round, client, purpose): a draw added in one place moves no other.

use params::Digest;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::id::{ClientId, Round};

/// What the numbers are for; each purpose has a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Which clients are asked.
    Cohort,
    /// Initial weights.
    Initial,
    /// Order of examples and augmentation in local training.
    Training,
    /// Which training images recompute batch-norm statistics before an evaluation.
    Calibration,
    /// Which examples a client holds out.
    HoldOut,
    /// Waiting times before a retry.
    Backoff,
    /// Simulated devices, links and faults.
    World,
}

/// The stream for one purpose in one round at one place (`None`: the coordinator).
pub fn stream(seed: u64, round: Option<Round>, client: Option<&ClientId>, purpose: Purpose) -> ChaCha8Rng {
    let round = round.map_or(0, |round| round.0);
    let client = client.map_or("", ClientId::as_str);
    let purpose = format!("{purpose:?}");
    let digest = Digest::of(&[
        b"fovea stream 1\n",
        &seed.to_le_bytes(),
        &round.to_le_bytes(),
        &(client.len() as u64).to_le_bytes(),
        client.as_bytes(),
        purpose.as_bytes(),
    ]);
    ChaCha8Rng::from_seed(digest.0)
}
