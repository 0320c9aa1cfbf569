//! MobileNetV3: Howard et al. 2019, tables 1 and 2.

use super::{Bottleneck, scaled};
use crate::ops::Activation;

/// Kernel, hidden channels (the paper's expansion size), output channels, squeeze-excite, hard-swish instead of ReLU, stride.
type Row = (usize, usize, usize, bool, bool, usize);

/// Table 2, MobileNetV3-Small.
const SMALL: [Row; 11] = [
    (3, 16, 16, true, false, 2),
    (3, 72, 24, false, false, 2),
    (3, 88, 24, false, false, 1),
    (5, 96, 40, true, true, 2),
    (5, 240, 40, true, true, 1),
    (5, 240, 40, true, true, 1),
    (5, 120, 48, true, true, 1),
    (5, 144, 48, true, true, 1),
    (5, 288, 96, true, true, 2),
    (5, 576, 96, true, true, 1),
    (5, 576, 96, true, true, 1),
];
/// Channels of the stem.
const STEM: usize = 16;
/// Of the hidden channels, how many a squeeze-excite leaves (section 5.3); rounded as widths are.
const SQUEEZE: f64 = 0.25;

pub(super) fn small() -> (usize, Activation, Vec<Bottleneck>) {
    (STEM, Activation::HardSwish, SMALL.into_iter().map(bottleneck).collect())
}

fn bottleneck((kernel, hidden, out, squeeze, swish, stride): Row) -> Bottleneck {
    let squeezed = squeeze.then(|| scaled(hidden as f64, SQUEEZE));
    let activation = if swish { Activation::HardSwish } else { Activation::Relu };
    Bottleneck { kernel, hidden, out, squeezed, activation, stride }
}
