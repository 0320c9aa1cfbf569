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

use crate::Map;
use crate::activation::Activation;
use crate::buffer::{Buffer, Fresh};
use crate::depthwise::{Geometry, check_form, forward::convolve};
use crate::error::{Error, check_dim, check_len};
use crate::gemm::pack::Panels;
use crate::norm::{Moments, Norm, NormGradients, NormMap, apply};
use crate::plan::fused::Fused;
use crate::rows::forward::{Finish, product};
use crate::rows::pending::Pending;
use crate::rows::source::Source;
use crate::squeeze::{self, Excitation, Squeeze};
use crate::threads::{Output, together};

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

/// What [`backward`] needs of the forward pass: raw convolution outputs and their pending maps.
#[derive(Debug)]
pub struct Saved {
    sizes: Sizes,
    residual: bool,
    expand: Option<(Buffer, NormMap)>,
    depthwise: (Buffer, NormMap),
    excitation: Option<Excitation>,
    project: (Buffer, NormMap),
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
#[derive(Debug, Default)]
pub struct LayerGradients {
    /// Shaped like the weight.
    pub weight: Option<Vec<f32>>,
    /// Of gamma and beta.
    pub norm: Option<NormGradients>,
}

/// What [`backward`] returns.
#[derive(Debug)]
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
        map.check("block input", 1)?;
        let (hidden, outputs) = (block.depthwise.norm.gamma.len(), block.project.norm.gamma.len());
        let (side, stride) = (block.kernel, block.stride);
        let sizes = Self { map, side, stride, inputs: x.len() / map.pixels(), hidden, outputs };
        check_dim("depthwise kernel", "channels", hidden)?;
        check_dim("project weight", "outputs", outputs)?;
        map.check("block input", sizes.inputs)?;
        map.check("hidden map", hidden)?;
        map.check("block output", outputs)?;
        match &block.expand {
            Some(layer) => {
                check_len("block input", x, sizes.rows() * sizes.inputs)?;
                check_len("expand weight", layer.weight, hidden * sizes.inputs)?;
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
        if block.residual && (stride != 1 || sizes.inputs != outputs) {
            return Err(Error::Residual { stride, inputs: sizes.inputs, outputs });
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

/// Runs `block` on `x`, `[batch, height, width, inputs]`. Nothing is kept unless `save`; then, with fixed statistics, the
/// hidden maps never leave the cache (see [`crate::plan`]): a frozen block in front of trained ones costs little.
///
/// # Errors
/// When lengths disagree, a dimension is zero, the kernel is not 3 or 5, the stride not 1 or 2, or a residual does not fit.
pub fn forward(map: Map, x: &[f32], block: &Block<'_>, save: bool) -> Result<Forward, Error> {
    let sizes = Sizes::of(map, x, block)?;
    together(|| run(sizes, x, block, save))
}

fn run(sizes: Sizes, x: &[f32], block: &Block<'_>, save: bool) -> Result<Forward, Error> {
    let (rows, out_rows) = (sizes.rows(), sizes.out_rows());
    if !save && !block.layers().any(|layer| layer.norm.live()) {
        let mut output = Fresh::new(out_rows * sizes.outputs);
        Fused::new(sizes.inputs, block)?.run(sizes.map, x, block.residual.then_some(x), output.output());
        // SAFETY: the fused passes wrote every value.
        return Ok(Forward { output: unsafe { output.finish() }, moments: vec![], saved: None });
    }

    let expand = block.expand.map(|layer| {
        let panels = Panels::transposed(layer.weight, sizes.inputs, sizes.hidden);
        let mut raw = Buffer::take(rows * sizes.hidden);
        let sums =
            product(Source::Plain(x), rows, &panels, Finish::Raw, layer.norm.live(), Output::new(&mut raw));
        let map = layer.norm.map(block.activation, sums.as_ref(), rows);
        (raw, map)
    });

    let norm = &block.depthwise.norm;
    let mut raw = Buffer::take(out_rows * sizes.hidden);
    let source = match &expand {
        Some((raw, map)) => Source::Pending(map.pending(raw)),
        None => Source::Plain(x),
    };
    let sums = convolve(sizes.geometry(), source, block.depthwise.weight, norm.live(), Output::new(&mut raw));
    let map = norm.map(block.activation, sums.as_ref(), out_rows);
    let expand_moments = expand.as_ref().and_then(|(_, map)| map.moments.clone());
    let expand = if save { expand } else { None };
    let depthwise = (raw, map);
    let excitation = match &block.squeeze {
        Some(op) => {
            let (raw, map) = &depthwise;
            Some(Excitation::new(op, map.pending(raw), sizes.out_map(), sizes.hidden)?)
        }
        None => None,
    };

    let norm = &block.project.norm;
    let panels = Panels::transposed(block.project.weight, sizes.hidden, sizes.outputs);
    let source = deep(&depthwise, excitation.as_ref());
    let residual = block.residual.then_some(x);
    let mut output = Fresh::new(out_rows * sizes.outputs);
    let project = if norm.live() || save {
        let mut raw = Buffer::take(out_rows * sizes.outputs);
        let sums = product(source, out_rows, &panels, Finish::Raw, norm.live(), Output::new(&mut raw));
        let map = norm.map(block.output_activation, sums.as_ref(), out_rows);
        apply(&raw, &map, residual, output.output());
        Some((raw, map))
    } else {
        let map = norm.map(block.output_activation, None, out_rows);
        let finish = Finish::Affine {
            scale: Some(&map.scale),
            offset: &map.offset,
            activation: map.activation,
            residual,
        };
        product(source, out_rows, &panels, finish, false, output.output());
        None
    };
    // SAFETY: the pass of either branch wrote every value.
    let output = unsafe { output.finish() };
    let project_moments = project.as_ref().and_then(|(_, map)| map.moments.clone());
    let moments =
        [expand_moments, depthwise.1.moments.clone(), project_moments].into_iter().flatten().collect();
    let saved = match project {
        Some(project) if save => {
            Some(Saved { sizes, residual: block.residual, expand, depthwise, excitation, project })
        }
        _ => None,
    };
    Ok(Forward { output, moments, saved })
}

/// What the projection reads.
fn deep<'a>((raw, map): &'a (Buffer, NormMap), excitation: Option<&'a Excitation>) -> Source<'a> {
    Source::Pending(Pending { factors: excitation.map(Excitation::factors), ..map.pending(raw) })
}
