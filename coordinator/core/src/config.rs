//! The configuration of a run: can only hold settings that make sense together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use codec::{Codec, SettingsError};
use params::{Digest, Layout};
use protocol::id::{RunId, Version};
use protocol::limits::{
    BATCH_MAX, CLASS_NAME_BYTES_MAX, CLASSES_MAX, CLIENTS_MAX, COHORT_MAX, LOCAL_EPOCHS_MAX, NAME_BYTES_MAX,
    ROUNDS_MAX, WEIGHT_MAX,
};
use protocol::plan::{Norm, PERSONALISATIONS};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::combine::{self, Rule};
use crate::registry::ChoiceError;
use crate::select::{self, Select};
use crate::server_opt::{self, ServerOptimiser};

mod links;
mod settings;
#[cfg(test)]
mod tests;

pub use links::{DownlinkSettings, UplinkSettings, codec_of};
pub use settings::{Settings, TrainSettings};

/// Longest time limit, seconds: four weeks.
const SECONDS_MAX: f64 = 28.0 * 86_400.0;

/// Checked settings with the algorithms they name.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct RunConfig {
    settings: Settings,
    run: RunId,
    combine: Arc<dyn Rule>,
    select: Arc<dyn Select>,
    server_optimiser: Arc<dyn ServerOptimiser>,
    codec: Arc<dyn Codec>,
    threads: usize,
}

