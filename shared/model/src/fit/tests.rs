use protocol::plan::{Norm, Optimiser as Rule};

use super::*;
use crate::calibrate::calibrate;
use crate::initial::initial;
use crate::preset::PRESETS;
use crate::testing::{plan, small};

fn fit(architecture: &Architecture, examples: &Examples, plan: &TrainPlan, values: Vec<f32>) -> Vec<f32> {
    let device = crate::Backend::default().device();
    let mut fit = Fit::new(architecture, examples, &device, plan, values, 3).unwrap();
    fit.epoch().unwrap();
    fit.values().to_vec()
}

#[test]
fn the_loss_falls_on_eight_scenes_with_every_preset() {
    for entry in PRESETS {
        let (architecture, examples) = small(&format!("{}@64", entry.name), 8);
        let device = crate::Backend::default().device();
        let values = initial(&architecture, 1);
        let plan = TrainPlan { learning_rate: 0.01, ..plan(8) };
        let mut fit = Fit::new(&architecture, &examples, &device, &plan, values, 1).unwrap();
        let losses: Vec<f32> = (0..24).map(|_| fit.epoch().unwrap().loss).collect();
        let last = losses[20..].iter().sum::<f32>() / 4.0;
        assert!(last < 0.7 * losses[0], "{}: {losses:?}", entry.name);
        assert_eq!(fit.steps_taken(), 24);
    }
}

#[test]
fn frozen_parts_keep_every_bit_and_the_rest_moves() {
    for (preset, ema_decay, calibrated) in [("nano96@32", 0.7, false), ("v3small256@64", 0.0, true)] {
        let (architecture, examples) = small(preset, 4);
        let mut values = initial(&architecture, 1);
        if calibrated {
            // Through a deep network, fresh statistics let next to nothing pass.
            let device = crate::Backend::default().device();
            calibrate(&architecture, &examples, &device, &mut values, 4, 1).unwrap();
        }
        for (freeze, first) in [
            (Freeze::Head, Part::Head),
            (Freeze::NeckHead, Part::Neck),
            (Freeze::Light, Part::Backbone),
            (Freeze::None, Part::Deep),
        ] {
            let plan = TrainPlan { freeze, norm: Norm::Frozen, ema_decay, ..plan(4) };
            let trained = fit(&architecture, &examples, &plan, values.clone());
            for ((tensor, &part), role) in
                architecture.layout().tensors().iter().zip(&architecture.parts).zip(&architecture.roles)
            {
                let moved = trained[tensor.range()] != values[tensor.range()];
                assert_eq!(
                    moved,
                    role.learns() && part >= first,
                    "{preset} {freeze:?}: {}",
                    tensor.spec.name
                );
            }
        }
    }
}

#[test]
fn frozen_norms_keep_their_statistics_and_local_ones_move_them() {
    let (architecture, examples) = small("nano96@32", 4);
    let values = initial(&architecture, 1);
    for (norm, expected) in [(Norm::Frozen, false), (Norm::Local, true)] {
        let trained = fit(&architecture, &examples, &TrainPlan { norm, ..plan(4) }, values.clone());
        for (tensor, role) in architecture.layout().tensors().iter().zip(&architecture.roles) {
            if !role.learns() {
                let moved = trained[tensor.range()] != values[tensor.range()];
                assert_eq!(moved, expected, "{norm:?}: {}", tensor.spec.name);
            }
        }
    }
}

#[test]
fn micro_batches_with_frozen_norms_equal_the_whole_batch() {
    let (architecture, examples) = small("nano96@32", 5);
    let values = initial(&architecture, 1);
    // With SGD, a step is proportional to the gradient.
    let whole = TrainPlan {
        norm: Norm::Frozen,
        optimiser: Rule::Sgd,
        learning_rate: 1.0,
        clip_norm: f32::MAX,
        ..plan(5)
    };
    let moved = |plan: &TrainPlan| {
        let trained = fit(&architecture, &examples, plan, values.clone());
        trained.iter().zip(&values).map(|(after, before)| after - before).collect::<Vec<f32>>()
    };
    let expected = moved(&whole);
    for micro_batch in [1, 2, 3] {
        let found = moved(&TrainPlan { micro_batch, ..whole.clone() });
        for tensor in architecture.layout().tensors() {
            let largest = expected[tensor.range()].iter().fold(0.0_f32, |max, value| max.max(value.abs()));
            for (found, expected) in found[tensor.range()].iter().zip(&expected[tensor.range()]) {
                let difference = (found - expected).abs();
                assert!(difference <= 2e-3 * largest + 1e-6, "{}: {found} {expected}", tensor.spec.name);
            }
        }
    }
}

