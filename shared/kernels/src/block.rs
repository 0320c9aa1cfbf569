//! The network's unit: an optional 1x1 expansion, a depthwise convolution, a 1x1 projection, each with batch norm.
//!
//! With an expansion and no activation at the end it is MobileNetV2's inverted residual (Sandler et al., arXiv
//! 1801.04381), with a squeeze-excite before the projection MobileNetV3's (Howard et al., arXiv 1905.02244); without an
//! expansion and with an activation at the end it is the separable unit of the neck and the heads.
//!
//! ```text
//! x -> [expand e] ~> [depthwise d] ~> (times factors) -> [project p] ~> y     ~> is a pending affine map with its
//!                                                                               activation
//! ```

mod backward;

pub use backward::backward;

use crate::activation::Activation;
use crate::buffer::{Buffer, Fresh};
use crate::depthwise::{Geometry, check_form, forward::convolve};
use crate::error::{Error, check_dim, check_len};
use crate::gemm::pack::Panels;
use crate::norm::{Moments, Norm, NormGradients, NormMap};
use crate::plan::fused::Fused;
use crate::rows::forward::{Finish, Normed, normed, product};
use crate::rows::pending::Pending;
use crate::rows::source::Source;
use crate::squeeze::{self, Excitation, Squeeze};
use crate::sums::Sums;
use crate::threads::{Output, together};
use crate::{Keep, Map};

/// A convolution's weights and the batch norm after it.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// 1x1: `[outputs, inputs]`; depthwise: `[kernel, kernel, channels]`.
    pub weight: &'a [f32],
    /// Over the outputs.
    pub norm: Norm<'a>,
}

/// Parameters and form of a block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// 1x1 to the hidden width. Without it the hidden width is that of the input.
    pub expand: Option<Layer<'a>>,
    /// A kernel per hidden channel, padded by half of it.
    pub depthwise: Layer<'a>,
    /// Scales the hidden channels before the projection.
    pub squeeze: Option<Squeeze<'a>>,
    /// 1x1 to the output width.
    pub project: Layer<'a>,
    /// Side of the depthwise kernel: 3 or 5.
    pub kernel: usize,
    /// Of the depthwise convolution: 1 or 2.
    pub stride: usize,
    /// After the expansion and after the depthwise convolution.
    pub activation: Activation,
    /// After the projection.
    pub output_activation: Activation,
    /// Adds the input; needs stride 1 and equal widths.
    pub residual: bool,
}

impl<'a> Block<'a> {
    fn layers(&self) -> impl Iterator<Item = Layer<'a>> {
        self.expand.into_iter().chain([self.depthwise, self.project])
    }
}

/// What [`forward`] returns.
#[derive(Debug)]
pub struct Forward {
    /// `[batch, ceil(height / stride), ceil(width / stride), outputs]`.
    pub output: Vec<f32>,
    /// Of the layers with [`crate::Statistics::Batch`], in the order expand, depthwise, project.
    pub moments: Vec<Moments>,
    /// For [`backward`], when asked for.
    pub saved: Option<Saved>,
}

/// What [`backward`] needs of the forward pass: pending maps, and raw convolution outputs unless they are made again.
#[derive(Debug)]
pub struct Saved {
    sizes: Sizes,
    residual: bool,
    expand: Option<NormMap>,
    depthwise: NormMap,
    excitation: Option<Excitation>,
    project: NormMap,
    raws: Option<Raws>,
}

/// Raw convolution outputs.
#[derive(Debug)]
struct Raws {
    expand: Option<Buffer>,
    depthwise: Buffer,
    project: Buffer,
}

/// Weights that [`backward`] needs again, those of the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// `[hidden, inputs]`, if the block expands.
    pub expand: Option<&'a [f32]>,
    /// `[kernel, kernel, hidden]`.
    pub depthwise: &'a [f32],
    /// If the block has a squeeze-excite.
    pub squeeze: Option<squeeze::Weights<'a>>,
    /// `[outputs, hidden]`.
    pub project: &'a [f32],
}

/// Gradients of one layer; each is there if it was wanted.
#[derive(Debug, Default, PartialEq)]
pub struct LayerGradients {
    /// Shaped like the weight.
    pub weight: Option<Vec<f32>>,
    /// Of gamma and beta.
    pub norm: Option<NormGradients>,
}

