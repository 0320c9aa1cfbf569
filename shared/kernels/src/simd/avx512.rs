//! AVX-512F: 16 lanes, masks for the channel tail.

use super::{Piece, Simd};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx512;

#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

// SAFETY (all functions): callers are compiled inside a `#[target_feature(enable = "avx512f,…")]` wrapper that is
// entered only after detection, and pass pointers valid for the lanes the mask selects.
impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn call<P: Piece>(piece: &P) {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx2,fma")]
        unsafe fn apart<P: Piece>(piece: &P) {
            // SAFETY: forwarded.
            unsafe { piece.run::<Avx512>() }
        }
        // SAFETY: see the impl.
        unsafe { apart(piece) }
    }
    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        // SAFETY: see the impl.
        unsafe { _mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> __m512 {
        // SAFETY: see the impl; masked-off lanes are not touched.
        unsafe { _mm512_maskz_loadu_ps(first(count), from) }
    }
    #[inline(always)]
    unsafe fn store_part(to: *mut f32, value: __m512, count: usize) {
        // SAFETY: see the impl; masked-off lanes are not touched.
        unsafe { _mm512_mask_storeu_ps(to, first(count), value) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn clamp(value: __m512, low: __m512, high: __m512) -> __m512 {
        // SAFETY: see the impl. max and min return the second operand for NaN, hence the order.
        unsafe { _mm512_min_ps(high, _mm512_max_ps(low, value)) }
    }
    #[inline(always)]
    unsafe fn gate(value: __m512, low: __m512, high: __m512, gradient: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe {
            let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(value, low);
            let open = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(above, value, high);
            _mm512_maskz_mov_ps(open, gradient)
        }
    }
}
