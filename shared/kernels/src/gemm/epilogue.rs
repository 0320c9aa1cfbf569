//! What a product does with its finished tiles.

use super::{Epilogue, Place};
use crate::activation::Activation;
use crate::simd::{self, Simd};
use crate::sums::Slot;

/// Channels valid in vector `v` of a tile.
#[inline(always)]
fn lanes<S: Simd>(at: Place, v: usize) -> usize {
    at.columns.saturating_sub(v * S::LANES)
}

/// Stores the raw product; with a slot, also gathers its first two moments.
pub(crate) struct Raw {
    pub(crate) out: *mut f32,
    pub(crate) stride: usize,
    pub(crate) moments: Option<Slot>,
}

impl Epilogue for Raw {
    #[inline(always)]
    unsafe fn apply<S: Simd, const MR: usize, const NV: usize, const EDGE: bool>(
        &self,
        tile: &[[S::V; NV]; MR],
        at: Place,
    ) {
        // SAFETY: rows and columns of `at` lie inside the output; slots are padded to whole vectors.
        unsafe {
            for (i, row) in tile.iter().enumerate() {
                if !EDGE || i < at.rows {
                    let to = self.out.add((at.row + i) * self.stride + at.column);
                    for (v, value) in row.iter().enumerate() {
                        simd::store::<S, EDGE>(to.add(v * S::LANES), *value, lanes::<S>(at, v));
                    }
                }
            }
            if let Some(slot) = self.moments {
                let rows = if EDGE { at.rows } else { MR };
                for v in 0..NV {
                    let mut column = [S::zero(); MR];
                    for (value, row) in column.iter_mut().zip(tile) {
                        *value = row[v];
                    }
                    slot.moments::<S>(at.column + v * S::LANES, &column[..rows], at.row == 0);
                }
            }
        }
    }
}

/// Stores `activation(scale * product + offset)`, plus a residual if there is one.
pub(crate) struct Affine {
    pub(crate) out: *mut f32,
    pub(crate) at: Rows,
    /// Padded; none for a scale of one.
    pub(crate) scale: Option<*const f32>,
    /// Padded.
    pub(crate) offset: *const f32,
    pub(crate) activation: Activation,
    /// Laid out like the output.
    pub(crate) residual: Option<*const f32>,
}

/// Where the rows of an output lie.
#[derive(Clone, Copy)]
pub(crate) enum Rows {
    /// So many values apart.
    Apart(usize),
    /// Each at a place of its own, where whole vectors fit and are written.
    Places(*const usize),
}

impl Epilogue for Affine {
    #[inline(always)]
    unsafe fn apply<S: Simd, const MR: usize, const NV: usize, const EDGE: bool>(
        &self,
        tile: &[[S::V; NV]; MR],
        at: Place,
    ) {
        // SAFETY: rows and columns of `at` lie inside the output; coefficients are padded to whole vectors.
        unsafe {
            let mut starts = [0; MR];
            for (i, start) in starts.iter_mut().enumerate() {
                if !EDGE || i < at.rows {
                    *start = match self.at {
                        Rows::Apart(stride) => (at.row + i) * stride,
                        Rows::Places(places) => *places.add(at.row + i),
                    };
                }
            }
            for v in 0..NV {
                let (c, mut n) = (at.column + v * S::LANES, lanes::<S>(at, v));
                if EDGE && n > 0 && matches!(self.at, Rows::Places(_)) {
                    n = S::LANES;
                }
                let scale = match self.scale {
                    Some(scale) => S::load(scale.add(c)),
                    None => S::splat(1.0),
                };
                let offset = S::load(self.offset.add(c));
                let mut column = [S::zero(); MR];
                for (value, row) in column.iter_mut().zip(tile) {
                    *value = S::fma(row[v], scale, offset);
                }
                self.activation.apply::<S>(&mut column);
                for (i, value) in column.iter().enumerate() {
                    if !EDGE || i < at.rows {
                        let place = starts[i] + c;
                        let mut value = *value;
                        if let Some(residual) = self.residual {
                            value = S::add(value, simd::load::<S, EDGE>(residual.add(place), n));
                        }
                        simd::store::<S, EDGE>(self.out.add(place), value, n);
                    }
                }
            }
        }
    }
}

/// Adds the product to what is there, or replaces it; columns are padded to whole vectors.
pub(crate) struct Accumulate {
    pub(crate) out: *mut f32,
    pub(crate) stride: usize,
    pub(crate) replace: bool,
}

