//! The loop: effects of the cores become events at a later virtual time. No federated-learning logic lives here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use client_core::effect::Effect as Ask;
use client_core::event::{Event as Told, FetchError, FetchedModel};
use coordinator_core::admit::admit;
use coordinator_core::downlink::{Downlink, VERSIONS_SERVED};
use coordinator_core::{Coordinator, Effect, Event, Moves, Published, RoundReport};
use protocol::id::{ClientId, Version};
use protocol::message::{Receipt, ToCoordinator};
use protocol::randomness::{Purpose, stream};
use protocol::time::Timestamp;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::device::FleetSpec;
use crate::host::Host;
use crate::learning::Architect;
use crate::queue::Queue;
use crate::workers::{Job, Workers};

/// Bytes of a control message on a link; what such a message says is small beside models and updates.
const CONTROL_BYTES: u64 = 256;

/// What is scheduled.
enum Happening {
    /// Something reaches the coordinator from a device's session.
    Up(usize, u32, Event),
    /// Something happens at the coordinator.
    Coordinator(Event),
    /// Something reaches a device over its session.
    Down(usize, u32, Told),
    /// Something happens on a device.
    Device(usize, Told),
    /// A device's job is done.
    Done(usize),
    /// A device loses its session and stays away.
    Lost(usize, u32),
}

/// The virtual world of one run.
pub struct World {
    queue: Queue<Happening>,
    coordinator: Coordinator,
    coordinator_wake: Option<Timestamp>,
    hosts: Vec<Host>,
    by_name: BTreeMap<ClientId, usize>,
    /// Decides what devices are sent, as in production.
    downlink: Downlink,
    /// The versions that can be asked for, as they arrive.
    served: VecDeque<(Version, FetchedModel)>,
    architect: Box<dyn Architect>,
    workers: Workers,
    fleet: FleetSpec,
    faults: ChaCha8Rng,
    ended: Option<(String, bool)>,
    on_report: Box<dyn FnMut(&RoundReport)>,
    /// Reports so far.
    pub reports: Vec<RoundReport>,
}

/// How a run ended.
pub struct Ending {
    /// One line.
    pub reason: String,
    /// Whether all rounds were run.
    pub complete: bool,
    /// Virtual time from start to end.
    pub at: Timestamp,
    /// Rounds each device contributed to.
    pub contributions: Vec<u32>,
}

impl World {
    /// A world about to begin; every device opens its session at the start. `on_report` hears of every round.
    pub fn new(
        coordinator: Coordinator,
        hosts: Vec<Host>,
        architect: Box<dyn Architect>,
        workers: Workers,
        fleet: FleetSpec,
        on_report: Box<dyn FnMut(&RoundReport)>,
    ) -> Self {
        let seed = coordinator.config().settings().seed;
        let by_name = hosts.iter().enumerate().map(|(index, host)| (host.name.clone(), index)).collect();
        Self {
            queue: Queue::default(),
            coordinator,
            coordinator_wake: None,
            hosts,
            by_name,
            downlink: Downlink::default(),
            served: VecDeque::new(),
            architect,
            workers,
            fleet,
            faults: stream(seed, None, None, Purpose::World),
            ended: None,
            on_report,
            reports: Vec::new(),
        }
    }

