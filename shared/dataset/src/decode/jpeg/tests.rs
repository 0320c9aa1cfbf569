use proptest::prelude::*;

use super::idct::{COEFFICIENT_MAX, inverse};
use super::*;
use crate::augment::{AugmentSpec, Output, Source, render};
use crate::decode::{DecodeLimits, decode_bytes, decode_bytes_reduced};
use crate::fixtures::{jpeg, with_orientation};
use crate::image::Image;
use crate::scenes::{World, scene};

const HALF_BOTH: &[u8] = include_bytes!("../../../testdata/420.jpg");
const HALF_ACROSS: &[u8] = include_bytes!("../../../testdata/422.jpg");
const PROGRESSIVE: &[u8] = include_bytes!("../../../testdata/progressive.jpg");

/// A picture without edges.
fn smooth(width: u32, height: u32) -> Image {
    let mut image = Image::filled(width, height, [0; 3]);
    for (number, pixel) in image.pixels_mut().chunks_exact_mut(3).enumerate() {
        let (x, y) = ((number % width as usize) as f32, (number / width as usize) as f32);
        let waves = [(x / 11.0 + y / 23.0).sin(), (y / 9.0).sin(), ((x + y) / 15.0).cos()];
        pixel.iter_mut().zip(waves).for_each(|(value, wave)| *value = (127.0 + 100.0 * wave) as u8);
    }
    image
}

fn photograph(size: (u32, u32)) -> Image {
    let world = World { seed: 7, classes: 3, label_skew: 0.0, feature_shift: 0.5, concept_shift: 0.0 };
    scene(&world.site(0), 1, size).0
}

/// Colour at half the size downwards: the units of [`HALF_ACROSS`] under a header that turns them, whatever that shows.
fn half_down() -> Vec<u8> {
    let mut bytes = HALF_ACROSS.to_vec();
    let frame = bytes.windows(2).position(|window| window == [0xFF, 0xC0]).unwrap();
    assert_eq!(bytes[frame + 5..frame + 9], [0, 32, 0, 64]);
    bytes[frame + 5..frame + 9].copy_from_slice(&[0, 64, 0, 32]);
    assert_eq!(bytes[frame + 11], 0x21);
    bytes[frame + 11] = 0x12;
    bytes
}

fn grey_jpeg(image: &Image) -> Vec<u8> {
    let luma: Vec<u8> = image.pixels().chunks_exact(3).map(|pixel| pixel[0]).collect();
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
    let (width, height) = (image.width(), image.height());
    image::ImageEncoder::write_image(encoder, &luma, width, height, image::ExtendedColorType::L8).unwrap();
    bytes
}

fn whole(bytes: &[u8]) -> Image {
    decode_bytes(bytes, &DecodeLimits::default()).unwrap()
}

/// Mean of the part of the whole picture that pixel (x, y) of a reduced one shows.
fn mean(image: &Image, eighths: u32, (x, y): (u32, u32)) -> [f64; 3] {
    let size = 8.0 / f64::from(eighths);
    let overlap = |pixel: u32, at: u32| {
        let (from, to) = (f64::from(at) * size, f64::from(at + 1) * size);
        (to.min(f64::from(pixel + 1)) - from.max(f64::from(pixel))).max(0.0)
    };
    let (mut sum, mut weights) = ([0.0; 3], 0.0);
    for row in 0..image.height() {
        for column in 0..image.width() {
            let weight = overlap(column, x) * overlap(row, y);
            if weight > 0.0 {
                weights += weight;
                let pixel = image.pixel(column, row);
                sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += weight * f64::from(value));
            }
        }
    }
    sum.map(|sum| sum / weights)
}

/// Mean absolute difference to the averages of the whole picture, over all pixels and channels.
fn error(bytes: &[u8], eighths: u32) -> f64 {
    let reduced = decode(bytes, eighths).unwrap();
    let whole = whole(bytes);
    let (width, height) = reduced.dimensions();
    assert_eq!(
        (width, height),
        ((whole.width() * eighths).div_ceil(8), (whole.height() * eighths).div_ceil(8))
    );
    let differences = reduced.enumerate_pixels().flat_map(|(x, y, pixel)| {
        let expected = mean(&whole, eighths, (x, y));
        [0, 1, 2].map(|channel| (f64::from(pixel.0[channel]) - expected[channel]).abs())
    });
    differences.sum::<f64>() / f64::from(width * height * 3)
}

