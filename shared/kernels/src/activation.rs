//! What follows a batch norm.
//!
//! Every activation but hard-swish is one clamp, so that a loop needs two versions and not one per activation. The
//! derivative is made from the value before the activation, which raw outputs and their pending maps give; the output
//! would not do, since hard-swish is not monotonic.

use crate::simd::Simd;

/// A function of each value, after a batch norm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// The value itself.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x * min(max(x + 3, 0), 6) / 6` (Howard et al., arXiv 1905.02244, section 5.2).
    HardSwish,
}

impl Activation {
    /// Whether it is not a clamp.
    #[inline(always)]
    pub(crate) fn swish(self) -> bool {
        self == Self::HardSwish
    }

    /// Activates some vectors. For loops whose body is long beside one branch; others hold [`Bounds`].
    ///
    /// # Safety
    /// As for [`Simd`].
    #[inline(always)]
    pub(crate) unsafe fn apply<S: Simd>(self, values: &mut [S::V]) {
        // SAFETY: forwarded.
        unsafe {
            let bounds = Bounds::<S>::of(self);
            if self.swish() {
                for value in values {
                    *value = bounds.apply::<true>(*value);
                }
            } else {
                for value in values {
                    *value = bounds.apply::<false>(*value);
                }
            }
        }
    }

    /// Multiplies each of `gradients` with the derivative at the value that `value` makes of its index.
    ///
    /// # Safety
    /// As for [`Simd`].
    #[inline(always)]
    pub(crate) unsafe fn gate<S: Simd>(self, gradients: &mut [S::V], value: impl Fn(usize) -> S::V) {
        // SAFETY: forwarded.
        unsafe {
            let bounds = Bounds::<S>::of(self);
            if self.swish() {
                for (i, gradient) in gradients.iter_mut().enumerate() {
                    *gradient = bounds.gate::<true>(value(i), *gradient);
                }
            } else {
                for (i, gradient) in gradients.iter_mut().enumerate() {
                    *gradient = bounds.gate::<false>(value(i), *gradient);
                }
            }
        }
    }
}

/// An activation in registers: the clamp, unless `SWISH`, which is [`Activation::swish`].
#[derive(Clone, Copy)]
pub(crate) struct Bounds<S: Simd> {
    low: S::V,
    high: S::V,
}

impl<S: Simd> Bounds<S> {
    /// # Safety
    /// As for [`Simd`].
    #[inline(always)]
    pub(crate) unsafe fn of(activation: Activation) -> Self {
        let (low, high) = match activation {
            Activation::None | Activation::HardSwish => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::Relu6 => (0.0, 6.0),
        };
        // SAFETY: forwarded.
        unsafe { Self { low: S::splat(low), high: S::splat(high) } }
    }

    /// # Safety
    /// As for [`Simd`].
    #[inline(always)]
    pub(crate) unsafe fn apply<const SWISH: bool>(self, value: S::V) -> S::V {
        // SAFETY: forwarded.
        unsafe { if SWISH { S::swish(value) } else { S::clamp(value, self.low, self.high) } }
    }

    /// `gradient` times the derivative at `value`.
    ///
    /// # Safety
    /// As for [`Simd`].
    #[inline(always)]
    pub(crate) unsafe fn gate<const SWISH: bool>(self, value: S::V, gradient: S::V) -> S::V {
        // SAFETY: forwarded.
        unsafe {
            if SWISH { S::swish_gate(value, gradient) } else { S::gate(value, self.low, self.high, gradient) }
        }
    }
}
