//! What our kernels gain over burn's own operations, block by block: `cargo bench -p model --bench block [-- --cpu]`.
//!
//! Blocks of MobileNetV3-Small at 256 pixels and one of MobileNetV2 for comparison, 8 images, statistics of the batch: forward
//! and backward with all gradients, 40 of ours and 2 of theirs in turn, since some systems count processor time in steps of
//! 4 ms; medians. Each result is one line `figure NAME VALUE UNIT`. Two
//! threads; with `--cpu` processor time of one. `--test` runs each block once.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::time::Duration;

use burn::tensor::{Device, Distribution, Tensor};
use model::device::pool;
use model::ops::{Activation, BatchMoments, BlockArgs, NormArgs, SqueezeArgs, Statistics, native, stock};

#[path = "step/clock.rs"]
mod clock;

use clock::Clock;

const IMAGES: usize = 8;
const PAIRS: usize = 15;
const WARM_UP: usize = 3;

/// A way to run a block.
type Block = fn(Tensor<4>, BlockArgs, Statistics) -> (Tensor<4>, Vec<BatchMoments>);

/// A block as it lies in its network.
struct Case {
    name: &'static str,
    /// Rows and columns of the input.
    side: usize,
    /// Input, hidden and output channels.
    channels: [usize; 3],
    kernel: usize,
    stride: usize,
    squeezed: Option<usize>,
    activation: Activation,
}

const CASES: [Case; 5] = [
    Case {
        name: "v2_3x3",
        side: 32,
        channels: [16, 96, 16],
        kernel: 3,
        stride: 1,
        squeezed: None,
        activation: Activation::Relu6,
    },
    Case {
        name: "v3_3x3_relu",
        side: 32,
        channels: [24, 88, 24],
        kernel: 3,
        stride: 1,
        squeezed: None,
        activation: Activation::Relu,
    },
    Case {
        name: "v3_5x5_stride2",
        side: 32,
        channels: [24, 96, 40],
        kernel: 5,
        stride: 2,
        squeezed: Some(24),
        activation: Activation::HardSwish,
    },
    Case {
        name: "v3_5x5_240",
        side: 16,
        channels: [40, 240, 40],
        kernel: 5,
        stride: 1,
        squeezed: Some(64),
        activation: Activation::HardSwish,
    },
    Case {
        name: "v3_5x5_576",
        side: 8,
        channels: [96, 576, 96],
        kernel: 5,
        stride: 1,
        squeezed: Some(144),
        activation: Activation::HardSwish,
    },
];

fn main() -> anyhow::Result<()> {
    let given = |wanted: &str| std::env::args().any(|arg| arg == wanted);
    let pairs = if given("--test") { 1 } else { PAIRS };
    pool(if given("--cpu") { 1 } else { 2 })?.install(|| CASES.iter().for_each(|case| measure(case, pairs)));
    Ok(())
}

fn measure(case: &Case, pairs: usize) {
    let device = Device::flex().autodiff();
    device.seed(7);
    let (x, args) = tensors(case, &device);
    let steps = |block: Block, repeats: u32| {
        let start = Clock::start();
        for _ in 0..repeats {
            let (y, _) = block(x.clone(), args.clone(), Statistics::Batch);
            drop(x.grad(&y.sum().backward()));
        }
        start.elapsed() / repeats
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        ours.push(steps(native::block, 40));
        theirs.push(steps(stock::block, 2));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let figure = |what: &str, value: f64, unit: &str| {
        println!("figure block/{}/{what} {value:.2} {unit}", case.name);
    };
    figure("native", ours, "ms");
    figure("stock", theirs, "ms");
    figure("stock_over_native", theirs / ours, "x");
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.drain(..WARM_UP.min(times.len() - 1));
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn tensors(case: &Case, device: &Device) -> (Tensor<4>, BlockArgs) {
    let [inputs, hidden, outputs] = case.channels;
    let matrix = |out: usize, from: usize| random([out, from], from, device);
    let norm = |channels: usize| NormArgs {
        gamma: Tensor::ones([channels], device).require_grad(),
        beta: Tensor::zeros([channels], device).require_grad(),
        mean: Tensor::zeros([channels], device),
        var: Tensor::ones([channels], device),
    };
    let linear = |out: usize, from: usize| (matrix(out, from), Tensor::zeros([out], device).require_grad());
    let kernel = random([case.kernel, case.kernel, hidden], case.kernel * case.kernel, device);
    let args = BlockArgs {
        expand: Some((matrix(hidden, inputs), norm(hidden))),
        depthwise: (kernel, norm(hidden)),
        squeeze: case
            .squeezed
            .map(|few| SqueezeArgs { reduce: linear(few, hidden), restore: linear(hidden, few) }),
        project: (matrix(outputs, hidden), norm(outputs)),
        stride: case.stride,
        activation: case.activation,
        output_activation: Activation::None,
        residual: case.stride == 1 && inputs == outputs,
        recompute: false,
    };
    (random([IMAGES, case.side, case.side, inputs], 1, device), args)
}

/// Normal values whose weighted sums over `fan_in` have a deviation of 1.
fn random<const D: usize>(shape: [usize; D], fan_in: usize, device: &Device) -> Tensor<D> {
    let deviation = (1.0 / fan_in as f64).sqrt();
    Tensor::random(shape, Distribution::Normal(0.0, deviation), device).require_grad()
}
