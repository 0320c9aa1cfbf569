//! A round is open: its cohort trains, and updates arrive.

use std::sync::Arc;

use codec::tiles::UpdateError;
use protocol::id::{ClientId, Round};
use protocol::message::{Receipt, Refusal, ToClient, UpdateHeader};
use protocol::plan::RoundPlan;
use protocol::time::Timestamp;

use super::closing::Closing;
use super::halted::Halted;
use super::waiting::pause;
use super::{Phase, next};
use crate::attendance::{Attendance, Presence};
use crate::context::Context;
use crate::contributions::Contributions;
use crate::effect::Effect;
use crate::event::{Admitted, Event};
use crate::invariants;
use crate::journal::Record;
use crate::published::Published;
use crate::report::{Ending, RoundReport};

#[derive(Debug)]
pub(crate) struct Collecting {
    round: Round,
    opened: Timestamp,
    deadline: Timestamp,
    /// Updates after which the round closes, those carried over included.
    goal: usize,
    attendance: Attendance,
    contributions: Contributions,
}

/// Why an update is not added.
enum Unfit {
    Refused(Refusal),
    /// Its bytes are gone, and with them the sums.
    Lost(String),
}

impl Collecting {
    /// Chooses a cohort of the connected clients and asks it. Those whose updates are carried over are not asked again: a second
    /// update from the same version would count the same images twice.
    pub(crate) fn open(
        cx: &mut Context,
        now: Timestamp,
        contributions: Contributions,
        out: &mut Vec<Effect>,
    ) -> Phase {
        let round = Round(cx.round.0 + 1);
        let carried = contributions.clients();
        let candidates: Vec<_> = cx.roster.clients().filter(|client| !carried.contains(*client)).collect();
        let (asked, goal) = cx.config.asked_and_goal(candidates.len() + carried.len());
        let asked = asked.saturating_sub(carried.len());
        let seed = cx.config.settings().seed;
        let cohort = cx.config.select().select(seed, round, &candidates, asked);
        debug_assert!(invariants::distinct_and_ordered(&cohort));
        let (version, recorded) = (contributions.base().version, cohort.clone());
        out.push(Effect::Journal(Record::RoundOpened {
            round,
            version,
            cohort: recorded,
            goal: goal as u32,
        }));
        Self::resume(cx, now, round, goal, cohort, contributions, out)
    }

    /// Goes on with a round that was opened, and with the contributions so far.
    pub(crate) fn resume(
        cx: &mut Context,
        now: Timestamp,
        round: Round,
        goal: usize,
        cohort: Vec<ClientId>,
        contributions: Contributions,
        out: &mut Vec<Effect>,
    ) -> Phase {
        let mut attendance = Attendance::default();
        let back_by = now + cx.config.grace();
        for client in &cohort {
            let here = cx.roster.holds(client);
            attendance.set(client, if here { Presence::Present } else { Presence::Away(back_by) });
        }
        contributions.clients().iter().for_each(|client| attendance.set(client, Presence::Answered));
        cx.round = round;
        cx.last_asked = attendance.iter().map(|(client, _)| client.clone()).collect();
        cx.admit_for(round, cohort.into(), contributions.base());
        let deadline = now + cx.config.round_time_limit();
        let mut phase = Box::new(Self { round, opened: now, deadline, goal, attendance, contributions });
        let present = phase.attendance.iter().filter(|(_, presence)| *presence == Presence::Present);
        for (client, _) in present {
            out.push(phase.ask(cx, now, client));
        }
        phase.conclude(cx, now, out).unwrap_or(Phase::Collecting(phase))
    }

    pub(crate) fn handle(
        &mut self,
        cx: &mut Context,
        now: Timestamp,
        event: Event,
        out: &mut Vec<Effect>,
    ) -> Option<Phase> {
        match event {
            Event::Connected { client, .. } => {
                if self.attendance.returned(&client) {
                    out.push(self.ask(cx, now, &client));
                }
            }
            Event::Disconnected { client } => self.attendance.left(&client, now + cx.config.grace()),
            Event::Declined { client, round, reason } => {
                let asked =
                    matches!(self.attendance.get(&client), Some(Presence::Present | Presence::Away(_)));
                if asked && round == self.round {
                    self.attendance.set(&client, Presence::Declined);
                    out.push(Effect::Notice(format!("{client} declines round {round}: {reason}")));
                }
            }
            Event::Uploaded { client, header, update } => {
                if let Some(halted) = self.upload(cx, client, header, update, out) {
                    return Some(halted);
                }
            }
            Event::Stop => {
                let enough = self.contributed() >= cx.config.min_contributors() as usize;
                let phase = if enough {
                    self.close(cx, now, Ending::Stop, out)
                } else {
                    self.abandon(cx, now, Ending::Stop, out)
                };
                return Some(phase);
            }
            Event::Tick => self.attendance.expire(now),
            Event::Initialised { .. }
            | Event::Fetched { .. }
            | Event::Kept { .. }
            | Event::Evaluated { .. }
            | Event::Scored { .. } => {}
        }
        self.conclude(cx, now, out)
    }

