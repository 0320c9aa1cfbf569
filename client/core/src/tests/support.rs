//! A driver without a world: it keeps what is persisted, and can die after any effect.

use std::sync::Arc;
use std::time::Duration;

use codec::residual::Lineage;
use params::{Canonical, Digest, Layout, Scope, Share, TensorSpec};
use protocol::evaluation::Evaluation;
use protocol::id::{ClientId, Round, RunId, Version};
use protocol::message::ToClient;
use protocol::plan::{
    ClassLoss, EvaluationPlan, Freeze, ModelSpec, Norm, Optimiser, RoundPlan, TrainPlan, UplinkPlan,
};
use protocol::time::Timestamp;
use protocol::train::{DataSummary, DeviceModel, EvaluateOutcome, Prepared, TrainOutcome};

use crate::effect::Effect;
use crate::event::{Event, FetchedModel};
use crate::state::{OUTGOING, Outgoing, RECEIPT, Stored};
use crate::{Client, Config};

pub(crate) const RUN: RunId = RunId(5);

/// Five shared values, one channel of statistics, a personal copy of the class layer.
pub(crate) fn layout() -> Arc<Layout> {
    let spec = |name: &str, len, scope| TensorSpec { name: name.into(), shape: vec![len], scope };
    let specs = vec![
        spec("backbone", 3, Scope::Shared),
        spec("norm.mean", 1, Scope::Statistic),
        spec("norm.var", 1, Scope::Statistic),
        spec("head.class", 2, Scope::Shared),
        spec("personal.head.class", 2, Scope::Personal),
    ];
    Arc::new(Layout::new(specs).unwrap())
}

/// A model whose start only the coordinator knows.
pub(crate) fn prepared() -> Prepared {
    Prepared { layout: layout(), start: None }
}

pub(crate) fn shared_layout() -> Layout {
    layout().of_scope(Scope::Shared)
}

pub(crate) fn config() -> Config {
    let data = DataSummary { classes: vec!["cat".into()], examples: 40, held_out: 8 };
    Config::new(ClientId::new("ada").unwrap(), data, 1)
}

/// Of every version of the tests.
pub(crate) fn digest() -> Digest {
    zeros().digest()
}

fn zeros() -> Canonical {
    Canonical::from_values(Arc::new(shared_layout()), &[0.0; 5]).unwrap()
}

pub(crate) fn welcome(run: RunId, known: bool) -> Event {
    let model = known.then(|| ModelSpec { preset: "toy".into(), classes: vec!["cat".into()] });
    Event::Instruction(ToClient::Welcome { run, seed: 9, model })
}

pub(crate) fn plan(round: u32, version: u32) -> RoundPlan {
    RoundPlan {
        round: Round(round),
        version: Version(version),
        model_digest: digest(),
        time_limit: Duration::from_secs(60),
        train: TrainPlan {
            local_epochs: 1,
            batch: 8,
            micro_batch: 8,
            optimiser: Optimiser::Sgd,
            learning_rate: 0.1,
            weight_decay: 0.0,
            clip_norm: 1.0,
            ema_decay: 0.0,
            progress_start: 0.0,
            progress_end: 1.0,
            warm_up: 0.0,
            final_rate: 1.0,
            freeze: Freeze::None,
            norm: Norm::Local,
            class_loss: ClassLoss::Focal,
            static_assignment: true,
            mosaic: 0.0,
            flip: false,
            flip_vertical: false,
        },
        uplink: UplinkPlan {
            codec: "sparse".into(),
            density: 0.4,
            floor: 0.0,
            residual_decay: 1.0,
            residual_guard: None,
            value_bits: 3,
            budget_bytes: None,
        },
        personalise: "head".into(),
    }
}

pub(crate) fn evaluation(round: u32, version: u32) -> EvaluationPlan {
    EvaluationPlan {
        round: Round(round),
        version: Version(version),
        model_digest: digest(),
        share: Share::ALL,
        norm: Norm::Local,
        personalise: "head".into(),
    }
}

/// Every version of the tests: zeros and standard statistics.
pub(crate) fn fetched(version: u32) -> Event {
    let model = FetchedModel { model: zeros(), statistics: vec![0.0, 1.0] };
    Event::Fetched { version: Version(version), model: Ok(model) }
}

pub(crate) fn trained(shared: Vec<f32>, personal: Vec<f32>) -> Event {
    let model = DeviceModel { shared, statistics: vec![0.5, 1.0], personal };
    Event::Trained(Ok(TrainOutcome { model, examples: 40, steps: 5, loss: 1.25 }))
}

pub(crate) fn evaluated() -> Event {
    let evaluation = Evaluation { images: 8, boxes: 20, ..Evaluation::default() };
    Event::Evaluated(Ok(EvaluateOutcome { evaluation, statistics: vec![0.25, 1.0], statistics_images: 32 }))
}

/// A client, what it persisted, and how long its machine will live.
pub(crate) struct Driver {
    pub(crate) now: Timestamp,
    pub(crate) client: Client,
    pub(crate) stored: Stored,
    /// Effects that are still performed before the machine dies.
    pub(crate) life: Option<usize>,
}

impl Driver {
    pub(crate) fn new() -> (Self, Vec<Effect>) {
        let mut effects = Vec::new();
        let client = Client::new(config(), Stored::new(), &mut effects);
        (Self { now: Timestamp::START, client, stored: Stored::new(), life: None }, effects)
    }

    /// The effects that were performed.
    pub(crate) fn deliver(&mut self, event: Event) -> Vec<Effect> {
        if self.is_dead() {
            return Vec::new();
        }
        let mut effects = Vec::new();
        self.client.handle(self.now, event, &mut effects);
        if let Some(life) = &mut self.life {
            effects.truncate(*life);
            *life -= effects.len();
        }
        for effect in &effects {
            if let Effect::Persist { name, bytes } = effect {
                self.stored.insert(name, bytes.clone());
            }
        }
        effects
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.life == Some(0)
    }

    pub(crate) fn restart(&mut self) -> Vec<Effect> {
        self.life = None;
        let mut effects = Vec::new();
        self.client = Client::new(config(), self.stored.clone(), &mut effects);
        effects
    }

    /// What would be found after a restart now.
    pub(crate) fn outgoing(&self) -> Option<Outgoing> {
        let shared = shared_layout();
        let lineage = Lineage { run: RUN.0, layout: shared.digest() };
        let receipt = self.stored.get(RECEIPT).map(Vec::as_slice);
        self.stored.get(OUTGOING).map(|bytes| Outgoing::decode(bytes, receipt, lineage, &shared).unwrap().0)
    }
}
