//! Average precision of a fleet from counts that add up.
//!
//! AP is not an average: it needs the ranking of all detections of all devices. A device therefore reports, per
//! class, how many detections fell into each bin of the score, and per IoU threshold how many of them were right
//! and how many count neither way. Such reports merge by addition, exactly and in any order, and nothing of an
//! image is in them.
//!
//! Only the order *within* a bin is lost. Every figure comes as an [`Estimate`]: the value if right and wrong
//! detections mix evenly in each bin, and the least and the most that any order could give, between which the
//! exact figure always lies. With 512 bins and more than 512 distinct scores the value is within 0.01 of exact.
//!
//! Bytes: with 512 bins, three classes, and 100 images of 13 objects and 20 detections each, a report takes 0.74 kB
//! at IoU 0.5 alone, 0.99 kB with 0.75, and 2.8 kB with all ten. More images add little: only the counts grow.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::coco::{ALL_AREAS, ClassOutcomes, Evaluator, IOU_THRESHOLDS};

mod bits;
mod bytes;
mod curve;

pub use bytes::{COUNT_MAX, encoded_bytes_max};
pub use curve::Estimate;

/// Most bins a histogram may have.
pub const BINS_MAX: u16 = 4096;

/// Scores are binned by their logit between minus and plus this: 0.0025 to 0.9975, the rest into the outer bins.
/// Even steps of the logit keep the many low scores of a detector apart.
const LOGIT_MAX: f64 = 6.0;

/// Which of [`IOU_THRESHOLDS`] are counted, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct ThresholdSet(u16);

impl ThresholdSet {
    /// 0.5 alone, all that AP50 needs.
    pub const AP50: Self = Self(1);
    /// 0.75 alone.
    pub const AP75: Self = Self(1 << 5);
    /// 0.5 and 0.75.
    pub const AP50_AP75: Self = Self(1 | 1 << 5);
    /// All ten, for AP.
    pub const AP: Self = Self((1 << IOU_THRESHOLDS.len()) - 1);

    /// Indices into [`IOU_THRESHOLDS`], rising.
    pub fn indices(self) -> impl Iterator<Item = usize> {
        (0..IOU_THRESHOLDS.len()).filter(move |index| self.0 & (1 << index) != 0)
    }

    /// Whether all of `other` are in this set.
    pub fn holds(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl TryFrom<u16> for ThresholdSet {
    type Error = HistogramError;

    fn try_from(found: u16) -> Result<Self, HistogramError> {
        let set = Self(found);
        if found != 0 && Self::AP.holds(set) { Ok(set) } else { Err(HistogramError::Thresholds { found }) }
    }
}

impl From<ThresholdSet> for u16 {
    fn from(set: ThresholdSet) -> Self {
        set.0
    }
}

/// Resolution of a histogram; the same for all devices of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistogramConfig {
    /// Bins of the score, `1..=`[`BINS_MAX`].
    pub bins: u16,
    /// IoU thresholds counted.
    pub thresholds: ThresholdSet,
}

impl Default for HistogramConfig {
    fn default() -> Self {
        Self { bins: 512, thresholds: ThresholdSet::AP50 }
    }
}

/// Why histograms cannot be made, merged or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// A set of thresholds that is empty or names others than the ten.
    #[error("threshold set {found:#b} is not a choice of the ten, expected 1 to {expected:#b}", expected = ThresholdSet::AP.0)]
    Thresholds {
        /// The bits given.
        found: u16,
    },
    /// No bins or too many.
    #[error("{found} bins, expected 1 to {max}", max = BINS_MAX)]
    Bins {
        /// The number given.
        found: u16,
    },
    /// Another resolution or list of classes.
    #[error("histogram {what} is {found}, expected {expected}")]
    Mismatch {
        /// What differs.
        what: &'static str,
        /// That of the run.
        expected: u64,
        /// That of the histogram.
        found: u64,
    },
    /// Bytes that end early or late, or hold a number out of its range.
    #[error("histogram of {found} bytes is damaged")]
    Malformed {
        /// Bytes given.
        found: usize,
    },
    /// Counts that no evaluation gives.
    #[error("histogram class {class}: {problem}")]
    Counts {
        /// Index of the class.
        class: usize,
        /// What cannot be.
        problem: &'static str,
    },
}

/// Count per occupied bin.
type Bins = BTreeMap<u16, u64>;

/// Detections that count at one IoU threshold, the rest being wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Verdicts {
    right: Bins,
    /// Neither right nor wrong: they met a crowd or a difficult object.
    void: Bins,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ClassCounts {
    objects: u64,
    detections: Bins,
    /// One per threshold of the set.
    verdicts: Vec<Verdicts>,
}

/// Score counts of one or many evaluations. Sums saturate, so merging stays associative whatever arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApHistogram {
    config: HistogramConfig,
    classes: Vec<ClassCounts>,
}

