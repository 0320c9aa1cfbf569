//! The loop: what happened goes to the core, what the core asks is performed, in order.
//!
//! One task owns the core, the sessions and the uploads that wait for receipts, so nothing here is locked. Work that takes long
//! (making a model, scoring) runs beside the loop and comes back as an event; writing to the store is waited for, because
//! nothing after a journal record may be performed before it is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use coordinator_core::{Admission, Coordinator, Effect, Event, Record, RoundReport};
use params::Digest;
use protocol::id::ClientId;
use protocol::message::{Receipt, ToClient};
use protocol::plan::ModelSpec;
use protocol::time::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tonic::Status;
use wire::status::CallError;

use crate::learning::Learning;
use crate::limits::{BATCH_MAX, GROUP_BYTES_MAX};
use crate::meter::{Meter, Reading};
use crate::output::Output;
use crate::snapshots::Snapshots;
use crate::store::Entry;
use crate::{Error, SharedStore};

mod ending;
mod input;
mod publish;
mod recovery;

pub use ending::End;
pub(crate) use input::{Input, Session};
pub(crate) use recovery::recover;

/// What the driver works with.
pub(crate) struct Driver {
    pub(crate) core: Coordinator,
    /// When the core's time began.
    pub(crate) started: Instant,
    pub(crate) store: SharedStore,
    pub(crate) learning: Arc<dyn Learning>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) admission: watch::Sender<Arc<Admission>>,
    pub(crate) output: Output,
    pub(crate) meter: Arc<Meter>,
    /// For work that is done beside the loop.
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) sessions: BTreeMap<ClientId, Session>,
    /// Uploads that wait for the receipt of a payload.
    pub(crate) uploads: BTreeMap<(ClientId, Digest), Vec<oneshot::Sender<Receipt>>>,
    pub(crate) reported: Reading,
    pub(crate) ended: Option<End>,
    /// How long clients are waited for at the end.
    pub(crate) farewell_time: Duration,
    /// That was done in an earlier start.
    pub(crate) parted: bool,
    /// At the end: who has not heard of it, or not said goodbye yet.
    pub(crate) unheard: Option<BTreeSet<ClientId>>,
}

impl Driver {
    /// Runs until the run ends, or `stop` asks for it and the round is settled.
    pub(crate) async fn run(
        mut self,
        first: Vec<Effect>,
        mut inputs: mpsc::Receiver<Input>,
        mut stop: Stop,
    ) -> Result<End, Error> {
        let mut events = Vec::new();
        self.perform_all(first, &mut events).await?;
        self.tell(events).await?;
        while self.ended.is_none() {
            let deadline = self.deadline();
            let input = tokio::select! {
                biased;
                () = stop.asked() => {
                    self.output.stopping(&self.core.status());
                    Input::Core(Event::Stop)
                }
                Some(input) = inputs.recv() => input,
                () = sleep_until(deadline) => Input::Core(Event::Tick),
            };
            let batch = with_those_behind(input, &mut inputs);
            self.take(batch).await?;
        }
        let Some(end) = self.ended.clone() else { unreachable!("the loop ends with an end") };
        let end = End { stopped: stop.was_asked(), ..end };
        self.finish(&end).await?;
        if end.complete {
            self.farewell(&mut inputs, &mut stop).await?;
        } else {
            self.sessions.values().for_each(|session| session.end(CallError::Stopping));
        }
        Ok(end)
    }

    fn deadline(&self) -> Option<Instant> {
        let (at, reason) = self.core.deadline()?;
        tracing::trace!(reason, "waiting");
        Some(self.started + at.since_start())
    }

    fn now(&self) -> Timestamp {
        Timestamp::START + self.started.elapsed()
    }

    /// Takes in inputs, and whatever follows from them.
    async fn take(&mut self, inputs: Vec<Input>) -> Result<(), Error> {
        let mut events = Vec::new();
        for input in inputs {
            events.extend(self.event_of(input)?);
        }
        self.tell(events).await
    }

