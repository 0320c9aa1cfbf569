//! Scoring a version on the device's own held-out images, and what is said of it.

use std::sync::Arc;

use codec::statistics::{default_budget, encode_report};
use protocol::id::Version;
use protocol::limits::EVALUATION_BYTES_MAX;
use protocol::message::ToCoordinator;
use protocol::plan::{EvaluationPlan, Norm};
use protocol::randomness::Purpose;
use protocol::train::{DeviceModel, EvaluateJob, EvaluateOutcome, TrainError};

use super::{Member, Phase, Turn, UNREADABLE};
use crate::effect::Effect;
use crate::state::HeldVersion;

/// A version that is being scored.
#[derive(Debug)]
pub(super) struct Evaluating {
    plan: EvaluationPlan,
    held: Arc<HeldVersion>,
}

impl Member {
    pub(super) fn is_evaluating(&self, version: Version) -> bool {
        matches!(&self.phase, Phase::Evaluating(evaluating) if evaluating.held.version == version)
    }

    pub(super) fn evaluate(&mut self, plan: EvaluationPlan, held: Arc<HeldVersion>, turn: &mut Turn<'_>) {
        let shared = held.model.model.values();
        let model = DeviceModel {
            statistics: held.model.statistics.clone(),
            personal: self.personal(&plan.personalise, &shared),
            shared,
        };
        let seed = self.seed(plan.round, Purpose::Calibration, turn);
        let job = EvaluateJob { version: held.version, seed, norm: plan.norm, model };
        turn.out.push(Effect::Evaluate(Box::new(job)));
        self.phase = Phase::Evaluating(Evaluating { plan, held });
    }

    pub(crate) fn evaluated(&mut self, outcome: Result<EvaluateOutcome, TrainError>, turn: &mut Turn<'_>) {
        let Evaluating { plan, held } = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Evaluating(evaluating) => evaluating,
            other => {
                self.phase = other;
                return;
            }
        };
        match outcome {
            Err(error) => {
                turn.notice(format!("cannot evaluate version {}: {error}", held.version));
                // Or the round would wait until its time is over. The details may name files: they are for the owner alone.
                let reason = match error {
                    TrainError::Data(_) => UNREADABLE.to_owned(),
                    error => format!("evaluation failed: {error}"),
                };
                self.say_declined(plan.round, &reason, turn);
            }
            Ok(outcome) => self.answer(&plan, &held, outcome, turn),
        }
        self.proceed(turn);
        self.store_version(0, turn);
    }

    fn answer(
        &mut self,
        plan: &EvaluationPlan,
        held: &HeldVersion,
        outcome: EvaluateOutcome,
        turn: &mut Turn<'_>,
    ) {
        let EvaluateOutcome { mut evaluation, statistics, statistics_images } = outcome;
        evaluation.statistics = Vec::new();
        evaluation.statistics_images = 0;
        if plan.norm == Norm::Local && !self.model.statistics.is_empty() {
            let budget = default_budget(self.model.shared.len(), plan.share).min(EVALUATION_BYTES_MAX / 2);
            match encode_report(
                &self.model.statistics,
                &held.model.statistics,
                &statistics,
                plan.share,
                budget,
            ) {
                Ok(report) => {
                    evaluation.statistics = report;
                    evaluation.statistics_images = statistics_images;
                    self.device.statistics = statistics;
                    self.persist_device(turn);
                }
                Err(error) => turn.notice(format!("statistics of version {}: {error}", held.version)),
            }
        }
        self.say(ToCoordinator::Evaluated { version: held.version, evaluation }, turn);
    }
}
