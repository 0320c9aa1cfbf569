//! Depthwise convolutions, 3x3 or 5x5, stride 1 or 2, padded so that stride 1 keeps the size.
//!
//! A ring of as many rows as the kernel has holds what the taps need, normalised once on the way in, zero pixels left
//! and right of each row; rows outside the map are one shared row of zeros. So no pixel is an edge case, which is where
//! planes of three or seven pixels lose elsewhere. Channels are innermost: every tap is a vector operation.

pub(crate) mod backward;
pub(crate) mod forward;

use crate::buffer::Buffer;
use crate::error::Error;
use crate::simd::{Simd, padded};

/// Sizes of a depthwise convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    /// Of the kernel, both sides.
    pub(crate) side: usize,
    pub(crate) stride: usize,
}

/// Checks that there is code for a kernel of `side` and a `stride`.
pub(crate) fn check_form(side: usize, stride: usize) -> Result<(), Error> {
    match (side, stride) {
        (3 | 5, 1 | 2) => Ok(()),
        (3 | 5, found) => Err(Error::Stride { found }),
        (found, _) => Err(Error::Kernel { found }),
    }
}

impl Geometry {
    pub(crate) fn out_height(&self) -> usize {
        self.height.div_ceil(self.stride)
    }

    pub(crate) fn out_width(&self) -> usize {
        self.width.div_ceil(self.stride)
    }

    /// Pixels of the input.
    pub(crate) fn rows(&self) -> usize {
        self.batch * self.height * self.width
    }

    /// Pixels of the output.
    pub(crate) fn out_rows(&self) -> usize {
        self.batch * self.out_height() * self.out_width()
    }

    /// Values of one ring row for a map of `width` pixels: half a kernel of zero pixels left, and right one more than
    /// that (a group of four input pixels at stride 2 looks one further).
    fn ring_row(&self, width: usize) -> usize {
        (width + self.side) * padded(self.channels)
    }
}

/// Whether a loop over groups of pixels has a version for every rest and for the channels' edge. Worth it for 9 taps; 25
/// make each version long to compile, and what it would save small beside them.
pub(crate) const fn every_rest(side: usize) -> bool {
    side == 3
}

/// Whether pixels come in groups of four, not two.
pub(crate) const fn fours<S: Simd>(side: usize) -> bool {
    side == 3 || S::LONG_BODIES
}

/// `[side, side, channels]` with channels padded by zeros.
pub(crate) fn pad_kernel(kernel: &[f32], side: usize, channels: usize) -> Buffer {
    assert_eq!(kernel.len(), side * side * channels, "a square kernel per channel");
    let width = padded(channels);
    let mut out = Buffer::zeroed(side * side * width);
    for (to, from) in out.chunks_exact_mut(width).zip(kernel.chunks_exact(channels)) {
        to[..channels].copy_from_slice(from);
    }
    out
}

/// Zeroes what fills never write: the pixels left and right of `K` rows of `width`, and the row after them whole.
///
/// # Safety
/// `ring` holds `K + 1` rows of `ring_row` values.
#[inline(always)]
unsafe fn clear_ring<const K: usize>(ring: *mut f32, ring_row: usize, width: usize, channels: usize) {
    let pixel = padded(channels);
    let (left, filled) = (K / 2 * pixel, (K / 2 + width) * pixel);
    // SAFETY: inside the rows.
    unsafe {
        for slot in 0..K {
            let row = ring.add(slot * ring_row);
            row.write_bytes(0, left);
            row.add(filled).write_bytes(0, ring_row - filled);
        }
        ring.add(K * ring_row).write_bytes(0, ring_row);
    }
}

/// Which rows a ring's slots hold.
struct Tags<const K: usize>([usize; K]);

impl<const K: usize> Tags<K> {
    fn new() -> Self {
        Self([usize::MAX; K])
    }

    /// Notes that `row` goes to `slot`; true if it was not there before.
    #[inline(always)]
    fn claim(&mut self, slot: usize, row: usize) -> bool {
        let new = self.0[slot] != row;
        self.0[slot] = row;
        new
    }
}
