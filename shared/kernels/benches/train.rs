//! Speed of the MobileNetV2 feature extractor, kernels only: training (forward, backward, plain SGD) and inference.
//!
//! `cargo bench -p kernels` prints `figure kernels/train/w1.0@96b8 VALUE img/s` and the like, the median of several
//! steps on two threads (`--threads N`), and the peak memory of the process so far (Linux). `--test` runs tiny inputs
//! once. `--only NAME` picks one configuration, `--kind train_recompute|train_frozen_recompute|train|train_frozen|infer` one use. `--cpu` counts the processor
//! time of one thread instead of elapsed time (Linux) and prints the fastest, for a machine that others use.

use kernels::block::{self, Block, Layer, LayerGradients, Weights};
use kernels::pointwise::{self, Pointwise};
use kernels::stem::{self, Stem};
use kernels::{
    Activation, EPSILON, InferencePlan, Isa, Keep, Map, Norm, NormGradients, PlanBuilder, Statistics, Wanted,
};
use std::time::{Duration, Instant};

/// (expansion, channels at width 1, repeats, stride of the first): MobileNetV2, table 2.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

struct Norms {
    gamma: Vec<f32>,
    beta: Vec<f32>,
    mean: Vec<f32>,
    var: Vec<f32>,
}

impl Norms {
    fn new(channels: usize) -> Self {
        Self {
            gamma: vec![1.0; channels],
            beta: vec![0.0; channels],
            mean: vec![0.0; channels],
            var: vec![1.0; channels],
        }
    }

    fn norm(&self, live: bool) -> Norm<'_> {
        let statistics = match live {
            true => Statistics::Batch,
            false => Statistics::Fixed { mean: &self.mean, var: &self.var },
        };
        Norm { gamma: &self.gamma, beta: &self.beta, statistics, epsilon: EPSILON }
    }

    fn step(&mut self, gradients: Option<NormGradients>) {
        if let Some(gradients) = gradients {
            descend(&mut self.gamma, Some(gradients.gamma));
            descend(&mut self.beta, Some(gradients.beta));
        }
    }
}

fn descend(weights: &mut [f32], gradient: Option<Vec<f32>>) {
    for (w, g) in weights.iter_mut().zip(gradient.unwrap_or_default()) {
        *w -= 1e-3 * g;
    }
}

struct Weighted {
    weight: Vec<f32>,
    norm: Norms,
}

impl Weighted {
    fn new(random: &mut u64, len: usize, fan: usize, channels: usize) -> Self {
        let bound = (6.0 / fan as f32).sqrt();
        Self { weight: values(random, len, -bound, bound), norm: Norms::new(channels) }
    }

    fn layer(&self, live: bool) -> Layer<'_> {
        Layer { weight: &self.weight, norm: self.norm.norm(live) }
    }

    fn step(&mut self, gradients: LayerGradients) {
        descend(&mut self.weight, gradients.weight);
        self.norm.step(gradients.norm);
    }
}

fn values(random: &mut u64, len: usize, low: f32, high: f32) -> Vec<f32> {
    let mut next = || {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (high - low) * ((*random >> 40) as f32 / (1u64 << 24) as f32)
    };
    (0..len).map(|_| next()).collect()
}

struct Unit {
    expand: Option<Weighted>,
    depthwise: Weighted,
    project: Weighted,
    stride: usize,
    residual: bool,
}

impl Unit {
    fn block(&self, live: bool) -> Block<'_> {
        Block {
            expand: self.expand.as_ref().map(|e| e.layer(live)),
            depthwise: self.depthwise.layer(live),
            squeeze: None,
            project: self.project.layer(live),
            kernel: 3,
            stride: self.stride,
            activation: Activation::Relu6,
            output_activation: Activation::None,
            residual: self.residual,
        }
    }
}

struct Network {
    stem: Weighted,
    units: Vec<Unit>,
    last: Weighted,
}

