use super::*;
use crate::DecodeReason;
use crate::fixtures::Tree;
use crate::image::Image;
use crate::sample::ImageSource;

fn samples(count: usize, width: u32, height: u32) -> Vec<Sample> {
    let sample = |number: usize| Sample {
        image: ImageSource::Memory(Arc::new(Image::filled(width, height, [number as u8; 3]))),
        width,
        height,
        annotations: Vec::new(),
        labelled: true,
        annotated_classes: Arc::from([]),
    };
    (0..count).map(sample).collect()
}

#[test]
fn keeps_what_fits_and_never_more() {
    let samples = samples(5, 16, 10);
    let cache =
        ImageCache::new(5, (64, 64), Resolution::Whole, 16 * 10 * 3 * 3 + 100, DecodeLimits::default());
    for _ in 0..2 {
        for (index, sample) in samples.iter().enumerate() {
            assert_eq!(cache.get(index, sample).unwrap().pixels.pixel(3, 3), [index as u8; 3]);
        }
    }
    assert_eq!(cache.used_bytes(), 16 * 10 * 3 * 3);
    // A number beyond the data set is served, not kept.
    assert!(cache.get(99, &samples[0]).is_ok());
    assert_eq!(cache.used_bytes(), 16 * 10 * 3 * 3);
    let none = ImageCache::new(5, (64, 64), Resolution::Whole, 0, DecodeLimits::default());
    assert!(none.get(0, &samples[0]).is_ok());
    assert_eq!(none.used_bytes(), 0);
}

#[test]
fn large_images_are_reduced_to_twice_the_input() {
    let table =
        [((640, 480), (512, 384)), ((500, 400), (500, 400)), ((300, 3000), (52, 512)), ((64, 64), (64, 64))];
    for ((width, height), expected) in table {
        let cache = ImageCache::new(1, (256, 256), Resolution::Whole, 1 << 30, DecodeLimits::default());
        let image = cache.get(0, &samples(1, width, height)[0]).unwrap().pixels;
        assert_eq!((image.width(), image.height()), expected);
    }
}

#[test]
fn shared_between_threads() {
    let samples = samples(8, 16, 16);
    let cache = ImageCache::new(8, (64, 64), Resolution::Whole, 5 * 16 * 16 * 3, DecodeLimits::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (index, sample) in samples.iter().enumerate() {
                    assert_eq!(cache.get(index, sample).unwrap().pixels.pixel(0, 0), [index as u8; 3]);
                }
            });
        }
    });
    assert!(cache.used_bytes() <= 5 * 16 * 16 * 3);
}

/// A photograph comes at the part of its size that training shows, one for scores whole; the frame is checked all the same.
#[test]
fn photographs_for_training_are_decoded_small() {
    let tree = Tree::new().image("a.jpg", 640, 480);
    let file = ImageSource::File(tree.path().join("a.jpg"));
    let sample = Sample { image: file, ..samples(1, 640, 480).remove(0) };
    let get = |resolution, side, sample: &Sample| {
        ImageCache::new(1, (side, side), resolution, 1 << 30, DecodeLimits::default()).get(0, sample)
    };
    // Wanted are 1.4 times the input, kept is at most twice the input.
    let table = [
        (Resolution::Zoomed(1.4), 96, 160),
        (Resolution::Zoomed(1.4), 256, 400),
        (Resolution::Zoomed(1.4), 20, 40),
        (Resolution::Zoomed(2.5), 96, 240),
        (Resolution::Whole, 96, 192),
        (Resolution::Whole, 256, 512),
    ];
    for (resolution, side, width) in table {
        let picture = get(resolution, side, &sample).unwrap();
        assert_eq!(
            (picture.pixels.width(), picture.pixels.height()),
            (width, width * 3 / 4),
            "{resolution:?}, {side}"
        );
        assert_eq!(picture.covers, [0.0, 0.0, 640.0, 480.0]);
    }
    let relabelled = Sample { height: 640, ..sample };
    let refused = get(Resolution::Zoomed(1.4), 96, &relabelled).unwrap_err();
    assert!(matches!(refused.reason, DecodeReason::SizeChanged { found_height: 480, .. }), "{refused}");
}
