use super::names::{Names, parse_yaml};
use super::*;
use crate::fixtures::{Tree, counted, names, sample, troubles};
use crate::open::OpenOptions;

/// One image of 40x20 pixels with these label lines and two classes.
fn folder(lines: &str) -> Tree {
    Tree::new()
        .image("images/a.png", 40, 20)
        .image("images/other.png", 40, 20)
        .file("labels/other.txt", "0 .5 .5 1 1")
        .file("labels/a.txt", lines)
        .file("classes.txt", "cat\ndog\n")
}

#[track_caller]
fn check(lines: &str, expected: &[(u32, [f32; 4])]) {
    let dataset = folder(lines).open();
    let found = &sample(&dataset, "a.png").annotations;
    let expected: Vec<_> = expected.iter().map(|(class, bbox)| counted(*class, *bbox)).collect();
    assert_eq!(*found, expected, "{lines:?}");
    assert_eq!(dataset.problems, []);
}

#[test]
fn centres_and_sizes_are_normalised() {
    check("1 0.5 0.5 0.5 0.5\n", &[(1, [10.0, 5.0, 30.0, 15.0])]);
    check(
        "0 0.25 0.5 0.5 1\r\n\r\n1\t7.5e-1 .75 0.5 0.5",
        &[(0, [0.0, 0.0, 20.0, 20.0]), (1, [20.0, 10.0, 40.0, 20.0])],
    );
}

#[test]
fn longer_lines_are_scores_segments_and_key_points() {
    check("1 0.5 0.5 0.5 0.5 0.93", &[(1, [10.0, 5.0, 30.0, 15.0])]);
    check("0 0.25 0.25 0.75 0.25 0.5 1.0", &[(0, [10.0, 5.0, 30.0, 20.0])]);
    check("0 0 0 1 0 1 1 0 1", &[(0, [0.0, 0.0, 40.0, 20.0])]);
    // A box and two key points with visibility are 11 columns, which could be five corners of a segment; one and three
    // cannot.
    check("0 0.5 0.5 0.5 0.5 0.1 0.1 2", &[(0, [10.0, 5.0, 30.0, 15.0])]);
    let pose = "0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.2 0.2 2";
    let tree = Tree::new()
        .image("a.png", 40, 20)
        .file("a.txt", pose)
        .file("data.yaml", "kpt_shape: [2, 3]\nnames: [cat]\n");
    assert_eq!(tree.open().samples[0].annotations, [counted(0, [10.0, 5.0, 30.0, 15.0])]);
}

#[test]
fn an_empty_file_is_a_negative_and_a_missing_file_says_nothing() {
    for empty in ["", "\n \n"] {
        let dataset = folder(empty).open();
        let negative = sample(&dataset, "a.png");
        assert!(negative.labelled && negative.annotations.is_empty());
        assert_eq!(*negative.annotated_classes, [0, 1]);
    }
    let tree = folder("").image("images/b.png", 40, 20);
    let dataset = tree.open();
    let unlabelled = sample(&dataset, "b.png");
    assert!(!unlabelled.labelled && unlabelled.annotated_classes.is_empty());
    // A folder of negatives only is still a labelled folder.
    let negatives = Tree::new().image("a.png", 16, 16).file("a.txt", "").file("classes.txt", "cat");
    assert!(negatives.open().samples[0].labelled);
}

#[test]
fn bad_lines_are_listed_and_a_wholly_bad_file_is_no_negative() {
    let lines = "0 .5 .5 1 1\ncat .5 .5 1 1\n0 .5 .5 1\n2 .5 .5 1 1\n0 .5 x 1 1\n0 20 10 20 10\n-1 .5 .5 1 1\n0.5 0 0 1 1\n0 nan .5 1 1\n0 .5 .5 0 .5";
    let dataset = folder(lines).open();
    assert_eq!(sample(&dataset, "a.png").annotations.len(), 1);
    let found: Vec<(String, Option<usize>)> =
        troubles(&dataset).into_iter().map(|(kind, _, line)| (kind, line)).collect();
    let entry = |line| ("entry-unreadable".to_owned(), Some(line));
    let mut expected: Vec<_> = (2..=9).map(entry).collect();
    expected.push(("box-empty".to_owned(), Some(10)));
    assert_eq!(found, expected);
    let message = dataset.problems[2].to_string();
    assert_eq!(message, "labels/a.txt:4: entry left out: class 2, but the list has 2 names");

    let dataset = folder("0 100 50 20 20\n").open();
    assert!(!sample(&dataset, "a.png").labelled);
}

#[test]
fn labels_without_an_image_are_listed() {
    let dataset = folder("").file("labels/gone.txt", "0 .5 .5 1 1").file("labels/classes.txt", "cat").open();
    assert_eq!(troubles(&dataset), [("image-missing".to_owned(), "labels/gone.txt".into(), None)]);
}