/// Why settings are refused: one line that names the setting, what it is, and what it may be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A setting out of range.
    #[error("{setting} is {found}, but must be {expected}")]
    Range {
        /// Name of the setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// Two settings that cannot both hold.
    #[error("{first} and {second} cannot go together: {reason}")]
    Pair {
        /// One setting with its value.
        first: String,
        /// The other with its value.
        second: String,
        /// Why.
        reason: &'static str,
    },
    /// An algorithm that does not exist, or its settings.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// A codec that does not exist, or its settings.
    #[error("uplink: {0}")]
    Codec(#[from] SettingsError),
}

impl RunConfig {
    /// Checks `settings`.
    ///
    /// # Errors
    /// The first setting out of range, pair that cannot hold, or unknown algorithm.
    pub fn new(settings: Settings) -> Result<Self, ConfigError> {
        check_ranges(&settings)?;
        check_pairs(&settings)?;
        let combine = combine::build(&settings.combine)?.into();
        let select = select::build(&settings.select)?.into();
        let server_optimiser = server_opt::build(&settings.server_optimiser)?.into();
        let codec = codec_of(&settings.uplink.steady())?.into();
        let run = run_id(&settings);
        Ok(Self { settings, run, combine, select, server_optimiser, codec, threads: 1 })
    }

    /// Adds large updates with at most so many threads; nothing that comes out depends on it.
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The run's name: a digest of the seed and of every setting that decides what an update means.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Updates without which a round publishes nothing.
    pub fn min_contributors(&self) -> u32 {
        min_contributors(&self.settings)
    }

    /// Time from opening a round until later updates are refused.
    pub fn round_time_limit(&self) -> Duration {
        Duration::from_secs_f64(self.settings.round_time_limit_s)
    }

    /// Time for evaluations after a version is published.
    pub fn evaluation_time_limit(&self) -> Duration {
        Duration::from_secs_f64(self.settings.evaluation_time_limit_s)
    }

    /// How long a round waits for a client whose session broke.
    pub fn grace(&self) -> Duration {
        Duration::from_secs_f64(self.settings.grace_s)
    }

    /// Whether the contributors of `version` evaluate it.
    pub fn evaluates(&self, version: Version) -> bool {
        version.0 == self.settings.rounds || version.0.is_multiple_of(self.settings.evaluate_every)
    }

    /// Of `connected` clients: how many a round asks, and after how many updates it closes.
    pub fn asked_and_goal(&self, connected: usize) -> (usize, usize) {
        let Some(cohort) = self.settings.cohort else {
            let everyone = connected.min(COHORT_MAX);
            return (everyone, everyone);
        };
        let asked = (f64::from(cohort) * self.settings.over_selection).ceil() as usize;
        let asked = asked.min(connected).min(COHORT_MAX);
        (asked, asked.min(cohort as usize))
    }

    /// Settings that are allowed but worth a second thought, one line each.
    pub fn cautions(&self) -> Vec<String> {
        let Settings { train, uplink, server_optimiser, evaluate_every, .. } = &self.settings;
        let mut cautions = Vec::new();
        if self.min_contributors() == 1 {
            cautions.push(
                "min_contributors 1: a version made of one update shows everybody what that device has sent"
                    .to_owned(),
            );
        }
        let beta = server_optimiser.settings.get("beta").and_then(Value::as_f64);
        if beta.is_some_and(|beta| beta > 0.5) && uplink.residual_decay >= 0.9 {
            let decay = uplink.residual_decay;
            cautions.push(format!(
                "server_optimiser.beta above 0.5 with uplink.residual_decay {decay}: slowly decayed residuals are a \
                 momentum already"
            ));
        }
        if uplink.residual_decay > 0.95 {
            let decay = uplink.residual_decay;
            cautions.push(format!(
                "uplink.residual_decay {decay}: residuals older than a few rounds do harm; 0.9 is safe"
            ));
        }
        if *evaluate_every > 1 && train.norm == Norm::Local {
            cautions.push(format!(
                "evaluate_every {evaluate_every} with local norm: versions in between are scored with older statistics"
            ));
        }
        cautions
    }

    pub(crate) fn combine(&self) -> &dyn Rule {
        &*self.combine
    }

    pub(crate) fn select(&self) -> &dyn Select {
        &*self.select
    }

    /// The codec of the updates that start from `version`.
    pub(crate) fn codec(&self, version: Version) -> Arc<dyn Codec> {
        let Settings { uplink, rounds, .. } = &self.settings;
        // Plans differ in densities that are above the one which was checked, and in range.
        codec_of(&uplink.plan(version, *rounds)).map_or_else(|_| self.codec.clone(), Arc::from)
    }

    /// By how many times their mean the updates that start from `version` move a model of this (shared) layout.
    pub(crate) fn gain(&self, version: Version, layout: &Layout) -> f64 {
        let Settings { uplink, rounds, .. } = &self.settings;
        let sparse = self.codec(version).entries_max(layout) < layout.len();
        if sparse { uplink.gain(version, *rounds) } else { 1.0 }
    }

    pub(crate) fn server_optimiser(&self) -> &dyn ServerOptimiser {
        &*self.server_optimiser
    }
}

impl TryFrom<Settings> for RunConfig {
    type Error = ConfigError;
    fn try_from(settings: Settings) -> Result<Self, ConfigError> {
        Self::new(settings)
    }
}

impl From<RunConfig> for Settings {
    fn from(config: RunConfig) -> Self {
        config.settings
    }
}

/// Half of what the smallest round asks for, so that a few devices may fail; but two where there are two, since a version made
/// of one update gives that update away.
fn min_contributors(settings: &Settings) -> u32 {
    let Settings { min_contributors, min_clients, cohort, .. } = *settings;
    let smallest = cohort.map_or(min_clients, |cohort| cohort.min(min_clients));
    min_contributors.unwrap_or_else(|| smallest.div_ceil(2).max(smallest.min(2)))
}

/// The first setting that makes two runs different ones: its name, and its value in each.
pub(crate) fn difference(one: &Settings, other: &Settings) -> Option<(String, String, String)> {
    let (one, other) = (identity(one), identity(other));
    let changed = one.iter().find(|(name, value)| other.get(*name) != Some(value))?;
    let (name, value) = changed;
    Some((name.clone(), value.to_string(), other.get(name).map_or_else(String::new, Value::to_string)))
}

fn run_id(settings: &Settings) -> RunId {
    let text = Value::Object(identity(settings)).to_string();
    RunId(u64::from_le_bytes(Digest::of(&[b"fovea run 1\n", text.as_bytes()]).short()))
}

/// The settings that name a run, in order of name.
fn identity(settings: &Settings) -> serde_json::Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(settings) else {
        unreachable!("settings are a table of plain values")
    };
    fields.retain(|name, _| !settings::OPERATIONAL.contains(&name.as_str()));
    fields
}

