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

fn statistics_of(channels: usize) -> StatisticsLayout {
    let spec = |name: &str| TensorSpec { name: name.into(), shape: vec![channels], scope: Scope::Statistic };
    let specs = if channels == 0 { vec![] } else { vec![spec("n.mean"), spec("n.var")] };
    StatisticsLayout::new(&Layout::new(specs).unwrap()).unwrap()
}

fn version() -> impl Strategy<Value = (Canonical, Vec<f32>)> {
    let tensor = (1_usize..30, 0_u32..32, -60_i8..60);
    (
        prop::collection::vec(tensor, 0..6),
        prop::collection::vec((-4_000_000_i32..4_000_000, -4000_i32..8192), 0..5),
    )
        .prop_flat_map(|(tensors, channels)| {
            let (means, variances): (Vec<i32>, Vec<i32>) = channels.into_iter().unzip();
            let statistics = values(&statistics_of(means.len()), &[means, variances].concat());
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
        let layout = statistics_of(statistics.len() / 2);
        let bytes = encode_snapshot(&layout, &model, &statistics);
        let (decoded, same) = decode_snapshot(model.layout(), &layout, &bytes).unwrap();
        prop_assert_eq!(decoded.digest(), model.digest());
        prop_assert_eq!(decoded, model);
        prop_assert_eq!(same, statistics);
    }

    #[test]
    fn damage_is_decoded_or_refused(
        (model, statistics) in version(), at: prop::sample::Index, with in 1_u8..,
    ) {
        let layout = statistics_of(statistics.len() / 2);
        let bytes = encode_snapshot(&layout, &model, &statistics);
        let decode = |bytes: &[u8]| decode_snapshot(model.layout(), &layout, bytes);
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
        let _ = decode_snapshot(&layout, &statistics_of(1), &body);
        let mut bytes = vec![KIND, 43, 2];
        bytes.extend(body);
        let _ = decode_snapshot(&layout, &statistics_of(1), &seal(bytes));
    }
}

#[test]
fn the_size_follows_the_grid_that_values_are_on() {
    let layout = layout_of(&[1000, 4000]);
    let mut random = crate::random::Random::new(1);
    // About normal: a sum of twelve, a standard deviation of one in a range of four.
    let mut normal = || (0..12).map(|_| random.below(1000) as f32 / 1000.0).sum::<f32>() - 6.0;
    let values: Vec<f32> = (0..5000).map(|i| if i < 1000 { 0.5 } else { normal() }).collect();
    let model = Canonical::from_values(Arc::clone(&layout), &values).unwrap();
    let bytes = |model: &Canonical| encode_snapshot(&statistics_of(0), model, &[]).len();
    // The first tensor is constant; a step of the second one is 2^-18 of a standard deviation: 20 bits of entropy.
    let exact = bytes(&model);
    assert!((1000 / 8 + 4000 * 20 / 8..1000 / 8 + 4000 * 42 / 16).contains(&exact), "{exact}");
    let mut coarse = model.clone();
    let moves = |index: usize, tick: i32| (index as u32, ((tick + (1 << 9)) >> 10 << 10) - tick);
    coarse.move_at(
        &model.ticks().iter().enumerate().map(|(index, &tick)| moves(index, tick)).collect::<Vec<_>>(),
    );
    let coarse = bytes(&coarse);
    assert!((exact - 4000 * 10 / 8).abs_diff(coarse) < 30, "{exact} {coarse}");
}

#[test]
fn another_layout_is_refused() {
    let layout = layout_of(&[3]);
    let model = Canonical::from_values(Arc::clone(&layout), &[1.0, 2.0, 3.0]).unwrap();
    let bytes = encode_snapshot(&statistics_of(0), &model, &[]);
    let rule = |layout: &Arc<Layout>, channels| {
        decode_snapshot(layout, &statistics_of(channels), &bytes).unwrap_err().rule
    };
    let mismatch = |what, expected, found| Rule::Mismatch { what, expected, found };
    assert_eq!(rule(&layout_of(&[4]), 0), mismatch("number of values", 4, 3));
    assert_eq!(rule(&layout, 1), mismatch("number of statistics", 2, 0));
}
