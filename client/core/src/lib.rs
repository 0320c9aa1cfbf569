//! The device as a state machine: join, fetch, train, upload, back off; and the outgoing pipeline.
//!
//! Like the coordinator's core it knows neither clock, network, disk, protobuf nor tensors: [`Client::handle`] takes an event
//! and the time, and says in order what is to be done. Drivers answer every `Connect`, `Prepare`, `Fetch`, `Train`, `Evaluate`
//! and `Upload` with exactly one event, also when the connection is lost in between, and call [`Client::handle`] with
//! [`Event::Tick`] at [`Client::deadline`].
//!
//! ```text
//!            ┌─> backing off ─┐                        the connection, and beside it the work:
//! connecting ┴─> greeting ────┴─> joined
//!
//! joining ── model built ──> idle <─────────────────────────────────────────────────┐
//!                             ├── plan ──> fetching ──> training ──> uploading ──────┤ receipt
//!                             ├── evaluate ──> fetching ──> evaluating ──────────────┘
//!                             └── finished ──> fetching ──> halted
//! ```
//!
//! Work goes on while the connection is down; what has to be said waits for it.

pub mod download;
pub mod effect;
pub mod event;
mod link;
mod pace;
pub mod personalise;
mod phase;
pub mod retry;
mod session;
pub mod state;
mod update;

use std::time::Duration;

use protocol::PROTOCOL_VERSION;
use protocol::id::{ClientId, Round, RunId};
use protocol::message::{Hello, ToClient, ToCoordinator};
use protocol::plan::ModelSpec;
use protocol::time::Timestamp;
use protocol::train::{DataSummary, Prepared, TrainError};

use effect::Effect;
use event::Event;
use phase::{Answer, Joining, Member, Queue, Task, Turn};
use retry::{Backoff, BackoffRange};
use session::Session;
use state::{MEMBERSHIP, Membership, Stored};

/// What a client is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name, as its certificate has it.
    pub id: ClientId,
    /// What it has.
    pub data: DataSummary,
    /// Seed of the jitter of its waits; everything else follows the run's seed.
    pub jitter_seed: u64,
    /// Waits before connecting, fetching or uploading again.
    pub backoff: BackoffRange,
    /// How long the final version is tried for once the run has ended.
    pub finish_patience: Duration,
}

impl Config {
    /// The usual waits: a second to a minute, ten minutes for the final version.
    pub fn new(id: ClientId, data: DataSummary, jitter_seed: u64) -> Self {
        let (backoff, finish_patience) = (BackoffRange::default(), Duration::from_mins(10));
        Self { id, data, jitter_seed, backoff, finish_patience }
    }
}

/// One device.
#[derive(Debug)]
pub struct Client {
    config: Config,
    backoff: Backoff,
    session: Session,
    stage: Stage,
    /// What earlier starts left, until a run takes it up.
    stored: Stored,
    /// Answers to come that nobody waits for any more.
    strays: Vec<Answer>,
}

/// How far the client is into a run.
#[derive(Debug)]
enum Stage {
    /// Not in a run; the one of an earlier start, if any.
    Outside(Option<Membership>),
    /// The model is not known yet, or is being built.
    Joining(Joining),
    /// At work.
    Member(Box<Member>),
    /// Nothing more happens.
    Halted,
}

impl Client {
    /// A client with the state earlier starts left (all [`state::NAMES`] that exist), which begins to connect.
    pub fn new(config: Config, stored: Stored, out: &mut Vec<Effect>) -> Self {
        let membership = match stored.get(MEMBERSHIP).map(|bytes| Membership::decode(bytes)) {
            None => None,
            Some(Ok(membership)) => Some(membership),
            Some(Err(error)) => {
                out.push(Effect::Notice(format!("{error}; going on without it")));
                None
            }
        };
        out.push(Effect::Connect);
        Self {
            backoff: Backoff::new(config.backoff, config.jitter_seed, &config.id),
            config,
            session: Session::new(),
            stage: Stage::Outside(membership),
            stored,
            strays: Vec::new(),
        }
    }