fn range<T: PartialOrd + ToString>(
    setting: &'static str,
    found: T,
    min: T,
    max: T,
) -> Result<(), ConfigError> {
    // Written so that NaN is refused too.
    if found >= min && found <= max {
        return Ok(());
    }
    let expected = format!("from {} to {}", min.to_string(), max.to_string());
    Err(ConfigError::Range { setting, found: found.to_string(), expected })
}

fn check_ranges(settings: &Settings) -> Result<(), ConfigError> {
    let clients_max = CLIENTS_MAX as u32;
    range("rounds", settings.rounds, 1, ROUNDS_MAX)?;
    range("min_clients", settings.min_clients, 1, clients_max)?;
    range("min_contributors", settings.min_contributors.unwrap_or(1), 1, clients_max)?;
    range("cohort", settings.cohort.unwrap_or(1), 1, COHORT_MAX as u32)?;
    range("over_selection", settings.over_selection, 1.0, 10.0)?;
    range("round_time_limit_s", settings.round_time_limit_s, 0.001, SECONDS_MAX)?;
    range("evaluation_time_limit_s", settings.evaluation_time_limit_s, 0.001, SECONDS_MAX)?;
    range("grace_s", settings.grace_s, 0.0, SECONDS_MAX)?;
    range("abandoned_rounds_max", settings.abandoned_rounds_max, 1, ROUNDS_MAX)?;
    range("weight_cap", settings.weight_cap, 1, WEIGHT_MAX)?;
    range("evaluate_every", settings.evaluate_every, 1, ROUNDS_MAX)?;
    range("length of preset", settings.preset.len(), 1, NAME_BYTES_MAX)?;
    if !PERSONALISATIONS.contains(&settings.personalise.as_str()) {
        let expected = format!("one of {}", PERSONALISATIONS.join(", "));
        return Err(ConfigError::Range {
            setting: "personalise",
            found: settings.personalise.clone(),
            expected,
        });
    }
    if let Some(classes) = &settings.classes {
        check_classes(classes)?;
    }
    check_train(&settings.train)?;
    let uplink = &settings.uplink;
    range("uplink.warm_up_density", uplink.warm_up_density, 0.0, 1.0)?;
    range("uplink.warm_up_rounds", uplink.warm_up_rounds, 0, ROUNDS_MAX)?;
    range("uplink.last_density", uplink.last_density, 0.0, 1.0)?;
    range("uplink.last_rounds", uplink.last_rounds, 0, ROUNDS_MAX)?;
    range("uplink.residual_decay", uplink.residual_decay, 0.0, 1.0)?;
    range("uplink.decay_rounds", uplink.decay_rounds, 0, ROUNDS_MAX)?;
    range("uplink.gain", uplink.gain, 1.0, 4.0)?;
    range("uplink.residual_guard", uplink.residual_guard.unwrap_or_default(), 0.0, 1e6)?;
    let downlink = &settings.downlink;
    range("downlink.warm_up_density", downlink.warm_up_density, 0.0, 1.0)?;
    range("downlink.warm_up_rounds", downlink.warm_up_rounds, 0, ROUNDS_MAX)?;
    range("downlink.density", downlink.density, 0.0, 1.0)?;
    range("downlink.floor", downlink.floor, 0.0, 1.0)?;
    range("downlink.last_density", downlink.last_density, 0.0, 1.0)?;
    range("downlink.last_rounds", downlink.last_rounds, 0, ROUNDS_MAX)?;
    range("downlink.statistics_step", downlink.statistics_step, 1.0 / 256.0, 1.0 / 8.0)?;
    range("downlink.last_statistics_step", downlink.last_statistics_step, 1.0 / 256.0, 1.0 / 8.0)
}

