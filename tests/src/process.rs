//! A program in this process: a runtime of its own, which can be killed.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Nothing in a test takes this long; whoever waits longer waits for nothing.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Work on a runtime of its own. Ending it, in whatever way, ends every task, connection and file that the work has left.
#[derive(Debug)]
pub struct Process<T> {
    runtime: Option<Runtime>,
    running: JoinHandle<T>,
}

impl<T: Send + 'static> Process<T> {
    /// Starts `work`.
    ///
    /// # Panics
    /// When the system has no thread left.
    pub fn start(work: impl Future<Output = T> + Send + 'static) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let running = runtime.spawn(work);
        Self { runtime: Some(runtime), running }
    }

    /// Waits until the work is done.
    ///
    /// # Panics
    /// When it panics, or does not end within [`PATIENCE`].
    pub async fn end(self) -> T {
        self.end_within(PATIENCE).await
    }

    /// The same, where more time is needed.
    ///
    /// # Panics
    /// When it panics, or does not end in time.
    pub async fn end_within(mut self, time: Duration) -> T {
        let ended = tokio::time::timeout(time, &mut self.running).await;
        let ended = ended.expect("the process ends in time").expect("the process does not panic");
        self.reap().await;
        ended
    }

    /// Ends it where it waits, as a lost power supply would: nothing is said, nothing is finished. `release` lets go what holds
    /// one of its threads; the work itself is not polled again and does not see it.
    pub async fn kill(mut self, release: impl FnOnce()) {
        self.running.abort();
        release();
        let _ = (&mut self.running).await;
        self.reap().await;
    }

    async fn reap(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            let gone = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE));
            gone.await.expect("a runtime ends");
        }
    }
}

impl<T> Drop for Process<T> {
    fn drop(&mut self) {
        // A test that fails drops what it has started, where nothing may block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
