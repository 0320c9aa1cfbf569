//! The step of a run of values: of a few candidates the one that loses least.

use half::bf16;

/// Values that share a step.
pub(super) const RUN: usize = 512;
/// Candidates for a step: the largest magnitude over the largest multiple, and half octaves below.
const CANDIDATES: i32 = 16;
/// Values that are looked at together.
const ROW: usize = 8;
/// Added to a number that is not negative and below 2^22, it leaves no room for a fraction: rounds to the nearest whole number.
const ROUND: f32 = (1 << 23) as f32;

/// The nearest multiple of `step`, at most `most`.
pub(super) fn multiple(value: f32, step: f32, most: u8) -> i8 {
    if step == 0.0 {
        return 0;
    }
    // Dividing 24 by 8 bits, f64 is never so near to a half that it is taken for one. The cast is the floor.
    let magnitude = (f64::from(value.abs()) / f64::from(step) + 0.5) as u32;
    let magnitude = magnitude.min(most.into()) as i8;
    if value.is_sign_negative() { -magnitude } else { magnitude }
}

/// The step that loses least of `values`, at most [`RUN`]. Every candidate is at least 2^-10 of the largest value: were a decoded value
/// smaller than that, what stays behind could not be exact in f32.
pub(super) fn best(values: &[f32], most: u8) -> bf16 {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let (most, largest) = (f64::from(most), f64::from(largest));
    // Shares of the largest value, whose squares are in the range of f32. Zeros, which fill up the last row, lose nothing.
    let mut shares = [0.0; RUN];
    for (share, value) in shares.iter_mut().zip(values) {
        *share = (f64::from(value.abs()) / largest) as f32;
    }
    let rows = &shares.as_chunks::<ROW>().0[..values.len().div_ceil(ROW)];
    let fine = |halvings: &i32| most * (0.5 * f64::from(*halvings)).exp2() <= 1024.0;
    let steps = (0..CANDIDATES)
        .filter(fine)
        .map(|halvings| bf16::from_f64(largest / most * (-0.5 * f64::from(halvings)).exp2()));
    let steps = steps.filter(|&step| step > bf16::ZERO);
    let losses = steps.map(|step| (lost(rows, (step.to_f64() / largest) as f32, most as f32), step));
    losses.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(bf16::ZERO, |best| best.1)
}

/// Sum of the squares of what is lost. In this form several are looked at at a time.
fn lost(rows: &[[f32; ROW]], step: f32, most: f32) -> f32 {
    let inverse = 1.0 / step;
    let mut sums = [0.0; ROW];
    for row in rows {
        for (sum, &share) in sums.iter_mut().zip(row) {
            let steps = share * inverse;
            let steps = if steps < most { steps } else { most };
            let missing = share - ((steps + ROUND) - ROUND) * step;
            *sum += missing * missing;
        }
    }
    sums.iter().sum()
}
