//! Values of a class as sign and level: the excess over the smallest magnitude, in steps of the mean excess.
//!
//! All magnitudes of a class lie at or above t, so levels below t would be wasted, and excesses over a threshold are close
//! to exponential, for which uniform steps and a unary (Rice) code are near optimal. A step of mean excess / 2^(bits - 3)
//! costs at most about `bits` bits on average, sign included, whatever the distribution, since the mean level is at most
//! 2^(bits - 3). Large outliers cost more bits instead of ruining the scale. With 2 bits there are two levels, with 1 bit only one
//! (Sattler et al. 2019).
//!
//! The levels start at the mean of what remains after whole steps (the centroid: least squares), but never above 2t. So a
//! decoded magnitude d never exceeds twice the original u, and u - d is exact in f32 as long as the magnitudes of a class
//! span less than 2^16: for level 0, d has 8 significant bits; from level 1 on, d is at least u/2 (Sterbenz 1974).
//!
//! Why at most a third of the squared norm is lost with 3 bits or more. Let y be u less its whole steps, s the step and J the
//! mean level. With the centroid b the loss is the variance of y; b lies (1 - J)s above t and at most t, so
//! the variance is at most b^2/4 for J <= 1/2 and at most s^2/4, beside sum (level * s)^2 >= J s^2 that is kept, otherwise.
//! Limited to 2t, values are rounded to the nearest level, and lose at most half a step each.

use half::bf16;

use crate::error::DecodeError;
use crate::frame::{Reader, read_step};

/// The levels of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Levels {
    value_bits: u8,
    base: f32,
    /// Distance of levels; with 2 value bits the upper level itself, with 1 bit unused (zero).
    step: f32,
    /// How much of a step above a level is rounded up, 0..1. Not sent: a decoder does not need it.
    round: f32,
}

impl Levels {
    /// Fits levels to `magnitudes`.
    pub(super) fn fit(magnitudes: &[f32], value_bits: u8) -> Self {
        if magnitudes.is_empty() {
            return Self { value_bits, base: 0.0, step: 0.0, round: 0.0 };
        }
        let count = magnitudes.len() as f64;
        let each = || magnitudes.iter().copied();
        let least = each().fold(f32::INFINITY, f32::min);
        let mean = each().map(f64::from).sum::<f64>() / count;
        match value_bits {
            1 => Self { value_bits, base: base_of(mean, least).0, step: 0.0, round: 0.0 },
            2 => {
                let (low, high) = two_means(magnitudes, mean);
                let base = base_of(low, least).0;
                Self { value_bits, base, step: nearest(high).max(base), round: 0.0 }
            }
            _ => {
                let step = nearest((mean - f64::from(least)) / f64::from(1 << (value_bits - 3)));
                let inverse = if step > 0.0 { 1.0 / f64::from(step) } else { 0.0 };
                let excess = |magnitude: f32| f64::from(magnitude) - f64::from(least);
                // At most 2^(bits - 3) times the number of magnitudes: a cast is the floor.
                let steps = |magnitude: f32| (excess(magnitude) * inverse) as i64 as f64;
                let remainder = |magnitude: f32| excess(magnitude) - f64::from(step) * steps(magnitude);
                let remainders = each().map(remainder).sum::<f64>() / count;
                let (base, limited) = base_of(f64::from(least) + remainders, least);
                let round = if limited {
                    0.5
                } else {
                    ((f64::from(base) - f64::from(least)) * inverse).clamp(0.0, 1.0) as f32
                };
                Self { value_bits, base, step, round }
            }
        }
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&bf16::from_f32(self.base).to_le_bytes());
        if self.value_bits > 1 {
            bytes.extend_from_slice(&bf16::from_f32(self.step).to_le_bytes());
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>, value_bits: u8) -> Result<Self, DecodeError> {
        let base = read_step(reader)?;
        let step = if value_bits > 1 { read_step(reader)? } else { 0.0 };
        Ok(Self { value_bits, base, step, round: 0.0 })
    }

    /// Fewest bits of a value.
    pub(super) fn bits_min(value_bits: u8) -> u32 {
        // The sign; with 2 bits, levels are written where they change.
        if value_bits < 3 { 1 } else { u32::from(value_bits) - 1 }
    }

    /// The level of a value.
    pub(super) fn level(&self, value: f32) -> u32 {
        let magnitude = value.abs();
        match self.value_bits {
            1 => 0,
            2 => u32::from(magnitude >= f32::midpoint(self.base, self.step)),
            // A float beyond u32 saturates, and NaN (no step) becomes zero.
            _ if self.step > 0.0 => ((magnitude - self.base) / self.step + self.round) as u32,
            _ => 0,
        }
    }

    /// The value of a level with a sign (1: negative).
    #[inline]
    pub(super) fn value(&self, sign: u32, level: u32) -> f32 {
        let magnitude = match self.value_bits {
            2 if level == 1 => self.step,
            2 => self.base,
            _ => self.base + level as f32 * self.step,
        };
        f32::from_bits(magnitude.to_bits() | sign << 31)
    }
}

/// The nearest bf16, towards zero where that would be infinite.
fn nearest(level: f64) -> f32 {
    bf16::from_f64(level).to_f32()
}

/// `centroid` as bf16, at most twice the `least` magnitude, and whether that limit was reached.
fn base_of(centroid: f64, least: f32) -> (f32, bool) {
    let base = nearest(centroid);
    let limit = 2.0 * least;
    if base <= limit {
        return (base, false);
    }
    // Dropping the low half of an f32 rounds towards zero.
    (f32::from_bits(limit.to_bits() & 0xffff_0000), true)
}

/// Means of the lower and the upper magnitudes (Lloyd 1982, two levels). In this form several are compared and added at a time.
fn two_means(magnitudes: &[f32], mean: f64) -> (f64, f64) {
    let count = magnitudes.len() as f64;
    let sum = mean * count;
    let (rows, rest) = magnitudes.as_chunks::<8>();
    let (mut low, mut high) = (mean, mean);
    let mut split = mean;
    for _ in 0..8 {
        let (mut sums, mut counts) = ([0.0_f64; 8], [0_u32; 8]);
        for row in rows.iter().map(<[f32; 8]>::as_slice).chain([rest]) {
            for ((sum, count), &magnitude) in sums.iter_mut().zip(&mut counts).zip(row) {
                let magnitude = f64::from(magnitude);
                let is_upper = magnitude >= split;
                *sum += if is_upper { magnitude } else { 0.0 };
                *count += u32::from(is_upper);
            }
        }
        let (upper, uppers) = (sums.iter().sum::<f64>(), f64::from(counts.iter().sum::<u32>()));
        low = if uppers < count { (sum - upper) / (count - uppers) } else { split };
        high = if uppers > 0.0 { upper / uppers } else { split };
        let before = std::mem::replace(&mut split, f64::midpoint(low, high));
        if split == before {
            break;
        }
    }
    (low, high)
}
