//! Nearest-neighbour upsampling by two, added to a lateral map: the top-down step of a feature pyramid.

use crate::Map;
use crate::buffer::Fresh;
use crate::error::{Error, check_len};
use crate::simd::{self, Simd};
use crate::threads::{Output, Pass, Split};
use std::ops::Range;

fn check(small: Map, large: Map, channels: usize) -> Result<(), Error> {
    small.check("smaller map", channels)?;
    large.check("larger map", channels)?;
    if small.batch != large.batch {
        return Err(Error::Length {
            tensor: "batch of the larger map",
            expected: small.batch,
            found: large.batch,
        });
    }
    for (side, small, large) in [("height", small.height, large.height), ("width", small.width, large.width)]
    {
        if large.div_ceil(2) != small {
            return Err(Error::Ratio { side, small, large });
        }
    }
    Ok(())
}

/// `lateral[n, y, x] + values[n, y / 2, x / 2]`: `values` of the `small` map upsampled and cropped to the `large`
/// one, whose sides are twice the small ones or one less.
///
/// # Errors
/// When lengths or sides disagree, or a dimension is zero.
pub fn forward(small: Map, values: &[f32], large: Map, lateral: &[f32]) -> Result<Vec<f32>, Error> {
    let mut out = Fresh::new(lateral.len());
    add(small, values, large, lateral, out.output())?;
    // SAFETY: the pass wrote every value.
    Ok(unsafe { out.finish() })
}

/// As [`forward`], every value of `out` is written.
pub(crate) fn add(
    small: Map,
    values: &[f32],
    large: Map,
    lateral: &[f32],
    out: Output<'_>,
) -> Result<(), Error> {
    small.check("smaller map", 1)?;
    let channels = values.len() / small.pixels();
    check(small, large, channels)?;
    check_len("smaller map", values, small.pixels() * channels)?;
    check_len("larger map", lateral, large.pixels() * channels)?;
    assert_eq!(out.len(), lateral.len(), "the output is shaped like the larger map");
    let split = Split::new(large.batch * large.height, 1, large.width * channels);
    let pass = Add { small, values, large, lateral, channels, out };
    // SAFETY: the sizes were checked above; each part writes its own rows.
    unsafe { split.run(&pass) };
    Ok(())
}

/// The gradient with respect to the small map: sums of `gradient`, on the `large` map, over each pixel's copies.
/// (With respect to the lateral map the gradient is `gradient` itself.)
///
/// # Errors
/// When lengths or sides disagree, or a dimension is zero.
pub fn backward(small: Map, large: Map, gradient: &[f32]) -> Result<Vec<f32>, Error> {
    large.check("larger map", 1)?;
    let channels = gradient.len() / large.pixels();
    check(small, large, channels)?;
    check_len("larger map", gradient, large.pixels() * channels)?;
    let mut out = Fresh::new(small.pixels() * channels);
    let split = Split::new(small.batch * small.height, 1, 4 * small.width * channels);
    let pass = Gather { small, large, gradient, channels, out: out.output() };
    // SAFETY: the sizes were checked above; each part writes its own rows.
    unsafe { split.run(&pass) };
    // SAFETY: the pass wrote every value.
    Ok(unsafe { out.finish() })
}

struct Add<'a> {
    small: Map,
    values: &'a [f32],
    large: Map,
    lateral: &'a [f32],
    channels: usize,
    out: Output<'a>,
}

impl Pass for Add<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _part: usize, units: Range<usize>) {
        let c = self.channels;
        for unit in units {
            let (n, y) = (unit / self.large.height, unit % self.large.height);
            for x in 0..self.large.width {
                let place = (unit * self.large.width + x) * c;
                let from = ((n * self.small.height + y / 2) * self.small.width + x / 2) * c;
                let mut i = 0;
                while i < c {
                    // SAFETY: both pixels exist, see `check`; the last vector is masked.
                    unsafe {
                        let a = simd::load::<S, true>(self.lateral.as_ptr().add(place + i), c - i);
                        let b = simd::load::<S, true>(self.values.as_ptr().add(from + i), c - i);
                        simd::store::<S, true>(self.out.at(place + i), S::add(a, b), c - i);
                    }
                    i += S::LANES;
                }
            }
        }
    }
}

struct Gather<'a> {
    small: Map,
    large: Map,
    gradient: &'a [f32],
    channels: usize,
    out: Output<'a>,
}

impl Pass for Gather<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _part: usize, units: Range<usize>) {
        let c = self.channels;
        for unit in units {
            let (n, y) = (unit / self.small.height, unit % self.small.height);
            for x in 0..self.small.width {
                let mut i = 0;
                while i < c {
                    // SAFETY: the copies inside the large map exist; the last vector is masked.
                    unsafe {
                        let mut sum = S::zero();
                        for dy in 0..2.min(self.large.height - 2 * y) {
                            for dx in 0..2.min(self.large.width - 2 * x) {
                                let row = n * self.large.height + 2 * y + dy;
                                let from = (row * self.large.width + 2 * x + dx) * c + i;
                                let value = simd::load::<S, true>(self.gradient.as_ptr().add(from), c - i);
                                sum = S::add(sum, value);
                            }
                        }
                        let place = (unit * self.small.width + x) * c + i;
                        simd::store::<S, true>(self.out.at(place), sum, c - i);
                    }
                    i += S::LANES;
                }
            }
        }
    }
}
