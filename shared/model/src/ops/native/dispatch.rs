//! The operations as burn's dispatch routes them.
//!
//! Burn wants tensors as separate arguments, and autodiff wants to know how many parents a node has: so there is one
//! operation per number of tensors, whatever it computes.

#![expect(clippy::too_many_arguments, reason = "they are the parents of one node")]

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};

use super::autodiff::track;
use super::{Form, run};

/// A tensor on whatever backend it is.
pub(super) type Dispatched = FloatTensor<Dispatch>;

/// Writes down operations by the names of their tensors: the trait that is dispatched, both implementations, and the choice
/// by number.
macro_rules! operations {
    ($($name:ident($($tensor:ident),+);)+) => {
        /// Each returns its output, then mean and variance of each norm with statistics of the batch.
        #[backend_extension(Flex, Autodiff)]
        trait NativeOps: Backend {
            $(fn $name($($tensor: FloatTensor<Self>,)+ form: Form) -> (FloatTensor<Self>, Vec<FloatTensor<Self>>);)+
        }

        impl NativeOps for Flex {
            $(fn $name($($tensor: FloatTensor<Self>,)+ form: Form) -> (FloatTensor<Self>, Vec<FloatTensor<Self>>) {
                run::plain(&form, [$($tensor),+])
            })+
        }

        impl<C: CheckpointStrategy> NativeOps for Autodiff<Flex, C> {
            $(fn $name($($tensor: FloatTensor<Self>,)+ form: Form) -> (FloatTensor<Self>, Vec<FloatTensor<Self>>) {
                track::<C, _>(form, [$($tensor),+])
            })+
        }

        /// Runs `form` on `tensors`, which are in the order that [`super::Kind`] says.
        ///
        /// # Panics
        /// When no operation has so many tensors.
        pub(super) fn dispatch(tensors: Vec<Dispatched>, form: Form) -> (Dispatched, Vec<Dispatched>) {
            $(let tensors = match <[Dispatched; _]>::try_from(tensors) {
                Ok([$($tensor),+]) => return Dispatch::$name($($tensor,)+ form),
                Err(tensors) => tensors,
            };)+
            panic!("{:?} has {} tensors", form.kind, tensors.len());
        }
    };
}

operations! {
    two(a, b);
    three(a, b, c);
    four(a, b, c, d);
    seven(a, b, c, d, e, f, g);
    ten(a, b, c, d, e, f, g, h, i, j);
    eleven(a, b, c, d, e, f, g, h, i, j, k);
    fourteen(a, b, c, d, e, f, g, h, i, j, k, l, m, n);
}
