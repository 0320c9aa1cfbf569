use std::path::Path;

use image::ExtendedColorType;

use super::*;
use crate::fixtures::{Tree, jpeg, png, png_of, with_orientation};

/// Four flat squares of 8x8 pixels, so that JPEG keeps their colours.
fn squares(colours: [[u8; 3]; 4]) -> Image {
    let mut image = Image::filled(16, 16, [0; 3]);
    for (number, pixel) in image.pixels_mut().chunks_exact_mut(3).enumerate() {
        let (x, y) = (number % 16, number / 16);
        pixel.copy_from_slice(&colours[x / 8 + 2 * (y / 8)]);
    }
    image
}

fn middles(image: &Image) -> [[u8; 3]; 4] {
    [(4, 4), (12, 4), (4, 12), (12, 12)].map(|(x, y)| image.pixel(x, y))
}

fn decode(bytes: &[u8]) -> Result<Image, DecodeReason> {
    decode_bytes(bytes, &DecodeLimits::default())
}

#[track_caller]
fn near(found: [[u8; 3]; 4], expected: [[u8; 3]; 4], tolerance: u8) {
    for (a, b) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!(a.abs_diff(*b) <= tolerance, "found {found:?}, expected {expected:?}");
    }
}

#[test]
fn png_is_exact_and_jpeg_is_close() {
    let colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 190, 30]];
    let image = squares(colours);
    assert_eq!(decode(&png(&image)).unwrap(), image);
    near(middles(&decode(&jpeg(&image)).unwrap()), colours, 4);
}

/// For each EXIF orientation: the corners where the white and the grey block of the stored top row are seen.
#[test]
fn exif_orientation_is_applied() {
    let mut stored = Image::filled(24, 16, [0; 3]);
    for (number, pixel) in stored.pixels_mut().chunks_exact_mut(3).enumerate() {
        match (number % 24, number / 24) {
            (0..8, 0..8) => pixel.fill(220),
            (16..24, 0..8) => pixel.fill(110),
            _ => {}
        }
    }
    let (left, right, top, bottom) = (0, 1, 0, 1);
    let table = [
        (1, (left, top), (right, top)),
        (2, (right, top), (left, top)),
        (3, (right, bottom), (left, bottom)),
        (4, (left, bottom), (right, bottom)),
        (5, (left, top), (left, bottom)),
        (6, (right, top), (right, bottom)),
        (7, (right, bottom), (right, top)),
        (8, (left, bottom), (left, top)),
        (0, (left, top), (right, top)),
        (9, (left, top), (right, top)),
    ];
    for (orientation, white, grey) in table {
        let bytes = with_orientation(&jpeg(&stored), orientation);
        let image = decode(&bytes).unwrap();
        let turned = (5..=8).contains(&orientation);
        let size = if turned { (16, 24) } else { (24, 16) };
        assert_eq!((image.width(), image.height()), size, "orientation {orientation}");
        for ((right, bottom), level) in [(white, 220_u8), (grey, 110)] {
            let pixel = image.pixel(4 + right * (size.0 - 8), 4 + bottom * (size.1 - 8));
            assert!(pixel[0].abs_diff(level) < 6, "orientation {orientation}: {pixel:?}, expected {level}");
        }
        let tree = Tree::new().file("a.jpg", &bytes);
        let header = read_header(&tree.path().join("a.jpg"), &DecodeLimits::default()).unwrap();
        assert_eq!(header, Header { width: size.0, height: size.1, turned });
    }
}

#[test]
fn every_colour_layout_becomes_rgb() {
    let levels = [10_u8, 90, 160, 250];
    let at = |x: usize, y: usize| x / 8 + 2 * (y / 8);
    let image = |pixel: &dyn Fn(usize) -> Vec<u8>| -> Vec<u8> {
        (0..256).flat_map(|number| pixel(at(number % 16, number / 16))).collect()
    };
    let grey: [[u8; 3]; 4] = levels.map(|level| [level; 3]);

    let l8 = png_of(&image(&|i| vec![levels[i]]), 16, 16, ExtendedColorType::L8);
    assert_eq!(middles(&decode(&l8).unwrap()), grey);

    // Sixteen bits: the encoder takes native byte order.
    let wide = |level: u8| (u16::from(level) * 257).to_ne_bytes().to_vec();
    let l16 = png_of(&image(&|i| wide(levels[i])), 16, 16, ExtendedColorType::L16);
    assert_eq!(middles(&decode(&l16).unwrap()), grey);
    let rgb16 = png_of(&image(&|i| wide(levels[i]).repeat(3)), 16, 16, ExtendedColorType::Rgb16);
    assert_eq!(middles(&decode(&rgb16).unwrap()), grey);

    // Opaque, half and fully transparent over the padding grey; the colour under alpha 0 does not show.
    let alphas = [255_u8, 128, 0, 255];
    let rgba = png_of(&image(&|i| vec![levels[i], 0, 0, alphas[i]]), 16, 16, ExtendedColorType::Rgba8);
    assert_eq!(middles(&decode(&rgba).unwrap()), [[10, 0, 0], [102, 57, 57], [PAD; 3], [250, 0, 0]]);
    let la = png_of(&image(&|i| vec![levels[i], alphas[i]]), 16, 16, ExtendedColorType::La8);
    assert_eq!(middles(&decode(&la).unwrap()), [[10; 3], [102; 3], [PAD; 3], [250; 3]]);

    let mut bytes = Vec::new();
    let luma = image(&|i| vec![levels[i]]);
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
    image::ImageEncoder::write_image(encoder, &luma, 16, 16, ExtendedColorType::L8).unwrap();
    near(middles(&decode(&bytes).unwrap()), grey, 3);
}

