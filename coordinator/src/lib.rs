//! The coordinator's shell: command line, settings, TLS, gRPC, store, and the loop around `coordinator-core`.
//!
//! [`serve`] is what the binary does. [`run`] is the same without the operating system: a store, a way to models, and byte
//! streams as the caller brings them.

mod authority;
mod connection;
mod driver;
mod durable;
mod error;
mod grpc;
mod http;
mod ingest;
mod meter;
mod output;
mod run;
mod serve;
mod snapshots;

pub mod cli;
pub mod config;
pub mod implications;
pub mod learning;
pub mod limits;
pub mod memory;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod tokens;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use connection::{Incoming, Io, Opened, tcp};
pub use driver::End;
pub use error::Error;
pub use meter::{Meter, Reading};
pub use output::Output;
pub use run::{Parts, Security, run};
pub use serve::{create_token, runtime, secure, serve};

use store::{Store, StoreError};

/// The store, shared by the driver and enrolment; calls block.
pub(crate) type SharedStore = Arc<Mutex<Box<dyn Store>>>;

/// Takes a lock. A thread that panicked while holding it left no half-made state: each call on what is locked is whole.
pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
