//! Batch normalisation as affine maps that are never applied on their own.
//!
//! Forward, `z = gamma * (y - mean) / sqrt(var + epsilon) + beta` is kept as `scale * y + offset` and applied by
//! whoever loads `y` next. Backward, the gradient with respect to `y` is `slope * g + curve * y + level`, with the
//! three coefficients per channel made from the sums of `g` and `g * (y - mean)` (Ioffe and Szegedy,
//! arXiv 1502.03167, section 3).

mod passes;

pub(crate) use passes::{apply, gradient_sums};

use crate::activation::Activation;
use crate::buffer::Buffer;
use crate::error::{Error, check_len};
use crate::gemm::epilogue::Gate;
use crate::rows::gradient::PullbackView;
use crate::rows::pending::Pending;
use crate::simd::padded;
use crate::sums::{Slot, Sums};

/// Where a batch norm takes its mean and variance from.
#[derive(Clone, Copy, Debug)]
pub enum Statistics<'a> {
    /// From this batch; the gradient flows through them.
    Batch,
    /// Given ones, `[channels]` each; constants to the gradient.
    Fixed {
        /// Mean per channel.
        mean: &'a [f32],
        /// Biased variance per channel, at least zero.
        var: &'a [f32],
    },
}

/// Parameters of a batch norm over `[rows, channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// `[channels]`.
    pub gamma: &'a [f32],
    /// `[channels]`.
    pub beta: &'a [f32],
    /// Mean and variance to normalise with.
    pub statistics: Statistics<'a>,
    /// Added to the variance; positive.
    pub epsilon: f32,
}

/// Added to the variance unless said otherwise: what PyTorch and burn use.
pub const EPSILON: f32 = 1e-5;

/// Mean and biased variance per channel of one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// `[channels]`.
    pub mean: Vec<f32>,
    /// `[channels]`, divided by the number of rows.
    pub var: Vec<f32>,
}

/// Gradients of a batch norm's parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct NormGradients {
    /// `[channels]`.
    pub gamma: Vec<f32>,
    /// `[channels]`.
    pub beta: Vec<f32>,
}

impl Norm<'_> {
    pub(crate) fn check(&self, channels: usize) -> Result<(), Error> {
        check_len("norm gamma", self.gamma, channels)?;
        check_len("norm beta", self.beta, channels)?;
        if let Statistics::Fixed { mean, var } = self.statistics {
            check_len("norm mean", mean, channels)?;
            check_len("norm variance", var, channels)?;
        }
        Ok(())
    }

    /// Whether the statistics are those of the batch.
    pub(crate) fn live(&self) -> bool {
        matches!(self.statistics, Statistics::Batch)
    }

    /// The pending map, from the sums of a pass over `rows` rows when statistics are live.
    pub(crate) fn map(&self, activation: Activation, sums: Option<&Sums>, rows: usize) -> NormMap {
        let channels = self.gamma.len();
        let mut map = NormMap::zero(activation, rows, channels);
        let moments = match (self.statistics, sums) {
            (Statistics::Batch, Some(sums)) => Some(moments(sums, rows, channels)),
            _ => None,
        };
        let (mean, var) = match (&moments, self.statistics) {
            (Some(moments), _) => (&moments.mean[..], &moments.var[..]),
            (None, Statistics::Fixed { mean, var }) => (mean, var),
            (None, Statistics::Batch) => unreachable!("live statistics come with sums"),
        };
        for c in 0..channels {
            let inverse = 1.0 / (var[c] + self.epsilon).sqrt();
            map.mean[c] = mean[c];
            map.inverse[c] = inverse;
            map.scale[c] = self.gamma[c] * inverse;
            map.offset[c] = self.beta[c] - mean[c] * map.scale[c];
        }
        map.moments = moments;
        map
    }
}

fn moments(sums: &Sums, rows: usize, channels: usize) -> Moments {
    let n = rows as f64;
    let (first, second) = (sums.total(0, channels), sums.total(1, channels));
    let mean: Vec<f64> = first.iter().map(|s| s / n).collect();
    let var = second.iter().zip(&mean).map(|(s, m)| (s / n - m * m).max(0.0) as f32).collect();
    Moments { mean: mean.iter().map(|m| *m as f32).collect(), var }
}