#[test]
fn class_names_are_needed() {
    let tree = Tree::new().image("a.png", 16, 16).file("a.txt", "0 .5 .5 1 1");
    let message = tree.refused(&OpenOptions::default());
    assert!(
        message.ends_with("YOLO labels without class names, expected data.yaml with names or classes.txt")
    );
    let tree = tree.file("obj.names", "cat\n");
    assert_eq!(tree.open().classes, ["cat"]);
    let tree = tree.file("data.yaml", "names: {}\n");
    assert_eq!(tree.refused(&OpenOptions::default()), "data.yaml: names: the list is empty");
}

#[test]
fn splits_from_the_yaml_or_from_the_folders() {
    let tree = |yaml: &str| {
        Tree::new()
            .image("images/train/a.png", 16, 16)
            .file("labels/train/a.txt", "0 .5 .5 1 1")
            .image("images/val/b.png", 16, 16)
            .file("labels/val/b.txt", "")
            .image("images/extra/c.png", 16, 16)
            .file("lists/held.txt", "./images/extra/c.png\n./images/val/b.png\n")
            .file("data.yaml", yaml)
    };
    let plain = tree("names: [cat]\n");
    let declared = tree(
        "path: ../somewhere\ntrain: images/train\nval: ../images/val # here\ntest: lists/held.txt\nnames: [cat]\n",
    );
    for tree in [&plain, &declared] {
        assert_eq!(names(&tree.open_split("train").unwrap()), ["a.png"]);
        assert_eq!(names(&tree.open_split("val").unwrap()), ["b.png"]);
        assert_eq!(names(&tree.open_split("trainval").unwrap()), ["a.png", "b.png"]);
    }
    assert_eq!(names(&declared.open_split("test").unwrap()), ["b.png", "c.png"]);
    assert!(plain.open_split("test").unwrap_err().to_string().contains("no split \"test\", found none"));
}

#[test]
fn the_last_images_folder_is_mirrored() {
    let tree = Tree::new()
        .image("images/set/images/a.png", 16, 16)
        .file("images/set/labels/a.txt", "0 .5 .5 1 1")
        .file("labels/set/images/a.txt", "")
        .file("classes.txt", "cat");
    assert_eq!(tree.open().samples[0].annotations.len(), 1);
}

#[track_caller]
fn check_names(yaml: &str, expected: &[&str]) {
    let names = parse_yaml(yaml).unwrap().unwrap();
    assert_eq!(names.classes, expected, "{yaml}");
}

#[test]
fn names_in_every_yaml_style() {
    check_names("names: [cat, dog]", &["cat", "dog"]);
    check_names("nc: 2\nnames: ['cat', \"do,g\"]  # two\n", &["cat", "do,g"]);
    check_names("names: ['it''s', don't]", &["it's", "don't"]);
    check_names("names: [\n  cat,\n  dog,\n]\nnc: 2", &["cat", "dog"]);
    check_names("names:\n- cat\n- 'dog'\n\n# end\nnc: 2", &["cat", "dog"]);
    check_names(
        "names:\n  - traffic light\n  - dog # big\nroboflow:\n  version: 1",
        &["traffic light", "dog"],
    );
    check_names("names:\n  0: cat\n  1: dog\ntrain: x", &["cat", "dog"]);
    check_names("names:\n  1: dog\n  0: \"cat\"", &["cat", "dog"]);
    check_names("names: {0: cat, 1: 'dog: big'}", &["cat", "dog: big"]);
    check_names("names:\n  0: a\n  2: c", &["a", "class 1", "c"]);
    check_names("\u{feff}names: [猫]", &["猫"]);
}

#[test]
fn yaml_that_is_not_understood_is_refused_or_no_class_list() {
    for bad in [
        "names: [cat",
        "names: cat",
        "names: [",
        "names: {cat}",
        "names:\n  x: cat",
        "names:\n  99999999: cat",
        "names: []",
    ] {
        match parse_yaml(bad) {
            Err(reason) => assert!(reason.starts_with("names: "), "{reason}"),
            Ok(found) => panic!("{bad:?} gave {found:?}"),
        }
    }
    assert_eq!(parse_yaml("train: x\nother:\n  names: [a]\n"), Ok(None));
    assert_eq!(parse_yaml(""), Ok(None::<Names>));
}

#[test]
fn no_text_makes_the_parsers_panic() {
    let whole = "names: {0: 'cat', 1: \"dö g\"}\nval: x # y\nnames:\n- é\n";
    for (start, _) in whole.char_indices() {
        for end in (start..=whole.len()).filter(|&end| whole.is_char_boundary(end)) {
            let _ = parse_yaml(&whole[start..end]);
            let _ = parse_line(&whole[start..end], false);
        }
    }
    for line in ["0 inf 0 0 0", "1e999 0 0 0 0", "0 1e308 1e308 1 1", "99999999999999999999 0 0 1 1"] {
        assert!(parse_line(line, false).is_err(), "{line}");
    }
}
