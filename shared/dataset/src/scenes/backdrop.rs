//! The ground that things lie on: textures from value noise.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::paint::Layer;
use super::setting::Setting;

/// A kind of ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Texture {
    Concrete,
    Wood,
    Tiles,
    Cloth,
    Brushed,
    Gravel,
    Stains,
}

const TEXTURES: [Texture; 7] = [
    Texture::Concrete,
    Texture::Wood,
    Texture::Tiles,
    Texture::Cloth,
    Texture::Brushed,
    Texture::Gravel,
    Texture::Stains,
];

impl Texture {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        TEXTURES[rng.random_range(0..TEXTURES.len())]
    }

    /// The height of the texture at a point, about -1..1. The shorter side of a picture is 12 units long.
    fn at(self, noise: Noise, x: f32, y: f32) -> f32 {
        match self {
            Self::Concrete => 0.7 * noise.rough(x, y) + 0.5 * noise.at(x * 9.0, y * 9.0),
            Self::Wood => {
                let rings = (x * 2.2 + 3.0 * noise.at(x * 0.4, y * 0.12)).sin();
                0.6 * rings + 0.4 * noise.at(x * 7.0, y * 0.5)
            }
            Self::Tiles => {
                let (column, row) = ((x / 2.6).floor(), (y / 2.6).floor());
                let (u, v) = (x / 2.6 - column, y / 2.6 - row);
                let joint = u.min(v) < 0.045;
                if joint {
                    -1.3
                } else {
                    0.5 * noise.lattice(column as i32, row as i32) + 0.3 * noise.at(x, y)
                }
            }
            Self::Cloth => 0.5 * (x * 9.0).sin() * (y * 9.0).sin() + 0.35 * noise.rough(x * 0.6, y * 0.6),
            Self::Brushed => 0.6 * noise.at(x * 0.25, y * 11.0) + 0.35 * noise.at(x * 0.8, y * 3.0),
            Self::Gravel => {
                let stones = noise.at(x * 2.4, y * 2.4);
                1.6 * stones.abs() - 0.6 + 0.4 * noise.at(x * 6.0, y * 6.0)
            }
            Self::Stains => {
                let stain = noise.rough(x * 0.35, y * 0.35);
                if stain > 0.12 { 0.7 } else { 1.5 * stain - 0.2 }
            }
        }
    }
}

/// Paints the whole layer. Each picture shows another part of the ground, turned and scaled.
pub(super) fn paint(setting: &Setting, layer: &mut Layer, rng: &mut ChaCha8Rng) {
    let noise = Noise(rng.random());
    let angle: f32 = rng.random_range(0.0..std::f32::consts::TAU);
    let (sin, cos) = angle.sin_cos();
    let shift: [f32; 2] = [rng.random_range(-500.0..500.0), rng.random_range(-500.0..500.0)];
    let (width, height) = (layer.width, layer.height);
    let unit = 12.0 * setting.grain / width.min(height) as f32;
    let slope = 0.25 * setting.relief;
    let pixels = layer.pixels.chunks_exact_mut(3);
    for (number, pixel) in pixels.enumerate() {
        let (x, y) = ((number % width as usize) as f32, (number / width as usize) as f32);
        let (u, v) = ((x * cos - y * sin) * unit + shift[0], (x * sin + y * cos) * unit + shift[1]);
        let texture = setting.contrast * setting.texture.at(noise, u, v);
        // Nearer to the light is brighter.
        let towards =
            (x / width as f32 - 0.5) * setting.light[0] + (y / height as f32 - 0.5) * setting.light[1];
        let level = (1.0 + 1.6 * texture) * (1.0 + slope * towards);
        for (out, tone) in pixel.iter_mut().zip(setting.tone) {
            *out = tone * level;
        }
    }
}

/// Seeded value noise: random values at whole points, blended between them.
#[derive(Clone, Copy)]
struct Noise(u32);

impl Noise {
    /// A value in -1..1 for a whole point (integer mixing after Murmur3's finaliser).
    fn lattice(self, x: i32, y: i32) -> f32 {
        let mut h = self.0 ^ (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77);
        h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
        h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
        h ^= h >> 16;
        h as f32 * (2.0 / u32::MAX as f32) - 1.0
    }

    /// A smooth value in -1..1.
    fn at(self, x: f32, y: f32) -> f32 {
        let (column, row) = (x.floor(), y.floor());
        let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
        let (u, v) = (smooth(x - column), smooth(y - row));
        let (i, j) = (column as i32, row as i32);
        let top = self.lattice(i, j) * (1.0 - u) + self.lattice(i + 1, j) * u;
        let bottom = self.lattice(i, j + 1) * (1.0 - u) + self.lattice(i + 1, j + 1) * u;
        top * (1.0 - v) + bottom * v
    }

    /// Three octaves.
    fn rough(self, x: f32, y: f32) -> f32 {
        0.57 * self.at(x, y) + 0.29 * self.at(x * 2.03, y * 2.03) + 0.14 * self.at(x * 4.1, y * 4.1)
    }
}
