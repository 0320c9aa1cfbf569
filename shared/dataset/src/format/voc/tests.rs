use super::*;
use crate::fixtures::{Tree, counted, names, sample, troubles};
use crate::open::OpenOptions;
use crate::sample::Annotation as Labelled;

fn object(name: &str, corners: [&str; 4]) -> String {
    let [xmin, ymin, xmax, ymax] = corners;
    format!(
        "<object><name>{name}</name><bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax>\
         <ymax>{ymax}</ymax></bndbox></object>"
    )
}

fn annotation(content: &str) -> String {
    format!("<?xml version=\"1.0\"?>\n<annotation>\n{content}</annotation>\n")
}

fn cat() -> String {
    annotation(&object("cat", ["2", "3", "10", "12"]))
}

#[track_caller]
fn check(content: &str, expected: &[Labelled]) {
    let dataset = Tree::new().image("a.png", 40, 30).file("a.xml", annotation(content)).open();
    assert_eq!(dataset.samples[0].annotations, expected);
    assert_eq!(dataset.problems, []);
}

#[test]
fn corners_count_from_one_and_belong_to_the_box() {
    check(&object("cat", ["1", "1", "40", "30"]), &[counted(0, [0.0, 0.0, 40.0, 30.0])]);
    check(&object("cat", ["5", "6", "6", "7"]), &[counted(0, [4.0, 5.0, 6.0, 7.0])]);
    check(&object("cat", [" 2.5 ", "3.0", "10.25", "1e1"]), &[counted(0, [1.5, 2.0, 10.25, 10.0])]);
    check("", &[]);
}

#[test]
fn difficult_objects_are_ignored() {
    let with = |field: &str| object("cat", ["1", "1", "9", "9"]).replace("<name>", &format!("{field}<name>"));
    let expected = |ignore| [Labelled { class: 0, bbox: [0.0, 0.0, 9.0, 9.0], ignore }];
    for (field, ignore) in [
        ("<difficult>1</difficult>", true),
        ("<difficult>True</difficult>", true),
        ("<difficult>0</difficult>", false),
        ("<difficult/>", false),
        ("<truncated>1</truncated>", false),
    ] {
        check(&with(field), &expected(ignore));
    }
}

#[test]
fn parts_of_an_object_are_not_the_object() {
    let part = "<part><name>head</name><bndbox><xmin>7</xmin><ymin>7</ymin><xmax>8</xmax><ymax>8</ymax></bndbox></part>";
    let object = object("person", ["1", "1", "20", "20"]).replace("</object>", &format!("{part}</object>"));
    check(&object, &[counted(0, [0.0, 0.0, 20.0, 20.0])]);
}

#[test]
fn names_of_any_script_and_with_escapes() {
    let names_ = ["Straße", "猫", "R&amp;D", "&#x41;&lt;b&gt;", "<![CDATA[c & d]]>", "two words"];
    let content: String = names_.iter().map(|name| object(name, ["1", "1", "9", "9"])).collect();
    let tree = Tree::new()
        .image("Überwachung/Bild 1.png", 40, 30)
        .file("Überwachung/Bild 1.xml", annotation(&content));
    let dataset = tree.open();
    assert_eq!(dataset.classes, ["A<b>", "R&D", "Straße", "c & d", "two words", "猫"]);
    assert_eq!(dataset.problems, []);
}

#[test]
fn size_zero_or_wrong_gives_way_to_the_real_image() {
    for size in ["<size><width>0</width><height>0</height></size>", "<size/>", ""] {
        check(
            &format!("{size}{}", object("cat", ["1", "1", "40", "30"])),
            &[counted(0, [0.0, 0.0, 40.0, 30.0])],
        );
    }
}

fn standard() -> Tree {
    Tree::new()
        .image("JPEGImages/a.png", 16, 16)
        .image("JPEGImages/b.1.png", 16, 16)
        .image("JPEGImages/c d.png", 16, 16)
        .image("JPEGImages/plain.png", 16, 16)
        // Masks share the names of the photographs.
        .image("SegmentationClass/a.png", 16, 16)
        .file("Annotations/a.xml", cat())
        .file("Annotations/b.1.xml", annotation(&object("dog", ["1", "1", "9", "9"])))
        .file("Annotations/c d.xml", annotation(""))
        .file("ImageSets/Main/train.txt", "a\n\n")
        .file("ImageSets/Main/val.txt", "b.1\nc d\n")
        .file("ImageSets/Main/test.txt", "plain\r\nnowhere\r\n")
        .file("ImageSets/Main/cat_val.txt", "b.1 -1\nc d  1\n")
        .file("ImageSets/Segmentation/train.txt", "b.1\n")
        .file("ImageSets/Main/trainval.txt", "a.png\nb.1.xml\nc d\n")
}

