//! The coordinator's shell.
mod durable;
pub mod state;
pub mod store;
pub mod tokens;
