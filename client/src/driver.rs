//! The loop around client-core: what happens goes in, what it asks is done in order, and it is woken in time.
//!
//! Nothing about rounds is decided here. Nothing after a `Persist` effect is done before that state is durable.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use client_core::download::{FetchError, FetchedModel, Shape};
use client_core::effect::Effect;
use client_core::event::Event;
use client_core::{Client, Config};
use params::Digest;
use protocol::evaluation::Evaluation;
use protocol::id::{RunId, Version};
use protocol::message::{Receipt, ToClient, UpdateHeader};
use protocol::time::Timestamp;
use protocol::train::{TrainOutcome, Trainer};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use wire::grpc::FederationChannel;

use crate::connection::{ConnectError, Connector};
use crate::folder::{Folder, FolderError};
use crate::happening::Happening;
use crate::session::{End, News, Session};
use crate::transfer::{Kept, Wanted, fetch, upload};
use crate::worker::{self, Done, Job, Subject};

/// What has happened and is not handled yet; whoever has more to tell waits.
const NEWS_MAX: usize = 32;
/// How long the coordinator is given to end the last session.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// Why a transfer fails that is asked for between two sessions.
const NO_SESSION: &str = "no session is open";

/// How a client ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// One line.
    pub reason: String,
    /// Whether the run has ended; otherwise the client was stopped, or refused.
    pub complete: bool,
}

/// Why a client cannot go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// State cannot be read or made durable.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// No connection can ever be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Code of ours has broken down.
    #[error("{what} broke down: {cause}; what was learned before is kept")]
    Broken {
        /// What did.
        what: &'static str,
        /// Its last words.
        cause: String,
    },
}

/// Takes part in the run of a coordinator until it has ended, the client is refused for good, or `stop` completes. Lost
/// connections are opened again; everything that must not be forgotten is in `folder`.
///
/// # Errors
/// State that cannot be read or written, a trainer that panics.
pub async fn run(
    folder: Arc<Folder>,
    config: Config,
    trainer: Box<dyn Trainer>,
    connector: Connector,
    stop: impl Future<Output = ()>,
    report: impl FnMut(Happening),
) -> Result<Ended, RunError> {
    let stored = folder.load()?;
    let (news, mut incoming) = mpsc::channel(NEWS_MAX);
    let (done, mut finished) = mpsc::channel(NEWS_MAX);
    let mut driver = Driver {
        started: Instant::now(),
        jobs: worker::start(trainer, done),
        transfers: JoinSet::new(),
        folder,
        connector,
        news,
        sessions: 0,
        session: None,
        channel: None,
        run: None,
        shape: None,
        kept: Kept::default(),
        told: None,
        given_up: None,
        report,
    };
    let mut effects = Vec::new();
    let mut core = Client::new(config, stored, &mut effects);
    let mut stop = std::pin::pin!(stop);
    let mut stopping = false;
    loop {
        for effect in effects.drain(..) {
            if let Some(ended) = driver.perform(effect).await? {
                return Ok(ended);
            }
        }
        let event = match driver.given_up.take() {
            Some(event) => Some(event),
            None => tokio::select! {
                () = &mut stop, if !stopping => {
                    stopping = true;
                    Some(Event::Stop)
                }
                Some((number, what)) = incoming.recv() => driver.heard(number, what)?,
                Some(what) = finished.recv() => Some(driver.worked(what)?),
                Some(what) = driver.transfers.join_next() => Some(driver.transferred(what)?),
                () = wait(driver.started, core.deadline()) => Some(Event::Tick),
            },
        };
        let Some(event) = event else { continue };
        // The owner has been told of these already, in more detail.
        let told =
            matches!(event, Event::Disconnected { .. } | Event::Uploaded(Ok(_)) | Event::Trained(Err(_)));
        core.handle(driver.now(), event, &mut effects);
        if told {
            effects.retain(|effect| match effect {
                Effect::Notice(text) => {
                    tracing::info!("{text}");
                    false
                }
                _ => true,
            });
        }
    }
}

