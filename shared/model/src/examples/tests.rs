use std::sync::Arc;

use dataset::{Image, ImageSource};

use super::*;
use crate::device::pool;
use crate::testing::scenes;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(4)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Images of 64 x 32 pixels with one box each; `looked_for` are indices into the classes cat and dog.
fn dataset(looked_for: &[&[u32]]) -> Dataset {
    let sample = |looked_for: &&[u32]| Sample {
        image: ImageSource::Memory(Arc::new(Image::filled(64, 32, [200, 100, 0]))),
        width: 64,
        height: 32,
        annotations: vec![
            Annotation { class: 0, bbox: [8.0, 4.0, 24.0, 20.0], ignore: false },
            Annotation { class: 1, bbox: [40.0, 8.0, 56.0, 24.0], ignore: false },
            Annotation { class: 1, bbox: [0.0, 0.0, 4.0, 4.0], ignore: true },
        ],
        labelled: !looked_for.is_empty(),
        annotated_classes: looked_for.to_vec().into(),
    };
    Dataset {
        classes: names(&["cat", "dog"]),
        samples: looked_for.iter().map(sample).collect(),
        problems: Vec::new(),
    }
}

fn examples(looked_for: &[&[u32]], classes: &[&str]) -> Examples {
    Examples::new(dataset(looked_for), &names(classes), 64, 1 << 20, DecodeLimits::default())
}

#[test]
fn labels_arrive_in_the_classes_of_the_run_and_pixels_of_the_input() {
    let examples = examples(&[&[0, 1]], &["bird", "dog"]);
    let batch = examples.plain(&[0]).unwrap();
    // The dog is class 1 here; nobody looks for cats in this run, nor for birds in this image.
    let [targets] = &batch.targets[..] else { panic!("one image") };
    assert_eq!(targets.boxes, [TargetBox { bbox: BBox::new(40.0, 24.0, 56.0, 40.0), class: 1 }]);
    assert_eq!(targets.ignore, [BBox::new(0.0, 16.0, 4.0, 20.0)]);
    assert_eq!(batch.masks, [[false, true]]);
    assert_eq!(batch.pixels.len(), 64 * 64 * 3);
    let truths = examples.truths(0);
    assert_eq!(truths.len(), 2);
    assert_eq!(
        (truths[0].bbox, truths[0].class, truths[0].role),
        (BBox::new(40.0, 8.0, 56.0, 24.0), 1, Role::Object)
    );
    assert_eq!(truths[1].role, Role::Crowd);
}

#[test]
fn detections_return_to_the_image_and_only_judgeable_ones_count() {
    let examples = examples(&[&[1]], &["cat", "dog"]);
    let found = |class| Detection { bbox: BBox::new(40.0, 10.0, 80.0, 40.0), class, score: 0.5 };
    let back = examples.in_image(0, &[found(0), found(1)]);
    assert_eq!(back, [Detection { bbox: BBox::new(40.0, 0.0, 64.0, 24.0), class: 1, score: 0.5 }]);
}

#[test]
fn unlabelled_images_teach_nothing() {
    let examples = examples(&[&[], &[0, 1], &[]], &["cat", "dog"]);
    assert_eq!(examples.len(), 1);
}

#[test]
fn a_mosaic_teaches_what_all_its_images_agree_on() {
    let examples = examples(&[&[0, 1], &[1]], &["cat", "dog"]);
    let spec = AugmentSpec { mosaic: 1.0, ..AugmentSpec::default() };
    let draw = |mosaic| examples.draw(&Order::new(&[0; 16], mosaic, &mut rng()), &spec).unwrap();
    // Enough draws that every mosaic has at least one image of each kind somewhere.
    let batch = draw(true);
    assert!(batch.masks.contains(&vec![false, true]));
    assert!(batch.masks.iter().all(|mask| mask[1]));
    let single = draw(false);
    assert!(single.masks.iter().all(|mask| mask == &[true, true]));
}

#[test]
fn unreadable_images_are_left_out_until_none_is_left() {
    let mut dataset = scenes(3);
    dataset.samples[0].image = ImageSource::File("absent.jpg".into());
    let classes = dataset.classes.clone();
    let examples = Examples::new(dataset, &classes, 32, 1 << 20, DecodeLimits::default());
    let batch = examples.plain(&[0, 1, 2]).unwrap();
    assert_eq!((batch.len(), &batch.examples[..]), (2, &[1, 2][..]));
    let alone = examples.plain(&[1]).unwrap();
    assert_eq!(batch.pixels[..32 * 32 * 3], alone.pixels, "the gap is closed");
    assert!(examples.plain(&[0]).is_err());
}

/// What an image looks like hangs on its place in the order alone.
#[test]
fn the_number_of_threads_changes_no_pixel() {
    let dataset = scenes(6);
    let classes = dataset.classes.clone();
    let examples = Examples::new(dataset, &classes, 32, 1 << 20, DecodeLimits::default());
    let order = Order::new(&[3, 1, 4, 1, 5], true, &mut rng());
    let spec = AugmentSpec { mosaic: 0.5, ..AugmentSpec::default() };
    let draw = |threads| pool(threads).unwrap().install(|| examples.draw(&order, &spec)).unwrap();
    let (one, three) = (draw(1), draw(3));
    assert_eq!((&one.pixels, &one.targets, &one.masks), (&three.pixels, &three.targets, &three.masks));
}
