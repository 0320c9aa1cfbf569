//! Samples of one row to RGB.

use std::array::from_fn;

/// Fraction bits of the factors: as many as keep them within 16 bits.
const BITS: u32 = 14;

const fn fixed(factor: f64) -> i32 {
    (factor * (1 << BITS) as f64 + 0.5) as i32
}

/// Writes `out` = `[pixels, 3]` from luma and the differences of blue and red, by JFIF (ITU-R BT.601, full range).
pub(super) fn to_rgb(luma: &[u8], blue: &[u8], red: &[u8], out: &mut [u8]) {
    const RED: i32 = fixed(1.402);
    const GREEN: [i32; 2] = [fixed(0.344_136_286), fixed(0.714_136_286)];
    const BLUE: i32 = fixed(1.772);
    let pixels = out.as_chunks_mut::<3>().0;
    for (((out, &y), &cb), &cr) in pixels.iter_mut().zip(luma).zip(blue).zip(red) {
        let y = (i32::from(y) << BITS) + (1 << (BITS - 1));
        let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
        let sums = [y + RED * cr, y - GREEN[0] * cb - GREEN[1] * cr, y + BLUE * cb];
        *out = from_fn(|channel| (sums[channel] >> BITS).clamp(0, 255) as u8);
    }
}

/// Writes `out` = `[pixels, 3]` from luma alone.
pub(super) fn grey(luma: &[u8], out: &mut [u8]) {
    for (out, &y) in out.as_chunks_mut::<3>().0.iter_mut().zip(luma) {
        *out = [y; 3];
    }
}
