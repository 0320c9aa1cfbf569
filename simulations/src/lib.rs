//! Thousands of unequal virtual devices driving the production cores.
//!
//! The third driver beside the two binaries: [`world`] turns effects of the cores into events at a later virtual time. It
//! replaces the network, the clock and the devices, and nothing else.

pub mod chart;
pub mod cli;
mod compare;
mod curve;
pub mod device;
pub mod host;
pub mod learning;
pub mod queue;
pub mod report;
mod run;
pub mod scenario;
pub mod toy;
pub mod workers;
pub mod world;

pub use compare::compare;
pub use curve::{Named, curve};
pub use run::{run_file, say, simulate};