struct Driver<R> {
    started: Instant,
    folder: Arc<Folder>,
    connector: Connector,
    news: mpsc::Sender<(u64, News)>,
    /// Sessions so far.
    sessions: u64,
    session: Option<Session>,
    /// For bulk data; there is one while a session is open.
    channel: Option<FederationChannel>,
    transfers: JoinSet<Transferred>,
    jobs: mpsc::Sender<Job>,
    run: Option<RunId>,
    shape: Option<Shape>,
    /// Of a download that broke off.
    kept: Kept,
    /// The owner has been told of the session, or that there is none.
    told: Option<bool>,
    /// A session that took no more messages has been ended; client-core does not know yet.
    given_up: Option<Event>,
    report: R,
}

/// What came of a transfer.
struct Transferred {
    event: Event,
    happening: Option<Happening>,
}

impl<R: FnMut(Happening)> Driver<R> {
    fn now(&self) -> Timestamp {
        Timestamp::START + self.started.elapsed()
    }

    /// Does what client-core asks; the end, when that is what it asks.
    async fn perform(&mut self, effect: Effect) -> Result<Option<Ended>, RunError> {
        match effect {
            Effect::Connect => self.connect(),
            Effect::Send(message) => {
                if self.session.as_ref().is_some_and(|session| !session.send(&message)) {
                    let reason = "the coordinator takes no more messages".to_owned();
                    self.given_up = Some(self.lost(reason));
                }
            }
            Effect::Prepare { spec, seed } => self.work(Job::Prepare(spec, seed)).await?,
            Effect::Train(job) => {
                self.tell(Happening::Training { round: job.round });
                self.work(Job::Train(job)).await?;
            }
            Effect::Evaluate(job) => self.work(Job::Evaluate(job)).await?,
            Effect::Fetch { version, model_digest, held } => self.fetch(version, model_digest, held),
            Effect::Upload { header, payload } => self.upload(header, payload),
            Effect::Persist { name, bytes } => {
                let folder = Arc::clone(&self.folder);
                let stored = tokio::task::spawn_blocking(move || folder.store(name, &bytes)).await;
                stored.map_err(|error| broken("storing", error))??;
            }
            Effect::Notice(text) => self.tell(Happening::Notice { text }),
            Effect::Halt { reason, complete } => {
                if let Some(session) = self.session.take() {
                    let _ = timeout(CLOSE_TIMEOUT, session.close()).await;
                }
                self.tell(Happening::Finished { reason: reason.clone(), complete });
                return Ok(Some(Ended { reason, complete }));
            }
        }
        Ok(None)
    }

    fn connect(&mut self) {
        self.sessions += 1;
        self.channel = None;
        self.session = Some(Session::open(self.connector.clone(), self.sessions, self.news.clone()));
    }

    async fn work(&self, job: Job) -> Result<(), RunError> {
        self.jobs.send(job).await.map_err(|error| broken("the worker", error))
    }

    fn fetch(&mut self, version: Version, digest: Digest, held: Option<Arc<FetchedModel>>) {
        let needs = (self.channel.clone(), self.run, self.shape.clone());
        let kept = self.kept.clone();
        self.transfers.spawn(async move {
            let fetched = match needs {
                (Some(channel), Some(run), Some(shape)) => {
                    fetch(channel, Wanted { run, version, digest, held }, shape, kept).await
                }
                _ => Err(FetchError::Broken(NO_SESSION.to_owned())),
            };
            let bytes = fetched.as_ref().ok().map(|(_, bytes)| *bytes);
            let event = Event::Fetched { version, model: fetched.map(|(model, _)| model) };
            Transferred { event, happening: bytes.map(|bytes| Happening::Fetched { version, bytes }) }
        });
    }

    fn upload(&mut self, header: UpdateHeader, payload: Vec<u8>) {
        let channel = self.channel.clone();
        let dense_bytes = 4 * self.shape.as_ref().map_or(0, |shape| shape.shared.len() as u64);
        self.transfers.spawn(async move {
            let (round, bytes) = (header.round, payload.len() as u64);
            let receipt = match channel {
                Some(channel) => upload(channel, header, payload).await,
                None => Err(NO_SESSION.to_owned()),
            };
            let happening = receipt.as_ref().ok().map(|receipt| {
                let reason = match receipt {
                    Receipt::Accepted { .. } => None,
                    Receipt::Refused(refusal) => Some(refusal.to_string()),
                };
                Happening::Uploaded { round, bytes, dense_bytes, accepted: reason.is_none(), reason }
            });
            Transferred { event: Event::Uploaded(receipt), happening }
        });
    }

