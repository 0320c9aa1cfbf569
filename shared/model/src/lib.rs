//! The detector in burn: architectures, losses, local training, evaluation. The only crate that knows burn.

pub mod ops;
