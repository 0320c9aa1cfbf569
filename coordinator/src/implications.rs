//! What settings imply, before anybody waits for it: bytes per round, and memory.

use coordinator_core::InitialModel;
use coordinator_core::config::codec_of;
use coordinator_core::downlink::{Sizes, sizes};
use params::{Layout, Scope};
use protocol::id::Version;
use protocol::plan::{ModelSpec, UplinkPlan};
use protocol::randomness::{Purpose, stream};
use serde_json::json;

use crate::Error;
use crate::config::Config;
use crate::learning::Learning;
use crate::limits::VERSIONS_MAX;
use crate::output::bytes;

/// Classes that are reckoned with while nobody knows how many there will be.
const CLASSES_ASSUMED: usize = 10;
/// What the process takes without a model, bytes.
const PROCESS_BYTES: u64 = 16 << 20;

/// Figures of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Implications {
    /// Classes reckoned with.
    pub classes: usize,
    /// Weights that all train together.
    pub shared_values: usize,
    /// An update as dense f32, bytes.
    pub dense_bytes: u64,
    /// An update as it is sent, bytes (of random values: a real one differs by some percent).
    pub update_bytes: Stages,
    /// The first version as it is fetched, whole, bytes.
    pub snapshot_bytes: u64,
    /// What leads from one version to the next, bytes (of random values, with statistics that all move by some steps).
    pub delta_bytes: Stages,
    /// Clients reckoned with per round.
    pub clients: u64,
    /// Updates without which a round publishes nothing.
    pub min_contributors: u32,
    /// Memory of the coordinator besides scoring, bytes; it does not grow with the number of clients.
    pub memory_bytes: u64,
    /// Space for versions in the state folder, bytes.
    pub versions_bytes: u64,
}

/// Bytes of what is sent once a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stages {
    /// In the first round.
    pub first: u64,
    /// Between the first rounds and the last.
    pub steady: u64,
    /// In the last round.
    pub last: u64,
}

/// Works the figures out, by making a model and encoding an update.
///
/// # Errors
/// A preset that does not exist, weights to start from that do not fit.
pub fn of(config: &Config, learning: &dyn Learning) -> Result<Implications, Error> {
    let settings = config.run.settings();
    learning.knows(&settings.preset).map_err(Error::Usage)?;
    let assumed = || (1..=CLASSES_ASSUMED).map(|number| format!("class {number}")).collect();
    let classes = settings.classes.clone().unwrap_or_else(assumed);
    let spec = ModelSpec { preset: settings.preset.clone(), classes };
    let InitialModel { layout, shared, statistics } =
        learning.initial(&spec, settings.seed).map_err(Error::Usage)?;
    let shared_layout = layout.of_scope(Scope::Shared);
    let mut rng = stream(settings.seed, None, None, Purpose::World);
    let moves: Vec<f32> = std::iter::repeat_with(|| heavy_tailed(&mut rng)).take(shared.len()).collect();
    let update = |plan: &UplinkPlan| update_bytes(&shared_layout, plan, &moves);
    let (uplink, rounds) = (&settings.uplink, settings.rounds);
    let update_bytes = Stages {
        first: update(&uplink.plan(Version(0), rounds))?,
        steady: update(&uplink.steady())?,
        last: update(&uplink.plan(Version(rounds - 1), rounds))?,
    };
    let values = shared.len() as u64;
    let initial = InitialModel { layout, shared, statistics };
    let Sizes { whole, delta, first_delta, last_delta } =
        sizes(&config.run, initial, &moves).map_err(Error::Usage)?;
    let clients = settings.cohort.unwrap_or(settings.min_clients).into();
    // The process, uploads under way, and per weight: ticks 4, sums up to 9 (in whose place comes what the next version wants), optimiser
    // state up to 4, how the next version has moved up to 4, deltas and what is being encoded of them 4.
    let ingest = u64::from(config.settings.ingest_memory) << 20;
    let memory_bytes = PROCESS_BYTES + values * (4 + 9 + 4 + 4 + 4) + whole + ingest;
    Ok(Implications {
        classes: spec.classes.len(),
        shared_values: values as usize,
        dense_bytes: 4 * values,
        update_bytes,
        snapshot_bytes: whole,
        delta_bytes: Stages { first: first_delta, steady: delta, last: last_delta },
        clients,
        min_contributors: config.run.min_contributors(),
        memory_bytes,
        versions_bytes: VERSIONS_MAX as u64 * 12 * values,
    })
}

