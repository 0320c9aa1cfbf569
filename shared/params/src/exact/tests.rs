use std::sync::Arc;

use super::*;
use crate::{Canonical, Scope, TensorSpec};

fn model(values: &[f32]) -> Canonical {
    let spec = |name: &str, len| TensorSpec { name: name.into(), shape: vec![len], scope: Scope::Shared };
    let layout = Layout::new(vec![spec("a", 3), spec("b", values.len() - 3)]).unwrap();
    Canonical::from_values(Arc::new(layout), values).unwrap()
}

#[test]
fn sums_do_not_depend_on_order() {
    let model = model(&[1.0, -2.0, 0.5, 100.0, 0.0]);
    let contributions: Vec<(Vec<(u32, f32)>, u32)> =
        (0_u32..40).map(|i| (vec![(i % 5, 0.1 / (i + 1) as f32)], i % 7 + 1)).collect();
    let sum = |order: &mut dyn Iterator<Item = &(Vec<(u32, f32)>, u32)>| {
        let mut sum = Accumulator::new(model.layout().clone(), model.grid());
        for (entries, weight) in order {
            sum.add(entries, *weight).unwrap();
        }
        sum
    };
    assert_eq!(sum(&mut contributions.iter()), sum(&mut contributions.iter().rev()));
}

#[test]
fn a_single_contributor_is_its_own_mean() {
    let model = model(&[1.0, -2.0, 0.5, 100.0, 0.0]);
    let step = model.grid().step(0);
    let mut sum = Accumulator::new(model.layout().clone(), model.grid());
    sum.add(&[(1, (3.0 * step) as f32)], 17).unwrap();
    assert_eq!(sum.mean_subticks(0..5), [0, 3 << SUBTICK_BITS, 0, 0, 0]);
}

#[test]
fn a_mean_taken_from_the_end_is_the_mean_and_leaves_nothing() {
    let values: Vec<f32> = (0..300_000).map(|index| (index as f32 * 0.37).sin()).collect();
    let model = model(&values);
    let mut sum = Accumulator::new(model.layout().clone(), model.grid());
    let entries: Vec<(u32, f32)> = (0..).zip(values).collect();
    sum.add(&entries, 3).unwrap();
    let whole = sum.mean_subticks(0..entries.len());
    for first in (0..entries.len()).step_by(16_384).rev() {
        assert_eq!(sum.take_mean_subticks(first), whole[first..entries.len().min(first + 16_384)]);
        assert!(sum.sums.capacity() <= first + GIVEN_BACK);
    }
    assert_eq!(sum.sums.capacity(), 0);
}

#[test]
fn bad_contributions_leave_the_sum_untouched() {
    let model = model(&[1.0, -2.0, 0.5, 100.0, 0.0]);
    let mut sum = Accumulator::new(model.layout().clone(), model.grid());
    let before = sum.clone();
    for entries in [[(0, 1.0), (1, f32::NAN)], [(0, 1.0), (1, 1e30)], [(0, 1.0), (5, 1.0)]] {
        assert!(sum.add(&entries, 1).is_err());
        assert_eq!(sum, before);
    }
    assert!(sum.add(&[], u32::MAX).is_err());
}

#[test]
fn division_rounds_half_away_from_zero() {
    for (numerator, expected) in [(5, 3), (4, 2), (-5, -3), (-4, -2), (0, 0), (1, 1), (-1, -1)] {
        assert_eq!(rounded_div(numerator, 2), expected, "{numerator} / 2");
    }
}

#[test]
fn canonical_values_are_exact_and_digests_see_every_tick() {
    let values = [0.1, -2.0, 0.5, 100.0, 0.0];
    let mut model = model(&values);
    for (tensor, (found, value)) in model.values().iter().zip(values).enumerate() {
        let step = model.grid().step(usize::from(tensor >= 3));
        assert!((f64::from(*found) - f64::from(value)).abs() <= step / 2.0);
    }
    let again = Canonical::from_values(model.layout().clone(), &model.values()).unwrap();
    assert_eq!(again.digest(), model.digest());
    model.advance(&[0, 0, 1, 0, 0]);
    assert_ne!(again.digest(), model.digest());
}

/// Halves, their neighbours, whole numbers, zeros, up to the bound.
#[test]
fn rounding_is_that_of_the_standard_library() {
    for whole in [0.0, 1.0, 2.0, 3.0, 1e6, 8_388_607.0, SUBTICKS_MAX - 1.0, SUBTICKS_MAX] {
        for value in [whole, whole + 0.25, whole + 0.5, whole + 0.75] {
            for value in
                [value, value.next_up(), value.next_down(), -value, -value.next_up(), -value.next_down()]
            {
                assert_eq!(rounded(value), value.round() as i64, "{value}");
            }
        }
    }
}

/// Dense contributions in parts are the sparse ones, to the bit: whatever the cuts, the weight, the values.
#[test]
fn parts_add_up_to_the_same_sums() {
    let model = model(&[1.0, -2.0, 0.5, 100.0, 0.0]);
    let (layout, grid) = (model.layout().clone(), model.grid());
    let step = |index| grid.step(usize::from(index >= 3)) as f32;
    let mut values = vec![[0.0, -0.0, 0.1, 1e-9, -3.0]];
    for subticks in
        [0.5, 1.5, -0.5, -2.5, 0.499_999_97, 0.500_000_06, -7.0, 16_777_215.5, 1e9, SUBTICKS_MAX as f32]
    {
        values.push([0, 1, 2, 3, 4].map(|index| subticks / 256.0 * step(index)));
    }
    let empty = || Accumulator::new(layout.clone(), grid);
    for cuts in [&[][..], &[1], &[3], &[0, 2, 3, 5]] {
        for weight in [1, 7, 1 << 14, 1 << 16, (1 << 16) + 1] {
            let (mut dense, mut sparse) = (empty(), empty());
            for values in &values {
                let entries: Vec<_> = (0..).zip(values.iter().copied()).collect();
                sparse.add(&entries, weight).unwrap();
                for mut part in dense.open(weight, cuts).unwrap() {
                    for index in part.range() {
                        part.add(usize::from(index >= 3), index, &values[index..=index]).unwrap();
                    }
                }
            }
            assert_eq!(dense, sparse, "cuts {cuts:?}, weight {weight}");
        }
    }
    assert_eq!(empty().open(u32::MAX, &[]).map(|_| ()), empty().add(&[], u32::MAX));
}

#[test]
fn what_cannot_be_summed_is_found_in_any_place() {
    let model = model(&[1.0; 1000]);
    let scales = Scales::of(model.grid());
    for (position, value) in [(0, f32::NAN), (255, f32::INFINITY), (256, -1e30), (996, f32::MAX)] {
        let mut values = vec![0.25; 997];
        assert_eq!(scales.check(1, 3, &values), Ok(()));
        values[position] = value;
        let expected = Err(SumError::Value { index: 3 + position, value: value.to_string() });
        assert_eq!(scales.check(1, 3, &values), expected);
        let mut sum = Accumulator::new(model.layout().clone(), model.grid());
        assert_eq!(sum.open(1, &[]).unwrap()[0].add(1, 3, &values), expected);
    }
}
