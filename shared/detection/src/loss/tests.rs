use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::assign::ASSIGNERS;
use crate::boxes::BBox;
use crate::class_loss::CLASS_LOSSES;
use crate::targets::TargetBox;

mod reference;

/// A batch that owns its parts.
#[derive(Clone, Debug)]
struct Owned {
    grid: LocationGrid,
    classes: usize,
    logits: Vec<f32>,
    box_logits: Vec<f32>,
    targets: Vec<ImageTargets>,
    masks: Vec<Vec<bool>>,
}

type Computed = (LossReport, AssignedBatch, Vec<f32>, Vec<f32>);

impl Owned {
    fn compute(&self, config: &LossConfig, phase: Phase) -> Result<Computed, LossError> {
        let masks: Vec<&[bool]> = self.masks.iter().map(Vec::as_slice).collect();
        let batch = Batch {
            grid: &self.grid,
            classes: self.classes,
            logits: &self.logits,
            box_logits: &self.box_logits,
            targets: &self.targets,
            class_masks: &masks,
        };
        // Not zero, to prove that gradients are overwritten.
        let (mut logits, mut boxes) = (vec![7.0; self.logits.len()], vec![7.0; self.box_logits.len()]);
        let gradients = Gradients { logits: &mut logits, boxes: &mut boxes };
        let (report, assigned) = loss_and_grad(config, phase, &batch, gradients)?;
        Ok((report, assigned, logits, boxes))
    }
}

/// A number in `0..1` from integer arithmetic, the same in the script that made the golden values.
fn noise(index: usize, salt: usize) -> f32 {
    ((index * index * 7919 + index * 104_729 + salt) % 65_536) as f32 / 65_536.0
}

fn target(edges: [f32; 4], class: u32) -> TargetBox {
    TargetBox { bbox: BBox::new(edges[0], edges[1], edges[2], edges[3]), class }
}

fn golden_batch() -> Owned {
    let grid = LocationGrid::new(96, 64, &[8, 16, 32]).unwrap();
    let images = [
        vec![
            target([10., 12., 40., 50.], 0),
            target([20., 20., 32., 44.], 1),
            target([61., 33., 64., 35.], 2),
            target([2., 1., 94., 63.], 1),
        ],
        vec![target([8., 8., 24., 24.], 2), target([16., 8., 32., 24.], 0), target([70., 5., 95., 60.], 1)],
    ];
    let outputs = 2 * grid.len();
    Owned {
        classes: 3,
        logits: (0..outputs * 3).map(|index| noise(index, 17) * 8.0 - 6.0).collect(),
        box_logits: (0..outputs * 4).map(|index| noise(index, 4242) * 4.0 - 1.0).collect(),
        targets: images.into_iter().map(|boxes| ImageTargets { boxes, ignore: Vec::new() }).collect(),
        masks: vec![vec![true; 3]; 2],
        grid,
    }
}

#[derive(Deserialize)]
struct Golden {
    class: f64,
    boxes: f64,
    target_sum: f64,
    mean_iou: f64,
    /// Image, location, box, class target.
    positives: Vec<(usize, u32, u32, f64)>,
    grad_logits: Vec<f64>,
    grad_boxes: Vec<f64>,
}

#[track_caller]
fn close(what: &str, found: f32, expected: f64, relative: f64, absolute: f64) {
    let error = (f64::from(found) - expected).abs();
    assert!(error <= relative * expected.abs() + absolute, "{what}: {found}, expected {expected}");
}

#[test]
fn equals_pytorch() {
    let golden: std::collections::BTreeMap<String, Golden> =
        serde_json::from_str(include_str!("../../tests/golden/loss.json")).unwrap();
    let batch = golden_batch();
    for (phase, name) in [(Phase::Static, "static"), (Phase::TaskAligned, "task_aligned")] {
        let expected = &golden[name];
        let (report, assigned, logits, boxes) = batch.compute(&LossConfig::default(), phase).unwrap();
        close("class", report.class, expected.class, 1e-5, 0.0);
        close("boxes", report.boxes, expected.boxes, 1e-5, 0.0);
        close("total", report.total, expected.class + expected.boxes, 1e-5, 0.0);
        close("target sum", report.target_sum, expected.target_sum, 1e-5, 0.0);
        close("mean IoU", report.mean_iou, expected.mean_iou, 1e-5, 0.0);
        let found: Vec<_> = assigned
            .images()
            .iter()
            .enumerate()
            .flat_map(|(image, assignment)| {
                assignment.positives.iter().map(move |p| (image, p.location, p.bbox, p.target))
            })
            .collect();
        assert_eq!(found.len(), expected.positives.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected.positives) {
            assert_eq!((found.0, found.1, found.2), (expected.0, expected.1, expected.2), "{name}");
            close("class target", found.3, expected.3, 1e-5, 1e-6);
        }
        for (kind, found, expected) in
            [("logit", &logits, &expected.grad_logits), ("box", &boxes, &expected.grad_boxes)]
        {
            for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
                close(&format!("{name}: gradient of {kind} {index}"), found, expected, 1e-4, 1e-8);
            }
        }
    }
}

