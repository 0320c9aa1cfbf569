//! A detector as data: which tensors it has, in which order, and how they connect.
//!
//! ```text
//! backbone.0            stem: 3x3 convolution, stride 2
//! backbone.1 ..         inverted residuals, numbered as torchvision numbers the features of MobileNets
//! neck.lateral8 ..      1x1 convolution + batch norm (no activation) of each tapped map to the neck's channels
//! neck.top_down8 ..     after adding the coarser map, enlarged: a unit, per stride but the coarsest
//! neck.bottom_up16 ..   a unit of stride 2 from the finer map, per stride but the finest
//! neck.merge16 ..       after adding it to the top-down map: a unit
//! head.0 ..             units, the same for every level
//! head.class, head.box  1x1 convolutions with bias: logits, and the four box distances before softplus
//! personal.head.class   the device's own class layer on the same features
//! ```
//!
//! An inverted residual is, in this order, `expand` (1x1, where it widens), `depthwise`, `squeeze.reduce` and `squeeze.restore`
//! (the matrices of a squeeze-excite, with biases, where it has one) and `project` (1x1).
//!
//! A unit is a 3x3 depthwise and a 1x1 convolution, each with batch norm and ReLU6. The head's units share weights, scales
//! and shifts over the levels but keep running statistics per level: a batch norm is trained with one level at a time, and
//! statistics mixed over levels would fit none of them.
//!
//! Running statistics are of scope `Statistic`, in pairs `mean`, `var` that lie next to each other.

use std::sync::Arc;

use detection::LocationGrid;
use detection::grid::GridError;
use params::{Layout, LayoutError, Scope};
use protocol::plan::ModelSpec;
use thiserror::Error;

use crate::ops::Activation;
use crate::preset::{Preset, PresetError, Shape};
use builder::Builder;

mod backbone;
mod builder;

pub use backbone::Backbone;

/// Index of a tensor in the layout.
pub type TensorIndex = usize;

/// Where the tensors of a batch norm lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormIndex {
    /// Scale.
    pub gamma: TensorIndex,
    /// Shift.
    pub beta: TensorIndex,
    /// Running mean.
    pub mean: TensorIndex,
    /// Running biased variance.
    pub var: TensorIndex,
}

/// A convolution's weight and the batch norm after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvIndex {
    /// Weight.
    pub weight: TensorIndex,
    /// The batch norm.
    pub norm: NormIndex,
}

/// A convolution or matrix with bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearIndex {
    /// Weight.
    pub weight: TensorIndex,
    /// Bias.
    pub bias: TensorIndex,
}

/// Where the matrices of a squeeze-excite lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqueezeIndex {
    /// Hidden channels to fewer.
    pub reduce: LinearIndex,
    /// And back.
    pub restore: LinearIndex,
}

/// An inverted residual, or a unit when nothing is expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockIndex {
    /// 1x1 expansion.
    pub expand: Option<ConvIndex>,
    /// Depthwise; the weight's shape says how large.
    pub depthwise: ConvIndex,
    /// Squeeze-excite.
    pub squeeze: Option<SqueezeIndex>,
    /// 1x1 projection.
    pub project: ConvIndex,
    /// Stride of the depthwise convolution.
    pub stride: usize,
    /// After the expansion and the depthwise convolution.
    pub activation: Activation,
    /// After the projection.
    pub output_activation: Activation,
    /// Whether the input is added to the output.
    pub residual: bool,
}

/// The part of the detector a tensor belongs to, in the order in which freezing lets go of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Weights of the backbone's 1x1 convolutions and squeeze-excites behind its finest tapped level.
    Deep,
    /// The rest of the feature extractor.
    Backbone,
    /// Levels made to know of each other.
    Neck,
    /// Shared units and output layers.
    Head,
    /// The device's own class layer.
    Personal,
}

/// What a tensor is to initialisation and to the optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// Convolution followed by batch norm, or matrix of a squeeze-excite.
    Convolution {
        /// Output channels times taps of the filter.
        fan_out: usize,
    },
    /// Weight of an output layer.
    Output,
    /// Scale of a batch norm.
    Scale,
    /// Shift of a batch norm.
    Shift,
    /// Bias of a squeeze-excite.
    Bias,
    /// Bias of a class layer.
    ClassBias,
    /// Bias of the box layer.
    BoxBias,
    /// Running mean.
    Mean,
    /// Running variance.
    Variance,
}

impl Role {
    /// Whether weight decay applies: to weights alone.
    pub fn decays(self) -> bool {
        matches!(self, Self::Convolution { .. } | Self::Output)
    }

    /// Whether it is learnt by gradients, which statistics are not.
    pub fn learns(self) -> bool {
        !matches!(self, Self::Mean | Self::Variance)
    }
}

/// The neck: its lists run over levels, finest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeckIndex {
    /// One per level.
    pub lateral: Vec<ConvIndex>,
    /// One per level but the coarsest.
    pub top_down: Vec<BlockIndex>,
    /// One per level but the finest: the unit of stride 2 and the unit after the sum. Empty without a bottom-up path.
    pub bottom_up: Vec<(BlockIndex, BlockIndex)>,
}

/// The head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadIndex {
    /// Units per level; levels differ only in where their statistics lie.
    pub units: Vec<Vec<BlockIndex>>,
    /// Shared class layer.
    pub class: LinearIndex,
    /// Box layer.
    pub boxes: LinearIndex,
    /// The device's own class layer.
    pub personal: LinearIndex,
}

