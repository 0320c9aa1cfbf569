use super::*;
use crate::tests::support::{initial, layout};

pub(crate) fn version() -> Published {
    let shared = Arc::new(layout().of_scope(params::Scope::Shared));
    let model = Canonical::from_values(shared, &initial().shared).unwrap();
    let statistics = initial().statistics;
    let optimiser = vec![0.5, -0.5, f32::MIN_POSITIVE, 1e30, 0.0, -0.0];
    Published {
        version: Version(7),
        layout: Arc::new(layout()),
        digest: model.digest(),
        model,
        statistics,
        optimiser,
        residual: vec![1, -2, i32::MAX, 0, i32::MIN, 7],
    }
}

#[test]
fn versions_survive_as_bytes() {
    let version = version();
    let again = Published::decode(&version.encode()).unwrap();
    assert_eq!(again, version);
    assert_eq!(again.encode(), version.encode());
}

#[test]
fn damaged_versions_are_refused() {
    let bytes = version().encode();
    let head = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let check = |bytes: &[u8], expected: &str| {
        let found = Published::decode(bytes).unwrap_err().to_string();
        assert!(found.contains(expected), "found {found}, expected {expected}");
    };
    check(b"", "no end of line");
    check(b"{}\n", "head of a stored version cannot be read");
    check(&bytes[..bytes.len() - 1], "bytes after its head");
    check(&[bytes.as_slice(), &[0]].concat(), "bytes after its head");
    let mut damaged = bytes.clone();
    damaged[head] ^= 1;
    check(&damaged, "weights of stored version 7 have digest");
    let huge = String::from_utf8(bytes[..head].to_vec())
        .unwrap()
        .replace("\"statistics\":4", "\"statistics\":18446744073709551615");
    check(huge.as_bytes(), "bytes after its head");
}

proptest::proptest! {
    #[test]
    fn flipped_bytes_never_panic(at in proptest::prelude::any::<proptest::sample::Index>(), byte: u8) {
        let mut bytes = version().encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        _ = Published::decode(&bytes);
    }
}
