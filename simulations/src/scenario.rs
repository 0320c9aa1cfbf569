//! A scenario: one TOML file that says which run, on which devices, with which data.
//!
//! The `[run]` table is the very configuration the coordinator reads: there are no switches for behaviour that only a
//! simulation has.

use std::path::PathBuf;

use coordinator_core::config::{ConfigError, RunConfig, Settings};
use dataset::partition::{PartitionConfig, PartitionError};
use serde::Deserialize;
use thiserror::Error;

use crate::device::{FleetError, FleetSpec};

/// A scenario as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// One line shown in the report.
    #[serde(default)]
    title: String,
    #[serde(default)]
    run: Settings,
    #[serde(default)]
    devices: FleetSpec,
    #[serde(default)]
    data: DataSpec,
}

/// A checked scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// One line shown in the report.
    pub title: String,
    /// The run, as the coordinator would read it.
    pub run: RunConfig,
    /// The fleet.
    pub devices: FleetSpec,
    /// The data.
    pub data: DataSpec,
}

/// Where images come from, and how they are divided among the devices.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSpec {
    /// `toy` (no images, exact answers), `scenes` (procedural) or `folder`.
    pub source: Source,
    /// The labelled folder, for `folder`.
    pub folder: Option<PathBuf>,
    /// Split of the folder that the devices have, where its format has splits.
    pub split: Option<String>,
    /// Split of the folder that the coordinator scores each version on.
    pub score_split: Option<String>,
    /// Images in all, for `toy` and `scenes`.
    pub images: u32,
    /// Sides of a scene, pixels: width and height.
    pub size: [u32; 2],
    /// Classes, for `toy` and `scenes`.
    pub classes: u32,
    /// How images are divided: a scheme of the dataset crate (`iid`, `dirichlet`, `quantity`, `by-site`) with its settings.
    pub partition: PartitionConfig,
    /// How much the class mix differs between sites, 0..1.
    pub label_skew: f32,
    /// How much the look of things differs between sites, 0..1.
    pub feature_shift: f32,
    /// How much the meaning of shapes differs between sites, 0..1.
    pub concept_shift: f32,
    /// Sites of `scenes`.
    pub sites: u32,
    /// Share of each device's images that is held out, 0..0.5.
    pub held_out: f64,
}

/// Where images come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// No images: the analytic trainer.
    Toy,
    /// Procedural scenes and the real trainer.
    Scenes,
    /// A labelled folder and the real trainer.
    Folder,
}

impl Default for DataSpec {
    fn default() -> Self {
        Self {
            source: Source::Scenes,
            folder: None,
            split: None,
            score_split: None,
            images: 400,
            size: [160, 120],
            classes: 4,
            partition: PartitionConfig { scheme: "by-site".into(), settings: serde_json::Map::new() },
            label_skew: 0.5,
            feature_shift: 0.5,
            concept_shift: 0.0,
            sites: 4,
            held_out: 0.2,
        }
    }
}

/// Why a scenario is refused.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// Not TOML, or an unknown field.
    #[error("{}", .0.to_string().trim_end())]
    Syntax(#[from] toml::de::Error),
    /// A run that makes no sense.
    #[error("run.{0}")]
    Run(#[from] ConfigError),
    /// A fleet that makes no sense.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// An unknown scheme, or settings it does not have.
    #[error("data.{0}")]
    Partition(PartitionError),
    /// Data that make no sense.
    #[error("data.{setting} is {found}, but must be {expected}")]
    Data {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
}

impl Scenario {
    /// Reads a scenario; `seed` replaces the file's.
    ///
    /// # Errors
    /// Unknown fields, settings out of range, pairs that cannot go together.
    pub fn parse(text: &str, seed: Option<u64>) -> Result<Self, ScenarioError> {
        let mut written: Written = toml::from_str(text)?;
        if let Some(seed) = seed {
            written.run.seed = seed;
        }
        written.devices.check()?;
        written.data.check()?;
        let run = RunConfig::new(written.run)?;
        Ok(Self { title: written.title, run, devices: written.devices, data: written.data })
    }
}

impl DataSpec {
    fn check(&self) -> Result<(), ScenarioError> {
        let refuse = |setting, found: String, expected| Err(ScenarioError::Data { setting, found, expected });
        if self.source == Source::Folder && self.folder.is_none() {
            return refuse("folder", "missing".into(), "a labelled folder, with source = \"folder\"");
        }
        let shares = [
            ("label_skew", self.label_skew),
            ("feature_shift", self.feature_shift),
            ("concept_shift", self.concept_shift),
        ];
        for (setting, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return refuse(setting, value.to_string(), "from 0 to 1");
            }
        }
        if !(0.0..=0.5).contains(&self.held_out) {
            return refuse("held_out", self.held_out.to_string(), "from 0 to 0.5");
        }
        if let Err(refused) = self.partition.build() {
            return Err(ScenarioError::Partition(refused));
        }
        for (setting, value) in [("images", self.images), ("classes", self.classes), ("sites", self.sites)] {
            if value == 0 {
                return refuse(setting, "0".into(), "at least 1");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
