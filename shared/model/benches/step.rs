//! What a training step costs, and which part of it: `cargo bench -p model --bench step [-- PRESET...]`.
//!
//! Procedural scenes as images, two threads (`--cpu`: processor time of one), medians; each result is one line `figure NAME VALUE UNIT`.
//! `--recompute`: of steps that make the maps within blocks again. `--test` runs a tiny detector once.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;
use std::time::Duration;

use dataset::DecodeLimits;
use dataset::augment::AugmentSpec;
use dataset::scenes::{World, scene_dataset};
use detection::Phase;
use model::budget::Need;
use model::device::pool;
use model::evaluate::{DetectConfig, detect};
use model::examples::{Examples, Order};
use model::fit::Fit;
use model::initial::initial;
use model::loss;
use model::ops::Statistics;
use model::weights::Weights;
use model::{Architecture, Backend, Inference};
use protocol::plan::{ClassLoss, Freeze, ModelSpec, Norm};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[path = "step/clock.rs"]
mod clock;
#[path = "step/frozen.rs"]
mod frozen;
#[path = "step/optimise.rs"]
mod optimise;
#[path = "step/plan.rs"]
mod plan;

use clock::Clock;
use plan::plan;

const THREADS: usize = 2;

/// Steps per measurement; the first three are not counted.
const STEPS: usize = 15;
const WARM_UP: usize = 3;
const CASES: [(&str, usize); 5] =
    [("nano96", 16), ("small256", 8), ("medium320", 8), ("small256", 1), ("v3small256", 8)];

fn median(mut times: Vec<Duration>) -> f64 {
    times.drain(..WARM_UP.min(times.len().saturating_sub(1)));
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn main() -> anyhow::Result<()> {
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let threads = if std::env::args().any(|arg| arg == "--cpu") { 1 } else { THREADS };
    if std::env::args().any(|arg| arg == "--test") {
        return pool(THREADS)?.install(|| measure("nano96@32", 2, 1));
    }
    for (preset, batch) in CASES {
        if named.is_empty()
            || named.iter().any(|name| *name == preset || *name == format!("{preset}b{batch}"))
        {
            pool(threads)?.install(|| measure(preset, batch, STEPS))?;
        }
    }
    Ok(())
}

fn measure(preset: &str, batch: usize, steps: usize) -> anyhow::Result<()> {
    let world = World { seed: 7, classes: 3, label_skew: 0.0, feature_shift: 0.5, concept_shift: 0.0 };
    let dataset = scene_dataset(&world, &Arc::new(world.site(0)), 0..batch as u64, (640, 480));
    let spec = ModelSpec { preset: preset.to_owned(), classes: dataset.classes.clone() };
    let architecture = Architecture::new(&spec)?;
    let examples = Examples::new(
        dataset,
        architecture.classes(),
        architecture.pixels(),
        1 << 30,
        DecodeLimits::default(),
    );
    let device = Backend::Flex.device();
    let values = initial(&architecture, 1);
    let figure = |name: &str, value: f64, unit: &str| {
        println!("figure step/{preset}b{batch}/{name} {value:.2} {unit}")
    };

    let recompute = std::env::args().any(|arg| arg == "--recompute");
    let kept = [
        ("all", Norm::Local, Freeze::None),
        ("all_frozen_norm", Norm::Frozen, Freeze::None),
        ("head_frozen_norm", Norm::Frozen, Freeze::Head),
    ];
    let again =
        [("recompute", Norm::Local, Freeze::None), ("recompute_frozen_norm", Norm::Frozen, Freeze::None)];
    for (name, norm, freeze) in if recompute { &again[..] } else { &kept[..] } {
        let (norm, freeze) = (*norm, *freeze);
        let plan = plan(batch as u32, norm, freeze);
        let fit = Fit::new(&architecture, &examples, &device, &plan, values.clone(), 1)?;
        let mut fit = fit.recompute(recompute);
        let mut times = Vec::new();
        for _ in 0..steps {
            let start = Clock::start();
            fit.epoch()?;
            times.push(start.elapsed());
        }
        let step = median(times);
        figure(name, step, "ms");
        figure(&format!("{name}_speed"), batch as f64 / step * 1e3, "img/s");
        if let Some(memory) = peak_memory().filter(|_| norm == Norm::Local) {
            let prefix = if recompute { "recompute_" } else { "" };
            figure(&format!("{prefix}rss"), memory, "MiB");
            let need = Need::new(&architecture, freeze, recompute).bytes(batch) as f64;
            figure(&format!("{prefix}rss_estimated"), need / f64::from(1 << 20), "MiB");
        }
    }
    if recompute {
        return Ok(());
    }
    frozen::measure(&architecture, &examples, (batch, steps), &values, figure)?;
    parts(&architecture, &examples, (batch, steps), &values, figure)
}

/// Peak memory of this process in MiB, where the system tells.
fn peak_memory() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
}

/// The parts of a step, one after the other.
fn parts(
    architecture: &Architecture,
    examples: &Examples,
    (batch, steps): (usize, usize),
    values: &[f32],
    figure: impl Fn(&str, f64, &str),
) -> anyhow::Result<()> {
    let device = Backend::Flex.device();
    let config = loss::config(ClassLoss::QualityFocal);
    let all: Vec<usize> = (0..batch).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let learns = |index: usize| !architecture.layout().tensors()[index].spec.name.ends_with(".mean");
    let looking = Inference::new(architecture, values, &device)?;
    let mut times: [Vec<Duration>; 6] = Default::default();
    let mut optimise = optimise::Optimise::new(architecture, values);
    for _ in 0..steps {
        let mut start = Clock::start();
        let mut lap = |part: usize| {
            times[part].push(start.elapsed());
            start = Clock::start();
        };
        let mut drawn = examples.draw(&Order::new(&all, false, &mut rng), &AugmentSpec::default())?;
        lap(0);
        let weights = Weights::trainable(architecture.layout(), values, &device, learns);
        let pixels = drawn.take_pixels(&weights.device());
        let outputs = architecture.forward(&weights, pixels, Statistics::Batch);
        lap(1);
        let mut back = loss::backward(architecture, &config, Phase::TaskAligned, outputs, &drawn)?;
        lap(2);
        let mut sums = vec![0.0; values.len()];
        weights.add_gradients(&mut back.gradients, &mut sums);
        lap(3);
        optimise.step(&sums);
        lap(4);
        let drawn = examples.plain(&all)?;
        start = Clock::start();
        detect(architecture, &looking, drawn.pixels, &DetectConfig::default())?;
        times[5].push(start.elapsed());
    }
    let names = ["draw", "forward", "loss_and_backward", "collect_gradients", "optimiser", "detect"];
    for (name, times) in names.into_iter().zip(times) {
        figure(name, median(times), "ms");
    }
    Ok(())
}
