//! The published model: int32 multiples of a per-tensor power-of-two step.
//!
//! Floats do not add associatively, so a model kept in floats would depend on arrival order and thread count. On a grid it
//! does not, and equal models have equal digests.

use std::sync::{Arc, Weak};

use thiserror::Error;

use crate::{Digest, Digester, Layout};

/// A tensor's step is this many binary digits below its range: 2^-20 of the largest magnitude at the start.
const STEP_BITS: i32 = 20;
/// Ranges below this are treated as this, so that tensors that start at zero (biases) can still move.
const RANGE_MIN: f32 = 0.125;
/// Ticks that are turned into bytes together.
const TICKS_AT_A_TIME: usize = 4096;

/// One power-of-two step per tensor, `2^exponent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    exponents: Vec<i8>,
}

/// Why values or exponents do not fit a layout.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GridError {
    /// Wrong number of values, ticks or exponents.
    #[error("expected {expected} {what}, found {found}")]
    Length {
        /// `values`, `ticks` or `exponents`.
        what: &'static str,
        /// What the layout asks for.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// A value is NaN or infinite, or too large for its tensor's step.
    #[error("tensor {tensor} holds {value} at position {position}, which has no place on its grid")]
    Value {
        /// Name of the tensor.
        tensor: String,
        /// Position within the tensor.
        position: usize,
        /// The offending value as text.
        value: String,
    },
}

impl Grid {
    /// The grid that suits `values` (in `layout`): step = 2^-20 of each tensor's largest magnitude, at least 2^-23.
    pub fn for_values(layout: &Layout, values: &[f32]) -> Self {
        let exponents = layout
            .tensors()
            .iter()
            .map(|tensor| {
                let finite = values[tensor.range()].iter().filter(|value| value.is_finite());
                let range = finite.fold(RANGE_MIN, |range, value| range.max(value.abs()));
                // `range` lies in [2^e, 2^(e+1)); taking e+1 keeps every magnitude at most 2^20 ticks.
                let exponent = range.log2().floor() as i32 + 1 - STEP_BITS;
                exponent.clamp(-60, 60) as i8
            })
            .collect();
        Self { exponents }
    }

    /// A grid from stored exponents.
    ///
    /// # Errors
    /// [`GridError::Length`] when there is not one exponent per tensor.
    pub fn from_exponents(layout: &Layout, exponents: Vec<i8>) -> Result<Self, GridError> {
        let expected = layout.tensors().len();
        if exponents.len() != expected {
            return Err(GridError::Length { what: "exponents", expected, found: exponents.len() });
        }
        Ok(Self { exponents })
    }

    /// One exponent per tensor.
    pub fn exponents(&self) -> &[i8] {
        &self.exponents
    }

    /// The step of tensor number `tensor`.
    pub fn step(&self, tensor: usize) -> f64 {
        f64::from(self.exponents[tensor]).exp2()
    }
}

/// Binary digits by which a start is coarser.
const START_COARSE_BITS: u32 = 10;

/// A model on its grid. Clones share their ticks until one of them moves; those that are only [`Faint`] do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    layout: Arc<Layout>,
    grid: Grid,
    ticks: Arc<Vec<i32>>,
}

/// A model for as long as somebody else has it and has not moved it.
#[derive(Clone, Debug)]
pub struct Faint {
    layout: Arc<Layout>,
    grid: Grid,
    ticks: Weak<Vec<i32>>,
}

impl Faint {
    /// The model, if it is still there.
    pub fn upgrade(&self) -> Option<Canonical> {
        let (layout, grid) = (self.layout.clone(), self.grid.clone());
        Some(Canonical { layout, grid, ticks: self.ticks.upgrade()? })
    }

    /// Whether a model has the same tensors and steps.
    pub fn is_like(&self, model: &Canonical) -> bool {
        self.layout == model.layout && self.grid == model.grid
    }
}

impl Canonical {
    /// Rounds `values` (in `layout`, half away from zero) to the grid that suits them.
    ///
    /// # Errors
    /// A wrong length, or a value that is not finite.
    pub fn from_values(layout: Arc<Layout>, values: &[f32]) -> Result<Self, GridError> {
        if values.len() != layout.len() {
            return Err(GridError::Length { what: "values", expected: layout.len(), found: values.len() });
        }
        let grid = Grid::for_values(&layout, values);
        let mut ticks = Vec::with_capacity(values.len());
        for (index, tensor) in layout.tensors().iter().enumerate() {
            let step = grid.step(index);
            for (position, &value) in values[tensor.range()].iter().enumerate() {
                let tick = (f64::from(value) / step).round();
                if !tick.is_finite() || tick.abs() > f64::from(i32::MAX) {
                    let (tensor, value) = (tensor.spec.name.clone(), value.to_string());
                    return Err(GridError::Value { tensor, position, value });
                }
                ticks.push(tick as i32);
            }
        }
        Ok(Self { layout, grid, ticks: ticks.into() })
    }

