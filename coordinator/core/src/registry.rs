//! Choosing an algorithm by name: what the registries of combination rules, server optimisers and cohort choices share.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

/// An algorithm by name with its own settings: in a file a table `{ name = "momentum", beta = 0.5 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Registry name.
    pub name: String,
    /// The algorithm's own settings; those not given keep their defaults.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

impl Choice {
    /// The algorithm called `name` with its default settings.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), settings: Map::new() }
    }

    /// The settings as the algorithm's own type, which refuses unknown fields.
    ///
    /// # Errors
    /// [`ChoiceError::Settings`] for an unknown field or a value of another type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ChoiceError> {
        let settings = Value::Object(self.settings.clone());
        serde_json::from_value(settings).map_err(|error| self.refuse(error.to_string()))
    }

    /// The error for settings that break a rule of the algorithm.
    pub fn refuse(&self, problem: impl Into<String>) -> ChoiceError {
        ChoiceError::Settings { name: self.name.clone(), problem: problem.into() }
    }
}

/// Why an algorithm cannot be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChoiceError {
    /// No algorithm of that name.
    #[error("there is no {kind} called {found:?}; known are {known}")]
    Unknown {
        /// What was to be chosen, for example `server optimiser`.
        kind: &'static str,
        /// The name asked for.
        found: String,
        /// The names there are.
        known: String,
    },
    /// Its settings are wrong.
    #[error("{name}: {problem}")]
    Settings {
        /// The algorithm.
        name: String,
        /// One line.
        problem: String,
    },
}

/// One line of a registry.
pub struct Entry<T: ?Sized + 'static> {
    /// The name in configuration, on the command line and in reports.
    pub name: &'static str,
    /// One line for `--help` and the documentation.
    pub about: &'static str,
    /// Checks the settings and makes the algorithm.
    pub build: fn(&Choice) -> Result<Box<T>, ChoiceError>,
}

/// Finds and builds what `choice` names in `registry`; `kind` says what it is, for the error.
pub(crate) fn build<T: ?Sized>(
    registry: &'static [Entry<T>],
    kind: &'static str,
    choice: &Choice,
) -> Result<Box<T>, ChoiceError> {
    let Some(entry) = registry.iter().find(|entry| entry.name == choice.name) else {
        let known: Vec<_> = registry.iter().map(|entry| entry.name).collect();
        return Err(ChoiceError::Unknown { kind, found: choice.name.clone(), known: known.join(", ") });
    };
    (entry.build)(choice)
}
