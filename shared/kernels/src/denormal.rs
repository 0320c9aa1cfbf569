//! Denormal numbers count as zero while a pass runs: with them an operation takes a hundred times as long, and weights that
//! fade away are full of them.

/// Flushes denormal operands and results of this thread to zero until dropped, then restores what was before.
pub(crate) struct Flush {
    before: Control,
}

#[cfg(target_arch = "x86_64")]
type Control = u32;
#[cfg(not(target_arch = "x86_64"))]
type Control = u64;

/// Flush to zero, denormals are zero.
#[cfg(target_arch = "x86_64")]
const FLAGS: Control = 1 << 15 | 1 << 6;
/// Flush to zero, operands and results.
#[cfg(not(target_arch = "x86_64"))]
const FLAGS: Control = 1 << 24;

impl Flush {
    pub(crate) fn new() -> Self {
        let before = control();
        set_control(before | FLAGS);
        Self { before }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        set_control(self.before);
    }
}

/// The control register of this thread's floating-point unit; 0 where there is none that we know.
pub(crate) fn control() -> Control {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let mut value = 0;
        // SAFETY: stores MXCSR, which every x86-64 has, to four bytes of ours.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
        value
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    {
        let value;
        // SAFETY: reads a register.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    0
}

/// Between a [`Flush`] and its drop this thread only runs arithmetic of ours on vectors, whose results a compiler does not
/// know; so the two flags change no assumption of its.
fn set_control(value: Control) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: loads MXCSR with a value that was read from it, but for the two flags.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: writes a value that was read from the register, but for the flag.
    unsafe {
        std::arch::asm!("msr fpcr, {}", in(reg) value, options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    let _ = value;
}
