use proptest::prelude::*;

use super::*;

/// The same by the book: every score, a stable sort, a cut.
fn naive(
    config: &DecodeConfig,
    grid: &LocationGrid,
    classes: usize,
    logits: &[f32],
    boxes: &[f32],
) -> Vec<Detection> {
    let mut all = Vec::new();
    for class in 0..classes {
        for (location, at) in grid.locations().iter().enumerate() {
            let score = sigmoid(logits[location * classes + class]);
            let d: Vec<f32> = (0..4).map(|edge| softplus(boxes[location * 4 + edge]) * at.stride).collect();
            let bbox = BBox::new(at.x - d[0], at.y - d[1], at.x + d[2], at.y + d[3]);
            if score > config.score_min {
                all.push(Detection { bbox, class: class as u32, score });
            }
        }
    }
    all.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap());
    all.truncate(config.candidates);
    all
}

proptest! {
    #[test]
    fn equals_the_naive_reference(
        // Few distinct values, so that ties are common.
        logits in prop::collection::vec((-8_i32..4).prop_map(|v| v as f32 * 0.5), 20 * 3),
        boxes in prop::collection::vec(-4.0_f32..4.0, 20 * 4),
        score_min in 0.0_f32..0.9,
        candidates in 0_usize..70,
    ) {
        let grid = LocationGrid::new(32, 32, &[8, 16]).unwrap();
        let config = DecodeConfig { score_min, candidates };
        let found = decode(&config, &grid, 3, &logits, &boxes).unwrap();
        prop_assert_eq!(&found, &naive(&config, &grid, 3, &logits, &boxes));
        prop_assert!(found.windows(2).all(|pair| pair[0].rank(&pair[1]).is_le()));
    }
}

#[test]
fn distances_are_in_strides() {
    let grid = LocationGrid::new(16, 16, &[16]).unwrap();
    // softplus(ln(e - 1)) = 1
    let one = (std::f32::consts::E - 1.0).ln();
    let found = decode(&DecodeConfig::default(), &grid, 1, &[3.0], &[one; 4]).unwrap();
    let bbox = found[0].bbox;
    assert!((bbox.x1 + 8.0).abs() < 1e-4 && (bbox.y2 - 24.0).abs() < 1e-4, "{bbox:?}");
}

#[test]
fn non_finite_outputs_give_nothing() {
    let grid = LocationGrid::new(16, 16, &[16]).unwrap();
    let config = DecodeConfig::default();
    assert_eq!(decode(&config, &grid, 1, &[f32::NAN], &[0.0; 4]).unwrap(), []);
    assert_eq!(decode(&config, &grid, 1, &[2.0], &[0.0, f32::NAN, 0.0, 0.0]).unwrap(), []);
    assert_eq!(decode(&config, &grid, 1, &[2.0], &[0.0, f32::INFINITY, 0.0, 0.0]).unwrap(), []);
}

#[test]
fn wrong_lengths_are_refused() {
    let grid = LocationGrid::new(16, 16, &[16]).unwrap();
    let refused = decode(&DecodeConfig::default(), &grid, 2, &[0.0], &[0.0; 4]).unwrap_err();
    assert_eq!(refused, LengthError { what: "logits", expected: 2, found: 1 });
    let refused = decode(&DecodeConfig::default(), &grid, 0, &[], &[0.0; 3]).unwrap_err();
    assert_eq!(refused, LengthError { what: "box logits", expected: 4, found: 3 });
}
