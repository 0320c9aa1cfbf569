//! The round as a state machine: who is asked, what is accepted, how updates combine, what is published.
//!
//! One verb in, effects out, one deadline. The core knows neither clock, network, disk, protobuf nor tensors; a driver (the
//! coordinator binary, or the simulator) tells it what happened and performs what it asks, in order.

pub mod effect;
pub mod event;