    /// What a session's news is to client-core; nothing, if the session has been given up.
    fn heard(&mut self, number: u64, what: News) -> Result<Option<Event>, RunError> {
        if self.session.as_ref().is_none_or(|session| session.number() != number) {
            return Ok(None);
        }
        let end = match what {
            News::Open(channel) => {
                self.channel = Some(channel);
                return Ok(Some(Event::Connected));
            }
            News::Said(said) => {
                self.note(&said);
                return Ok(Some(Event::Instruction(said)));
            }
            News::Ended(end) => end,
        };
        match end {
            End::Lost(reason) => Ok(Some(self.lost(reason))),
            End::Refused(reason) => Ok(Some(Event::Instruction(ToClient::Refused { reason, retry: false }))),
            End::Unable(error) => Err(error.into()),
        }
    }

    /// What the driver itself takes from an instruction.
    fn note(&mut self, said: &ToClient) {
        match said {
            ToClient::Welcome { run, model, .. } => {
                self.run = Some(*run);
                if self.told != Some(true) {
                    self.told = Some(true);
                    self.tell(Happening::Connected { coordinator: self.connector.target().to_owned() });
                }
                let (preset, classes) = model.clone().map(|spec| (spec.preset, spec.classes)).unzip();
                self.tell(Happening::Welcomed { run: *run, preset, classes: classes.unwrap_or_default() });
            }
            ToClient::Refused { reason, retry: true } => self.tell_lost(reason),
            ToClient::Refused { retry: false, .. }
            | ToClient::Train(_)
            | ToClient::Evaluate { .. }
            | ToClient::Closed { .. }
            | ToClient::Finished { .. } => {}
        }
    }

    fn worked(&mut self, what: Done) -> Result<Event, RunError> {
        let (subject, event, took) = match what {
            Done::Answer { subject, event, took } => (subject, event, took),
            Done::Lost(cause) => return Err(RunError::Broken { what: "training", cause }),
        };
        let seconds = took.as_secs_f64();
        match (subject, &event) {
            (Subject::Model, Event::Prepared(Ok(prepared))) => {
                // Statistics that make no pairs are client-core's to complain of.
                self.shape = Shape::new(&prepared.layout).ok();
            }
            (Subject::Round(round), Event::Trained(Ok(outcome))) => {
                let &TrainOutcome { examples, steps, loss, .. } = outcome;
                self.tell(Happening::Trained { round, examples, steps, loss, seconds });
            }
            (Subject::Version(version), Event::Evaluated(Ok(outcome))) => {
                let Evaluation { images, boxes, global, personal, .. } = &outcome.evaluation;
                self.tell(Happening::Evaluated {
                    version,
                    images: *images,
                    boxes: *boxes,
                    ap50_global: global.ap50,
                    ap50_personal: personal.ap50,
                    ap_global: global.ap,
                    ap_personal: personal.ap,
                    seconds,
                });
            }
            (Subject::Round(round), Event::Trained(Err(error))) => {
                self.tell(Happening::Failed { round, reason: error.to_string() });
            }
            // Other failures are client-core's to tell.
            _ => {}
        }
        Ok(event)
    }

    fn transferred(&mut self, what: Result<Transferred, JoinError>) -> Result<Event, RunError> {
        let Transferred { event, happening } = what.map_err(|error| broken("a transfer", error))?;
        if let Some(happening) = happening {
            self.tell(happening);
        }
        Ok(event)
    }

    /// The session has ended.
    fn lost(&mut self, reason: String) -> Event {
        self.session = None;
        self.channel = None;
        self.tell_lost(&reason);
        Event::Disconnected { reason }
    }

    fn tell_lost(&mut self, reason: &str) {
        if self.told != Some(false) {
            self.told = Some(false);
            self.tell(Happening::Disconnected { reason: reason.to_owned() });
        }
    }

    fn tell(&mut self, happening: Happening) {
        (self.report)(happening);
    }
}

/// Until client-core wants to be woken; forever, if it does not.
async fn wait(started: Instant, deadline: Option<(Timestamp, &'static str)>) {
    let Some((at, why)) = deadline else { return pending().await };
    sleep_until(started + at.since_start()).await;
    tracing::debug!(why, "woken");
}

fn broken(what: &'static str, cause: impl ToString) -> RunError {
    RunError::Broken { what, cause: cause.to_string() }
}

#[cfg(test)]
mod tests;
