//! How fast images become network input, on one core. Prints `figure NAME VALUE UNIT` lines. With `--test`, or when run
//! by `cargo test`, each case runs once and nothing is measured.

#![expect(clippy::print_stdout, reason = "figures are the output")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use dataset::augment::{AugmentSpec, Output, Source, render};
use dataset::decode::{DecodeLimits, decode_bytes, decode_bytes_reduced};
use dataset::scenes::{World, scene};
use dataset::{Annotation, Image};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const INPUT: (u32, u32) = (256, 256);

fn main() {
    // Only `cargo bench` passes `--bench`.
    let given = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let tiny = given("--test") || !given("--bench");
    let world = World { seed: 7, classes: 6, label_skew: 0.5, feature_shift: 0.5, concept_shift: 0.0 };
    let site = world.site(0);
    let photos: Vec<(Image, Vec<Annotation>)> = (0..4).map(|index| scene(&site, index, (640, 480))).collect();
    let sources: Vec<Source<'_>> =
        photos.iter().map(|(image, annotations)| Source::whole(image, annotations)).collect();

    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut pixels = vec![0.0_f32; INPUT.0 as usize * INPUT.1 as usize * 3];
    let cases = [
        ("render_letterbox_256_from_640x480", AugmentSpec::none(), 1),
        ("render_augmented_256_from_640x480", AugmentSpec::default(), 1),
        ("render_mosaic_256_from_640x480", AugmentSpec::default(), 4),
    ];
    for (name, spec, count) in cases {
        figure(name, "images/s", tiny, |turn| {
            let first = turn % sources.len();
            let chosen = if count == 4 { &sources[..] } else { &sources[first..=first] };
            black_box(render(chosen, &spec, INPUT, &mut rng, Output::Normalised(&mut pixels)));
        });
    }

    let jpegs: Vec<Vec<u8>> = photos.iter().map(|(image, _)| jpeg(image)).collect();
    let limits = DecodeLimits::default();
    figure("decode_jpeg_640x480", "images/s", tiny, |turn| {
        let decoded = decode_bytes(&jpegs[turn % jpegs.len()], &limits);
        assert!(black_box(decoded).is_ok());
    });
    // For training on inputs of 96 and 256 pixels.
    let zoom = AugmentSpec::default().zoom_max();
    for input in [96, 256] {
        figure(&format!("decode_jpeg_640x480_for_{input}"), "images/s", tiny, |turn| {
            let scale = zoom * input as f32 / 640.0;
            let decoded = decode_bytes_reduced(&jpegs[turn % jpegs.len()], &limits, scale);
            assert!(black_box(decoded).is_ok_and(|(picture, _)| picture.pixels.width() < 640));
        });
    }

    figure("scenes_160x120", "scenes/s", tiny, |turn| {
        black_box(scene(&site, turn as u64, (160, 120)));
    });
}

/// Times `call` for a second and a half and prints calls per second by the median call, which other work on the machine
/// hardly moves. A tiny run only makes one call.
fn figure(name: &str, unit: &str, tiny: bool, mut call: impl FnMut(usize)) {
    call(0);
    if tiny {
        return;
    }
    let begin = Instant::now();
    let mut times = Vec::new();
    while begin.elapsed() < Duration::from_millis(1500) {
        let start = Instant::now();
        call(times.len());
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_unstable_by(f64::total_cmp);
    println!("figure {name} {:.0} {unit}", 1.0 / times[times.len() / 2]);
}

fn jpeg(image: &Image) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, 92);
    let result = encoder.write_image(image.pixels(), image.width(), image.height(), ExtendedColorType::Rgb8);
    assert!(result.is_ok(), "a picture can be encoded");
    bytes
}
