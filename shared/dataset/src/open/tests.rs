use super::*;
use crate::fixtures::{Tree, counted, names, sample, troubles, with_orientation};
use crate::problem::Severity;

const XML: &str = "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>\
                   <ymax>9</ymax></bndbox></object></annotation>";
const COCO: &str = r#"{"images":[{"id":1,"file_name":"a.png"}],"annotations":[
    {"id":1,"image_id":1,"category_id":1,"bbox":[0,0,8,8]}],"categories":[{"id":1,"name":"cat"}]}"#;

#[track_caller]
fn check_refused(tree: &Tree, expected: &str) {
    let message = tree.refused(&OpenOptions::default());
    assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    assert!(message.starts_with(&tree.path().display().to_string()), "{message:?} should name the folder");
}

#[test]
fn a_folder_that_is_no_data_set_gets_one_clear_line() {
    check_refused(&Tree::new(), "the folder is empty");
    check_refused(&Tree::new().file("notes.txt", "x").file("b/c.xml", XML), "no image among 2 files");
    check_refused(&Tree::new().image("a.png", 16, 16), "1 images but no labels, expected a COCO json file");
    check_refused(&Tree::new().image("a.png", 16, 16).file("a.txt", "a caption"), "no labels");
    check_refused(&Tree::new().image("a.png", 16, 16).file(".hidden.xml", XML), "no labels");

    let missing = open(Path::new("/no/such/folder"), &OpenOptions::default()).unwrap_err();
    assert_eq!(missing.to_string(), "/no/such/folder: no such folder");
    let tree = Tree::new().image("a.png", 16, 16);
    let file = open(&tree.path().join("a.png"), &OpenOptions::default()).unwrap_err();
    assert!(matches!(file, OpenError::NotAFolder { .. }), "{file}");
}

#[test]
fn two_formats_are_ambiguous_until_one_is_chosen() {
    let tree = Tree::new().image("a.png", 16, 16).file("a.xml", XML).file("b.json", COCO);
    check_refused(&tree, "labels of two formats, COCO json (b.json) and VOC xml (a.xml)");
    for format in [Format::Coco, Format::Voc] {
        let options = OpenOptions { format: Some(format), ..OpenOptions::default() };
        assert_eq!(open(tree.path(), &options).unwrap().samples.len(), 1);
    }
    let options = OpenOptions { format: Some(Format::Yolo), ..OpenOptions::default() };
    assert!(tree.refused(&options).contains("no labels, expected YOLO txt"));
}

#[test]
fn each_format_is_recognised() {
    let voc = Tree::new().image("JPEGImages/a.png", 16, 16).file("Annotations/a.xml", XML);
    let coco = Tree::new().image("images/a.png", 16, 16).file("annotations/instances.json", COCO);
    let yolo = Tree::new()
        .image("images/a.png", 16, 16)
        .file("labels/a.txt", "0 0.5 0.5 1 1")
        .file("classes.txt", "cat")
        .file("package.json", "{\"name\": \"not labels\"}");
    for (tree, format) in [(&voc, Format::Voc), (&coco, Format::Coco), (&yolo, Format::Yolo)] {
        assert_eq!(detect(tree.path()).unwrap(), format);
        assert_eq!(tree.open().classes, ["cat"]);
    }
}

#[test]
fn given_classes_fix_the_order_and_refuse_others() {
    let xml = |name: &str| XML.replace("cat", name);
    let tree = Tree::new()
        .image("a.png", 16, 16)
        .file("a.xml", xml("dog"))
        .image("b.png", 16, 16)
        .file("b.xml", xml("cat"));
    assert_eq!(tree.open().classes, ["cat", "dog"]);

    let classes = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
    let wider = OpenOptions { classes: classes(&["bird", "dog", "cat"]), ..OpenOptions::default() };
    let dataset = open(tree.path(), &wider).unwrap();
    assert_eq!(dataset.classes, ["bird", "dog", "cat"]);
    assert_eq!(sample(&dataset, "a.png").annotations[0].class, 1);
    // Nobody looked for birds here.
    assert_eq!(*sample(&dataset, "a.png").annotated_classes, [1, 2]);

    let narrower = OpenOptions { classes: classes(&["cat", "bird"]), ..OpenOptions::default() };
    assert_eq!(tree.refused(&narrower), "a.xml: unknown class \"dog\", the classes are cat, bird");
    let lenient = OpenOptions { unknown_classes: UnknownClasses::LeaveOut, ..narrower };
    let dataset = open(tree.path(), &lenient).unwrap();
    assert!(sample(&dataset, "a.png").annotations.is_empty());
    assert_eq!(sample(&dataset, "b.png").annotations, [counted(0, [0.0, 0.0, 9.0, 9.0])]);
    assert_eq!(troubles(&dataset), [("unknown-class".to_owned(), "a.xml".into(), Some(1))]);
}

