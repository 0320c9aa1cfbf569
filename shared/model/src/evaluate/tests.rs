use super::*;
use crate::calibrate::calibrate;
use crate::initial::initial;
use crate::ops::Statistics;
use crate::testing::small;
use crate::weights::{Weights, host};

#[test]
fn calibrated_statistics_make_fixed_and_batch_outputs_equal() {
    let (architecture, examples) = small("nano96@32", 6);
    let device = crate::Backend::default().device();
    let mut values = initial(&architecture, 1);
    let images = calibrate(&architecture, &examples, &device, &mut values, 6, 9).unwrap();
    assert_eq!(images, 6);
    let weights = Weights::fixed(architecture.layout(), &values, &device);
    let outputs = [Statistics::Batch, Statistics::Fixed].map(|statistics| {
        let all: Vec<usize> = (0..6).collect();
        let mut batch = examples.plain(&all).unwrap();
        host(architecture.forward(&weights, batch.take_pixels(&device), statistics).boxes)
    });
    for (batch, fixed) in outputs[0].iter().zip(&outputs[1]) {
        assert!((batch - fixed).abs() < 1e-3, "{batch} {fixed}");
    }
}

#[test]
fn batches_do_not_change_what_is_found() {
    let (architecture, examples) = small("nano96@32", 5);
    let device = crate::Backend::default().device();
    let mut values = initial(&architecture, 2);
    calibrate(&architecture, &examples, &device, &mut values, 5, 1).unwrap();
    // A fresh head scores everything 0.01.
    let mut config = DetectConfig::default();
    config.decode.score_min = 0.001;
    let [one, all] =
        [1, 5].map(|batch| evaluate(&architecture, &examples, &device, &values, batch, &config).unwrap());
    assert_eq!((one.images, one.boxes), (all.images, all.boxes));
    assert!(one.boxes > 0);
    let score = |evaluated: &Evaluated| evaluated.shared.report();
    assert!((score(&one).ap50 - score(&all).ap50).abs() < 1e-3);
    // The personal layer starts as the shared one.
    assert_eq!(all.shared.report(), all.personal.report());
}

#[test]
fn figures_without_anything_behind_them_are_no_numbers_below_zero() {
    let (architecture, _) = small("nano96@32", 0);
    let nothing = Outcomes(Evaluator::new(architecture.classes()));
    let score = nothing.score(HistogramConfig::default()).unwrap();
    assert_eq!((score.ap50, score.ap), (0.0, 0.0));
    let central = nothing.central(architecture.classes());
    assert_eq!(central.ap50_per_class, vec![None; architecture.classes().len()]);
}
