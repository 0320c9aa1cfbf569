use burn::tensor::TensorData;

use super::*;
use crate::initial::initial;
use crate::preset::PRESETS;
use crate::testing::architecture;
use crate::weights::host;

fn picture(images: usize, side: u32, device: &burn::tensor::Device) -> Tensor<4> {
    let side = side as usize;
    let values: Vec<f32> =
        (0..images * side * side * 3).map(|at| ((at * 7919) % 255) as f32 / 127.0 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, [images, side, side, 3]), device)
}

#[test]
fn every_preset_says_something_about_every_location() {
    let device = crate::Backend::default().device();
    for entry in PRESETS {
        let side = entry.shape.strides.iter().max().unwrap() * 3;
        let architecture = architecture(&format!("{}@{side}", entry.name), &["a", "b", "c"]);
        let weights = Weights::fixed(architecture.layout(), &initial(&architecture, 1), &device);
        let outputs = architecture.forward(&weights, picture(2, side, &device), Statistics::Batch);
        let locations = architecture.grid().len();
        assert_eq!(outputs.class.dims(), [2, locations, 3], "{}", entry.name);
        assert_eq!(outputs.personal.dims(), [2, locations, 3], "{}", entry.name);
        assert_eq!(outputs.boxes.dims(), [2, locations, 4], "{}", entry.name);
        // One pair of moments for each pair of statistics, each used once.
        let statistics = architecture.roles.iter().filter(|role| !role.learns()).count();
        assert_eq!(outputs.moments.len() * 2, statistics, "{}", entry.name);
        assert!(host(outputs.class).iter().all(|logit| (logit + 99_f32.ln()).abs() < 1.0), "{}", entry.name);
    }
}

#[test]
fn the_personal_layer_teaches_nothing_but_itself() {
    let device = crate::Backend::default().device();
    let architecture = architecture("nano96@32", &["a", "b"]);
    let values = initial(&architecture, 1);
    let learns = |index: usize| architecture.roles[index].learns();
    let weights = Weights::trainable(architecture.layout(), &values, &device, learns);
    let outputs = architecture.forward(&weights, picture(2, 32, &weights.device()), Statistics::Batch);
    let mut gradients = outputs.personal.sum().backward();
    let mut sums = vec![0.0; values.len()];
    weights.add_gradients(&mut gradients, &mut sums);
    for tensor in architecture.layout().tensors() {
        let moved = sums[tensor.range()].iter().any(|&gradient| gradient != 0.0);
        assert_eq!(moved, tensor.spec.name.starts_with("personal."), "{}", tensor.spec.name);
    }
}

#[test]
fn values_return_from_their_tensors() {
    let device = crate::Backend::default().device();
    let architecture = architecture("nano96@32", &["a"]);
    let values = initial(&architecture, 1);
    let weights = Weights::fixed(architecture.layout(), &values, &device);
    for (index, tensor) in architecture.layout().tensors().iter().enumerate() {
        let found = match tensor.spec.shape.len() {
            1 => host(weights.get::<1>(index)),
            2 => host(weights.get::<2>(index)),
            3 => host(weights.get::<3>(index)),
            _ => host(weights.get::<4>(index)),
        };
        assert_eq!(found, values[tensor.range()], "{}", tensor.spec.name);
    }
}
