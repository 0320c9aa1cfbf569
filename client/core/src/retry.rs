//! When to try again: exponentially longer waits up to a limit, spread by jitter.
//!
//! A thousand devices lose their coordinator in the same second; without jitter they would all come back in the same second.

use std::time::Duration;

use protocol::id::ClientId;
use protocol::randomness::{Purpose, stream};
use protocol::time::Timestamp;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

/// Shortest and longest wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffRange {
    /// Wait after the first failure.
    pub first: Duration,
    /// Longest wait; each failure doubles the wait until here.
    pub most: Duration,
}

impl Default for BackoffRange {
    /// One second to one minute.
    fn default() -> Self {
        Self { first: Duration::from_secs(1), most: Duration::from_mins(1) }
    }
}

/// Draws waits.
#[derive(Debug)]
pub(crate) struct Backoff {
    range: BackoffRange,
    jitter: ChaCha8Rng,
}

impl Backoff {
    pub(crate) fn new(range: BackoffRange, seed: u64, client: &ClientId) -> Self {
        Self { range, jitter: stream(seed, None, Some(client), Purpose::Backoff) }
    }

    /// The wait after `failures` failures in a row (from 1): half of it fixed, half drawn.
    pub(crate) fn wait(&mut self, failures: u32) -> Duration {
        let doubled = self.range.first.saturating_mul(1 << failures.saturating_sub(1).min(30));
        let half = doubled.min(self.range.most) / 2;
        let share = f64::from(self.jitter.next_u32()) / f64::from(u32::MAX);
        half + half.mul_f64(share)
    }
}

/// Something that is asked of the driver again and again until it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// In a row, so far.
    failures: u32,
    state: AttemptState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AttemptState {
    /// Asked, not answered.
    Running,
    /// To be asked again at this time.
    Waiting(Timestamp),
    /// To be asked once there is a session.
    Offline,
}

impl Attempt {
    /// Not asked yet.
    pub(crate) fn new() -> Self {
        Self { failures: 0, state: AttemptState::Offline }
    }

    /// Whether an answer is to come.
    pub(crate) fn is_running(&self) -> bool {
        self.state == AttemptState::Running
    }

    /// Whether to ask now, if that is `possible`; then an answer is to come. What is due but not possible is asked as soon as
    /// it is.
    pub(crate) fn start(&mut self, now: Timestamp, possible: bool) -> bool {
        let due = match self.state {
            AttemptState::Running => false,
            AttemptState::Waiting(until) => until <= now,
            AttemptState::Offline => true,
        };
        if due {
            self.state = if possible { AttemptState::Running } else { AttemptState::Offline };
        }
        due && possible
    }

    /// The answer was a failure: ask again after a wait.
    pub(crate) fn failed(&mut self, now: Timestamp, backoff: &mut Backoff) {
        self.failures += 1;
        self.state = AttemptState::Waiting(now + backoff.wait(self.failures));
    }

    /// Do not wait any longer: a new session, or a reminder, is a reason to ask at once.
    pub(crate) fn hurry(&mut self) {
        if !self.is_running() {
            self.state = AttemptState::Offline;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        match self.state {
            AttemptState::Waiting(until) => Some(until),
            AttemptState::Running | AttemptState::Offline => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_differ_between_devices() {
        let range = BackoffRange { first: Duration::from_secs(1), most: Duration::from_secs(60) };
        let waits = |name: &str| -> Vec<Duration> {
            let mut backoff = Backoff::new(range, 7, &ClientId::new(name).unwrap());
            (1..40).map(|failures| backoff.wait(failures)).collect()
        };
        let camera = waits("camera-1");
        for (failures, wait) in camera.iter().enumerate() {
            let whole = Duration::from_secs(1 << failures.min(10)).min(range.most);
            assert!((whole / 2..=whole).contains(wait), "{failures}: {wait:?}");
        }
        assert_eq!(camera, waits("camera-1"));
        assert_ne!(camera, waits("camera-2"));
    }
}
