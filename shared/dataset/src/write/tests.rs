use std::sync::Arc;

use super::*;
use crate::fixtures::{Tree, names, sample};
use crate::open::{OpenOptions, open};
use crate::scenes::{World, scene_dataset};

fn reopen(dir: &Path, split: Option<&str>) -> Dataset {
    open(dir, &OpenOptions { split: split.map(str::to_owned), ..OpenOptions::default() }).unwrap()
}

#[test]
fn scenes_survive_writing_and_reading() {
    let world = World { seed: 1, classes: 6, label_skew: 0.0, feature_shift: 0.0, concept_shift: 0.0 };
    let dataset = scene_dataset(&world, &Arc::new(world.site(0)), 0..6, (64, 48));
    let tree = Tree::new();
    let dir = tree.path().join("new/folder");
    write_voc(&dir, &dataset, &[("train", &[0, 1, 2, 3]), ("test", &[4, 5, 77])]).unwrap();
    let back = reopen(&dir, None);
    assert_eq!(back.classes, dataset.classes);
    assert_eq!(back.problems, []);
    for (a, b) in dataset.samples.iter().zip(&back.samples) {
        assert_eq!(a.annotations, b.annotations);
        assert_eq!(a.annotated_classes, b.annotated_classes);
        let (drawn, read) =
            (a.load(&DecodeLimits::default()).unwrap(), b.load(&DecodeLimits::default()).unwrap());
        let difference =
            drawn.pixels().iter().zip(read.pixels()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
        assert!(difference / (drawn.pixels().len() as u64) < 8, "{difference}");
    }
    assert_eq!(reopen(&dir, Some("train")).samples.len(), 4);
    assert_eq!(reopen(&dir, Some("test")).samples.len(), 2);
    assert!(matches!(write_voc(&dir, &dataset, &[]), Err(WriteError::NotEmpty { .. })));
}

#[test]
fn any_format_becomes_voc_with_fractions_negatives_and_unlabelled() {
    let source = Tree::new()
        .image("images/x/a.png", 30, 20)
        .file("labels/x/a.txt", "1 0.31 0.5 0.217 0.43\n")
        .image("images/y/A.jpg", 30, 20)
        .file("labels/y/A.txt", "")
        .image("images/Ünlabelled & <odd>.png", 30, 20)
        .file("classes.txt", "R&D\n<猫>\nnever");
    let dataset = source.open();
    let tree = Tree::new();
    write_voc(&tree.path().join("voc"), &dataset, &[("train", &[0, 1, 2])]).unwrap();
    let back = reopen(&tree.path().join("voc"), Some("train"));
    assert_eq!(back.problems, []);
    assert_eq!(back.classes, ["R&D", "<猫>", "never"]);
    // The names differ in case only, which some file systems do not tell apart.
    assert_eq!(names(&back).len(), 3);
    for original in &dataset.samples {
        let name = match original.path().and_then(Path::file_name).unwrap().to_str().unwrap() {
            "A.jpg" if names(&back).contains(&"A_2.jpg".to_owned()) => "A_2.jpg",
            "a.png" if names(&back).contains(&"a_2.png".to_owned()) => "a_2.png",
            name => name,
        };
        let written = sample(&back, name);
        assert_eq!(written.annotations, original.annotations, "{name}");
        assert_eq!(written.labelled, original.labelled, "{name}");
    }
    let crowd = Annotation { class: 0, bbox: [1.0, 2.0, 9.0, 9.0], ignore: true };
    let mut ignored = dataset.subset(&[0]);
    ignored.samples[0].annotations = vec![crowd];
    write_voc(&tree.path().join("crowd"), &ignored, &[]).unwrap();
    assert_eq!(reopen(&tree.path().join("crowd"), None).samples[0].annotations, [crowd]);
}
