//! One binary for every test that crosses a crate wall.

mod parity;
mod recovery;
mod tidy;