    /// Version 0 of a run that starts from `values`, on a grid that is coarser than the one it moves on: 2^-10 of each tensor's range, which
    /// random and trained weights bear alike, and which costs half as much to fetch. The same for the coordinator and for a device that
    /// has the same values.
    ///
    /// # Errors
    /// As [`Canonical::from_values`].
    pub fn start(layout: Arc<Layout>, values: &[f32]) -> Result<Self, GridError> {
        Ok(Self::from_values(layout, values)?.coarsened(START_COARSE_BITS))
    }

    /// A model from stored parts.
    ///
    /// # Errors
    /// [`GridError::Length`] when the parts do not fit the layout.
    pub fn from_ticks(layout: Arc<Layout>, grid: Grid, ticks: Vec<i32>) -> Result<Self, GridError> {
        if ticks.len() != layout.len() {
            return Err(GridError::Length { what: "ticks", expected: layout.len(), found: ticks.len() });
        }
        let grid = Grid::from_exponents(&layout, grid.exponents)?;
        Ok(Self { layout, grid, ticks: ticks.into() })
    }

    /// The same model, for whoever can do without it once it moves.
    pub fn faint(&self) -> Faint {
        Faint { layout: self.layout.clone(), grid: self.grid.clone(), ticks: Arc::downgrade(&self.ticks) }
    }

    /// Takes the ticks out; what stays has none and is of no use any more.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self { layout: self.layout.clone(), grid: self.grid.clone(), ticks: std::mem::take(&mut self.ticks) }
    }

    /// The layout of the ticks.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The steps.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The integers, in layout order.
    pub fn ticks(&self) -> &[i32] {
        &self.ticks
    }

    /// Moves every value by `moves` (ticks, layout order), saturating at the ends of i32.
    pub fn advance(&mut self, moves: &[i32]) {
        debug_assert_eq!(moves.len(), self.ticks.len());
        for (tick, step) in Arc::make_mut(&mut self.ticks).iter_mut().zip(moves) {
            *tick = tick.saturating_add(*step);
        }
    }

    /// As [`Canonical::advance`], for single values: `(index, move)`. Indices outside the layout are nobody's.
    pub fn advance_at(&mut self, moves: impl Iterator<Item = (u32, i32)>) {
        self.change_at(moves, i32::saturating_add);
    }

    fn change_at(&mut self, moves: impl Iterator<Item = (u32, i32)>, add: impl Fn(i32, i32) -> i32) {
        let ticks = Arc::make_mut(&mut self.ticks);
        for (index, step) in moves {
            if let Some(tick) = ticks.get_mut(index as usize) {
                *tick = add(*tick, step);
            }
        }
    }

    /// The same model on a coarser grid within its own: every value rounded to a multiple of 2^`bits` steps (`bits` up to 20, half towards
    /// plus infinity).
    #[must_use]
    pub fn coarsened(mut self, bits: u32) -> Self {
        let half = (1 << bits) >> 1;
        let ticks = Arc::make_mut(&mut self.ticks);
        ticks.iter_mut().for_each(|tick| *tick = tick.saturating_add(half) >> bits << bits);
        self
    }

    /// Moves single values, `(index, ticks)`, wrapping at the ends of i32: so moves can be added up beforehand, in any order. Indices
    /// outside the layout are nobody's.
    pub fn move_at(&mut self, moves: &[(u32, i32)]) {
        self.change_at(moves.iter().copied(), i32::wrapping_add);
    }

    /// The values as f32; exact while |tick| < 2^24, correctly rounded beyond.
    pub fn values(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.ticks.len());
        for (index, tensor) in self.layout.tensors().iter().enumerate() {
            let step = self.grid.step(index);
            values.extend(self.ticks[tensor.range()].iter().map(|&tick| (f64::from(tick) * step) as f32));
        }
        values
    }

    /// Digest over layout, steps and ticks: equal digests mean bit-equal models.
    pub fn digest(&self) -> Digest {
        let exponents: Vec<u8> =
            self.grid.exponents.iter().map(|exponent| exponent.to_le_bytes()[0]).collect();
        let mut digest = Digester::default();
        for part in [b"fovea model 1\n", &self.layout.digest().0[..], &exponents] {
            digest.update(part);
        }
        // A copy as bytes of the whole model would cost as much memory as the model.
        let mut bytes = Vec::with_capacity(4 * TICKS_AT_A_TIME);
        for ticks in self.ticks.chunks(TICKS_AT_A_TIME) {
            bytes.clear();
            bytes.extend(ticks.iter().flat_map(|tick| tick.to_le_bytes()));
            digest.update(&bytes);
        }
        digest.finish()
    }
}
