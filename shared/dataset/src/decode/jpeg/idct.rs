//! Coefficients of a block to `W` by `H` samples, fewer or more than its 8 by 8.
//!
//! The first `W` by `H` coefficients of the 8-point transform, read as those of a `W` by `H` point transform, are the block at
//! that size: its frequencies that the smaller size can show, without those that would alias. Each is weakened as it
//! is when samples are averaged, so that slopes run on from block to block: what comes out is the average of the samples that a
//! smaller one stands for, but for the frequencies left out. So 1x1 is the mean; and colour sent at half the size of the luma is
//! brought to it by the same sum, not by repeating samples.

use std::array::from_fn;

/// Coefficients in rows from the lowest frequency, dequantised, within ±[`COEFFICIENT_MAX`].
pub(super) type Coefficients = [i16; 64];

/// The largest coefficient; of 8 bit samples they reach 1024 and what quantisation adds. Larger ones are cut, so that no sum
/// below overflows.
pub(super) const COEFFICIENT_MAX: i32 = 2047;

/// Fraction bits of the basis.
const BASIS_BITS: u32 = 12;

/// Fraction bits kept between the two passes.
const BETWEEN_BITS: u32 = 1;

/// Writes the samples of a block into rows of `stride`.
pub(super) type Inverse = fn(&Coefficients, &mut [u8], usize);

/// The transform to blocks of `width` by `height` samples; `None` if neither they nor their halves are 1 to 7 each and equal.
pub(super) fn inverse(width: usize, height: usize) -> Option<Inverse> {
    macro_rules! sizes {
        ($($n:literal $double:literal),*) => {
            match (width, height) {
                $(($n, $n) => idct::<$n, $n, 8>,)*
                $(($double, $n) => idct::<$double, $n, 16>,)*
                $(($n, $double) => idct::<$n, $double, 8>,)*
                // Squares of 2, 4 and 6 have their arm above.
                (8, 8) => idct::<8, 8, 8>,
                (10, 10) => idct::<10, 10, 16>,
                (12, 12) => idct::<12, 12, 16>,
                (14, 14) => idct::<14, 14, 16>,
                _ => return None,
            }
        };
    }
    Some(sizes!(1 2, 2 4, 3 6, 4 8, 5 10, 6 12, 7 14))
}

/// `basis[u][x]`: what one unit of frequency `u` adds to sample `x` of `N`, in units of 1/8 per pair of axes. Frequencies from
/// `N` on cannot be shown.
const fn basis<const N: usize>() -> [[i16; N]; 8] {
    let mut basis = [[0; N]; 8];
    let mut u = 0;
    while u < 8 && u < N {
        let mut x = 0;
        while x < N {
            let gain = if u == 0 { 1.0 } else { std::f64::consts::SQRT_2 * averaging(u, N) };
            let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / (2 * N) as f64;
            let value = gain * cosine(angle) * (1 << BASIS_BITS) as f64;
            basis[u][x] = (value + if value < 0.0 { -0.5 } else { 0.5 }) as i16;
            x += 1;
        }
        u += 1;
    }
    basis
}

/// What an average over 8/`n` samples leaves of frequency `u`; all of it when there are more samples than before.
const fn averaging(u: usize, n: usize) -> f64 {
    if n >= 8 {
        return 1.0;
    }
    // Sines, as cosines.
    let (pi, u, n) = (std::f64::consts::PI, u as f64, n as f64);
    cosine(pi / 2.0 - u * pi / (2.0 * n)) / (8.0 / n * cosine(pi / 2.0 - u * pi / 16.0))
}

/// The cosine of an angle from -pi on, for constants.
const fn cosine(mut angle: f64) -> f64 {
    while angle > std::f64::consts::PI {
        angle -= 2.0 * std::f64::consts::PI;
    }
    let (mut sum, mut term, mut n) = (1.0, 1.0, 1.0);
    while n < 40.0 {
        term *= -angle * angle / (n * (n + 1.0));
        sum += term;
        n += 2.0;
    }
    sum
}

struct Basis<const N: usize>;

impl<const N: usize> Basis<N> {
    const OF: [[i16; N]; 8] = basis();

