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

#[test]
fn widths_round_to_eight_without_losing_a_tenth() {
    for (base, width, expected) in [
        (32.0, 0.35, 16),
        (96.0, 0.35, 32),
        (16.0, 0.35, 8),
        (24.0, 0.5, 16),
        (32.0, 1.0, 32),
        (160.0, 0.5, 80),
    ] {
        assert_eq!(scaled(base, width), expected, "{base} x {width}");
    }
}
