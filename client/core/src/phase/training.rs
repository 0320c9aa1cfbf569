//! Local training of a round, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use protocol::id::Round;
use protocol::plan::{Norm, RoundPlan};
use protocol::randomness::{Purpose, stream};
use protocol::time::Timestamp;
use protocol::train::{DeviceModel, TrainError, TrainJob, TrainOutcome};
use rand::Rng as _;

use super::uploading::Uploading;
use super::{Member, Phase, Turn, UNREADABLE};
use crate::effect::Effect;
use crate::personalise;
use crate::state::{HeldVersion, OUTGOING, Outgoing};
use crate::update::{self, Learned};

/// A plan that is being followed.
#[derive(Debug)]
pub(super) struct Training {
    pub(super) plan: RoundPlan,
    /// Until when the update is to arrive.
    due: Timestamp,
    /// The version it starts from.
    base: Arc<HeldVersion>,
    /// The round closed, or another plan came: nothing will be sent. What was learned for the shared model is dropped, and
    /// the residual stays as it was, for a stale delta on top of later ones would count the same lesson twice; the
    /// device's own values are kept.
    pub(super) abandoned: bool,
}

impl Member {
    pub(super) fn train(
        &mut self,
        plan: RoundPlan,
        due: Timestamp,
        base: Arc<HeldVersion>,
        turn: &mut Turn<'_>,
    ) {
        let shared = base.model.model.values();
        let model = DeviceModel {
            statistics: self.statistics(plan.train.norm, &base),
            personal: self.personal(&plan.personalise, &shared),
            shared,
        };
        let seed = self.seed(plan.round, Purpose::Training, turn);
        let job = TrainJob { round: plan.round, seed, plan: plan.train.clone(), model };
        turn.out.push(Effect::Train(Box::new(job)));
        self.phase = Phase::Training(Training { plan, due, base, abandoned: false });
    }

    pub(crate) fn trained(&mut self, outcome: Result<TrainOutcome, TrainError>, turn: &mut Turn<'_>) {
        let training = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Training(training) => training,
            other => {
                self.phase = other;
                return;
            }
        };
        let Training { plan, due, base, abandoned } = training;
        if let Err(error @ TrainError::Data(_)) = &outcome {
            // The details name files: they are for the owner alone.
            turn.notice(format!("round {}: {error}", plan.round));
            self.say_declined(plan.round, UNREADABLE, turn);
            self.proceed(turn);
            return;
        }
        match outcome.map_err(|error| error.to_string()).and_then(|outcome| self.check(outcome)) {
            Err(reason) => self.decline(plan.round, &reason, turn),
            Ok(outcome) => {
                self.keep(&plan, &outcome, turn);
                if abandoned {
                    turn.notice(format!(
                        "round {} was over before training ended; nothing is sent",
                        plan.round
                    ));
                } else {
                    self.prepare(&plan, due.since(turn.now), &base, &outcome, turn);
                }
            }
        }
        self.proceed(turn);
    }

    /// A trainer's answer has to fit the model, and be finite.
    fn check(&self, outcome: TrainOutcome) -> Result<TrainOutcome, String> {
        let DeviceModel { shared, statistics, personal } = &outcome.model;
        for (scope, values, expected) in [
            ("shared", shared, self.model.shared.len()),
            ("statistic", statistics, self.model.statistics.len()),
            ("personal", personal, self.model.personal_len),
        ] {
            let found = values.len();
            if found != expected {
                return Err(TrainError::Length { scope, expected, found }.to_string());
            }
            if !values.iter().all(|value| value.is_finite()) {
                return Err(format!("training gave {scope} values that are not finite"));
            }
        }
        Ok(outcome)
    }

    /// What the device keeps for itself.
    fn keep(&mut self, plan: &RoundPlan, outcome: &TrainOutcome, turn: &mut Turn<'_>) {
        let keeps = personalise::find(&plan.personalise).is_some_and(|entry| (entry.build)().keeps());
        self.device.personal = if keeps { outcome.model.personal.clone() } else { Vec::new() };
        self.device.statistics = match plan.train.norm {
            Norm::Local => outcome.model.statistics.clone(),
            Norm::Frozen => Vec::new(),
        };
        self.persist_device(turn);
    }

    /// Makes the update durable before it is uploaded: after a restart the same bytes are sent again.
    fn prepare(
        &mut self,
        plan: &RoundPlan,
        left: Duration,
        base: &HeldVersion,
        outcome: &TrainOutcome,
        turn: &mut Turn<'_>,
    ) {
        // Training only begins once the update before it is settled.
        let Outgoing::Settled(residual) = &self.outgoing else { return };
        let run = self.membership.run;
        let learned = Learned {
            shared: &self.model.shared,
            base: &base.model.model.values(),
            outcome,
            residual,
            kept: self.pace.takes_part(plan.version),
        };
        match update::prepare(plan, run, &learned, self.uplink.fits(left)) {
            Err(error) => self.decline(plan.round, &error.to_string(), turn),
            Ok((header, pending, shortened)) => {
                if let Some(planned) = shortened {
                    let (round, length) = (plan.round, header.length);
                    turn.notice(format!(
                        "round {round}: the link is slow, so {length} bytes are sent instead of {planned}; the rest is kept"
                    ));
                }
                self.outgoing = Outgoing::Unanswered { header, pending: pending.rounded() };
                turn.persist(OUTGOING, self.outgoing.encode(&self.pace));
                self.phase = Phase::Uploading(Uploading::new());
            }
        }
    }

    /// Statistics to work with: the device's own if it has any and they are not frozen.
    fn statistics(&self, norm: Norm, base: &HeldVersion) -> Vec<f32> {
        match norm {
            Norm::Local if !self.device.statistics.is_empty() => self.device.statistics.clone(),
            Norm::Local | Norm::Frozen => base.model.statistics.clone(),
        }
    }

    pub(super) fn seed(&self, round: Round, purpose: Purpose, turn: &Turn<'_>) -> u64 {
        stream(self.membership.seed, Some(round), Some(&turn.config.id), purpose).next_u64()
    }
}
