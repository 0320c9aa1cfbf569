//! A network ready to run forward as fast as it can: batch norms folded, weights packed once, blocks fused.
//!
//! A training op packs its weights on each call and stores what backward would need. A plan does the first once and the
//! second never: a block is computed a few rows at a time, its hidden maps never leave the second-level cache, and those
//! few rows are also what is divided between threads, so that a single image keeps all of them busy.

pub(crate) mod fused;

use crate::activation::Activation;
use crate::block::Block;
use crate::buffer::Buffer;
use crate::error::{Error, check_dim, check_len};
use crate::gemm::pack::Panels;
use crate::norm::{Norm, Statistics};
use crate::pointwise::Pointwise;
use crate::rows::forward::{Finish, product};
use crate::rows::source::{Patches, Source};
use crate::simd::padded;
use crate::stem::Stem;
use crate::threads::{self, Output, alone, together};
use crate::{Isa, Map, upsample, with_isa};
use fused::Fused;
use rayon::prelude::*;

/// A tensor of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(usize);

/// Builds an [`InferencePlan`], op by op.
#[derive(Debug)]
pub struct PlanBuilder {
    isa: Isa,
    /// Channels of each node.
    channels: Vec<usize>,
    /// What makes nodes 1 and up, in order.
    ops: Vec<Op>,
}

/// A network that runs forward. It may be used by several threads at a time.
#[derive(Debug)]
pub struct InferencePlan {
    /// Weights are packed for this instruction set.
    isa: Isa,
    channels: Vec<usize>,
    ops: Vec<Op>,
    outputs: Vec<Node>,
    /// The last op that reads each node, if any.
    last_use: Vec<Option<usize>>,
}

#[derive(Debug)]
enum Op {
    Stem {
        x: Node,
        dense: Dense,
    },
    Dense {
        x: Node,
        dense: Dense,
    },
    Block {
        x: Node,
        fused: Box<Fused>,
        plus: Option<Node>,
    },
    UpsampleAdd {
        small: Node,
        lateral: Node,
    },
    /// A stem that became part of the only block that reads it.
    Absorbed,
}

/// A matrix over channels with what follows it.
#[derive(Debug)]
struct Dense {
    panels: Panels<'static>,
    /// Padded.
    offset: Buffer,
    activation: Activation,
}

/// A batch norm as scale and offset per channel.
fn fold(norm: &Norm<'_>, op: &'static str) -> Result<(Vec<f32>, Vec<f32>), Error> {
    norm.check(norm.gamma.len())?;
    let Statistics::Fixed { mean, var } = norm.statistics else {
        return Err(Error::BatchStatistics { op });
    };
    let fold = |c: usize| {
        let scale = f64::from(norm.gamma[c]) / (f64::from(var[c]) + f64::from(norm.epsilon)).sqrt();
        (scale as f32, (f64::from(norm.beta[c]) - f64::from(mean[c]) * scale) as f32)
    };
    Ok((0..norm.gamma.len()).map(fold).unzip())
}

fn pad(values: &[f32]) -> Buffer {
    let mut out = Buffer::zeroed(padded(values.len()));
    out[..values.len()].copy_from_slice(values);
    out
}

/// `weight` `[outputs, inputs]` with its batch norm folded in.
fn fold_pointwise(
    weight: &[f32],
    norm: &Norm<'_>,
    inputs: usize,
    activation: Activation,
    op: &'static str,
) -> Result<Dense, Error> {
    let outputs = norm.gamma.len();
    check_dim(op, "outputs", outputs)?;
    check_len(op, weight, outputs * inputs)?;
    let (scale, offset) = fold(norm, op)?;
    let rows = weight.chunks_exact(inputs).zip(&scale);
    let scaled: Vec<f32> = rows.flat_map(|(row, scale)| row.iter().map(move |w| w * scale)).collect();
    Ok(Dense { panels: Panels::transposed(&scaled, inputs, outputs), offset: pad(&offset), activation })
}

impl PlanBuilder {
    /// A plan over images of `channels`, for the instruction set in use on this thread.
    ///
    /// # Errors
    /// No channels.
    pub fn new(channels: usize) -> Result<Self, Error> {
        check_dim("plan input", "channels", channels)?;
        Ok(Self { isa: Isa::current(), channels: vec![channels], ops: Vec::new() })
    }

    /// The images.
    pub fn input(&self) -> Node {
        Node(0)
    }

    fn push(&mut self, op: Op, channels: usize) -> Node {
        self.ops.push(op);
        self.channels.push(channels);
        Node(self.ops.len())
    }

