//! What a value contributes: whole subticks times the weight.
//!
//! The same integers in three ways, of which the faster ones take several values at a time: a value becomes a whole number of
//! subticks and is multiplied by the weight in floating point, which is exact below 2^53, and turned into an integer by
//! adding 1.5 x 2^52, which every processor can do to several values at once (the conversion itself they often cannot).

use super::rounded;

/// Products up to this stay exact in floating point.
pub(super) const PRODUCT_MAX: u64 = 1 << 51;
/// Adding it moves a number below 2^51 so that the last digit of its mantissa is worth one.
const UNITS: f64 = 1.5 * (1_u64 << 52) as f64;

/// Turns values of a tensor into products.
pub(super) struct Multiple {
    scale: f64,
    nudged: f64,
    weight: u32,
}

impl Multiple {
    /// `scale` is in subticks per unit.
    ///
    /// Values are scaled by a little more than that: in an f32 of at most 2^34 subticks this moves halves away from zero, which is where
    /// they are to be rounded, but nothing else past a half. (Neighbouring f32 differ by 2^-24 of their size or more, and 2^-36 of 2^34
    /// is below one half.)
    pub(super) fn new(scale: f64, weight: u32) -> Self {
        const NUDGE: f64 = 1.0 + 1.0 / (1_u64 << 36) as f64;
        Self { scale, nudged: scale * NUDGE, weight }
    }

    /// Magnitude of the product of a value of magnitude `most`.
    pub(super) fn largest(&self, most: f32) -> u64 {
        self.large(most).unsigned_abs()
    }

    /// The product in whole subticks, of any size.
    pub(super) fn large(&self, value: f32) -> i64 {
        rounded(f64::from(value) * self.scale).wrapping_mul(self.weight.into())
    }

    /// The product in whole subticks, of a magnitude below [`PRODUCT_MAX`].
    pub(super) fn product(&self, value: f32) -> i64 {
        let whole = (f64::from(value) * self.nudged + UNITS) - UNITS;
        (whole * f64::from(self.weight) + UNITS).to_bits().wrapping_sub(UNITS.to_bits()) as i64
    }

    /// Its lower 32 bits, which are those of the product of both factors' lower bits. (The bits of [`UNITS`] below them are zero.)
    pub(super) fn lowest(&self, value: f32) -> i32 {
        let whole = (f64::from(value) * self.nudged + UNITS).to_bits();
        ((whole & u64::from(u32::MAX)) * u64::from(self.weight)) as i32
    }
}
