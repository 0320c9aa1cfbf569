//! Published statistics as integers, so that a change of them is a few bits and changes add up exactly.
//!
//! A variance is 2^(v / 128), a mean m / 256 of its channel's standard deviation 2^(v / 256). Codes mean the same in every version, so
//! differences of versions can be summed. Powers come from a table of integers: no mathematics library can change a value.

use super::{StatisticsLayout, VARIANCE_MIN};

/// Means are in so many parts of a standard deviation; variances in half as many parts of an octave.
const PARTS: usize = 256;
/// Largest code of a variance: 2^64.
pub(crate) const VARIANCE_MAX: f64 = 64.0 * 128.0;
/// Least code of a variance, that of [`VARIANCE_MIN`]: values of lower ones would have another code than theirs.
pub(crate) const VARIANCE_LEAST: i32 = -4252;
/// Largest code of a mean, 2^14 standard deviations: beyond, an f32 would not hold it exactly enough.
pub(crate) const MEAN_MAX: f64 = (1 << 22) as f64;
/// Coarsest step of [`approach`]: 2^5 / 256 of a standard deviation.
pub const STEP_SHIFT_MAX: u32 = 5;

/// 2^(1/256) with [`ROOT_BITS`] fractional bits (rounded from 60 decimal digits).
const ROOT: u128 = 72_252_961_994_820_589;
const ROOT_BITS: u32 = 56;
/// 2^(i/256) with 52 fractional bits, which an f64 holds exactly.
static ROOTS: [u64; PARTS] = roots();

const fn roots() -> [u64; PARTS] {
    const DROPPED: u32 = ROOT_BITS - 52;
    let mut table = [0; PARTS];
    let mut root = 1_u128 << ROOT_BITS;
    let mut index = 0;
    while index < table.len() {
        table[index] = ((root + (1 << (DROPPED - 1))) >> DROPPED) as u64;
        root = (root * ROOT + (1 << (ROOT_BITS - 1))) >> ROOT_BITS;
        index += 1;
    }
    table
}

/// 2^(parts / 256).
fn power(parts: i32) -> f64 {
    let (octaves, part) = (parts.div_euclid(PARTS as i32), parts.rem_euclid(PARTS as i32));
    ROOTS[part as usize] as f64 * f64::from(octaves - 52).exp2()
}

/// The code nearest to a variance, not rounded.
fn variance_code(variance: f32) -> f64 {
    let parts = PARTS as f64 / 2.0 * f64::from(variance).max(VARIANCE_MIN).log2();
    parts.clamp(f64::from(VARIANCE_LEAST), VARIANCE_MAX)
}

fn variance_in_range(code: i32) -> i32 {
    code.clamp(VARIANCE_LEAST, VARIANCE_MAX as i32)
}

/// The code of a mean where the variance has this code, not rounded.
fn mean_code(mean: f32, variance_code: i32) -> f64 {
    let parts = PARTS as f64 * f64::from(mean) / power(variance_code);
    parts.clamp(-MEAN_MAX, MEAN_MAX)
}

/// The codes nearest to finite `values`; both in layout order.
///
/// # Panics
/// If `values` are not as many as the layout has.
pub fn codes(layout: &StatisticsLayout, values: &[f32]) -> Vec<i32> {
    let mut codes = vec![0; layout.len()];
    for (mean, var) in layout.all() {
        codes[var] = variance_code(values[var]).round() as i32;
        codes[mean] = mean_code(values[mean], codes[var]).round() as i32;
    }
    codes
}

/// The values of codes, which [`codes`] gives back; codes out of range are taken as the largest.
///
/// # Panics
/// If `codes` are not as many as the layout has.
pub fn values(layout: &StatisticsLayout, codes: &[i32]) -> Vec<f32> {
    let mut values = vec![0.0; layout.len()];
    for (mean, var) in layout.all() {
        let variance = variance_in_range(codes[var]);
        let parts = codes[mean].clamp(-MEAN_MAX as i32, MEAN_MAX as i32);
        values[var] = power(2 * variance) as f32;
        values[mean] = (f64::from(parts) * power(variance) / PARTS as f64) as f32;
    }
    values
}

/// `values` rounded to codes: what a run starts from.
///
/// # Panics
/// If `values` are not as many as the layout has.
pub fn rounded(layout: &StatisticsLayout, values: &[f32]) -> Vec<f32> {
    self::values(layout, &codes(layout, values))
}

/// Moves `published` statistics (values of codes) towards `target` by whole multiples of 2^`step_shift` codes: the result is at most half
/// a step from the target (a step of a mean is 2^`step_shift` / 256 standard deviations), and what changes little does not change at all.
/// `step_shift` is at most [`STEP_SHIFT_MAX`].
///
/// # Panics
/// If there are not as many values as the layout has.
pub fn approach(layout: &StatisticsLayout, published: &[f32], target: &[f32], step_shift: u32) -> Vec<f32> {
    let step = f64::from(1 << step_shift.min(STEP_SHIFT_MAX));
    let mut codes = codes(layout, published);
    let towards =
        |code: &mut i32, target: f64| *code += (((target - f64::from(*code)) / step).round() * step) as i32;
    for (mean, var) in layout.all() {
        towards(&mut codes[var], variance_code(target[var]));
        codes[var] = variance_in_range(codes[var]);
        let target = mean_code(target[mean], codes[var]);
        towards(&mut codes[mean], target);
    }
    values(layout, &codes)
}

#[cfg(test)]
mod tests;
