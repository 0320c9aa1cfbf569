//! Arrays of eight: correct everywhere, as fast as the compiler's own vectorisation.

use super::{Piece, Simd};

#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// `f` of each lane. Written out: loops over arrays take the compiler several times as long.
#[inline(always)]
fn lanes(f: impl Fn(usize) -> f32) -> [f32; 8] {
    [f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)]
}

#[inline(always)]
fn zip(a: [f32; 8], b: [f32; 8], f: impl Fn(f32, f32) -> f32) -> [f32; 8] {
    lanes(|i| f(a[i], b[i]))
}

// SAFETY (loads and stores): callers pass pointers valid for the values read or written.
impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    const SPECIAL: bool = false;

    #[inline(never)]
    unsafe fn call<P: Piece>(piece: &P) {
        // SAFETY: forwarded.
        unsafe { piece.run::<Self>() }
    }
    #[inline(always)]
    unsafe fn zero() -> [f32; 8] {
        [0.0; 8]
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; 8] {
        [value; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 8] {
        // SAFETY: see the impl; `[f32; 8]` has the alignment of f32.
        unsafe { from.cast::<[f32; 8]>().read() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: [f32; 8]) {
        // SAFETY: see the impl.
        unsafe { to.cast::<[f32; 8]>().write(value) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> [f32; 8] {
        let mut out = [0.0; 8];
        for (i, o) in out.iter_mut().take(count).enumerate() {
            // SAFETY: see the impl; i < count.
            *o = unsafe { from.add(i).read() };
        }
        out
    }
    #[inline(always)]
    unsafe fn store_part(to: *mut f32, value: [f32; 8], count: usize) {
        for (i, v) in value.iter().take(count).enumerate() {
            // SAFETY: see the impl; i < count.
            unsafe { to.add(i).write(*v) };
        }
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        zip(a, b, |a, b| a * b)
    }
    /// Two roundings: without a hardware instruction a fused operation is a library call per value.
    #[inline(always)]
    unsafe fn fma(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        lanes(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn clamp(value: [f32; 8], low: [f32; 8], high: [f32; 8]) -> [f32; 8] {
        let raised = zip(value, low, |v, low| if low > v { low } else { v });
        zip(raised, high, |v, high| if high < v { high } else { v })
    }
    #[inline(always)]
    unsafe fn gate(value: [f32; 8], low: [f32; 8], high: [f32; 8], gradient: [f32; 8]) -> [f32; 8] {
        lanes(|i| if value[i] > low[i] && value[i] < high[i] { gradient[i] } else { 0.0 })
    }
    // Two functions instead of thousands of copies of eight lanes each: half of what this crate took to compile.
    #[inline(never)]
    unsafe fn swish(value: [f32; 8]) -> [f32; 8] {
        value.map(|v| v * (v / 6.0 + 0.5).clamp(0.0, 1.0))
    }
    #[inline(never)]
    unsafe fn swish_gate(value: [f32; 8], gradient: [f32; 8]) -> [f32; 8] {
        zip(value, gradient, |v, g| {
            let slope = if v > -3.0 && v < 3.0 { g / 6.0 } else { 0.0 };
            slope * v + g * (v / 6.0 + 0.5).clamp(0.0, 1.0)
        })
    }
}
