//! Scaling by a tent filter, which is bilinear interpolation when enlarging and, stretched by the reduction, an area
//! average without aliasing when reducing. Mirroring and cropping come with it. Separable: columns of the source first,
//! since summing whole rows vectorises and leaves fewer rows for the second pass.

use super::canvas::Canvas;
use super::colour::ColourMatrix;
use super::place::{Placement, Tile};
use crate::image::{Image, Picture};

/// Which source pixels make each output pixel along one axis.
struct Taps {
    /// The first output pixel that shows the image.
    first: u32,
    /// For each output pixel from there on: the first source pixel and where its weights are.
    spans: Vec<(usize, std::ops::Range<usize>)>,
    weights: Vec<f32>,
}

impl Taps {
    /// `near..far` is the image in the output, `begin..end` are the output pixels of the tile, `side` the source pixels
    /// along this axis.
    fn new(gain: f32, shift: f32, (near, far): (f32, f32), (begin, end): (u32, u32), side: u32) -> Self {
        // An output pixel shows the image when its centre lies on it.
        let first = ((near - 0.5).ceil().max(begin as f32)) as u32;
        let last = ((far - 0.5).ceil().max(begin as f32).min(end as f32)) as u32;
        let radius = (1.0 / gain.abs()).max(1.0);
        let mut spans = Vec::with_capacity(last.saturating_sub(first) as usize);
        let mut weights = Vec::new();
        for out in first..last {
            let centre = (out as f32 + 0.5 - shift) / gain;
            let from = (centre - radius).floor().max(0.0) as u32;
            let to = ((centre + radius).ceil() as u32).min(side);
            let start = weights.len();
            let tent = |pixel: u32| 1.0 - (pixel as f32 + 0.5 - centre).abs() / radius;
            // Only the ends of the range can have no weight.
            let from = (from..to).find(|&pixel| tent(pixel) > 0.0).unwrap_or(from);
            weights.extend((from..to).map(tent).take_while(|&weight| weight > 0.0));
            let sum: f32 = weights[start..].iter().sum();
            weights[start..].iter_mut().for_each(|weight| *weight /= sum);
            spans.push((from as usize, start..weights.len()));
        }
        Self { first, spans, weights }
    }

    /// The source pixels that any output pixel needs.
    fn reach(&self) -> std::ops::Range<usize> {
        let from = self.spans.iter().map(|(from, _)| *from).min().unwrap_or(0);
        let to = self.spans.iter().map(|(from, weights)| from + weights.len()).max().unwrap_or(0);
        from..to.max(from)
    }
}

/// Draws the part of `image` that lies in the tile and between `edges`: those of the whole image, since the last pixels of a
/// copy may reach beyond them.
pub(super) fn draw(
    image: &Image,
    placement: &Placement,
    edges: [(f32, f32); 2],
    tile: Tile,
    colour: &ColourMatrix,
    canvas: &mut Canvas<'_>,
) {
    let columns = Taps::new(placement.gain[0], placement.shift[0], edges[0], tile.range(0), image.width());
    let rows = Taps::new(placement.gain[1], placement.shift[1], edges[1], tile.range(1), image.height());
    let reach = columns.reach();
    let mut summed = vec![0.0_f32; reach.len() * 3];
    let mut scaled = vec![0.0_f32; columns.spans.len() * 3];
    let mut bytes = vec![0_u8; columns.spans.len() * 3];
    for ((from, weights), y) in rows.spans.iter().zip(rows.first..) {
        let source = |row: usize| &image.row(row as u32)[reach.start * 3..reach.end * 3];
        sum_rows(&rows.weights[weights.clone()], *from, source, &mut summed);
        for ((from, weights), out) in columns.spans.iter().zip(scaled.chunks_exact_mut(3)) {
            let pixels = summed[(from - reach.start) * 3..].chunks_exact(3);
            let mut sum = [0.0; 3];
            for (weight, pixel) in columns.weights[weights.clone()].iter().zip(pixels) {
                sum[0] += weight * pixel[0];
                sum[1] += weight * pixel[1];
                sum[2] += weight * pixel[2];
            }
            out.copy_from_slice(&sum);
        }
        colour.apply(&scaled, &mut bytes);
        canvas.write(columns.first, y, &bytes);
    }
}

/// The weighted sum of source rows from `from` on.
fn sum_rows<'a>(weights: &[f32], from: usize, source: impl Fn(usize) -> &'a [u8], out: &mut [f32]) {
    for (number, &weight) in weights.iter().enumerate() {
        let row = source(from + number);
        if number == 0 {
            out.iter_mut().zip(row).for_each(|(out, &value)| *out = weight * f32::from(value));
        } else {
            out.iter_mut().zip(row).for_each(|(out, &value)| *out += weight * f32::from(value));
        }
    }
}

/// The whole of an image of `frame` pixels, of which `picture` may be a reduced copy, at another size: for copies that are kept.
pub(crate) fn resized(picture: &Picture, frame: (u32, u32), width: u32, height: u32) -> Image {
    let (width, height) = (width.max(1), height.max(1));
    let mut out = Image::filled(width, height, [0; 3]);
    let gain = [width as f32 / frame.0 as f32, height as f32 / frame.1 as f32];
    let placement = Placement { gain, shift: [0.0; 2] };
    let size = (width, height);
    let edges = [(0.0, width as f32), (0.0, height as f32)];
    let mut canvas = Canvas::new(size, super::Output::Bytes(out.pixels_mut()));
    let image = &picture.pixels;
    let of_pixels = placement.of_copy(picture.covers, (image.width(), image.height()));
    draw(image, &of_pixels, edges, Tile::whole(size), &ColourMatrix::IDENTITY, &mut canvas);
    out
}
