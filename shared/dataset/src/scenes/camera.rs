//! From light to bytes: exposure, colour cast, vignette, blur, noise.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::paint::Layer;
use super::setting::Setting;
use crate::image::Image;

/// Takes the picture.
pub(super) fn expose(mut layer: Layer, setting: &Setting, rng: &mut ChaCha8Rng) -> Image {
    let (width, height) = (layer.width as usize, layer.height as usize);
    let blur = setting.blur * layer.width.min(layer.height) as f32 / 160.0;
    // Whole passes, then one of the remaining strength.
    for pass in 0..blur.ceil() as u32 {
        soften(&mut layer.pixels, width, (blur - pass as f32).min(1.0));
    }
    let cast = [1.0 + setting.warmth, 1.0, 1.0 - setting.warmth];
    let gains = cast.map(|c| 255.0 * c * setting.exposure);
    // The sum of two bytes is spread with a standard deviation of 104.5.
    let noise = 255.0 * setting.noise / 104.5;
    let mut draws = vec![0_u8; width * height * 6];
    rng.fill_bytes(&mut draws);
    let mut image = Image::filled(layer.width, layer.height, [0; 3]);
    let inputs = layer.pixels.chunks_exact(3).zip(draws.chunks_exact(6));
    for (number, (out, (pixel, draws))) in image.pixels_mut().chunks_exact_mut(3).zip(inputs).enumerate() {
        let x = (number % width) as f32 / width as f32 - 0.5;
        let y = (number / width) as f32 / height as f32 - 0.5;
        let fall = 1.0 - setting.vignette * 2.0 * (x * x + y * y);
        for channel in 0..3 {
            let grain = f32::from(draws[2 * channel]) + f32::from(draws[2 * channel + 1]) - 255.0;
            // The cast saturates as a sensor does.
            out[channel] = (pixel[channel] * gains[channel] * fall + noise * grain + 0.5) as u8;
        }
    }
    image
}

/// A blur over 3x3 pixels: each pixel moves towards the mean of its neighbours, along rows and then columns.
fn soften(pixels: &mut [f32], width: usize, strength: f32) {
    let stride = width * 3;
    let side = 0.25 * strength;
    let mut before = vec![0.0_f32; stride];
    for row in pixels.chunks_exact_mut(stride) {
        before.copy_from_slice(row);
        for at in 3..stride - 3 {
            row[at] = before[at] + side * (before[at - 3] + before[at + 3] - 2.0 * before[at]);
        }
    }
    // Down the columns, a whole row at a time: `before` is the row above as it was.
    before.copy_from_slice(&pixels[..stride]);
    for y in 1..(pixels.len() / stride).saturating_sub(1) {
        let (upper, lower) = pixels.split_at_mut((y + 1) * stride);
        let row = &mut upper[y * stride..];
        for ((value, above), below) in row.iter_mut().zip(&mut before).zip(&lower[..stride]) {
            let own = *value;
            *value += side * (*above + below - 2.0 * own);
            *above = own;
        }
    }
}