/// The pending map of a raw convolution output, `activation(scale * raw + offset)`; coefficients are padded with zeros.
#[derive(Debug)]
pub(crate) struct NormMap {
    pub(crate) activation: Activation,
    pub(crate) scale: Buffer,
    pub(crate) offset: Buffer,
    pub(crate) mean: Buffer,
    inverse: Buffer,
    /// The batch's own, when statistics are live.
    pub(crate) moments: Option<Moments>,
    rows: usize,
    channels: usize,
}

impl NormMap {
    fn zero(activation: Activation, rows: usize, channels: usize) -> Self {
        let zeros = || Buffer::zeroed(padded(channels));
        Self {
            activation,
            scale: zeros(),
            offset: zeros(),
            mean: zeros(),
            inverse: zeros(),
            moments: None,
            rows,
            channels,
        }
    }

    /// The map of finished values: nothing is pending.
    pub(crate) fn identity(rows: usize, channels: usize) -> Self {
        let mut map = Self::zero(Activation::None, rows, channels);
        map.scale[..channels].fill(1.0);
        map
    }

    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// `raw` behind this map.
    pub(crate) fn pending<'a>(&'a self, raw: &'a [f32]) -> Pending<'a> {
        let (scale, offset) = (&self.scale[..], &self.offset[..]);
        Pending { raw, scale, offset, activation: self.activation, factors: None }
    }

    /// The activation's gate, for gradients whose raw values lie at `raw`.
    #[inline(always)]
    pub(crate) fn gate(&self, raw: *const f32, sums: Option<Slot>) -> Gate {
        Gate {
            raw,
            scale: self.scale.as_ptr(),
            offset: self.offset.as_ptr(),
            mean: self.mean.as_ptr(),
            activation: self.activation,
            sums,
        }
    }

    /// Whether the statistics are those of the batch.
    pub(crate) fn live(&self) -> bool {
        self.moments.is_some()
    }

    /// The map from the gradient `g` after the norm to the gradient before it, and the parameters' gradients.
    /// `sums` are those of `g` and `g * (y - mean)`; needed when statistics are live or `affine` is wanted.
    pub(crate) fn pullback(&self, sums: Option<&Sums>, affine: bool) -> (Pullback, Option<NormGradients>) {
        let c = self.channels;
        let mut slope = Buffer::zeroed(padded(c));
        slope[..c].copy_from_slice(&self.scale[..c]);
        let (mut curve, mut level) = (Buffer::zeroed(padded(c)), Buffer::zeroed(padded(c)));
        let Some(sums) = sums else { return (Pullback { slope, curve, level }, None) };
        let beta = sums.total(0, c);
        let mut gamma = sums.total(1, c);
        for (gamma, inverse) in gamma.iter_mut().zip(&self.inverse[..]) {
            *gamma *= f64::from(*inverse);
        }
        if self.live() {
            let n = self.rows as f64;
            for i in 0..c {
                let scale = f64::from(self.scale[i]);
                let bend = -scale * f64::from(self.inverse[i]) * gamma[i] / n;
                curve[i] = bend as f32;
                level[i] = (-scale * beta[i] / n - bend * f64::from(self.mean[i])) as f32;
            }
        }
        let narrow = |wide: Vec<f64>| wide.into_iter().map(|v| v as f32).collect();
        let gradients = affine.then(|| NormGradients { gamma: narrow(gamma), beta: narrow(beta) });
        (Pullback { slope, curve, level }, gradients)
    }
}

/// `slope * g + curve * y + level` per channel, padded.
#[derive(Debug)]
pub(crate) struct Pullback {
    pub(crate) slope: Buffer,
    pub(crate) curve: Buffer,
    pub(crate) level: Buffer,
}

impl Pullback {
    /// As a pass reads it: `raw` is `y`, `gate` its map if the activation lies between `y` and `g`.
    pub(crate) fn view<'a>(&'a self, raw: &'a [f32], gate: Option<&'a NormMap>) -> PullbackView<'a> {
        let gate = gate.filter(|map| map.activation != Activation::None);
        PullbackView { raw, slope: &self.slope, curve: &self.curve, level: &self.level, gate }
    }
}
