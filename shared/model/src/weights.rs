//! Between the flat vector and tensors.

use std::sync::Arc;

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use params::Layout;

use crate::architecture::TensorIndex;

/// The tensors of a model on a device, made from a flat vector in its layout.
///
/// Each is a leaf of its own, flat until it is asked for: gradients come back in layout order, and the optimiser works on
/// one slice.
#[derive(Clone, Debug)]
pub struct Weights {
    layout: Arc<Layout>,
    leaves: Vec<Tensor<1>>,
    recompute: bool,
}

impl Weights {
    /// Tensors for forward passes only. `values` is in `layout`, all scopes.
    pub fn fixed(layout: &Arc<Layout>, values: &[f32], device: &Device) -> Self {
        Self::new(layout, values, device, |_| false)
    }

    /// Tensors of which those that `trains` names get gradients.
    pub fn trainable(
        layout: &Arc<Layout>,
        values: &[f32],
        device: &Device,
        trains: impl Fn(TensorIndex) -> bool,
    ) -> Self {
        Self::new(layout, values, &device.clone().autodiff(), trains)
    }

    fn new(
        layout: &Arc<Layout>,
        values: &[f32],
        device: &Device,
        trains: impl Fn(TensorIndex) -> bool,
    ) -> Self {
        assert_eq!(values.len(), layout.len(), "values must be in the layout of the model");
        let leaf = |(index, tensor): (TensorIndex, &params::Tensor)| {
            let data = TensorData::new(values[tensor.range()].to_vec(), [tensor.len]);
            let leaf = Tensor::from_data(data, device);
            if trains(index) { leaf.require_grad() } else { leaf }
        };
        let leaves = layout.tensors().iter().enumerate().map(leaf).collect();
        Self { layout: Arc::clone(layout), leaves, recompute: false }
    }

    /// With `recompute`, blocks that these weights run in keep their input alone for backward, and make the maps in between
    /// again: slower, in less memory (see [`crate::budget`]).
    pub fn recomputing(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// As [`Weights::recomputing`] said.
    pub(crate) fn recomputes(&self) -> bool {
        self.recompute
    }

    /// The device the tensors are on.
    pub fn device(&self) -> Device {
        self.leaves[0].device()
    }

    /// Tensor number `index` in its shape, which must have `D` axes.
    pub fn get<const D: usize>(&self, index: TensorIndex) -> Tensor<D> {
        let shape = &self.layout.tensors()[index].spec.shape;
        let shape: [usize; D] = std::array::from_fn(|axis| shape[axis]);
        self.leaves[index].clone().reshape(shape)
    }

    /// Adds the gradients of all tensors that have one to `sums`, which is in the layout.
    pub fn add_gradients(&self, gradients: &mut Gradients, sums: &mut [f32]) {
        for (leaf, tensor) in self.leaves.iter().zip(self.layout.tensors()) {
            if let Some(gradient) = leaf.grad_remove(gradients) {
                let gradient = host(gradient);
                for (sum, value) in sums[tensor.range()].iter_mut().zip(gradient) {
                    *sum += value;
                }
            }
        }
    }
}

/// A tensor's values in row-major order.
pub(crate) fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data().convert::<f32>();
    data.try_into_vec().expect("converted to f32 the line above")
}
