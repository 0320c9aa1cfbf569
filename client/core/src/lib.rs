//! The device as a state machine: join, fetch, train, upload, back off; and the outgoing pipeline.
//!
//! Like the coordinator's core it knows neither clock, network, disk, protobuf nor tensors.

pub mod effect;
pub mod event;
