//! A version is published: its contributors evaluate it, statistics are pooled, it is scored, the round is reported.

use std::collections::BTreeMap;
use std::sync::Arc;

use params::Share;
use protocol::evaluation::CentralScore;
use protocol::id::ClientId;
use protocol::message::ToClient;
use protocol::plan::EvaluationPlan;
use protocol::time::Timestamp;

use super::halted::Halted;
use super::{Phase, next};
use crate::attendance::{Attendance, Presence};
use crate::context::Context;
use crate::contributions::Contributions;
use crate::effect::Effect;
use crate::evaluations::Evaluations;
use crate::event::Event;
use crate::journal::Record;
use crate::published::Published;
use crate::report::RoundReport;
use crate::shares::{Asked, divide};

#[derive(Debug)]
pub(crate) struct Closing {
    published: Arc<Published>,
    /// What is known so far.
    report: RoundReport,
    opened: Timestamp,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Contributors evaluate (nobody does when this version is not evaluated).
    Evaluating {
        attendance: Attendance,
        /// Whose statistics of which channels.
        shares: BTreeMap<ClientId, Share>,
        deadline: Timestamp,
        evaluations: Box<Evaluations>,
    },
    /// The driver scores the version on its own data.
    Scoring,
}

impl Closing {
    /// Asks those `evaluators` that are present, if this version is to be evaluated.
    pub(crate) fn begin(
        cx: &mut Context,
        now: Timestamp,
        published: Arc<Published>,
        report: RoundReport,
        opened: Timestamp,
        evaluators: Vec<(ClientId, Presence)>,
        out: &mut Vec<Effect>,
    ) -> Phase {
        let mut attendance = Attendance::default();
        if cx.config.evaluates(published.version) {
            evaluators.iter().for_each(|(client, presence)| attendance.set(client, *presence));
        }
        let classes = cx.spec.as_ref().map_or(0, |spec| spec.classes.len());
        let evaluations = Box::new(Evaluations::new(&cx.config, &published, classes));
        let deadline = now + cx.config.evaluation_time_limit();
        let present: Vec<ClientId> = attendance
            .iter()
            .filter(|(_, presence)| *presence == Presence::Present)
            .map(|(client, _)| client.clone())
            .collect();
        let asked = |(client, presence): (&ClientId, Presence)| Asked {
            client: client.clone(),
            present: presence == Presence::Present,
            images: cx.roster.examples(client),
        };
        let last = published.version.0 >= cx.config.settings().rounds;
        let shares = divide(attendance.iter().map(asked).collect(), published.version, last);
        let stage = Stage::Evaluating { attendance, shares, deadline, evaluations };
        let mut closing = Box::new(Self { published, report, opened, stage });
        out.extend(present.iter().filter_map(|client| closing.ask(cx, client)));
        closing.conclude(cx, now, out).unwrap_or(Phase::Closing(closing))
    }

    /// Goes on with a version whose evaluations are in.
    pub(crate) fn evaluated(
        cx: &mut Context,
        now: Timestamp,
        published: Arc<Published>,
        report: RoundReport,
        out: &mut Vec<Effect>,
    ) -> Phase {
        let mut closing = Box::new(Self { published, report, opened: now, stage: Stage::Scoring });
        closing.score(cx, now, out).unwrap_or(Phase::Closing(closing))
    }

    /// Reports a version that is published because the operator asked to stop; nobody evaluates it.
    pub(crate) fn cut_short(
        cx: &mut Context,
        now: Timestamp,
        published: Arc<Published>,
        report: RoundReport,
        opened: Timestamp,
        out: &mut Vec<Effect>,
    ) -> Phase {
        Self { published, report, opened, stage: Stage::Scoring }.stop(cx, now, out)
    }

    pub(crate) fn handle(
        &mut self,
        cx: &mut Context,
        now: Timestamp,
        event: Event,
        out: &mut Vec<Effect>,
    ) -> Option<Phase> {
        match (event, &mut self.stage) {
            (Event::Connected { client, .. }, Stage::Evaluating { attendance, .. }) => {
                if attendance.returned(&client) {
                    out.extend(self.ask(cx, &client));
                }
            }
            (Event::Disconnected { client }, Stage::Evaluating { attendance, .. }) => {
                attendance.left(&client, now + cx.config.grace());
            }
            (
                Event::Evaluated { client, version, evaluation },
                Stage::Evaluating { attendance, shares, evaluations, .. },
            ) => {
                let asked = attendance.get(&client).is_some_and(|presence| presence != Presence::Answered);
                if asked && version == self.published.version {
                    attendance.set(&client, Presence::Answered);
                    let share = shares.get(&client).copied().unwrap_or(Share::ALL);
                    if let Err(problem) = evaluations.add(&evaluation, share) {
                        cx.tally_refusal("evaluation");
                        out.push(Effect::Notice(format!("refused an evaluation of {client}: {problem}")));
                    }
                }
            }
            (Event::Declined { client, round, reason }, Stage::Evaluating { attendance, .. }) => {
                let asked = matches!(attendance.get(&client), Some(Presence::Present | Presence::Away(_)));
                if asked && round == self.report.round {
                    attendance.set(&client, Presence::Declined);
                    let version = self.published.version;
                    out.push(Effect::Notice(format!(
                        "{client} does not evaluate version {version}: {reason}"
                    )));
                }
            }
            (Event::Tick, Stage::Evaluating { attendance, .. }) => attendance.expire(now),
            (Event::Scored { version, score }, Stage::Scoring) if version == self.published.version => {
                match score {
                    Ok(score) => self.note_score(cx, score),
                    Err(problem) => {
                        out.push(Effect::Notice(format!("version {version} has no score: {problem}")))
                    }
                }
                return Some(self.finish(cx, now, out));
            }
            (Event::Uploaded { client, header, .. }, _) => cx.answer_settled(client, &header, out),
            (Event::Stop, _) => {
                self.settle(out);
                return Some(self.stop(cx, now, out));
            }
            (
                Event::Connected { .. }
                | Event::Disconnected { .. }
                | Event::Evaluated { .. }
                | Event::Declined { .. }
                | Event::Initialised { .. }
                | Event::Fetched { .. }
                | Event::Kept { .. }
                | Event::Scored { .. }
                | Event::Tick,
                _,
            ) => {}
        }
        self.conclude(cx, now, out)
    }