#[test]
fn the_standard_folders_with_their_lists() {
    let tree = standard();
    let all = tree.open();
    assert_eq!(names(&all), ["a.png", "b.1.png", "c d.png", "plain.png"]);
    assert_eq!(all.problems, []);
    // Looked at without a find, and never looked at.
    assert!(sample(&all, "c d.png").labelled && sample(&all, "c d.png").annotations.is_empty());
    assert!(!sample(&all, "plain.png").labelled);

    let table: [(&str, &[&str]); 5] = [
        ("train", &["a.png"]),
        ("val", &["b.1.png", "c d.png"]),
        ("test", &["plain.png"]),
        ("trainval", &["a.png", "b.1.png", "c d.png"]),
        ("cat_val", &["b.1.png", "c d.png"]),
    ];
    for (split, expected) in table {
        let dataset = tree.open_split(split).unwrap();
        assert_eq!(names(&dataset), expected, "{split}");
        // The classes are those of the whole folder, so that splits agree.
        assert_eq!(dataset.classes, ["cat", "dog"], "{split}");
    }
    let test = tree.open_split("test").unwrap();
    assert_eq!(troubles(&test), [("listed-missing".to_owned(), "ImageSets/Main/test.txt".into(), Some(2))]);
    let error = tree.open_split("validation").unwrap_err().to_string();
    assert!(error.contains("no split \"validation\", found ImageSets/Main/cat_val.txt"), "{error}");
}

#[test]
fn a_plain_folder_with_xml_beside_each_image() {
    let tree = Tree::new()
        .image("train/a.png", 16, 16)
        .file("train/a.xml", cat())
        .image("test/a.png", 16, 16)
        .file("test/a.xml", annotation(""))
        .file("README.txt", "about");
    let dataset = tree.open();
    assert_eq!(sample(&dataset, "train/a.png").annotations.len(), 1);
    assert_eq!(sample(&dataset, "test/a.png").annotations.len(), 0);
    assert_eq!(names(&tree.open_split("test").unwrap()), ["a.png"]);
    assert!(tree.open_split("val").unwrap_err().to_string().contains("no list in ImageSets/Main"));
}

#[test]
fn an_image_renamed_or_gone() {
    let named = |name: &str| annotation(&format!("<filename>{name}</filename>"));
    let tree = Tree::new()
        .image("real.png", 16, 16)
        .file("export_0001.xml", named("real.png"))
        .file("lost.xml", named("lost.jpg"))
        .image("pair.png", 16, 16)
        .file("pair.xml", named("stale-name.png"));
    let dataset = tree.open();
    assert_eq!(names(&dataset), ["pair.png", "real.png"]);
    assert_eq!(troubles(&dataset), [("image-missing".to_owned(), "lost.xml".into(), None)]);
}

#[test]
fn bad_files_and_objects_are_listed_with_their_lines() {
    let tree = Tree::new()
        .image("a.png", 16, 16)
        .file(
            "a.xml",
            annotation(&format!(
                "{}\n{}\n{}\n{}\n",
                object("cat", ["1", "1", "9", "9"]),
                object("cat", ["one", "1", "9", "9"]),
                object("", ["1", "1", "9", "9"]),
                "<object><name>cat</name><polygon/></object>",
            )),
        )
        .image("b.png", 16, 16)
        .file("b.xml", &cat()[..60])
        .image("c.png", 16, 16)
        .file("c.xml", b"<annotation>\xff\xfe</annotation>")
        .image("d.png", 16, 16)
        .file("d.xml", "<other></other>")
        .image("e.png", 16, 16)
        .file("e.xml", "");
    let dataset = tree.open();
    assert_eq!(sample(&dataset, "a.png").annotations.len(), 1);
    // What cannot be read says nothing about its image.
    for name in ["b.png", "c.png", "d.png", "e.png"] {
        assert!(!sample(&dataset, name).labelled, "{name}");
    }
    let lines: Vec<String> = dataset.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "a.xml:4: entry left out: xmin is \"one\", expected a number",
            "a.xml:5: entry left out: object without a name",
            "a.xml:6: entry left out: object without xmin",
            "b.xml: label file left out: line 3: syntax error: tag not closed: `>` not found before end of input",
            "c.xml: label file left out: not UTF-8 text",
            "d.xml: label file left out: root is <other>, expected <annotation>",
            "e.xml: label file left out: ends in the middle, expected </annotation>",
        ]
    );
}

#[test]
fn a_class_list_keeps_classes_without_boxes() {
    let tree =
        Tree::new().image("a.png", 16, 16).file("a.xml", cat()).file("classes.txt", "\u{feff}zebra\ncat\r\n");
    let dataset = tree.open();
    assert_eq!(dataset.classes, ["zebra", "cat"]);
    assert_eq!(*dataset.samples[0].annotated_classes, [0, 1]);
}

#[test]
fn no_xml_makes_the_parser_panic() {
    let whole = annotation(&object("c&amp;t", ["1", "2", "9", "9"]));
    for end in 0..whole.len() {
        let _ = parse(&whole[..end]);
    }
    for broken in
        ["<", "<a", "</a>", "<annotation></object></annotation>", "&", "<annotation>&#xFFFFFF;</annotation>"]
    {
        assert!(parse(broken).is_err(), "{broken}");
    }
    // Deep nesting costs memory in proportion, no stack.
    assert!(parse(&format!("<annotation>{}", "<a>".repeat(100_000))).is_err());
}

#[test]
fn label_files_of_another_root_are_no_voc() {
    let tree = Tree::new().image("a.png", 16, 16).file("a.xml", "<annotations><image/></annotations>");
    assert!(tree.refused(&OpenOptions::default()).contains("no labels"));
}
