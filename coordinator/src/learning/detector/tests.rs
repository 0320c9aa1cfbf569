//! The smallest real detector on scenes drawn for the purpose.

use std::fs;
use std::sync::Arc;

use dataset::scenes::{World, scene_dataset};
use dataset::write_voc;
use params::Canonical;
use protocol::id::Version;

use super::*;

fn spec(classes: &[String]) -> ModelSpec {
    ModelSpec { preset: "nano96".to_owned(), classes: classes.to_vec() }
}

fn publish(initial: InitialModel) -> Published {
    let shared = Arc::new(initial.layout.of_scope(Scope::Shared));
    let model = Canonical::from_values(shared, &initial.shared).unwrap();
    let (layout, statistics) = (initial.layout, initial.statistics);
    Published {
        version: Version(0),
        layout,
        digest: model.digest(),
        model,
        statistics,
        optimiser: Vec::new(),
        residual: Vec::new(),
    }
}

/// A folder of scenes, and the names of their classes.
fn scenes() -> (tempfile::TempDir, Vec<String>) {
    let root = tempfile::tempdir().unwrap();
    let world = World { seed: 1, classes: 2, label_skew: 0.0, feature_shift: 0.0, concept_shift: 0.0 };
    let drawn = scene_dataset(&world, &Arc::new(world.site(0)), 0..3, (96, 96));
    write_voc(&root.path().join("voc"), &drawn, &[]).unwrap();
    (root, world.class_names())
}

#[test]
fn a_version_is_scored_on_the_folder() {
    let (root, classes) = scenes();
    let detector = Detector::open(Some(&root.path().join("voc")), None, None, 1).unwrap();
    detector.knows("nano96").unwrap();
    assert!(detector.knows("nano97").unwrap_err().contains("nano97"));
    let spec = spec(&classes);
    let published = publish(detector.initial(&spec, 7).unwrap());
    let score = detector.score(&spec, &published).unwrap();
    assert!((0.0..=1.0).contains(&score.ap50) && score.ap <= score.ap50, "{score:?}");
    assert_eq!(score.ap50_per_class.len(), classes.len());
    // A class that the folder does not have has no figure; the boxes of one that the run does not have do not count.
    let other = ModelSpec { classes: vec![classes[0].clone(), "zebra".to_owned()], ..spec };
    let published = publish(detector.initial(&other, 7).unwrap());
    assert_eq!(detector.score(&other, &published).unwrap().ap50_per_class[1], None);
}

#[test]
fn a_saved_version_is_a_start_without_personal_tensors() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("final.safetensors");
    let spec = spec(&["cat".to_owned(), "dog".to_owned()]);
    let saved = Detector::open(None, None, None, 1).unwrap();
    let first = saved.initial(&spec, 7).unwrap();
    saved.save(&path, &spec, &publish(first.clone())).unwrap();
    assert!(!String::from_utf8_lossy(&fs::read(&path).unwrap()).contains("personal."));

    let from_file = Detector::open(None, None, Some(&path), 1).unwrap();
    let second = from_file.initial(&spec, 8).unwrap();
    assert_eq!(second.shared.len(), first.shared.len());
    // Saved were the weights on their grid: 2^-20 of each tensor's range.
    assert!(first.shared.iter().zip(&second.shared).all(|(a, b)| (a - b).abs() <= 1e-5 * a.abs().max(1.0)));
    assert_eq!(second.statistics, first.statistics);
    let more = ModelSpec { classes: vec!["cat".into(), "dog".into(), "fox".into()], ..spec };
    let refused = from_file.initial(&more, 8).unwrap_err();
    assert!(refused.contains("head.class.") && refused.contains('2') && refused.contains('3'), "{refused}");
}

#[test]
fn what_cannot_be_used_is_named_before_anyone_waits() {
    let root = tempfile::tempdir().unwrap();
    let open = |data: Option<&Path>, init: Option<&Path>| {
        Detector::open(data, None, init, 1).map(drop).map_err(|error| error.to_string()).unwrap_err()
    };
    assert!(open(Some(root.path()), None).starts_with("evaluation data: "));
    let junk = root.path().join("junk.pth");
    fs::write(&junk, b"junk").unwrap();
    assert!(open(None, Some(&junk)).starts_with("start weights: "));
}
