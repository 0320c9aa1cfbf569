//! The network input being filled.

use super::Output;
use crate::{PAD, PIXEL_MEAN, PIXEL_STD};

pub(super) struct Canvas<'a> {
    width: u32,
    height: u32,
    output: Output<'a>,
    /// Normalised value of each byte, for each channel.
    table: [[f32; 256]; 3],
}

impl<'a> Canvas<'a> {
    pub(super) fn new((width, height): (u32, u32), output: Output<'a>) -> Self {
        let found = match &output {
            Output::Normalised(pixels) => pixels.len(),
            Output::Bytes(pixels) => pixels.len(),
        };
        let expected = width as usize * height as usize * 3;
        assert_eq!(
            found, expected,
            "output of {found} elements for an input of {width}x{height}x3 = {expected}"
        );
        let table = std::array::from_fn(|channel| {
            std::array::from_fn(|byte| (byte as f32 / 255.0 - PIXEL_MEAN[channel]) / PIXEL_STD[channel])
        });
        Self { width, height, output, table }
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Padding everywhere.
    pub(super) fn fill(&mut self) {
        match &mut self.output {
            Output::Bytes(pixels) => pixels.fill(PAD),
            Output::Normalised(pixels) => {
                let grey = std::array::from_fn::<f32, 3, _>(|channel| self.table[channel][usize::from(PAD)]);
                for pixel in pixels.chunks_exact_mut(3) {
                    pixel.copy_from_slice(&grey);
                }
            }
        }
    }

    /// Writes pixels `[n, 3]` into row `y` from column `x` on.
    pub(super) fn write(&mut self, x: u32, y: u32, row: &[u8]) {
        let at = (y as usize * self.width as usize + x as usize) * 3;
        match &mut self.output {
            Output::Bytes(pixels) => pixels[at..at + row.len()].copy_from_slice(row),
            Output::Normalised(pixels) => {
                let [r, g, b] = &self.table;
                for (out, pixel) in pixels[at..at + row.len()].chunks_exact_mut(3).zip(row.chunks_exact(3)) {
                    out[0] = r[usize::from(pixel[0])];
                    out[1] = g[usize::from(pixel[1])];
                    out[2] = b[usize::from(pixel[2])];
                }
            }
        }
    }
}