impl Stages {
    /// The usual one with its share of `dense_bytes`, and the others if they are larger.
    fn text(self, dense_bytes: u64) -> String {
        let ratio = dense_bytes as f64 / self.steady.max(1) as f64;
        let mut text = format!("{} (1/{ratio:.0} of dense)", bytes(self.steady));
        for (which, size) in [("first", self.first), ("last", self.last)] {
            if size > self.steady {
                text += &format!(", the {which} {}", bytes(size));
            }
        }
        text
    }
}

/// An update of random values as long as the plan's codec makes it.
fn update_bytes(layout: &Layout, plan: &UplinkPlan, values: &[f32]) -> Result<u64, Error> {
    let codec = codec_of(plan).map_err(|error| Error::Usage(error.to_string()))?;
    let encoded = codec.encode(layout, values).map_err(|error| Error::Usage(error.to_string()))?;
    Ok(encoded.payload.len() as u64)
}

/// A few large values among many small ones, as weights move.
fn heavy_tailed(rng: &mut impl rand::Rng) -> f32 {
    let uniform = (rng.next_u32() as f32 / u32::MAX as f32).mul_add(2.0, -1.0);
    1e-3 * uniform.powi(3)
}

/// The effective settings with what they imply, as a settings file (or as JSON, if the settings say so).
///
/// # Errors
/// Those of [`of`].
pub fn text(config: &Config, learning: &dyn Learning) -> Result<String, Error> {
    let found = of(config, learning)?;
    let Implications { clients, update_bytes, snapshot_bytes, delta_bytes, dense_bytes, .. } = found;
    if config.settings.json {
        return Ok(json!({
            "settings": config.settings,
            "run": config.run.run().to_string(),
            "cautions": config.run.cautions(),
            "implied": {
                "classes": found.classes,
                "shared_values": found.shared_values,
                "dense_bytes": dense_bytes,
                "update_bytes": update_bytes.steady,
                "first_update_bytes": update_bytes.first,
                "last_update_bytes": update_bytes.last,
                "snapshot_bytes": snapshot_bytes,
                "delta_bytes": delta_bytes.steady,
                "first_delta_bytes": delta_bytes.first,
                "last_delta_bytes": delta_bytes.last,
                "min_contributors": found.min_contributors,
                "uplink_bytes_per_round": clients * update_bytes.steady,
                "downlink_bytes_per_round": clients * delta_bytes.steady,
                "memory_bytes": found.memory_bytes,
                "versions_bytes": found.versions_bytes,
            },
        })
        .to_string());
    }
    let settings = toml::to_string(&config.settings).map_err(|error| Error::Usage(error.to_string()))?;
    let mut text = settings + "\n";
    let mut line = |line: String| text += &format!("# {line}\n");
    line(format!("run {}", config.run.run()));
    let known = config.run.settings().classes.is_some();
    let assumed = if known { "" } else { " (reckoned with; the first clients decide)" };
    line(format!("classes            {}{assumed}", found.classes));
    line(format!("shared parameters  {} ({} as f32)", found.shared_values, bytes(dense_bytes)));
    line(format!("one update         about {}", update_bytes.text(dense_bytes)));
    let whole = bytes(snapshot_bytes);
    line(format!("one version        about {}; {whole} whole", delta_bytes.text(dense_bytes)));
    line(format!("a version            needs {} of {clients} updates", found.min_contributors));
    let (up, down) = (bytes(clients * update_bytes.steady), bytes(clients * delta_bytes.steady));
    line(format!("a round            about {up} up, {down} down with {clients} clients"));
    line(format!(
        "memory             about {} besides scoring, however many clients",
        bytes(found.memory_bytes)
    ));
    line(format!("disk               about {} for versions, and the updates", bytes(found.versions_bytes)));
    config.run.cautions().into_iter().for_each(|caution| line(format!("caution: {caution}")));
    Ok(text)
}
