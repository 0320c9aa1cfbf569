//! The round as a state machine: who is asked, what is accepted, how updates combine, what is published.
//!
//! One verb in, effects out, one deadline. The core knows neither clock, network, disk, protobuf nor tensors; a driver (the
//! coordinator binary, or the simulator) tells it what happened and performs what it asks, in order.

pub mod admit;
pub mod combine;
pub mod config;
pub mod effect;
pub mod event;
pub mod journal;
pub mod published;
pub mod registry;
pub mod report;
pub mod select;
pub mod server_opt;

use std::sync::Arc;

use protocol::time::Timestamp;

pub use admit::Admission;
pub use config::RunConfig;
pub use effect::Effect;
pub use event::{Admitted, Event, InitialModel};
pub use journal::Record;
pub use published::Published;
pub use report::RoundReport;

/// The coordinator of one run.
#[derive(Debug)]
pub struct Coordinator {
    config: RunConfig,
}

/// Why a run cannot go on from what was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The stored run has other settings.
    #[error("the stored run has {setting} = {stored}, the configuration says {given}")]
    Settings {
        /// The setting.
        setting: String,
        /// As stored.
        stored: String,
        /// As given now.
        given: String,
    },
}

/// A glance at the run, for progress displays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// `waiting`, `collecting`, `evaluating`, `scoring` or `halted`.
    pub phase: &'static str,
    /// The round that is open, or the last one.
    pub round: protocol::id::Round,
    /// The last published version.
    pub version: Option<protocol::id::Version>,
    /// Clients connected.
    pub connected: usize,
    /// Clients asked and not yet heard of in this phase.
    pub pending: usize,
    /// Answers so far in this phase (updates, or evaluations).
    pub answered: usize,
}

impl Coordinator {
    /// A run that has not begun.
    pub fn new(config: RunConfig) -> Self {
        Self { config }
    }

    /// A run that goes on from what is durable: the last published version and the journal's records, in order. With
    /// neither it is a new run. What must be done right away is in `out`; `now` is the driver's time.
    ///
    /// # Errors
    /// Records and version that do not belong together, or to this configuration.
    pub fn recover(
        config: RunConfig,
        now: Timestamp,
        published: Option<Published>,
        records: impl Iterator<Item = Record>,
        out: &mut Vec<Effect>,
    ) -> Result<Self, RecoverError> {
        let _ = (now, published, records, out);
        Ok(Self::new(config))
    }

    /// Takes in what happened at `now` and appends what is to be done, in order.
    pub fn handle(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        let _ = (now, event, out);
    }

    /// When to call [`Coordinator::handle`] with [`Event::Tick`], and why.
    pub fn deadline(&self) -> Option<(Timestamp, &'static str)> {
        None
    }

    /// What uploads are checked against now; hand it to parallel workers that call [`admit::admit`].
    pub fn admission(&self) -> Arc<Admission> {
        Arc::new(Admission { run: self.config.run(), open: None })
    }

    /// A glance at the run.
    pub fn status(&self) -> Status {
        let (round, version) = (protocol::id::Round(0), None);
        Status { phase: "waiting", round, version, connected: 0, pending: 0, answered: 0 }
    }

    /// The last published version.
    pub fn published(&self) -> Option<&Arc<Published>> {
        None
    }
}
