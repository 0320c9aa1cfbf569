//! What a client may say of its own held-out images: sums and score histograms, never images or boxes.

use serde::{Deserialize, Serialize};

/// Scores of one model on one client's held-out images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelScore {
    /// AP at IoU 0.50 over the classes the client has boxes of, 0..1.
    pub ap50: f64,
    /// AP averaged over IoU 0.50:0.05:0.95, 0..1.
    pub ap: f64,
    /// Score histograms as `detection::histogram` encodes them; mergeable by addition. May be empty.
    pub histogram: Vec<u8>,
}

/// One client's evaluation of one version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Held-out images scored; 0 when the client holds none out (then the scores say nothing).
    pub images: u32,
    /// Ground-truth boxes among them.
    pub boxes: u32,
    /// The version as published, with the device's own statistics.
    pub global: ModelScore,
    /// The version with the device's personal tensors.
    pub personal: ModelScore,
    /// Statistics of the device's training images under this version, as `codec::statistics` encodes differences to the
    /// version's own. Empty when the plan freezes them.
    pub statistics: Vec<u8>,
    /// Images behind `statistics`.
    pub statistics_images: u32,
}

/// The coordinator's own score on `--eval-data`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CentralScore {
    /// AP at IoU 0.50, 0..1.
    pub ap50: f64,
    /// AP over IoU 0.50:0.05:0.95, 0..1.
    pub ap: f64,
    /// AP50 per class in the order of the run's class names; NaN-free, `None` for classes without boxes.
    pub ap50_per_class: Vec<Option<f64>>,
}
