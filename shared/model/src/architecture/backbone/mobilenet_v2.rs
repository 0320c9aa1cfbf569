//! MobileNetV2: Sandler et al. 2018, table 2.

use super::{Bottleneck, scaled};
use crate::ops::Activation;

/// Expansion, channels at width 1, repetitions, stride of the first.
const STAGES: [(usize, f64, usize, usize); 7] = [
    (1, 16.0, 1, 1),
    (6, 24.0, 2, 2),
    (6, 32.0, 3, 2),
    (6, 64.0, 4, 2),
    (6, 96.0, 3, 1),
    (6, 160.0, 3, 2),
    (6, 320.0, 1, 1),
];
/// Channels of the stem at width 1.
const STEM: f64 = 32.0;

pub(super) fn table(width: f64) -> (usize, Activation, Vec<Bottleneck>) {
    let stem = scaled(STEM, width);
    let activation = Activation::Relu6;
    let mut from = stem;
    let mut bottlenecks = Vec::new();
    for (expansion, base, repeats, first_stride) in STAGES {
        let out = scaled(base, width);
        for repeat in 0..repeats {
            let (hidden, stride) = (expansion * from, if repeat == 0 { first_stride } else { 1 });
            bottlenecks.push(Bottleneck { kernel: 3, hidden, out, squeezed: None, activation, stride });
            from = out;
        }
    }
    (stem, activation, bottlenecks)
}
