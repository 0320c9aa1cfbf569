//! Static assignment by position: centre sampling (FCOS, Tian et al. 2019), level by the longer side of the box.

use serde::{Deserialize, Serialize};

use super::{AssignConfig, Assigner, AssignerEntry, Phase, Positive};
use crate::boxes::BBox;
use crate::grid::LocationGrid;
use crate::targets::{Predictions, TargetBox};

pub(super) const ENTRY: AssignerEntry = AssignerEntry {
    name: "centre",
    about: "locations near the middle of the box, on the level that fits its size",
    phase: Phase::Static,
    build: |config: &AssignConfig| Box::new(Centre(config.centre)),
};

/// Settings of the static rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CentreConfig {
    /// Locations up to this far from the middle of the box on either axis take part, in strides; positive.
    pub radius: f32,
    /// A box belongs to the first level on which its longer side is below this many cells, else to the last;
    /// 8 means under 64 pixels stride 8, under 128 stride 16. Positive.
    pub cells: f32,
    /// The class target is this plus the rest times the IoU of the predicted box, in `0..=1`. At 0 a new head is
    /// taught scores near zero for every object.
    pub floor: f32,
}

impl Default for CentreConfig {
    fn default() -> Self {
        Self { radius: 1.5, cells: 8.0, floor: 0.5 }
    }
}

struct Centre(CentreConfig);

impl Centre {
    fn level(&self, grid: &LocationGrid, bbox: &BBox) -> usize {
        let side = bbox.width().max(bbox.height());
        let fits = |stride: u32| side < self.0.cells * stride as f32;
        let levels = grid.levels();
        levels.iter().position(|level| fits(level.stride)).unwrap_or(levels.len() - 1)
    }
}

impl Assigner for Centre {
    fn assign(
        &self,
        grid: &LocationGrid,
        boxes: &[TargetBox],
        predictions: &Predictions<'_>,
    ) -> Vec<Positive> {
        let mut claims: Vec<(usize, usize)> = Vec::new();
        for (index, target) in boxes.iter().enumerate() {
            let bbox = &target.bbox;
            let level = self.level(grid, bbox);
            let (x, y) = bbox.centre();
            let reach = self.0.radius * grid.levels()[level].stride as f32;
            let middle = BBox::new(
                bbox.x1.max(x - reach),
                bbox.y1.max(y - reach),
                bbox.x2.min(x + reach),
                bbox.y2.min(y + reach),
            );
            let before = claims.len();
            grid.inside(level, &middle, |location| claims.push((location, index)));
            if claims.len() == before {
                claims.push((grid.nearest(level, x, y), index));
            }
        }
        // A location under several boxes learns the smallest; the first of equals.
        claims.sort_unstable_by(|a, b| {
            let area = |index: usize| boxes[index].bbox.area();
            a.0.cmp(&b.0).then(area(a.1).total_cmp(&area(b.1))).then(a.1.cmp(&b.1))
        });
        claims.dedup_by_key(|claim| claim.0);
        let positive = |(location, index): (usize, usize)| {
            let target = &boxes[index];
            let iou = predictions.boxes[location].iou(&target.bbox);
            Positive {
                location: location as u32,
                bbox: index as u32,
                class: target.class,
                target: self.0.floor + (1.0 - self.0.floor) * iou,
            }
        };
        claims.into_iter().map(positive).collect()
    }
}
