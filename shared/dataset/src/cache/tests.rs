use super::*;
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
    let cache = ImageCache::new(5, (64, 64), 16 * 10 * 3 * 3 + 100, DecodeLimits::default());
    for _ in 0..2 {
        for (index, sample) in samples.iter().enumerate() {
            assert_eq!(cache.get(index, sample).unwrap().pixel(3, 3), [index as u8; 3]);
        }
    }
    assert_eq!(cache.used_bytes(), 16 * 10 * 3 * 3);
    // A number beyond the data set is served, not kept.
    assert!(cache.get(99, &samples[0]).is_ok());
    assert_eq!(cache.used_bytes(), 16 * 10 * 3 * 3);
    let none = ImageCache::new(5, (64, 64), 0, DecodeLimits::default());
    assert!(none.get(0, &samples[0]).is_ok());
    assert_eq!(none.used_bytes(), 0);
}

#[test]
fn large_images_are_reduced_to_twice_the_input() {
    let table =
        [((640, 480), (512, 384)), ((500, 400), (500, 400)), ((300, 3000), (52, 512)), ((64, 64), (64, 64))];
    for ((width, height), expected) in table {
        let cache = ImageCache::new(1, (256, 256), 1 << 30, DecodeLimits::default());
        let image = cache.get(0, &samples(1, width, height)[0]).unwrap();
        assert_eq!((image.width(), image.height()), expected);
    }
}

#[test]
fn shared_between_threads() {
    let samples = samples(8, 16, 16);
    let cache = ImageCache::new(8, (64, 64), 5 * 16 * 16 * 3, DecodeLimits::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (index, sample) in samples.iter().enumerate() {
                    assert_eq!(cache.get(index, sample).unwrap().pixel(0, 0), [index as u8; 3]);
                }
            });
        }
    });
    assert!(cache.used_bytes() <= 5 * 16 * 16 * 3);
}
