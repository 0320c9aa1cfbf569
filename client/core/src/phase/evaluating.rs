//! Scoring a version on the device's own held-out images, and what is said of it.

use std::sync::Arc;

use codec::statistics::{default_budget, encode_report};
use params::Share;
use protocol::id::{Round, Version};
use protocol::limits::EVALUATION_BYTES_MAX;
use protocol::message::ToCoordinator;
use protocol::plan::Norm;
use protocol::randomness::Purpose;
use protocol::train::{DeviceModel, EvaluateJob, EvaluateOutcome, TrainError};

use super::{Held, Member, Phase, Turn};
use crate::effect::Effect;

/// A version that is being scored.
#[derive(Debug)]
pub(super) struct Evaluating {
    norm: Norm,
    /// The channels whose statistics are to be reported.
    share: Share,
    held: Arc<Held>,
}

impl Member {
    pub(super) fn is_evaluating(&self, version: Version) -> bool {
        matches!(&self.phase, Phase::Evaluating(evaluating) if evaluating.held.version == version)
    }

    pub(super) fn evaluate(&mut self, round: Round, share: Share, held: Arc<Held>, turn: &mut Turn<'_>) {
        // As in the last plan; a device that never had one has neither statistics nor personal values of its own.
        let habits = self.membership.habits.as_ref();
        let (norm, method) =
            habits.map_or((Norm::Local, "none"), |habits| (habits.norm, habits.personalise.as_str()));
        let model = DeviceModel {
            shared: held.model.shared.clone(),
            statistics: held.model.statistics.clone(),
            personal: self.personal(method, &held.model.shared),
        };
        let seed = self.seed(round, Purpose::Calibration, turn);
        let job = EvaluateJob { version: held.version, seed, norm, model };
        turn.out.push(Effect::Evaluate(Box::new(job)));
        self.phase = Phase::Evaluating(Evaluating { norm, share, held });
    }

    pub(crate) fn evaluated(&mut self, outcome: Result<EvaluateOutcome, TrainError>, turn: &mut Turn<'_>) {
        let Evaluating { norm, share, held } = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Evaluating(evaluating) => evaluating,
            other => {
                self.phase = other;
                return;
            }
        };
        match outcome {
            Err(error) => turn.notice(format!("cannot evaluate version {}: {error}", held.version)),
            Ok(outcome) => self.answer(norm, share, &held, outcome, turn),
        }
        self.proceed(turn);
    }

    fn answer(
        &mut self,
        norm: Norm,
        share: Share,
        held: &Held,
        outcome: EvaluateOutcome,
        turn: &mut Turn<'_>,
    ) {
        let EvaluateOutcome { mut evaluation, statistics, statistics_images } = outcome;
        evaluation.statistics = Vec::new();
        evaluation.statistics_images = 0;
        if norm == Norm::Local && !self.model.statistics.is_empty() {
            let budget = default_budget(self.model.shared.len(), share).min(EVALUATION_BYTES_MAX / 2);
            match encode_report(&self.model.statistics, &held.model.statistics, &statistics, share, budget) {
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
