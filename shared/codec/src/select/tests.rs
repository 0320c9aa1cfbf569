use params::{Scope, TensorSpec};
use proptest::prelude::*;

use super::*;

fn layout_of(lens: &[usize]) -> Layout {
    let spec = |(number, &len): (usize, &usize)| TensorSpec {
        name: format!("t{number}"),
        shape: vec![len],
        scope: Scope::Shared,
    };
    Layout::new(lens.iter().enumerate().map(spec).collect()).unwrap()
}

/// Indices by decreasing magnitude, then increasing index; zeros left out.
fn ranked(values: &[f32]) -> Vec<u32> {
    let mut indices: Vec<u32> =
        (0..values.len() as u32).filter(|&index| values[index as usize] != 0.0).collect();
    indices.sort_by(|&a, &b| values[b as usize].abs().total_cmp(&values[a as usize].abs()).then(a.cmp(&b)));
    indices
}

fn selected(layout: &Layout, values: &[f32], density: f32, floor: f32, score: Score) -> Vec<u32> {
    let (count, floors) = shares(layout, density, floor);
    let entries = select(layout, &mut { values }, count, floors, score).unwrap();
    assert!(entries.iter().all(|&(index, value)| value.to_bits() == values[index as usize].to_bits()));
    entries.iter().map(|entry| entry.0).collect()
}

/// One tensor, so that floors do not matter: exactly the first k of the ranking. Large enough for a sample, with few
/// distinct values so that many scores are equal.
#[test]
fn exactly_the_highest_of_many_equal_scores() {
    let len = 2 * SAMPLE_MIN + 7;
    let layout = layout_of(&[len]);
    for distinct in [3_u64, 1000, 1 << 22] {
        let value = |index: u64| {
            let mixed = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            (mixed % distinct) as f32 * if index.is_multiple_of(2) { 1e-3 } else { -1e-3 }
        };
        let values: Vec<f32> = (0..len as u64).map(value).collect();
        let ranking = ranked(&values);
        for density in [1e-5_f32, 0.01, 0.3, 1.0] {
            let count = (f64::from(density) * len as f64).round().max(1.0) as usize;
            let mut expected = ranking[..count.min(ranking.len())].to_vec();
            expected.sort_unstable();
            assert_eq!(
                selected(&layout, &values, density, 0.0, Score::Magnitude),
                expected,
                "{distinct} {density}"
            );
        }
    }
}

/// All that matters lies between the runs that are sampled.
#[test]
fn a_sample_that_misleads_costs_time_only() {
    let len = 2 * SAMPLE_MIN;
    let layout = layout_of(&[len]);
    let sampled = |index: usize| index % (SAMPLE_RUN * SAMPLE_RUNS) < SAMPLE_RUN;
    let values: Vec<f32> =
        (0..len).map(|index| if sampled(index) { 9.0 } else { 1.0 + index as f32 * 1e-6 }).collect();
    let mut expected = ranked(&values)[..6554].to_vec();
    expected.sort_unstable();
    assert_eq!(selected(&layout, &values, 0.1, 0.0, Score::Magnitude), expected);
}

#[test]
fn a_quiet_tensor_sends_its_floor_and_the_others_give_way() {
    let layout = layout_of(&[4, 8, 4]);
    let mut values = vec![0.0; 16];
    values[..4].copy_from_slice(&[1.0, 9.0, 8.0, 7.0]);
    values[4..12].copy_from_slice(&[1e-3, -4e-3, 2e-3, 0.0, 3e-3, 0.0, 0.0, 0.0]);
    values[12..].copy_from_slice(&[0.0, 0.0, 5.0, 0.0]);
    for (density, floor, expected) in [
        // 4 of 16: one for each tensor, the fourth by magnitude.
        (0.25, 0.0, vec![1, 2, 5, 14]),
        // Two of the eight at least.
        (0.25, 0.25, vec![1, 5, 8, 14]),
        // The floor of the last tensor is its only value.
        (0.5, 0.5, vec![1, 2, 3, 4, 5, 6, 8, 14]),
    ] {
        assert_eq!(
            selected(&layout, &values, density, floor, Score::Magnitude),
            expected,
            "{density} {floor}"
        );
    }
}

#[test]
fn relative_scores_give_tensors_of_any_scale_their_share() {
    let layout = layout_of(&[100, 100]);
    let values: Vec<f32> =
        (0..200).map(|i| ((i % 100) as f32 - 50.5) * if i < 100 { 1e-6 } else { 1e3 }).collect();
    let count = |indices: Vec<u32>| indices.iter().filter(|&&index| index < 100).count();
    assert_eq!(count(selected(&layout, &values, 0.1, 0.0, Score::Magnitude)), 1);
    assert_eq!(count(selected(&layout, &values, 0.1, 0.0, Score::Relative)), 10);
}

#[test]
fn nothing_to_send_sends_nothing() {
    let layout = layout_of(&[5, 5]);
    assert_eq!(selected(&layout, &[0.0; 10], 0.5, 0.1, Score::Relative), []);
    assert_eq!(selected(&Layout::new(vec![]).unwrap(), &[], 0.5, 0.1, Score::Magnitude), []);
}

/// Thousandths, since proptest's own floats trip over an assertion of theirs about once in a million draws.
fn thousandths(range: Range<i32>) -> impl Strategy<Value = f32> {
    range.prop_map(|n| n as f32 / 1000.0)
}

proptest! {
    #[test]
    fn counts_floors_and_ranks_hold(
        lens in prop::collection::vec(1_usize..50, 1..6),
        density in thousandths(10..1001),
        floor_of_density in thousandths(0..1001),
        raw in prop::collection::vec(prop_oneof![Just(0.0_f32), Just(1.0), thousandths(-4000..4000)], 300),
    ) {
        let layout = layout_of(&lens);
        let values = &raw[..layout.len()];
        let floor = floor_of_density * density;
        let sent = selected(&layout, values, density, floor, Score::Magnitude);
        let (count, floors) = shares(&layout, density, floor);
        let nonzero = values.iter().filter(|&&value| value != 0.0).count();
        prop_assert_eq!(sent.len(), count.min(nonzero));
        let magnitude = |index: u32| values[index as usize].abs();
        let mut unheld_least = f32::INFINITY;
        let mut unsent_most = 0.0_f32;
        for (tensor, floor) in layout.tensors().iter().zip(floors) {
            let within = |index: &&u32| tensor.range().contains(&(**index as usize));
            let mine: Vec<u32> = sent.iter().filter(within).copied().collect();
            let available = values[tensor.range()].iter().filter(|&&value| value != 0.0).count();
            prop_assert!(mine.len() >= floor.min(available));
            let unsent = tensor.range().map(|i| i as u32).filter(|index| !mine.contains(index)).map(magnitude);
            let unsent = unsent.fold(0.0, f32::max);
            let least = mine.iter().copied().map(magnitude).fold(f32::INFINITY, f32::min);
            prop_assert!(unsent <= least);
            unsent_most = unsent_most.max(unsent);
            // A tensor above its floor sends nothing that ranks below what another tensor keeps.
            if mine.len() > floor.min(available) {
                unheld_least = unheld_least.min(least);
            }
        }
        prop_assert!(unsent_most <= unheld_least);
    }
}
