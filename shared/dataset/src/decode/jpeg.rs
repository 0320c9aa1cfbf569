//! Baseline JPEG at a part of its size.
//!
//! Most of what a photograph costs is to read its coefficients, and most of those are of frequencies that a picture of a
//! quarter of the size cannot show. So they are passed over, several at a step, and the transform, the colours and the
//! memory are those of the small picture. ITU-T T.81; the transform is the one of libjpeg's scaled decoding (`idct.rs`).
//!
//! It takes what cameras write: one scan, Huffman codes, 8 bits, grey or YCbCr, colour at the size of the luma or at half of it
//! in either direction, restart markers. Whatever else a file is or says, even a byte that only looks odd, is `None`: the decoder
//! of whole pictures then decides what it is. So nothing is accepted here that would be refused there.

mod bits;
mod colour;
mod header;
mod huffman;
mod idct;
mod scan;

use header::Header;

/// The largest part of a picture that is decoded here, in eighths of its size.
pub(super) const EIGHTHS_MAX: u32 = 7;

/// Decodes a file at `eighths`/8 of its size, 1 to [`EIGHTHS_MAX`], sides rounded up: pixel `x` shows the columns
/// `8 * x / eighths..8 * (x + 1) / eighths` of the picture. `None` when the file is not as plain as that needs, or damaged.
pub(super) fn decode(file: &[u8], eighths: u32) -> Option<image::RgbImage> {
    let header = Header::parse(file)?;
    let pixels = scan::decode(&header, eighths as usize)?;
    image::RgbImage::from_raw(pixels.width as u32, pixels.height as u32, pixels.rgb)
}

#[cfg(test)]
mod tests;
