//! Depthwise 3x3 convolutions, stride 1 or 2, padding 1.
//!
//! A ring of three rows holds what the taps need, normalised once on the way in, one zero pixel left and right of
//! each row; rows outside the map are one shared row of zeros. So no pixel is an edge case, which is where planes of
//! three or seven pixels lose elsewhere. Channels are innermost: every tap is a vector operation.

pub(crate) mod backward;
pub(crate) mod forward;

use crate::buffer::Buffer;
use crate::simd::padded;

/// Sizes of a depthwise convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pub(crate) stride: usize,
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

    /// Values of one ring row for a map of `width` pixels: a zero pixel left, two right (a group of four input
    /// pixels at stride 2 looks one further).
    fn ring_row(&self, width: usize) -> usize {
        (width + 3) * padded(self.channels)
    }
}

/// `[3, 3, channels]` with channels padded by zeros.
pub(crate) fn pad_kernel(kernel: &[f32], channels: usize) -> Buffer {
    assert_eq!(kernel.len(), 9 * channels, "a 3x3 kernel per channel");
    let width = padded(channels);
    let mut out = Buffer::zeroed(9 * width);
    for (to, from) in out.chunks_exact_mut(width).zip(kernel.chunks_exact(channels)) {
        to[..channels].copy_from_slice(from);
    }
    out
}

/// Zeroes what fills never write: the pixels left and right of three rows of `width`, and the fourth row whole.
///
/// # Safety
/// `ring` holds four rows of `ring_row` values.
#[inline(always)]
unsafe fn clear_ring(ring: *mut f32, ring_row: usize, width: usize, channels: usize) {
    let pixel = padded(channels);
    // SAFETY: inside the four rows.
    unsafe {
        for slot in 0..3 {
            let row = ring.add(slot * ring_row);
            row.write_bytes(0, pixel);
            row.add((width + 1) * pixel).write_bytes(0, ring_row - (width + 1) * pixel);
        }
        ring.add(3 * ring_row).write_bytes(0, ring_row);
    }
}

/// Which rows a ring's three slots hold.
struct Tags([usize; 3]);

impl Tags {
    fn new() -> Self {
        Self([usize::MAX; 3])
    }

    /// Notes that `row` goes to `slot`; true if it was not there before.
    #[inline(always)]
    fn claim(&mut self, slot: usize, row: usize) -> bool {
        let new = self.0[slot] != row;
        self.0[slot] = row;
        new
    }
}
