//! Logs, on standard error: what the operator does not need to see, but whoever looks for a fault does.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Sends logs to standard error; `FOVEA_LOG` says which, for example `debug` or `coordinator=trace`. Warnings by default.
pub fn start() {
    let filter = EnvFilter::try_from_env("FOVEA_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first.
    let _ = subscriber.with_ansi(colours).try_init();
}