#[test]
fn reduced_pictures_are_near_the_averages_of_the_whole() {
    // Where 8 does not divide a side, the last pixel also shows what the encoder put beyond the edge.
    let files = [
        ("multiple of 8", jpeg(&smooth(64, 48)), 1.0),
        ("odd", jpeg(&smooth(53, 37)), 2.0),
        ("one block", jpeg(&smooth(8, 8)), 1.0),
        ("tall", jpeg(&smooth(9, 100)), 1.0),
        ("grey", grey_jpeg(&smooth(43, 30)), 2.0),
        ("scene", jpeg(&photograph((120, 90))), 2.5),
        ("half both, restarts", HALF_BOTH.to_vec(), 2.0),
        ("half across", HALF_ACROSS.to_vec(), 1.5),
        ("half down", half_down(), 1.5),
    ];
    for (name, bytes, tolerance) in files {
        for eighths in 1..=EIGHTHS_MAX {
            let error = error(&bytes, eighths);
            assert!(error < tolerance, "{name} at {eighths}/8: {error}");
        }
    }
}

/// The transform by its definition: an orthonormal 8 point transform read as one of `n` points, weakened by the mean.
fn by_definition(block: &[i16; 64], width: usize, height: usize, (x, y): (usize, usize)) -> f64 {
    let basis = |n: usize, frequency: usize, at: usize| {
        let gain = if frequency == 0 { (1.0_f64 / 8.0).sqrt() } else { 0.5 };
        let sine = |n: usize| (frequency as f64 * std::f64::consts::PI / (2 * n) as f64).sin();
        let gain = if frequency == 0 || n >= 8 { gain } else { gain * sine(n) / (8.0 / n as f64 * sine(8)) };
        gain * ((2 * at + 1) as f64 * frequency as f64 * std::f64::consts::PI / (2 * n) as f64).cos()
    };
    let mut sum = 128.0;
    for v in 0..height.min(8) {
        for u in 0..width.min(8) {
            sum += f64::from(block[8 * v + u]) * basis(width, u, x) * basis(height, v, y);
        }
    }
    sum.clamp(0.0, 255.0)
}

proptest! {
    #[test]
    fn transforms_are_right_to_a_level(
        sparse in proptest::collection::vec((0..64_usize, -400..400_i16), 0..12),
        extreme in proptest::bool::ANY,
    ) {
        let mut block = [0_i16; 64];
        sparse.iter().for_each(|&(at, value)| block[at] = value);
        if extreme {
            // No sum overflows.
            block.iter_mut().for_each(|value| *value = value.signum() * COEFFICIENT_MAX as i16);
        }
        for n in 1..=7 {
            for (width, height) in [(n, n), (2 * n, n), (n, 2 * n), (2 * n, 2 * n)] {
                let mut out = vec![0; width * height];
                inverse(width, height).unwrap()(&block, &mut out, width);
                for (number, found) in out.iter().enumerate() {
                    let expected = by_definition(&block, width, height, (number % width, number / width));
                    let tolerance = if extreme { 2.5 } else { 1.0 };
                    prop_assert!((f64::from(*found) - expected).abs() <= tolerance, "{width}x{height} at {number}: {found}, {expected}");
                }
            }
        }
    }

    /// Whatever follows a header: no panic, and nothing is accepted that the decoder of whole pictures refuses.
    #[test]
    fn arbitrary_scans_are_refused_or_right(
        scan in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
        file in 0..3_usize,
        eighths in 1..=EIGHTHS_MAX,
    ) {
        let file = [&jpeg(&smooth(16, 16))[..], HALF_BOTH, HALF_ACROSS][file].to_vec();
        let start = file.windows(2).position(|window| window == [0xFF, 0xDA]).unwrap();
        let header = start + 2 + usize::from(file[start + 3]);
        accepted_only_if_whole_is(&[&file[..header], &scan, &[0xFF, 0xD9]].concat(), eighths);
        accepted_only_if_whole_is(&scan, eighths);
    }
}

#[track_caller]
fn accepted_only_if_whole_is(bytes: &[u8], eighths: u32) -> bool {
    let limits = DecodeLimits { pixels_max: 1 << 16, ..DecodeLimits::default() };
    // Sizes are checked before this decoder is asked.
    let fits = Header::parse(bytes).is_some_and(|header| header.width * header.height <= 1 << 16);
    let accepted = fits && decode(bytes, eighths).is_some();
    if accepted {
        let whole = decode_bytes(bytes, &limits);
        assert!(whole.is_ok(), "accepted, but {whole:?}");
    }
    accepted
}

#[test]
fn damage_is_never_accepted_where_the_whole_decoder_refuses_it() {
    let files = [jpeg(&smooth(24, 16)), HALF_BOTH.to_vec(), HALF_ACROSS.to_vec()];
    for file in files {
        assert!(accepted_only_if_whole_is(&file, 2));
        for end in 0..file.len() {
            assert!(!accepted_only_if_whole_is(&file[..end], 2), "cut at {end} of {}", file.len());
        }
        for at in 0..file.len() {
            for change in [0x01, 0x10, 0xFF] {
                let mut bytes = file.clone();
                bytes[at] ^= change;
                let accepted = accepted_only_if_whole_is(&bytes, 2);
                // What is passed over is looked at as closely as what is shown.
                assert_eq!(accepted, accepted_only_if_whole_is(&bytes, 1), "byte {at} ^ {change}");
                assert_eq!(accepted, accepted_only_if_whole_is(&bytes, 7), "byte {at} ^ {change}");
            }
        }
    }
}