    /// Tells the core what happened, and performs what it asks.
    async fn tell(&mut self, mut events: Vec<Event>) -> Result<(), Error> {
        while !events.is_empty() {
            let (now, mut effects) = (self.now(), Vec::new());
            events.drain(..).for_each(|event| self.core.handle(now, event, &mut effects));
            // Before the effects: an upload that answers an instruction must meet the round that gave it.
            self.admission.send_replace(self.core.admission());
            self.perform_all(effects, &mut events).await?;
            self.output.status(&self.core.status());
        }
        Ok(())
    }

    /// What the core hears of an input.
    fn event_of(&mut self, input: Input) -> Result<Option<Event>, Error> {
        Ok(match input {
            Input::Core(event) => Some(event),
            Input::Opened { client, hello, session } => {
                if let Some(before) = self.sessions.insert(client.clone(), session) {
                    before.end(CallError::Replaced);
                }
                if let Some(unheard) = &mut self.unheard {
                    unheard.insert(client.clone());
                }
                Some(Event::Connected { client, hello })
            }
            Input::Closed { client, session, goodbye } => {
                if let Some(unheard) = self.unheard.as_mut().filter(|_| goodbye) {
                    unheard.remove(&client);
                }
                // Only if it has not been replaced.
                let current = self.sessions.get(&client).is_some_and(|current| current.number() == session);
                current.then(|| self.sessions.remove(&client)).map(|_| Event::Disconnected { client })
            }
            Input::Said { client, message } => input::event_of_message(client, message),
            Input::Uploaded { client, header, update, answer } => {
                if update.is_ok() {
                    self.snapshots.rest();
                }
                self.uploads.entry((client.clone(), header.payload_digest)).or_default().push(answer);
                Some(Event::Uploaded { client, header, update })
            }
            Input::Failed(reason) => return Err(Error::Run(reason)),
        })
    }

    /// Performs effects in order; `events` gets those that follow at once.
    ///
    /// What is to be written is collected and written with one append, and what is to be said waits for that: many updates
    /// that arrive together cost one write to the disk. Nothing is said earlier than in order, and only words are said later.
    async fn perform_all(&mut self, effects: Vec<Effect>, events: &mut Vec<Event>) -> Result<(), Error> {
        let mut group = Group::default();
        for effect in effects {
            match effect {
                Effect::Journal(record) => {
                    if !group.has_room_for(&record) {
                        self.settle(&mut group, events).await?;
                    }
                    group.push(record);
                }
                Effect::Report(report) => group.report(self.measured(*report)),
                Effect::Send { .. } | Effect::Receipt { .. } | Effect::Notice(_) => group.words.push(effect),
                Effect::Publish(published, moves) => {
                    self.settle(&mut group, events).await?;
                    let (stored, kept) = self.publish(published, moves).await?;
                    group.entries.extend(stored);
                    events.extend(kept);
                }
                Effect::Initialise { .. } | Effect::Score { .. } | Effect::Halt { .. } => {
                    self.settle(&mut group, events).await?;
                    self.begin(effect);
                }
            }
        }
        self.settle(&mut group, events).await
    }

    /// Writes what a group has to write, then says what it has to say.
    async fn settle(&mut self, group: &mut Group, events: &mut Vec<Event>) -> Result<(), Error> {
        let Group { entries, words, reported, .. } = std::mem::take(group);
        if !entries.is_empty() {
            self.with_store(move |store| {
                store.append(&entries)?;
                // Once a round.
                if reported { store.compact() } else { Ok(()) }
            })
            .await?;
        }
        for effect in words {
            match effect {
                Effect::Send { client, instruction } => events.extend(self.send(client, &instruction)),
                Effect::Receipt { client, payload, receipt } => {
                    let waiting = self.uploads.remove(&(client, payload)).unwrap_or_default();
                    // One whose connection broke asks again, and gets the same receipt.
                    waiting.into_iter().for_each(|answer| drop(answer.send(receipt.clone())));
                }
                Effect::Notice(line) => self.output.notice(&line),
                Effect::Report(report) => self.output.round(&report)?,
                other => self.begin(other),
            }
        }
        Ok(())
    }

