//! Running a pass over a static split of its rows, on the current rayon pool, in the chosen instruction set.
//!
//! The split depends on the shape and the number of threads alone, so the same thread count gives the same bits.
//! A pass entered from outside a pool pays for the hand-over each time: run a training step inside
//! `ThreadPool::install`.

mod team;

use crate::denormal::Flush;
#[cfg(target_arch = "aarch64")]
use crate::simd::Neon;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Isa, Portable, Simd};
use crate::unless_interpreted;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

pub(crate) use team::{alone, available, together};

/// Multiply-adds (or values moved) below which a second thread costs more than it brings.
const WORK_MIN: usize = unless_interpreted(48 * 1024, 1024);

/// A loop over units (rows) of a tensor that can be cut anywhere between two units.
///
/// # Safety
/// `run` may be called only where the instruction set of `S` is available, with ranges inside the units the pass
/// was built for, and with disjoint ranges and distinct `part`s at the same time.
pub(crate) trait Pass: Sync {
    /// Handles `units`; `part` selects the per-part scratch and accumulators.
    unsafe fn run<S: Simd>(&self, part: usize, units: Range<usize>);
}

/// How the units of a pass are divided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    units: usize,
    parts: usize,
    align: usize,
}

impl Split {
    /// `units` with `work` multiply-adds each, cut at multiples of `align`, over the threads of the current pool.
    pub(crate) fn new(units: usize, align: usize, work: usize) -> Self {
        let by_work = units.saturating_mul(work) / WORK_MIN;
        let parts = available().min(by_work).min(units.div_ceil(align)).max(1);
        Self { units, parts, align }
    }

    pub(crate) fn parts(self) -> usize {
        self.parts
    }

    fn range(self, part: usize) -> Range<usize> {
        let blocks = self.units.div_ceil(self.align);
        let edge = |i: usize| (blocks * i / self.parts * self.align).min(self.units);
        edge(part)..edge(part + 1)
    }

    /// Runs `pass` over all units and waits.
    ///
    /// # Safety
    /// The pass was built for (at least) the units and parts of this split, and its outputs are not read or
    /// written by anybody else meanwhile.
    pub(crate) unsafe fn run<P: Pass>(self, pass: &P) {
        let isa = Isa::current();
        // SAFETY: forwarded; the ranges of distinct parts are disjoint and cover 0..units.
        team::divide(self.parts, &|part| unsafe { enter(pass, isa, part, self.range(part)) });
    }
}

/// # Safety
/// As for [`Pass::run`]; `isa` is available.
unsafe fn enter<P: Pass>(pass: &P, isa: Isa, part: usize, units: Range<usize>) {
    let _flush = Flush::new();
    // SAFETY: `Isa::current` only returns what `Isa::available` detected.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => run_avx512(pass, part, units),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => run_avx2(pass, part, units),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => pass.run::<Neon>(part, units),
            _ => pass.run::<Portable>(part, units),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn run_avx512<P: Pass>(pass: &P, part: usize, units: Range<usize>) {
    // SAFETY: the features are enabled for this function; the rest is forwarded.
    unsafe { pass.run::<Avx512>(part, units) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2<P: Pass>(pass: &P, part: usize, units: Range<usize>) {
    // SAFETY: the features are enabled for this function; the rest is forwarded.
    unsafe { pass.run::<Avx2>(part, units) }
}

/// Memory that the parts of a pass write at disjoint places.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a, T = f32> {
    data: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: an Output is a `&mut [T]` whose users promise to write disjoint places (see `at`).
unsafe impl<T: Send> Send for Output<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Output<'_, T> {}

impl<'a, T> Output<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { data: slice.as_mut_ptr(), len: slice.len(), owner: PhantomData }
    }

    /// Memory not initialised yet; passes only write to it.
    pub(crate) fn spare(slice: &'a mut [MaybeUninit<T>]) -> Self {
        Self { data: slice.as_mut_ptr().cast(), len: slice.len(), owner: PhantomData }
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// The address of value `index`.
    ///
    /// # Safety
    /// `index <= len`; values written through the address are not accessed by another part at the same time.
    #[inline(always)]
    pub(crate) unsafe fn at(self, index: usize) -> *mut T {
        debug_assert!(index <= self.len, "output index {index} past {}", self.len);
        // SAFETY: inside the slice or one past it.
        unsafe { self.data.add(index) }
    }
}
