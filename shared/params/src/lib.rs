//! The model as one flat vector with a layout, and exact fixed-point sums over it.
//!
//! A detector, whatever its architecture, is to the federation a list of named tensors laid end to end. [`Layout`] says
//! which tensors, in which order, and with which [`Scope`]; [`Canonical`] is the published model as integer multiples of a
//! per-tensor power-of-two step; [`Accumulator`] adds updates to it in an order-independent way.

mod canonical;
mod digest;
mod exact;
mod layout;
mod share;

pub use canonical::{Canonical, Faint, Grid, GridError};
pub use digest::{Digest, Digester};
pub use exact::{Accumulator, Number, Part, SUBTICK_BITS, Scales, SumError, TILE, WEIGHT_TOTAL_MAX};
pub use layout::{Layout, LayoutError, PARAMETERS_MAX, Scope, TENSORS_MAX, Tensor, TensorSpec};
pub use share::Share;
