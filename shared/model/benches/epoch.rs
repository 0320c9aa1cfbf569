//! What a pass over a folder of photographs costs: `cargo bench -p model --bench epoch [-- PRESET... [--folder DIR]]`.
//!
//! 200 procedural scenes of 640x480 as JPEG files (noisy ones, of 176 kB each), or with `--folder` whatever is in a Pascal VOC folder;
//! opened as a client opens its folder, two threads; the system has the files in memory. Each result is one line `figure NAME VALUE UNIT`, a median over repetitions:
//!
//! * `first`: an epoch that decodes every file, `later`: one that finds all images in the cache of a client's default size;
//! * `steps`: the optimiser steps of an epoch alone, on batches drawn beforehand;
//! * `step_share`: `steps` of a later epoch's time, `first_step_share` of a first one's, each from runs next to each other.
//!
//! `--test` runs a tiny detector once.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dataset::augment::AugmentSpec;
use dataset::scenes::{World, scene_dataset};
use dataset::{DecodeLimits, OpenOptions, open, write_voc};
use model::device::pool;
use model::examples::{Examples, Order};
use model::fit::Fit;
use model::initial::initial;
use model::{Architecture, Backend, TrainerConfig};
use protocol::plan::{Freeze, ModelSpec, Norm, TrainPlan};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[path = "step/plan.rs"]
mod plan;

use plan::plan;

const THREADS: usize = 2;
const IMAGES: usize = 200;
const REPETITIONS: usize = 5;
const CASES: [(&str, usize); 3] = [("nano96", 16), ("small256", 8), ("medium320", 8)];

fn main() -> anyhow::Result<()> {
    let given = |wanted: &str| std::env::args().any(|arg| arg == wanted);
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let given_folder = arguments.iter().position(|arg| arg == "--folder").map(|at| {
        let mut taken = arguments.drain(at..arguments.len().min(at + 2));
        PathBuf::from(taken.next_back().unwrap_or_default())
    });
    let named: Vec<String> = arguments.into_iter().filter(|arg| !arg.starts_with('-')).collect();
    let folder = tempfile::tempdir()?;
    if given("--test") {
        write(folder.path(), 5, (64, 48))?;
        return pool(THREADS)?.install(|| measure(folder.path(), "nano96@32", 2, 1));
    }
    if given_folder.is_none() {
        write(folder.path(), IMAGES, (640, 480))?;
    }
    let folder = given_folder.as_deref().unwrap_or(folder.path());
    for (preset, batch) in CASES {
        if named.is_empty() || named.iter().any(|name| name == preset) {
            pool(THREADS)?.install(|| measure(folder, preset, batch, REPETITIONS))?;
        }
    }
    Ok(())
}

fn write(folder: &Path, images: usize, size: (u32, u32)) -> anyhow::Result<()> {
    let world = World { seed: 7, classes: 3, label_skew: 0.0, feature_shift: 0.5, concept_shift: 0.0 };
    let scenes = scene_dataset(&world, &Arc::new(world.site(0)), 0..images as u64, size);
    Ok(write_voc(folder, &scenes, &[])?)
}

fn measure(folder: &Path, preset: &str, batch: usize, repetitions: usize) -> anyhow::Result<()> {
    let dataset = open(folder, &OpenOptions::default())?;
    let images = dataset.samples.len();
    let spec = ModelSpec { preset: preset.to_owned(), classes: dataset.classes.clone() };
    let architecture = Architecture::new(&spec)?;
    let device = Backend::default().device();
    let plan = TrainPlan {
        local_epochs: 3 * repetitions as u32 + 1,
        ..plan(batch as u32, Norm::Local, Freeze::None)
    };
    // As much of it as a client gives to training images.
    let cache_bytes = TrainerConfig::default().cache_bytes / 8 * 7;
    let examples = || {
        let (classes, pixels) = (architecture.classes(), architecture.pixels());
        Examples::for_training(dataset.clone(), classes, pixels, cache_bytes, DecodeLimits::default())
    };
    let cached = examples();
    let values = initial(&architecture, 1);
    let mut fit = Fit::new(&architecture, &cached, &device, &plan, values.clone(), 1)?;
    fit.epoch()?;

    let [mut first, mut later, mut steps] = [const { Vec::new() }; 3];
    for seed in 0..repetitions as u64 {
        let uncached = examples();
        let mut fresh = Fit::new(&architecture, &uncached, &device, &plan, values.clone(), seed)?;
        first.push(timed(|| fresh.epoch().map(drop))?);
        steps.push(of_steps(&mut fit, &cached, batch, images)?);
        later.push(timed(|| fit.epoch().map(drop))?);
    }
    let figure =
        |name: &str, value: f64, unit: &str| println!("figure epoch/{preset}/{name} {value:.3} {unit}");
    let share = |of: &[f64]| median(steps.iter().zip(of).map(|(steps, epoch)| steps / epoch).collect());
    figure("step_share", share(&later), "x");
    figure("first_step_share", share(&first), "x");
    figure("first", median(first), "s");
    figure("later", median(later), "s");
    figure("steps", median(steps), "s");
    Ok(())
}

/// Seconds of the steps of an epoch, without those of drawing their batches.
fn of_steps(fit: &mut Fit<'_>, examples: &Examples, batch: usize, images: usize) -> anyhow::Result<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let all: Vec<usize> = (0..images).collect();
    let pieces = images.div_ceil(batch);
    let mut seconds = 0.0;
    for piece in 0..pieces {
        let part = &all[piece * images / pieces..(piece + 1) * images / pieces];
        let drawn = examples.draw(&Order::new(part, false, &mut rng), &AugmentSpec::default())?;
        seconds += timed(|| fit.step(drawn).map(drop))?;
    }
    Ok(seconds)
}

fn timed<E>(call: impl FnOnce() -> Result<(), E>) -> Result<f64, E> {
    let start = Instant::now();
    call()?;
    Ok(Duration::as_secs_f64(&start.elapsed()))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