/// Values from `testdata/cmyk.py`, that is from Pillow.
#[test]
fn cmyk_and_ycck_match_pillow() {
    let cmyk = include_bytes!("../../testdata/cmyk.jpg");
    near(middles(&decode(cmyk).unwrap()), [[255, 0, 0], [0, 255, 0], [119, 130, 135], [255, 255, 255]], 2);
    let mut ycck = cmyk.to_vec();
    let adobe = ycck.windows(5).position(|window| window == b"Adobe").unwrap();
    ycck[adobe + 11] = 2;
    near(middles(&decode(&ycck).unwrap()), [[179, 0, 227], [255, 207, 30], [0, 85, 0], [0, 134, 0]], 2);
}

#[test]
fn damaged_files_are_refused_with_the_reason() {
    let mut noisy = Image::filled(64, 48, [0; 3]);
    for (number, value) in noisy.pixels_mut().iter_mut().enumerate() {
        *value = (number * number % 251) as u8;
    }
    let (jpeg, one) = (jpeg(&noisy), png(&Image::filled(1, 1, [9; 3])));
    let png = png(&noisy);
    let cut = |bytes: &[u8], part: usize| bytes[..bytes.len() * part / 100].to_vec();
    let mut zeroed = png.clone();
    let middle = zeroed.len() / 2;
    zeroed[middle..middle + 8].fill(0);
    let table: [(&str, Vec<u8>, &str); 12] = [
        ("empty", Vec::new(), "is empty"),
        ("text", b"<html>404</html>".to_vec(), "is not an image"),
        ("webp", b"RIFF\0\0\0\0WEBPVP8 ".to_vec(), "is a WebP image"),
        ("gif", b"GIF89a".to_vec(), "is a GIF image"),
        ("jpeg start only", jpeg[..3].to_vec(), "damaged JPEG"),
        ("jpeg header cut", cut(&jpeg, 5), "damaged JPEG"),
        ("jpeg half", cut(&jpeg, 50), "damaged JPEG"),
        ("jpeg nearly whole", cut(&jpeg, 97), "damaged JPEG"),
        ("png half", cut(&png, 50), "damaged PNG"),
        ("png signature only", png[..8].to_vec(), "damaged PNG"),
        ("png bad checksum", zeroed, "damaged PNG"),
        ("1x1", one, "1x1 pixels, at least 8x8 needed"),
    ];
    for (name, bytes, expected) in table {
        let reason = decode(&bytes).unwrap_err().to_string();
        assert!(reason.contains(expected), "{name}: {reason}");
        assert!(!reason.contains('\n'), "{name}: {reason}");
    }
    // Bytes after the end of the picture, as phones append them, are no damage.
    assert!(decode(&[jpeg.as_slice(), b"trailer"].concat()).is_ok());
}

/// No prefix and no single changed byte makes the decoder panic.
#[test]
fn arbitrary_damage_never_panics() {
    let image = squares([[255, 0, 0], [0, 200, 0], [0, 0, 255], [30, 60, 90]]);
    for whole in [jpeg(&image), png(&image), include_bytes!("../../testdata/cmyk.jpg").to_vec()] {
        for end in 0..whole.len() {
            let _ = decode(&whole[..end]);
        }
        for at in 0..whole.len() {
            for change in [0x00, 0xFF, 0x01] {
                let mut bytes = whole.clone();
                bytes[at] ^= change;
                let _ =
                    decode_bytes(&bytes, &DecodeLimits { pixels_max: 1 << 16, ..DecodeLimits::default() });
            }
        }
    }
}

#[test]
fn limits_hold_before_decoding() {
    // The header of a picture of 60,000 x 60,000 pixels and nothing else: decoding would fail differently.
    let mut png = png(&Image::filled(16, 16, [0; 3]));
    png[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
    png[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
    // The checksum of the header chunk, over its name and its 13 bytes.
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let reason = decode(&png).unwrap_err();
    assert!(
        matches!(reason, DecodeReason::TooLarge { width: 60_000, height: 60_000, limit: 64_000_000 }),
        "{reason}"
    );

    let small = DecodeLimits { pixels_max: 255, ..DecodeLimits::default() };
    let image = jpeg(&Image::filled(16, 16, [0; 3]));
    assert!(matches!(decode_bytes(&image, &small), Err(DecodeReason::TooLarge { .. })));

    let tree = Tree::new().file("a.jpg", &image);
    let file = tree.path().join("a.jpg");
    let short = DecodeLimits { file_bytes_max: 10, ..DecodeLimits::default() };
    let error = decode_file(&file, &short).unwrap_err();
    assert!(matches!(error.reason, DecodeReason::FileTooLarge { limit: 10, .. }));
    assert!(error.to_string().starts_with(&file.display().to_string()), "{error}");
    assert!(matches!(
        read_header(Path::new("/nowhere/at/all.jpg"), &small),
        Err(DecodeError { reason: DecodeReason::Unreadable(_), .. })
    ));
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
    })
}
