//! Every op against a naive f64 reference, in every instruction set this processor has.

mod blocks;
mod laws;
mod ops;
mod plan;
mod reference;

use crate::{EPSILON, Isa, Map, Norm, Statistics, unless_interpreted, with_isa};
use proptest::test_runner::{Config, RngSeed};
use std::fmt::Display;

/// SplitMix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next() >> 40) as f32 / (1u64 << 24) as f32)
    }

    fn values(&mut self, count: usize, low: f32, high: f32) -> Vec<f32> {
        (0..count).map(|_| self.uniform(low, high)).collect()
    }
}

/// Parameters of one norm, owned.
struct NormValues {
    gamma: Vec<f32>,
    beta: Vec<f32>,
    mean: Vec<f32>,
    var: Vec<f32>,
    live: bool,
}

impl NormValues {
    fn new(random: &mut Random, channels: usize, live: bool) -> Self {
        Self {
            gamma: random.values(channels, 0.6, 2.0),
            beta: random.values(channels, -0.5, 3.0),
            mean: random.values(channels, -0.3, 0.3),
            var: random.values(channels, 0.3, 1.2),
            live,
        }
    }

    fn norm(&self) -> Norm<'_> {
        let statistics = if self.live {
            Statistics::Batch
        } else {
            Statistics::Fixed { mean: &self.mean, var: &self.var }
        };
        Norm { gamma: &self.gamma, beta: &self.beta, statistics, epsilon: EPSILON }
    }
}

/// Compares with the reference, relative to its largest entry; `what` is formatted only for a failure.
#[track_caller]
fn close(what: impl Display, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let largest = expected.iter().fold(1e-6f64, |m, v| m.max(v.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*f) - e).abs() / largest;
        assert!(error <= tolerance, "{what}[{i}]: expected {e}, found {f}, relative error {error:e}");
    }
}

/// A property on `count` cases, the same each time, so that there are no failures to remember in files.
fn property(count: usize, seed: u64) -> Config {
    let cases = unless_interpreted(count, 2) as u32;
    Config { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() }
}

/// `count` channels, or under miri no more than make whole vectors and a rest.
fn channels(count: usize) -> usize {
    count.min(unless_interpreted(usize::MAX, 12))
}

/// `map`, or under miri a corner of it: see [`unless_interpreted`].
fn sized(map: Map) -> Map {
    let side_max = unless_interpreted(usize::MAX, 5);
    let (height, width) = (map.height.min(side_max), map.width.min(side_max));
    let batch_max = unless_interpreted(usize::MAX, 25 / (height * width));
    Map { batch: map.batch.min(batch_max.max(1)), height, width }
}

const FORWARD: f64 = 1e-5;
const BACKWARD: f64 = 1e-4;

/// Values nearer to a kink of ReLU6 than this may fall on either side of it in f32.
const KINK_MARGIN: f64 = 2e-5;

/// Runs `check` in each instruction set available.
fn everywhere(check: impl Fn(Isa)) {
    for isa in Isa::available() {
        with_isa(isa, || check(isa));
    }
}
