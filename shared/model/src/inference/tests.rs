use super::*;
use crate::calibrate::calibrate;
use crate::evaluate::{DetectConfig, detect};
use crate::initial::initial;
use crate::preset::PRESETS;
use crate::testing::small;
use detection::{DecodeConfig, Detection, NmsConfig};

#[test]
fn every_preset_answers_and_detects_as_its_training_graph_does() {
    let device = crate::Backend::default().device();
    for entry in PRESETS {
        let side = entry.shape.strides.iter().max().unwrap() * 3;
        let (architecture, examples) = small(&format!("{}@{side}", entry.name), 4);
        let mut values = initial(&architecture, 3);
        // Fresh class layers are equal, and score everything alike.
        for (layer, factor) in [(architecture.head.class, 4.0), (architecture.head.personal, -4.0)] {
            let weights = &mut values[architecture.layout().tensors()[layer.weight].range()];
            weights.iter_mut().for_each(|weight| *weight *= factor);
        }
        calibrate(&architecture, &examples, &device, &mut values, 4, 1).unwrap();
        let pixels = examples.plain(&[0, 1, 2, 3]).unwrap().pixels;
        let plan = Inference::new(&architecture, &values, &device).unwrap();
        assert!(matches!(plan.0, Path::Plan(_)), "{}", entry.name);
        let graph = Inference::graph(&architecture, &values, &device);
        let [found, expected] = [&plan, &graph].map(|m| m.run(&architecture, pixels.clone()).unwrap());
        // Relative to the largest entry.
        let close = |found: &[f32], expected: &[f32]| {
            assert_eq!(found.len(), expected.len());
            let largest = expected.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
            for (f, e) in found.iter().zip(expected) {
                assert!((f - e).abs() <= 1e-4 * largest, "{}: {f} {e}", entry.name);
            }
        };
        close(&found.class, &expected.class);
        close(&found.personal, &expected.personal);
        close(&found.boxes, &expected.boxes);
        assert_ne!(found.class, found.personal);

        // Which of two duplicates is better, and whether they overlap enough, hangs on the last digit: all are kept.
        let everything = usize::MAX;
        let config = DetectConfig {
            decode: DecodeConfig { score_min: 0.0, candidates: everything },
            nms: NmsConfig { iou: 1.0, detections: everything },
        };
        let [found, expected] =
            [&plan, &graph].map(|m| detect(&architecture, m, pixels.clone(), &config).unwrap());
        for (found, expected) in found.iter().zip(&expected) {
            for (found, expected) in
                [(&found.shared, &expected.shared), (&found.personal, &expected.personal)]
            {
                assert!(!found.is_empty());
                assert_eq!(found.len(), expected.len(), "{}", entry.name);
                // Nearly equal scores may change places.
                for e in expected {
                    let corners = |d: &Detection| [d.bbox.x1, d.bbox.y1, d.bbox.x2, d.bbox.y2];
                    let near = |(f, e): (f32, f32), most: f32| (f - e).abs() <= 1e-4 * most;
                    let same = found.iter().any(|f| {
                        let mut pairs = corners(f).into_iter().zip(corners(e));
                        f.class == e.class
                            && near((f.score, e.score), 1.0)
                            && pairs.all(|pair| near(pair, side as f32))
                    });
                    assert!(same, "{}: nothing like {e:?}", entry.name);
                }
            }
        }
    }
}

#[test]
fn no_images_have_no_answers_and_other_lengths_are_refused() {
    let device = crate::Backend::default().device();
    let (architecture, _) = small("nano96@32", 0);
    let values = initial(&architecture, 1);
    let model = Inference::new(&architecture, &values, &device).unwrap();
    assert_eq!(model.run(&architecture, vec![]).unwrap(), Answers::default());
    assert!(model.run(&architecture, vec![0.0; 32 * 32 * 3 + 1]).is_err());
    let refused = Inference::new(&architecture, &values[1..], &device).unwrap_err();
    assert!(matches!(refused, TrainError::Length { scope: "all", .. }));
}
