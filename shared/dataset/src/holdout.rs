//! Each client's own split into samples to learn from and samples to judge by.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::partition::SampleTraits;

/// Two disjoint lists of ascending indices that together hold every sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdout {
    /// Samples to train on.
    pub train: Vec<usize>,
    /// Samples to evaluate on, never trained on.
    pub held_out: Vec<usize>,
}

/// Holds out `fraction` of the samples (0..1, rounded), at least `min`, but never more than half of them: with one
/// sample, none. Sets of classes are represented in proportion as far as whole samples allow. The same arguments give
/// the same split.
pub fn split_holdout(samples: &[SampleTraits], fraction: f64, min: usize, seed: u64) -> Holdout {
    let total = samples.len();
    // A negative or undefined fraction becomes zero in the cast.
    let wanted = (fraction * total as f64).round() as usize;
    let count = wanted.max(min).min(total / 2);

    // Systematic sampling: in an order sorted by class set and shuffled within, every so many-th is taken.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..total).collect();
    order.shuffle(&mut rng);
    order.sort_by_key(|&sample| &samples[sample].classes);
    let start: f64 = rng.random();
    let step = total as f64 / count.max(1) as f64;
    let mut held = vec![false; total];
    for number in 0..count {
        let place = ((number as f64 + start) * step) as usize;
        held[order[place.min(total - 1)]] = true;
    }
    let (held_out, train) = (0..total).partition(|&sample| held[sample]);
    Holdout { train, held_out }
}
