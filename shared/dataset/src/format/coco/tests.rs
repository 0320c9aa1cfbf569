use crate::fixtures::{Tree, counted, names, sample, troubles};
use crate::open::OpenOptions;
use crate::sample::Annotation;

/// A COCO file from its three lists.
fn coco(images: &str, annotations: &str, categories: &str) -> String {
    format!(
        "{{\"info\": {{}},\n\"images\": [{images}],\n\"annotations\": [{annotations}],\n\"categories\": [{categories}]}}"
    )
}

const IMAGE: &str = r#"{"id": 7, "file_name": "a.png", "width": 40, "height": 30}"#;

/// The annotations of one image of 40x30 pixels.
#[track_caller]
fn check(annotations: &str, expected: &[Annotation]) {
    let file = coco(
        IMAGE,
        annotations,
        r#"{"id": 90, "name": "tree"}, {"id": 3, "name": "car", "supercategory": "x"}"#,
    );
    let dataset = Tree::new().image("a.png", 40, 30).file("labels.json", file).open();
    assert_eq!(dataset.classes, ["tree", "car"]);
    assert_eq!(dataset.samples[0].annotations, expected);
    assert!(dataset.samples[0].labelled);
    assert_eq!(*dataset.samples[0].annotated_classes, [0, 1]);
    assert_eq!(dataset.problems, []);
}

#[test]
fn boxes_are_left_top_width_height_and_category_ids_have_holes() {
    check(
        r#"{"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 5, 20, 15]}"#,
        &[counted(1, [10.0, 5.0, 30.0, 20.0])],
    );
    check(
        r#"{"id": 1, "image_id": 7, "category_id": 90, "bbox": [0.5, 1.25, 2.5, 3], "area": 7.5, "score": null}"#,
        &[counted(0, [0.5, 1.25, 3.0, 4.25])],
    );
    check("", &[]);
}

#[test]
fn crowds_are_ignored_whether_number_or_truth() {
    let crowd = |flag: &str| {
        format!(
            r#"{{"id": 1, "image_id": 7, "category_id": 3, "bbox": [0, 0, 8, 8], "iscrowd": {flag},
            "segmentation": {{"counts": [1, 2], "size": [30, 40]}}}}"#
        )
    };
    let expected = |ignore| [Annotation { class: 1, bbox: [0.0, 0.0, 8.0, 8.0], ignore }];
    for (flag, ignore) in [("1", true), ("true", true), ("0", false), ("false", false)] {
        check(&crowd(flag), &expected(ignore));
    }
}

#[test]
fn missing_images_and_wrong_ids_are_listed_with_their_lines() {
    let images = format!(
        "{IMAGE},\n{}",
        r#"{"id": 8, "file_name": "gone.png"},
        {"id": 7, "file_name": "a.png"},
        {"id": 9, "file_name": "a.png"},
        {"file_name": "no-id.png"}"#
    );
    let annotations = r#"
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 8, 8]},
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 1, 8, 8]},
        {"id": 2, "image_id": 8, "category_id": 1, "bbox": [0, 0, 8, 8]},
        {"id": 3, "image_id": 77, "category_id": 1, "bbox": [0, 0, 8, 8]},
        {"id": 4, "image_id": 7, "category_id": 5, "bbox": [0, 0, 8, 8]},
        {"id": 5, "image_id": 7, "category_id": 1, "bbox": [0, 0, 8]},
        {"id": 6, "image_id": 7, "category_id": 1, "bbox": null},
        {"image_id": 7, "category_id": 1, "bbox": [2, 2, 8, 8]}"#;
    let categories = r#"{"id": 1, "name": "car"}, {"id": 1, "name": "bus"}"#;
    let tree = Tree::new().image("a.png", 40, 30).file("labels.json", coco(&images, annotations, categories));
    let dataset = tree.open();
    assert_eq!(dataset.classes, ["car"]);
    assert_eq!(
        dataset.samples[0].annotations,
        [counted(0, [0.0, 0.0, 8.0, 8.0]), counted(0, [2.0, 2.0, 10.0, 10.0])]
    );
    let found: Vec<(String, Option<usize>)> =
        troubles(&dataset).into_iter().map(|(kind, _, line)| (kind, line)).collect();
    let expected = [
        ("duplicate-id", Some(16)), // category
        ("image-missing", Some(3)),
        ("duplicate-id", Some(4)),     // image
        ("entry-unreadable", Some(6)), // image without an id
        ("duplicate-id", Some(9)),     // annotation
        ("unknown-id", Some(11)),      // image
        ("unknown-id", Some(12)),      // category
        ("entry-unreadable", Some(13)),
        ("entry-unreadable", Some(14)),
        ("image-repeated", None),
    ];
    assert_eq!(found, expected.map(|(kind, line)| (kind.to_owned(), line)));
}

