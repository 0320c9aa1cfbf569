//! What a client is doing in a run: one file per phase, and one for the model that it is about.

use std::sync::Arc;

use codec::delta::Content;
use codec::residual::{Lineage, Residual};
use codec::statistics::StatisticsLayoutError;
use params::Digest;
use protocol::id::{Round, Version};
use protocol::limits::TEXT_BYTES_MAX;
use protocol::message::ToCoordinator;
use protocol::plan::{EvaluationPlan, RoundPlan};
use protocol::time::Timestamp;
use protocol::train::Prepared;

use crate::Config;
use crate::effect::Effect;
use crate::event::Event;
use crate::link::Uplink;
use crate::pace::Pace;
use crate::retry::Backoff;
use crate::state::{
    DEVICE, Device, HeldVersion, Membership, OUTGOING, Origin, Outgoing, RECEIPT, StateError, Stored, VERSION,
};
use crate::update::lineage;

mod evaluating;
mod fetching;
mod idle;
mod model;
mod training;
mod uploading;

use evaluating::Evaluating;
use fetching::Fetching;
use model::Model;
use training::Training;
use uploading::Uploading;

/// What the coordinator hears of images that cannot be read: which ones is for the device's owner alone.
const UNREADABLE: &str = "the device's images cannot be read";

/// A client that is in a run whose model it does not have yet.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) membership: Membership,
    /// What it was told to do meanwhile.
    pub(crate) queue: Queue,
}

/// A client that has its run's model.
#[derive(Debug)]
pub(crate) struct Member {
    membership: Membership,
    model: Model,
    phase: Phase,
    queue: Queue,
    outgoing: Outgoing,
    pace: Pace,
    uplink: Uplink,
    device: Device,
    /// The version fetched last.
    held: Option<Arc<HeldVersion>>,
    /// The one that would be found after a restart: its number and its name.
    stored: Option<(Version, Content)>,
    /// Said while the session was down; only the last one still matters.
    unsaid: Option<ToCoordinator>,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Fetching(Fetching),
    Training(Training),
    Evaluating(Evaluating),
    Uploading(Uploading),
}

/// What a client can be told to do.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    /// Train, and upload until `due`.
    Train {
        plan: Box<RoundPlan>,
        due: Timestamp,
    },
    Evaluate(Box<EvaluationPlan>),
    Finish {
        version: Version,
        model_digest: Digest,
        give_up: Timestamp,
    },
}

impl Task {
    fn version(&self) -> (Version, Digest) {
        match self {
            Self::Train { plan, .. } => (plan.version, plan.model_digest),
            Self::Evaluate(plan) => (plan.version, plan.model_digest),
            &Self::Finish { version, model_digest, .. } => (version, model_digest),
        }
    }

    /// Whether to train in this round.
    fn is_of(&self, round: Round) -> bool {
        matches!(self, Self::Train { plan, .. } if plan.round == round)
    }
}

/// Tasks that wait, at most one of a kind: a newer plan makes an older one void.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    tasks: Vec<Task>,
}

impl Queue {
    pub(crate) fn push(&mut self, task: Task) {
        let kind = std::mem::discriminant(&task);
        self.tasks.retain(|other| std::mem::discriminant(other) != kind);
        self.tasks.push(task);
    }

    pub(crate) fn forget(&mut self, round: Round) {
        self.tasks.retain(|task| !task.is_of(round));
    }

    fn pop(&mut self) -> Option<Task> {
        if self.tasks.is_empty() { None } else { Some(self.tasks.remove(0)) }
    }
}

/// An answer the driver owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Prepared,
    Fetched,
    Trained,
    Evaluated,
    Uploaded,
}

impl Answer {
    pub(crate) fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Prepared(_) => Some(Self::Prepared),
            Event::Fetched { .. } => Some(Self::Fetched),
            Event::Trained(_) => Some(Self::Trained),
            Event::Evaluated(_) => Some(Self::Evaluated),
            Event::Uploaded(_) => Some(Self::Uploaded),
            Event::Connected
            | Event::Disconnected { .. }
            | Event::Instruction(_)
            | Event::Tick
            | Event::Stop => None,
        }
    }
}

