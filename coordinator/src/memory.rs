//! Memory that was given back is given back to the system.
//!
//! glibc keeps an arena for each thread, and what is freed in one is not there for the others; and once a large block was freed,
//! blocks of its size come from arenas too. After some rounds a coordinator has kept models and buffers many times over. What
//! glibc does is decided before `main`, by the environment, so the program starts itself once more with the settings below.

/// Name and value of what glibc reads: one arena; blocks from 64 KiB on from the system, and back to it, as what is free at its end.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SETTINGS: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "65536"), ("MALLOC_TRIM_THRESHOLD_", "262144")];

/// Replaces the process by itself with an allocator that holds on to little; to be called first. Returns if that is so already,
/// if the operator has set any of it, and where it cannot be done.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn be_frugal() {
    use std::os::unix::process::CommandExt;
    if SETTINGS.iter().any(|(name, _)| std::env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = std::process::Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    let error = again.args(arguments).envs(SETTINGS).exec();
    // Then with more memory.
    tracing::debug!(%error, "the allocator is as it is");
}

/// Other allocators are left as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn be_frugal() {}
