//! Between tasks: what comes next, and how new instructions change what is going on.

use std::sync::Arc;

use protocol::id::Round;
use protocol::plan::{EvaluationPlan, RoundPlan};

use super::fetching::Fetching;
use super::{Member, Phase, Task, Turn};
use crate::personalise;
use crate::state::{About, FinalModel, HeldVersion, MODEL};
use crate::update::codec_of;

impl Member {
    /// Begins with what was asked for while the model was being built, as if it were asked for now.
    pub(crate) fn take_up(&mut self, turn: &mut Turn<'_>) {
        for task in std::mem::take(&mut self.queue.tasks) {
            self.task(task, turn);
        }
        self.proceed(turn);
    }

    /// The coordinator wants something done.
    pub(crate) fn task(&mut self, task: Task, turn: &mut Turn<'_>) {
        let known = match &task {
            Task::Train { plan, .. } => !self.accepts(plan, turn) || self.is_at(plan, turn),
            Task::Evaluate(plan) => !self.knows(plan, turn) || self.is_evaluating(plan.version),
            Task::Finish { .. } => false,
        };
        if known || self.is_fetching_for(&task, turn) {
            return;
        }
        if let Task::Finish { .. } = task {
            // The run has ended: nothing else matters, and a job that is still running has nobody to answer to.
            self.leave(turn);
        }
        self.queue.push(task);
        self.proceed(turn);
    }

    /// Whether this build can do what the plan asks; declines otherwise.
    fn accepts(&mut self, plan: &RoundPlan, turn: &mut Turn<'_>) -> bool {
        let unable = match (codec_of(&plan.uplink), personalise::find(&plan.personalise)) {
            (Err(error), _) => Some(error.to_string()),
            (_, None) => Some(unknown(&plan.personalise)),
            (Ok(_), Some(_)) => None,
        };
        if let Some(reason) = unable {
            self.decline(plan.round, &reason, turn);
            return false;
        }
        true
    }

    /// Whether this build can evaluate as it is asked to; declines otherwise.
    fn knows(&mut self, plan: &EvaluationPlan, turn: &mut Turn<'_>) -> bool {
        let known = personalise::find(&plan.personalise).is_some();
        if !known {
            self.decline(plan.round, &unknown(&plan.personalise), turn);
        }
        known
    }

    /// Whether this plan is being followed already: the coordinator repeats it to a client that comes back. Training for
    /// another plan is abandoned.
    fn is_at(&mut self, plan: &RoundPlan, turn: &mut Turn<'_>) -> bool {
        match &mut self.phase {
            Phase::Training(training) => {
                let same = (training.plan.round, training.plan.version) == (plan.round, plan.version);
                training.abandoned = !same;
                same
            }
            Phase::Uploading(uploading) if self.outgoing.is_for(plan) => {
                uploading.attempt.hurry();
                self.proceed(turn);
                true
            }
            Phase::Idle | Phase::Fetching(_) | Phase::Evaluating(_) | Phase::Uploading(_) => false,
        }
    }

    /// The round is over: its plan is void. Training goes on to its end, since the device's own values gain from it, but
    /// nothing will be sent. An upload goes on, for only its receipt tells whether it counts.
    pub(crate) fn closed(&mut self, round: Round, turn: &mut Turn<'_>) {
        self.queue.forget(round);
        match &mut self.phase {
            Phase::Training(training) if training.plan.round == round => training.abandoned = true,
            Phase::Fetching(fetching) if fetching.task.is_of(round) => {
                self.leave(turn);
                self.proceed(turn);
            }
            Phase::Idle
            | Phase::Fetching(_)
            | Phase::Training(_)
            | Phase::Evaluating(_)
            | Phase::Uploading(_) => {}
        }
    }

    /// Begins the next task, fetching its version first if another one is held.
    pub(super) fn begin(&mut self, turn: &mut Turn<'_>) {
        while let (Phase::Idle, Some(task)) = (&self.phase, self.queue.pop()) {
            let (version, digest) = task.version();
            match &self.held {
                Some(held) if (held.version, held.digest) == (version, digest) => {
                    let held = Arc::clone(held);
                    self.start(task, held, turn);
                }
                _ => {
                    self.phase = Phase::Fetching(Fetching::new(task));
                    self.fetch(turn);
                }
            }
        }
    }

    /// Starts a task whose version is held.
    pub(super) fn start(&mut self, task: Task, held: Arc<HeldVersion>, turn: &mut Turn<'_>) {
        match task {
            Task::Train { plan, due } => self.train(*plan, due, held, turn),
            Task::Evaluate(plan) => self.evaluate(*plan, held, turn),
            Task::Finish { version, model_digest, .. } => {
                if let Some(spec) = self.membership.spec.clone() {
                    let about = About { run: self.membership.run, version, model_digest, spec };
                    let (shared, statistics) = (held.model.model.values(), held.model.statistics.clone());
                    turn.persist(MODEL, FinalModel { about, shared, statistics }.encode());
                }
                turn.halt(format!("the run has ended with version {version}"), true);
            }
        }
    }

    /// Personal values to work with on top of these shared ones.
    pub(super) fn personal(&self, method: &str, shared: &[f32]) -> Vec<f32> {
        let start = personalise::start(&self.model.layout, shared);
        let own = Some(self.device.personal.as_slice()).filter(|own| !own.is_empty());
        match personalise::find(method) {
            Some(entry) => (entry.build)().values(own, start),
            None => start,
        }
    }
}

fn unknown(method: &str) -> String {
    format!("personalisation {method:?} is not known")
}
