use proptest::prelude::*;

use super::*;
use crate::boxes::BBox;
use crate::math::sigmoid;
use crate::targets::decode_boxes;

const CLASSES: usize = 2;

#[derive(Clone, Debug)]
struct Scene {
    grid: LocationGrid,
    targets: ImageTargets,
    logits: Vec<f32>,
    boxes: Vec<BBox>,
}

impl Scene {
    fn new(targets: ImageTargets, logits: Vec<f32>, box_logits: &[f32]) -> Self {
        let grid = LocationGrid::new(160, 96, &[8, 16, 32]).unwrap();
        let mut boxes = Vec::new();
        decode_boxes(&grid, box_logits, &mut Vec::new(), &mut boxes);
        Self { grid, targets, logits, boxes }
    }

    fn assign(&self, entry: &AssignerEntry) -> Assignment {
        let predictions = Predictions { logits: &self.logits, classes: CLASSES, boxes: &self.boxes };
        assign(&*(entry.build)(&AssignConfig::default()), &self.grid, &self.targets, &predictions)
    }
}

const LOCATIONS: usize = 20 * 12 + 10 * 6 + 5 * 3;

fn scenes() -> impl Strategy<Value = Scene> {
    // Whole pixels and few sizes, so that equal areas and centres on cell borders are common.
    let one =
        (-8_i32..150, -8_i32..90, prop::sample::select(vec![2, 5, 16, 24, 40, 70, 140]), 2_i32..80, 0_u32..2)
            .prop_map(|(x, y, w, h, class)| TargetBox {
                bbox: BBox::from_xywh([x, y, w, h].map(|v| v as f32)),
                class,
            });
    let ignore = (0_i32..120, 0_i32..60).prop_map(|(x, y)| BBox::from_xywh([x as f32, y as f32, 40.0, 30.0]));
    (
        prop::collection::vec(one, 0..9),
        prop::collection::vec(ignore, 0..3),
        prop::collection::vec(-5.0_f32..3.0, LOCATIONS * CLASSES),
        prop::collection::vec(-1.0_f32..3.0, LOCATIONS * 4),
    )
        .prop_map(|(boxes, ignore, logits, raw)| Scene::new(ImageTargets { boxes, ignore }, logits, &raw))
}

/// The static rule location by location over all boxes.
fn naive_centre(scene: &Scene) -> Vec<(u32, u32)> {
    let mut owner: Vec<Option<usize>> = vec![None; scene.grid.len()];
    let mut claim = |location: usize, index: usize| {
        let area = |index: usize| scene.targets.boxes[index].bbox.area();
        if owner[location].is_none_or(|other| area(index) < area(other)) {
            owner[location] = Some(index);
        }
    };
    for (index, target) in scene.targets.boxes.iter().enumerate() {
        let (side, (x, y)) = (target.bbox.width().max(target.bbox.height()), target.bbox.centre());
        let level = if side < 64.0 {
            0
        } else if side < 128.0 {
            1
        } else {
            2
        };
        let all = scene.grid.locations().iter().enumerate().filter(|(_, l)| l.level == level);
        let distance = |l: &crate::grid::Location| (l.x - x).abs().max((l.y - y).abs());
        let square = |l: &crate::grid::Location| (l.x - x).powi(2) + (l.y - y).powi(2);
        let near =
            all.clone().filter(|(_, l)| distance(l) < 1.5 * l.stride && target.bbox.contains(l.x, l.y));
        let mut near: Vec<usize> = near.map(|(location, _)| location).collect();
        if near.is_empty() {
            near.extend(all.min_by(|a, b| square(a.1).total_cmp(&square(b.1))).map(|(location, _)| location));
        }
        near.into_iter().for_each(|location| claim(location, index));
    }
    owner.iter().enumerate().filter_map(|(at, index)| index.map(|index| (at as u32, index as u32))).collect()
}

