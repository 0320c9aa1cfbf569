//! What of a new version is published: the largest changes, coarsely; the rest waits (`DoubleSqueeze`, Tang et al. 2019; EF21-P, Gruntkowska
//! et al. 2023).
//!
//! The coordinator knows exactly where the updates have led, the target. Devices are sent a version near it, and what that lacks is
//! the residual: published + residual = target, in whole ticks, whatever is left out. The published version is the model, for the
//! devices and for whoever exports it; the residual is never served.

use params::{Canonical, Layout};

/// Largest step, as a power of two of ticks.
const SHIFT_MAX: u32 = 24;

/// What becomes of wanted moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broadcast {
    /// Moves that are published.
    pub(crate) sent: Sent,
    /// What is left; sent + residual is what was wanted. Empty when nothing is ever left.
    pub(crate) residual: Vec<i32>,
}

/// Published moves, in ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Of all weights.
    All(Vec<i32>),
    /// Of some, with their indices in increasing order.
    Some(Vec<(u32, i32)>),
}

impl Sent {
    /// Moves the model.
    pub(crate) fn apply(&self, model: &mut Canonical) {
        match self {
            Self::All(moves) => model.advance(moves),
            Self::Some(moves) => model.advance_at(moves),
        }
    }
}

/// Divides the moves `wanted` of `model`. `share`: of all weights, and of every tensor at least; all moves as they are when there is none.
///
/// Of each tensor the moves of the largest magnitude are sent, each rounded to a multiple of a step: the power of two below their
/// mean magnitude, so that most are one or two steps. What is less than half a step waits as well.
pub(crate) fn divide(model: &Canonical, wanted: Vec<i32>, share: Option<(f32, f32)>) -> Broadcast {
    let Some((density, floor)) = share else {
        return Broadcast { sent: Sent::All(wanted), residual: Vec::new() };
    };
    let (layout, grid) = (model.layout(), model.grid());
    let steps = (0..layout.tensors().len()).map(|number| grid.step(number)).collect();
    // 2^31 ticks of at most 2^127 could be too large to be compared; that is no model any more, and nothing is left out of it.
    let Ok(chosen) = codec::strongest(layout, &wanted, steps, density, floor) else {
        return Broadcast { residual: vec![0; wanted.len()], sent: Sent::All(wanted) };
    };
    let mut residual = wanted;
    let mut sent = Vec::with_capacity(chosen.len());
    for indices in by_tensor(layout, &chosen) {
        let sum: f64 = indices.iter().map(|&index| f64::from(residual[index as usize].unsigned_abs())).sum();
        let mean = sum / indices.len().max(1) as f64;
        let shift = (mean.max(1.0).log2() as u32).min(SHIFT_MAX);
        for &index in indices {
            let left = &mut residual[index as usize];
            let step = rounded(*left, shift);
            *left = left.wrapping_sub(step);
            if step != 0 {
                sent.push((index, step));
            }
        }
    }
    Broadcast { sent: Sent::Some(sent), residual }
}

/// The multiple of 2^shift nearest to `ticks`.
fn rounded(ticks: i32, shift: u32) -> i32 {
    let step = 1_i64 << shift;
    let multiple = (i64::from(ticks.unsigned_abs()) + step / 2) >> shift;
    // The largest multiple that an i32 holds.
    let magnitude = multiple.min(i64::from(i32::MAX) >> shift) << shift;
    (if ticks < 0 { -magnitude } else { magnitude }) as i32
}

/// The indices within each tensor.
fn by_tensor<'a>(layout: &Layout, indices: &'a [u32]) -> Vec<&'a [u32]> {
    let mut rest = indices;
    let of_tensor = |tensor: &params::Tensor| {
        let (these, others) =
            rest.split_at(rest.partition_point(|&index| (index as usize) < tensor.range().end));
        rest = others;
        these
    };
    layout.tensors().iter().map(of_tensor).collect()
}

#[cfg(test)]
mod tests;
