//! Squeeze-excite: each channel of an image times a factor made from the means of all its channels (Hu et al.,
//! arXiv 1709.01507, with the hard sigmoid of Howard et al., arXiv 1905.02244).
//!
//! ```text
//! factors = clamp(z / 6 + 1 / 2, 0, 1),  z = restore * relu(reduce * mean(a) + bias) + bias
//! ```
//!
//! The product `a * factors` is never stored: whoever loads `a` next multiplies, as with any pending map. The matrices
//! in between see one pixel per image, and are what [`crate::predict`] computes.

mod passes;

pub(crate) use passes::image_sums;

use crate::buffer::Buffer;
use crate::error::{Error, check_dim, check_len};
use crate::norm::NormMap;
use crate::rows::pending::{Factors, Pending};
use crate::simd::padded;
use crate::sums::Sums;
use crate::{Map, Wanted, predict};
use passes::spread;

/// Parameters of a squeeze-excite over `channels`.
#[derive(Clone, Copy, Debug)]
pub struct Squeeze<'a> {
    /// `channels` to fewer, with ReLU.
    pub reduce: Linear<'a>,
    /// Back to `channels`, with the hard sigmoid.
    pub restore: Linear<'a>,
}

/// A matrix and a bias.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// `[outputs, inputs]`.
    pub weight: &'a [f32],
    /// `[outputs]`.
    pub bias: &'a [f32],
}

/// Weights that backward needs again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weights<'a> {
    /// `[squeezed, channels]`.
    pub reduce: &'a [f32],
    /// `[channels, squeezed]`.
    pub restore: &'a [f32],
}

/// Gradients of both matrices.
#[derive(Debug, PartialEq)]
pub struct Gradients {
    /// Of the first.
    pub reduce: LinearGradients,
    /// Of the second.
    pub restore: LinearGradients,
}

/// Gradients of a matrix and a bias; each is there if it was wanted. The bias counts as affine.
#[derive(Debug, Default, PartialEq)]
pub struct LinearGradients {
    /// Shaped like the weight.
    pub weight: Option<Vec<f32>>,
    /// Shaped like the bias.
    pub bias: Option<Vec<f32>>,
}

impl Squeeze<'_> {
    pub(crate) fn check(&self, channels: usize) -> Result<(), Error> {
        let squeezed = self.reduce.bias.len();
        check_dim("squeeze reduction", "outputs", squeezed)?;
        check_len("squeeze reduction's weight", self.reduce.weight, squeezed * channels)?;
        check_len("squeeze restoration's weight", self.restore.weight, channels * squeezed)?;
        check_len("squeeze restoration's bias", self.restore.bias, channels)
    }
}

/// What a forward pass made: the factors, and what backward needs besides.
#[derive(Debug)]
pub(crate) struct Excitation {
    images: usize,
    pixels: usize,
    channels: usize,
    /// `[images, channels]`.
    means: Vec<f32>,
    /// `[images, squeezed]`, after ReLU.
    squeezed: Vec<f32>,
    /// `[images, padded channels]`.
    factors: Buffer,
}

impl Excitation {
    /// Of the map `a` behind `pending`.
    pub(crate) fn new(
        op: &Squeeze<'_>,
        pending: Pending<'_>,
        map: Map,
        channels: usize,
    ) -> Result<Self, Error> {
        let (images, pixels) = (map.batch, map.height * map.width);
        let each = one_pixel(images);
        let means = means(pending, map, channels);
        let mut squeezed = predict::forward(each, &means, op.reduce.weight, op.reduce.bias)?;
        squeezed.iter_mut().for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v });
        let restored = predict::forward(each, &squeezed, op.restore.weight, op.restore.bias)?;
        Ok(Self { images, pixels, channels, means, squeezed, factors: factors(&restored, channels) })
    }

    pub(crate) fn factors(&self) -> Factors<'_> {
        Factors { values: &self.factors, pixels: self.pixels }
    }

    /// Turns `gradient`, that with respect to `a * factors`, into that with respect to the raw values behind `map`'s
    /// activation. Gives the gradients of the matrices, and with `sums` those the batch norm's backward pass needs.
    pub(crate) fn backward(
        &self,
        weights: &Weights<'_>,
        raw: &[f32],
        map: &NormMap,
        gradient: &mut [f32],
        wanted: Wanted,
        sums: bool,
    ) -> Result<(Gradients, Option<Sums>), Error> {
        let (channels, squeezed) = (self.channels, self.squeezed.len() / self.images);
        check_len("squeeze reduction's weight", weights.reduce, squeezed * channels)?;
        check_len("squeeze restoration's weight", weights.restore, channels * squeezed)?;
        let wanted = Wanted { input: true, ..wanted };
        let each = one_pixel(self.images);

        let mut back = image_sums(map.pending(raw), self.pixels, channels, Some(gradient));
        for (back, factors) in
            back.chunks_exact_mut(channels).zip(self.factors.chunks_exact(padded(channels)))
        {
            for (back, factor) in back.iter_mut().zip(factors) {
                *back *= if *factor > 0.0 && *factor < 1.0 { 1.0 / 6.0 } else { 0.0 };
            }
        }
        let restore = predict::backward(each, &self.squeezed, weights.restore, &back, wanted)?;
        let mut back = restore.input.unwrap_or_default();
        for (back, squeezed) in back.iter_mut().zip(&self.squeezed) {
            *back = if *squeezed > 0.0 { *back } else { 0.0 };
        }
        let reduce = predict::backward(each, &self.means, weights.reduce, &back, wanted)?;
        let share = 1.0 / self.pixels as f32;
        let shares = pad_rows(&reduce.input.unwrap_or_default(), channels, |v| v * share);
        let sums = spread(gradient, raw, map, self.factors(), &shares, sums);
        let gradients = Gradients {
            reduce: LinearGradients { weight: reduce.weight, bias: reduce.bias },
            restore: LinearGradients { weight: restore.weight, bias: restore.bias },
        };
        Ok((gradients, sums))
    }
}

/// The map the matrices work on.
pub(crate) fn one_pixel(images: usize) -> Map {
    Map { batch: images, height: 1, width: 1 }
}

/// `[images, channels]` of a map.
pub(crate) fn means(pending: Pending<'_>, map: Map, channels: usize) -> Vec<f32> {
    let pixels = map.height * map.width;
    let mut means = image_sums(pending, pixels, channels, None);
    let share = 1.0 / pixels as f32;
    means.iter_mut().for_each(|v| *v *= share);
    means
}

/// The hard sigmoid of `[images, channels]`, padded.
pub(crate) fn factors(restored: &[f32], channels: usize) -> Buffer {
    pad_rows(restored, channels, |z| (z / 6.0 + 0.5).clamp(0.0, 1.0))
}

/// `[rows, padded channels]` of `f` of each of `values`, `[rows, channels]`.
fn pad_rows(values: &[f32], channels: usize, f: impl Fn(f32) -> f32) -> Buffer {
    let width = padded(channels);
    let mut out = Buffer::zeroed(values.len() / channels * width);
    for (to, from) in out.chunks_exact_mut(width).zip(values.chunks_exact(channels)) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = f(*from));
    }
    out
}