    /// Runs until the run has ended, or nothing is left to happen.
    pub fn run(mut self) -> (Vec<RoundReport>, Ending) {
        for index in 0..self.hosts.len() {
            let first = std::mem::take(&mut self.hosts[index].first);
            for ask in first {
                self.perform_on(index, ask);
            }
            self.wake(index);
        }
        while self.ended.is_none()
            && let Some((_, happening)) = self.queue.pop()
        {
            self.happen(happening);
        }
        let nothing = || ("nothing was left to happen".to_owned(), false);
        let (reason, complete) = self.ended.take().unwrap_or_else(nothing);
        let contributions = self.hosts.iter().map(|host| host.contributions).collect();
        (self.reports, Ending { reason, complete, at: self.queue.now(), contributions })
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Coordinator(Event::Tick) => {
                self.coordinator_wake = None;
                if self.coordinator.deadline().is_some_and(|(at, _)| at <= self.queue.now()) {
                    self.coordinate(Event::Tick);
                } else {
                    self.wake_coordinator();
                }
            }
            Happening::Coordinator(event) => self.coordinate(event),
            Happening::Up(index, session, event) if self.hosts[index].session == session => {
                self.coordinate(event)
            }
            Happening::Down(index, session, told) if self.hosts[index].session == session => {
                let host = &mut self.hosts[index];
                match &told {
                    Told::Fetched { .. } => host.fetching = None,
                    Told::Uploaded(_) => host.uploading = false,
                    _ => {}
                }
                self.tell(index, told);
            }
            Happening::Up(..) | Happening::Down(..) => {}
            Happening::Device(index, Told::Tick) => {
                self.hosts[index].wake = None;
                if self.hosts[index].core.deadline().is_some_and(|(at, _)| at <= self.queue.now()) {
                    self.tell(index, Told::Tick);
                } else {
                    self.wake(index);
                }
            }
            Happening::Device(index, told) => self.tell(index, told),
            Happening::Done(index) => {
                if let Some((trainer, told)) = self.workers.wait(index) {
                    self.hosts[index].trainer = Some(trainer);
                    self.tell(index, told);
                }
            }
            Happening::Lost(index, session) => {
                if self.hosts[index].session == session && self.hosts[index].connected {
                    self.lose(index);
                }
            }
        }
    }

    fn coordinate(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.coordinator.handle(self.queue.now(), event, &mut effects);
        for effect in effects {
            self.perform(effect);
        }
        self.wake_coordinator();
    }

    fn wake_coordinator(&mut self) {
        if let Some((at, _)) = self.coordinator.deadline()
            && self.coordinator_wake.is_none_or(|wake| at < wake)
        {
            self.coordinator_wake = Some(at);
            self.queue.schedule(at, Happening::Coordinator(Event::Tick));
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Initialise { spec, seed } => match self.architect.initial(&spec, seed) {
                Ok(initial) => {
                    self.queue
                        .schedule(self.queue.now(), Happening::Coordinator(Event::Initialised { initial }));
                }
                Err(refused) => self.ended = Some((refused.to_string(), false)),
            },
            Effect::Publish(published, moves) => self.serve(&published, moves.as_deref()),
            Effect::Send { client, instruction } => {
                if let Some(&index) = self.by_name.get(&client) {
                    self.send_down(index, Told::Instruction(instruction));
                }
            }
            Effect::Receipt { client, receipt, .. } => {
                if let Some(&index) = self.by_name.get(&client) {
                    let accepted = matches!(receipt, Receipt::Accepted { .. });
                    self.hosts[index].contributions += u32::from(accepted);
                    self.send_down(index, Told::Uploaded(Ok(receipt)));
                }
            }
            Effect::Score { spec, published } => {
                let (version, score) = (published.version, self.architect.score(&spec, &published));
                self.queue
                    .schedule(self.queue.now(), Happening::Coordinator(Event::Scored { version, score }));
            }
            Effect::Report(report) => {
                self.reports.retain(|earlier| earlier.round != report.round);
                (self.on_report)(&report);
                self.reports.push(*report);
            }
            // The journal of a world that cannot crash, and notices to an operator who is not there.
            Effect::Journal(_) | Effect::Notice(_) => {}
            Effect::Halt { reason, complete } => self.ended = Some((reason, complete)),
        }
    }

    fn serve(&mut self, published: &Arc<Published>, moves: Option<&Moves>) {
        self.downlink.publish(published, moves);
        let model = FetchedModel { model: published.model.clone(), statistics: published.statistics.clone() };
        self.served.retain(|(version, _)| *version != published.version);
        self.served.push_back((published.version, model));
        while self.served.len() > VERSIONS_SERVED {
            self.served.pop_front();
        }
    }

    fn send_down(&mut self, index: usize, told: Told) {
        let host = &self.hosts[index];
        let at = self.queue.now() + host.device.down(CONTROL_BYTES);
        self.queue.schedule(at, Happening::Down(index, host.session, told));
    }

    fn send_up(&mut self, index: usize, bytes: u64, event: Event) {
        let host = &self.hosts[index];
        let at = self.queue.now() + host.device.up(bytes);
        self.queue.schedule(at, Happening::Up(index, host.session, event));
    }

    fn tell(&mut self, index: usize, told: Told) {
        let mut asks = Vec::new();
        self.hosts[index].core.handle(self.queue.now(), told, &mut asks);
        for ask in asks {
            self.perform_on(index, ask);
        }
        self.wake(index);
    }

    fn wake(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if let Some((at, _)) = host.core.deadline()
            && host.wake.is_none_or(|wake| at < wake)
        {
            host.wake = Some(at);
            self.queue.schedule(at, Happening::Device(index, Told::Tick));
        }
    }

    fn name(&self, index: usize) -> ClientId {
        self.hosts[index].name.clone()
    }

    /// The session breaks: what is on its way is lost, and every question that went over it is answered with that.
    fn lose(&mut self, index: usize) {
        let (client, now) = (self.name(index), self.queue.now());
        let lost = || "the link broke".to_owned();
        let host = &mut self.hosts[index];
        host.away_until = now + Duration::from_secs_f64(self.fleet.away_s);
        (host.connected, host.session) = (false, host.session + 1);
        let fetching = host.fetching.take();
        let uploading = std::mem::take(&mut host.uploading);
        self.queue.schedule(now, Happening::Coordinator(Event::Disconnected { client }));
        self.tell(index, Told::Disconnected { reason: lost() });
        if let Some(version) = fetching {
            self.tell(index, Told::Fetched { version, model: Err(FetchError::Broken(lost())) });
        }
        if uploading {
            self.tell(index, Told::Uploaded(Err(lost())));
        }
    }

    fn perform_on(&mut self, index: usize, ask: Ask) {
        match ask {
            Ask::Connect => self.connect(index),
            Ask::Send(message) => {
                let client = self.name(index);
                let event = match message {
                    ToCoordinator::Hello(hello) => Event::Connected { client, hello },
                    ToCoordinator::Evaluated { version, evaluation } => {
                        Event::Evaluated { client, version, evaluation }
                    }
                    ToCoordinator::Declined { round, reason } => Event::Declined { client, round, reason },
                };
                self.send_up(index, CONTROL_BYTES, event);
            }
            Ask::Prepare { spec, seed } => self.prepare(index, &spec, seed),
            Ask::Fetch { version, held, .. } => self.fetch(index, version, held.as_deref()),
            Ask::Train(job) => {
                let host = &self.hosts[index];
                let spent = host.device.training(host.examples, job.plan.local_epochs);
                if self.fleet.drop_out > 0.0 && self.faults.random_bool(self.fleet.drop_out) {
                    let at = self.queue.now() + spent.mul_f64(self.faults.random_range(0.0..1.0));
                    self.queue.schedule(at, Happening::Lost(index, host.session));
                }
                self.start(index, spent, Job::Train(job));
            }
            Ask::Evaluate(job) => {
                let host = &self.hosts[index];
                let spent = host.device.scoring(host.held_out);
                self.start(index, spent, Job::Evaluate(job));
            }
            Ask::Upload { header, payload } => self.upload(index, header, payload),
            // A device of this world is never restarted, and its owner reads no notices.
            Ask::Persist { .. } | Ask::Notice(_) | Ask::Halt { .. } => {}
        }
    }

    fn connect(&mut self, index: usize) {
        let now = self.queue.now();
        let host = &mut self.hosts[index];
        if now < host.away_until {
            let told = Told::Disconnected { reason: "there is no link".into() };
            self.queue.schedule(now, Happening::Device(index, told));
            return;
        }
        (host.connected, host.session) = (true, host.session + 1);
        let at = now + 2 * host.device.delay;
        self.queue.schedule(at, Happening::Down(index, host.session, Told::Connected));
    }

    fn prepare(&mut self, index: usize, spec: &protocol::plan::ModelSpec, seed: u64) {
        let Some(trainer) = &mut self.hosts[index].trainer else { return };
        let prepared = trainer.take_up(spec, seed);
        self.tell(index, Told::Prepared(prepared));
    }

    fn fetch(&mut self, index: usize, version: Version, held: Option<&FetchedModel>) {
        let now = self.queue.now();
        let host = &mut self.hosts[index];
        if !host.connected {
            let model = Err(FetchError::Broken("there is no link".to_owned()));
            self.queue.schedule(now, Happening::Device(index, Told::Fetched { version, model }));
            return;
        }
        host.fetching = Some(version);
        let session = host.session;
        let offer = self.downlink.offer(version, held.map(FetchedModel::content));
        let served = self.served.iter().find(|(served, _)| *served == version);
        let (Some(offer), Some((_, model))) = (offer, served) else {
            let model = Err(FetchError::Broken(format!("version {version} is not served any more")));
            self.queue.schedule(
                now + host.device.delay,
                Happening::Down(index, session, Told::Fetched { version, model }),
            );
            return;
        };
        let (bytes, model) = (offer.bytes(), Ok(model.clone()));
        let at = now + host.device.delay + host.device.down(bytes);
        self.queue.schedule(at, Happening::Up(index, session, Event::Fetched { bytes }));
        self.queue.schedule(at, Happening::Down(index, session, Told::Fetched { version, model }));
    }

    fn start(&mut self, index: usize, spent: Duration, job: Job) {
        let Some(trainer) = self.hosts[index].trainer.take() else { return };
        self.workers.submit(index, trainer, job);
        self.queue.schedule(self.queue.now() + spent, Happening::Done(index));
    }

    fn upload(&mut self, index: usize, header: protocol::message::UpdateHeader, payload: Vec<u8>) {
        let client = self.name(index);
        if !self.hosts[index].connected {
            let told = Told::Uploaded(Err("there is no link".to_owned()));
            self.queue.schedule(self.queue.now(), Happening::Device(index, told));
            return;
        }
        self.hosts[index].uploading = true;
        let bytes = CONTROL_BYTES + payload.len() as u64;
        // Checked against the round that is open now; the core looks again when the update arrives.
        let update = admit(&self.coordinator.admission(), &client, &header, payload).map(Arc::new);
        self.send_up(index, bytes, Event::Uploaded { client, header, update });
    }
}
