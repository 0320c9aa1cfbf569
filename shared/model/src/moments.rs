//! Statistics of batch norms: the running average of training, and the exact pool of calibration.

use params::Layout;

use crate::architecture::NormIndex;
use crate::ops::BatchMoments;
use crate::weights::host;

/// Share of a batch's statistics in the running ones.
const MOMENTUM: f32 = 0.1;

/// Moves the running statistics in `values` (in `layout`) towards those of a batch.
pub(crate) fn track(layout: &Layout, values: &mut [f32], moments: Vec<(NormIndex, BatchMoments)>) {
    let tensors = layout.tensors();
    for (at, BatchMoments { mean, var }) in moments {
        for (index, batch) in [(at.mean, host(mean)), (at.var, host(var))] {
            for (running, value) in values[tensors[index].range()].iter_mut().zip(batch) {
                *running += MOMENTUM * (value - *running);
            }
        }
    }
}

/// Mean and variance over all images of several batches, as if they had been one.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// Sum of images times mean, and of images times mean square, in layout order at the places of mean and variance.
    sums: Vec<f64>,
    images: f64,
}

impl Pool {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self { sums: vec![0.0; layout.len()], images: 0.0 }
    }

    /// Adds a batch. All images have equally many pixels, so they weigh the same.
    pub(crate) fn add(&mut self, layout: &Layout, images: usize, moments: Vec<(NormIndex, BatchMoments)>) {
        let weight = images as f64;
        let tensors = layout.tensors();
        for (at, BatchMoments { mean, var }) in moments {
            let pairs = host(mean).into_iter().zip(host(var)).enumerate();
            for (channel, (mean, var)) in pairs {
                let mean = f64::from(mean);
                self.sums[tensors[at.mean].offset + channel] += weight * mean;
                self.sums[tensors[at.var].offset + channel] += weight * (f64::from(var) + mean * mean);
            }
        }
        self.images += weight;
    }

    /// Writes mean and variance of everything added into `values`, for the batch norms `norms`.
    pub(crate) fn write(&self, layout: &Layout, norms: impl Iterator<Item = NormIndex>, values: &mut [f32]) {
        let tensors = layout.tensors();
        for at in norms {
            let (mean, var) = (tensors[at.mean].offset, tensors[at.var].offset);
            for channel in 0..tensors[at.mean].len {
                let average = self.sums[mean + channel] / self.images;
                let square = self.sums[var + channel] / self.images;
                values[mean + channel] = average as f32;
                values[var + channel] = (square - average * average).max(0.0) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests;
