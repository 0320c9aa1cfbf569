//! Ground, light and camera of a picture.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::backdrop::Texture;

/// All that a place and a moment give to a picture apart from the things on it. Colours are 0..1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Setting {
    pub(super) texture: Texture,
    /// Mean colour of the ground.
    pub(super) tone: [f32; 3],
    /// How strong the texture is.
    pub(super) contrast: f32,
    /// Size of the texture relative to the picture, about 1.
    pub(super) grain: f32,
    /// Direction of the light in the picture, a unit vector.
    pub(super) light: [f32; 2],
    /// How strongly light and shadow show.
    pub(super) relief: f32,
    pub(super) exposure: f32,
    /// Positive is yellowish, negative bluish.
    pub(super) warmth: f32,
    pub(super) vignette: f32,
    /// Passes of a small blur.
    pub(super) blur: f32,
    /// Standard deviation of the sensor noise.
    pub(super) noise: f32,
}

impl Setting {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let angle = rng.random_range(0.0..std::f32::consts::TAU);
        let value = rng.random_range(0.22..0.78);
        Self {
            texture: Texture::draw(rng),
            tone: hsv(rng.random(), rng.random_range(0.0..0.45), value),
            contrast: rng.random_range(0.08..0.3),
            grain: rng.random_range(0.7..1.6),
            light: [angle.cos(), angle.sin()],
            relief: rng.random_range(0.5..1.0),
            exposure: rng.random_range(0.75..1.2),
            warmth: rng.random_range(-0.12..0.12),
            vignette: rng.random_range(0.0..0.4),
            blur: rng.random_range(0.0..1.6),
            noise: rng.random_range(0.005..0.045),
        }
    }

    /// Between this setting and a site's own: at `shift` 0 this one, at 1 nearly the site's.
    pub(super) fn towards(self, own: &Self, shift: f32, rng: &mut ChaCha8Rng) -> Self {
        let texture = if rng.random::<f32>() < shift { own.texture } else { self.texture };
        // Weather and time of day remain at any place.
        let shift = 0.85 * shift;
        let mix = |a: f32, b: f32| a + (b - a) * shift;
        let light = [mix(self.light[0], own.light[0]), mix(self.light[1], own.light[1])];
        let length = light[0].hypot(light[1]).max(1e-3);
        Self {
            texture,
            tone: std::array::from_fn(|c| mix(self.tone[c], own.tone[c])),
            contrast: mix(self.contrast, own.contrast),
            grain: mix(self.grain, own.grain),
            light: light.map(|part| part / length),
            relief: mix(self.relief, own.relief),
            exposure: mix(self.exposure, own.exposure),
            warmth: mix(self.warmth, own.warmth),
            vignette: mix(self.vignette, own.vignette),
            blur: mix(self.blur, own.blur),
            noise: mix(self.noise, own.noise),
        }
    }
}

/// The colour of something painted or metallic.
pub(super) fn paint_colour(rng: &mut ChaCha8Rng) -> [f32; 3] {
    hsv(rng.random(), rng.random_range(0.0..0.9), rng.random_range(0.3..0.95))
}

/// Makes a colour darker or lighter until it stands out from the ground: what nobody can see nobody can label.
pub(super) fn apart(colour: [f32; 3], ground: [f32; 3], contrast: f32) -> [f32; 3] {
    let least = 0.2 + 0.5 * contrast;
    let luma = |c: [f32; 3]| 0.3 * c[0] + 0.6 * c[1] + 0.1 * c[2];
    let (own, other) = (luma(colour), luma(ground));
    let gap = own - other;
    let chroma = (0..3).map(|c| ((colour[c] - own) - (ground[c] - other)).abs()).fold(0.0, f32::max);
    if gap.abs() + 0.5 * chroma >= least {
        return colour;
    }
    let brighter = if other < 0.35 {
        true
    } else if other > 0.65 {
        false
    } else {
        gap > 0.0
    };
    let wanted = if brighter { other + least } else { (other - least).max(0.03) };
    colour.map(|c| (c * wanted / own.max(0.02)).clamp(0.0, 1.0))
}

/// Hue, saturation and value, each 0..1, to red, green and blue.
fn hsv(hue: f32, saturation: f32, value: f32) -> [f32; 3] {
    [5.0, 3.0, 1.0].map(|n| {
        let k = (n + hue * 6.0) % 6.0;
        value * (1.0 - saturation * k.min(4.0 - k).clamp(0.0, 1.0))
    })
}
