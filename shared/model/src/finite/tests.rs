use burn::tensor::{Tensor, TensorData};
use protocol::plan::{Norm, TrainPlan};
use protocol::train::TrainError;

use crate::architecture::Architecture;
use crate::examples::Examples;
use crate::fit::Fit;
use crate::initial::initial;
use crate::ops::Statistics;
use crate::testing::{plan, small};
use crate::weights::Weights;

fn set(architecture: &Architecture, values: &mut [f32], tensor: &str, value: f32) {
    values[architecture.layout().find(tensor).unwrap().range().start] = value;
}

/// What the check of a forward pass says.
fn forward(architecture: &Architecture, values: &[f32], pixels: Vec<f32>, statistics: Statistics) -> String {
    let side = architecture.pixels() as usize;
    let device = crate::Backend::default().device();
    let weights = Weights::fixed(architecture.layout(), values, &device);
    let pixels = Tensor::from_data(TensorData::new(pixels, [2, side, side, 3]), &device);
    match architecture.forward_checked(&weights, pixels, statistics) {
        Ok(_) => "fine".to_owned(),
        Err(found) => found.to_string(),
    }
}

#[test]
fn a_forward_pass_names_the_layer() {
    let (architecture, examples) = small("nano96@32", 2);
    let values = initial(&architecture, 1);
    let pixels = examples.plain(&[0, 1]).unwrap().pixels;
    for statistics in [Statistics::Batch, Statistics::Fixed] {
        assert_eq!(forward(&architecture, &values, pixels.clone(), statistics), "fine");
        let mut broken = pixels.clone();
        broken[32 * 32 * 3 + 5] = f32::NAN;
        let found = forward(&architecture, &values, broken, statistics);
        assert_eq!(found, "image 2 of 2 in the batch is not finite");
    }
    for (tensor, value, statistics, expected) in [
        ("backbone.0.weight", f32::NAN, Statistics::Batch, "mean after backbone.0"),
        ("backbone.3.expand.weight", f32::NAN, Statistics::Batch, "mean after backbone.3.expand"),
        ("backbone.3.expand.weight", 1e30, Statistics::Batch, "variance after backbone.3.expand"),
        ("backbone.4.project.weight", f32::INFINITY, Statistics::Fixed, "output of backbone.4.project"),
        ("neck.lateral16.weight", f32::NAN, Statistics::Batch, "mean after neck.lateral16"),
        ("head.0.depthwise.weight", f32::NAN, Statistics::Batch, "mean after head.0.depthwise"),
        ("head.class.bias", f32::NAN, Statistics::Fixed, "output of head.class"),
        ("personal.head.class.bias", f32::NAN, Statistics::Batch, "output of personal.head.class"),
    ] {
        let mut broken = values.clone();
        set(&architecture, &mut broken, tensor, value);
        let found = forward(&architecture, &broken, pixels.clone(), statistics);
        assert_eq!(found, format!("{expected} is not finite"), "{tensor} {value}");
    }
}

fn diverges(architecture: &Architecture, examples: &Examples, values: Vec<f32>, checks: bool) -> String {
    let device = crate::Backend::default().device();
    let plan = TrainPlan { norm: Norm::Frozen, ..plan(2) };
    let mut fit = Fit::new(architecture, examples, &device, &plan, values, 1).unwrap().check_finite(checks);
    match fit.epoch() {
        Ok(_) => "fine".to_owned(),
        Err(TrainError::Diverged { step: 0, what }) => what,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn training_names_the_tensor_if_it_is_told_to() {
    let (architecture, examples) = small("nano96@32", 2);
    let values = initial(&architecture, 1);
    assert_eq!(diverges(&architecture, &examples, values.clone(), true), "fine");
    for tensor in ["backbone.3.expand.weight", "neck.lateral16.gamma", "head.box.bias"] {
        let mut broken = values.clone();
        set(&architecture, &mut broken, tensor, f32::NAN);
        assert_eq!(diverges(&architecture, &examples, broken, true), tensor);
    }
}