    fn ask(&self, cx: &Context, client: &ClientId) -> Option<Effect> {
        let Stage::Evaluating { shares, .. } = &self.stage else { return None };
        let share = *shares.get(client)?;
        let settings = cx.config.settings();
        let plan = EvaluationPlan {
            round: self.report.round,
            version: self.published.version,
            model_digest: self.published.digest,
            share,
            norm: settings.train.norm,
            personalise: settings.personalise.clone(),
        };
        Some(Effect::Send { client: client.clone(), instruction: ToClient::Evaluate(plan) })
    }

    /// Goes on to scoring, or to the report, once no more evaluations are to be waited for.
    fn conclude(&mut self, cx: &mut Context, now: Timestamp, out: &mut Vec<Effect>) -> Option<Phase> {
        let Stage::Evaluating { attendance, deadline, .. } = &self.stage else { return None };
        if attendance.awaited() > 0 && now < *deadline {
            return None;
        }
        self.settle(out);
        self.score(cx, now, out)
    }

    /// Takes in the evaluations there are: figures into the report, pooled statistics into the published version.
    fn settle(&mut self, out: &mut Vec<Effect>) {
        let Stage::Evaluating { attendance, evaluations, .. } = &self.stage else { return };
        if attendance.answered() == 0 {
            return;
        }
        evaluations.fill(&mut self.report);
        let pooled = evaluations.pooled(&self.published.statistics);
        let report = Box::new(self.report.clone());
        out.push(Effect::Journal(Record::RoundEvaluated {
            report,
            statistics: pooled.clone().unwrap_or_default(),
        }));
        if let Some(statistics) = pooled {
            // Same version, same weights, same digest: only the statistics that go with them are known now.
            Arc::make_mut(&mut self.published).statistics = statistics;
            out.push(Effect::Publish(self.published.clone(), None));
        }
    }

    fn score(&mut self, cx: &mut Context, now: Timestamp, out: &mut Vec<Effect>) -> Option<Phase> {
        let spec = cx.spec.clone().filter(|_| cx.config.settings().central_score);
        let Some(spec) = spec else { return Some(self.finish(cx, now, out)) };
        self.stage = Stage::Scoring;
        out.push(Effect::Score { spec, published: self.published.clone() });
        None
    }

    fn note_score(&mut self, cx: &Context, score: CentralScore) {
        self.report.ap50 = Some(score.ap50);
        self.report.ap = Some(score.ap);
        let classes = cx.spec.iter().flat_map(|spec| spec.classes.iter().cloned());
        self.report.ap50_per_class = classes.zip(score.ap50_per_class).collect();
    }

    fn finish(&mut self, cx: &mut Context, now: Timestamp, out: &mut Vec<Effect>) -> Phase {
        self.give_report(cx, now, out);
        let contributions = Contributions::new(&cx.config, self.published.clone());
        next(cx, now, contributions, now, out)
    }

    fn stop(&mut self, cx: &mut Context, now: Timestamp, out: &mut Vec<Effect>) -> Phase {
        self.give_report(cx, now, out);
        let version = self.published.version;
        if version.0 >= cx.config.settings().rounds {
            return Halted::complete(cx, self.published.clone(), out);
        }
        let round = self.report.round;
        let reason = format!("stopped, round {round} finished with version {version}");
        Halted::stopped(cx, Some(self.published.clone()), reason, out)
    }

    fn give_report(&mut self, cx: &mut Context, now: Timestamp, out: &mut Vec<Effect>) {
        let mut report = self.report.clone();
        cx.tally_into(&mut report);
        cx.forget_old_receipts();
        report.seconds = now.since(self.opened).as_secs_f64();
        let round = report.round;
        // The report first: if only one of the two is done, it is given again.
        out.push(Effect::Report(Box::new(report)));
        out.push(Effect::Journal(Record::RoundReported { round }));
    }

    pub(crate) fn published(&self) -> &Arc<Published> {
        &self.published
    }

    pub(crate) fn stage(&self) -> &'static str {
        match self.stage {
            Stage::Evaluating { .. } => "evaluating",
            Stage::Scoring => "scoring",
        }
    }

    pub(crate) fn attendance(&self) -> Option<&Attendance> {
        match &self.stage {
            Stage::Evaluating { attendance, .. } => Some(attendance),
            Stage::Scoring => None,
        }
    }

    pub(crate) fn deadline(&self) -> Option<(Timestamp, &'static str)> {
        let Stage::Evaluating { attendance, deadline, .. } = &self.stage else { return None };
        match attendance.next_return() {
            Some(back_by) if back_by < *deadline => Some((back_by, "a client that was cut off is given up")),
            _ => Some((*deadline, "time limit of the evaluation")),
        }
    }
}
