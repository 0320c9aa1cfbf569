//! Task-aligned assignment (TOOD, Feng et al. 2021): the locations inside a box whose score and box agree best.

use serde::{Deserialize, Serialize};

use super::{AssignConfig, Assigner, AssignerEntry, Phase, Positive};
use crate::grid::LocationGrid;
use crate::math::power;
use crate::targets::{Predictions, TargetBox};

pub(super) const ENTRY: AssignerEntry = AssignerEntry {
    name: "task_aligned",
    about: "the locations in the box with the largest score times power of IoU",
    phase: Phase::TaskAligned,
    build: |config: &AssignConfig| Box::new(TaskAligned(config.task_aligned)),
};

/// Settings of the task-aligned rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskAlignedConfig {
    /// Locations per box; at least 1.
    pub candidates: usize,
    /// Alignment is `score * IoU^iou_power`. The paper has 6; 3 learns faster from a random start.
    pub iou_power: u32,
}

impl Default for TaskAlignedConfig {
    fn default() -> Self {
        Self { candidates: 10, iou_power: 3 }
    }
}

/// The alignment a box without any location inside grants its nearest one, so that small objects are learnt too.
const ALIGNMENT_MIN: f32 = 1e-9;

struct TaskAligned(TaskAlignedConfig);

#[derive(Clone, Copy)]
struct Claim {
    location: usize,
    bbox: usize,
    iou: f32,
    alignment: f32,
}

impl TaskAligned {
    /// Appends the best candidates of one box.
    fn candidates(
        &self,
        (index, target): (usize, &TargetBox),
        grid: &LocationGrid,
        predictions: &Predictions<'_>,
        claims: &mut Vec<Claim>,
    ) {
        let claim = |location: usize| {
            let iou = predictions.boxes[location].iou(&target.bbox);
            let alignment = predictions.score(location, target.class) * power(iou, self.0.iou_power);
            Claim { location, bbox: index, iou, alignment }
        };
        let mut found = Vec::new();
        let mut any = false;
        for level in 0..grid.levels().len() {
            grid.inside(level, &target.bbox, |location| {
                any = true;
                let claim = claim(location);
                if claim.alignment > 0.0 {
                    found.push(claim);
                }
            });
        }
        if !any {
            let (x, y) = target.bbox.centre();
            let nearest = claim(grid.nearest(0, x, y));
            found.push(Claim { alignment: nearest.alignment.max(ALIGNMENT_MIN), ..nearest });
        }
        if found.len() > self.0.candidates {
            found.select_nth_unstable_by(self.0.candidates, |a, b| {
                b.alignment.total_cmp(&a.alignment).then(a.location.cmp(&b.location))
            });
            found.truncate(self.0.candidates);
        }
        claims.extend(found);
    }
}

impl Assigner for TaskAligned {
    fn assign(
        &self,
        grid: &LocationGrid,
        boxes: &[TargetBox],
        predictions: &Predictions<'_>,
    ) -> Vec<Positive> {
        let mut claims = Vec::new();
        for target in boxes.iter().enumerate() {
            self.candidates(target, grid, predictions, &mut claims);
        }
        // A location claimed by several boxes goes to the one its predicted box covers best; the first of equals.
        claims.sort_unstable_by(|a, b| {
            a.location.cmp(&b.location).then(b.iou.total_cmp(&a.iou)).then(a.bbox.cmp(&b.bbox))
        });
        claims.dedup_by_key(|claim| claim.location);
        // Per box the best aligned location is taught the best IoU, the others in proportion.
        let mut best = vec![(0.0_f32, 0.0_f32); boxes.len()];
        for claim in &claims {
            let (alignment, iou) = &mut best[claim.bbox];
            *alignment = alignment.max(claim.alignment);
            *iou = iou.max(claim.iou);
        }
        let positive = |claim: Claim| {
            let (alignment, iou) = best[claim.bbox];
            Positive {
                location: claim.location as u32,
                bbox: claim.bbox as u32,
                class: boxes[claim.bbox].class,
                target: claim.alignment / alignment * iou,
            }
        };
        claims.into_iter().map(positive).collect()
    }
}