/// What [`backward`] returns.
#[derive(Debug, PartialEq)]
pub struct Gradients {
    /// `[batch, height, width, inputs]`, if wanted.
    pub input: Option<Vec<f32>>,
    /// If the block expands.
    pub expand: Option<LayerGradients>,
    /// Of the depthwise layer.
    pub depthwise: LayerGradients,
    /// If the block has a squeeze-excite.
    pub squeeze: Option<squeeze::Gradients>,
    /// Of the projection.
    pub project: LayerGradients,
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    map: Map,
    side: usize,
    stride: usize,
    inputs: usize,
    hidden: usize,
    outputs: usize,
}

impl Sizes {
    fn of(map: Map, x: &[f32], block: &Block<'_>) -> Result<Self, Error> {
        check_form(block.kernel, block.stride)?;
        let inputs = map.channels("block input", x)?;
        let (hidden, outputs) = (block.depthwise.norm.gamma.len(), block.project.norm.gamma.len());
        let (side, stride) = (block.kernel, block.stride);
        let sizes = Self { map, side, stride, inputs, hidden, outputs };
        check_dim("depthwise kernel", "channels", hidden)?;
        check_dim("project weight", "outputs", outputs)?;
        map.check("hidden map", hidden)?;
        map.check("block output", outputs)?;
        match &block.expand {
            Some(layer) => {
                check_len("expand weight", layer.weight, hidden * inputs)?;
                layer.norm.check(hidden)?;
            }
            None => check_len("block input", x, sizes.rows() * hidden)?,
        }
        check_len("depthwise kernel", block.depthwise.weight, side * side * hidden)?;
        block.depthwise.norm.check(hidden)?;
        if let Some(squeeze) = &block.squeeze {
            squeeze.check(hidden)?;
        }
        check_len("project weight", block.project.weight, outputs * hidden)?;
        block.project.norm.check(outputs)?;
        if block.residual && (stride != 1 || inputs != outputs) {
            return Err(Error::Residual { stride, inputs, outputs });
        }
        Ok(sizes)
    }

    fn rows(&self) -> usize {
        self.map.pixels()
    }

    fn out_map(&self) -> Map {
        self.map.strided(self.stride)
    }

    fn out_rows(&self) -> usize {
        self.out_map().pixels()
    }

    fn geometry(&self) -> Geometry {
        let Map { batch, height, width } = self.map;
        Geometry { batch, height, width, channels: self.hidden, side: self.side, stride: self.stride }
    }
}

/// A convolution's raw output, and the sums of its moments if they were asked for.
type Raw = (Buffer, Option<Sums>);

impl Sizes {
    fn expand(&self, x: &[f32], weight: &[f32], moments: bool) -> Raw {
        let panels = Panels::transposed(weight, self.inputs, self.hidden);
        let mut raw = Buffer::take(self.rows() * self.hidden);
        let out = Output::new(&mut raw);
        let sums = product(Source::Plain(x), self.rows(), &panels, Finish::Raw, moments, out);
        (raw, sums)
    }

    /// After the expansion with its map, or else of `x`.
    fn depthwise(
        &self,
        x: &[f32],
        expand: Option<(&Buffer, &NormMap)>,
        kernel: &[f32],
        moments: bool,
    ) -> Raw {
        let source = expand.map_or(Source::Plain(x), |(raw, map)| Source::Pending(map.pending(raw)));
        let mut raw = Buffer::take(self.out_rows() * self.hidden);
        let sums = convolve(self.geometry(), source, kernel, moments, Output::new(&mut raw));
        (raw, sums)
    }

    fn project(&self, deep: Source<'_>, weight: &[f32]) -> Buffer {
        let panels = Panels::transposed(weight, self.hidden, self.outputs);
        let mut raw = Buffer::take(self.out_rows() * self.outputs);
        product(deep, self.out_rows(), &panels, Finish::Raw, false, Output::new(&mut raw));
        raw
    }
}

/// Runs `block` on `x`, `[batch, height, width, inputs]`. When nothing is kept, with fixed statistics, the hidden maps never
/// leave the cache (see [`crate::plan`]): a frozen block in front of trained ones costs little.
///
/// # Errors
/// When lengths disagree, a dimension is zero, the kernel is not 3 or 5, the stride not 1 or 2, or a residual does not fit.
pub fn forward(map: Map, x: &[f32], block: &Block<'_>, keep: Keep) -> Result<Forward, Error> {
    let sizes = Sizes::of(map, x, block)?;
    let live = block.layers().any(|layer| layer.norm.live());
    // Of the maps in between a squeeze-excite keeps what it made of them.
    let fused = !live && (keep == Keep::Nothing || keep == Keep::Input && block.squeeze.is_none());
    together(|| if fused { run_fused(sizes, x, block, keep) } else { run(sizes, x, block, keep) })
}

