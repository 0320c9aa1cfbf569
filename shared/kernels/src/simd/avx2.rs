//! AVX2 with fused multiply-add: 8 lanes.

use super::{Piece, Simd};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// Sliding window over this gives a mask of `count` leading lanes.
static LEADING: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

#[inline(always)]
unsafe fn first(count: usize) -> __m256i {
    debug_assert!(count <= 8);
    // SAFETY: count <= 8, so the eight values read lie inside LEADING; the wrapper enables AVX.
    unsafe { _mm256_loadu_si256(LEADING.as_ptr().add(8 - count).cast()) }
}

// SAFETY (all functions): callers are compiled inside a `#[target_feature(enable = "avx2,fma")]` wrapper that is
// entered only after detection, and pass pointers valid for the lanes the mask selects.
impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const REGISTERS: usize = 16;

    #[inline(always)]
    unsafe fn call<P: Piece>(piece: &P) {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn apart<P: Piece>(piece: &P) {
            // SAFETY: forwarded.
            unsafe { piece.run::<Avx2>() }
        }
        // SAFETY: see the impl.
        unsafe { apart(piece) }
    }
    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: see the impl.
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        // SAFETY: see the impl.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: see the impl.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        // SAFETY: see the impl.
        unsafe { _mm256_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> __m256 {
        // SAFETY: see the impl; masked-off lanes are not touched.
        unsafe { _mm256_maskload_ps(from, first(count)) }
    }
    #[inline(always)]
    unsafe fn store_part(to: *mut f32, value: __m256, count: usize) {
        // SAFETY: see the impl; masked-off lanes are not touched.
        unsafe { _mm256_maskstore_ps(to, first(count), value) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the impl.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the impl.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the impl.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see the impl.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn clamp(value: __m256, low: __m256, high: __m256) -> __m256 {
        // SAFETY: see the impl. max and min return the second operand for NaN, hence the order.
        unsafe { _mm256_min_ps(high, _mm256_max_ps(low, value)) }
    }
    #[inline(always)]
    unsafe fn gate(value: __m256, low: __m256, high: __m256, gradient: __m256) -> __m256 {
        // SAFETY: see the impl.
        unsafe {
            let above = _mm256_cmp_ps::<_CMP_GT_OQ>(value, low);
            let below = _mm256_cmp_ps::<_CMP_LT_OQ>(value, high);
            _mm256_and_ps(_mm256_and_ps(above, below), gradient)
        }
    }
}