    /// Takes in an event that happened at `now` and appends what is to be done to `out`.
    pub fn handle(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        if matches!(self.stage, Stage::Halted) || self.is_stray(&event) {
            return;
        }
        let before = out.len();
        match event {
            Event::Connected => self.connected(out),
            Event::Disconnected { reason } => self.disconnected(now, &reason, out),
            Event::Instruction(ToClient::Welcome { run, seed, model }) => {
                self.welcome(now, run, seed, model, out)
            }
            Event::Instruction(ToClient::Refused { reason, retry }) => self.refused(now, reason, retry, out),
            Event::Instruction(ToClient::Train(plan)) => {
                let due = now + plan.time_limit;
                self.task(now, Task::Train { plan: Box::new(plan), due }, out);
            }
            Event::Instruction(ToClient::Evaluate(plan)) => {
                self.task(now, Task::Evaluate(Box::new(plan)), out)
            }
            Event::Instruction(ToClient::Closed { round }) => self.closed(now, round, out),
            Event::Instruction(ToClient::Finished { version, model_digest }) => {
                let give_up = now + self.config.finish_patience;
                self.task(now, Task::Finish { version, model_digest, give_up }, out);
            }
            Event::Prepared(built) => self.prepared(now, built, out),
            Event::Fetched { version, model } => {
                self.member(now, out, |member, turn| member.fetched(version, model, turn));
            }
            Event::Trained(outcome) => self.member(now, out, |member, turn| member.trained(outcome, turn)),
            Event::Evaluated(outcome) => {
                self.member(now, out, |member, turn| member.evaluated(outcome, turn))
            }
            Event::Uploaded(receipt) => self.member(now, out, |member, turn| member.uploaded(receipt, turn)),
            Event::Tick => self.tick(now, out),
            Event::Stop => self.stop(out),
        }
        if out[before..].iter().any(|effect| matches!(effect, Effect::Halt { .. })) {
            self.stage = Stage::Halted;
        }
    }

    /// When to call [`Self::handle`] with [`Event::Tick`], and why.
    pub fn deadline(&self) -> Option<(Timestamp, &'static str)> {
        let session = self.session.deadline().map(|at| (at, "connect again"));
        match &self.stage {
            Stage::Halted => None,
            Stage::Member(member) => session.into_iter().chain(member.deadline()).min(),
            Stage::Outside(_) | Stage::Joining(_) => session,
        }
    }

