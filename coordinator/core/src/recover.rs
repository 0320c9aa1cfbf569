//! Going on after a restart: the journal replayed over the last published version.

use std::collections::BTreeSet;
use std::sync::Arc;

use codec::payload::Payload;
use params::Digest;
use protocol::id::{ClientId, Round, Version};
use protocol::message::UpdateHeader;
use protocol::time::Timestamp;
use thiserror::Error;

use crate::admit::OpenRound;
use crate::attendance::Presence;
use crate::broadcast::Moves;
use crate::config::{RunConfig, difference};
use crate::context::Context;
use crate::contributions::Contributions;
use crate::effect::Effect;
use crate::event::Admitted;
use crate::journal::Record;
use crate::phase::closing::Closing;
use crate::phase::collecting::Collecting;
use crate::phase::waiting::Waiting;
use crate::phase::{Phase, next};
use crate::published::Published;
use crate::report::RoundReport;

/// Why a run cannot go on from what was stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The stored run has other settings.
    #[error(
        "the state folder holds a run with {setting} = {stored}, the configuration says {given}: use the run's settings, or \
         another state folder for a new run"
    )]
    Settings {
        /// The setting.
        setting: String,
        /// As stored.
        stored: String,
        /// As given now.
        given: String,
    },
    /// A version without the record of its run.
    #[error(
        "the state folder holds version {version} but no record of its run: the journal is missing or damaged"
    )]
    NoRun {
        /// The version.
        version: Version,
    },
    /// The journal goes on from a version that is not there.
    #[error("the journal needs version {needed}, the newest stored is {}", .found.map_or("none".into(), |found| found.to_string()))]
    MissingVersion {
        /// What the journal goes on from.
        needed: Version,
        /// What there is.
        found: Option<Version>,
    },
    /// The journal ends before the version.
    #[error("version {stored} is stored, but the journal ends at version {journal}: the journal is damaged")]
    Behind {
        /// The last version of the journal.
        journal: Version,
        /// The stored version.
        stored: Version,
    },
    /// A record where it cannot be.
    #[error("journal, round {round}: {problem}")]
    Order {
        /// The round of the record.
        round: Round,
        /// One line.
        problem: &'static str,
    },
    /// A recorded update that cannot be read again.
    #[error("journal, round {round}: the update of {client} cannot be read again: {problem}")]
    Update {
        /// The round.
        round: Round,
        /// From whom.
        client: ClientId,
        /// One line.
        problem: String,
    },
    /// The recorded updates make another model than was recorded.
    #[error("version {version} has digest {expected} by the journal, but {found} when made again")]
    Digest {
        /// The version.
        version: Version,
        /// As recorded.
        expected: Digest,
        /// As computed or stored.
        found: Digest,
    },
    /// The stored optimiser state is of another size.
    #[error("version {version} has an optimiser state of {found} values, expected {expected}")]
    Optimiser {
        /// The version.
        version: Version,
        /// What the server optimiser keeps.
        expected: usize,
        /// What is stored.
        found: usize,
    },
}

/// A round as far as the journal tells it.
#[derive(Debug)]
struct Replayed {
    round: Round,
    goal: usize,
    cohort: Vec<ClientId>,
    /// Whose updates count, those carried over included.
    accepted: BTreeSet<ClientId>,
    /// `None` when the version it made is stored: its updates need not be added again.
    contributions: Option<(Contributions, OpenRound)>,
}

#[derive(Debug)]
struct Replay {
    cx: Context,
    head: Option<Arc<Published>>,
    /// How `head` has moved, if it was made again.
    moves: Option<Moves>,
    /// Last version the journal says was made.
    journalled: Version,
    open: Option<Replayed>,
    /// The last round, if it was abandoned: its updates go on to the next one.
    abandoned: Option<Replayed>,
    /// A round with a version but without its last report.
    unreported: Option<Unreported>,
}

#[derive(Debug)]
struct Unreported {
    report: RoundReport,
    /// Who may evaluate the version.
    contributors: BTreeSet<ClientId>,
    /// Whether the evaluations are in.
    evaluated: bool,
}

pub(crate) fn recover(
    config: RunConfig,
    now: Timestamp,
    published: Option<Published>,
    records: impl Iterator<Item = Record>,
    out: &mut Vec<Effect>,
) -> Result<(Context, Phase), RecoverError> {
    let durable = published.map(Arc::new);
    let head = durable.clone();
    let cx = Context::new(config);
    let mut replay = Replay {
        cx,
        head,
        moves: None,
        journalled: Version(0),
        open: None,
        abandoned: None,
        unreported: None,
    };
    for record in records {
        replay.take(record)?;
    }
    replay.resume(now, durable, out)
}