/// The task-aligned rule on full matrices of boxes and locations.
fn naive_task_aligned(scene: &Scene) -> Vec<(u32, u32, f32)> {
    let count = scene.grid.len();
    let iou = |b: usize, l: usize| scene.boxes[l].iou(&scene.targets.boxes[b].bbox);
    let align = |b: usize, l: usize| {
        let class = scene.targets.boxes[b].class as usize;
        sigmoid(scene.logits[l * CLASSES + class]) * iou(b, l) * iou(b, l) * iou(b, l)
    };
    let mut matrix = vec![vec![0.0_f32; count]; scene.targets.boxes.len()];
    for (b, row) in matrix.iter_mut().enumerate() {
        let bbox = &scene.targets.boxes[b].bbox;
        let inside: Vec<usize> = (0..count)
            .filter(|&l| bbox.contains(scene.grid.locations()[l].x, scene.grid.locations()[l].y))
            .collect();
        if inside.is_empty() {
            let nearest = scene.grid.nearest(0, bbox.centre().0, bbox.centre().1);
            row[nearest] = align(b, nearest).max(1e-9);
        }
        let mut ranked: Vec<usize> = inside.into_iter().filter(|&l| align(b, l) > 0.0).collect();
        ranked.sort_by(|&x, &y| align(b, y).total_cmp(&align(b, x)));
        ranked.iter().take(10).for_each(|&l| row[l] = align(b, l));
    }
    let owner = |l: usize| {
        (0..matrix.len())
            .rev()
            .filter(|&b| matrix[b][l] > 0.0)
            .max_by(|&x, &y| iou(x, l).total_cmp(&iou(y, l)))
    };
    let owners: Vec<Option<usize>> = (0..count).map(owner).collect();
    let best = |b: usize, value: &dyn Fn(usize) -> f32| {
        (0..count).filter(|&l| owners[l] == Some(b)).map(value).fold(0.0_f32, f32::max)
    };
    let target = |b: usize, l: usize| matrix[b][l] / best(b, &|l| matrix[b][l]) * best(b, &|l| iou(b, l));
    (0..count).filter_map(|l| owners[l].map(|b| (l as u32, b as u32, target(b, l)))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_rule_keeps_the_law(scene in scenes()) {
        for entry in ASSIGNERS {
            let assignment = scene.assign(entry);
            prop_assert!(assignment.positives.windows(2).all(|pair| pair[0].location < pair[1].location));
            prop_assert!(assignment.excluded.windows(2).all(|pair| pair[0] < pair[1]));
            for positive in &assignment.positives {
                prop_assert!((positive.location as usize) < scene.grid.len());
                prop_assert_eq!(positive.class, scene.targets.boxes[positive.bbox as usize].class);
                prop_assert!((0.0..=1.0).contains(&positive.target), "{}: {positive:?}", entry.name);
            }
            for (location, at) in scene.grid.locations().iter().enumerate() {
                let free = assignment.get(location).is_none();
                let ignored = scene.targets.ignore.iter().any(|region| region.contains(at.x, at.y));
                let excluded = assignment.excluded.binary_search(&(location as u32)).is_ok();
                prop_assert_eq!(excluded, free && ignored);
            }
            prop_assert_eq!(scene.assign(entry), assignment, "{} is not a function", entry.name);
        }
    }

    #[test]
    fn every_rule_finds_a_location_for_a_lone_box(scene in scenes()) {
        for entry in ASSIGNERS {
            for target in &scene.targets.boxes {
                let alone = ImageTargets { boxes: vec![*target], ignore: Vec::new() };
                let found = Scene { targets: alone, ..scene.clone() }.assign(entry);
                prop_assert!(!found.positives.is_empty(), "{}: {target:?}", entry.name);
            }
        }
    }

    #[test]
    fn the_static_rule_equals_its_definition(scene in scenes()) {
        let found = scene.assign(Phase::Static.entry());
        let pairs: Vec<_> = found.positives.iter().map(|p| (p.location, p.bbox)).collect();
        prop_assert_eq!(pairs, naive_centre(&scene));
        for p in &found.positives {
            let iou = scene.boxes[p.location as usize].iou(&scene.targets.boxes[p.bbox as usize].bbox);
            prop_assert!((p.target - (0.5 + 0.5 * iou)).abs() < 1e-6);
        }
    }

    #[test]
    fn the_task_aligned_rule_equals_its_definition(scene in scenes()) {
        let found = scene.assign(Phase::TaskAligned.entry());
        let expected = naive_task_aligned(&scene);
        prop_assert_eq!(found.positives.len(), expected.len());
        for (p, (location, bbox, target)) in found.positives.iter().zip(expected) {
            prop_assert_eq!((p.location, p.bbox), (location, bbox));
            prop_assert!((p.target - target).abs() < 1e-6, "{p:?}, expected {target}");
        }
    }
}

#[test]
fn entries_serve_their_phase() {
    for entry in ASSIGNERS {
        assert_eq!(entry.phase.entry().name, entry.name);
        assert!(!entry.about.is_empty());
    }
}

#[test]
fn levels_follow_the_longer_side_and_end_at_the_last() {
    #[track_caller]
    fn check(strides: &[u32], side: f32, expected: u32) {
        let grid = LocationGrid::new(512, 512, strides).unwrap();
        let boxes = vec![BBox::new(0.0, 0.0, 1.0, 1.0); grid.len()];
        let logits = vec![0.0; grid.len() * CLASSES];
        let predictions = Predictions { logits: &logits, classes: CLASSES, boxes: &boxes };
        let bbox = BBox::from_centre([250.0, 260.0, 10.0, side]);
        let targets = ImageTargets { boxes: vec![TargetBox { bbox, class: 0 }], ignore: Vec::new() };
        let assigner = (Phase::Static.entry().build)(&AssignConfig::default());
        for positive in assign(&*assigner, &grid, &targets, &predictions).positives {
            assert_eq!(grid.locations()[positive.location as usize].stride as u32, expected, "side {side}");
        }
    }
    for (side, expected) in [(10.0, 8), (63.9, 8), (64.0, 16), (127.9, 16), (128.0, 32), (400.0, 32)] {
        check(&[8, 16, 32], side, expected);
        check(&[8, 16], side, expected.min(16));
        check(&[8], side, 8);
    }
}