    /// See [`crate::stem::forward`].
    ///
    /// # Errors
    /// Lengths that disagree, statistics of a batch.
    pub fn stem(&mut self, x: Node, op: &Stem<'_>) -> Result<Node, Error> {
        let (inputs, outputs) = (9 * self.channels[x.0], op.norm.gamma.len());
        check_dim("stem weight", "outputs", outputs)?;
        check_len("stem weight", op.weight, inputs * outputs)?;
        let (scale, offset) = fold(&op.norm, "stem")?;
        let rows = op.weight.chunks_exact(outputs);
        let transposed: Vec<f32> = {
            let scaled: Vec<f32> =
                rows.flat_map(|row| row.iter().zip(&scale).map(|(w, scale)| w * scale)).collect();
            (0..outputs).flat_map(|o| scaled.iter().skip(o).step_by(outputs).copied()).collect()
        };
        let panels = Panels::transposed(&transposed, inputs, outputs);
        let dense = Dense { panels, offset: pad(&offset), activation: op.activation };
        Ok(self.push(Op::Stem { x, dense }, outputs))
    }

    /// See [`crate::pointwise::forward`].
    ///
    /// # Errors
    /// Lengths that disagree, statistics of a batch.
    pub fn pointwise(&mut self, x: Node, op: &Pointwise<'_>) -> Result<Node, Error> {
        let inputs = self.channels[x.0];
        let dense = fold_pointwise(op.weight, &op.norm, inputs, op.activation, "pointwise weight")?;
        Ok(self.push(Op::Dense { x, dense }, op.norm.gamma.len()))
    }

    /// See [`crate::predict::forward`].
    ///
    /// # Errors
    /// Lengths that disagree.
    pub fn predict(&mut self, x: Node, weight: &[f32], bias: &[f32]) -> Result<Node, Error> {
        let (inputs, outputs) = (self.channels[x.0], bias.len());
        check_dim("predict weight", "outputs", outputs)?;
        check_len("predict weight", weight, inputs * outputs)?;
        let dense = Dense::linear(weight, bias, Activation::None);
        Ok(self.push(Op::Dense { x, dense }, outputs))
    }

    /// See [`crate::block::forward`]; `plus` is added to the result, of which it has the shape.
    ///
    /// # Errors
    /// Lengths that disagree, statistics of a batch, a residual that does not fit or together with `plus`.
    pub fn block(&mut self, x: Node, op: &Block<'_>, plus: Option<Node>) -> Result<Node, Error> {
        let (inputs, outputs) = (self.channels[x.0], op.project.norm.gamma.len());
        let fused = Fused::new(inputs, op)?;
        let residual = op.residual.then_some(x);
        if (op.residual && plus.is_some()) || plus.is_some_and(|plus| self.channels[plus.0] != outputs) {
            let found = plus.map_or(0, |plus| self.channels[plus.0]);
            return Err(Error::Length { tensor: "added map's channels", expected: outputs, found });
        }
        Ok(self.push(Op::Block { x, fused: Box::new(fused), plus: plus.or(residual) }, outputs))
    }

    /// See [`crate::upsample::forward`].
    ///
    /// # Errors
    /// Channels that disagree.
    pub fn upsample_add(&mut self, small: Node, lateral: Node) -> Result<Node, Error> {
        let (found, expected) = (self.channels[small.0], self.channels[lateral.0]);
        if found != expected {
            return Err(Error::Length { tensor: "smaller map's channels", expected, found });
        }
        Ok(self.push(Op::UpsampleAdd { small, lateral }, expected))
    }

    /// The plan that computes `outputs`.
    pub fn finish(self, outputs: &[Node]) -> InferencePlan {
        let Self { isa, channels, mut ops } = self;
        absorb_stems(&mut ops, outputs);
        let mut last_use = vec![None; channels.len()];
        for (at, op) in ops.iter().enumerate() {
            op.inputs().for_each(|node| last_use[node.0] = Some(at));
        }
        InferencePlan { isa, channels, ops, outputs: outputs.to_vec(), last_use }
    }
}

/// Lets blocks that begin with their depthwise convolution compute the stem before them themselves.
fn absorb_stems(ops: &mut [Op], outputs: &[Node]) {
    for at in 0..ops.len() {
        let node = Node(at + 1);
        let reads = ops.iter().flat_map(Op::inputs).filter(|read| *read == node).count();
        let reader = ops.iter().position(
            |op| matches!(op, Op::Block { x, fused, .. } if *x == node && fused.begins_depthwise()),
        );
        let Some(reader) = reader else { continue };
        if reads != 1 || outputs.contains(&node) || !matches!(ops[at], Op::Stem { .. }) {
            continue;
        }
        let stem = std::mem::replace(&mut ops[at], Op::Absorbed);
        if let (Op::Stem { x: image, dense }, Op::Block { x, fused, .. }) = (stem, &mut ops[reader]) {
            *x = image;
            fused.absorb(dense);
        }
    }
}

impl Op {
    fn inputs(&self) -> impl Iterator<Item = Node> {
        let (first, second) = match self {
            Self::Stem { x, .. } | Self::Dense { x, .. } => (Some(*x), None),
            Self::Block { x, plus, .. } => (Some(*x), *plus),
            Self::UpsampleAdd { small, lateral } => (Some(*small), Some(*lateral)),
            Self::Absorbed => (None, None),
        };
        first.into_iter().chain(second)
    }
}

