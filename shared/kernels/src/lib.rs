//! Native CPU kernels for training and running a MobileNet detector: slices in, vectors out.
//!
//! All tensors are `f32`, NHWC, row by row: `[batch, height, width, channels]`. 1x1 weights are
//! `[outputs, inputs]`, depthwise kernels `[side, side, channels]`, the stem's kernel `[3, 3, inputs, outputs]`. Any
//! channel count and any size from 1x1 works; multiples of 16 channels are fastest.
//!
//! One op is one block of the network, because the speed comes from what passes between its convolutions: only raw
//! convolution outputs are stored, and batch norm with its activation is a *pending affine map* that the next
//! loop applies while it loads. The same holds backward. Each op has a `forward`, which keeps what `backward`
//! needs only when asked to, and a `backward` that computes only the gradients asked for ([`Wanted`]).
//!
//! Work is split statically over the current rayon pool; the same number of threads gives the same bits. The
//! instruction set is chosen at run time ([`Isa`]). Denormals count as zero within an op. What only has to look is built once
//! as an [`InferencePlan`].
//!
//! The tests run clean under AddressSanitizer in all instruction sets of the machine, under miri, and with NEON, here emulated.
//! Miri knows the portable path alone and runs with fewer and smaller tensors and blocks, see `unless_interpreted`. Its flags
//! are there for rayon: the queues need tree borrows and casts of integers to pointers, and a pool's threads are not joined,
//! so that what they own counts as leaked. Passes are shared by two threads in the tests that make a pool. It takes about ten
//! minutes of one core.
//!
//! ```sh
//! RUSTFLAGS=-Zsanitizer=address cargo +nightly test --release -p kernels --lib --target x86_64-unknown-linux-gnu
//!
//! MIRIFLAGS="-Zmiri-tree-borrows -Zmiri-permissive-provenance -Zmiri-ignore-leaks" cargo +nightly miri test -p kernels
//!
//! CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
//!     CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
//!     cargo test --release -p kernels --lib --target aarch64-unknown-linux-gnu
//! ```
#![allow(
    unsafe_code,
    reason = "vector intrinsics and disjoint writes from several threads; the only crate that may"
)]

mod activation;
pub mod block;
mod buffer;
mod denormal;
mod depthwise;
mod error;
mod gemm;
mod keep;
mod norm;
pub mod plan;
pub mod pointwise;
pub mod predict;
mod rows;
mod simd;
pub mod squeeze;
pub mod stem;
mod sums;
#[cfg(test)]
mod tests;
mod threads;
pub mod upsample;

pub use activation::Activation;
pub use buffer::release_memory;
pub use error::Error;
pub use keep::Keep;
pub use norm::{EPSILON, Moments, Norm, NormGradients, Statistics};
pub use plan::{InferencePlan, PlanBuilder};
pub use simd::{Isa, with_isa};

use error::{check_dim, check_len};

/// `value`, or `small` under miri, which interprets thousands of times slower: there tensors of a few pixels have to meet all
/// the cuts, blocks and stripes that large ones meet elsewhere.
const fn unless_interpreted(value: usize, small: usize) -> usize {
    if cfg!(miri) { small } else { value }
}

/// Batch and spatial size of an NHWC tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// Images.
    pub batch: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels per row.
    pub width: usize,
}

impl Map {
    /// Pixels of the whole batch.
    pub fn pixels(self) -> usize {
        self.batch * self.height * self.width
    }

    /// The map after a convolution of `stride`, padded so that stride 1 keeps the size.
    pub fn strided(self, stride: usize) -> Self {
        Self { height: self.height.div_ceil(stride), width: self.width.div_ceil(stride), ..self }
    }

    /// Channels of `values`, which has a row of them for each pixel.
    fn channels(self, tensor: &'static str, values: &[f32]) -> Result<usize, Error> {
        self.check(tensor, 1)?;
        let channels = values.len() / self.pixels();
        self.check(tensor, channels)?;
        check_len(tensor, values, self.pixels() * channels)?;
        Ok(channels)
    }

    /// Checks that no side is zero and that `channels` values per pixel can be addressed with room for padding.
    fn check(self, tensor: &'static str, channels: usize) -> Result<(), Error> {
        check_dim(tensor, "batch", self.batch)?;
        check_dim(tensor, "height", self.height)?;
        check_dim(tensor, "width", self.width)?;
        check_dim(tensor, "channels", channels)?;
        let values =
            [self.batch, self.height, self.width, channels].iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        match values {
            Some(n) if n < isize::MAX as usize / 64 => Ok(()),
            _ => Err(Error::TooLarge { tensor }),
        }
    }
}

/// Which gradients a backward call computes; the others are skipped, and so is the work only they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// With respect to the input tensor.
    pub input: bool,
    /// With respect to convolution weights and kernels.
    pub weights: bool,
    /// With respect to batch norm parameters and biases.
    pub affine: bool,
}

impl Wanted {
    /// Every gradient.
    pub const ALL: Self = Self { input: true, weights: true, affine: true };
}
