//! Per-channel sums gathered in the epilogues of a pass: f32 within a block of rows, f64 across.

use crate::buffer::Buffer;
use crate::simd::{PAD, Simd, padded};
use crate::threads::Output;
use crate::unless_interpreted;

/// Rows (pixels) after which block sums are folded into f64.
pub(crate) const BLOCK_PIXELS: usize = unless_interpreted(96, 16);

/// Memory for `kinds` sums per channel in each part of a pass.
pub(crate) struct Sums {
    wide: Vec<f64>,
    narrow: Buffer,
    stride: usize,
    kinds: usize,
    parts: usize,
}

impl Sums {
    pub(crate) fn new(channels: usize, kinds: usize, parts: usize) -> Self {
        let stride = padded(channels);
        Self {
            wide: vec![0.0; parts * kinds * stride],
            narrow: Buffer::zeroed(parts * (kinds + 1) * stride),
            stride,
            kinds,
            parts,
        }
    }

    pub(crate) fn view(&mut self) -> SumsView<'_> {
        SumsView {
            wide: Output::new(&mut self.wide),
            narrow: Output::new(&mut self.narrow),
            stride: self.stride,
            kinds: self.kinds,
        }
    }

    /// Sum `kind` of each channel over all parts, in the order of the parts.
    pub(crate) fn total(&self, kind: usize, channels: usize) -> Vec<f64> {
        let mut out = vec![0.0; channels];
        for part in 0..self.parts {
            let from = (part * self.kinds + kind) * self.stride;
            for (o, v) in out.iter_mut().zip(&self.wide[from..from + channels]) {
                *o += v;
            }
        }
        out
    }
}

/// [`Sums`] as a pass holds it.
#[derive(Clone, Copy)]
pub(crate) struct SumsView<'a> {
    wide: Output<'a, f64>,
    narrow: Output<'a>,
    stride: usize,
    kinds: usize,
}

impl SumsView<'_> {
    /// The memory of one part.
    ///
    /// # Safety
    /// `part` is below the number of parts, and used by one thread at a time.
    #[inline(always)]
    pub(crate) unsafe fn part(self, part: usize) -> Slot {
        // SAFETY: part < parts, so the two blocks lie inside the allocations.
        unsafe {
            Slot {
                wide: self.wide.at(part * self.kinds * self.stride),
                narrow: self.narrow.at(part * (self.kinds + 1) * self.stride),
                stride: self.stride,
                kinds: self.kinds,
            }
        }
    }
}

/// The sums of one part: narrow rows `0..kinds` are block sums, row `kinds` is the shift of [`Slot::moments`].
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    wide: *mut f64,
    narrow: *mut f32,
    stride: usize,
    kinds: usize,
}

impl Slot {
    /// Block sum `kind` of channel `channel`.
    ///
    /// # Safety
    /// `kind <= kinds` and `channel` is below the padded number of channels.
    #[inline(always)]
    pub(crate) unsafe fn at(self, kind: usize, channel: usize) -> *mut f32 {
        // SAFETY: inside the part's (kinds + 1) x stride values.
        unsafe { self.narrow.add(kind * self.stride + channel) }
    }

    /// Adds the rows of one vector of channels to the shifted sums (0: of `x - shift`, 1: of its square). The
    /// first row of a block becomes the shift and restarts both, so that a mean far from zero costs no digits.
    ///
    /// # Safety
    /// As for [`Simd`]; `channel` is a multiple of `LANES` below the padded number of channels; `kinds` is 2.
    #[inline(always)]
    pub(crate) unsafe fn moments<S: Simd>(self, channel: usize, rows: &[S::V], starts: bool) {
        // SAFETY: channels are padded to a multiple of LANES.
        unsafe {
            let (first, second, shift) = (self.at(0, channel), self.at(1, channel), self.at(2, channel));
            let (mut sum, mut square, about) = if starts {
                S::store(shift, rows[0]);
                (S::zero(), S::zero(), rows[0])
            } else {
                (S::load(first), S::load(second), S::load(shift))
            };
            for row in rows {
                let distance = S::sub(*row, about);
                sum = S::add(sum, distance);
                square = S::fma(distance, distance, square);
            }
            S::store(first, sum);
            S::store(second, square);
        }
    }

    /// Moves shifted block sums over `count` rows into f64 sums of `x` and `x^2`.
    ///
    /// # Safety
    /// `channels` is the number of channels; `kinds` is 2.
    #[inline(always)]
    pub(crate) unsafe fn fold_moments(self, count: usize, channels: usize) {
        let n = count as f64;
        for c in 0..channels {
            // SAFETY: c < channels <= stride.
            unsafe {
                let (sum, square, shift) =
                    (f64::from(*self.at(0, c)), f64::from(*self.at(1, c)), f64::from(*self.at(2, c)));
                *self.wide.add(c) += sum + n * shift;
                *self.wide.add(self.stride + c) += square + shift * (2.0 * sum + n * shift);
            }
        }
    }

    /// Moves all block sums into f64 and restarts them from zero.
    ///
    /// # Safety
    /// None beyond a valid slot.
    #[inline(always)]
    pub(crate) unsafe fn fold(self) {
        for i in 0..self.kinds * self.stride {
            // SAFETY: i is inside the part's kinds x stride values.
            unsafe {
                *self.wide.add(i) += f64::from(*self.narrow.add(i));
                *self.narrow.add(i) = 0.0;
            }
        }
    }
}

const _: () = assert!(PAD.is_power_of_two(), "vector widths divide the padding");
