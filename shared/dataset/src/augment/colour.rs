//! Photometric variation: every step is linear, so all of them are one matrix for each image.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::AugmentSpec;

/// Luma weights of red, green and blue (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
/// The level that contrast leaves alone.
const MIDDLE: f32 = 127.5;

/// `out = matrix * in + offset` on red, green and blue in 0..255.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ColourMatrix {
    matrix: [[f32; 3]; 3],
    offset: f32,
}

impl ColourMatrix {
    pub(super) const IDENTITY: Self =
        Self { matrix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], offset: 0.0 };

    /// Channel gains, then contrast about the middle, brightness, saturation.
    pub(super) fn draw(spec: &AugmentSpec, rng: &mut ChaCha8Rng) -> Self {
        let draws: [f32; 6] = rng.random();
        let signed = draws.map(|draw| 2.0 * draw - 1.0);
        let factor = |strength: f32, draw: f32| 1.0 + strength * draw;
        let contrast = factor(spec.contrast, signed[0]);
        let saturation = factor(spec.saturation, signed[1]);
        let brightness = 255.0 * spec.brightness * signed[2];
        let gains = [signed[3], signed[4], signed[5]].map(|draw| factor(spec.colour_shift, draw));
        let mut matrix = [[0.0; 3]; 3];
        for (out, row) in matrix.iter_mut().enumerate() {
            for (from, weight) in row.iter_mut().enumerate() {
                // Saturation moves each channel away from the luma; grey stays grey, so offsets pass unchanged.
                let own = if out == from { saturation } else { 0.0 };
                *weight = (own + (1.0 - saturation) * LUMA[from]) * contrast * gains[from];
            }
        }
        Self { matrix, offset: MIDDLE * (1.0 - contrast) + brightness }
    }

    /// Applies it to a row of pixels and rounds to bytes.
    pub(super) fn apply(&self, row: &[f32], out: &mut [u8]) {
        // The cast saturates, which is the clamp to 0..=255.
        let byte = |value: f32| (value + 0.5) as u8;
        if *self == Self::IDENTITY {
            for (out, &value) in out.iter_mut().zip(row) {
                *out = byte(value);
            }
            return;
        }
        let [r, g, b] = self.matrix;
        for (out, pixel) in out.chunks_exact_mut(3).zip(row.chunks_exact(3)) {
            let mix = |w: [f32; 3]| byte(w[0] * pixel[0] + w[1] * pixel[1] + w[2] * pixel[2] + self.offset);
            out[0] = mix(r);
            out[1] = mix(g);
            out[2] = mix(b);
        }
    }
}