#[test]
fn markers_must_be_those_expected() {
    let scan = HALF_BOTH.windows(2).position(|window| window == [0xFF, 0xD1]).unwrap();
    let end = HALF_BOTH.len() - 2;
    let patched = |at: usize, marker: u8| {
        let mut bytes = HALF_BOTH.to_vec();
        bytes[at + 1] = marker;
        bytes
    };
    let refused = [
        ("restart out of order", patched(scan, 0xD2)),
        ("end too early", patched(scan, 0xD9)),
        ("no end", HALF_BOTH[..end].to_vec()),
        ("restart at the end", patched(end, 0xD0)),
        ("surplus bytes", [&HALF_BOTH[..end], &[1, 2], &HALF_BOTH[end..]].concat()),
        ("surplus restart", [&HALF_BOTH[..end], &[0xFF, 0xD0], &HALF_BOTH[end..]].concat()),
    ];
    for (name, bytes) in refused {
        assert!(decode(&bytes, 2).is_none(), "{name}");
    }
    let filled = [&HALF_BOTH[..scan], &[0xFF, 0xFF], &HALF_BOTH[scan..]].concat();
    assert!(decode(&filled, 2).is_some(), "fill bytes before a marker");
    assert!(decode(&[HALF_BOTH, b"trailer"].concat(), 2).is_some(), "bytes after the end");
}

/// What this decoder leaves alone comes whole.
#[test]
fn other_files_are_decoded_whole() {
    let cmyk = include_bytes!("../../../testdata/cmyk.jpg");
    let png = crate::fixtures::png(&smooth(40, 24));
    for bytes in [PROGRESSIVE, cmyk, &png] {
        let (picture, frame) = decode_bytes_reduced(bytes, &DecodeLimits::default(), 0.1).unwrap();
        assert_eq!(*picture.pixels, whole(bytes));
        assert_eq!(frame, (picture.pixels.width(), picture.pixels.height()));
    }
    // As does what is wanted nearly whole; the scale is rounded up.
    let file = jpeg(&smooth(64, 48));
    let table =
        [(0.01, 8), (0.125, 8), (0.126, 16), (0.25, 16), (0.5, 32), (0.875, 56), (0.9, 64), (3.0, 64)];
    for (scale, width) in table {
        let (picture, frame) = decode_bytes_reduced(&file, &DecodeLimits::default(), scale).unwrap();
        assert_eq!((picture.pixels.width(), frame), (width, (64, 48)), "{scale}");
    }
    let small = DecodeLimits { pixels_max: 64 * 48 - 1, ..DecodeLimits::default() };
    assert!(decode_bytes_reduced(&file, &small, 0.2).is_err());
}

/// A slope shows where it lies: half a pixel of the input is a level and a half.
#[test]
fn reduced_pictures_lie_where_the_whole_ones_lie() {
    let mut slope = Image::filled(157, 101, [0; 3]);
    for (number, pixel) in slope.pixels_mut().chunks_exact_mut(3).enumerate() {
        let (x, y) = (number % 157, number / 157);
        *pixel.as_mut_array::<3>().unwrap() = [(x * 255 / 157) as u8, (y * 255 / 101) as u8, 90];
    }
    let drawn = |picture: &crate::Picture, frame: (u32, u32)| {
        let source = Source { image: &picture.pixels, covers: picture.covers, annotations: &[], frame };
        let mut out = Image::filled(40, 40, [0; 3]);
        let mut rng = rand::SeedableRng::seed_from_u64(1);
        render(&[source], &AugmentSpec::none(), (40, 40), &mut rng, Output::Bytes(out.pixels_mut()));
        out
    };
    for orientation in 1..=8 {
        let bytes = with_orientation(&jpeg(&slope), orientation);
        let limits = DecodeLimits::default();
        let (full, frame) = decode_bytes_reduced(&bytes, &limits, 1.0).unwrap();
        let expected = drawn(&full, frame);
        for eighths in 3..=7 {
            let (reduced, same) = decode_bytes_reduced(&bytes, &limits, eighths as f32 / 8.0).unwrap();
            assert_eq!(same, frame);
            assert!(reduced.pixels.width() < full.pixels.width());
            let found = drawn(&reduced, frame);
            let differences = found.pixels().iter().zip(expected.pixels()).map(|(a, b)| a.abs_diff(*b));
            let (most, sum) = differences.fold((0, 0), |(most, sum), d| (d.max(most), sum + u32::from(d)));
            let mean = f64::from(sum) / found.pixels().len() as f64;
            assert!(most <= 4 && mean < 0.4, "orientation {orientation}, {eighths}/8: {most}, {mean}");
        }
    }
}
