//! From the outcomes of all images to precision and recall of one class.

use super::matching::{ImageOutcome, Outcome};
use super::{AREA_RANGES, RECALL_POINTS};

/// The recall read at point `index` of [`RECALL_POINTS`], to the bit as numpy spaces it.
pub(crate) fn recall_point(index: usize) -> f64 {
    index as f64 * 0.01
}

/// Everything known about one class.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassOutcomes {
    /// Image after image, best first within each.
    detections: Vec<Outcome>,
    objects: [u64; AREA_RANGES.len()],
}

impl ClassOutcomes {
    /// Appends an image; images must come in their final order.
    pub(crate) fn push(&mut self, image: ImageOutcome) {
        self.detections.extend(image.detections);
        for (sum, objects) in self.objects.iter_mut().zip(image.objects) {
            *sum += objects;
        }
    }

    /// All outcomes in no particular order.
    pub(crate) fn detections(&self) -> &[Outcome] {
        &self.detections
    }

    /// Objects to be found in an area range.
    pub(crate) fn objects(&self, area: usize) -> u64 {
        self.objects[area]
    }

    /// Outcomes by falling score; equal scores stay in order.
    pub(crate) fn ranking(&self) -> Vec<Outcome> {
        let mut ranking = self.detections.clone();
        ranking.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap_or(std::cmp::Ordering::Equal));
        ranking
    }

    /// Average precision over a [`ranking`](Self::ranking), `None` for a class without objects in the range.
    pub(crate) fn average_precision(
        &self,
        ranking: &[Outcome],
        area: usize,
        threshold: usize,
    ) -> Option<f64> {
        let objects = self.objects[area];
        (objects > 0).then(|| {
            average_precision(ranking.iter().filter_map(|outcome| outcome.verdict(area, threshold)), objects)
        })
    }

    /// Part of the objects found by the `limit` best detections of every image, `None` for a class without
    /// objects in the range.
    pub(crate) fn recall(&self, area: usize, threshold: usize, limit: usize) -> Option<f64> {
        let objects = self.objects[area];
        let within = self.detections.iter().filter(|outcome| usize::from(outcome.rank) < limit);
        let found = within.filter(|outcome| outcome.verdict(area, threshold) == Some(true)).count();
        (objects > 0).then(|| found as f64 / objects as f64)
    }
}

/// Mean of the precision at 101 recalls, each the best precision at that recall or beyond. `right` says for every
/// detection that counts, best first, whether it is.
fn average_precision(right: impl Iterator<Item = bool>, objects: u64) -> f64 {
    let (mut found, mut wrong) = (0.0_f64, 0.0_f64);
    let mut curve: Vec<(f64, f64)> = Vec::new();
    for right in right {
        if right {
            found += 1.0
        } else {
            wrong += 1.0
        }
        curve.push((found / objects as f64, found / (wrong + found + f64::EPSILON)));
    }
    for index in (1..curve.len()).rev() {
        curve[index - 1].1 = curve[index - 1].1.max(curve[index].1);
    }
    let precision = |point: usize| {
        let index = curve.partition_point(|&(recall, _)| recall < recall_point(point));
        curve.get(index).map_or(0.0, |&(_, precision)| precision)
    };
    (0..RECALL_POINTS).map(precision).sum::<f64>() / RECALL_POINTS as f64
}
