//! A driver in memory: performs effects the way the contract says, and checks the invariants while it does.

use std::sync::Arc;

use codec::payload::{Stored, Unreadable};
use params::{Digest, Layout, Scope, TensorSpec};
use protocol::PROTOCOL_VERSION;
use protocol::id::{ClientId, Round, RunId, Version};
use protocol::message::{Hello, UpdateHeader};
use protocol::time::Timestamp;

use crate::config::Settings;
use crate::invariants::Checker;
use crate::journal::Compaction;
use crate::{Coordinator, Effect, Event, InitialModel, Published, Record, RunConfig, admit};

/// Shared values of the toy model.
pub(crate) const VALUES: usize = 6;

pub(crate) fn client(name: impl Into<String>) -> ClientId {
    ClientId::new(name).unwrap()
}

/// Six shared values in two tensors, statistics of two channels, a personal tensor.
pub(crate) fn layout() -> Layout {
    let spec = |name: &str, len, scope| TensorSpec { name: name.into(), shape: vec![len], scope };
    let specs = vec![
        spec("body", 4, Scope::Shared),
        spec("norm.mean", 2, Scope::Statistic),
        spec("norm.var", 2, Scope::Statistic),
        spec("head", 2, Scope::Shared),
        spec("personal.head", 2, Scope::Personal),
    ];
    Layout::new(specs).unwrap()
}

pub(crate) fn initial() -> InitialModel {
    InitialModel {
        layout: Arc::new(layout()),
        shared: vec![0.5, -0.25, 0.125, 0.0, 1.0, -1.0],
        statistics: vec![0.0, 0.0, 1.0, 1.0],
    }
}

/// Settings for the toy model: updates are dense, so that tests say what values arrive.
pub(crate) fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings { preset: "toy".into(), rounds: 2, ..Settings::default() };
    settings.uplink.codec = "dense".into();
    settings.downlink.density = 0.0;
    change(&mut settings);
    settings
}

pub(crate) fn hello(classes: &[&str]) -> Hello {
    let classes = classes.iter().map(|&class| class.into()).collect();
    Hello { protocol: PROTOCOL_VERSION, classes, examples: 100, held_out: 10, run: None }
}

/// An update of these values as its bytes and the header an honest client puts before them.
pub(crate) fn update(run: RunId, round: u32, version: u32, values: &[f32]) -> (UpdateHeader, Vec<u8>) {
    let shared = layout().of_scope(Scope::Shared);
    let codec = codec::build("dense", &codec::Settings::default()).unwrap();
    let payload = codec.encode(&shared, values).unwrap().payload;
    (header(run, round, version, &payload), payload)
}

pub(crate) fn header(run: RunId, round: u32, version: u32, payload: &[u8]) -> UpdateHeader {
    UpdateHeader {
        run,
        round: Round(round),
        version: Version(version),
        layout: layout().of_scope(Scope::Shared).digest(),
        examples: 10,
        steps: 5,
        loss_milli: 1500,
        length: payload.len() as u32,
        payload_digest: Digest::of(&[payload]),
    }
}

/// What a version leaves out, somewhere else.
#[derive(Debug)]
struct Kept(Vec<u8>);

impl Stored for Kept {
    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Unreadable> {
        into.copy_from_slice(&self.0[offset..offset + into.len()]);
        Ok(())
    }
}

/// A coordinator with its durable world.
pub(crate) struct Driver {
    pub(crate) core: Coordinator,
    pub(crate) now: Timestamp,
    /// The journal, as bytes.
    pub(crate) records: Vec<Vec<u8>>,
    /// The records that compaction has dropped, and all others.
    pub(crate) history: Vec<Record>,
    /// The last published version, as bytes.
    pub(crate) published: Option<Vec<u8>>,
    pub(crate) checker: Checker,
    /// Effects still to be performed before the machine dies, if it is to die.
    pub(crate) life: Option<usize>,
    config: RunConfig,
}

impl Driver {
    pub(crate) fn new(settings: Settings) -> Self {
        let config = RunConfig::new(settings).unwrap();
        Self {
            core: Coordinator::new(config.clone()),
            now: Timestamp::START,
            records: Vec::new(),
            history: Vec::new(),
            published: None,
            checker: Checker::new(config.min_contributors()),
            life: None,
            config,
        }
    }

    /// Delivers an event and performs its effects; those performed before the machine died, and whether it lives.
    pub(crate) fn deliver(&mut self, event: Event) -> (Vec<Effect>, bool) {
        let mut out = Vec::new();
        self.core.handle(self.now, event, &mut out);
        self.perform(out)
    }

    /// Checks an upload as drivers do, and delivers it.
    pub(crate) fn upload(
        &mut self,
        client: &ClientId,
        header: UpdateHeader,
        payload: Vec<u8>,
    ) -> (Vec<Effect>, bool) {
        let update = admit(&self.core.admission(), client, &header, payload).map(Arc::new);
        self.deliver(Event::Uploaded { client: client.clone(), header, update })
    }

    fn perform(&mut self, out: Vec<Effect>) -> (Vec<Effect>, bool) {
        let mut performed = Vec::new();
        for effect in out {
            if let Some(life) = &mut self.life {
                if *life == 0 {
                    return (performed, false);
                }
                *life -= 1;
            }
            self.checker.observe(&effect).unwrap();
            match &effect {
                Effect::Journal(record) => {
                    self.records.push(record.encode());
                    self.history.push(record.clone());
                }
                Effect::Publish(published, _) => {
                    self.published = Some(published.encode());
                    let residual = published.residual.iter().flat_map(|ticks| ticks.to_le_bytes());
                    let (version, residual) = (published.version, Arc::new(Kept(residual.collect())));
                    let mut out = Vec::new();
                    self.core.handle(self.now, Event::Kept { version, residual }, &mut out);
                    assert!(out.is_empty(), "{out:?}");
                }
                _ => {}
            }
            performed.push(effect);
        }
        (performed, true)
    }

    /// Starts again from what is durable.
    pub(crate) fn restart(&mut self) -> (Vec<Effect>, bool) {
        let (core, out) = self.recovered();
        self.core = core;
        self.checker.restarted();
        self.perform(out)
    }

    fn recovered(&self) -> (Coordinator, Vec<Effect>) {
        let published = self.published.as_ref().map(|bytes| Published::decode(bytes).unwrap());
        let (config, records, mut out) = (self.config.clone(), self.journal().into_iter(), Vec::new());
        let core = Coordinator::recover(config, self.now, published, records, &mut out).unwrap();
        (core, out)
    }

    /// Forgets the rounds that made the version so many before the last one, and those before; whether there were any. What
    /// a coordinator is after a start, to the last field, and what it does then, must not depend on it.
    pub(crate) fn compact(&mut self, kept: u32) -> bool {
        let Some(published) = &self.published else { return false };
        let stored = Version(Published::decode(published).unwrap().version.0.saturating_sub(kept));
        let journal = self.journal();
        let plan = Compaction::plan(journal.iter().cloned().map(Ok::<_, ()>), stored).unwrap();
        let Some(plan) = plan else { return false };
        let before = self.recovered();
        let rest = journal[plan.dropped()..].to_vec();
        assert!(plan.version() <= stored);
        self.records = plan.into_summary().iter().chain(&rest).map(Record::encode).collect();
        assert_eq!(format!("{:?}", self.recovered()), format!("{before:?}"));
        true
    }

    pub(crate) fn journal(&self) -> Vec<Record> {
        self.records.iter().map(|bytes| Record::decode(bytes).unwrap()).collect()
    }
}