/// In stripes, without hidden maps. Statistics are fixed.
fn run_fused(sizes: Sizes, x: &[f32], block: &Block<'_>, keep: Keep) -> Result<Forward, Error> {
    let (rows, out_rows) = (sizes.rows(), sizes.out_rows());
    let mut output = Fresh::new(out_rows * sizes.outputs);
    Fused::new(sizes.inputs, block)?.run(sizes.map, x, block.residual.then_some(x), output.output());
    let saved = (keep != Keep::Nothing).then(|| Saved {
        sizes,
        residual: block.residual,
        expand: block.expand.map(|layer| layer.norm.map(block.activation, None, rows)),
        depthwise: block.depthwise.norm.map(block.activation, None, out_rows),
        excitation: None,
        project: block.project.norm.map(block.output_activation, None, out_rows),
        raws: None,
    });
    // SAFETY: the fused passes wrote every value.
    Ok(Forward { output: unsafe { output.finish() }, moments: vec![], saved })
}

fn run(sizes: Sizes, x: &[f32], block: &Block<'_>, keep: Keep) -> Result<Forward, Error> {
    let (rows, out_rows) = (sizes.rows(), sizes.out_rows());
    let expand = block.expand.map(|Layer { weight, norm }| {
        let (raw, sums) = sizes.expand(x, weight, norm.live());
        (raw, norm.map(block.activation, sums.as_ref(), rows))
    });
    let Layer { weight, norm } = block.depthwise;
    let before = expand.as_ref().map(|(raw, map)| (raw, map));
    let (depthwise, sums) = sizes.depthwise(x, before, weight, norm.live());
    let depthwise_map = norm.map(block.activation, sums.as_ref(), out_rows);
    let (expand, expand_map) = expand.unzip();
    let expand = expand.filter(|_| keep == Keep::All);
    let excitation = match &block.squeeze {
        Some(op) => {
            Some(Excitation::new(op, depthwise_map.pending(&depthwise), sizes.out_map(), sizes.hidden)?)
        }
        None => None,
    };

    let Layer { weight, norm } = block.project;
    let deep = deep(&depthwise, &depthwise_map, excitation.as_ref());
    let panels = Panels::transposed(weight, sizes.hidden, sizes.outputs);
    let (residual, save) = (block.residual.then_some(x), keep == Keep::All);
    let Normed { output, map: project_map, raw: project } =
        normed(deep, out_rows, &panels, (&norm, block.output_activation), residual, save);
    let maps = expand_map.iter().chain([&depthwise_map, &project_map]);
    let moments = maps.filter_map(|map| map.moments.clone()).collect();
    let raws = match (keep, project) {
        (Keep::All, Some(project)) => Some(Raws { expand, depthwise, project }),
        _ => None,
    };
    let saved = (keep != Keep::Nothing).then(|| Saved {
        sizes,
        residual: block.residual,
        expand: expand_map,
        depthwise: depthwise_map,
        excitation,
        project: project_map,
        raws,
    });
    Ok(Forward { output, moments, saved })
}

impl Saved {
    /// The raw outputs from the block's input, with the maps there are: the passes of [`forward`] without moments, so the
    /// same bits.
    fn again(&self, x: &[f32], weights: &Weights<'_>) -> Raws {
        let sizes = &self.sizes;
        let expand = self.expand.as_ref().map(|map| {
            let (raw, _) = sizes.expand(x, weights.expand.unwrap_or(&[]), false);
            (raw, map)
        });
        let before = expand.as_ref().map(|(raw, map)| (raw, *map));
        let (depthwise, _) = sizes.depthwise(x, before, weights.depthwise, false);
        let deep = deep(&depthwise, &self.depthwise, self.excitation.as_ref());
        let project = sizes.project(deep, weights.project);
        Raws { expand: expand.map(|(raw, _)| raw), depthwise, project }
    }
}

/// What the projection reads.
fn deep<'a>(raw: &'a [f32], map: &'a NormMap, excitation: Option<&'a Excitation>) -> Source<'a> {
    Source::Pending(Pending { factors: excitation.map(Excitation::factors), ..map.pending(raw) })
}
