//! Getting the version a task needs.

use std::sync::Arc;

use protocol::id::Version;
use protocol::time::Timestamp;

use super::{Member, Phase, Task, Turn};
use crate::effect::Effect;
use crate::event::{FetchError, FetchedModel};
use crate::retry::Attempt;
use crate::state::HeldVersion;

/// A task that waits for its version.
#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) task: Task,
    pub(super) attempt: Attempt,
    /// What is held has not led there: the whole version is needed.
    whole: bool,
}

impl Fetching {
    pub(super) fn new(task: Task) -> Self {
        Self { task, attempt: Attempt::new(), whole: false }
    }

    pub(super) fn deadline(&self) -> Option<(Timestamp, &'static str)> {
        let again = self.attempt.deadline().map(|at| (at, "fetch again"));
        let give_up = match self.task {
            Task::Finish { give_up, .. } => Some((give_up, "give up on the final version")),
            Task::Train { .. } | Task::Evaluate(_) => None,
        };
        again.into_iter().chain(give_up).min()
    }
}

impl Member {
    pub(super) fn fetch(&mut self, turn: &mut Turn<'_>) {
        let Phase::Fetching(fetching) = &mut self.phase else { return };
        if fetching.attempt.start(turn.now, turn.joined) {
            let (version, model_digest) = fetching.task.version();
            let held = self.held.as_ref().filter(|_| !fetching.whole).map(|held| Arc::clone(&held.model));
            turn.out.push(Effect::Fetch { version, model_digest, held });
        }
    }

    pub(crate) fn fetched(
        &mut self,
        version: Version,
        model: Result<FetchedModel, FetchError>,
        turn: &mut Turn<'_>,
    ) {
        let Phase::Fetching(fetching) = &mut self.phase else { return };
        let (wanted, digest) = fetching.task.version();
        let model = model.and_then(|model| {
            let found = (version, model.model.ticks().len(), model.statistics.len());
            let expected = (wanted, self.model.shared.len(), self.model.statistics.len());
            if found == expected {
                Ok(model)
            } else {
                let (version, shared, statistics) = found;
                Err(FetchError::Unfit(format!(
                    "found version {version} with {shared} weights and {statistics} statistics instead of version {} \
                     with {} and {}",
                    expected.0, expected.1, expected.2
                )))
            }
        });
        match model {
            Ok(model) => {
                let held = Arc::new(HeldVersion { version, digest, model: Arc::new(model) });
                self.held = Some(Arc::clone(&held));
                if let Phase::Fetching(Fetching { task, .. }) =
                    std::mem::replace(&mut self.phase, Phase::Idle)
                {
                    self.start(task, held, turn);
                    self.proceed(turn);
                }
            }
            Err(reason) => {
                fetching.whole |= matches!(reason, FetchError::Unfit(_));
                fetching.attempt.failed(turn.now, turn.backoff);
                turn.notice(format!("cannot fetch version {wanted}: {reason}"));
            }
        }
    }

    /// Whether the version of `task` is being fetched for a task of its kind already, whose place it then takes. Another
    /// version of the same kind is not wanted any more.
    pub(super) fn is_fetching_for(&mut self, task: &Task, turn: &mut Turn<'_>) -> bool {
        let Phase::Fetching(fetching) = &mut self.phase else { return false };
        if std::mem::discriminant(&fetching.task) != std::mem::discriminant(task) {
            return false;
        }
        if fetching.task.version() != task.version() {
            self.leave(turn);
            return false;
        }
        fetching.task = task.clone();
        fetching.attempt.hurry();
        self.fetch(turn);
        true
    }

    /// The final version cannot be had in time: the run has ended all the same.
    pub(super) fn give_up(&mut self, turn: &mut Turn<'_>) {
        if let Phase::Fetching(Fetching { task: Task::Finish { version, give_up, .. }, .. }) = self.phase
            && give_up <= turn.now
        {
            turn.halt(format!("the run has ended; its version {version} could not be fetched in time"), true);
        }
    }
}