#[test]
fn file_names_may_have_folders_of_other_machines() {
    let images = r#"{"id": 1, "file_name": "val/a.png"}, {"id": 2, "file_name": "C:\\data\\val\\b.PNG"},
        {"id": 3, "file_name": "../../../etc/passwd"}, {"id": "four", "file_name": "train/a.png"}"#;
    let file = coco(
        images,
        r#"{"image_id": "four", "category_id": 0, "bbox": [0, 0, 9, 9]}"#,
        r#"{"id": 0, "name": "x"}"#,
    );
    let tree = Tree::new()
        .image("images/train/a.png", 16, 16)
        .image("images/val/a.png", 16, 16)
        .image("images/val/b.png", 16, 16)
        .file("annotations/instances.json", file);
    let dataset = tree.open();
    assert_eq!(names(&dataset), ["a.png", "a.png", "b.png"]);
    assert_eq!(sample(&dataset, "train/a.png").annotations.len(), 1);
    assert_eq!(sample(&dataset, "val/a.png").annotations.len(), 0);
    assert_eq!(
        troubles(&dataset),
        [("image-missing".to_owned(), "annotations/instances.json".into(), Some(3))]
    );

    let ambiguous = coco(r#"{"id": 1, "file_name": "a.png"}"#, "", r#"{"id": 0, "name": "x"}"#);
    let tree = Tree::new().image("one/a.png", 16, 16).image("two/a.png", 16, 16).file("x.json", ambiguous);
    assert_eq!(troubles(&tree.open())[0].0, "image-ambiguous");
}

#[test]
fn one_file_for_each_split() {
    let file = |id: usize, name: &str, category: &str| {
        coco(
            &format!(r#"{{"id": {id}, "file_name": "{name}"}}"#),
            &format!(r#"{{"id": 1, "image_id": {id}, "category_id": 1, "bbox": [0, 0, 9, 9]}}"#),
            category,
        )
    };
    let tree = Tree::new()
        .image("train/a.png", 16, 16)
        .file("train/_annotations.coco.json", file(1, "a.png", r#"{"id": 1, "name": "cat"}"#))
        .image("valid/a.png", 16, 16)
        .file("valid/_annotations.coco.json", file(1, "a.png", r#"{"id": 1, "name": "dog"}"#))
        .image("other/c.png", 16, 16);
    let all = tree.open();
    assert_eq!(all.classes, ["cat", "dog"]);
    assert_eq!(sample(&all, "valid/a.png").annotations[0].class, 1);
    // An image that no file lists was never looked at.
    let unlisted = sample(&all, "other/c.png");
    assert!(!unlisted.labelled && unlisted.annotated_classes.is_empty());
    for (split, count) in [("train", 1), ("val", 1), ("valid", 1), ("trainval", 2)] {
        assert_eq!(tree.open_split(split).unwrap().samples.len(), count, "{split}");
    }
    let error = tree.open_split("test").unwrap_err().to_string();
    assert!(error.contains("no split \"test\", found train/_annotations.coco.json"), "{error}");

    let twice = Tree::new()
        .image("a.png", 16, 16)
        .file("instances_train2017.json", file(1, "a.png", r#"{"id": 1, "name": "cat"}"#))
        .file("person_keypoints_train2017.json", file(1, "a.png", r#"{"id": 1, "name": "cat"}"#));
    assert!(twice.refused(&OpenOptions::default()).contains("both label a.png"));
}

#[test]
fn a_damaged_file_is_named_with_the_place() {
    let whole = coco(IMAGE, "", r#"{"id": 1, "name": "car"}"#);
    let cut = &whole[..whole.len() - 9];
    let tree = Tree::new().image("a.png", 16, 16).file("labels.json", cut);
    let message = tree.refused(&OpenOptions::default());
    assert!(message.starts_with("labels.json: not a COCO file: EOF while parsing"), "{message}");
    assert!(message.contains("line 4"), "{message}");
    // Other json files are no labels: a list, another schema, no json at all.
    for other in ["[1, 2]", r#"{"images": [], "shapes": []}"#, "garbage", ""] {
        let tree = Tree::new().image("a.png", 16, 16).file("other.json", other);
        assert!(tree.refused(&OpenOptions::default()).contains("no labels"), "{other}");
    }
}

#[test]
fn equal_class_names_are_one_class() {
    let categories = r#"{"id": 1, "name": "car"}, {"id": 2, "name": "car"}"#;
    let annotations = r#"{"id": 1, "image_id": 7, "category_id": 2, "bbox": [0, 0, 9, 9]}"#;
    let dataset =
        Tree::new().image("a.png", 40, 30).file("x.json", coco(IMAGE, annotations, categories)).open();
    assert_eq!(dataset.classes, ["car"]);
    assert_eq!(dataset.samples[0].annotations[0].class, 0);
}
