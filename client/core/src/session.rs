//! The connection to the coordinator: connecting, greeting, joined, backing off.

use protocol::time::Timestamp;

use crate::retry::{Attempt, Backoff};

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// Not open: being opened, or waiting before it is tried again.
    Down(Attempt),
    /// Open, the coordinator has not answered the greeting.
    Greeting {
        /// Goes on counting failures if the coordinator hangs up before it answers.
        attempt: Attempt,
    },
    /// Open, and the client is in a run.
    Joined,
}

impl Session {
    /// Being opened for the first time.
    pub(crate) fn new() -> Self {
        let mut attempt = Attempt::new();
        attempt.start(Timestamp::START, true);
        Self::Down(attempt)
    }

    pub(crate) fn is_joined(&self) -> bool {
        *self == Self::Joined
    }

    /// Lost, or not to be had: the next attempt comes after a wait. False if that was known.
    pub(crate) fn lost(&mut self, now: Timestamp, backoff: &mut Backoff) -> bool {
        let mut attempt = match *self {
            Self::Down(attempt) if !attempt.is_running() => return false,
            Self::Down(attempt) | Self::Greeting { attempt } => attempt,
            Self::Joined => Attempt::new(),
        };
        attempt.failed(now, backoff);
        *self = Self::Down(attempt);
        true
    }

    /// Whether it is time to connect; if so, an answer is to come.
    pub(crate) fn connect(&mut self, now: Timestamp) -> bool {
        match self {
            Self::Down(attempt) => attempt.start(now, true),
            Self::Greeting { .. } | Self::Joined => false,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Down(attempt) => attempt.deadline(),
            Self::Greeting { .. } | Self::Joined => None,
        }
    }
}
