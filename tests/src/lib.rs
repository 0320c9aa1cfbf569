//! What the integration tests share: the real coordinator and real clients in one process, over real connections, with the
//! simulator's analytic model in place of a detector.
//!
//! Every program is a [`Process`]: a runtime of its own, so that it can be killed like one. State lies in temporary folders,
//! connections go through a [`Network`], whose port stays the same while coordinators behind it come and go. Nothing here
//! sleeps: tests wait for what happens.

mod flat;
mod link;
mod network;
mod peer;
mod process;
mod site;
mod toy;

pub use flat::Flat;
pub use link::{Carried, Conditions, Cut, Link};
pub use network::{Count, Heard, Network, Tap, Weather};
pub use peer::{Peer, Talk, hello};
pub use process::{PATIENCE, Process};
pub use site::{Client, Coordinator, Site};
pub use toy::{Gate, ToyLearning, Watched, Work, device, settings};
