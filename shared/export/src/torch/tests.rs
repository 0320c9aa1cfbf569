use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

const SMALL: &[u8] = include_bytes!("../../testdata/small.pth");
const LEGACY: &[u8] = include_bytes!("../../testdata/small_legacy.pth");
const NESTED: &[u8] = include_bytes!("../../testdata/nested.pth");

/// What `testdata/make_checkpoints.py` has written.
#[track_caller]
fn check(checkpoint: &Checkpoint) {
    let quarters = |ticks: &[i32]| ticks.iter().map(|&tick| tick as f32 / 4.0).collect::<Vec<_>>();
    let expected: [(&str, &[usize], Vec<f32>); 8] = [
        ("plain", &[3, 4], (0..12).map(|tick| tick as f32 / 4.0 - 1.0).collect()),
        ("transposed", &[4, 3], quarters(&[0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11])),
        ("tail", &[5], quarters(&[7, 8, 9, 10, 11])),
        ("scalar", &[], vec![2.5]),
        ("double", &[2], vec![0.1, -3.0]),
        ("half", &[2], vec![0.5, 65504.0]),
        ("brain", &[2], vec![1.0, -0.007_812_5]),
        ("parameter", &[2], vec![1.0, 1.0]),
    ];
    for (name, shape, values) in &expected {
        let found = &checkpoint.tensors[*name];
        assert_eq!((&found.shape[..], &found.values), (*shape, values), "{name}");
    }
    assert_eq!(checkpoint.tensors.len(), expected.len(), "the counter is left out");
}

#[test]
fn both_forms_and_a_nested_state_dict_are_read() {
    check(&read_zip(SMALL).unwrap());
    check(&read_legacy(LEGACY).unwrap());
    check(&read_zip(NESTED).unwrap());
}

#[test]
fn the_form_is_recognised_by_its_bytes() {
    for name in ["small.pth", "small_legacy.pth", "nested.pth"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
        check(&Checkpoint::read(&path).unwrap());
    }
}

/// A pickle that would call a function, build other objects or never end is refused, and nothing happens.
#[test]
fn instructions_that_do_not_describe_tensors_are_refused() {
    #[track_caller]
    fn check(pickle: &[u8], expected: &str) {
        let refused = Machine::run(pickle).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
    check(b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00trueio.", "0x69");
    check(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x81.", "0x81");
    check(b"\x80\x02]", "ends at byte 3");
    check(b"\x80\x02X\xff\xff\xff\xffabc", "ends at byte 7");
    check(b"\x80\x02h\x07.", "nothing remembered under 7");
    check(b"\x80\x02t.", "no mark");
    check(b"\x80\x02.", "empty stack");
    check(&[b"\x80\x02c".to_vec(), vec![b'm'; 300], b"\nname\n.".to_vec()].concat(), "very long name");
    let endless = [b"\x80\x02".to_vec(), vec![b']'; (1 << 20) + 1]].concat();
    check(&endless, "more than 1048576 values");
    // A known function with other arguments, and an unknown function, are opaque.
    let (machine, root, used) =
        Machine::run(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.rest").unwrap();
    assert_eq!((machine.node(root), used), (&Node::Opaque, 25));
    // Deep nesting is no deep recursion.
    let deep = [b"\x80\x02N".to_vec(), vec![0x85; 1 << 19], b".".to_vec()].concat();
    drop(Machine::run(&deep).unwrap());
}

#[test]
fn views_beyond_their_storage_are_refused() {
    let view = |offset: usize, shape: &[usize], strides: &[usize]| View {
        storage: "0".into(),
        element: Element::F32,
        offset,
        shape: shape.to_vec(),
        strides: strides.to_vec(),
    };
    let bytes = [0; 40];
    assert!(gather(&view(0, &[2, 5], &[5, 1]), &bytes, 10).is_some());
    assert!(gather(&view(1, &[2, 5], &[5, 1]), &bytes, 10).is_none());
    assert!(gather(&view(usize::MAX, &[2], &[1]), &bytes, 2).is_none());
    assert!(gather(&view(0, &[3], &[usize::MAX]), &bytes, 3).is_none());
    assert_eq!(gather(&view(99, &[0, 7], &[1, 1]), &bytes, 0), Some(vec![]));
}

proptest! {
    #[test]
    fn damaged_files_are_errors_not_panics(at in 0_usize..4096, byte: u8, cut in 0_usize..4096) {
        for bytes in [SMALL, LEGACY] {
            let mut damaged = bytes.to_vec();
            let at = at % damaged.len();
            damaged[at] = byte;
            let _ = read_zip(&damaged);
            let _ = read_legacy(&damaged);
            damaged.truncate(cut % bytes.len());
            prop_assert!(read_zip(&damaged).is_err());
            prop_assert!(read_legacy(&damaged).is_err());
        }
    }

    #[test]
    fn arbitrary_instructions_never_panic(pickle in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Machine::run(&pickle);
        let _ = read_legacy(&pickle);
    }
}