impl Dense {
    /// `weight` `[outputs, inputs]` with a bias of at least one output.
    fn linear(weight: &[f32], bias: &[f32], activation: Activation) -> Self {
        let (inputs, outputs) = (weight.len() / bias.len(), bias.len());
        Self { panels: Panels::transposed(weight, inputs, outputs), offset: pad(bias), activation }
    }

    fn run(&self, source: Source<'_>, rows: usize, residual: Option<&[f32]>, out: Output<'_>) {
        let activation = self.activation;
        let finish = Finish::Affine { scale: None, offset: &self.offset, activation, residual };
        product(source, rows, &self.panels, finish, false, out);
    }
}

impl InferencePlan {
    /// Runs on `images`, `[batch, height, width, channels]`, and returns the outputs in the order they were asked for, each
    /// `[batch, height, width, channels]` of its node. The number of threads changes no bit of them.
    ///
    /// Threads share the images out if they can have equally many, and meet only at the end; otherwise they work on each
    /// op together.
    ///
    /// # Errors
    /// A zero dimension, a length that disagrees, or maps that no upsampling connects.
    pub fn run(&self, map: Map, images: &[f32]) -> Result<Vec<Vec<f32>>, Error> {
        map.check("images", self.channels[0])?;
        check_len("images", images, map.pixels() * self.channels[0])?;
        let threads = threads::available();
        if threads == 1 || !map.batch.is_multiple_of(threads) {
            return with_isa(self.isa, || together(|| self.run_here(map, images)));
        }
        let share = Map { batch: map.batch / threads, ..map };
        let shares = images.par_chunks(share.pixels() * self.channels[0]);
        let shares = shares.map(|images| alone(|| with_isa(self.isa, || self.run_here(share, images))));
        let shares = shares.collect::<Result<Vec<_>, _>>()?;
        let output = |at: usize| shares.iter().flat_map(|share| &share[at]).copied().collect();
        Ok((0..self.outputs.len()).map(output).collect())
    }

    fn run_here(&self, map: Map, images: &[f32]) -> Result<Vec<Vec<f32>>, Error> {
        let mut values: Vec<Option<(Map, Buffer)>> = Vec::with_capacity(self.channels.len());
        values.push(None);
        for (at, op) in self.ops.iter().enumerate() {
            let get = |node: Node| match &values[node.0] {
                Some((map, values)) => (*map, &values[..]),
                None => (map, images),
            };
            let channels = self.channels[at + 1];
            let (map, value) = match op {
                Op::Stem { x, dense } => {
                    let (from, x) = get(*x);
                    let to = from.strided(2);
                    to.check("stem output", channels)?;
                    let mut out = Buffer::take(to.pixels() * channels);
                    let patches = Source::Patches(Patches::new(from, x));
                    dense.run(patches, to.pixels(), None, Output::new(&mut out));
                    (to, out)
                }
                Op::Dense { x, dense } => {
                    let (map, x) = get(*x);
                    map.check("pointwise output", channels)?;
                    let mut out = Buffer::take(map.pixels() * channels);
                    dense.run(Source::Plain(x), map.pixels(), None, Output::new(&mut out));
                    (map, out)
                }
                Op::Absorbed => {
                    values.push(None);
                    continue;
                }
                Op::Block { x, fused, plus } => {
                    let (from, x) = get(*x);
                    let hidden = fused.hidden_map(from);
                    hidden.check("hidden map", fused.hidden())?;
                    let to = hidden.strided(fused.stride());
                    to.check("block output", channels)?;
                    let plus = plus.map(get);
                    if let Some((map, _)) = plus
                        && map != to
                    {
                        let (expected, found) = (to.pixels(), map.pixels());
                        return Err(Error::Length { tensor: "added map", expected, found });
                    }
                    let mut out = Buffer::take(to.pixels() * channels);
                    fused.run(from, x, plus.map(|(_, values)| values), Output::new(&mut out));
                    (to, out)
                }
                Op::UpsampleAdd { small, lateral } => {
                    let ((small, values), (large, lateral)) = (get(*small), get(*lateral));
                    let mut out = Buffer::take(large.pixels() * channels);
                    upsample::add(small, values, large, lateral, Output::new(&mut out))?;
                    (large, out)
                }
            };
            values.push(Some((map, value)));
            for node in op.inputs() {
                if self.last_use[node.0] == Some(at) && !self.outputs.contains(&node) {
                    values[node.0] = None;
                }
            }
        }
        let output =
            |node: &Node| values[node.0].as_ref().map_or_else(|| images.to_vec(), |(_, v)| v.to_vec());
        Ok(self.outputs.iter().map(output).collect())
    }
}