/// A detector of a given size for given classes.
#[derive(Clone, Debug)]
pub struct Architecture {
    pub(crate) preset: Preset,
    pub(crate) classes: Vec<String>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) parts: Vec<Part>,
    pub(crate) roles: Vec<Role>,
    pub(crate) stem: ConvIndex,
    pub(crate) stem_activation: Activation,
    /// Blocks with, where their output is tapped, the level it becomes.
    pub(crate) blocks: Vec<(BlockIndex, Option<usize>)>,
    pub(crate) neck: NeckIndex,
    pub(crate) head: HeadIndex,
    pub(crate) grid: LocationGrid,
}

/// Why a detector cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ArchitectureError {
    /// No such preset.
    #[error(transparent)]
    Preset(#[from] PresetError),
    /// No classes, too many, or one twice.
    #[error("cannot build a class layer: {0}")]
    Classes(String),
    /// More tensors or values than a layout may have.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// An input that no grid of locations covers.
    #[error(transparent)]
    Grid(#[from] GridError),
}

impl Architecture {
    /// Builds the detector of a run.
    ///
    /// # Errors
    /// An unknown preset; no class names, repeated ones, or more than a run may have.
    pub fn new(spec: &ModelSpec) -> Result<Self, ArchitectureError> {
        Self::with_classes(Preset::parse(&spec.preset)?, &spec.classes)
    }

    /// Builds `preset` for `classes`.
    ///
    /// # Errors
    /// No class names, repeated ones, or more than a run may have.
    pub fn with_classes(preset: Preset, classes: &[String]) -> Result<Self, ArchitectureError> {
        let error = |what: String| Err(ArchitectureError::Classes(what));
        let max = protocol::limits::CLASSES_MAX;
        if classes.is_empty() {
            return error("the run has no classes".to_owned());
        }
        if classes.len() > max {
            return error(format!("{} classes, at most {max} are possible", classes.len()));
        }
        if let Some(name) =
            classes.iter().enumerate().find_map(|(i, c)| classes[..i].contains(c).then_some(c))
        {
            return error(format!("class {name:?} appears twice"));
        }
        let Shape { backbone, strides, channels, bottom_up, head_units } = preset.entry.shape;
        let mut b = Builder::default();
        let backbone::Built { stem, stem_activation, blocks, tapped } =
            backbone::build(&mut b, backbone, strides);

        let lateral = strides
            .iter()
            .zip(&tapped)
            .map(|(stride, &from)| b.conv(Part::Neck, &format!("neck.lateral{stride}"), &[channels, from]))
            .collect();
        let mut unit = |name: String, stride: usize| b.unit(Part::Neck, &name, channels, stride);
        let finer = &strides[..strides.len() - 1];
        let top_down = finer.iter().map(|stride| unit(format!("neck.top_down{stride}"), 1)).collect();
        let coarser = if bottom_up { &strides[1..] } else { &[] };
        let bottom_up = coarser
            .iter()
            .map(|at| (unit(format!("neck.bottom_up{at}"), 2), unit(format!("neck.merge{at}"), 1)))
            .collect();
        let neck = NeckIndex { lateral, top_down, bottom_up };

        let units = b.shared_units(channels, head_units, strides);
        let class = b.linear(Part::Head, "head.class", classes.len(), channels, Role::ClassBias);
        let boxes = b.linear(Part::Head, "head.box", 4, channels, Role::BoxBias);
        let personal =
            b.linear(Part::Personal, "personal.head.class", classes.len(), channels, Role::ClassBias);
        let head = HeadIndex { units, class, boxes, personal };

        let grid = LocationGrid::new(preset.pixels, preset.pixels, strides)?;
        let layout = Layout::new(b.specs)?;
        Ok(Self {
            preset,
            classes: classes.to_vec(),
            layout: Arc::new(layout),
            parts: b.parts,
            roles: b.roles,
            stem,
            stem_activation,
            blocks,
            neck,
            head,
            grid,
        })
    }

    /// The preset with its input size.
    pub fn preset(&self) -> Preset {
        self.preset
    }

    /// Side of the square input in pixels.
    pub fn pixels(&self) -> u32 {
        self.preset.pixels
    }

    /// Class names in the order of the class layers' outputs.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// All tensors, of all scopes.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Where the predictions sit in the input.
    pub fn grid(&self) -> &LocationGrid {
        &self.grid
    }

    /// What the spec of this detector is.
    pub fn spec(&self) -> ModelSpec {
        ModelSpec { preset: self.preset.to_string(), classes: self.classes.clone() }
    }

    /// Number of shared values: what the literature calls parameters.
    pub fn parameters(&self) -> usize {
        let shared = self.layout.tensors().iter().filter(|tensor| tensor.spec.scope == Scope::Shared);
        shared.map(|tensor| tensor.len).sum()
    }

    /// Number of shared values of one part.
    pub fn parameters_of(&self, part: Part) -> usize {
        let tensors = self.layout.tensors().iter().zip(&self.parts);
        let of_part = tensors.filter(|(tensor, of)| **of == part && tensor.spec.scope == Scope::Shared);
        of_part.map(|(tensor, _)| tensor.len).sum()
    }
}

#[cfg(test)]
mod tests;
