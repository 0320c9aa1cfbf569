//! What of a new version is published: the largest changes, coarsely; the rest waits (`DoubleSqueeze`, Tang et al. 2019; EF21-P, Gruntkowska
//! et al. 2023).
//!
//! The coordinator knows exactly where the updates have led, the target. Devices are sent a version near it, and what that lacks is
//! the residual: published + residual = target, in whole ticks, whatever is left out. The published version is the model, for the
//! devices and for whoever exports it; the residual is never served.

use params::{Canonical, Digest, Layout};

mod cut;
mod packed;

use packed::Packed;

/// Largest step, as a power of two of ticks.
const SHIFT_MAX: u32 = 24;
/// Largest exponent of a step of which all ticks are below 2^80.
const EXPONENT_MAX: i8 = 48;

/// What becomes of wanted moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broadcast {
    /// Moves that are published.
    pub(crate) sent: Sent,
    /// What is left; sent + residual is what was wanted. Empty when nothing is ever left.
    pub(crate) residual: Vec<i32>,
}

/// How a version's weights differ from those of another, in ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moves {
    /// Digest of the other one.
    pub(crate) from: Digest,
    /// In ticks; nothing where the other one is there to be compared.
    pub(crate) sent: Sent,
    /// The other one, where so much has moved that it may be the shortest to send it whole.
    pub(crate) before: Option<Canonical>,
}

/// Published moves, in ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Of all weights.
    All(Vec<i32>),
    /// Of some, as far as the model goes.
    Some(Packed),
}

impl Sent {
    /// Moves the model; what is left in here is how far it has moved (not beyond the ends of i32).
    pub(crate) fn apply(&mut self, model: &mut Canonical) {
        match self {
            Self::All(moves) => {
                moves.iter_mut().zip(model.ticks()).for_each(|(step, &tick)| *step = clipped(tick, *step));
                model.advance(moves);
            }
            Self::Some(moves) => model.advance_at(moves.iter()),
        }
    }

    /// Indices and moves that are not zero, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u32, i32)> {
        let (all, some): (&[i32], _) = match self {
            Self::All(moves) => (moves, None),
            Self::Some(moves) => (&[], Some(moves.iter())),
        };
        let entries = (0..).zip(all.iter().copied()).chain(some.into_iter().flatten());
        entries.filter(|(_, step)| *step != 0)
    }
}

/// How far a tick goes by such a step.
fn clipped(tick: i32, step: i32) -> i32 {
    tick.saturating_add(step).wrapping_sub(tick)
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
    // 2^31 ticks of such a step could be too large to be compared; that is no model any more, and nothing is left out of it.
    if grid.exponents().iter().any(|&exponent| exponent > EXPONENT_MAX) {
        return Broadcast { residual: vec![0; wanted.len()], sent: Sent::All(wanted) };
    }
    let (count, floors) = shares(layout, density, floor);
    let steps = || (0..layout.tensors().len()).map(|number| grid.step(number));
    let parts: Vec<_> =
        layout.tensors().iter().zip(steps()).map(|(tensor, step)| (&wanted[tensor.range()], step)).collect();
    let cuts = cut::cuts(&parts, count, floors);
    let mut residual = wanted;
    let mut sent = Packed::with_capacity(count);
    for ((tensor, step), mut cut) in layout.tensors().iter().zip(steps()).zip(cuts) {
        let left = &mut residual[tensor.range()];
        let mut again = cut;
        let chosen = left.iter().filter(|&&ticks| again.takes(ticks, step));
        let (number, sum) = chosen
            .fold((0_u32, 0.0), |(number, sum), ticks| (number + 1, sum + f64::from(ticks.unsigned_abs())));
        let mean = sum / f64::from(number.max(1));
        let shift = (mean.max(1.0).log2() as u32).min(SHIFT_MAX);
        sent.step_from(tensor.offset as u32, shift);
        for (index, left) in (tensor.offset as u32..).zip(left) {
            if !cut.takes(*left, step) {
                continue;
            }
            let moved = rounded(*left, shift);
            *left = left.wrapping_sub(moved);
            if moved != 0 {
                sent.push(index, clipped(model.ticks()[index as usize], moved));
            }
        }
    }
    Broadcast { sent: Sent::Some(sent), residual }
}

/// How many moves are sent, and how many of each tensor at least.
fn shares(layout: &Layout, density: f32, floor: f32) -> (usize, Vec<usize>) {
    let part =
        |share: f32, len: usize| ((f64::from(share) * len as f64).round() as usize).clamp(1, len.max(1));
    let floors: Vec<_> = layout.tensors().iter().map(|tensor| part(floor, tensor.len)).collect();
    (part(density, layout.len()).max(floors.iter().sum()), floors)
}

/// The multiple of 2^shift nearest to `ticks`.
fn rounded(ticks: i32, shift: u32) -> i32 {
    let step = 1_i64 << shift;
    let multiple = (i64::from(ticks.unsigned_abs()) + step / 2) >> shift;
    // The largest multiple that an i32 holds.
    let magnitude = multiple.min(i64::from(i32::MAX) >> shift) << shift;
    (if ticks < 0 { -magnitude } else { magnitude }) as i32
}

#[cfg(test)]
mod tests;
