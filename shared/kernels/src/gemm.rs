//! The matrix product under every 1x1 convolution, its input gradient and its weight gradient.
//!
//! `C[m, n] = sum_k A[m, k] * B[k, n]`: a tile of C stays in registers, values of A are broadcast from where they
//! lie (rows of an NHWC tensor need no packing), vectors of B come from packed weights or from rows. What happens
//! to a finished tile is the [`Epilogue`]'s business.

pub(crate) mod epilogue;
pub(crate) mod pack;

use crate::simd::{Piece, Simd};

/// What is done with a finished tile of C while it is in registers.
pub(crate) trait Epilogue {
    /// Takes the tile at `row`, `column`. With `EDGE` only the first `rows` rows and `columns` columns are valid;
    /// without it the tile is whole. Tiles of one column come in rising order of rows.
    ///
    /// # Safety
    /// As for [`Simd`]; the tile lies inside the matrices the epilogue was made for.
    unsafe fn apply<S: Simd, const MR: usize, const NV: usize, const EDGE: bool>(
        &self,
        tile: &[[S::V; NV]; MR],
        at: Place,
    );
}

/// Where a tile lies in C.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// The left matrix: value `(m, k)` lies at `data + m * stride + k`, or `data + k * stride + m` when transposed.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub(crate) data: *const f32,
    pub(crate) stride: usize,
}

/// The right matrix: vector `v` (of `LANES` columns) of row `k` lies at `data + k * row + v * vector`.
#[derive(Clone, Copy)]
pub(crate) struct Right {
    pub(crate) data: *const f32,
    pub(crate) row: usize,
    pub(crate) vector: usize,
}

/// Sizes of one product.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
}

/// Rows of the tallest tile: transposed left matrices are readable up to `m` rounded up to this, and row blocks
/// are multiples of twice this so that every tile height divides them.
pub(crate) const TILE_ROWS_MAX: usize = 12;

/// Multiplies and hands each tile to `epilogue`.
///
/// `TRANSPOSED`: see [`Left`]. `spare` holds `TILE_ROWS_MAX * k` values for the last rows of a left matrix that is
/// not transposed.
///
/// # Safety
/// As for [`Simd`]. Left is readable for `m x k` (transposed: `k` rows of `m` rounded up to [`TILE_ROWS_MAX`]),
/// Right for `k` rows of `n` rounded up to `LANES`, and the epilogue fits `m x n`.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd, E: Epilogue, const TRANSPOSED: bool>(
    size: Size,
    left: Left,
    right: Right,
    spare: *mut f32,
    epilogue: &E,
) {
    // SAFETY: forwarded.
    unsafe { S::call(&Multiply::<E, TRANSPOSED> { size, left, right, spare, epilogue }) }
}

/// [`multiply`], compiled once per epilogue.
struct Multiply<'a, E, const TRANSPOSED: bool> {
    size: Size,
    left: Left,
    right: Right,
    spare: *mut f32,
    epilogue: &'a E,
}

impl<E: Epilogue, const TRANSPOSED: bool> Piece for Multiply<'_, E, TRANSPOSED> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self) {
        let Self { size, left, right, spare, epilogue } = *self;
        // SAFETY: made by `multiply`, whose caller promises what it says.
        unsafe { strips::<S, E, TRANSPOSED>(size, left, right, spare, epilogue) }
    }
}

