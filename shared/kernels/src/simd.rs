//! The vector operations the kernels are written in, and the choice of instruction set at run time.
//!
//! A pass body is generic over [`Simd`] and `#[inline(always)]`; [`crate::threads`] compiles it once per
//! instruction set inside a `#[target_feature]` function. No pass names an intrinsic.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use std::cell::Cell;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;

/// Channels are padded to this many values wherever the layout is ours; every vector width divides it.
pub(crate) const PAD: usize = 16;

/// `channels` rounded up to a whole number of the widest vectors.
#[inline(always)]
pub(crate) fn padded(channels: usize) -> usize {
    channels.next_multiple_of(PAD)
}

/// Part of a pass that is compiled once per instruction set, whoever uses it.
pub(crate) trait Piece {
    /// Does it.
    ///
    /// # Safety
    /// As for [`Simd`]; what else must hold is said where the piece is made.
    unsafe fn run<S: Simd>(&self);
}

/// One vector of `f32` and what the passes need from it.
///
/// # Safety
/// Every function may be called only where the instruction set of the implementation is available; pointer
/// arguments must be valid for the number of values read or written. No alignment is required.
pub(crate) trait Simd: Copy + 'static {
    /// The register type.
    type V: Copy;
    /// Values per register.
    const LANES: usize;
    /// Registers there are.
    const REGISTERS: usize;
    /// Whether loop bodies have versions for what is common; without, the one body that does everything is used.
    const SPECIAL: bool = true;
    /// Runs `piece` as a function of its own, not inlined: for what many passes share and each calls seldom.
    unsafe fn call<P: Piece>(piece: &P);
    unsafe fn zero() -> Self::V;
    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    /// Reads `count < LANES` values, the other lanes are zero.
    unsafe fn load_part(from: *const f32, count: usize) -> Self::V;
    /// Writes the first `count < LANES` values.
    unsafe fn store_part(to: *mut f32, value: Self::V, count: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `min(max(value, low), high)`; NaN stays NaN.
    unsafe fn clamp(value: Self::V, low: Self::V, high: Self::V) -> Self::V;
    /// `gradient` where `low < value < high`, else zero: what [`Simd::clamp`] lets through.
    unsafe fn gate(value: Self::V, low: Self::V, high: Self::V, gradient: Self::V) -> Self::V;
    /// Hard-swish: `value` times [`swish_factor`].
    #[inline(always)]
    unsafe fn swish(value: Self::V) -> Self::V {
        // SAFETY: forwarded.
        unsafe { Self::mul(value, swish_factor::<Self>(value)) }
    }
    /// `gradient` times the derivative of [`Simd::swish`] at `value`: the factor, and where that is not clamped also
    /// `value` times its slope.
    #[inline(always)]
    unsafe fn swish_gate(value: Self::V, gradient: Self::V) -> Self::V {
        // SAFETY: forwarded.
        unsafe {
            let part = Self::mul(gradient, Self::splat(1.0 / 6.0));
            let slope = Self::gate(value, Self::splat(-3.0), Self::splat(3.0), part);
            Self::fma(slope, value, Self::mul(gradient, swish_factor::<Self>(value)))
        }
    }
}

/// `clamp(value / 6 + 1 / 2, 0, 1)`.
///
/// # Safety
/// As for [`Simd`].
#[inline(always)]
unsafe fn swish_factor<S: Simd>(value: S::V) -> S::V {
    // SAFETY: forwarded.
    unsafe { S::clamp(S::fma(value, S::splat(1.0 / 6.0), S::splat(0.5)), S::zero(), S::splat(1.0)) }
}

/// [`Simd::load`], or [`Simd::load_part`] of `count` values when `EDGE` and the vector is not whole.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd, const EDGE: bool>(from: *const f32, count: usize) -> S::V {
    // SAFETY: the caller promises min(count, LANES) readable values.
    unsafe { if EDGE && count < S::LANES { S::load_part(from, count) } else { S::load(from) } }
}

/// [`Simd::store`], or [`Simd::store_part`] of `count` values when `EDGE` and the vector is not whole.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd, const EDGE: bool>(to: *mut f32, value: S::V, count: usize) {
    // SAFETY: the caller promises min(count, LANES) writable values.
    unsafe { if EDGE && count < S::LANES { S::store_part(to, value, count) } else { S::store(to, value) } }
}

/// Asks for the cache line at `address` early. Any address is allowed.
#[inline(always)]
pub(crate) fn prefetch(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, whatever the address; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch(address.cast(), _MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Writes the transpose of the 4x4 values at `from` (rows `stride` apart) to `to` (rows `to_stride` apart).
///
/// # Safety
/// Four values are readable and writable in each of the four rows.
#[inline(always)]
pub(crate) unsafe fn transpose4(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: by the contract; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps};
        let mut a = _mm_loadu_ps(from);
        let mut b = _mm_loadu_ps(from.add(stride));
        let mut c = _mm_loadu_ps(from.add(2 * stride));
        let mut d = _mm_loadu_ps(from.add(3 * stride));
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        _mm_storeu_ps(to, a);
        _mm_storeu_ps(to.add(to_stride), b);
        _mm_storeu_ps(to.add(2 * to_stride), c);
        _mm_storeu_ps(to.add(3 * to_stride), d);
    }
    #[cfg(not(target_arch = "x86_64"))]
    for i in 0..4 {
        for j in 0..4 {
            // SAFETY: by the contract.
            unsafe { *to.add(j * to_stride + i) = *from.add(i * stride + j) };
        }
    }
}

/// An instruction set the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// 16 lanes, 32 registers.
    Avx512,
    /// 8 lanes with fused multiply-add, 16 registers.
    Avx2,
    /// 4 lanes, 32 registers: every 64-bit ARM.
    Neon,
    /// Plain Rust arrays of 8, what the compiler makes of them on the target's baseline.
    Portable,
}

impl Isa {
    /// Every instruction set this processor can run, fastest first.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx2")
                && std::is_x86_feature_detected!("fma")
            {
                found.push(Self::Avx512);
            }
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                found.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        found.push(Self::Neon);
        found.push(Self::Portable);
        found
    }

    /// The name that `FOVEA_SIMD` accepts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// The instruction set in use on this thread: that of [`with_isa`], else the one named by the environment
    /// variable `FOVEA_SIMD` if this processor has it, else the fastest available.
    pub fn current() -> Self {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        FORCED.get().unwrap_or_else(|| {
            *DETECTED.get_or_init(|| {
                let available = Self::available();
                let wanted = std::env::var("FOVEA_SIMD").unwrap_or_default();
                available.iter().copied().find(|isa| isa.name() == wanted).unwrap_or(available[0])
            })
        })
    }
}

thread_local! {
    static FORCED: Cell<Option<Isa>> = const { Cell::new(None) };
}

/// Runs `work` with every op called on this thread using `isa`: for tests and for measurements that compare
/// instruction sets in one process. An instruction set this processor lacks is replaced by the portable one.
pub fn with_isa<R>(isa: Isa, work: impl FnOnce() -> R) -> R {
    struct Restore(Option<Isa>);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORCED.set(self.0);
        }
    }
    let usable = if Isa::available().contains(&isa) { isa } else { Isa::Portable };
    let _restore = Restore(FORCED.replace(Some(usable)));
    work()
}
