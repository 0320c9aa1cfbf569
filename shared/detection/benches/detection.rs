//! Time of the loss, of decoding with NMS, and of COCO figures, on one thread. Prints `figure NAME VALUE UNIT`.
#![expect(clippy::print_stdout, reason = "figures are for reading")]

use std::hint::black_box;
use std::time::Instant;

use detection::coco::{Evaluator, GroundTruth, Role};
use detection::{
    BBox, Batch, DecodeConfig, Gradients, ImageTargets, LocationGrid, LossConfig, NmsConfig, Phase,
    TargetBox, decode, loss_and_grad, nms,
};

const IMAGES: usize = 8;
const OBJECTS: usize = 14;

/// Numbers in `0..1`.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }

    fn many(&mut self, count: usize, from: f32, to: f32) -> Vec<f32> {
        (0..count).map(|_| from + (to - from) * self.next()).collect()
    }
}

/// The fastest of many runs: what the code takes when nobody else is on the core.
fn figure(name: &str, mut run: impl FnMut()) {
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e3
    };
    let fastest = (0..150).map(time).fold(f64::INFINITY, f64::min);
    println!("figure {name} {fastest:.3} ms");
}

fn main() {
    let mut noise = Noise(7);
    let grid = LocationGrid::new(256, 256, &[8, 16, 32]).expect("a valid grid");
    for classes in [3_usize, 80] {
        let outputs = IMAGES * grid.len();
        let logits = noise.many(outputs * classes, -7.0, 1.0);
        let box_logits = noise.many(outputs * 4, -1.0, 3.0);
        let mut object = || {
            let bbox = BBox::from_xywh([0.0; 4].map(|_: f32| noise.next()).map(|v| 8.0 + 110.0 * v));
            TargetBox { bbox, class: (noise.next() * classes as f32) as u32 }
        };
        let targets: Vec<ImageTargets> = (0..IMAGES)
            .map(|_| ImageTargets { boxes: (0..OBJECTS).map(|_| object()).collect(), ignore: Vec::new() })
            .collect();
        let mask = vec![true; classes];
        let masks = [mask.as_slice(); IMAGES];
        let (mut grad_logits, mut grad_boxes) = (vec![0.0; logits.len()], vec![0.0; box_logits.len()]);
        for (phase, name) in [(Phase::Static, "static"), (Phase::TaskAligned, "task_aligned")] {
            figure(&format!("loss_{name}_{classes}_classes_batch_8_small256"), || {
                let batch = Batch {
                    grid: &grid,
                    classes,
                    logits: &logits,
                    box_logits: &box_logits,
                    targets: &targets,
                    class_masks: &masks,
                };
                let gradients = Gradients { logits: &mut grad_logits, boxes: &mut grad_boxes };
                black_box(
                    loss_and_grad(&LossConfig::default(), phase, &batch, gradients).expect("a valid batch"),
                );
            });
        }
    }

    let logits = noise.many(grid.len() * 3, -7.0, 1.0);
    let box_logits = noise.many(grid.len() * 4, -1.0, 3.0);
    let found = || {
        let scored =
            decode(&DecodeConfig::default(), &grid, 3, &logits, &box_logits).expect("matching lengths");
        nms(&NmsConfig::default(), scored)
    };
    figure("decode_nms_3_classes_small256", || {
        black_box(found());
    });

    let detections = found();
    let truth = |index: usize| {
        let bbox = detections[index * 7].bbox.translate(1.0, 1.0);
        GroundTruth { bbox, class: detections[index * 7].class, area: None, role: Role::Object }
    };
    let truths: Vec<GroundTruth> = (0..OBJECTS).map(truth).collect();
    figure("coco_100_images_100_detections", || {
        let mut evaluator = Evaluator::new(&["a", "b", "c"].map(str::to_owned));
        for _ in 0..100 {
            evaluator.add_image(&detections, &truths).expect("valid boxes");
        }
        black_box(evaluator.report());
    });
}
