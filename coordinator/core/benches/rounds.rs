//! What the coordinator's decisions cost: rounds of many toy clients, and one large update.
//!
//! `cargo bench -p coordinator-core`; as a test it runs with few clients. Prints `figure NAME VALUE UNIT`.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark looks at the clock")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use coordinator_core::{Coordinator, Effect, Event, InitialModel, RunConfig, Settings, admit};
use params::{Digest, Layout, Scope, TensorSpec};
use protocol::PROTOCOL_VERSION;
use protocol::evaluation::{Evaluation, ModelScore};
use protocol::id::ClientId;
use protocol::message::{Hello, ToClient, UpdateHeader};
use protocol::plan::RoundPlan;
use protocol::time::Timestamp;

struct Bench {
    core: Coordinator,
    events: u64,
    encoded: codec::Encoded,
    layout: Arc<Layout>,
    now: u64,
}

impl Bench {
    fn new(clients: usize, rounds: u32, values: usize, codec: &str) -> Self {
        let mut settings =
            Settings { preset: "toy".into(), rounds, min_clients: clients as u32, ..Settings::default() };
        settings.uplink.codec = codec.into();
        let layout =
            Layout::new(vec![TensorSpec { name: "w".into(), shape: vec![values], scope: Scope::Shared }]);
        let layout = Arc::new(layout.unwrap());
        let delta: Vec<_> = (0..values).map(|index| 1e-3 * (index as f32 * 0.7).sin().powi(5)).collect();
        let encoded =
            codec::build(codec, &codec::Settings::default()).unwrap().encode(&layout, &delta).unwrap();
        let core = Coordinator::new(RunConfig::new(settings).unwrap());
        let mut bench = Self { core, events: 0, encoded, layout, now: 0 };
        let mut out = Vec::new();
        for index in 0..clients {
            let classes = vec!["thing".into()];
            let hello = Hello { protocol: PROTOCOL_VERSION, classes, examples: 50, held_out: 5, run: None };
            let client = ClientId::new(format!("client-{index:05}")).unwrap();
            bench.handle(Event::Connected { client, hello }, &mut out);
        }
        bench
    }

    fn handle(&mut self, event: Event, out: &mut Vec<Effect>) {
        self.events += 1;
        self.now += 1000;
        self.core.handle(Timestamp(self.now), event, out);
    }

    fn run(&mut self) {
        let shared = vec![0.5; self.layout.len()];
        let initial = InitialModel { layout: self.layout.clone(), shared, statistics: Vec::new() };
        let mut out = Vec::new();
        self.handle(Event::Initialised { initial }, &mut out);
        let mut todo = VecDeque::from(std::mem::take(&mut out));
        while let Some(effect) = todo.pop_front() {
            match effect {
                Effect::Send { client, instruction: ToClient::Train(plan) } => {
                    let event = self.upload(client, &plan);
                    self.handle(event, &mut out);
                }
                Effect::Send { client, instruction: ToClient::Evaluate(plan) } => {
                    let version = plan.version;
                    let score = ModelScore { ap50: 0.5, ap: 0.25, histogram: Vec::new() };
                    let (global, personal) = (score.clone(), score);
                    let evaluation =
                        Evaluation { images: 1, boxes: 1, global, personal, ..Evaluation::default() };
                    self.handle(Event::Evaluated { client, version, evaluation }, &mut out);
                }
                Effect::Halt { complete, reason } => assert!(complete, "{reason}"),
                _ => {}
            }
            todo.extend(out.drain(..));
        }
    }

    fn upload(&self, client: ClientId, plan: &RoundPlan) -> Event {
        let payload = self.encoded.payload.clone();
        let header = UpdateHeader {
            run: self.core.config().run(),
            round: plan.round,
            version: plan.version,
            layout: self.layout.digest(),
            examples: 50,
            steps: 10,
            loss_milli: 700,
            length: payload.len() as u32,
            payload_digest: Digest::of(&[&payload]),
        };
        let update = admit(&self.core.admission(), &client, &header, payload).map(Arc::new);
        Event::Uploaded { client, header, update }
    }
}

fn main() {
    let benchmark = std::env::args().any(|argument| argument == "--bench");
    let (clients, rounds) = if benchmark { (10_000, 20) } else { (20, 2) };
    let mut toy = Bench::new(clients, rounds, 32, "dense");
    let start = Instant::now();
    toy.run();
    let seconds = start.elapsed().as_secs_f64();
    println!("figure core_toy_clients {clients} clients");
    println!("figure core_toy_round {:.1} ms", 1e3 * seconds / f64::from(rounds));
    println!("figure core_event {:.2} us", 1e6 * seconds / toy.events as f64);

    let (clients, values) = if benchmark { (50, 4_300_000) } else { (3, 10_000) };
    let mut large = Bench::new(clients, 2, values, "sparse");
    let start = Instant::now();
    large.run();
    let milliseconds = 1e3 * start.elapsed().as_secs_f64();
    println!("figure core_large_update {:.2} ms", milliseconds / (2 * clients) as f64);
}
