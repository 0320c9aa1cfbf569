//! Waiting for enough clients: before the run to learn its classes, later to open the next round.

use std::sync::Arc;
use std::time::Duration;

use codec::statistics::{StatisticsLayout, codes};
use params::{Canonical, Scope};
use protocol::id::Version;
use protocol::plan::ModelSpec;
use protocol::time::Timestamp;

use super::collecting::Collecting;
use super::halted::Halted;
use super::{Phase, next};
use crate::config::RunConfig;
use crate::context::Context;
use crate::contributions::Contributions;
use crate::effect::Effect;
use crate::event::{Event, InitialModel};
use crate::journal::Record;
use crate::published::Published;

/// Longest pause after abandoned rounds; the first is a second, each further one twice as long.
const PAUSE_SECONDS_MAX: u64 = 64;

#[derive(Debug)]
pub(crate) enum Waiting {
    /// The first clients gather; their classes become the run's.
    Gathering,
    /// The driver builds the initial weights.
    Initialising,
    /// Enough clients, and this time, open the next round.
    Ready {
        /// To the version after the last published one: none, or those of rounds that were abandoned.
        contributions: Contributions,
        /// Not before then: rounds that clients decline at once must not spin.
        not_before: Timestamp,
    },
}

impl Waiting {
    pub(crate) fn handle(
        &mut self,
        cx: &mut Context,
        now: Timestamp,
        event: Event,
        out: &mut Vec<Effect>,
    ) -> Option<Phase> {
        match event {
            Event::Connected { .. } | Event::Tick => match self {
                Self::Gathering => self.freeze_if_enough(cx, out),
                Self::Initialising => {}
                Self::Ready { not_before, .. } if enough(cx) && now >= *not_before => {
                    // In its place until this phase is left: what it is without contributions.
                    let Self::Ready { contributions, .. } = std::mem::replace(self, Self::Gathering) else {
                        unreachable!("it has just been seen")
                    };
                    return Some(Collecting::open(cx, now, contributions, out));
                }
                Self::Ready { .. } => {}
            },
            Event::Initialised { initial } if matches!(self, Self::Initialising) => {
                return Some(start(cx, now, initial, out));
            }
            Event::Uploaded { client, header, .. } => cx.answer_settled(client, &header, out),
            Event::Stop => {
                let reason = "stopped while no round was open".into();
                return Some(Halted::stopped(cx, self.published().cloned(), reason, out));
            }
            Event::Disconnected { .. }
            | Event::Initialised { .. }
            | Event::Fetched { .. }
            | Event::Kept { .. }
            | Event::Evaluated { .. }
            | Event::Declined { .. }
            | Event::Scored { .. } => {}
        }
        None
    }

    /// Opens the next round, or says what is waited for.
    pub(crate) fn open_if_ready(self, cx: &mut Context, now: Timestamp, out: &mut Vec<Effect>) -> Phase {
        match self {
            Self::Ready { contributions, not_before } if enough(cx) && now >= not_before => {
                Collecting::open(cx, now, contributions, out)
            }
            waiting => {
                let (connected, needed) = (cx.roster.len(), cx.config.settings().min_clients);
                if !enough(cx) {
                    out.push(Effect::Notice(format!(
                        "waiting for clients: {connected} of {needed} connected"
                    )));
                }
                Phase::Waiting(waiting)
            }
        }
    }

    fn freeze_if_enough(&mut self, cx: &mut Context, out: &mut Vec<Effect>) {
        if !enough(cx) {
            return;
        }
        let settings = cx.config.settings();
        let classes = settings.classes.clone().unwrap_or_else(|| cx.roster.union_of_classes());
        let spec = ModelSpec { preset: settings.preset.clone(), classes };
        let (run, settings) = (cx.config.run(), Box::new(settings.clone()));
        cx.spec = Some(spec.clone());
        out.push(Effect::Journal(Record::RunStarted { run, settings, spec: spec.clone() }));
        let greeting = cx.greeting();
        let greet = |client: &_| Effect::Send { client: Clone::clone(client), instruction: greeting.clone() };
        out.extend(cx.roster.clients().map(greet));
        *self = Self::initialise(cx, spec, out);
    }

    /// Asks for the initial weights of `spec`.
    pub(crate) fn initialise(cx: &Context, spec: ModelSpec, out: &mut Vec<Effect>) -> Self {
        out.push(Effect::Initialise { spec, seed: cx.config.settings().seed });
        Self::Initialising
    }

    pub(crate) fn deadline(&self, cx: &Context) -> Option<(Timestamp, &'static str)> {
        match self {
            Self::Ready { not_before, .. } if enough(cx) => Some((*not_before, "next round after a pause")),
            Self::Gathering | Self::Initialising | Self::Ready { .. } => None,
        }
    }

    pub(crate) fn published(&self) -> Option<&Arc<Published>> {
        match self {
            Self::Ready { contributions, .. } => Some(contributions.base()),
            Self::Gathering | Self::Initialising => None,
        }
    }
}

/// How long to wait before the next attempt after so many abandoned in a row.
pub(crate) fn pause(abandoned_in_a_row: u32) -> Duration {
    let seconds = 1_u64.checked_shl(abandoned_in_a_row.saturating_sub(1)).unwrap_or(PAUSE_SECONDS_MAX);
    Duration::from_secs(seconds.clamp(1, PAUSE_SECONDS_MAX))
}

fn enough(cx: &Context) -> bool {
    cx.roster.len() >= cx.config.settings().min_clients as usize
}

/// Publishes version 0.
fn start(cx: &mut Context, now: Timestamp, initial: InitialModel, out: &mut Vec<Effect>) -> Phase {
    match first_version(&cx.config, initial) {
        Ok(first) => {
            let first = Arc::new(first);
            out.push(Effect::Publish(first.clone(), None));
            let contributions = Contributions::new(&cx.config, first);
            next(cx, now, contributions, now, out)
        }
        Err(problem) => {
            Halted::stopped(cx, None, format!("the initial weights cannot be used: {problem}"), out)
        }
    }
}

/// Version 0 of a run.
pub(crate) fn first_version(config: &RunConfig, initial: InitialModel) -> Result<Published, String> {
    let InitialModel { layout, shared, statistics } = initial;
    let shared_layout = Arc::new(layout.of_scope(Scope::Shared));
    if shared_layout.is_empty() {
        return Err("the model has no shared tensors".into());
    }
    let statistic_layout = layout.of_scope(Scope::Statistic);
    let pairs = StatisticsLayout::new(&statistic_layout).map_err(|error| error.to_string())?;
    let (expected, found) = (statistic_layout.len(), statistics.len());
    if expected != found {
        return Err(format!("expected {expected} statistics, found {found}"));
    }
    if let Some(value) = statistics.iter().find(|value| !value.is_finite()) {
        return Err(format!("a statistic is {value}"));
    }
    let model = Canonical::start(shared_layout, &shared).map_err(|error| error.to_string())?;
    let statistics = codes::rounded(&pairs, &statistics);
    let optimiser = config.server_optimiser().start(model.ticks().len());
    let (version, digest, residual) = (Version(0), model.digest(), Vec::new());
    Ok(Published { version, layout, digest, model, statistics, optimiser, residual })
}
