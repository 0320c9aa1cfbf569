use std::collections::BTreeMap;

use super::*;

const SIZE: (u32, u32) = (160, 120);

fn world() -> World {
    World { seed: 11, classes: 6, label_skew: 0.0, feature_shift: 0.0, concept_shift: 0.0 }
}

#[test]
fn the_same_numbers_give_the_same_picture() {
    let site = world().site(2);
    assert_eq!(site, world().site(2));
    for index in [0, 5, u64::MAX] {
        assert_eq!(scene(&site, index, SIZE), scene(&world().site(2), index, SIZE));
    }
    assert_ne!(scene(&site, 0, SIZE).0, scene(&site, 1, SIZE).0);
    assert_ne!(scene(&site, 0, SIZE).0, scene(&world().site(3), 0, SIZE).0);
    assert_ne!(scene(&site, 0, SIZE).0, scene(&World { seed: 12, ..world() }.site(2), 0, SIZE).0);
}

#[test]
fn boxes_lie_inside_and_most_scenes_have_some() {
    let site = world().site(0);
    let (mut negatives, mut counted, mut ignored) = (0, 0, 0);
    for index in 0..150 {
        let (image, annotations) = scene(&site, index, SIZE);
        assert_eq!((image.width(), image.height()), SIZE);
        negatives += usize::from(annotations.is_empty());
        for Annotation { class, bbox: [left, top, right, bottom], ignore } in annotations {
            assert!(class < 6);
            assert!(
                0.0 <= left
                    && left < right
                    && right <= 160.0
                    && 0.0 <= top
                    && top < bottom
                    && bottom <= 120.0
            );
            counted += usize::from(!ignore);
            ignored += usize::from(ignore);
        }
    }
    assert!((3..30).contains(&negatives), "{negatives} negatives");
    assert!(counted > 300 && ignored < counted / 20, "{counted} boxes, {ignored} ignored");
}

/// A box is the outline of what its thing changed: painted alone on a black ground without light or blur.
#[test]
fn boxes_are_tight() {
    let mut rng = stream(5, 0);
    for shape in CLASSES {
        for _ in 0..20 {
            let mut setting = Setting::draw(&mut rng);
            setting.relief = 0.0;
            let look = Look { colour: [1.0; 3], pattern: Pattern::Plain };
            let mut layer = Layer::new(160, 120);
            let mut body = body(shape, look, 120.0, &setting, &[], SIZE, &mut rng).unwrap();
            body.colour = [1.0; 3];
            layer.paint(&body, &setting, Some(0));
            let extent = layer.extents(1)[0].unwrap();
            let bright = |x: u32, y: u32| layer.pixels[(y as usize * 160 + x as usize) * 3] > 0.5;
            let columns: Vec<u32> = (0..160).filter(|&x| (0..120).any(|y| bright(x, y))).collect();
            let rows: Vec<u32> = (0..120).filter(|&y| (0..160).any(|x| bright(x, y))).collect();
            let expected = [columns[0], rows[0], columns[columns.len() - 1] + 1, rows[rows.len() - 1] + 1];
            assert_eq!(extent.bbox, expected.map(|edge| edge as f32), "{}", shape.name);
            let inside = body.radius < body.centre[0].min(body.centre[1]).min(160.0 - body.centre[0]);
            if inside
                && body.centre[1] + body.radius * 1.2 < 120.0
                && body.centre[0] + body.radius * 1.2 < 160.0
            {
                let side = (extent.bbox[2] - extent.bbox[0]).max(extent.bbox[3] - extent.bbox[1]);
                assert!(
                    (1.1..2.4).contains(&(side / body.radius)),
                    "{}: {side} of {}",
                    shape.name,
                    body.radius
                );
            }
        }
    }
}

#[test]
fn a_covered_thing_is_ignored_or_gone() {
    let mut rng = stream(6, 0);
    let setting = Setting::draw(&mut rng);
    let thing = |radius, rng: &mut ChaCha8Rng| Body {
        shape: &CLASSES[4],
        centre: [60.0, 60.0],
        radius,
        angle: 0.0,
        stretch: 1.0,
        variant: 0.5,
        colour: [1.0; 3],
        pattern: Pattern::draw(rng),
    };
    let mut layer = Layer::new(120, 120);
    layer.paint(&thing(20.0, &mut rng), &setting, Some(0));
    assert!(layer.extents(1)[0].unwrap().visible > 0.99);
    layer.paint(&thing(16.0, &mut rng), &setting, None);
    let visible = layer.extents(1)[0].unwrap().visible;
    assert!((0.2..0.5).contains(&visible), "{visible}");
    layer.paint(&thing(50.0, &mut rng), &setting, Some(1));
    let extents = layer.extents(2);
    assert!(extents[0].is_none() && extents[1].is_some());
}

