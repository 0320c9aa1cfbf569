//! A mosaic: four images around a random point (Bochkovskiy et al. 2020, arXiv:2004.10934, section 3.3).

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::place::Tile;

/// The point lies in the middle part of the input; nearer to the edge a tile would show nothing.
const CENTRE: [f32; 2] = [0.3, 0.7];

/// Four tiles that cover the input exactly, each pixel once.
pub(super) fn tiles((width, height): (u32, u32), rng: &mut ChaCha8Rng) -> [Tile; 4] {
    let draws: [f32; 2] = rng.random();
    let centre = |side: u32, draw: f32| ((CENTRE[0] + (CENTRE[1] - CENTRE[0]) * draw) * side as f32) as u32;
    let (x, y) = (centre(width, draws[0]), centre(height, draws[1]));
    [
        Tile { left: 0, top: 0, right: x, bottom: y },
        Tile { left: x, top: 0, right: width, bottom: y },
        Tile { left: 0, top: y, right: x, bottom: height },
        Tile { left: x, top: y, right: width, bottom: height },
    ]
}
