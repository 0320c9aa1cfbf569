//! What a training step takes of memory, known before any of it is taken.
//!
//! Counted are the maps that the native operations keep for the backward pass, the largest gradients on the way back, two
//! batches of pixels (the next is drawn ahead), the outputs with their gradients, and all copies of the weights. Burn's own
//! operations, on other devices, keep several times as much. Decoded images have a budget of their own.

use std::str::FromStr;

use protocol::plan::{Freeze, TrainPlan};
use protocol::train::TrainError;
use thiserror::Error;

use crate::architecture::{Architecture, BlockIndex, ConvIndex, TensorIndex};
use crate::fit::trains;

/// Copies of the weights: those handed in, the present ones, their average, leaves, two moments, gradients twice.
const WEIGHT_COPIES: usize = 8;
/// Copies of an output: as tensor, on the host, its gradient on the host and as tensor, their product and its gradient.
const OUTPUT_COPIES: usize = 6;
const VALUE_BYTES: usize = size_of::<f32>();
/// What the process takes before it trains.
const PROCESS_BYTES: usize = 16 << 20;

/// When blocks keep their input alone for the backward pass and make the maps in between again.
///
/// It changes no bit of what a step computes with statistics of the batch, and with frozen ones nothing beyond rounding. It is
/// a setting of the device: what it saves and costs is measured by `cargo bench -p model --bench step` (`recompute` figures).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recompute {
    /// When a step does not fit the granted memory otherwise.
    #[default]
    Auto,
    /// In each step.
    Always,
    /// Not at all; a step that does not fit is refused.
    Never,
}

impl Recompute {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("always", Self::Always), ("never", Self::Never)];
}

/// A name that is none of [`Recompute::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("recompute {found:?} is not known, expected auto, always or never")]
pub struct UnknownRecompute {
    /// What was asked for.
    pub found: String,
}

impl FromStr for Recompute {
    type Err = UnknownRecompute;

    fn from_str(text: &str) -> Result<Self, UnknownRecompute> {
        let known = Self::ALL.into_iter().find(|(name, _)| *name == text);
        known
            .map(|(_, choice)| choice)
            .ok_or_else(|| UnknownRecompute { found: text.chars().take(80).collect() })
    }
}

/// Bytes that training takes at its peak: some, and more for each image that goes through the network at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Whatever the batch.
    pub fixed: usize,
    /// For each image.
    pub per_image: usize,
}

impl Need {
    /// Of training `architecture` with `freeze`, keeping the maps within blocks or with `recompute` making them again.
    pub fn new(architecture: &Architecture, freeze: Freeze, recompute: bool) -> Self {
        Walk::new(architecture, freeze, recompute).need()
    }

    /// Bytes with `images` at once.
    pub fn bytes(&self, images: usize) -> usize {
        self.per_image.saturating_mul(images).saturating_add(self.fixed)
    }

    /// Most images at once within `bytes`.
    pub fn images_within(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.fixed) / self.per_image.max(1)
    }
}

/// Whether the steps of `plan` are to recompute, so that they take at most `granted` bytes on a device with `examples` images;
/// without `granted` there is no limit.
///
/// # Errors
/// [`TrainError::Memory`] if that is not enough, with what would fit. Smaller micro-batches are not taken silently: with batch
/// norm on statistics of the batch they train another model.
pub fn settle(
    architecture: &Architecture,
    plan: &TrainPlan,
    examples: usize,
    granted: Option<usize>,
    choice: Recompute,
) -> Result<bool, TrainError> {
    let images = examples.min(plan.batch as usize).min(plan.micro_batch as usize);
    let need = |recompute| Need::new(architecture, plan.freeze, recompute);
    let granted = granted.unwrap_or(usize::MAX);
    let recompute = match choice {
        Recompute::Auto => need(false).bytes(images) > granted,
        Recompute::Always => true,
        Recompute::Never => false,
    };
    let need = need(recompute);
    if need.bytes(images) <= granted {
        return Ok(recompute);
    }
    let megabytes = |bytes: usize| (bytes >> 20) as u64;
    Err(TrainError::Memory {
        images,
        needed_mb: megabytes(need.bytes(images)) + 1,
        granted_mb: megabytes(granted),
        fits: need.images_within(granted),
    })
}