/// Channels at width `width`, a multiple of eight that loses at most a tenth.
fn scaled(channels: usize, width: f32) -> usize {
    let exact = channels as f32 * width;
    let rounded = ((exact / 8.0 + 0.5).floor() as usize * 8).max(8);
    if (rounded as f32) < 0.9 * exact { rounded + 8 } else { rounded }
}

impl Network {
    fn new(width: f32) -> Self {
        let random = &mut 1u64;
        let mut inputs = scaled(32, width);
        let stem = Weighted::new(random, 27 * inputs, 27, inputs);
        let mut units = Vec::new();
        for (expansion, channels, repeats, first_stride) in STAGES {
            let outputs = scaled(channels, width);
            for i in 0..repeats {
                let (hidden, stride) = (inputs * expansion, if i == 0 { first_stride } else { 1 });
                let mut weighted = |len, fan, channels| Weighted::new(random, len, fan, channels);
                units.push(Unit {
                    expand: (expansion > 1).then(|| weighted(hidden * inputs, inputs, hidden)),
                    depthwise: weighted(9 * hidden, 9, hidden),
                    project: weighted(outputs * hidden, hidden, outputs),
                    stride,
                    residual: stride == 1 && inputs == outputs,
                });
                inputs = outputs;
            }
        }
        let outputs = if width > 1.0 { scaled(1280, width) } else { 1280 };
        Self { stem, units, last: Weighted::new(random, outputs * inputs, inputs, outputs) }
    }

    /// One step; the loss is the mean of the output.
    fn step(&mut self, map: Map, image: &[f32], live: bool, keep: Keep) {
        let wanted = Wanted { affine: live, ..Wanted::ALL };
        let op = Stem {
            weight: &self.stem.weight,
            norm: self.stem.norm.norm(live),
            activation: Activation::Relu6,
        };
        let stem_run = stem::forward(map, image, &op, true).expect("shapes agree");
        let mut at = map.strided(2);
        let mut maps = vec![];
        let mut inputs = vec![stem_run.output];
        let mut saved = vec![];
        for unit in &self.units {
            maps.push(at);
            let run = block::forward(at, inputs.last().expect("the stem's"), &unit.block(live), keep);
            let run = run.expect("shapes agree");
            saved.extend(run.saved);
            inputs.push(run.output);
            at = at.strided(unit.stride);
        }
        let x = inputs.pop().expect("the last block's");
        let op = Pointwise {
            weight: &self.last.weight,
            norm: self.last.norm.norm(live),
            activation: Activation::Relu6,
        };
        let run = pointwise::forward(at, &x, &op, true).expect("shapes agree");
        let gradient = vec![1.0 / run.output.len() as f32; run.output.len()];
        let last_saved = run.saved.expect("saved");
        drop(run.output);
        let back = pointwise::backward(&last_saved, &x, &self.last.weight, &gradient, wanted);
        let back = back.expect("shapes agree");
        descend(&mut self.last.weight, back.weight);
        self.last.norm.step(back.norm);
        drop(x);
        let mut gradient = back.input.expect("wanted");
        for unit in self.units.iter_mut().rev() {
            let (x, saved) = (inputs.pop().expect("one per block"), saved.pop().expect("one per block"));
            let weights = Weights {
                expand: unit.expand.as_ref().map(|e| &e.weight[..]),
                depthwise: &unit.depthwise.weight,
                squeeze: None,
                project: &unit.project.weight,
            };
            let back = block::backward(&saved, &x, &weights, &gradient, wanted).expect("shapes agree");
            if let (Some(expand), Some(gradients)) = (&mut unit.expand, back.expand) {
                expand.step(gradients);
            }
            unit.depthwise.step(back.depthwise);
            unit.project.step(back.project);
            gradient = back.input.expect("wanted");
        }
        let saved = stem_run.saved.expect("saved");
        let back = stem::backward(&saved, image, &gradient, wanted).expect("shapes agree");
        descend(&mut self.stem.weight, back.weight);
        self.stem.norm.step(back.norm);
    }