fn check_train(train: &TrainSettings) -> Result<(), ConfigError> {
    range("train.local_epochs", train.local_epochs, 1, LOCAL_EPOCHS_MAX)?;
    range("train.batch", train.batch, 1, BATCH_MAX)?;
    range("train.micro_batch", train.micro_batch, 1, BATCH_MAX)?;
    range("train.learning_rate", train.learning_rate, 1e-9, 100.0)?;
    range("train.weight_decay", train.weight_decay, 0.0, 100.0)?;
    range("train.clip_norm", train.clip_norm, 1e-6, 1e9)?;
    range("train.ema_decay", train.ema_decay, 0.0, 0.999_999)?;
    range("train.warm_up", train.warm_up, 0.0, 1.0)?;
    range("train.final_rate", train.final_rate, 0.0, 1.0)?;
    range("train.mosaic", train.mosaic, 0.0, 1.0)?;
    range("train.mosaic_until", train.mosaic_until, 0.0, 1.0)
}

fn check_classes(classes: &[String]) -> Result<(), ConfigError> {
    range("number of classes", classes.len(), 1, CLASSES_MAX)?;
    let mut seen = BTreeSet::new();
    for class in classes {
        if let Some(expected) = class_name_rule(class) {
            return Err(ConfigError::Range { setting: "classes", found: format!("{class:?}"), expected });
        }
        if !seen.insert(class) {
            let expected = "names that differ".to_string();
            return Err(ConfigError::Range {
                setting: "classes",
                found: format!("{class:?} twice"),
                expected,
            });
        }
    }
    Ok(())
}

/// The rule that a class name breaks, if it breaks one.
pub(crate) fn class_name_rule(class: &str) -> Option<String> {
    let printable = !class.trim().is_empty() && class.chars().all(|letter| !letter.is_control());
    let rule = || format!("printable and at most {CLASS_NAME_BYTES_MAX} bytes long");
    (!printable || class.len() > CLASS_NAME_BYTES_MAX).then(rule)
}

fn check_pairs(settings: &Settings) -> Result<(), ConfigError> {
    let pair = |first: String, second: String, reason| Err(ConfigError::Pair { first, second, reason });
    let min_contributors = min_contributors(settings);
    if min_contributors > settings.min_clients {
        return pair(
            format!("min_contributors {min_contributors}"),
            format!("min_clients {}", settings.min_clients),
            "a round could open with fewer clients than it needs updates",
        );
    }
    if let Some(cohort) = settings.cohort
        && cohort < min_contributors
    {
        return pair(
            format!("cohort {cohort}"),
            format!("min_contributors {min_contributors}"),
            "a round would close with fewer updates than it needs",
        );
    }
    let train = &settings.train;
    if train.micro_batch > train.batch {
        return pair(
            format!("train.micro_batch {}", train.micro_batch),
            format!("train.batch {}", train.batch),
            "a forward pass cannot hold more images than the step it is part of",
        );
    }
    if settings.uplink.floor > settings.uplink.density {
        return pair(
            format!("uplink.floor {}", settings.uplink.floor),
            format!("uplink.density {}", settings.uplink.density),
            "every tensor would send a larger share than the whole update",
        );
    }
    let downlink = &settings.downlink;
    if downlink.density > 0.0 && downlink.floor > downlink.density {
        return pair(
            format!("downlink.floor {}", downlink.floor),
            format!("downlink.density {}", downlink.density),
            "every tensor would change by a larger share than the whole version",
        );
    }
    Ok(())
}