    fn ask(&self, cx: &Context, now: Timestamp, client: &ClientId) -> Effect {
        let settings = cx.config.settings();
        let base = self.base();
        let plan = RoundPlan {
            round: self.round,
            version: base.version,
            model_digest: base.digest,
            time_limit: self.deadline.since(now),
            train: settings.train.plan(base.version, settings.rounds),
            uplink: settings.uplink.plan(base.version, settings.rounds),
            personalise: settings.personalise.clone(),
        };
        Effect::Send { client: client.clone(), instruction: ToClient::Train(plan) }
    }

    /// Lets go of what need not wait in memory.
    pub(crate) fn set_aside(&mut self, cx: &Context) {
        self.contributions.set_aside(cx.kept.as_ref());
    }

    /// Answers an upload. The round is over when the bytes of an admitted update are gone while they are added: nobody has a
    /// receipt for it, and after a restart the journal makes the sums again.
    fn upload(
        &mut self,
        cx: &mut Context,
        client: ClientId,
        header: UpdateHeader,
        update: Result<Arc<Admitted>, Refusal>,
        out: &mut Vec<Effect>,
    ) -> Option<Phase> {
        let (round, payload) = (self.round, header.payload_digest);
        if header.run != cx.config.run() || header.round != round {
            cx.answer_settled(client, &header, out);
            return None;
        }
        if let Some(accepted) = cx.counted(&client, round) {
            let refusal = Refusal::Duplicate { accepted, found: payload };
            if accepted == payload {
                out.push(Effect::Receipt { client, payload, receipt: Receipt::Accepted { round } });
            } else {
                cx.refuse(client, payload, refusal, out);
            }
            return None;
        }
        if self.attendance.get(&client).is_none() || self.contributions.clients().contains(&client) {
            cx.refuse(client, payload, Refusal::NotAsked { round }, out);
            return None;
        }
        let accepted = update.map_err(Unfit::Refused);
        match accepted.and_then(|update| self.accept(cx, &client, &header, &update).map(|()| update)) {
            Ok(update) => {
                cx.count(&client, round, payload);
                self.attendance.set(&client, Presence::Answered);
                let payload_bytes = update.payload.clone();
                let recorded = client.clone();
                out.push(Effect::Journal(Record::Accepted {
                    round,
                    client: recorded,
                    header,
                    payload: payload_bytes,
                }));
                out.push(Effect::Receipt { client, payload, receipt: Receipt::Accepted { round } });
            }
            Err(Unfit::Refused(refusal)) => cx.refuse(client, payload, refusal, out),
            Err(Unfit::Lost(reason)) => {
                let reason = format!("the update of {client} is lost: {reason}");
                return Some(Halted::stopped(cx, Some(self.base().clone()), reason, out));
            }
        }
        None
    }

    /// Adds an admitted update to the round, if it still fits.
    fn accept(
        &mut self,
        cx: &Context,
        client: &ClientId,
        header: &UpdateHeader,
        update: &Admitted,
    ) -> Result<(), Unfit> {
        // Admission may have been an older one: what it checked is checked again against the round that is open.
        let (expected, found) = (self.base().version, header.version);
        if expected != found {
            return Err(Unfit::Refused(Refusal::WrongVersion { expected, found }));
        }
        let malformed = |rule: String| Unfit::Refused(Refusal::Malformed { rule });
        if update.payload.digest() != header.payload_digest {
            return Err(malformed("the header belongs to other bytes".into()));
        }
        match self.contributions.add(&cx.config, client, header, update) {
            Ok(()) => Ok(()),
            Err(UpdateError::Sum(error)) => Err(malformed(error.to_string())),
            Err(error) => Err(Unfit::Lost(error.to_string())),
        }
    }

    /// Ends the round if nothing more is to be waited for.
    fn conclude(&mut self, cx: &mut Context, now: Timestamp, out: &mut Vec<Effect>) -> Option<Phase> {
        let (contributed, awaited) = (self.contributed(), self.attendance.awaited());
        let needed = cx.config.min_contributors() as usize;
        let overdue = now >= self.deadline;
        let ending = match () {
            () if contributed >= self.goal.max(needed) => Ending::Goal,
            () if awaited == 0 || contributed + awaited < needed => Ending::Answered,
            () if overdue => Ending::Deadline,
            () => return None,
        };
        Some(if contributed >= needed {
            self.close(cx, now, ending, out)
        } else {
            self.abandon(cx, now, ending, out)
        })
    }