/// Other backends than the default run the operations composed from burn's own.
#[test]
fn every_backend_of_this_build_takes_the_same_step() {
    let (architecture, examples) = small("nano96@32", 4);
    let values = initial(&architecture, 1);
    let plan = TrainPlan { optimiser: Rule::Sgd, norm: Norm::Frozen, ..plan(4) };
    let expected = fit(&architecture, &examples, &plan, values.clone());
    for backend in crate::Backend::ALL {
        let start = values.clone();
        let mut fit = Fit::new(&architecture, &examples, &backend.device(), &plan, start, 3).unwrap();
        fit.epoch().unwrap();
        for (found, expected) in fit.values().iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-4, "{backend}: {found} {expected}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_weights() {
    let (architecture, examples) = small("nano96@32", 6);
    let values = initial(&architecture, 1);
    let once = fit(&architecture, &examples, &plan(4), values.clone());
    assert_eq!(once, fit(&architecture, &examples, &plan(4), values));
}

/// With frozen norms the forward pass of blocks that keep nothing is another, which rounds differently.
#[test]
fn maps_made_again_give_the_same_bits() {
    let device = crate::Backend::default().device();
    for preset in ["nano96@64", "v3small256@64"] {
        let (architecture, examples) = small(preset, 4);
        for (norm, tolerance) in [(Norm::Local, 0.0), (Norm::Frozen, 1e-4)] {
            let plan = TrainPlan { norm, optimiser: Rule::Sgd, ..plan(4) };
            let values = initial(&architecture, 1);
            let [kept, again] = [false, true].map(|recompute| {
                let fit = Fit::new(&architecture, &examples, &device, &plan, values.clone(), 3).unwrap();
                let mut fit = fit.recompute(recompute);
                fit.epoch().unwrap();
                fit.values().to_vec()
            });
            assert_ne!(kept, values);
            for (kept, again) in kept.iter().zip(&again) {
                assert!((kept - again).abs() <= tolerance, "{preset} {norm:?}: {kept} {again}");
            }
        }
    }
}

#[test]
fn the_average_is_what_comes_out() {
    let (architecture, examples) = small("nano96@32", 4);
    let values = initial(&architecture, 1);
    let last = fit(&architecture, &examples, &plan(4), values.clone());
    let averaged = fit(&architecture, &examples, &TrainPlan { ema_decay: 0.9, ..plan(4) }, values.clone());
    // One step: the decay is 2 / 11.
    for ((averaged, last), start) in averaged.iter().zip(&last).zip(&values) {
        let expected = 2.0 / 11.0 * start + 9.0 / 11.0 * last;
        assert!((averaged - expected).abs() <= 1e-6 * (1.0 + expected.abs()), "{averaged} {expected}");
    }
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let (architecture, examples) = small("nano96@32", 4);
    let device = crate::Backend::default().device();
    let new = |plan: &TrainPlan, values| Fit::new(&architecture, &examples, &device, plan, values, 1);
    let values = initial(&architecture, 1);
    assert!(matches!(new(&plan(4), vec![0.0; 7]).err(), Some(TrainError::Length { found: 7, .. })));
    assert!(matches!(new(&plan(0), values.clone()).err(), Some(TrainError::Model(_))));
    let mut broken = values;
    broken[0] = f32::NAN;
    let diverged = new(&plan(4), broken).unwrap().epoch().unwrap_err();
    assert_eq!(diverged, TrainError::Diverged { step: 0, what: "loss".to_owned() });
}

#[test]
fn chunks_are_few_and_even() {
    let items: Vec<usize> = (0..205).collect();
    let sizes: Vec<usize> = even_chunks(&items, 8).map(<[usize]>::len).collect();
    assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (26, 205));
    assert!(sizes.iter().all(|size| [7, 8].contains(size)), "{sizes:?}");
    assert_eq!(even_chunks(&items[..0], 8).count(), 0);
    assert_eq!(even_chunks(&items[..3], 8).next(), Some(&items[..3]));
}
