use burn::tensor::Tensor;
use params::{Scope, TensorSpec};

use super::*;

fn moments(mean: [f32; 2], var: [f32; 2]) -> BatchMoments {
    let device = crate::Backend::default().device();
    BatchMoments { mean: Tensor::from_floats(mean, &device), var: Tensor::from_floats(var, &device) }
}

fn layout() -> (Layout, NormIndex) {
    let spec = |name: &str| TensorSpec { name: name.to_owned(), shape: vec![2], scope: Scope::Statistic };
    let layout = Layout::new(["gamma", "beta", "mean", "var"].map(spec).to_vec()).unwrap();
    (layout, NormIndex { gamma: 0, beta: 1, mean: 2, var: 3 })
}

/// Batches {1, 3} and {5} of one channel, {0, 0} and {6} of the other: mean 3 and 2, variance 8/3 and 8.
#[test]
fn pooled_moments_are_those_of_all_images_together() {
    let (layout, at) = layout();
    let mut pool = Pool::new(&layout);
    pool.add(&layout, 2, vec![(at, moments([2.0, 0.0], [1.0, 0.0]))]);
    pool.add(&layout, 1, vec![(at, moments([5.0, 6.0], [0.0, 0.0]))]);
    let mut values = vec![9.0; 8];
    pool.write(&layout, [at].into_iter(), &mut values);
    for (found, expected) in values.iter().zip([9.0, 9.0, 9.0, 9.0, 3.0, 2.0, 8.0 / 3.0, 8.0]) {
        assert!((found - expected).abs() < 1e-6, "{values:?}");
    }
}

#[test]
fn running_statistics_move_by_a_tenth() {
    let (layout, at) = layout();
    let mut values = vec![1.0; 8];
    track(&layout, &mut values, vec![(at, moments([2.0, 1.0], [0.0, 11.0]))]);
    for (found, expected) in values.iter().zip([1.0, 1.0, 1.0, 1.0, 1.1, 1.0, 0.9, 2.0]) {
        assert!((found - expected).abs() < 1e-6, "{values:?}");
    }
}
