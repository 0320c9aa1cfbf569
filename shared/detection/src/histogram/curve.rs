//! Average precision from binned scores.

use serde::{Deserialize, Serialize};

use super::{ClassCounts, Verdicts};
use crate::coco::{RECALL_POINTS, recall_point};

/// A figure known up to the order within bins, in `0..=1`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// If right and wrong detections mix evenly within each bin.
    pub value: f64,
    /// If the wrong ones of a bin all come first; the exact figure is not below.
    pub least: f64,
    /// If the right ones of a bin all come first; the exact figure is not above.
    pub most: f64,
}

impl Estimate {
    /// Component by component; `None` of nothing.
    pub(super) fn mean(values: impl Iterator<Item = Self>) -> Option<Self> {
        let mut count = 0.0;
        let mut sum = Self { value: 0.0, least: 0.0, most: 0.0 };
        for value in values {
            count += 1.0;
            sum.value += value.value;
            sum.least += value.least;
            sum.most += value.most;
        }
        (count > 0.0).then(|| Self {
            value: sum.value / count,
            least: sum.least / count,
            most: sum.most / count,
        })
    }
}

/// Where in its bin a wrong detection stands.
#[derive(Clone, Copy)]
enum Order {
    WrongFirst,
    Even,
    RightFirst,
}

/// A bin that holds right detections: numbers `before + 1 ..= before + right` of the ranking of right ones.
struct Step {
    before: f64,
    right: f64,
    wrong_before: f64,
    wrong: f64,
}

impl Step {
    /// Precision where the `k`-th right detection stands.
    fn precision(&self, k: f64, order: Order) -> f64 {
        let part = match order {
            Order::WrongFirst => 1.0,
            Order::Even => (k - self.before - 0.5) / self.right,
            Order::RightFirst => 0.0,
        };
        k / (self.wrong_before + self.wrong * part + k + f64::EPSILON)
    }

    /// Best precision from the `k`-th right detection to the end of the bin. Precision is a quotient of linear
    /// functions of `k`, so it is monotone within a bin and largest at one end.
    fn best_from(&self, k: f64, order: Order) -> f64 {
        self.precision(k, order).max(self.precision(self.before + self.right, order))
    }
}

pub(super) fn average_precision(counts: &ClassCounts, verdicts: &Verdicts) -> Estimate {
    let mut steps: Vec<Step> = Vec::new();
    let (mut before, mut wrong_before) = (0.0, 0.0);
    for (bin, &all) in counts.detections.iter().rev() {
        let of = |bins: &super::Bins| bins.get(bin).copied().unwrap_or(0);
        let right = of(&verdicts.right) as f64;
        let wrong = all.saturating_sub(of(&verdicts.right)).saturating_sub(of(&verdicts.void)) as f64;
        if right > 0.0 {
            steps.push(Step { before, right, wrong_before, wrong });
        }
        before += right;
        wrong_before += wrong;
    }
    let mean = |order| mean_precision(&steps, counts.objects as f64, order);
    Estimate { value: mean(Order::Even), least: mean(Order::WrongFirst), most: mean(Order::RightFirst) }
}

/// Mean over the recall points of the best precision at that recall or beyond.
fn mean_precision(steps: &[Step], objects: f64, order: Order) -> f64 {
    // beyond[i]: best precision in any bin after i.
    let mut beyond = vec![0.0_f64; steps.len()];
    for index in (1..steps.len()).rev() {
        let step = &steps[index];
        beyond[index - 1] = beyond[index].max(step.best_from(step.before + 1.0, order));
    }
    let precision = |point: usize| {
        // The right detection at which recall, computed as COCO does, first reaches the point.
        let recall = recall_point(point);
        let mut k = (recall * objects).ceil().max(1.0);
        if k > 1.0 && (k - 1.0) / objects >= recall {
            k -= 1.0;
        } else if k / objects < recall {
            k += 1.0;
        }
        let index = steps.partition_point(|step| step.before + step.right < k);
        steps.get(index).map_or(0.0, |step| step.best_from(k, order).max(beyond[index]))
    };
    (0..RECALL_POINTS).map(precision).sum::<f64>() / RECALL_POINTS as f64
}
