//! Clients and the world between them and the coordinator: sessions, lost answers, uploads without a receipt, power cuts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use codec::statistics::{StatisticsLayout, encode_report};
use params::{Scope, Share};
use protocol::evaluation::{CentralScore, Evaluation, ModelScore};
use protocol::id::{ClientId, Round};
use protocol::message::{Receipt, ToClient, UpdateHeader};
use protocol::time::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::support::{Driver, VALUES, client, hello, initial, layout, update};
use crate::config::Settings;
use crate::{Effect, Event, Published};

/// What is on its way to the coordinator.
#[derive(Clone, Debug)]
enum Post {
    Event(Event),
    Upload(ClientId, UpdateHeader, Vec<u8>),
}

/// Clients and the world between them and the coordinator.
pub(super) struct World {
    pub(super) driver: Driver,
    rng: ChaCha8Rng,
    clients: Vec<ClientId>,
    /// Uploads without a receipt.
    pending: BTreeMap<ClientId, (UpdateHeader, Vec<u8>)>,
    post: VecDeque<Post>,
    /// Whether clients that come back have forgotten what they trained, and train anew to other values.
    forgetful: bool,
    /// Whether clients often decline, so that rounds are abandoned.
    pub(super) reluctant: bool,
    /// Accepted receipts that clients have seen, by round.
    pub(super) acknowledged: BTreeSet<(ClientId, Round)>,
    pub(super) compactions: u32,
    trained: u32,
    complete: bool,
    pub(super) effects: usize,
}

impl World {
    pub(super) fn new(settings: Settings, clients: usize, seed: u64, forgetful: bool) -> Self {
        let clients = (0..clients).map(|index| client(format!("c{index:02}"))).collect();
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let driver = Driver::new(settings);
        let (pending, post) = (BTreeMap::new(), VecDeque::new());
        Self {
            driver,
            rng,
            clients,
            pending,
            post,
            forgetful,
            reluctant: false,
            acknowledged: BTreeSet::new(),
            compactions: 0,
            trained: 0,
            complete: false,
            effects: 0,
        }
    }

    /// Runs until all rounds are done; the machine dies after each of these numbers of effects.
    pub(super) fn run(&mut self, deaths: &[usize]) {
        let mut deaths = deaths.iter().copied();
        self.driver.life = deaths.next();
        self.connect();
        for _ in 0..20_000 {
            if self.complete {
                return;
            }
            self.driver.now = self.driver.now + Duration::from_millis(self.rng.random_range(1..50));
            let (effects, alive) = self.step();
            self.effects += effects.len();
            effects.into_iter().for_each(|effect| self.react(effect));
            if !alive {
                self.driver.life = deaths.next();
                self.restart();
            }
        }
        panic!("the run does not complete: {:?}", self.driver.core.status());
    }

    fn step(&mut self) -> (Vec<Effect>, bool) {
        if self.post.is_empty() {
            let (at, _) = self.driver.core.deadline().expect("something is waited for");
            self.driver.now = self.driver.now.max(at);
            return self.driver.deliver(Event::Tick);
        }
        let next = self.rng.random_range(0..self.post.len());
        match self.post.swap_remove_back(next).unwrap() {
            Post::Event(event) => self.driver.deliver(event),
            Post::Upload(client, header, payload) => self.driver.upload(&client, header, payload),
        }
    }

    fn restart(&mut self) {
        self.post.clear();
        if self.rng.random_range(0..2) == 0 {
            // A real driver counts from its own start.
            self.driver.now = Timestamp::START;
        }
        let kept = self.rng.random_range(0..3);
        self.compactions += u32::from(self.driver.compact(kept));
        let (effects, alive) = self.driver.restart();
        self.effects += effects.len();
        effects.into_iter().for_each(|effect| self.react(effect));
        if !alive {
            self.driver.life = None;
            return self.restart();
        }
        self.connect();
    }

    fn connect(&mut self) {
        for client in self.clients.clone() {
            let event = Event::Connected { client: client.clone(), hello: hello(&["cat"]) };
            self.post.push_back(Post::Event(event));
            if self.forgetful && self.rng.random_range(0..3) == 0 {
                self.pending.remove(&client);
            }
            if let Some((header, payload)) = self.pending.get(&client).cloned() {
                self.post.push_back(Post::Upload(client, header, payload));
            }
        }
    }

    fn react(&mut self, effect: Effect) {
        match effect {
            Effect::Initialise { .. } => {
                self.post.push_back(Post::Event(Event::Initialised { initial: initial() }));
            }
            Effect::Send { client, instruction: ToClient::Train(plan) }
                if self.reluctant && self.rng.random_range(0..3) > 0 =>
            {
                let (round, reason) = (plan.round, "too hot".to_owned());
                self.post.push_back(Post::Event(Event::Declined { client, round, reason }));
            }
            Effect::Send { client, instruction: ToClient::Train(plan) } => {
                let held =
                    self.pending.get(&client).filter(|(header, _)| header.round == plan.round).cloned();
                let (header, payload) = held.unwrap_or_else(|| {
                    self.trained += 1;
                    let values: Vec<_> = (0..VALUES).map(|_| self.rng.random_range(-0.5..0.5)).collect();
                    let run = self.driver.core.config().run();
                    let (mut header, payload) = update(run, plan.round.0, plan.version.0, &values);
                    header.examples = self.rng.random_range(1..100);
                    (header, payload)
                });
                self.pending.insert(client.clone(), (header.clone(), payload.clone()));
                self.post.push_back(Post::Upload(client, header, payload));
            }
            Effect::Send { client, instruction: ToClient::Evaluate(plan) } => {
                let (version, evaluation) = (plan.version, self.evaluation(plan.share));
                self.post.push_back(Post::Event(Event::Evaluated { client, version, evaluation }));
            }
            Effect::Receipt { client, payload, receipt } => {
                if let Receipt::Accepted { round } = receipt {
                    self.acknowledged.insert((client.clone(), round));
                }
                self.pending.retain(|name, (header, _)| *name != client || header.payload_digest != payload);
            }
            Effect::Score { published, .. } => {
                let event = Event::Scored { version: published.version, score: Ok(CentralScore::default()) };
                self.post.push_back(Post::Event(event));
            }
            Effect::Halt { complete, reason } => {
                assert!(complete, "{reason}");
                self.complete = true;
            }
            _ => {}
        }
    }

    /// All devices see data of mean 1 and variance 1; each compares with the statistics of the version it fetched.
    fn evaluation(&self, share: Share) -> Evaluation {
        let score = ModelScore { ap50: 0.5, ap: 0.25, histogram: Vec::new() };
        let layout = StatisticsLayout::new(&layout().of_scope(Scope::Statistic)).unwrap();
        let statistics =
            encode_report(&layout, &self.published().statistics, &[1.0; 4], share, 1000).unwrap();
        let (global, personal) = (score.clone(), score);
        Evaluation { images: 1, boxes: 1, global, personal, statistics, statistics_images: 10 }
    }

    pub(super) fn published(&self) -> Published {
        Published::decode(self.driver.published.as_ref().unwrap()).unwrap()
    }
}