    /// With zeros up to `LANES`, a whole number of vectors.
    const fn lanes<const LANES: usize>() -> [[i16; LANES]; 8] {
        let mut lanes = [[0; LANES]; 8];
        let mut u = 0;
        while u < 8 {
            let mut x = 0;
            while x < N {
                lanes[u][x] = Self::OF[u][x];
                x += 1;
            }
            u += 1;
        }
        lanes
    }
}

fn idct<const W: usize, const H: usize, const LANES: usize>(
    block: &Coefficients,
    out: &mut [u8],
    stride: usize,
) {
    if W <= 2 && H <= 2 {
        return smallest::<W, H>(block, out, stride);
    }
    // Most blocks, of colour above all, have nothing but zeros from some row and some column on.
    let rows = &block.as_chunks::<8>().0[..H.min(8)];
    let used = rows.iter().rposition(|row| row.iter().any(|&value| value != 0)).unwrap_or(0);
    let rows = &rows[..=used];
    let columns = rows.iter().fold([0; 8], |columns: [i16; 8], row| from_fn(|u| columns[u] | row[u]));
    let across = columns[..W.min(8)].iter().rposition(|&value| value != 0).map_or(1, |last| last + 1);
    if rows.len() == 1 && across == 1 {
        // As below: the mean, with the same rounding.
        let level = rounded(i32::from(block[0]), 0);
        out.chunks_mut(stride).take(H).for_each(|row| row[..W].fill(level));
        return;
    }
    let mut between = [[0_i16; 8]; H];
    for (y, between) in between.iter_mut().enumerate() {
        let mut sums = [1 << (BASIS_BITS - BETWEEN_BITS - 1); 8];
        for (row, basis) in rows.iter().zip(&Basis::<H>::OF) {
            let weight = i32::from(basis[y]);
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(value);
            }
        }
        for (between, sum) in between.iter_mut().zip(sums) {
            *between = (sum >> (BASIS_BITS - BETWEEN_BITS)) as i16;
        }
    }
    // Three bits for the factor 1/8.
    const SHIFT: u32 = BASIS_BITS + BETWEEN_BITS + 3;
    let basis = const { Basis::<W>::lanes::<LANES>() };
    for (between, out) in between.iter().zip(out.chunks_mut(stride)) {
        let mut sums = [(128 << SHIFT) + (1 << (SHIFT - 1)); LANES];
        for (&value, basis) in between[..across].iter().zip(&basis) {
            for (sum, &weight) in sums.iter_mut().zip(basis) {
                *sum += i32::from(weight) * i32::from(value);
            }
        }
        let samples = sums.map(|sum| (sum >> SHIFT).clamp(0, 255) as u8);
        out[..W].copy_from_slice(&samples[..W]);
    }
}

/// At most two samples in each direction. Read one by one, since coefficients that were just written
/// one by one cannot be loaded together without a wait.
#[inline(always)]
fn smallest<const W: usize, const H: usize>(block: &Coefficients, out: &mut [u8], stride: usize) {
    let [a, b, c, d] = [block[0], block[1], block[8], block[9]].map(i32::from);
    let (b, d) = if W == 2 { (b, d) } else { (0, 0) };
    let (c, d) = if H == 2 { (c, d) } else { (0, 0) };
    let gain = i32::from(Basis::<2>::OF[1][0]);
    let row = |sign: i32| {
        let mean = (a << BASIS_BITS) + sign * gain * c;
        let slope = gain * (((b << BASIS_BITS) + sign * gain * d) >> BASIS_BITS);
        [mean + slope, mean - slope]
    };
    for (out, sums) in out.chunks_mut(stride).zip([row(1), row(-1)]).take(H) {
        for (out, sum) in out.iter_mut().zip(sums).take(W) {
            *out = rounded(sum, BASIS_BITS);
        }
    }
}

/// The sample of a sum of coefficients with so many fraction bits.
#[inline(always)]
fn rounded(sum: i32, bits: u32) -> u8 {
    // Three bits for the factor 1/8.
    (((sum + (4 << bits)) >> (bits + 3)) + 128).clamp(0, 255) as u8
}