impl ApHistogram {
    /// A histogram without counts, neutral in merging.
    ///
    /// # Errors
    /// A number of bins out of range.
    pub fn empty(config: HistogramConfig, classes: usize) -> Result<Self, HistogramError> {
        if config.bins == 0 || config.bins > BINS_MAX {
            return Err(HistogramError::Bins { found: config.bins });
        }
        let verdicts = vec![Verdicts::default(); config.thresholds.indices().count()];
        let class = ClassCounts { objects: 0, detections: Bins::new(), verdicts };
        Ok(Self { config, classes: vec![class; classes] })
    }

    /// The counts of an evaluation.
    ///
    /// # Errors
    /// A number of bins out of range.
    pub fn from_evaluator(config: HistogramConfig, evaluator: &Evaluator) -> Result<Self, HistogramError> {
        let mut histogram = Self::empty(config, evaluator.classes().len())?;
        for (counts, outcomes) in histogram.classes.iter_mut().zip(evaluator.classes()) {
            counts.add(config, outcomes);
        }
        Ok(histogram)
    }

    /// Adds the counts of another histogram.
    ///
    /// # Errors
    /// Another resolution or number of classes; nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), HistogramError> {
        self.config.expect(other.config, self.classes.len() as u64, other.classes.len() as u64)?;
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            mine.objects = mine.objects.saturating_add(theirs.objects);
            add_bins(&mut mine.detections, &theirs.detections);
            for (mine, theirs) in mine.verdicts.iter_mut().zip(&theirs.verdicts) {
                add_bins(&mut mine.right, &theirs.right);
                add_bins(&mut mine.void, &theirs.void);
            }
        }
        Ok(())
    }

    /// Its resolution.
    pub fn config(&self) -> HistogramConfig {
        self.config
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes.len()
    }

    /// Objects to be found of a class; 0 for a class that does not exist.
    pub fn objects(&self, class: usize) -> u64 {
        self.classes.get(class).map_or(0, |counts| counts.objects)
    }

    /// Average precision of one class over the given thresholds. `None` if one of them was not counted, or if
    /// there is no such object.
    pub fn class_ap(&self, class: usize, thresholds: ThresholdSet) -> Option<Estimate> {
        let counts = self.classes.get(class).filter(|counts| counts.objects > 0)?;
        if !self.config.thresholds.holds(thresholds) {
            return None;
        }
        let counted = self.config.thresholds.indices().zip(&counts.verdicts);
        let wanted = counted.filter(|(index, _)| thresholds.indices().any(|other| other == *index));
        Estimate::mean(wanted.map(|(_, verdicts)| curve::average_precision(counts, verdicts)))
    }

    /// Average precision over all classes with objects. `None` as for [`class_ap`](Self::class_ap).
    pub fn ap_over(&self, thresholds: ThresholdSet) -> Option<Estimate> {
        Estimate::mean((0..self.classes.len()).filter_map(|class| self.class_ap(class, thresholds)))
    }

    /// AP over IoU 0.50:0.05:0.95, if all ten thresholds were counted.
    pub fn ap(&self) -> Option<Estimate> {
        self.ap_over(ThresholdSet::AP)
    }

    /// AP at IoU 0.5, if counted.
    pub fn ap50(&self) -> Option<Estimate> {
        self.ap_over(ThresholdSet::AP50)
    }

    /// AP at IoU 0.75, if counted.
    pub fn ap75(&self) -> Option<Estimate> {
        self.ap_over(ThresholdSet::AP75)
    }
}

impl HistogramConfig {
    /// The bin of a score, rising with it.
    fn bin(&self, score: f64) -> u16 {
        let score = score.clamp(0.0, 1.0);
        let logit = (score / (1.0 - score)).ln().clamp(-LOGIT_MAX, LOGIT_MAX);
        let position = (logit + LOGIT_MAX) / (2.0 * LOGIT_MAX) * f64::from(self.bins);
        (position as u16).min(self.bins - 1)
    }

    fn expect(self, found: Self, classes: u64, found_classes: u64) -> Result<(), HistogramError> {
        let (mine, theirs) = (u16::from(self.thresholds), u16::from(found.thresholds));
        for (what, expected, found) in [
            ("number of bins", u64::from(self.bins), u64::from(found.bins)),
            ("threshold set", u64::from(mine), u64::from(theirs)),
            ("number of classes", classes, found_classes),
        ] {
            if expected != found {
                return Err(HistogramError::Mismatch { what, expected, found });
            }
        }
        Ok(())
    }
}

impl ClassCounts {
    fn add(&mut self, config: HistogramConfig, outcomes: &ClassOutcomes) {
        self.objects += outcomes.objects(ALL_AREAS);
        for outcome in outcomes.detections() {
            let bin = config.bin(outcome.score);
            *self.detections.entry(bin).or_default() += 1;
            for (threshold, verdicts) in config.thresholds.indices().zip(&mut self.verdicts) {
                match outcome.verdict(ALL_AREAS, threshold) {
                    Some(true) => *verdicts.right.entry(bin).or_default() += 1,
                    Some(false) => {}
                    None => *verdicts.void.entry(bin).or_default() += 1,
                }
            }
        }
    }
}

fn add_bins(mine: &mut Bins, theirs: &Bins) {
    for (&bin, &count) in theirs {
        let sum = mine.entry(bin).or_default();
        *sum = sum.saturating_add(count);
    }
}

#[cfg(test)]
mod tests;
