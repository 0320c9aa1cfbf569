//! Where a value first stops being finite: what `--check-finite` looks at.
//!
//! Parameters are looked at as well as results, because ReLU6 turns some of what is not a number into one.

use burn::tensor::Tensor;
use params::Layout;
use thiserror::Error;

use crate::architecture::ConvIndex;
use crate::ops::BatchMoments;
use crate::weights::host;

/// Something in a forward pass is infinite or not a number.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what} is not finite")]
pub struct NotFinite {
    /// For example `output of backbone.3`, or `variance after backbone.3.expand`.
    pub what: String,
}

/// The first tensor of `layout` with a value in `values` that is not finite.
pub(crate) fn first_tensor<'a>(layout: &'a Layout, values: &[f32]) -> Option<&'a str> {
    let bad = layout.tensors().iter().find(|tensor| !all(&values[tensor.range()]));
    bad.map(|tensor| tensor.spec.name.as_str())
}

/// Watches a forward pass.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    layout: &'a Layout,
    found: Option<String>,
}

impl<'a> Watch<'a> {
    /// Starts with the input, `[images, rows, columns, channels]`.
    pub(crate) fn new(layout: &'a Layout, pixels: &Tensor<4>) -> Self {
        let images = pixels.dims()[0];
        let values = host(pixels.clone());
        let size = values.len() / images.max(1);
        let bad = values.chunks(size.max(1)).position(|image| !all(image));
        Self { layout, found: bad.map(|image| format!("image {} of {images} in the batch", image + 1)) }
    }

    /// An operation of `convolutions` with batch norm: what each norm was fed, then the output.
    pub(crate) fn normalised(
        &mut self,
        convolutions: &[ConvIndex],
        moments: &[BatchMoments],
        output: &Tensor<4>,
    ) {
        let mut last = String::new();
        for (convolution, BatchMoments { mean, var }) in convolutions.iter().zip(moments) {
            let name = self.layer(convolution.weight);
            self.look(mean, || format!("mean after {name}"));
            self.look(var, || format!("variance after {name}"));
            last = name;
        }
        self.look(output, || format!("output of {last}"));
    }

    /// An operation whose weight is tensor `index`.
    pub(crate) fn plain<const D: usize>(&mut self, index: usize, output: &Tensor<D>) {
        let name = self.layer(index);
        self.look(output, || format!("output of {name}"));
    }

    /// # Errors
    /// What was found first.
    pub(crate) fn finish(self) -> Result<(), NotFinite> {
        self.found.map_or(Ok(()), |what| Err(NotFinite { what }))
    }

    fn look<const D: usize>(&mut self, tensor: &Tensor<D>, name: impl FnOnce() -> String) {
        if self.found.is_none() && !all(&host(tensor.clone())) {
            self.found = Some(name());
        }
    }

    fn layer(&self, weight: usize) -> String {
        let name = &self.layout.tensors()[weight].spec.name;
        name.strip_suffix(".weight").unwrap_or(name).to_owned()
    }
}

fn all(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}

#[cfg(test)]
mod tests;
