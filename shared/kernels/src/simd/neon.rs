//! NEON: 4 lanes, 32 registers, part of every 64-bit ARM processor.

use super::{Piece, Simd};
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
pub(crate) struct Neon;

// SAFETY (all functions): NEON is part of the aarch64 baseline; callers pass pointers valid for the lanes read or
// written.
impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;
    const REGISTERS: usize = 32;

    #[inline(never)]
    unsafe fn call<P: Piece>(piece: &P) {
        // SAFETY: forwarded.
        unsafe { piece.run::<Self>() }
    }
    #[inline(always)]
    unsafe fn zero() -> float32x4_t {
        // SAFETY: see the impl.
        unsafe { vdupq_n_f32(0.0) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> float32x4_t {
        // SAFETY: see the impl.
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        // SAFETY: see the impl.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: float32x4_t) {
        // SAFETY: see the impl.
        unsafe { vst1q_f32(to, value) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> float32x4_t {
        let mut lanes = [0.0f32; 4];
        for (i, lane) in lanes.iter_mut().take(count).enumerate() {
            // SAFETY: see the impl; i < count.
            *lane = unsafe { from.add(i).read() };
        }
        // SAFETY: four values are readable.
        unsafe { vld1q_f32(lanes.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store_part(to: *mut f32, value: float32x4_t, count: usize) {
        let mut lanes = [0.0f32; 4];
        // SAFETY: four values are writable.
        unsafe { vst1q_f32(lanes.as_mut_ptr(), value) };
        for (i, lane) in lanes.iter().take(count).enumerate() {
            // SAFETY: see the impl; i < count.
            unsafe { to.add(i).write(*lane) };
        }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see the impl.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see the impl.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see the impl.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see the impl.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn clamp(value: float32x4_t, low: float32x4_t, high: float32x4_t) -> float32x4_t {
        // SAFETY: see the impl. max and min of NEON give NaN for NaN.
        unsafe { vminq_f32(vmaxq_f32(value, low), high) }
    }
    #[inline(always)]
    unsafe fn gate(
        value: float32x4_t,
        low: float32x4_t,
        high: float32x4_t,
        gradient: float32x4_t,
    ) -> float32x4_t {
        // SAFETY: see the impl.
        unsafe {
            let open = vandq_u32(vcgtq_f32(value, low), vcltq_f32(value, high));
            vreinterpretq_f32_u32(vandq_u32(open, vreinterpretq_u32_f32(gradient)))
        }
    }
}