    /// Makes and publishes the next version.
    fn close(&mut self, cx: &mut Context, now: Timestamp, ending: Ending, out: &mut Vec<Effect>) -> Phase {
        let (published, moves) = match self.contributions.make_version(&cx.config) {
            Ok(made) => made,
            // The journal makes the version after a restart, from the base that was stored.
            Err(error) => {
                let reason = format!("round {} cannot be closed: {error}", self.round);
                return Halted::stopped(cx, Some(self.base().clone()), reason, out);
            }
        };
        let published = Arc::new(published);
        debug_assert!(invariants::enough_contributors(self.contributed(), cx.config.min_contributors()));
        let report = self.report(&published, ending, false);
        out.push(Effect::Journal(Record::RoundClosed { report: Box::new(report.clone()) }));
        out.push(Effect::Publish(published.clone(), Some(Arc::new(moves))));
        self.dismiss(cx, out);
        cx.abandoned_in_a_row = 0;
        if ending == Ending::Stop {
            return Closing::cut_short(cx, now, published, report, self.opened, out);
        }
        let contributors = self.attendance.iter().filter(|(_, presence)| *presence == Presence::Answered);
        let (present, absent): (Vec<_>, Vec<_>) =
            contributors.map(|(client, _)| client.clone()).partition(|client| cx.roster.holds(client));
        // Uploads may come before sessions, after a restart: somebody is waited for, or nobody would evaluate.
        let (evaluators, presence) = match present.is_empty() {
            true => (absent, Presence::Away(now + cx.config.grace())),
            false => (present, Presence::Present),
        };
        let evaluators = evaluators.into_iter().map(|client| (client, presence)).collect();
        Closing::begin(cx, now, published, report, self.opened, evaluators, out)
    }

    /// Ends the round without a version.
    fn abandon(&mut self, cx: &mut Context, now: Timestamp, ending: Ending, out: &mut Vec<Effect>) -> Phase {
        let round = self.round;
        let (contributed, needed) = (self.contributed(), cx.config.min_contributors());
        let kept = if contributed > 0 { "; they count in the next round" } else { "" };
        out.push(Effect::Notice(format!(
            "round {round} abandoned: {contributed} of {needed} updates it needs{kept}"
        )));
        self.dismiss(cx, out);
        let base = self.base().clone();
        let mut report = self.report(&base, ending, true);
        cx.tally_into(&mut report);
        report.seconds = now.since(self.opened).as_secs_f64();
        // The report first: if only one of the two is done, the round is resumed and reported again.
        out.push(Effect::Report(Box::new(report)));
        out.push(Effect::Journal(Record::RoundAbandoned { round }));
        if ending == Ending::Stop {
            return Halted::stopped(cx, Some(base), format!("stopped, round {round} abandoned"), out);
        }
        cx.abandoned_in_a_row += 1;
        if cx.abandoned_in_a_row >= cx.config.settings().abandoned_rounds_max {
            let reason = format!("{} rounds in a row abandoned for want of updates", cx.abandoned_in_a_row);
            return Halted::stopped(cx, Some(base), reason, out);
        }
        let nothing = Contributions::new(&cx.config, base);
        let mut contributions = std::mem::replace(&mut self.contributions, nothing);
        contributions.carry();
        next(cx, now, contributions, now + pause(cx.abandoned_in_a_row), out)
    }

    /// Tells those still at work that the round is over.
    fn dismiss(&self, cx: &mut Context, out: &mut Vec<Effect>) {
        cx.admit_none();
        let instruction = ToClient::Closed { round: self.round };
        let present = self.attendance.iter().filter(|(_, presence)| *presence == Presence::Present);
        out.extend(
            present
                .map(|(client, _)| Effect::Send { client: client.clone(), instruction: instruction.clone() }),
        );
    }

    fn report(&self, published: &Published, ending: Ending, abandoned: bool) -> RoundReport {
        let mut report = RoundReport::new(self.round, published, ending, self.contributions.totals());
        report.abandoned = abandoned;
        report.asked = self.attendance.asked() as u32 - report.carried;
        report.declined = self.attendance.declined() as u32;
        report.lost = self.attendance.lost() as u32;
        report
    }

    fn contributed(&self) -> usize {
        self.contributions.totals().count as usize
    }

    pub(crate) fn base(&self) -> &Arc<Published> {
        self.contributions.base()
    }

    pub(crate) fn attendance(&self) -> &Attendance {
        &self.attendance
    }

    pub(crate) fn deadline(&self) -> (Timestamp, &'static str) {
        match self.attendance.next_return() {
            Some(back_by) if back_by < self.deadline => (back_by, "a client that was cut off is given up"),
            _ => (self.deadline, "time limit of the round"),
        }
    }
}
