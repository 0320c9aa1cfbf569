use params::{Scope, TensorSpec};
use proptest::prelude::*;

use super::*;

fn layout_of(lens: &[usize]) -> Arc<Layout> {
    let spec = |(number, &len): (usize, &usize)| TensorSpec {
        name: format!("t{number}"),
        shape: vec![len],
        scope: Scope::Shared,
    };
    Arc::new(Layout::new(lens.iter().enumerate().map(spec).collect()).unwrap())
}

/// Thousandths, since proptest's own floats trip over an assertion of theirs about once in a million draws.
fn thousandths(range: std::ops::Range<i32>) -> impl Strategy<Value = f32> {
    range.prop_map(|n| n as f32 / 1000.0)
}

fn version() -> impl Strategy<Value = (Canonical, Vec<f32>)> {
    let tensor = (1_usize..30, 0_u32..32, -60_i8..60);
    (prop::collection::vec(tensor, 0..6), prop::collection::vec(thousandths(-10_000..10_000), 0..9))
        .prop_flat_map(|(tensors, statistics)| {
            let layout = layout_of(&tensors.iter().map(|tensor| tensor.0).collect::<Vec<_>>());
            let exponents = tensors.iter().map(|tensor| tensor.2).collect();
            let grid = Grid::from_exponents(&layout, exponents).unwrap();
            prop::collection::vec(any::<i32>(), layout.len()).prop_map(move |mut ticks| {
                for (tensor, &(_, shift, _)) in layout.tensors().iter().zip(&tensors) {
                    ticks[tensor.range()].iter_mut().for_each(|tick| *tick >>= shift);
                }
                let model = Canonical::from_ticks(Arc::clone(&layout), grid.clone(), ticks).unwrap();
                (model, statistics.clone())
            })
        })
}

proptest! {
    #[test]
    fn a_version_comes_back_bit_for_bit((model, statistics) in version()) {
        let bytes = encode_snapshot(&model, &statistics);
        let (decoded, same) = decode_snapshot(model.layout(), statistics.len(), &bytes).unwrap();
        prop_assert_eq!(decoded.digest(), model.digest());
        prop_assert_eq!(decoded, model);
        prop_assert_eq!(same, statistics);
    }

    #[test]
    fn damage_is_decoded_or_refused(
        (model, statistics) in version(), at: prop::sample::Index, with in 1_u8..,
    ) {
        let bytes = encode_snapshot(&model, &statistics);
        let decode = |bytes: &[u8]| decode_snapshot(model.layout(), statistics.len(), bytes);
        let mut changed = bytes.clone();
        let at = at.index(bytes.len());
        changed[at] ^= with;
        prop_assert!(decode(&changed).is_err());
        prop_assert!(decode(&bytes[..at]).is_err());
        // With the checksum made right, only what is still a version is accepted.
        changed.truncate(changed.len() - 4);
        if let Ok((other, statistics)) = decode(&seal(changed)) {
            prop_assert_eq!(other.ticks().len(), model.ticks().len());
            prop_assert!(statistics.iter().all(|value| value.is_finite()));
        }
        let mut longer = bytes[..bytes.len() - 4].to_vec();
        longer.push(0);
        prop_assert!(decode(&seal(longer)).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(body: Vec<u8>) {
        let layout = layout_of(&[3, 40]);
        let _ = decode_snapshot(&layout, 2, &body);
        let mut bytes = vec![KIND, 43, 2];
        bytes.extend(body);
        let _ = decode_snapshot(&layout, 2, &seal(bytes));
    }
}

#[test]
fn the_size_is_that_of_the_widths() {
    let layout = layout_of(&[1000, 1000]);
    let values: Vec<f32> = (0..2000).map(|i| if i < 1000 { 0.5 } else { i as f32 / 2000.0 }).collect();
    let model = Canonical::from_values(Arc::clone(&layout), &values).unwrap();
    // The first tensor is constant, the second spans half of 2^20 ticks.
    assert_eq!(encode_snapshot(&model, &[]).len(), 4 + 2 * 6 + 1000 * 19 / 8 + 4);
}

#[test]
fn another_layout_is_refused() {
    let layout = layout_of(&[3]);
    let bytes = encode_snapshot(&Canonical::from_values(Arc::clone(&layout), &[1.0, 2.0, 3.0]).unwrap(), &[]);
    let rule =
        |layout: &Arc<Layout>, statistics| decode_snapshot(layout, statistics, &bytes).unwrap_err().rule;
    let mismatch = |what, expected, found| Rule::Mismatch { what, expected, found };
    assert_eq!(rule(&layout_of(&[4]), 0), mismatch("number of values", 4, 3));
    assert_eq!(rule(&layout, 2), mismatch("number of statistics", 2, 0));
}