impl Epilogue for Accumulate {
    #[inline(always)]
    unsafe fn apply<S: Simd, const MR: usize, const NV: usize, const EDGE: bool>(
        &self,
        tile: &[[S::V; NV]; MR],
        at: Place,
    ) {
        // SAFETY: rows of `at` lie inside the output, whose rows are padded to whole vectors.
        unsafe {
            for (i, row) in tile.iter().enumerate() {
                if !EDGE || i < at.rows {
                    for (v, value) in row.iter().enumerate() {
                        let to = self.out.add((at.row + i) * self.stride + at.column + v * S::LANES);
                        S::store(to, if self.replace { *value } else { S::add(S::load(to), *value) });
                    }
                }
            }
        }
    }
}

/// Stores an input gradient: plain, plus a residual's gradient, or gated by the activation of the input.
pub(crate) struct Gradient {
    pub(crate) out: *mut f32,
    pub(crate) stride: usize,
    /// Laid out like the output.
    pub(crate) residual: Option<*const f32>,
    pub(crate) gate: Option<Gate>,
}

/// The activation's gate of a normalised input, and the sums its batch norm's backward pass needs.
#[derive(Clone, Copy)]
pub(crate) struct Gate {
    /// The raw input, laid out like the gradient.
    pub(crate) raw: *const f32,
    /// The pending map `scale * raw + offset`, padded.
    pub(crate) scale: *const f32,
    pub(crate) offset: *const f32,
    /// Padded.
    pub(crate) mean: *const f32,
    pub(crate) activation: Activation,
    /// Sum 0: of `g`; sum 1: of `g * (raw - mean)`.
    pub(crate) sums: Option<Slot>,
}

impl Gate {
    /// Normalises and activates raw vectors of channels `c..c + LANES`: the input itself.
    ///
    /// # Safety
    /// As for [`Simd`].
    #[inline(always)]
    pub(crate) unsafe fn open<S: Simd>(&self, c: usize, raws: &mut [S::V]) {
        // SAFETY: coefficients are padded to whole vectors.
        unsafe {
            let (scale, offset) = (S::load(self.scale.add(c)), S::load(self.offset.add(c)));
            for raw in raws.iter_mut() {
                *raw = S::fma(*raw, scale, offset);
            }
            self.activation.apply::<S>(raws);
        }
    }

    /// Closes the gate on one vector per row and adds the open part to the sums.
    ///
    /// # Safety
    /// As for [`Simd`]; vectors `gradients` and `raws` belong to channels `c..c + LANES`.
    #[inline(always)]
    pub(crate) unsafe fn close<S: Simd>(&self, c: usize, gradients: &mut [S::V], raws: &[S::V]) {
        // SAFETY: coefficients and slots are padded to whole vectors.
        unsafe {
            let (scale, offset) = (S::load(self.scale.add(c)), S::load(self.offset.add(c)));
            self.activation.gate::<S>(gradients, |i| S::fma(raws[i], scale, offset));
            if let Some(slot) = self.sums {
                let mean = S::load(self.mean.add(c));
                let (mut sum, mut moment) = (S::load(slot.at(0, c)), S::load(slot.at(1, c)));
                for (g, raw) in gradients.iter().zip(raws) {
                    sum = S::add(sum, *g);
                    moment = S::fma(*g, S::sub(*raw, mean), moment);
                }
                S::store(slot.at(0, c), sum);
                S::store(slot.at(1, c), moment);
            }
        }
    }
}

impl Epilogue for Gradient {
    #[inline(always)]
    unsafe fn apply<S: Simd, const MR: usize, const NV: usize, const EDGE: bool>(
        &self,
        tile: &[[S::V; NV]; MR],
        at: Place,
    ) {
        let rows = if EDGE { at.rows } else { MR };
        // SAFETY: rows and columns of `at` lie inside the gradient, the residual and the raw input.
        unsafe {
            for v in 0..NV {
                let (c, n) = (at.column + v * S::LANES, lanes::<S>(at, v));
                let mut column = [S::zero(); MR];
                for (value, row) in column.iter_mut().zip(tile) {
                    *value = row[v];
                }
                if let Some(gate) = &self.gate {
                    let mut raws = [S::zero(); MR];
                    for (i, raw) in raws.iter_mut().enumerate() {
                        if !EDGE || i < rows {
                            let from = gate.raw.add((at.row + i) * self.stride + c);
                            *raw = simd::load::<S, EDGE>(from, n);
                        }
                    }
                    gate.close::<S>(c, &mut column[..rows], &raws[..rows]);
                }
                for (i, value) in column.iter().enumerate() {
                    if !EDGE || i < rows {
                        let place = (at.row + i) * self.stride + c;
                        let mut value = *value;
                        if let Some(residual) = self.residual {
                            value = S::add(value, simd::load::<S, EDGE>(residual.add(place), n));
                        }
                        simd::store::<S, EDGE>(self.out.add(place), value, n);
                    }
                }
            }
        }
    }
}