/// What a phase has at hand while it handles one event.
pub(crate) struct Turn<'a> {
    pub(crate) now: Timestamp,
    pub(crate) config: &'a Config,
    /// Whether the session is open and greeted.
    pub(crate) joined: bool,
    pub(crate) backoff: &'a mut Backoff,
    pub(crate) strays: &'a mut Vec<Answer>,
    pub(crate) out: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    fn notice(&mut self, text: impl Into<String>) {
        self.out.push(Effect::Notice(text.into()));
    }

    fn persist(&mut self, name: &'static str, bytes: Vec<u8>) {
        self.out.push(Effect::Persist { name, bytes });
    }

    fn halt(&mut self, reason: String, complete: bool) {
        self.out.push(Effect::Halt { reason, complete });
    }
}

impl Member {
    /// Takes up a run with its model, and what is stored of it.
    pub(crate) fn new(
        joining: Joining,
        Prepared { layout, start }: Prepared,
        stored: Stored,
        out: &mut Vec<Effect>,
    ) -> Result<Self, StatisticsLayoutError> {
        let Joining { membership, queue } = joining;
        let model = Model::new(layout)?;
        let mut report =
            |error: StateError| out.push(Effect::Notice(format!("{error}; going on without it")));
        let device =
            stored.get(DEVICE).map(|bytes| stored_device(bytes, &origin(&membership, &model), &model));
        let device = device.transpose().unwrap_or_else(|error| {
            report(error);
            None
        });
        let lineage = lineage(membership.run, &model.shared);
        let receipt = stored.get(RECEIPT).map(Vec::as_slice);
        let outgoing =
            stored.get(OUTGOING).map(|bytes| Outgoing::decode(bytes, receipt, lineage, &model.shared));
        let outgoing = outgoing.transpose().unwrap_or_else(|error| {
            report(error);
            None
        });
        let (outgoing, pace) =
            outgoing.unwrap_or_else(|| (Outgoing::Settled(Residual::new(lineage)), Pace::default()));
        let phase = match outgoing {
            Outgoing::Settled(_) => Phase::Idle,
            Outgoing::Unanswered { .. } => Phase::Uploading(Uploading::resumed()),
        };
        let device = device.unwrap_or_default();
        let origin = origin(&membership, &model);
        let held = stored.get(VERSION).map(|bytes| HeldVersion::decode(bytes, origin, &model.shape()));
        let held = held.transpose().unwrap_or_else(|error| {
            report(error);
            None
        });
        let stored = held.as_ref().map(|held| (held.version, held.content()));
        let held = held.or_else(|| model.start(start?)).map(Arc::new);
        let uplink = Uplink::default();
        let unsaid = None;
        Ok(Self { membership, model, phase, queue, outgoing, pace, uplink, device, held, stored, unsaid })
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The session is open again.
    pub(crate) fn rejoined(&mut self, turn: &mut Turn<'_>) {
        turn.out.extend(self.unsaid.take().map(Effect::Send));
        match &mut self.phase {
            Phase::Fetching(fetching) => fetching.attempt.hurry(),
            Phase::Uploading(uploading) => uploading.attempt.hurry(),
            Phase::Idle | Phase::Training(_) | Phase::Evaluating(_) => {}
        }
        self.proceed(turn);
    }

    /// Does what is due.
    pub(crate) fn proceed(&mut self, turn: &mut Turn<'_>) {
        match self.phase {
            Phase::Idle => self.begin(turn),
            Phase::Fetching(_) => self.fetch(turn),
            Phase::Uploading(_) => self.upload(turn),
            Phase::Training(_) | Phase::Evaluating(_) => {}
        }
    }

    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) {
        self.give_up(turn);
        self.proceed(turn);
    }

    pub(crate) fn deadline(&self) -> Option<(Timestamp, &'static str)> {
        match &self.phase {
            Phase::Fetching(fetching) => fetching.deadline(),
            Phase::Uploading(uploading) => uploading.attempt.deadline().map(|at| (at, "upload again")),
            Phase::Idle | Phase::Training(_) | Phase::Evaluating(_) => None,
        }
    }

