//! Depthwise convolutions, 3x3 or 5x5, stride 1 or 2, padded so that stride 1 keeps the size.
//!
//! A ring of as many rows as the kernel has holds what the taps need, normalised once on the way in, zero pixels left
//! and right of each row; rows outside the map are one shared row of zeros. So no pixel is an edge case, which is where
//! planes of three or seven pixels lose elsewhere. Channels are innermost: every tap is a vector operation.

pub(crate) mod backward;
pub(crate) mod forward;

use crate::buffer::Buffer;
use crate::error::Error;
use crate::simd::padded;

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

/// Side of the largest kernel.
const SIDE_MAX: usize = 5;

/// A form of kernel that loops are written for: side and stride, known when compiled, or `Form<0, 0>`, which reads both
/// and has one short loop. The common form has a body for every rest of pixels; what 25 taps or stride 2 would save by
/// more of them is small beside what they take to compile.
#[derive(Clone, Copy)]
pub(crate) struct Form<const SIDE: usize, const STRIDE: usize>;

impl<const SIDE: usize, const STRIDE: usize> Form<SIDE, STRIDE> {
    /// Whether the form is read.
    pub(crate) const READ: bool = SIDE == 0;
    /// Whether three pixels at the end of a row have a body.
    pub(crate) const THREES: bool = SIDE == 3 && STRIDE == 1;

    /// Side and stride of the form, or those given.
    #[inline(always)]
    pub(crate) fn of(side: usize, stride: usize) -> (usize, usize) {
        if Self::READ { (side, stride) } else { (SIDE, STRIDE) }
    }
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

/// Zeroes what fills never write: the pixels left and right of `side` rows of `width`, and the row after them whole.
///
/// # Safety
/// `ring` holds `side + 1` rows of `ring_row` values.
#[inline(always)]
unsafe fn clear_ring(ring: *mut f32, side: usize, ring_row: usize, width: usize, channels: usize) {
    let pixel = padded(channels);
    let (left, filled) = (side / 2 * pixel, (side / 2 + width) * pixel);
    // SAFETY: inside the rows.
    unsafe {
        for slot in 0..side {
            let row = ring.add(slot * ring_row);
            row.write_bytes(0, left);
            row.add(filled).write_bytes(0, ring_row - filled);
        }
        ring.add(side * ring_row).write_bytes(0, ring_row);
    }
}

/// Which rows a ring's slots hold.
struct Tags([usize; SIDE_MAX]);

impl Tags {
    fn new() -> Self {
        Self([usize::MAX; SIDE_MAX])
    }

    /// Notes that `row` goes to `slot`; true if it was not there before.
    #[inline(always)]
    fn claim(&mut self, slot: usize, row: usize) -> bool {
        let new = self.0[slot] != row;
        self.0[slot] = row;
        new
    }
}
