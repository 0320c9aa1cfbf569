//! Where a run stands: one file per phase.
//!
//! ```text
//! waiting ── enough clients ──> collecting ── enough updates ──> closing ── reported ──┐
//!    ^                               │ too few                                         │
//!    └───────────────────────────────┴──────────── next round, too few clients <───────┤
//!                                                  halted <── all rounds done, or stop ┘
//! ```

use std::sync::Arc;

use protocol::time::Timestamp;

use crate::context::Context;
use crate::contributions::Contributions;
use crate::effect::Effect;
use crate::event::Event;
use crate::published::Published;

pub(crate) mod closing;
pub(crate) mod collecting;
pub(crate) mod halted;
pub(crate) mod waiting;

use closing::Closing;
use collecting::Collecting;
use halted::Halted;
use waiting::Waiting;

/// A phase with what belongs to it.
#[derive(Debug)]
pub(crate) enum Phase {
    /// For clients, or for the initial weights.
    Waiting(Waiting),
    /// A round is open.
    Collecting(Box<Collecting>),
    /// A version is published; its contributors evaluate it.
    Closing(Box<Closing>),
    /// Nothing more happens.
    Halted(Halted),
}

impl Phase {
    /// Takes in an event; the next phase, if this one is over. Connections are in `cx.roster` already.
    pub(crate) fn handle(
        &mut self,
        cx: &mut Context,
        now: Timestamp,
        event: Event,
        out: &mut Vec<Effect>,
    ) -> Option<Self> {
        match self {
            Self::Waiting(phase) => phase.handle(cx, now, event, out),
            Self::Collecting(phase) => phase.handle(cx, now, event, out),
            Self::Closing(phase) => phase.handle(cx, now, event, out),
            Self::Halted(phase) => phase.handle(cx, event, out),
        }
    }

    pub(crate) fn deadline(&self, cx: &Context) -> Option<(Timestamp, &'static str)> {
        match self {
            Self::Waiting(phase) => phase.deadline(cx),
            Self::Collecting(phase) => Some(phase.deadline()),
            Self::Closing(phase) => phase.deadline(),
            Self::Halted(_) => None,
        }
    }

    /// Lets go of what the driver keeps.
    pub(crate) fn set_aside(&mut self, cx: &Context) {
        if let Self::Collecting(phase) = self {
            phase.set_aside(cx);
        }
    }

    /// The last published version.
    pub(crate) fn published(&self) -> Option<&Arc<Published>> {
        match self {
            Self::Waiting(phase) => phase.published(),
            Self::Collecting(phase) => Some(phase.base()),
            Self::Closing(phase) => Some(phase.published()),
            Self::Halted(phase) => phase.published(),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Waiting(_) => "waiting",
            Self::Collecting(_) => "collecting",
            Self::Closing(phase) => phase.stage(),
            Self::Halted(_) => "halted",
        }
    }

    /// Clients awaited and clients that answered.
    pub(crate) fn attendance(&self) -> (usize, usize) {
        let attendance = match self {
            Self::Collecting(phase) => Some(phase.attendance()),
            Self::Closing(phase) => phase.attendance(),
            Self::Waiting(_) | Self::Halted(_) => None,
        };
        attendance.map_or((0, 0), |attendance| (attendance.awaited(), attendance.answered()))
    }
}

/// What follows once the base of `contributions` is published and reported: the end, the next round, or waiting for clients.
pub(crate) fn next(
    cx: &mut Context,
    now: Timestamp,
    contributions: Contributions,
    not_before: Timestamp,
    out: &mut Vec<Effect>,
) -> Phase {
    let head = contributions.base();
    if head.version.0 >= cx.config.settings().rounds {
        return Halted::complete(cx, head.clone(), out);
    }
    let waiting = Waiting::Ready { contributions, not_before };
    waiting.open_if_ready(cx, now, out)
}