#[test]
fn damaged_and_huge_images_are_listed_and_left_out() {
    let tree = Tree::new()
        .image("good.png", 16, 16)
        .file("good.xml", XML)
        .file("empty.jpg", "")
        .file("empty.xml", XML)
        .image("tiny.png", 1, 1)
        .file("tiny.xml", XML)
        .image("huge.png", 200, 200)
        .file("huge.xml", XML)
        .file("photo.webp", "RIFF....WEBP");
    let limits = DecodeLimits { pixels_max: 30_000, ..DecodeLimits::default() };
    let dataset = open(tree.path(), &OpenOptions { limits, ..OpenOptions::default() }).unwrap();
    assert_eq!(names(&dataset), ["good.png"]);
    let lines: Vec<String> = dataset.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "empty.jpg: image left out: is empty, expected a JPEG or PNG image",
            "huge.png: image left out: 200x200 pixels, at most 30000 allowed",
            "tiny.png: image left out: 1x1 pixels, at least 8x8 needed",
            "photo.webp: image left out: is a WebP image, expected a JPEG or PNG image",
        ]
    );
    assert!(dataset.problems.iter().all(|p| p.trouble.severity() == Severity::Error));

    let none = Tree::new().file("a.jpg", "").file("a.xml", XML);
    check_refused(&none, "none of the 1 labelled images can be used, the first because of a.jpg");
}

#[test]
fn boxes_meet_the_edges_of_the_real_image() {
    let object = |xmin: &str, ymin: &str, xmax: &str, ymax: &str| {
        format!(
            "<object><name>cat</name><bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax>\
             <ymax>{ymax}</ymax></bndbox></object>\n"
        )
    };
    let xml = [
        "<annotation>\n".to_owned(),
        object("0", "0", "20", "10"), // 0-based by mistake: one pixel over, not worth mentioning
        object("11", "1", "30", "10"), // cut
        object("40", "1", "50", "10"), // outside
        object("5", "5", "4", "9"),   // no width
        object("nan", "1", "5", "5"), // no number
        object("7", "1", "7", "5"),   // one pixel wide
        object("2", "2", "6", "6"),   // kept once
        object("2", "2", "6", "6"),
        "</annotation>".to_owned(),
    ]
    .concat();
    let dataset = Tree::new().image("a.png", 20, 10).file("a.xml", xml).open();
    let expected = [
        counted(0, [0.0, 0.0, 20.0, 10.0]),
        counted(0, [10.0, 0.0, 20.0, 10.0]),
        counted(0, [6.0, 0.0, 7.0, 5.0]),
        counted(0, [1.0, 1.0, 6.0, 6.0]),
    ];
    assert_eq!(dataset.samples[0].annotations, expected);
    let kinds: Vec<(String, Option<usize>)> =
        troubles(&dataset).into_iter().map(|(k, _, line)| (k, line)).collect();
    let expected = [
        ("entry-unreadable", 6),
        ("box-cut", 3),
        ("box-outside", 4),
        ("box-empty", 5),
        ("box-tiny", 7),
        ("box-repeated", 9),
    ];
    assert_eq!(kinds, expected.map(|(kind, line)| (kind.to_owned(), Some(line))));
}

#[test]
fn a_stated_size_is_compared_with_the_picture_as_shown() {
    let xml = |width, height| {
        format!("<annotation><size><width>{width}</width><height>{height}</height></size></annotation>")
    };
    let plain = crate::fixtures::jpeg(&crate::image::Image::filled(32, 16, [50; 3]));
    let turned = with_orientation(&plain, 6);
    let table = [
        (&plain, (32, 16), None),
        (&plain, (0, 0), None),
        (&plain, (64, 32), Some("size-mismatch")),
        (&turned, (16, 32), None),
        (&turned, (32, 16), Some("rotation-doubt")),
    ];
    for (bytes, (width, height), expected) in table {
        let dataset = Tree::new().file("a.jpg", bytes).file("a.xml", xml(width, height)).open();
        let kinds: Vec<String> = troubles(&dataset).into_iter().map(|(kind, ..)| kind).collect();
        assert_eq!(kinds, expected.into_iter().collect::<Vec<_>>(), "stated {width}x{height}");
        let shown = if bytes == &turned { (16, 32) } else { (32, 16) };
        assert_eq!((dataset.samples[0].width, dataset.samples[0].height), shown);
    }
}

#[test]
fn the_list_of_problems_is_bounded() {
    let lines = "0 9 9 9 9\n".repeat(crate::PROBLEMS_MAX + 5);
    let tree = Tree::new()
        .image("a.png", 16, 16)
        .file("a.txt", format!("0 .5 .5 1 1\n{lines}"))
        .file("classes.txt", "x");
    let dataset = tree.open();
    assert_eq!(dataset.problems.len(), crate::PROBLEMS_MAX + 1);
    assert_eq!(dataset.problems.last().unwrap().trouble, crate::Trouble::More { more: 5 });
}
