use std::sync::Arc;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::Picture;
use crate::fixtures::counted;
use crate::{PAD, PIXEL_MEAN, PIXEL_STD};

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A picture without symmetries.
fn picture(width: u32, height: u32) -> Image {
    let mut image = Image::filled(width, height, [0; 3]);
    for (number, pixel) in image.pixels_mut().chunks_exact_mut(3).enumerate() {
        let (x, y) = (number % width as usize, number / width as usize);
        for (channel, value) in pixel.iter_mut().enumerate() {
            *value = ((37 * x + 91 * y + 53 * channel + 7 * x * y) % 256) as u8;
        }
    }
    image
}

fn source<'a>(image: &'a Image, annotations: &'a [Annotation]) -> Source<'a> {
    Source::whole(image, annotations)
}

fn bytes(
    sources: &[Source<'_>],
    spec: &AugmentSpec,
    input: (u32, u32),
    seed: u64,
) -> (Image, Vec<Annotation>) {
    let mut image = Image::filled(input.0, input.1, [0; 3]);
    let annotations = render(sources, spec, input, &mut rng(seed), Output::Bytes(image.pixels_mut()));
    (image, annotations)
}

/// Values from `testdata/resize.py`, that is from Pillow, which rounds to bytes between its two passes.
#[test]
fn resampling_matches_pillow() {
    let image = Picture::whole(Arc::new(picture(13, 11)));
    for line in include_str!("../../testdata/resize.txt").lines() {
        let numbers: Vec<u32> = line.split(' ').map(|n| n.parse().unwrap()).collect();
        let found = resized(&image, (13, 11), numbers[0], numbers[1]);
        let largest = found.pixels().iter().zip(&numbers[2..]).map(|(a, b)| u32::from(*a).abs_diff(*b)).max();
        assert_eq!(found.pixels().len(), numbers.len() - 2);
        assert!(largest <= Some(1), "{}x{}: off by {largest:?}", numbers[0], numbers[1]);
    }
}

#[test]
fn letterbox_shows_the_whole_image_in_the_middle() {
    let image = Image::filled(40, 20, [200, 100, 50]);
    let boxes = [
        counted(3, [10.0, 5.0, 30.0, 15.0]),
        Annotation { ignore: true, ..counted(1, [0.0, 0.0, 40.0, 20.0]) },
    ];
    let (canvas, annotations) = bytes(&[source(&image, &boxes)], &AugmentSpec::none(), (20, 20), 1);
    for y in 0..20 {
        let expected = if (5..15).contains(&y) { [200, 100, 50] } else { [PAD; 3] };
        for x in 0..20 {
            assert_eq!(canvas.pixel(x, y), expected, "{x},{y}");
        }
    }
    let placement = Placement::letterbox((40, 20), (20, 20));
    assert_eq!(annotations[0], counted(3, [5.0, 7.5, 15.0, 12.5]));
    assert_eq!(annotations[0].bbox, placement.to_input(boxes[0].bbox));
    assert_eq!(placement.to_image(annotations[0].bbox), boxes[0].bbox);
    assert!(annotations[1].ignore);
    // An image of the input's size passes unchanged.
    let exact = picture(24, 16);
    assert_eq!(bytes(&[source(&exact, &[])], &AugmentSpec::none(), (24, 16), 1).0, exact);
}

#[test]
fn a_reduced_copy_renders_to_the_same_place() {
    let image = Image::filled(80, 40, [250; 3]);
    let copy = resized(&Picture::whole(Arc::new(image.clone())), (80, 40), 40, 20);
    let boxes = [counted(0, [20.0, 10.0, 60.0, 30.0])];
    let covers = [0.0, 0.0, 80.0, 40.0];
    let reduced = Source { image: &copy, covers, annotations: &boxes, frame: (80, 40) };
    for seed in 0..20 {
        let whole = bytes(&[source(&image, &boxes)], &AugmentSpec::default(), (32, 32), seed);
        assert_eq!(whole, bytes(&[reduced], &AugmentSpec::default(), (32, 32), seed));
    }
}

#[test]
fn normalised_output_is_computed_from_the_bytes() {
    let image = picture(50, 30);
    let spec = AugmentSpec::default();
    let (canvas, annotations) = bytes(&[source(&image, &[])], &spec, (32, 24), 9);
    let mut values = vec![f32::NAN; 32 * 24 * 3];
    let same = render(&[source(&image, &[])], &spec, (32, 24), &mut rng(9), Output::Normalised(&mut values));
    assert_eq!(annotations, same);
    for (number, (value, byte)) in values.iter().zip(canvas.pixels()).enumerate() {
        let channel = number % 3;
        assert_eq!(*value, (f32::from(*byte) / 255.0 - PIXEL_MEAN[channel]) / PIXEL_STD[channel]);
    }
}

#[test]
fn mirroring_twice_changes_nothing() {
    let image = picture(24, 16);
    let boxes = [counted(0, [2.0, 3.0, 9.0, 11.0])];
    for (horizontal_flip, vertical_flip) in [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)] {
        let spec = AugmentSpec { horizontal_flip, vertical_flip, ..AugmentSpec::none() };
        let (once, mirrored) = bytes(&[source(&image, &boxes)], &spec, (24, 16), 1);
        let x = if horizontal_flip > 0.0 { 23 - 2 } else { 2 };
        let y = if vertical_flip > 0.0 { 15 - 3 } else { 3 };
        assert_eq!(once.pixel(x, y), image.pixel(2, 3));
        let (twice, back) = bytes(&[source(&once, &mirrored)], &spec, (24, 16), 2);
        assert_eq!((twice, back.as_slice()), (image.clone(), boxes.as_slice()));
    }
}