/// # Safety
/// As for [`multiply`].
#[inline(always)]
unsafe fn strips<S: Simd, E: Epilogue, const TRANSPOSED: bool>(
    size: Size,
    left: Left,
    right: Right,
    spare: *mut f32,
    epilogue: &E,
) {
    let vectors = size.n.div_ceil(S::LANES);
    let mut v = 0;
    while v < vectors {
        let rest = vectors - v;
        // SAFETY: v < vectors, so each strip lies inside Right and C; the rest is forwarded.
        unsafe {
            v += if !S::SPECIAL {
                strip::<S, E, 6, 1, TRANSPOSED>(size, left, right, spare, v, epilogue)
            } else if S::REGISTERS == 32 {
                match rest {
                    1 => strip::<S, E, 12, 1, TRANSPOSED>(size, left, right, spare, v, epilogue),
                    2 => strip::<S, E, 12, 2, TRANSPOSED>(size, left, right, spare, v, epilogue),
                    3 | 5 | 6 | 9 => strip::<S, E, 8, 3, TRANSPOSED>(size, left, right, spare, v, epilogue),
                    _ => strip::<S, E, 6, 4, TRANSPOSED>(size, left, right, spare, v, epilogue),
                }
            } else {
                match rest {
                    1 => strip::<S, E, 6, 1, TRANSPOSED>(size, left, right, spare, v, epilogue),
                    3 | 5 | 6 | 9 => strip::<S, E, 4, 3, TRANSPOSED>(size, left, right, spare, v, epilogue),
                    _ => strip::<S, E, 6, 2, TRANSPOSED>(size, left, right, spare, v, epilogue),
                }
            };
        }
    }
}

/// All rows of `NV` vectors of columns from vector `v` on; returns `NV`.
///
/// # Safety
/// As for [`multiply`].
#[inline(always)]
unsafe fn strip<S: Simd, E: Epilogue, const MR: usize, const NV: usize, const TRANSPOSED: bool>(
    size: Size,
    left: Left,
    right: Right,
    spare: *mut f32,
    v: usize,
    epilogue: &E,
) -> usize {
    let column = v * S::LANES;
    let columns = (size.n - column).min(NV * S::LANES);
    let whole_columns = columns == NV * S::LANES;
    // SAFETY: by the contract of `multiply`; rows past m are read from `spare` or from the padding of a
    // transposed left matrix, and the epilogue ignores them.
    unsafe {
        let b = Right { data: right.data.add(v * right.vector), ..right };
        let mut row = 0;
        while row < size.m {
            let rows = (size.m - row).min(MR);
            let at = Place { row, column, rows, columns };
            let a = if TRANSPOSED {
                Left { data: left.data.add(row), ..left }
            } else if rows == MR {
                Left { data: left.data.add(row * left.stride), ..left }
            } else {
                for i in 0..MR {
                    let from = left.data.add((row + i.min(rows - 1)) * left.stride);
                    std::ptr::copy_nonoverlapping(from, spare.add(i * size.k), size.k);
                }
                Left { data: spare, stride: size.k }
            };
            let tile = tile::<S, MR, NV, TRANSPOSED>(size.k, a, b);
            if S::SPECIAL && rows == MR && whole_columns {
                epilogue.apply::<S, MR, NV, false>(&tile, at);
            } else {
                epilogue.apply::<S, MR, NV, true>(&tile, at);
            }
            row += MR;
        }
    }
    NV
}

/// One tile: `MR` rows by `NV` vectors.
///
/// # Safety
/// As for [`multiply`].
#[inline(always)]
unsafe fn tile<S: Simd, const MR: usize, const NV: usize, const TRANSPOSED: bool>(
    k: usize,
    left: Left,
    right: Right,
) -> [[S::V; NV]; MR] {
    // SAFETY: k steps inside Left and Right by the contract of `multiply`.
    unsafe {
        let mut acc = [[S::zero(); NV]; MR];
        let mut b = right.data;
        let mut a = left.data;
        for _ in 0..k {
            let mut vectors = [S::zero(); NV];
            for (v, vector) in vectors.iter_mut().enumerate() {
                *vector = S::load(b.add(v * right.vector));
            }
            for (i, row) in acc.iter_mut().enumerate() {
                let value = S::splat(*a.add(if TRANSPOSED { i } else { i * left.stride }));
                for (sum, vector) in row.iter_mut().zip(&vectors) {
                    *sum = S::fma(value, *vector, *sum);
                }
            }
            // After the last step these lie past the end, by less than a row.
            a = a.wrapping_add(if TRANSPOSED { left.stride } else { 1 });
            b = b.wrapping_add(right.row);
        }
        acc
    }
}
