use super::*;
use crate::decode::DecodeLimits;
use crate::fixtures::{Tree, jpeg};
use crate::image::Image;

fn tree() -> Tree {
    let object = |name: &str, side: u32, difficult: u8| {
        format!(
            "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>1</xmin><ymin>1</ymin>\
             <xmax>{side}</xmax><ymax>{side}</ymax></bndbox></object>"
        )
    };
    let xml = |objects: &[String]| format!("<annotation>{}</annotation>", objects.concat());
    Tree::new()
        .image("a.png", 100, 50)
        .file("a.xml", xml(&[object("cat", 10, 0), object("cat", 20, 0), object("dog", 40, 1)]))
        .image("b.png", 100, 50)
        .file("b.xml", xml(&[object("dog", 50, 0)]))
        .image("c.png", 100, 50)
        .file("c.xml", xml(&[]))
        .image("d.png", 100, 50)
}

#[test]
fn counts_and_quantiles() {
    let report = check(&tree().open());
    assert_eq!((report.images, report.with_objects, report.negative, report.unlabelled), (4, 2, 1, 1));
    assert_eq!((report.boxes, report.ignored), (3, 1));
    let count = |name: &str, images, boxes| ClassCount { name: name.to_owned(), images, boxes };
    assert_eq!(report.classes, [count("cat", 1, 2), count("dog", 1, 1)]);
    let side = report.box_side.unwrap();
    assert_eq!((side.min, side.p50, side.max), (10.0, 20.0, 50.0));
    assert_eq!(report.box_fraction.unwrap().max, (2500.0_f32 / 5000.0).sqrt());
    assert_eq!(report.image_width.unwrap().min, 100.0);
    assert!(report.ok());
    assert!(report.to_string().ends_with("no problems\n"), "{report}");
}

#[test]
fn damage_behind_the_header_shows_after_verifying() {
    let mut noisy = Image::filled(64, 48, [0; 3]);
    for (number, value) in noisy.pixels_mut().iter_mut().enumerate() {
        *value = (number * number % 251) as u8;
    }
    let bytes = jpeg(&noisy);
    let tree = tree().file("e.jpg", &bytes[..bytes.len() / 2]).file("e.xml", "<annotation/>");
    let mut dataset = tree.open();
    assert!(check(&dataset).ok());
    dataset.verify(&DecodeLimits::default());
    let report = check(&dataset);
    assert!(!report.ok());
    assert_eq!((report.images, report.errors(), report.warnings()), (4, 1, 0));
    assert!(report.to_string().contains("e.jpg: image left out: damaged JPEG: "), "{report}");

    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["classes"][0]["name"], "cat");
    assert_eq!(json["box_side"]["p50"], 20.0);
    assert_eq!(json["problems"][0]["kind"], "image-unreadable");
    assert_eq!(json["problems"][0]["severity"], "error");
    assert_eq!(json["problems"][0]["line"], serde_json::Value::Null);
    assert!(json["problems"][0]["file"].as_str().unwrap().ends_with("e.jpg"));
}

#[test]
fn warnings_alone_pass_and_no_boxes_do_not() {
    let size = "<annotation><size><width>7</width><height>7</height></size></annotation>";
    let dataset = Tree::new().image("a.png", 16, 16).file("a.xml", size).open();
    let report = check(&dataset);
    assert_eq!((report.errors(), report.warnings()), (0, 1));
    assert!(!report.ok(), "nothing to learn");
    let report = check(&tree().image("f.png", 16, 16).file("f.xml", size).open());
    assert!(report.ok());
    assert!(
        report.to_string().contains("warning: f.xml: labels say the image is 7x7, it is 16x16"),
        "{report}"
    );
}

#[test]
fn quantiles_are_values_of_the_list() {
    assert_eq!(Quantiles::of(Vec::new()), None);
    let q = Quantiles::of((0..=100).rev().map(|v| v as f32).collect()).unwrap();
    assert_eq!((q.min, q.p05, q.p25, q.p50, q.p75, q.p95, q.max), (0.0, 5.0, 25.0, 50.0, 75.0, 95.0, 100.0));
    let one = Quantiles::of(vec![3.0]).unwrap();
    assert_eq!((one.min, one.p50, one.max), (3.0, 3.0, 3.0));
}
