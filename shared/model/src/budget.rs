//! What a training step takes of memory, known before any of it is taken.
//!
//! Counted are the maps that the native operations keep for the backward pass, the largest gradients on the way back, two
//! batches of pixels (the next is drawn ahead), the outputs with their gradients, and all copies of the weights. Burn's own
//! operations, on other devices, keep several times as much. Decoded images have a budget of their own.

use protocol::plan::{Freeze, TrainPlan};
use protocol::train::TrainError;

use crate::architecture::{Architecture, BlockIndex, ConvIndex, TensorIndex};
use crate::fit::trains;

/// Copies of the weights: those handed in, the present ones, their average, leaves, two moments, gradients twice.
const WEIGHT_COPIES: usize = 8;
/// Copies of an output: as tensor, on the host, its gradient on the host and as tensor, their product and its gradient.
const OUTPUT_COPIES: usize = 6;
const VALUE_BYTES: usize = size_of::<f32>();
/// What the process takes before it trains.
const PROCESS_BYTES: usize = 16 << 20;

/// Bytes that training takes at its peak: some, and more for each image that goes through the network at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Whatever the batch.
    pub fixed: usize,
    /// For each image.
    pub per_image: usize,
}

impl Need {
    /// Of training `architecture` with `freeze`.
    pub fn new(architecture: &Architecture, freeze: Freeze) -> Self {
        Walk::new(architecture, freeze).need()
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

/// Refuses a plan whose steps take more than `granted` bytes on a device with `examples` images; nothing is granted without
/// limit.
///
/// # Errors
/// [`TrainError::Memory`] says what would fit. Smaller micro-batches are not taken silently: with batch norm on statistics
/// of the batch they train another model.
pub fn check(
    architecture: &Architecture,
    plan: &TrainPlan,
    examples: usize,
    granted: Option<usize>,
) -> Result<(), TrainError> {
    let images = examples.min(plan.batch as usize).min(plan.micro_batch as usize);
    let need = Need::new(architecture, plan.freeze);
    let megabytes = |bytes: usize| (bytes >> 20) as u64;
    match granted {
        Some(granted) if need.bytes(images) > granted => Err(TrainError::Memory {
            images,
            needed_mb: megabytes(need.bytes(images)) + 1,
            granted_mb: megabytes(granted),
            fits: need.images_within(granted),
        }),
        _ => Ok(()),
    }
}

/// The forward pass in values for one image.
struct Walk<'a> {
    architecture: &'a Architecture,
    freeze: Freeze,
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
    fn new(architecture: &'a Architecture, freeze: Freeze) -> Self {
        Self { architecture, freeze, tracked: false, kept: 0, passing: 0 }
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
        self.operation(input, expanded + input.to(block.stride, hidden).values() + output.values(), output);
        output
    }

    /// A map that is kept as the input of what follows.
    fn sum(&mut self, map: Plane) {
        self.operation(map, 0, map);
    }
}

#[cfg(test)]
mod tests;