#[test]
fn mosaic_tiles_cover_the_input_once() {
    for seed in 0..200 {
        let (width, height) = (32 + seed as u32 % 5, 20 + seed as u32 % 7);
        let tiles = mosaic::tiles((width, height), &mut rng(seed));
        let mut covered = vec![0; (width * height) as usize];
        for tile in tiles {
            for y in tile.top..tile.bottom {
                for x in tile.left..tile.right {
                    covered[(y * width + x) as usize] += 1;
                }
            }
        }
        assert!(covered.iter().all(|&times| times == 1), "{tiles:?}");
    }
}

/// Large flat images fill their tiles: the areas of pixels and of boxes add up to the input.
#[test]
fn mosaic_conserves_area() {
    let images: Vec<Image> = (1..5).map(|level| Image::filled(64, 64, [level * 20; 3])).collect();
    let boxes: Vec<[Annotation; 1]> = (0..4).map(|class| [counted(class, [0.0, 0.0, 64.0, 64.0])]).collect();
    let sources: Vec<Source<'_>> =
        images.iter().zip(&boxes).map(|(image, boxes)| source(image, boxes)).collect();
    let spec =
        AugmentSpec { shift: true, mosaic_scale: [1.0, 2.0], min_visibility: 0.0, ..AugmentSpec::none() };
    for seed in 0..50 {
        let (canvas, annotations) = bytes(&sources, &spec, (48, 40), seed);
        let area: f32 = annotations.iter().map(Annotation::area).sum();
        assert_eq!(area, 48.0 * 40.0);
        for annotation in &annotations {
            let level = (annotation.class as u8 + 1) * 20;
            let pixels = canvas.pixels().chunks_exact(3).filter(|pixel| pixel[0] == level).count();
            assert_eq!(pixels as f32, annotation.area(), "class {}", annotation.class);
        }
    }
}

#[test]
fn zooming_keeps_a_box_in_sight() {
    let image = Image::filled(100, 80, [90; 3]);
    let boxes = [counted(0, [1.0, 1.0, 13.0, 9.0]), counted(1, [80.0, 60.0, 99.0, 79.0])];
    let spec = AugmentSpec {
        scale: [1.5, 4.0],
        shift: true,
        horizontal_flip: 0.5,
        vertical_flip: 0.5,
        ..AugmentSpec::none()
    };
    let mut seen = [0, 0];
    for seed in 0..200 {
        let (_, annotations) = bytes(&[source(&image, &boxes)], &spec, (64, 64), seed);
        let whole = |a: &&Annotation| !a.ignore;
        assert!(annotations.iter().any(|a| whole(&a)), "seed {seed}: {annotations:?}");
        annotations.iter().filter(whole).for_each(|a| seen[a.class as usize] += 1);
    }
    assert!(seen.iter().all(|&count| count > 60), "{seen:?}");
}