impl Replay {
    fn take(&mut self, record: Record) -> Result<(), RecoverError> {
        match record {
            Record::RunStarted { settings, spec, .. } => {
                let differs = difference(&settings, self.cx.config.settings());
                if let Some((setting, stored, given)) = differs {
                    return Err(RecoverError::Settings { setting, stored, given });
                }
                self.cx.spec = Some(spec);
            }
            Record::RoundOpened { round, version, cohort, goal } => {
                self.opened(round, version, cohort, goal)?
            }
            Record::Accepted { round, client, header, payload } => {
                self.accepted(round, client, header, payload)?
            }
            Record::RoundClosed { report } => self.closed(*report)?,
            Record::RoundAbandoned { round } => {
                let mut abandoned = self.end(round)?;
                if let Some((contributions, _)) = &mut abandoned.contributions {
                    contributions.carry();
                }
                self.abandoned = Some(abandoned);
            }
            Record::Compacted { round, version, asked, receipts } => {
                self.compacted(round, version, receipts)?;
                self.cx.last_asked = asked;
            }
            Record::RoundEvaluated { report, statistics } => self.evaluated(*report, statistics)?,
            Record::RoundReported { round } => match self.unreported.take() {
                Some(unreported) if unreported.report.round == round => {}
                _ => return Err(RecoverError::Order { round, problem: "reported without being closed" }),
            },
        }
        Ok(())
    }

    fn opened(
        &mut self,
        round: Round,
        version: Version,
        cohort: Vec<ClientId>,
        goal: u32,
    ) -> Result<(), RecoverError> {
        if self.open.is_some() || self.unreported.is_some() || round <= self.cx.round {
            return Err(RecoverError::Order { round, problem: "opened before the one before it was over" });
        }
        let found = self.head.as_ref().map(|head| head.version);
        let before = self.abandoned.take();
        let (accepted, carried) =
            before.map(|before| (before.accepted, before.contributions)).unwrap_or_default();
        let contributions = match &self.head {
            Some(head) if head.version == version => {
                let carried = carried.map(|(contributions, _)| contributions);
                let contributions =
                    carried.unwrap_or_else(|| Contributions::new(&self.cx.config, head.clone()));
                let codec = self.cx.config.codec(version);
                let bounds = OpenRound::new(round, cohort.clone().into(), head, &*codec);
                Some((contributions, bounds))
            }
            Some(head) if head.version > version => None,
            _ => return Err(RecoverError::MissingVersion { needed: version, found }),
        };
        self.cx.round = round;
        self.cx.last_asked = accepted.iter().chain(&cohort).cloned().collect();
        self.cx.last_asked.sort_unstable();
        let goal = goal as usize;
        self.open = Some(Replayed { round, goal, cohort, accepted, contributions });
        Ok(())
    }

    fn accepted(
        &mut self,
        round: Round,
        client: ClientId,
        header: UpdateHeader,
        payload: Payload,
    ) -> Result<(), RecoverError> {
        let order = |problem| RecoverError::Order { round, problem };
        let open = self.open.as_mut().filter(|open| open.round == round);
        let open = open.ok_or(order("an update outside an open round"))?;
        if open.accepted.contains(&client) {
            return Err(order("two updates of one client"));
        }
        if let Some((contributions, bounds)) = &mut open.contributions {
            let unreadable =
                |problem: String| RecoverError::Update { round, client: client.clone(), problem };
            let checked = codec::tiles::check(&bounds.layout, &bounds.scales, bounds.entries_max, &payload);
            let update = checked.map_err(|error| unreadable(error.to_string()))?;
            let update = Admitted::new(&bounds.layout, update, payload);
            let added = contributions.add(&self.cx.config, &client, &header, &update);
            added.map_err(|error| unreadable(error.to_string()))?;
        }
        self.cx.count(&client, round, header.payload_digest);
        open.accepted.insert(client);
        Ok(())
    }

    fn closed(&mut self, report: RoundReport) -> Result<(), RecoverError> {
        let open = self.end(report.round)?;
        let (version, expected) = (report.version, report.model_digest);
        if let Some((mut contributions, _)) = open.contributions {
            self.head = None;
            let made = contributions.make_version(&self.cx.config);
            // Nothing was set aside.
            let lost = |_| RecoverError::Order { round: report.round, problem: "closed without its base" };
            let (head, moves) = made.map_err(lost)?;
            (self.head, self.moves) = (Some(Arc::new(head)), Some(moves));
        }
        if let Some(head) = self.head.as_ref().filter(|head| head.version == version)
            && head.digest != expected
        {
            return Err(RecoverError::Digest { version, expected, found: head.digest });
        }
        self.journalled = version;
        self.unreported = Some(Unreported { report, contributors: open.accepted, evaluated: false });
        Ok(())
    }

