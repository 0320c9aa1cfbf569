use proptest::prelude::*;

use super::*;
use crate::boxes::BBox;

fn detections() -> impl Strategy<Value = Vec<Detection>> {
    let one = (0.0_f32..60.0, 0.0_f32..60.0, 4.0_f32..40.0, 4.0_f32..40.0, 0_u32..3, 0_u32..8).prop_map(
        |(x, y, w, h, class, score)| Detection {
            bbox: BBox::from_xywh([x, y, w, h]),
            class,
            score: score as f32 / 8.0,
        },
    );
    prop::collection::vec(one, 0..60)
}

/// Suppression as a matrix: walk the ranking of each class alone, cross out, then merge and cut.
fn naive(config: &NmsConfig, all: &[Detection]) -> Vec<Detection> {
    let mut survivors: Vec<(usize, Detection)> = Vec::new();
    for class in 0..3 {
        let mut ranking: Vec<(usize, Detection)> =
            all.iter().copied().enumerate().filter(|(_, d)| d.class == class).collect();
        ranking.sort_by(|a, b| b.1.score.partial_cmp(&a.1.score).unwrap().then(a.0.cmp(&b.0)));
        let mut crossed = vec![false; ranking.len()];
        for i in 0..ranking.len() {
            if crossed[i] {
                continue;
            }
            survivors.push(ranking[i]);
            for j in i + 1..ranking.len() {
                crossed[j] |= ranking[i].1.bbox.iou(&ranking[j].1.bbox) > config.iou;
            }
        }
    }
    survivors.sort_by(|a, b| {
        b.1.score.partial_cmp(&a.1.score).unwrap().then(a.1.class.cmp(&b.1.class)).then(a.0.cmp(&b.0))
    });
    survivors.truncate(config.detections);
    survivors.into_iter().map(|(_, detection)| detection).collect()
}

proptest! {
    #[test]
    fn equals_the_naive_reference(all in detections(), iou in 0.0_f32..1.0, limit in 0_usize..40) {
        let config = NmsConfig { iou, detections: limit };
        let found = nms(&config, all.clone());
        prop_assert_eq!(&found, &naive(&config, &all));
        prop_assert_eq!(nms(&config, found.clone()), found, "a second pass changes nothing");
    }
}

#[test]
fn classes_do_not_suppress_each_other() {
    let bbox = BBox::new(0.0, 0.0, 10.0, 10.0);
    let of = |class, score| Detection { bbox, class, score };
    let kept = nms(&NmsConfig::default(), vec![of(1, 0.5), of(0, 0.5), of(0, 0.9), of(1, 0.4)]);
    assert_eq!(kept, [of(0, 0.9), of(1, 0.5)]);
}