    pub(crate) fn phase(&self) -> &'static str {
        match self.phase {
            Phase::Idle => "idle",
            Phase::Fetching(_) => "fetching",
            Phase::Training(_) => "training",
            Phase::Evaluating(_) => "evaluating",
            Phase::Uploading(_) => "uploading",
        }
    }

    /// Whether it has something to do that needs no connection.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Training(_) | Phase::Evaluating(_))
    }

    /// The answer the driver owes, if any.
    pub(crate) fn awaits(&self) -> Option<Answer> {
        match &self.phase {
            Phase::Idle => None,
            Phase::Fetching(fetching) => fetching.attempt.is_running().then_some(Answer::Fetched),
            Phase::Training(_) => Some(Answer::Trained),
            Phase::Evaluating(_) => Some(Answer::Evaluated),
            Phase::Uploading(uploading) => uploading.attempt.is_running().then_some(Answer::Uploaded),
        }
    }

    /// What the operator interrupts.
    pub(crate) fn stopped(&self) -> String {
        match (&self.phase, &self.outgoing) {
            (Phase::Training(training), _) => {
                format!("training of round {} is abandoned", training.plan.round)
            }
            (_, Outgoing::Unanswered { header, .. }) => {
                format!("the update of round {} is kept and sent after the next start", header.round)
            }
            (Phase::Evaluating(_), _) => "evaluation is abandoned".to_owned(),
            (Phase::Idle | Phase::Fetching(_) | Phase::Uploading(_), _) => "nothing is lost".to_owned(),
        }
    }

    /// Ends the phase; an answer that is still to come is nobody's.
    fn leave(&mut self, turn: &mut Turn<'_>) {
        turn.strays.extend(self.awaits());
        self.phase = Phase::Idle;
    }

    /// Says something now, or when the session is open again.
    fn say(&mut self, message: ToCoordinator, turn: &mut Turn<'_>) {
        if turn.joined {
            turn.out.push(Effect::Send(message));
        } else {
            self.unsaid = Some(message);
        }
    }

    fn decline(&mut self, round: Round, reason: &str, turn: &mut Turn<'_>) {
        turn.notice(format!("round {round}: {reason}"));
        self.say_declined(round, reason, turn);
    }

    /// Declines with words that may leave the device.
    fn say_declined(&mut self, round: Round, reason: &str, turn: &mut Turn<'_>) {
        let reason = reason.chars().take(TEXT_BYTES_MAX / 4).collect();
        self.say(ToCoordinator::Declined { round, reason }, turn);
    }

    /// What this device's residual belongs to.
    fn lineage(&self) -> Lineage {
        lineage(self.membership.run, &self.model.shared)
    }

    /// Stores the version that is held, unless it is or less than `behind` versions are missing: what leads on from it is far less than a
    /// whole one. Nobody waits for that, so it is done when there is nothing else to do.
    fn store_version(&mut self, behind: u32, turn: &mut Turn<'_>) {
        let (Phase::Idle, Some(held)) = (&self.phase, &self.held) else { return };
        let (now, before) = ((held.version, held.content()), self.stored);
        if before.is_none_or(|before| before != now && now.0.0 >= before.0.0.saturating_add(behind)) {
            let origin = origin(&self.membership, &self.model);
            turn.persist(VERSION, held.encode(origin, &self.model.statistics));
            self.stored = Some(now);
        }
    }

    fn persist_device(&self, turn: &mut Turn<'_>) {
        turn.persist(DEVICE, self.device.encode(&origin(&self.membership, &self.model)));
    }
}

fn origin(membership: &Membership, model: &Model) -> Origin {
    Origin { run: membership.run, layout: model.layout.digest() }
}

/// What the device owns, if it belongs to this run and model.
fn stored_device(bytes: &[u8], origin: &Origin, model: &Model) -> Result<Device, StateError> {
    let (stored, device) = Device::decode(bytes)?;
    let fits = |len: usize, expected: usize| len == 0 || len == expected;
    let sizes = fits(device.personal.len(), model.personal_len)
        && fits(device.statistics.len(), model.statistics.len());
    if stored == *origin && sizes { Ok(device) } else { Err(StateError::Foreign { name: DEVICE }) }
}
