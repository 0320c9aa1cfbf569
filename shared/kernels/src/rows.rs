//! Passes over the rows of an NHWC tensor with the batch folded in: `[batch * height * width, channels]`.
//!
//! A block of rows is brought to scratch that stays in the second-level cache, with the pending affine map and
//! activation applied on the way, and then every product that needs it is made.

pub(crate) mod backward;
pub(crate) mod forward;
pub(crate) mod gradient;
pub(crate) mod pending;
pub(crate) mod source;

use crate::gemm::TILE_ROWS_MAX;
use crate::unless_interpreted;

/// Values of scratch a row block may fill: 160 KiB, a small part of any second-level cache in use.
const BLOCK_VALUES: usize = unless_interpreted(40 * 1024, 1024);

/// Rows per block for rows of `values`: a multiple of every tile height.
pub(crate) fn block_rows(values: usize) -> usize {
    let unit = 2 * TILE_ROWS_MAX;
    (BLOCK_VALUES / values.max(1) / unit * unit).clamp(unit, 8 * unit)
}
