//! What is saved when parts of the network do not learn: forward and backward with fixed statistics.

use std::time::Duration;

use dataset::augment::AugmentSpec;
use detection::Phase;
use model::examples::{Examples, Order};
use model::loss;
use model::ops::Statistics;
use model::weights::Weights;
use model::{Architecture, Backend};
use protocol::plan::ClassLoss;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Clock, median};

/// Number of the backbone block a tensor belongs to; the stem is 0.
fn block(name: &str) -> Option<usize> {
    let rest = name.strip_prefix("backbone.")?;
    rest.split('.').next()?.parse().ok()
}

pub(super) fn measure(
    architecture: &Architecture,
    examples: &Examples,
    (batch, steps): (usize, usize),
    values: &[f32],
    figure: impl Fn(&str, f64, &str),
) -> anyhow::Result<()> {
    let name = |index: usize| architecture.layout().tensors()[index].spec.name.as_str();
    let blocks = (0..architecture.layout().tensors().len()).filter_map(|index| block(name(index))).max();
    let half = blocks.unwrap_or(0) / 2;
    let late = |index: usize| match block(name(index)) {
        Some(block) => block > half,
        None => !name(index).starts_with("stem"),
    };
    let head = |index: usize| name(index).starts_with("head") || name(index).starts_with("personal");
    let all = |_: usize| true;
    let sets: [(&str, &dyn Fn(usize) -> bool); 3] =
        [("gradients_all", &all), ("gradients_late_half", &late), ("gradients_head", &head)];
    let config = loss::config(ClassLoss::QualityFocal);
    let order: Vec<usize> = (0..batch).collect();
    for (set, chosen) in sets {
        let learns = |index: usize| {
            let statistic = name(index).ends_with(".mean") || name(index).ends_with(".var");
            chosen(index) && !statistic
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut times: Vec<Duration> = Vec::with_capacity(steps);
        for _ in 0..steps {
            let mut drawn = examples.draw(&Order::new(&order, false, &mut rng), &AugmentSpec::default())?;
            let start = Clock::start();
            let weights = Weights::trainable(architecture.layout(), values, &Backend::Flex.device(), learns);
            let pixels = drawn.take_pixels(&weights.device());
            let outputs = architecture.forward(&weights, pixels, Statistics::Fixed);
            loss::backward(architecture, &config, Phase::TaskAligned, outputs, &drawn)?;
            times.push(start.elapsed());
        }
        figure(set, median(times), "ms");
    }
    Ok(())
}
