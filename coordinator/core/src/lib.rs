//! The round as a state machine: who is asked, what is accepted, how updates combine, what is published.
//!
//! One verb in, effects out, one deadline. The core knows neither clock, network, disk, protobuf nor tensors; a driver (the
//! coordinator binary, or the simulator) tells it what happened and performs what it asks, in order:
//!
//! 1. take the stored version and records, and make the core with [`Coordinator::recover`];
//! 2. perform the effects, one after the other: nothing after a [`Effect::Journal`] before its record is durable;
//! 3. wait for an event, or for [`Coordinator::deadline`] (then it is [`Event::Tick`]); give it to
//!    [`Coordinator::handle`]; take a fresh [`Coordinator::admission`] for the workers that check uploads; go to 2.

pub mod admit;
mod attendance;
mod broadcast;
pub mod combine;
pub mod config;
mod context;
mod contributions;
pub mod downlink;
pub mod effect;
mod evaluations;
pub mod event;
pub mod invariants;
pub mod journal;
mod phase;
pub mod published;
mod recover;
pub mod registry;
pub mod report;
mod roster;
pub mod select;
pub mod server_opt;
mod shares;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use protocol::id::{ClientId, Round, Version};
use protocol::plan::ModelSpec;
use protocol::time::Timestamp;

pub use admit::{Admission, admit};
pub use broadcast::Moves;
pub use config::{RunConfig, Settings};
pub use effect::Effect;
pub use event::{Admitted, Event, InitialModel};
pub use journal::Record;
pub use published::Published;
pub use recover::RecoverError;
pub use report::RoundReport;

use context::Context;
use phase::Phase;
use phase::waiting::Waiting;

/// The coordinator of one run.
#[derive(Debug)]
pub struct Coordinator {
    cx: Context,
    phase: Phase,
}

/// A glance at the run, for progress displays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// `waiting`, `collecting`, `evaluating`, `scoring` or `halted`.
    pub phase: &'static str,
    /// The round that is open, or the last one; 0 before the first.
    pub round: Round,
    /// The last published version.
    pub version: Option<Version>,
    /// Clients connected.
    pub connected: usize,
    /// Clients that are waited for in this phase.
    pub awaited: usize,
    /// Answers so far in this phase (updates, or evaluations).
    pub answered: usize,
}

impl Coordinator {
    /// A run that has not begun.
    pub fn new(config: RunConfig) -> Self {
        Self { cx: Context::new(config), phase: Phase::Waiting(Waiting::Gathering) }
    }

    /// A run that goes on from what is durable: the last published version and the journal's records, in order. With
    /// neither it is a new run. What must be done right away is in `out`; `now` is the driver's time.
    ///
    /// A journal may lack whole rounds before the last published version's, but not its first record.
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
        let (cx, phase) = recover::recover(config, now, published, records, out)?;
        Ok(Self { cx, phase })
    }

    /// Takes in what happened at `now` and appends what is to be done, in order. Costs O(log clients) for all events but
    /// those that open or close a round.
    ///
    /// A deadline that has come takes effect before the event, whether or not the driver told of it by a tick.
    pub fn handle(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        if !matches!(event, Event::Tick) && self.deadline().is_some_and(|(at, _)| at <= now) {
            self.step(now, Event::Tick, out);
        }
        match event {
            Event::Connected { client, hello } => {
                let taken = self.cx.welcome(&client, &hello, out);
                let event =
                    if taken { Event::Connected { client, hello } } else { Event::Disconnected { client } };
                self.step(now, event, out);
            }
            Event::Disconnected { client } => {
                self.cx.roster.leave(&client);
                self.step(now, Event::Disconnected { client }, out);
            }
            Event::Fetched { bytes } => self.cx.tally_fetch(bytes),
            Event::Kept { version, residual } => {
                self.cx.kept = Some((version, residual));
                self.phase.set_aside(&self.cx);
            }
            event => self.step(now, event, out),
        }
    }

    fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        if let Some(next) = self.phase.handle(&mut self.cx, now, event, out) {
            self.phase = next;
            // Nothing of the phase before holds the version any more.
            self.phase.set_aside(&self.cx);
        }
    }

    /// When to call [`Coordinator::handle`] with [`Event::Tick`], and why.
    pub fn deadline(&self) -> Option<(Timestamp, &'static str)> {
        self.phase.deadline(&self.cx)
    }

    /// What uploads are checked against now; hand it to parallel workers that call [`admit()`].
    pub fn admission(&self) -> Arc<Admission> {
        self.cx.admission.clone()
    }

    /// A glance at the run.
    pub fn status(&self) -> Status {
        let (awaited, answered) = self.phase.attendance();
        Status {
            phase: self.phase.name(),
            round: self.cx.round,
            version: self.published().map(|published| published.version),
            connected: self.cx.roster.len(),
            awaited,
            answered,
        }
    }

    /// The last published version.
    pub fn published(&self) -> Option<&Arc<Published>> {
        self.phase.published()
    }

    /// Architecture and classes of the run, once they are frozen.
    pub fn spec(&self) -> Option<&ModelSpec> {
        self.cx.spec.as_ref()
    }

    /// Whom the last round asked: who should hear of the run's end, connected or not. In order of name.
    pub fn last_asked(&self) -> &[ClientId] {
        &self.cx.last_asked
    }

    /// The configuration.
    pub fn config(&self) -> &RunConfig {
        &self.cx.config
    }
}