/// The forward pass in values for one image.
struct Walk<'a> {
    architecture: &'a Architecture,
    freeze: Freeze,
    recompute: bool,
    /// Whether something before trains, so that operations keep what backward needs.
    tracked: bool,
    kept: usize,
    /// The most that an operation needs besides.
    passing: usize,
}

/// Pixels of a map along one side, and its channels.
#[derive(Clone, Copy)]
struct Plane {
    side: usize,
    channels: usize,
}

impl Plane {
    fn values(self) -> usize {
        self.side * self.side * self.channels
    }

    fn to(self, stride: usize, channels: usize) -> Self {
        Self { side: self.side.div_ceil(stride), channels }
    }
}

impl<'a> Walk<'a> {
    fn new(architecture: &'a Architecture, freeze: Freeze, recompute: bool) -> Self {
        Self { architecture, freeze, recompute, tracked: false, kept: 0, passing: 0 }
    }

    fn need(mut self) -> Need {
        let Architecture { blocks, neck, head, layout, .. } = self.architecture;
        let pixels = Plane { side: self.architecture.pixels() as usize, channels: 3 };
        let mut x = self.conv(pixels, &self.architecture.stem, 2);
        let mut levels = Vec::new();
        for (block, tap) in blocks {
            x = self.block(x, block);
            if tap.is_some() {
                levels.push(x);
            }
        }
        for (level, lateral) in levels.iter_mut().zip(&neck.lateral) {
            *level = self.conv(*level, lateral, 1);
        }
        for (level, unit) in levels.iter().zip(&neck.top_down) {
            self.sum(*level);
            self.block(*level, unit);
        }
        for (level, (down, merge)) in levels.windows(2).zip(&neck.bottom_up) {
            self.block(level[0], down);
            self.sum(level[1]);
            self.block(level[1], merge);
        }
        for (level, units) in levels.iter().zip(&head.units) {
            let features = units.iter().fold(*level, |x, unit| self.block(x, unit));
            // All levels behind each other.
            self.sum(features);
        }
        let outputs = self.architecture.grid().len() * (2 * self.architecture.classes().len() + 4);
        let values = self.kept + self.passing + 2 * pixels.values() + OUTPUT_COPIES * outputs;
        // An eighth lies in recycled buffers that are too large or too small for the next user.
        let bytes = |values: usize| values * VALUE_BYTES / 8 * 9;
        Need { fixed: PROCESS_BYTES + bytes(WEIGHT_COPIES * layout.len()), per_image: bytes(values) }
    }

    fn shape(&self, index: TensorIndex) -> &'a [usize] {
        &self.architecture.layout.tensors()[index].spec.shape
    }

    fn track(&mut self, conv: &ConvIndex) {
        let mut tensors = [conv.weight, conv.norm.gamma].into_iter();
        self.tracked |= tensors.any(|index| trains(self.freeze, self.architecture.parts[index]));
    }

    /// An operation that keeps `kept` besides its output.
    fn operation(&mut self, input: Plane, kept: usize, output: Plane) {
        let maps = kept + output.values();
        if self.tracked {
            self.kept += maps;
        }
        // Backward has a gradient for each map. Without one, the maps themselves are only passing.
        self.passing = self.passing.max(input.values() + maps);
    }

    fn conv(&mut self, input: Plane, conv: &ConvIndex, stride: usize) -> Plane {
        self.track(conv);
        let output = input.to(stride, self.shape(conv.norm.gamma)[0]);
        self.operation(input, output.values(), output);
        output
    }

    fn block(&mut self, input: Plane, block: &BlockIndex) -> Plane {
        for conv in block.expand.iter().chain([&block.depthwise, &block.project]) {
            self.track(conv);
        }
        let hidden = self.shape(block.depthwise.norm.gamma)[0];
        let expanded = if block.expand.is_some() { input.to(1, hidden).values() } else { 0 };
        let output = input.to(block.stride, self.shape(block.project.norm.gamma)[0]);
        let raw = expanded + input.to(block.stride, hidden).values() + output.values();
        if self.recompute && self.tracked {
            self.kept += output.values();
            // Backward makes the maps again, and a gradient for each; more than that lies in recycled buffers of other sizes.
            self.passing = self.passing.max(input.values() + 7 * raw / 2 + output.values());
        } else {
            self.operation(input, raw, output);
        }
        output
    }

    /// A map that is kept as the input of what follows.
    fn sum(&mut self, map: Plane) {
        self.operation(map, 0, map);
    }
}

#[cfg(test)]
mod tests;