    fn evaluated(&mut self, report: RoundReport, statistics: Vec<f32>) -> Result<(), RecoverError> {
        let order = |problem| RecoverError::Order { round: report.round, problem };
        let unreported =
            self.unreported.as_mut().filter(|unreported| unreported.report.round == report.round);
        let unreported = unreported.ok_or(order("evaluated without being closed"))?;
        if let Some(head) = self.head.as_mut().filter(|head| head.version == report.version)
            && !statistics.is_empty()
        {
            if statistics.len() != head.statistics.len() {
                return Err(order("pooled statistics of another model"));
            }
            Arc::make_mut(head).statistics = statistics;
        }
        (unreported.report, unreported.evaluated) = (report, true);
        Ok(())
    }

    fn compacted(
        &mut self,
        round: Round,
        version: Version,
        receipts: Vec<(ClientId, Round, Digest)>,
    ) -> Result<(), RecoverError> {
        if self.open.is_some() || self.unreported.is_some() || self.cx.round != Round(0) {
            return Err(RecoverError::Order { round, problem: "compacted in the middle" });
        }
        let found = self.head.as_ref().map(|head| head.version);
        if found.is_none_or(|found| found < version) {
            return Err(RecoverError::MissingVersion { needed: version, found });
        }
        (self.cx.round, self.journalled) = (round, version);
        receipts.into_iter().for_each(|(client, round, payload)| self.cx.count(&client, round, payload));
        Ok(())
    }

    fn end(&mut self, round: Round) -> Result<Replayed, RecoverError> {
        let open = self.open.take().filter(|open| open.round == round);
        open.ok_or(RecoverError::Order { round, problem: "ended without being open" })
    }

    fn resume(
        self,
        now: Timestamp,
        durable: Option<Arc<Published>>,
        out: &mut Vec<Effect>,
    ) -> Result<(Context, Phase), RecoverError> {
        let Self { mut cx, head, moves, journalled, open, abandoned, unreported } = self;
        let Some(spec) = cx.spec.clone() else {
            return match head {
                Some(head) => Err(RecoverError::NoRun { version: head.version }),
                None => Ok((cx, Phase::Waiting(Waiting::Gathering))),
            };
        };
        let Some(head) = head else {
            let waiting = Waiting::initialise(&cx, spec, out);
            return Ok((cx, Phase::Waiting(waiting)));
        };
        if journalled != head.version {
            return Err(RecoverError::Behind { journal: journalled, stored: head.version });
        }
        let (expected, found) =
            (cx.config.server_optimiser().start(head.model.ticks().len()).len(), head.optimiser.len());
        if expected != found {
            return Err(RecoverError::Optimiser { version: head.version, expected, found });
        }
        out.push(Effect::Notice(format!("run {} goes on from version {}", cx.config.run(), head.version)));
        if durable.as_ref() != Some(&head) {
            out.push(Effect::Publish(head.clone(), moves.map(Arc::new)));
        }
        let phase = match (open, unreported) {
            (Some(Replayed { round, goal, cohort, contributions, .. }), _) => {
                let Some((contributions, _)) = contributions else {
                    return Err(RecoverError::Behind { journal: journalled, stored: head.version });
                };
                Collecting::resume(&mut cx, now, round, goal, cohort, contributions, out)
            }
            (None, Some(Unreported { report, evaluated: true, .. })) => {
                Closing::evaluated(&mut cx, now, head, report, out)
            }
            (None, Some(Unreported { report, contributors, .. })) => {
                // Their sessions broke with the restart; they are asked as they come back.
                let back_by = now + cx.config.grace();
                let evaluators = contributors.into_iter().map(|client| (client, Presence::Away(back_by)));
                let evaluators = evaluators.collect();
                Closing::begin(&mut cx, now, head, report, now, evaluators, out)
            }
            (None, None) => {
                let carried = abandoned.and_then(|abandoned| abandoned.contributions);
                let contributions = match carried {
                    Some((contributions, _)) => contributions,
                    None => Contributions::new(&cx.config, head),
                };
                next(&mut cx, now, contributions, now, out)
            }
        };
        Ok((cx, phase))
    }
}
