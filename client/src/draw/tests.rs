use detection::BBox;

use super::*;

fn found(class: u32, score: f32, [x1, y1, x2, y2]: [f32; 4]) -> Detection {
    Detection { class, score, bbox: BBox { x1, y1, x2, y2 } }
}

fn names() -> Vec<String> {
    ["lorry", "größe", "猫"].map(String::from).to_vec()
}

/// Pixels between black and `background` in brightness, or beyond it: letters with their soft edges.
fn ink(image: &Image, [left, top, right, bottom]: [u32; 4], background: [u8; 3]) -> usize {
    let pixels = (top..bottom).flat_map(|y| (left..right).map(move |x| (x, y)));
    pixels.filter(|&(x, y)| image.pixel(x, y) != background).count()
}

#[test]
fn an_outline_lies_on_the_edge_of_its_box_and_nothing_inside_changes() {
    let image = Image::filled(500, 100, [0; 3]);
    let image = draw(&image, &[found(0, 0.5, [20.0, 40.0, 120.0, 90.0])], &names());
    assert_eq!((image.width(), image.height()), (500, 100));
    let colour = colour(0);
    for (x, y) in [(20, 40), (119, 40), (20, 89), (119, 89), (70, 41), (21, 60), (118, 60)] {
        assert_eq!(image.pixel(x, y), colour, "{x} {y}");
    }
    for (x, y) in [(70, 65), (25, 45), (114, 84), (450, 65)] {
        assert_eq!(image.pixel(x, y), [0; 3], "{x} {y}");
    }
    // The label: 16 rows above the box.
    assert_eq!(image.pixel(21, 25), colour);
    assert!(ink(&image, [20, 24, 80, 38], colour) > 200);
}

/// Whatever the boxes, at whatever size: no panic, and nothing outside the picture to write to.
#[test]
fn any_box_on_any_picture_is_drawn_as_far_as_it_fits() {
    let values = [-1e30, -5.0, 3.4, 250.0, f32::NAN, f32::INFINITY];
    for (width, height) in [(1, 1), (8, 300), (300, 8), (256, 256), (5000, 40)] {
        let image = Image::filled(width, height, [90; 3]);
        let corners = values.into_iter().flat_map(|x1| values.map(|y1| [x1, y1]));
        let boxes = corners.flat_map(|[x1, y1]| [[x1, y1, x1 + 1.0, y1 + 40.0], [x1, y1, 1e30, 20.0]]);
        let all: Vec<Detection> = boxes.map(|bbox| found(7, 0.1, bbox)).collect();
        draw(&image, &all, &names());
    }
}

#[test]
fn small_pictures_are_enlarged_with_what_is_on_them() {
    let mut image = Image::filled(120, 90, [0; 3]);
    image.pixels_mut()[..3].copy_from_slice(&[7, 8, 9]);
    let image = draw(&image, &[found(1, 0.5, [40.0, 40.0, 80.0, 80.0])], &names());
    assert_eq!((image.width(), image.height()), (480, 360));
    assert_eq!([image.pixel(0, 0), image.pixel(3, 3), image.pixel(4, 0)], [[7, 8, 9], [7, 8, 9], [0; 3]]);
    assert_eq!([image.pixel(160, 160), image.pixel(319, 319)], [colour(1); 2]);
}

#[test]
fn labels_avoid_each_other_and_stay_in_the_picture() {
    let style = Style::of(256);
    let size = (256, 256);
    let frame = Rect { left: 240, top: 2, right: 255, bottom: 60 };
    let first = style.place("lorry 0.90", &frame, size, |_| false);
    assert!(first.left >= 0 && first.right <= 256);
    assert_eq!(first.top, 60, "there is no room above");
    let second = style.place("lorry 0.80", &frame, size, |place| place.overlaps(&first));
    assert!(!second.overlaps(&first));
    assert_eq!(second.top, 2);
    // Wider than the picture: its beginning is shown.
    let long = style.place(&"x".repeat(100), &frame, size, |_| false);
    assert_eq!(long.left, 0);
}

#[test]
fn letters_grow_with_the_picture() {
    let heights: Vec<i64> = [96, 256, 640, 1000, 1280, 2000, 4000, 12_000]
        .map(|side| {
            let style = Style::of(side);
            style.font.val() as i64 * style.scale
        })
        .to_vec();
    assert_eq!(heights, [16, 16, 16, 24, 32, 48, 96, 256]);
}

#[test]
fn colours_of_the_first_classes_differ_and_carry_readable_text() {
    let colours: Vec<[u8; 3]> = (0..12).map(colour).collect();
    for (number, one) in colours.iter().enumerate() {
        assert!(contrast(*one, DARK).max(contrast(*one, LIGHT)) > 4.5, "{one:?}");
        for other in &colours[..number] {
            let distance: i32 =
                one.iter().zip(other).map(|(a, b)| (i32::from(*a) - i32::from(*b)).abs()).sum();
            assert!(distance > 60, "{one:?} {other:?}");
        }
    }
}

#[test]
fn letters_the_font_lacks_leave_a_mark() {
    let first_letter = |class| {
        let image = Image::filled(500, 100, [0; 3]);
        let image = draw(&image, &[found(class, 0.5, [20.0, 40.0, 120.0, 90.0])], &names());
        ink(&image, [22, 24, 32, 38], colour(class))
    };
    assert!(first_letter(2) > 20);
    assert!(first_letter(9) > 20, "an unknown class has a question mark");
}