    /// Begins what goes on beside the loop, or ends it.
    fn begin(&mut self, effect: Effect) {
        match effect {
            Effect::Initialise { spec, seed } => self.initialise(spec, seed),
            Effect::Score { spec, published } => self.score(spec, published),
            Effect::Halt { reason, complete } => {
                self.ended = Some(End { reason, complete, stopped: false });
            }
            _ => {}
        }
    }

    /// Gives an instruction to the client's session. A client that does not take its instructions is as good as gone.
    fn send(&mut self, client: ClientId, instruction: &ToClient) -> Option<Event> {
        let session = self.sessions.get(&client)?;
        tracing::debug!(%client, ?instruction, "instruction");
        if !session.send(wire::encode::to_client(instruction)) {
            tracing::debug!(%client, "the session does not take instructions any more");
            self.sessions.remove(&client);
            return Some(Event::Disconnected { client });
        }
        if matches!(instruction, ToClient::Refused { .. }) {
            // The core never took it in.
            self.sessions.remove(&client);
            if let Some(unheard) = &mut self.unheard {
                unheard.remove(&client);
            }
        }
        None
    }

    async fn append(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        self.with_store(move |store| store.append(&entries)).await
    }

    fn initialise(&mut self, spec: ModelSpec, seed: u64) {
        self.output.started(self.core.config(), &spec);
        let (learning, inputs) = (self.learning.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let made = spawn_blocking(move || learning.initial(&spec, seed)).await;
            let input = match made {
                Ok(Ok(initial)) => Input::Core(Event::Initialised { initial }),
                Ok(Err(reason)) => Input::Failed(reason),
                Err(error) => Input::Failed(format!("making the model failed: {error}")),
            };
            let _ = inputs.send(input).await;
        });
    }
}

/// An input and what waits behind it already.
fn with_those_behind(first: Input, inputs: &mut mpsc::Receiver<Input>) -> Vec<Input> {
    let mut batch = vec![first];
    while batch.len() < BATCH_MAX
        && let Ok(next) = inputs.try_recv()
    {
        batch.push(next);
    }
    batch
}

/// What is written together, and what is said afterwards.
#[derive(Default)]
struct Group {
    entries: Vec<Entry>,
    payload_bytes: usize,
    /// A round is over.
    reported: bool,
    words: Vec<Effect>,
}

impl Group {
    fn has_room_for(&self, record: &Record) -> bool {
        self.payload_bytes == 0 || self.payload_bytes + payload_bytes(record) <= GROUP_BYTES_MAX
    }

    fn push(&mut self, record: Record) {
        self.payload_bytes += payload_bytes(&record);
        self.entries.push(Entry::Record(record));
    }

    fn report(&mut self, report: RoundReport) {
        self.entries.push(Entry::Report(Box::new(report.clone())));
        self.words.push(Effect::Report(Box::new(report)));
        self.reported = true;
    }
}

fn payload_bytes(record: &Record) -> usize {
    match record {
        Record::Accepted { payload, .. } => payload.in_memory().map_or(0, <[u8]>::len),
        _ => 0,
    }
}

/// The operator's wish to stop, told once.
pub(crate) struct Stop {
    wish: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stop {
    pub(crate) fn new(wish: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { wish: Some(Box::pin(wish)) }
    }

    /// Waits for the wish; forever, once it was told.
    async fn asked(&mut self) {
        match &mut self.wish {
            Some(wish) => wish.as_mut().await,
            None => std::future::pending().await,
        }
        self.wish = None;
    }

    fn was_asked(&self) -> bool {
        self.wish.is_none()
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Why a session ends, for its client.
fn status(error: CallError) -> Status {
    Status::from(error)
}