    fn plan(&self) -> InferencePlan {
        let mut b = PlanBuilder::new(3).expect("three channels");
        let op = Stem {
            weight: &self.stem.weight,
            norm: self.stem.norm.norm(false),
            activation: Activation::Relu6,
        };
        let mut x = b.stem(b.input(), &op).expect("shapes agree");
        for unit in &self.units {
            x = b.block(x, &unit.block(false), None).expect("shapes agree");
        }
        let op = Pointwise {
            weight: &self.last.weight,
            norm: self.last.norm.norm(false),
            activation: Activation::Relu6,
        };
        let x = b.pointwise(x, &op).expect("shapes agree");
        b.finish(&[x])
    }
}

/// Time since some moment: elapsed, or spent by this thread (to a few milliseconds).
fn clock(cpu: bool, start: Instant) -> Duration {
    if cpu {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let nanoseconds = text.split(' ').next().and_then(|n| n.parse().ok());
        Duration::from_nanos(nanoseconds.expect("--cpu needs Linux"))
    } else {
        start.elapsed()
    }
}

/// Typical time of `work` after three runs to warm up: the median of at least ten and at most four seconds of them.
/// Processor time is too coarse for a single run: the fastest of several samples of 200 ms.
fn typical(test: bool, cpu: bool, mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    if test {
        work();
        return start.elapsed();
    }
    let (sample, enough) = if cpu { (Duration::from_millis(200), 4) } else { (Duration::ZERO, 10) };
    (0..3).for_each(|_| work());
    let mut samples = Vec::new();
    while samples.len() < enough || start.elapsed() < Duration::from_secs(4) {
        let before = clock(cpu, start);
        let mut runs = 0;
        samples.push(loop {
            work();
            runs += 1;
            let spent = clock(cpu, start) - before;
            if spent >= sample {
                break spent / runs;
            }
        });
    }
    samples.sort_unstable();
    samples[if cpu { 0 } else { samples.len() / 2 }]
}

/// Peak memory of this process in MiB, where the system tells.
fn peak_memory() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
}

#[expect(clippy::print_stdout, reason = "a benchmark's figures go to standard output")]
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().position(|a| a == name).and_then(|i| arguments.get(i + 1));
    let test = arguments.iter().any(|a| a == "--test");
    let cpu = arguments.iter().any(|a| a == "--cpu");
    let threads = if cpu { 1 } else { after("--threads").and_then(|n| n.parse().ok()).unwrap_or(2) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
    println!("instruction set {}, {threads} threads", Isa::current().name());
    for (width, side, batch) in [(1.0, 96, 8), (1.0, 224, 8), (0.5, 256, 8), (0.35, 96, 16), (1.0, 224, 1)] {
        let name = format!("w{width:?}@{side}b{batch}");
        if after("--only").is_some_and(|only| *only != name) {
            continue;
        }
        let (side, batch) = if test { (33, 2) } else { (side, batch) };
        let map = Map { batch, height: side, width: side };
        let image = values(&mut 2, map.pixels() * 3, -1.0, 1.0);
        let mut network = Network::new(width);
        let mut report = |kind: &str, work: &mut (dyn FnMut(&mut Network) + Send)| {
            if after("--kind").is_some_and(|only| only != kind) {
                return;
            }
            let time = pool.install(|| typical(test, cpu, || work(&mut network)));
            println!("figure kernels/{kind}/{name} {:.1} img/s", batch as f64 / time.as_secs_f64());
            if let Some(memory) = peak_memory() {
                println!("figure kernels/rss/{kind}/{name} {memory:.1} MiB");
            }
        };
        // From the least memory to the most: the peak is the process's so far.
        report("train_recompute", &mut |n| n.step(map, &image, true, Keep::Input));
        report("train_frozen_recompute", &mut |n| n.step(map, &image, false, Keep::Input));
        report("train", &mut |n| n.step(map, &image, true, Keep::All));
        report("train_frozen", &mut |n| n.step(map, &image, false, Keep::All));
        let plan = Network::new(width).plan();
        report("infer", &mut |_| {
            std::hint::black_box(plan.run(map, &image).expect("shapes agree"));
        });
    }
}