fn class_counts(site: &SiteSpec) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for index in 0..100 {
        for annotation in scene(site, index, (64, 64)).1 {
            *counts.entry(annotation.class).or_default() += 1;
        }
    }
    counts
}

#[test]
fn label_skew_concentrates_and_turns_from_site_to_site() {
    let even = class_counts(&world().site(0));
    assert!(even.len() == 6 && even.values().all(|&count| count > 15), "{even:?}");
    let skewed = World { label_skew: 1.0, ..world() };
    let mut favourites = Vec::new();
    for index in 0..3 {
        let site = skewed.site(index);
        assert!((site.class_weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let counts = class_counts(&site);
        let total: usize = counts.values().sum();
        let (class, count) = counts.into_iter().max_by_key(|(_, count)| *count).unwrap();
        assert!((0.55..0.85).contains(&(count as f64 / total as f64)), "{count} of {total}");
        favourites.push(class);
    }
    favourites.sort_unstable();
    favourites.dedup();
    assert_eq!(favourites.len(), 3);
}

#[test]
fn feature_shift_ties_a_site_to_its_own_ground() {
    // The ground of a picture by its median red minus its median blue.
    let cast = |image: &Image| {
        let median = |channel: usize| {
            let mut levels: Vec<u8> = image.pixels().iter().skip(channel).step_by(3).copied().collect();
            levels.sort_unstable();
            f64::from(levels[levels.len() / 2])
        };
        median(0) - median(2)
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let variance =
        |values: &[f64]| values.iter().map(|v| (v - mean(values)).powi(2)).sum::<f64>() / values.len() as f64;
    // Variance within a site and between the means of sites.
    let spread = |shift: f32| {
        let world = World { feature_shift: shift, ..world() };
        let sites = (0..5).map(|index| world.site(index));
        let casts: Vec<Vec<f64>> =
            sites.map(|site| (0..25).map(|index| cast(&scene(&site, index, (48, 48)).0)).collect()).collect();
        let within: Vec<f64> = casts.iter().map(|casts| variance(casts)).collect();
        let between: Vec<f64> = casts.iter().map(|casts| mean(casts)).collect();
        (mean(&within), variance(&between))
    };
    let ((within_none, between_none), (within_full, between_full)) = (spread(0.0), spread(1.0));
    assert!(between_none < 0.2 * within_none, "{between_none} between, {within_none} within");
    assert!(between_full > 2.0 * within_full, "{between_full} between, {within_full} within");
    assert!(within_full < 0.2 * within_none, "{within_full} at full shift, {within_none} without");
}

#[test]
fn concept_shift_exchanges_shapes_in_pairs_that_differ() {
    for classes in 1..=CLASSES_MAX {
        let shifted = World { classes, concept_shift: 1.0, ..world() };
        let sites: Vec<SiteSpec> = (0..5).map(|index| shifted.site(index)).collect();
        for site in &sites {
            let shapes = &site.shape_of_class;
            assert!((0..classes).all(|class| shapes[shapes[class]] == class), "{shapes:?} is no exchange");
            let kept = (0..classes).filter(|&class| shapes[class] == class).count();
            assert_eq!(kept, classes % 2, "{shapes:?}");
        }
        if classes == 6 {
            for class in 0..6 {
                let meanings: std::collections::BTreeSet<usize> =
                    sites.iter().map(|s| s.shape_of_class[class]).collect();
                assert_eq!(meanings.len(), 5, "class {class}");
            }
        }
    }
    let half = World { concept_shift: 0.34, ..world() }.site(1);
    assert_eq!((0..6).filter(|&class| half.shape_of_class[class] != class).count(), 2);
    assert_eq!(world().site(1).shape_of_class, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn strange_settings_are_taken_as_the_nearest() {
    let strange =
        World { seed: 0, classes: 99, label_skew: f32::NAN, feature_shift: 7.0, concept_shift: -1.0 };
    assert_eq!(strange.class_names().len(), CLASSES_MAX);
    let (image, _) = scene(&strange.site(u32::MAX), 0, (1, 1));
    assert_eq!((image.width(), image.height()), (16, 16));
    assert_eq!(World { classes: 0, ..strange }.class_names(), ["ring"]);
}

#[test]
fn a_data_set_of_scenes_draws_what_it_says() {
    let world = world();
    let site = Arc::new(world.site(0));
    let dataset = scene_dataset(&world, &site, 10..14, SIZE);
    assert_eq!((dataset.samples.len(), dataset.classes.len()), (4, 6));
    for (sample, index) in dataset.samples.iter().zip(10..) {
        let (image, annotations) = scene(&site, index, SIZE);
        assert_eq!(*sample.load(&crate::DecodeLimits::default()).unwrap(), image);
        assert_eq!(sample.annotations, annotations);
        assert_eq!(*sample.annotated_classes, [0, 1, 2, 3, 4, 5]);
    }
    assert!(dataset.traits().iter().all(|traits| traits.site == Some(0)));
}
