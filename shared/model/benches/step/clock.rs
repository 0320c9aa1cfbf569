//! What times are measured in.

use std::time::{Duration, Instant};

/// A moment in elapsed time or, with `--cpu`, in processor time of this thread (Linux): for a machine that others use.
pub(crate) struct Clock(Instant, Option<Duration>);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now(), std::env::args().any(|arg| arg == "--cpu").then(processor_time))
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.1.map_or_else(|| self.0.elapsed(), |before| processor_time() - before)
    }
}

fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanoseconds.expect("--cpu needs Linux"))
}
