use dataset::DecodeLimits;

use super::*;
use crate::calibrate::calibrate;
use crate::initial::initial;
use crate::testing::{scenes, small};

#[test]
fn one_image_gives_what_the_evaluation_sees() {
    let (architecture, examples) = small("nano96@32", 4);
    let backend = Backend::default();
    let device = backend.device();
    let mut values = initial(&architecture, 2);
    calibrate(&architecture, &examples, &device, &mut values, 4, 1).unwrap();
    let mut config = DetectConfig::default();
    config.decode.score_min = 0.001;

    let model = Inference::new(&architecture, &values, &device).unwrap();
    let batch = examples.plain(&[2]).unwrap();
    let found = detect(&architecture, &model, batch.pixels, &config).unwrap();
    let expected = examples.in_image(2, &found[0].shared);

    let image = scenes(4).samples[2].load(&DecodeLimits::default()).unwrap();
    let predictor = Predictor::new(architecture, &values, backend, 1, config).unwrap();
    let found = predictor.predict(&image, ClassLayer::Shared).unwrap();
    assert!(!found.is_empty());
    assert_eq!(found, expected);
    assert_eq!(found, predictor.predict(&image, ClassLayer::Personal).unwrap(), "the layers start equal");
}

#[test]
fn weights_of_another_model_are_refused() {
    let (architecture, _) = small("nano96@32", 0);
    let refused = Predictor::new(architecture, &[0.0; 3], Backend::default(), 1, DetectConfig::default());
    assert!(matches!(refused.err(), Some(TrainError::Length { found: 3, .. })));
}
