//! Any bytes as an update: refused, or entries in order, within the layout, finite, and no more than allowed.
//!
//! The input is a message without its checksum, which no fuzzer would find.
#![no_main]

use codec::decode_update;
use libfuzzer_sys::fuzz_target;
use params::{Layout, Scope, TensorSpec};

fuzz_target!(|body: &[u8]| {
    let spec = |(number, &len): (usize, &usize)| TensorSpec {
        name: number.to_string(),
        shape: vec![len],
        scope: Scope::Shared,
    };
    let layout = Layout::new([4, 6].iter().enumerate().map(spec).collect()).expect("a layout");
    for entries_max in [5, 10] {
        if let Ok(entries) = decode_update(&layout, entries_max, &codec::sealed(body)) {
            assert!(entries.len() <= entries_max);
            assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
            assert!(entries.iter().all(|&(index, value)| index < 10 && value.is_finite()));
        }
    }
});