    /// What the client is doing, in a word or two.
    pub fn phase(&self) -> &'static str {
        match (&self.stage, &self.session) {
            (Stage::Halted, _) => "halted",
            (Stage::Member(member), _) if member.is_busy() => member.phase(),
            (_, Session::Down(attempt)) if !attempt.is_running() => "backing off",
            (_, Session::Down(_) | Session::Greeting { .. }) => "connecting",
            (Stage::Outside(_) | Stage::Joining(_), Session::Joined) => "joining",
            (Stage::Member(member), Session::Joined) => member.phase(),
        }
    }

    fn is_stray(&mut self, event: &Event) -> bool {
        let stray =
            Answer::of(event).and_then(|answer| self.strays.iter().position(|&stray| stray == answer));
        stray.map(|position| self.strays.remove(position)).is_some()
    }

    fn connected(&mut self, out: &mut Vec<Effect>) {
        let Session::Down(attempt) = self.session else { return };
        self.session = Session::Greeting { attempt };
        let DataSummary { classes, examples, held_out } = self.config.data.clone();
        let run = self.membership().map(|membership| membership.run);
        let hello = Hello { protocol: PROTOCOL_VERSION, classes, examples, held_out, run };
        out.push(Effect::Send(ToCoordinator::Hello(hello)));
    }

    fn disconnected(&mut self, now: Timestamp, reason: &str, out: &mut Vec<Effect>) {
        if !self.session.lost(now, &mut self.backoff) {
            return;
        }
        let wait = self.session.deadline().map_or(0.0, |at| at.since(now).as_secs_f64());
        out.push(Effect::Notice(format!(
            "no connection to the coordinator ({reason}); next try in {wait:.1} s"
        )));
    }

    fn refused(&mut self, now: Timestamp, reason: String, retry: bool, out: &mut Vec<Effect>) {
        if retry {
            self.disconnected(now, &reason, out);
        } else {
            out.push(Effect::Halt {
                reason: format!("refused by the coordinator: {reason}"),
                complete: false,
            });
        }
    }

    fn membership(&self) -> Option<&Membership> {
        match &self.stage {
            Stage::Outside(membership) => membership.as_ref(),
            Stage::Joining(joining) => Some(&joining.membership),
            Stage::Member(member) => Some(member.membership()),
            Stage::Halted => None,
        }
    }

    /// The coordinator says which run this is; often one the client is in already.
    fn welcome(
        &mut self,
        now: Timestamp,
        run: RunId,
        seed: u64,
        spec: Option<ModelSpec>,
        out: &mut Vec<Effect>,
    ) {
        self.session = Session::Joined;
        let is_known = |known: &Membership| known.run == run && (spec.is_none() || spec == known.spec);
        let (known, mut queue) = match std::mem::replace(&mut self.stage, Stage::Halted) {
            Stage::Member(member) if is_known(member.membership()) => {
                self.stage = Stage::Member(member);
                self.member(now, out, Member::rejoined);
                return;
            }
            Stage::Joining(joining) if is_known(&joining.membership) => {
                self.stage = Stage::Joining(joining);
                return;
            }
            Stage::Member(member) => {
                self.strays.extend(member.awaits());
                (Some(member.membership().clone()), Queue::default())
            }
            Stage::Joining(Joining { membership, queue }) => {
                self.strays.extend(membership.spec.as_ref().map(|_| Answer::Prepared));
                (Some(membership), queue)
            }
            Stage::Outside(known) => (known, Queue::default()),
            Stage::Halted => (None, Queue::default()),
        };
        let known = known.filter(|known| known.run == run);
        if known.is_none() {
            queue = Queue::default();
        }
        let membership = Membership { run, seed, spec };
        if known.as_ref() != Some(&membership) {
            out.push(Effect::Persist { name: MEMBERSHIP, bytes: membership.encode() });
        }
        out.extend(membership.spec.clone().map(|spec| Effect::Prepare { spec, seed }));
        self.stage = Stage::Joining(Joining { membership, queue });
    }

    fn prepared(&mut self, now: Timestamp, built: Result<Prepared, TrainError>, out: &mut Vec<Effect>) {
        let joining = match std::mem::replace(&mut self.stage, Stage::Halted) {
            Stage::Joining(joining) => joining,
            other => {
                self.stage = other;
                return;
            }
        };
        let member = built.map_err(|error| error.to_string()).and_then(|built| {
            Member::new(joining, built, std::mem::take(&mut self.stored), out)
                .map_err(|error| error.to_string())
        });
        match member {
            Ok(member) => {
                self.stage = Stage::Member(Box::new(member));
                self.member(now, out, Member::take_up);
            }
            Err(error) => {
                out.push(Effect::Halt { reason: format!("cannot take part: {error}"), complete: false });
            }
        }
    }

    fn task(&mut self, now: Timestamp, task: Task, out: &mut Vec<Effect>) {
        if let Stage::Joining(joining) = &mut self.stage {
            joining.queue.push(task);
        } else {
            self.member(now, out, |member, turn| member.task(task, turn));
        }
    }

    fn closed(&mut self, now: Timestamp, round: Round, out: &mut Vec<Effect>) {
        if let Stage::Joining(joining) = &mut self.stage {
            joining.queue.forget(round);
        } else {
            self.member(now, out, |member, turn| member.closed(round, turn));
        }
    }

    fn tick(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.session.connect(now) {
            out.push(Effect::Connect);
        }
        self.member(now, out, Member::tick);
    }

    /// Lets a member act; there is nothing to be done by others.
    fn member(
        &mut self,
        now: Timestamp,
        out: &mut Vec<Effect>,
        act: impl FnOnce(&mut Member, &mut Turn<'_>),
    ) {
        let Stage::Member(member) = &mut self.stage else { return };
        let joined = self.session.is_joined();
        let (config, backoff, strays) = (&self.config, &mut self.backoff, &mut self.strays);
        act(member, &mut Turn { now, config, joined, backoff, strays, out });
    }

    fn stop(&mut self, out: &mut Vec<Effect>) {
        let doing = match &self.stage {
            Stage::Member(member) => member.stopped(),
            Stage::Outside(_) | Stage::Joining(_) | Stage::Halted => "not in a round".to_owned(),
        };
        out.push(Effect::Halt { reason: format!("stopped: {doing}"), complete: false });
    }
}

#[cfg(test)]
mod tests;
