//! The device client: a shell around client-core.
//!
//! [`run`] takes part in a run: it drives the core over a [`Connector`], keeps what must survive in a [`Folder`], and learns
//! with whatever [`protocol::train::Trainer`] it is given. [`main`] is the whole command line.

mod address;
pub mod cli;
#[cfg(feature = "detector")]
mod coco;
mod commands;
pub mod connection;
pub mod draw;
mod driver;
mod durable;
pub mod enrol;
mod failure;
pub mod folder;
mod happening;
#[cfg(feature = "detector")]
mod images;
#[cfg(feature = "detector")]
mod learning;
mod output;
#[cfg(feature = "detector")]
mod report;
mod session;
#[cfg(feature = "detector")]
mod stored;
mod transfer;
mod worker;

pub use address::{Address, AddressError};
pub use commands::{execute, main};
pub use connection::{ConnectError, Connector};
pub use driver::{Ended, RunError, run};
pub use failure::Failure;
pub use folder::{Folder, FolderError, Member};
pub use happening::Happening;
