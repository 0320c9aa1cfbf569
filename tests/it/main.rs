//! One binary for every test that crosses a crate wall.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where and ends")]

mod canary;
mod parity;
mod recovery;
mod refusals;
mod tidy;
mod transport;
