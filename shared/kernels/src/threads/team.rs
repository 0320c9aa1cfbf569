//! Threads that stay together for several passes, so that each pass costs a hand-over of a cache line, not of a sleeping thread.
//!
//! A pass is often shorter than it takes the system to wake a thread. A team is entered once per op or plan; its helpers wait
//! for the next pass spinning, then yielding, and go back to the pool when the team is done. A helper that never comes,
//! because its thread has other work, is not waited for: the leader takes the parts that are left. Otherwise the same thread
//! takes the same part of each pass, because it has the rows of the last pass in its cache.

use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Looks at an atomic before the processor is offered to others: some microseconds, longer than most gaps between passes.
const SPINS: u32 = 2_000;

/// Threads of a team at most; beyond it passes are split on the pool.
const THREADS_MAX: usize = 32;

/// What a team does next: `call(data, part)`.
#[derive(Clone, Copy)]
struct Job {
    data: *const (),
    call: unsafe fn(*const (), usize),
}

/// See the module. Only the leader publishes, one job at a time.
struct Team {
    /// Number of the job in the upper half, a bit for each part of it that nobody has taken in the lower.
    open: AtomicU64,
    /// Parts of the job that are done.
    finished: AtomicUsize,
    over: AtomicBool,
    /// Read only by who has taken a part of the current job, written by the leader when all parts are done.
    job: UnsafeCell<Job>,
}

// SAFETY: `job` is written and read as its comment says; a taken part keeps its job current until it is `finished`.
unsafe impl Sync for Team {}

thread_local! {
    static LED: Cell<Option<*const Team>> = const { Cell::new(None) };
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Threads that passes entered on this thread are divided between.
pub(crate) fn available() -> usize {
    if ALONE.get() { 1 } else { rayon::current_num_threads() }
}

/// Runs `work` without dividing its passes: because the other threads have work of their own.
pub(crate) fn alone<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _restore = Restore(ALONE.replace(true));
    work()
}

/// Runs `work` on this thread with the pool's other threads at hand for its passes.
pub(crate) fn together<R>(work: impl FnOnce() -> R) -> R {
    let threads = available();
    // From outside a pool, `join` would move the work to another thread.
    if threads == 1 || threads > THREADS_MAX || LED.get().is_some() || rayon::current_thread_index().is_none()
    {
        return work();
    }
    let team = Team {
        open: AtomicU64::new(0),
        finished: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        job: UnsafeCell::new(Job { data: std::ptr::null(), call: |_, _| {} }),
    };
    rayon::in_place_scope(|scope| {
        for part in 1..threads {
            let team = &team;
            scope.spawn(move |_| team.help(part));
        }
        let _leading = Leading::new(&team);
        work()
    })
}

/// Makes this thread the leader; when dropped, also by a panic, the helpers go.
struct Leading<'a>(&'a Team);

impl<'a> Leading<'a> {
    fn new(team: &'a Team) -> Self {
        LED.set(Some(team));
        Self(team)
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        LED.set(None);
        self.0.over.store(true, Ordering::Release);
    }
}

/// Calls `work` with each of `0..parts`, on the team this thread leads or else by splitting on the pool.
pub(crate) fn divide<W: Fn(usize) + Sync>(parts: usize, work: &W) {
    match LED.get() {
        _ if parts == 1 => work(0),
        // SAFETY: set by `Leading`, which is dropped before the team is.
        Some(team) => unsafe { &*team }.lead(parts, work),
        None => fork(work, 0, parts),
    }
}

fn fork<W: Fn(usize) + Sync>(work: &W, from: usize, to: usize) {
    if to - from == 1 {
        return work(from);
    }
    let middle = from.midpoint(to);
    rayon::join(|| fork(work, from, middle), || fork(work, middle, to));
}

impl Team {
    fn lead<W: Fn(usize) + Sync>(&self, parts: usize, work: &W) {
        unsafe fn call<W: Fn(usize)>(data: *const (), part: usize) {
            // SAFETY: made from a `&W` below, which lives until all parts are done.
            unsafe { (*data.cast::<W>())(part) }
        }
        let job = Job { data: std::ptr::from_ref(work).cast(), call: call::<W> };
        // SAFETY: all parts of the job before are done, and nobody can take one of it any more.
        unsafe { *self.job.get() = job };
        self.finished.store(0, Ordering::Relaxed);
        let number = (self.open.load(Ordering::Relaxed) >> 32) + 1;
        self.open.store(number << 32 | ((1 << parts) - 1), Ordering::Release);
        // Waits also when a part of this thread panics: `work` is borrowed.
        let _all_done = AllDone { team: self, parts };
        (0..parts).for_each(|part| {
            self.take(part);
        });
    }

    /// Does this part of the current job, unless it has none or somebody has taken it.
    fn take(&self, part: usize) -> bool {
        let bit = 1_u64 << part;
        if self.open.load(Ordering::Relaxed) & bit == 0
            || self.open.fetch_and(!bit, Ordering::Acquire) & bit == 0
        {
            return false;
        }
        let _finished = Finished(self);
        // SAFETY: a part was taken, so the job stays until it is `finished`.
        unsafe {
            let Job { data, call } = *self.job.get();
            call(data, part);
        }
        true
    }

    /// Takes this part of each job until the team is over.
    fn help(&self, part: usize) {
        let mut idle = Idle::default();
        while !self.over.load(Ordering::Acquire) {
            if self.take(part) {
                idle = Idle::default();
            } else {
                idle.wait();
            }
        }
    }
}

struct Finished<'a>(&'a Team);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.finished.fetch_add(1, Ordering::Release);
    }
}

struct AllDone<'a> {
    team: &'a Team,
    parts: usize,
}

impl Drop for AllDone<'_> {
    fn drop(&mut self) {
        let team = self.team;
        if std::thread::panicking() {
            // Parts that nobody has taken are not done at all.
            let left = team.open.fetch_and(!u64::from(u32::MAX), Ordering::Relaxed) as u32;
            team.finished.fetch_add(left.count_ones() as usize, Ordering::Relaxed);
        }
        let mut idle = Idle::default();
        while team.finished.load(Ordering::Acquire) < self.parts {
            idle.wait();
        }
    }
}

/// Waiting that others hardly notice.
#[derive(Default)]
struct Idle {
    spins: u32,
}

impl Idle {
    fn wait(&mut self) {
        if self.spins < SPINS {
            self.spins += 1;
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests;
