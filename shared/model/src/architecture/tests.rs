use super::*;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("class {class}")).collect()
}

#[track_caller]
fn check(preset: &str, classes: usize, backbone: usize, neck: usize, head: usize) {
    let built = Architecture::with_classes(Preset::parse(preset).unwrap(), &names(classes)).unwrap();
    let [deep, rest, found_neck, found_head] =
        [Part::Deep, Part::Backbone, Part::Neck, Part::Head].map(|part| built.parameters_of(part));
    assert_eq!([deep + rest, found_neck, found_head], [backbone, neck, head], "{preset}");
    assert_eq!(built.parameters(), backbone + neck + head);
}

/// Counts of an independent layer-by-layer counter that reproduces the published counts of MobileNetV2, V3 and SSDLite.
#[test]
fn parameter_counts() {
    check("nano96", 4, 85_440, 3_104, 1_704);
    check("small256", 8, 480_320, 44_288, 10_636);
    check("small256", 3, 480_320, 44_288, 534_919 - 480_320 - 44_288);
    check("small256@320", 3, 480_320, 44_288, 10_311);
    // torchvision's 2,542,856 less the classifier (1,615,848) and the last convolution (56,448).
    check("v3small256", 8, 870_560, 40_704, 10_636);
    let medium = Architecture::with_classes(Preset::parse("medium320").unwrap(), &names(8)).unwrap();
    assert_eq!(medium.parameters(), 1_940_172);
    let medium = Architecture::with_classes(Preset::parse("medium320").unwrap(), &names(3)).unwrap();
    assert_eq!(medium.parameters(), 1_939_687);
}

#[test]
fn the_backbone_has_the_published_shape() {
    let medium = Architecture::with_classes(Preset::parse("medium320").unwrap(), &names(3)).unwrap();
    assert_eq!(medium.blocks.len(), 17);
    let taps: Vec<_> =
        medium.blocks.iter().enumerate().filter_map(|(i, b)| b.1.map(|tap| (i + 1, tap))).collect();
    assert_eq!(taps, [(6, 0), (13, 1), (17, 2)]);
    let shape = |name: &str| medium.layout.find(name).unwrap().spec.shape.clone();
    assert_eq!(shape("backbone.0.weight"), [3, 3, 3, 32]);
    assert_eq!(shape("backbone.1.depthwise.weight"), [3, 3, 32]);
    assert_eq!(shape("backbone.2.expand.weight"), [96, 16]);
    assert_eq!(shape("backbone.17.project.weight"), [320, 960]);
    assert!(medium.layout.find("backbone.1.expand.weight").is_none());
    let nano = Architecture::with_classes(Preset::parse("nano96").unwrap(), &names(3)).unwrap();
    assert_eq!(nano.blocks.len(), 13);
    assert!(nano.neck.bottom_up.is_empty());
}

#[test]
fn statistics_come_in_adjacent_pairs_and_only_the_class_layer_is_personal() {
    for entry in crate::preset::PRESETS {
        let built = Architecture::with_classes(Preset::parse(entry.name).unwrap(), &names(5)).unwrap();
        let statistics = built.layout.of_scope(Scope::Statistic);
        assert_eq!(statistics.tensors().len() % 2, 0);
        for pair in statistics.tensors().chunks_exact(2) {
            let base = pair[0].spec.name.strip_suffix(".mean").unwrap();
            assert_eq!(pair[1].spec.name, format!("{base}.var"));
        }
        let personal = built.layout.of_scope(Scope::Personal);
        let found: Vec<_> = personal.tensors().iter().map(|tensor| tensor.spec.name.as_str()).collect();
        assert_eq!(found, ["personal.head.class.weight", "personal.head.class.bias"]);
        // Shape and locations agree with what the loss expects.
        assert_eq!(built.grid.levels().len(), entry.shape.strides.len());
    }
}

#[test]
fn class_lists_that_make_no_sense_are_refused() {
    let preset = Preset::parse("nano96").unwrap();
    let twice = ["a", "b", "a"].map(String::from);
    for classes in [&[][..], &twice, &names(257)] {
        assert!(matches!(Architecture::with_classes(preset, classes), Err(ArchitectureError::Classes(_))));
    }
}

/// Digests of the layouts with three classes. Devices and coordinator agree by them, and stored models are read by them: a
/// layout that changes needs another name.
#[test]
fn layouts_are_as_they_were() {
    for (preset, expected) in [
        ("small256", "bdec5f8eb579cbb71b2686c966a4356534e137402ee26330c8bf3783597499c4"),
        ("nano96", "4a0c287f79484fbdd42a1f507c80447cd0f9febe22cc5aa39e72ac9779761938"),
        ("medium320", "6636601f22012a27135776d705d99ac9f1adb0b3676b7a22d2c63008fb8bfc55"),
        ("v3small256", "a953542fcb4adccf234b415fb9687a2606784dd996796e94ce6c143d9aa6db07"),
    ] {
        let built = Architecture::with_classes(Preset::parse(preset).unwrap(), &names(3)).unwrap();
        assert_eq!(built.layout().digest().to_string(), expected, "{preset}");
    }
}

#[test]
fn the_backbone_of_the_third_generation_has_the_published_shape() {
    let small = Architecture::with_classes(Preset::parse("v3small256").unwrap(), &names(3)).unwrap();
    assert_eq!(small.blocks.len(), 11);
    let taps: Vec<_> =
        small.blocks.iter().enumerate().filter_map(|(i, b)| b.1.map(|tap| (i + 1, tap))).collect();
    assert_eq!(taps, [(3, 0), (8, 1), (11, 2)]);
    let shape = |name: &str| small.layout.find(name).unwrap().spec.shape.clone();
    assert_eq!(shape("backbone.0.weight"), [3, 3, 3, 16]);
    assert_eq!(shape("backbone.1.squeeze.reduce.weight"), [8, 16]);
    assert_eq!(shape("backbone.2.expand.weight"), [72, 16]);
    assert_eq!(shape("backbone.5.depthwise.weight"), [5, 5, 240]);
    assert_eq!(shape("backbone.5.squeeze.restore.weight"), [240, 64]);
    assert_eq!(shape("backbone.5.squeeze.restore.bias"), [240]);
    assert_eq!(shape("backbone.11.project.weight"), [96, 576]);
    for absent in ["backbone.1.expand.weight", "backbone.2.squeeze.reduce.weight"] {
        assert!(small.layout.find(absent).is_none(), "{absent}");
    }
    // The weights of a squeeze-excite rest with those of the 1x1 convolutions beside it.
    let part = |name: &str| {
        small.parts[small.layout.tensors().iter().position(|tensor| tensor.spec.name == name).unwrap()]
    };
    assert_eq!(part("backbone.1.squeeze.reduce.weight"), Part::Backbone);
    assert_eq!(part("backbone.4.squeeze.reduce.weight"), Part::Deep);
    assert_eq!(part("backbone.4.squeeze.reduce.bias"), Part::Backbone);
}
