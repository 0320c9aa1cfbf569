//! A block in stripes: a few rows of the hidden maps at a time, from expansion to projection, in one part's scratch.
//!
//! ```text
//! x --expand--> hidden rows, a border of zeros around --depthwise--> rows --project--> output rows
//! ```
//!
//! In place of the expansion there may be the network's stem, or nothing. A squeeze-excite needs the whole map before it
//! scales any of it: then the stripes end with the depthwise convolution, and the projection is a pass of its own.

mod stripes;
mod tiling;

use super::{Dense, fold, fold_pointwise, pad};
use crate::Map;
use crate::activation::Activation;
use crate::block::Block;
use crate::buffer::Buffer;
use crate::depthwise::{check_form, pad_kernel};
use crate::error::{Error, check_dim, check_len};
use crate::norm::NormMap;
use crate::rows::pending::{Factors, Pending};
use crate::rows::source::Source;
use crate::squeeze::{self, Squeeze};
use crate::threads::Output;

/// How the input becomes the hidden map.
#[derive(Debug)]
enum Enter {
    /// It is the hidden map.
    Plain,
    /// By a 1x1 convolution.
    Expand(Dense),
    /// By the network's stem: the input is an image.
    Stem(Dense),
}

/// A block with folded and packed weights.
#[derive(Debug)]
pub(crate) struct Fused {
    inputs: usize,
    hidden: usize,
    outputs: usize,
    /// Of the depthwise kernel.
    side: usize,
    stride: usize,
    enter: Enter,
    /// `[side, side, padded hidden]`.
    kernel: Buffer,
    /// Padded.
    offset: Buffer,
    /// After the depthwise convolution.
    activation: Activation,
    excite: Option<Excite>,
    project: Dense,
}

/// A squeeze-excite with packed weights.
#[derive(Debug)]
struct Excite {
    reduce: Dense,
    restore: Dense,
}

impl Excite {
    fn new(op: &Squeeze<'_>) -> Self {
        Self {
            reduce: Dense::linear(op.reduce.weight, op.reduce.bias, Activation::Relu),
            restore: Dense::linear(op.restore.weight, op.restore.bias, Activation::None),
        }
    }

    /// `[images, padded channels]` of the finished map `deep`.
    fn factors(&self, deep: Pending<'_>, map: Map, channels: usize) -> Buffer {
        let means = squeeze::means(deep, map, channels);
        let mut squeezed = Buffer::take(map.batch * self.reduce.panels.n());
        self.reduce.run(Source::Plain(&means), map.batch, None, Output::new(&mut squeezed));
        let mut restored = Buffer::take(map.batch * channels);
        self.restore.run(Source::Plain(&squeezed), map.batch, None, Output::new(&mut restored));
        squeeze::factors(&restored, channels)
    }
}

impl Fused {
    pub(crate) fn new(inputs: usize, block: &Block<'_>) -> Result<Self, Error> {
        check_form(block.kernel, block.stride)?;
        let side = block.kernel;
        let hidden = block.depthwise.norm.gamma.len();
        check_dim("depthwise kernel", "channels", hidden)?;
        check_len("depthwise kernel", block.depthwise.weight, side * side * hidden)?;
        let enter = match &block.expand {
            Some(layer) => {
                if layer.norm.gamma.len() != hidden {
                    let found = layer.norm.gamma.len();
                    return Err(Error::Length { tensor: "expand norm", expected: hidden, found });
                }
                let activation = block.activation;
                Enter::Expand(fold_pointwise(layer.weight, &layer.norm, inputs, activation, "expand weight")?)
            }
            None if inputs != hidden => {
                return Err(Error::Length { tensor: "block input", expected: hidden, found: inputs });
            }
            None => Enter::Plain,
        };
        let (scale, offset) = fold(&block.depthwise.norm, "depthwise")?;
        let scaled: Vec<f32> =
            block.depthwise.weight.iter().zip(scale.iter().cycle()).map(|(w, scale)| w * scale).collect();
        let layer = &block.project;
        let activation = block.output_activation;
        let project = fold_pointwise(layer.weight, &layer.norm, hidden, activation, "project weight")?;
        let outputs = layer.norm.gamma.len();
        if block.residual && (block.stride != 1 || inputs != outputs) {
            return Err(Error::Residual { stride: block.stride, inputs, outputs });
        }
        if let Some(squeeze) = &block.squeeze {
            squeeze.check(hidden)?;
        }
        Ok(Self {
            inputs,
            hidden,
            outputs,
            side,
            stride: block.stride,
            enter,
            kernel: pad_kernel(&scaled, side, hidden),
            offset: pad(&offset),
            activation: block.activation,
            excite: block.squeeze.as_ref().map(Excite::new),
            project,
        })
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn hidden(&self) -> usize {
        self.hidden
    }

    /// Whether nothing stands before the depthwise convolution.
    pub(crate) fn begins_depthwise(&self) -> bool {
        matches!(self.enter, Enter::Plain)
    }

    /// Puts the stem that made the input so far into the block.
    pub(super) fn absorb(&mut self, stem: Dense) {
        self.inputs = stem.panels.k() / 9;
        self.enter = Enter::Stem(stem);
    }

    /// The hidden map for an input of `from`.
    pub(crate) fn hidden_map(&self, from: Map) -> Map {
        if matches!(self.enter, Enter::Stem(_)) { from.strided(2) } else { from }
    }

    /// Values of a row of the product that makes the hidden map.
    fn taken(&self) -> usize {
        match &self.enter {
            Enter::Plain => self.inputs,
            Enter::Expand(dense) | Enter::Stem(dense) => dense.panels.k(),
        }
    }

    /// Writes every value of `out`; `x` is `[from, inputs]`.
    pub(crate) fn run(&self, from: Map, x: &[f32], plus: Option<&[f32]>, out: Output<'_>) {
        let to = self.hidden_map(from).strided(self.stride);
        assert_eq!(x.len(), from.pixels() * self.inputs, "input fits the map");
        assert_eq!(out.len(), to.pixels() * self.outputs, "output fits the map");
        assert!(plus.is_none_or(|plus| plus.len() == out.len()), "the added map is shaped like the output");
        let Some(excite) = &self.excite else { return stripes::run(self, from, x, plus, out) };
        let mut deep = Buffer::take(to.pixels() * self.hidden);
        stripes::run(self, from, x, None, Output::new(&mut deep));
        let map = NormMap::identity(to.pixels(), self.hidden);
        let deep = map.pending(&deep);
        let values = excite.factors(deep, to, self.hidden);
        let factors = Some(Factors { values: &values, pixels: to.height * to.width });
        self.project.run(Source::Pending(Pending { factors, ..deep }), to.pixels(), plus, out);
    }
}
