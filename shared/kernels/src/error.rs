//! What can be wrong with the arguments of an op.

/// Arguments that do not fit together. Nothing was computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A slice does not have the length its shape asks for.
    #[error("{tensor} has {found} values, expected {expected}")]
    Length {
        /// Which argument.
        tensor: &'static str,
        /// Values the shape asks for.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A batch, side or channel count of zero.
    #[error("{dimension} of the {tensor} is zero")]
    Empty {
        /// Which argument.
        tensor: &'static str,
        /// Which dimension.
        dimension: &'static str,
    },
    /// A stride other than 1 or 2.
    #[error("stride {found}, expected 1 or 2")]
    Stride {
        /// The stride given.
        found: usize,
    },
    /// A depthwise kernel of a side other than 3 or 5.
    #[error("depthwise kernel of {found} x {found}, expected 3 x 3 or 5 x 5")]
    Kernel {
        /// The side given.
        found: usize,
    },
    /// A residual around a block that changes the shape.
    #[error(
        "a residual needs stride 1 and equal channels, found stride {stride} and {inputs} to {outputs} channels"
    )]
    Residual {
        /// Stride of the block.
        stride: usize,
        /// Input channels.
        inputs: usize,
        /// Output channels.
        outputs: usize,
    },
    /// A larger map whose side is neither twice the smaller one's nor one less.
    #[error("{side} {large} is not twice {small}, or one less")]
    Ratio {
        /// `"height"` or `"width"`.
        side: &'static str,
        /// Side of the smaller map.
        small: usize,
        /// Side of the larger map.
        large: usize,
    },
    /// Statistics of a batch where fixed ones are needed.
    #[error("{op} normalises with statistics of a batch, expected fixed ones")]
    BatchStatistics {
        /// Which op.
        op: &'static str,
    },
    /// A tensor with more values than memory can address.
    #[error("the {tensor} has too many values to address")]
    TooLarge {
        /// Which argument.
        tensor: &'static str,
    },
}

/// Checks that `values` has `expected` entries.
pub(crate) fn check_len(tensor: &'static str, values: &[f32], expected: usize) -> Result<(), Error> {
    if values.len() == expected {
        Ok(())
    } else {
        Err(Error::Length { tensor, expected, found: values.len() })
    }
}

/// Checks that a dimension is not zero.
pub(crate) fn check_dim(tensor: &'static str, dimension: &'static str, value: usize) -> Result<(), Error> {
    if value > 0 { Ok(()) } else { Err(Error::Empty { tensor, dimension }) }
}