#[test]
fn remnants_are_ignored_and_the_invisible_is_gone() {
    let image = Image::filled(100, 100, [90; 3]);
    // Zoomed by two about the middle, the input shows 25..75 of the image.
    let spec = AugmentSpec { scale: [2.0, 2.0], ..AugmentSpec::none() };
    let boxes = [
        counted(0, [40.0, 40.0, 60.0, 60.0]),
        counted(1, [5.0, 40.0, 35.0, 60.0]),  // a third in sight
        counted(2, [0.0, 40.0, 30.0, 60.0]),  // a sixth
        counted(3, [0.0, 40.0, 20.0, 60.0]),  // nothing
        counted(4, [30.0, 30.0, 30.2, 70.0]), // thinner than a pixel
    ];
    let (_, annotations) = bytes(&[source(&image, &boxes)], &spec, (100, 100), 3);
    let found: Vec<(u32, bool)> = annotations.iter().map(|a| (a.class, a.ignore)).collect();
    assert_eq!(found, [(0, false), (1, false), (2, true), (4, true)]);
}

#[test]
fn colour_leaves_grey_grey_and_stays_in_range() {
    let grey = [100.0_f32, 100.0, 100.0];
    let spec = AugmentSpec { saturation: 1.0, contrast: 0.4, brightness: 0.2, ..AugmentSpec::none() };
    let mut out = [0_u8; 3];
    for seed in 0..50 {
        ColourMatrix::draw(&spec, &mut rng(seed)).apply(&grey, &mut out);
        assert!(out[0].abs_diff(out[1]) <= 1 && out[1].abs_diff(out[2]) <= 1, "{out:?}");
    }
    assert_eq!(ColourMatrix::draw(&AugmentSpec::none(), &mut rng(1)), ColourMatrix::IDENTITY);
    let extreme = AugmentSpec { brightness: 1.0, contrast: 1.0, colour_shift: 1.0, ..AugmentSpec::none() };
    let mut levels = std::collections::BTreeSet::new();
    for seed in 0..50 {
        ColourMatrix::draw(&extreme, &mut rng(seed)).apply(&[255.0, 0.0, 128.0], &mut out);
        levels.extend(out);
    }
    assert!(levels.contains(&0) && levels.contains(&255));
}

#[test]
fn sources_wanted_follows_the_probability_and_the_flag() {
    let spec = AugmentSpec { mosaic: 0.3, ..AugmentSpec::default() };
    let mut draws = rng(1);
    let four = (0..2000).filter(|_| spec.sources_wanted(true, &mut draws) == 4).count();
    assert!((500..700).contains(&four), "{four}");
    assert!((0..100).all(|_| spec.sources_wanted(false, &mut draws) == 1));
    // The flag does not shift the random numbers that follow.
    let (mut a, mut b) = (rng(2), rng(2));
    let _ = (spec.sources_wanted(true, &mut a), spec.sources_wanted(false, &mut b));
    assert_eq!(a.random::<u64>(), b.random::<u64>());
}

#[test]
fn no_source_is_all_padding() {
    let (canvas, annotations) = bytes(&[], &AugmentSpec::default(), (8, 8), 1);
    assert!(annotations.is_empty() && canvas.pixels().iter().all(|&value| value == PAD));
}