fn batches() -> impl Strategy<Value = Owned> {
    let edges = (-10.0_f32..60.0, -10.0_f32..60.0, 1.0_f32..60.0, 1.0_f32..60.0);
    let one = (edges, 0_u32..3)
        .prop_map(|((x, y, w, h), class)| TargetBox { bbox: BBox::from_xywh([x, y, w, h]), class });
    let ignore = (0.0_f32..40.0, 0.0_f32..40.0).prop_map(|(x, y)| BBox::from_xywh([x, y, 20.0, 20.0]));
    let image = (prop::collection::vec(one, 0..4), prop::collection::vec(ignore, 0..2))
        .prop_map(|(boxes, ignore)| ImageTargets { boxes, ignore });
    let locations = 8 * 6 + 4 * 3;
    (
        prop::collection::vec(-6.0_f32..4.0, 2 * locations * 3),
        prop::collection::vec(-1.5_f32..3.0, 2 * locations * 4),
        prop::collection::vec(image, 2),
        prop::collection::vec(prop::collection::vec(any::<bool>(), 3), 2),
    )
        .prop_map(|(logits, box_logits, targets, masks)| Owned {
            grid: LocationGrid::new(64, 48, &[8, 16]).unwrap(),
            classes: 3,
            logits,
            box_logits,
            targets,
            masks,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn value_and_gradients_equal_double_precision_differences(batch in batches()) {
        for class_loss in CLASS_LOSSES {
            for assigner in ASSIGNERS {
                let config = LossConfig {
                    class_loss: ClassLossChoice::named(class_loss.name).unwrap(),
                    ..LossConfig::default()
                };
                let (report, assigned, logits, boxes) = batch.compute(&config, assigner.phase).unwrap();
                let reference = reference::Reference::new(&batch, &assigned, class_loss.name);
                close("class", report.class, reference.class(&reference.logits), 1e-4, 1e-7);
                close("boxes", report.boxes, reference.boxes(&reference.box_logits), 1e-4, 1e-6);
                for (index, &found) in logits.iter().enumerate() {
                    close("logit gradient", found, reference.class_slope(index), 1e-4, 1e-7);
                }
                for (index, &found) in boxes.iter().enumerate() {
                    if let Some(expected) = reference.box_slope(index) {
                        close("box gradient", found, expected, 1e-4, 1e-6);
                    }
                }
            }
        }
    }

    #[test]
    fn masked_classes_and_ignored_places_teach_nothing(batch in batches()) {
        let (_, assigned, logits, _) = batch.compute(&LossConfig::default(), Phase::Static).unwrap();
        let size = batch.grid.len() * 3;
        for (image, mask) in batch.masks.iter().enumerate() {
            for (index, &gradient) in logits[image * size..(image + 1) * size].iter().enumerate() {
                let at = &batch.grid.locations()[index / 3];
                let assigned = assigned.images()[image].get(index / 3).is_some();
                let ignored = !assigned && batch.targets[image].ignore.iter().any(|b| b.contains(at.x, at.y));
                let taught = mask[index % 3] && !ignored;
                prop_assert_eq!(taught, gradient != 0.0, "image {} logit {}", image, index);
            }
        }
    }

    #[test]
    fn a_second_class_layer_learns_the_same(batch in batches()) {
        let masks: Vec<&[bool]> = batch.masks.iter().map(Vec::as_slice).collect();
        let config = LossConfig::default();
        for phase in [Phase::Static, Phase::TaskAligned] {
            let (full, assigned, logits, _) = batch.compute(&config, phase).unwrap();
            let mut again = vec![7.0; logits.len()];
            let report =
                class_loss_and_grad(&config, &assigned, &batch.grid, 3, &batch.logits, &masks, &mut again).unwrap();
            prop_assert_eq!(&again, &logits);
            let expected = LossReport { total: full.class, boxes: 0.0, mean_iou: 0.0, ..full };
            prop_assert_eq!(report, expected);
        }
    }
}

#[test]
fn a_batch_in_parts_adds_up_to_the_whole() {
    let whole = golden_batch();
    let config = LossConfig::default();
    let (report, _, logits, boxes) = whole.compute(&config, Phase::TaskAligned).unwrap();
    let (mut total, mut norm, mut added) = (0.0, 0.0, Vec::new());
    for image in 0..2 {
        let part = |values: &[f32]| values[image * values.len() / 2..(image + 1) * values.len() / 2].to_vec();
        let one = Owned {
            logits: part(&whole.logits),
            box_logits: part(&whole.box_logits),
            targets: vec![whole.targets[image].clone()],
            masks: vec![vec![true; 3]],
            ..whole.clone()
        };
        let (of_part, _, part_logits, part_boxes) = one.compute(&config, Phase::TaskAligned).unwrap();
        total += f64::from(of_part.total * of_part.norm);
        norm += f64::from(of_part.target_sum);
        added.push((of_part.norm, part_logits, part_boxes));
    }
    close("total", report.total, total / norm, 1e-5, 0.0);
    for (of_whole, of_part) in [(&logits, 0), (&boxes, 1)] {
        let parts = added.iter().flat_map(|(norm, logits, boxes)| {
            [logits, boxes][of_part].iter().map(move |gradient| f64::from(gradient * norm))
        });
        for (found, sum) in of_whole.iter().zip(parts) {
            close("gradient", *found, sum / norm, 1e-4, 1e-9);
        }
    }
}

#[test]
fn a_batch_without_objects_has_a_class_loss_only() {
    let mut batch = golden_batch();
    batch.targets = vec![ImageTargets::default(); 2];
    let (report, assigned, logits, boxes) =
        batch.compute(&LossConfig::default(), Phase::TaskAligned).unwrap();
    assert_eq!((report.positives, report.boxes, report.target_sum, report.mean_iou), (0, 0.0, 0.0, 0.0));
    assert!(report.class > 0.0 && logits.iter().all(|&g| g > 0.0) && boxes.iter().all(|&g| g == 0.0));
    assert_eq!(assigned.target_sum(), 0.0);
}

#[test]
fn empty_batches_and_models_without_classes_are_fine() {
    let grid = LocationGrid::new(32, 32, &[8]).unwrap();
    let none = Owned { grid, classes: 0, logits: vec![], box_logits: vec![], targets: vec![], masks: vec![] };
    let nothing = LossReport { norm: 1.0, ..LossReport::default() };
    assert_eq!(none.compute(&LossConfig::default(), Phase::Static).unwrap().0, nothing);
    let image = Owned {
        targets: vec![ImageTargets::default()],
        masks: vec![vec![]],
        box_logits: vec![0.0; 64],
        ..none
    };
    assert_eq!(image.compute(&LossConfig::default(), Phase::Static).unwrap().0, nothing);
}

#[test]
fn non_finite_outputs_show_in_the_report() {
    for phase in [Phase::Static, Phase::TaskAligned] {
        let mut batch = golden_batch();
        batch.logits.fill(f32::NAN);
        batch.box_logits.fill(f32::NAN);
        assert!(batch.compute(&LossConfig::default(), phase).unwrap().0.total.is_nan());
    }
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Owned, &mut LossConfig), expected: &str) {
    let (mut batch, mut config) = (golden_batch(), LossConfig::default());
    change(&mut batch, &mut config);
    let found = batch.compute(&config, Phase::Static).unwrap_err().to_string();
    assert_eq!(found, expected);
}

#[test]
fn bad_input_is_named() {
    refused(|batch, _| _ = batch.logits.pop(), "logits has length 755, expected 756");
    refused(|batch, _| _ = batch.box_logits.pop(), "box logits has length 1007, expected 1008");
    refused(|batch, _| _ = batch.masks.pop(), "class masks has length 1, expected 2");
    refused(|batch, _| _ = batch.masks[1].pop(), "a class mask has length 2, expected 3");
    refused(|batch, _| batch.targets[1].boxes[2].class = 3, "image 1, box 2: class 3, expected one below 3");
    refused(
        |batch, _| batch.targets[0].boxes[0].bbox.x2 = f32::NAN,
        "image 0, box 0: BBox { x1: 10.0, y1: 12.0, x2: NaN, y2: 50.0 } is not a finite box with an area",
    );
    refused(|_, config| config.box_weight = -1.0, "loss setting box_weight is -1, expected 0 or more");
    refused(
        |_, config| config.assign.centre.radius = 0.0,
        "loss setting centre.radius is 0, expected above 0",
    );
    refused(
        |_, config| config.assign.centre.floor = 1.5,
        "loss setting centre.floor is 1.5, expected 0 to 1",
    );
    refused(
        |_, config| config.assign.task_aligned.candidates = 0,
        "loss setting task_aligned.candidates is 0, expected 1 or more",
    );
}

#[test]
fn settings_are_read_strictly() {
    let config: LossConfig =
        serde_json::from_str(r#"{"class_loss": "focal", "assign": {"task_aligned": {"iou_power": 6}}}"#)
            .unwrap();
    assert_eq!(config.class_loss.entry().name, "focal");
    assert_eq!((config.assign.task_aligned.iou_power, config.box_weight), (6, 2.0));
    assert!(serde_json::from_str::<LossConfig>(r#"{"box_wait": 1}"#).is_err());
    assert!(serde_json::from_str::<LossConfig>(r#"{"class_loss": "hinge"}"#).is_err());
}
