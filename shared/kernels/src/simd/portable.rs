//! Arrays of eight: correct everywhere, as fast as the compiler's own vectorisation.

use super::Simd;

#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn zip(a: [f32; 8], b: [f32; 8], f: impl Fn(f32, f32) -> f32) -> [f32; 8] {
    let mut out = [0.0; 8];
    for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
        *o = f(a, b);
    }
    out
}

// SAFETY (loads and stores): callers pass pointers valid for the values read or written.
impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;
    const REGISTERS: usize = 16;

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
    /// Two roundings: without a hardware instruction a fused operation is a library call per value.
    #[inline(always)]
    unsafe fn fma(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        zip(zip(a, b, |a, b| a * b), c, |ab, c| ab + c)
    }
    #[inline(always)]
    unsafe fn relu6(value: [f32; 8]) -> [f32; 8] {
        let mut out = value;
        for o in &mut out {
            let positive = if 0.0 > *o { 0.0 } else { *o };
            *o = if 6.0 < positive { 6.0 } else { positive };
        }
        out
    }
    #[inline(always)]
    unsafe fn gate6(value: [f32; 8], gradient: [f32; 8]) -> [f32; 8] {
        zip(value, gradient, |v, g| if v > 0.0 && v < 6.0 { g } else { 0.0 })
    }
}