#[test]
fn settings_out_of_range_are_named() {
    assert_eq!(AugmentSpec::default().validate(), Ok(()));
    assert_eq!(AugmentSpec::none().validate(), Ok(()));
    let table = [
        (AugmentSpec { scale: [1.4, 0.8], ..AugmentSpec::none() }, "scale is 1.4 to 0.8"),
        (AugmentSpec { scale: [f32::NAN, 1.0], ..AugmentSpec::none() }, "scale is NaN to 1"),
        (AugmentSpec { mosaic_scale: [0.0, 1.0], ..AugmentSpec::none() }, "mosaic_scale is 0 to 1"),
        (
            AugmentSpec { horizontal_flip: 1.5, ..AugmentSpec::none() },
            "horizontal_flip is 1.5, expected 0 to 1",
        ),
        (AugmentSpec { brightness: f32::NAN, ..AugmentSpec::none() }, "brightness is NaN"),
    ];
    for (spec, expected) in table {
        let message = spec.validate().unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    assert!(serde_json::from_str::<AugmentSpec>(r#"{"horizontal_flips": 1.0}"#).is_err());
    let partial: AugmentSpec = serde_json::from_str(r#"{"horizontal_flip": 0.0}"#).unwrap();
    assert_eq!(partial, AugmentSpec { horizontal_flip: 0.0, ..AugmentSpec::default() });
}

fn spec() -> impl Strategy<Value = AugmentSpec> {
    let scales = || (0.1_f32..3.0, 0.0_f32..3.0).prop_map(|(low, more)| [low, low + more]);
    (scales(), scales(), any::<bool>(), 0.0_f32..=1.0, 0.0_f32..=1.0).prop_map(
        |(scale, mosaic_scale, shift, flip, min_visibility)| AugmentSpec {
            scale,
            mosaic_scale,
            shift,
            horizontal_flip: flip,
            vertical_flip: flip,
            min_visibility,
            ..AugmentSpec::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever the settings: boxes lie inside and have an area, those that count are visible enough, nothing is
    /// invented, and the same numbers give the same result.
    #[test]
    fn boxes_stay_inside(
        spec in spec(),
        (width, height) in (8_u32..90, 8_u32..90),
        input in (8_u32..70, 8_u32..70),
        corners in proptest::collection::vec((0.0_f32..0.9, 0.0_f32..0.9, 0.02_f32..1.0, 0.02_f32..1.0), 0..6),
        count in prop_oneof![Just(1_usize), Just(4)],
        seed: u64,
    ) {
        let image = picture(width, height);
        let size = [width as f32, height as f32, width as f32, height as f32];
        let boxes: Vec<Annotation> = corners
            .iter()
            .enumerate()
            .map(|(class, &(x, y, w, h))| {
                let part = [x, y, (x + w).min(1.0), (y + h).min(1.0)];
                counted(class as u32, std::array::from_fn(|i| part[i] * size[i]))
            })
            .collect();
        let sources = vec![source(&image, &boxes); count];
        let (canvas, annotations) = bytes(&sources, &spec, input, seed);
        prop_assert!(annotations.len() <= boxes.len() * count);
        for annotation in &annotations {
            let [left, top, right, bottom] = annotation.bbox;
            prop_assert!(0.0 <= left && left < right && right <= input.0 as f32, "{:?}", annotation);
            prop_assert!(0.0 <= top && top < bottom && bottom <= input.1 as f32, "{:?}", annotation);
            if !annotation.ignore {
                // At the largest zoom the whole box has this area.
                let scale = if count == 4 { spec.mosaic_scale } else { spec.scale };
                let letterbox = Placement::letterbox((width, height), input).gain[0];
                let least = (letterbox * scale[0]).powi(2) * boxes[annotation.class as usize].area() * spec.min_visibility;
                prop_assert!(annotation.area() >= 0.999 * least, "{:?} below {}", annotation, least);
            }
        }
        prop_assert_eq!((canvas, annotations), bytes(&sources, &spec, input, seed));
    }

    /// A placement maps back.
    #[test]
    fn placements_invert(gain in prop_oneof![-5.0_f32..-0.1, 0.1_f32..5.0], shift in -100.0_f32..100.0, x in 0.0_f32..50.0) {
        let placement = Placement { gain: [gain, 2.0], shift: [shift, 3.0] };
        let bbox = [x, 1.0, x + 10.0, 9.0];
        let back = placement.to_image(placement.to_input(bbox));
        for (a, b) in back.iter().zip(bbox) {
            prop_assert!((a - b).abs() < 1e-2, "{:?} from {:?}", back, bbox);
        }
    }

    /// The number of random draws does not depend on the image or its boxes.
    #[test]
    fn draws_are_fixed(seed: u64, boxes in 0_usize..4) {
        let image = picture(20, 10);
        let list = vec![counted(0, [1.0, 1.0, 9.0, 9.0]); boxes];
        let mut out = Image::filled(16, 16, [0; 3]);
        let (mut a, mut b) = (rng(seed), rng(seed));
        render(&[source(&image, &list)], &AugmentSpec::default(), (16, 16), &mut a, Output::Bytes(out.pixels_mut()));
        let other = picture(9, 30);
        render(&[source(&other, &[])], &AugmentSpec::default(), (16, 16), &mut b, Output::Bytes(out.pixels_mut()));
        prop_assert_eq!(a.random::<u64>(), b.random::<u64>());
    }
}
