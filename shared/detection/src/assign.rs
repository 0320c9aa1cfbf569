//! Which locations learn which object.
//!
//! A new head starts with a static rule that looks only at the boxes; once its predictions mean something, a rule
//! that follows them takes over. Every rule is a file in `assign/` with one entry in [`ASSIGNERS`].

use serde::{Deserialize, Serialize};

use crate::grid::LocationGrid;
use crate::targets::{ImageTargets, Predictions, TargetBox};

mod centre;
mod task_aligned;

pub use centre::CentreConfig;
pub use task_aligned::TaskAlignedConfig;

/// A location that learns an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Positive {
    /// Index of the location in the grid.
    pub location: u32,
    /// Index of the object in the image's targets.
    pub bbox: u32,
    /// Class of the object.
    pub class: u32,
    /// What the class score should become, in `0..=1`.
    pub target: f32,
}

/// The result for one image; every location not named here is background.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignment {
    /// Locations with an object, by rising location, each at most once.
    pub positives: Vec<Positive>,
    /// Locations without an object inside an ignore region, rising: no class is taught there.
    pub excluded: Vec<u32>,
}

impl Assignment {
    /// What a location learns, if anything.
    pub fn get(&self, location: usize) -> Option<&Positive> {
        let found = self.positives.binary_search_by_key(&location, |positive| positive.location as usize);
        found.ok().map(|index| &self.positives[index])
    }

    /// Sum of the class targets.
    pub fn target_sum(&self) -> f64 {
        self.positives.iter().map(|positive| f64::from(positive.target)).sum()
    }
}

/// A rule of assignment.
pub trait Assigner: Send + Sync {
    /// The locations that learn `boxes`, by rising location, each at most once. Boxes are valid, and their
    /// classes are among those of `predictions`.
    fn assign(
        &self,
        grid: &LocationGrid,
        boxes: &[TargetBox],
        predictions: &Predictions<'_>,
    ) -> Vec<Positive>;
}

/// Which rule is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// By position alone, for a head that knows nothing yet.
    Static,
    /// By agreement of score and box, for a head that has begun to learn.
    TaskAligned,
}

impl Phase {
    /// The rule of this phase.
    pub fn entry(self) -> &'static AssignerEntry {
        match self {
            Self::Static => &centre::ENTRY,
            Self::TaskAligned => &task_aligned::ENTRY,
        }
    }
}

/// Settings of all rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AssignConfig {
    /// Of the static rule.
    pub centre: CentreConfig,
    /// Of the task-aligned rule.
    pub task_aligned: TaskAlignedConfig,
}

/// A listed rule.
#[derive(Clone, Copy, Debug)]
pub struct AssignerEntry {
    /// Name in configuration and reports.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// The phase it serves.
    pub phase: Phase,
    /// Makes it from its settings.
    pub build: fn(&AssignConfig) -> Box<dyn Assigner>,
}

/// All rules.
pub static ASSIGNERS: &[AssignerEntry] = &[centre::ENTRY, task_aligned::ENTRY];

/// Assigns the locations of one image.
pub fn assign(
    assigner: &dyn Assigner,
    grid: &LocationGrid,
    targets: &ImageTargets,
    predictions: &Predictions<'_>,
) -> Assignment {
    let positives = assigner.assign(grid, &targets.boxes, predictions);
    let mut excluded = Vec::new();
    for region in &targets.ignore {
        for level in 0..grid.levels().len() {
            grid.inside(level, region, |location| excluded.push(location as u32));
        }
    }
    excluded.sort_unstable();
    excluded.dedup();
    let mut assignment = Assignment { positives, excluded: Vec::new() };
    excluded.retain(|&location| assignment.get(location as usize).is_none());
    assignment.excluded = excluded;
    assignment
}

#[cfg(test)]
mod tests;
