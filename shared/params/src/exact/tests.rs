use std::sync::Arc;

use proptest::prelude::*;

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
        let capacities = [sum.low.capacity(), sum.middle.capacity(), sum.high.capacity()];
        assert!(capacities.iter().all(|&capacity| capacity <= first + GIVEN_BACK));
    }
    assert_eq!((sum.low.capacity(), sum.middle.capacity(), sum.high.capacity()), (0, 0, 0));
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

/// Up to the last sum of each width and beyond, in both directions.
#[test]
fn sums_are_exact_where_they_get_wider() {
    let model = model(&[0.5; 3 + TILE]);
    let (layout, grid) = (model.layout().clone(), model.grid());
    for sign in [1.0, -1.0] {
        let values = vec![value(grid, 1, sign * 8_388_607.0); TILE];
        let mut sum = Accumulator::new(layout.clone(), grid);
        let (mut expected, mut widths) = (0_i64, Vec::new());
        // 256 of these products are the last of 32 bits, 65,280 the last that a byte above holds in either direction.
        for weight in [1, 255, 1, 1 << 14, 48_639, 1, 1 << 14] {
            let mut part = sum.open(weight, 1).unwrap().remove(0);
            part.add(0, 0, &[0.0_f32; 3]).unwrap();
            part.add(1, 3, &values).unwrap();
            expected += sign as i64 * 8_388_607 * i64::from(weight);
            assert!(joined(&sum)[3..].iter().all(|&found| found == expected), "{expected}");
            let mean = rounded_div(expected, sum.weight() as i64);
            assert!(sum.mean_subticks(3..3 + TILE).iter().all(|&found| found == mean));
            widths.push(sum.tiles[1].width());
        }
        let [narrow, middle, wide] = [Width::Narrow, Width::Middle, Width::Wide];
        assert_eq!(widths, [narrow, narrow, middle, middle, middle, wide, wide]);
        assert_eq!(sum.tiles[0].width(), Width::Narrow);
    }
}

/// A value of so many subticks of the tensor it is in.
fn value(grid: &Grid, tensor: usize, subticks: f64) -> f32 {
    (subticks / 256.0 * grid.step(tensor)) as f32
}

/// Dense contributions in parts are the sparse ones, to the bit: whatever the parts, the weight, the values.
#[test]
fn parts_add_up_to_the_same_sums() {
    let model = model(&[0.5; 3 + 2 * TILE + 5]);
    let (layout, grid) = (model.layout().clone(), model.grid());
    let some = [0.0, -0.0, 0.1, 1e-9, 0.5, 1.5, -0.5, -2.5, 0.499_999_97, -0.500_000_06, -7.0, 8_388_607.5];
    let many = [16_777_215.5, -4_194_303.5, 1e9, -SUBTICKS_MAX, SUBTICKS_MAX];
    let dense = |subticks: &[f64]| -> Vec<f32> {
        let tensors = layout.tensors().iter().enumerate();
        let tensors = tensors.flat_map(|(number, tensor)| tensor.range().map(move |index| (number, index)));
        tensors.map(|(number, index)| value(grid, number, subticks[index % subticks.len()])).collect()
    };
    let contributions = [dense(&some), dense(&many), dense(&[0.0]), dense(&some[3..])];
    let empty = || Accumulator::new(layout.clone(), grid);
    for parts in [0, 1, 2, 3, 9] {
        for weight in [1, 7, 1 << 14, 1 << 16, (1 << 16) + 1] {
            let (mut dense, mut sparse) = (empty(), empty());
            for values in &contributions {
                let entries: Vec<_> = (0..).zip(values.iter().copied()).collect();
                sparse.add(&entries, weight).unwrap();
                for mut part in dense.open(weight, parts).unwrap() {
                    for (number, tensor) in layout.tensors().iter().enumerate() {
                        let range =
                            part.range().start.max(tensor.offset)..part.range().end.min(tensor.range().end);
                        for first in range.clone().step_by(TILE) {
                            part.add(number, first, &values[first..range.end.min(first + TILE)]).unwrap();
                        }
                    }
                }
            }
            assert!(dense == sparse, "{parts} parts, weight {weight}");
        }
    }
    assert_eq!(empty().open(u32::MAX, 1).map(|_| ()), empty().add(&[], u32::MAX));
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
        assert_eq!(sum.open(1, 1).unwrap()[0].add(1, 3, &values), expected);
    }
}

/// What one device sends: a weight, values up to a magnitude in each of the two tensors, and whether all are there.
#[derive(Clone, Debug)]
struct Contribution {
    weight: u32,
    bits: [u32; 2],
    seed: u64,
    dense: bool,
}

impl Contribution {
    fn any() -> impl Strategy<Value = Self> {
        let weight = prop_oneof![1_u32..60, Just(1000), Just(1 << 16), (1_u32 << 16)..1 << 20];
        // From far below a subtick to the largest there are.
        let bits = [0_u32..35, 0..35];
        (weight, bits, any::<u64>(), any::<bool>()).prop_map(|(weight, bits, seed, dense)| Self {
            weight,
            bits,
            seed,
            dense,
        })
    }

    fn entries(&self, layout: &Layout, grid: &Grid) -> Vec<(u32, f32)> {
        let mut state = self.seed | 1;
        let mut entries = Vec::new();
        for (number, tensor) in layout.tensors().iter().enumerate() {
            for index in tensor.range() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let share = (state >> 32) as i32 as f64 / 2_f64.powi(31);
                let subticks = share * 2_f64.powi(self.bits[number] as i32 - 1);
                if self.dense || state >> 58 == 0 {
                    entries.push((index as u32, value(grid, number, subticks)));
                }
            }
        }
        entries
    }

    fn add_to(&self, sum: &mut Accumulator, grid: &Grid, parts: usize) {
        let layout = sum.layout().clone();
        let entries = self.entries(&layout, grid);
        if !self.dense {
            return sum.add(&entries, self.weight).unwrap();
        }
        let values: Vec<f32> = entries.iter().map(|entry| entry.1).collect();
        for mut part in sum.open(self.weight, parts).unwrap() {
            for (number, tensor) in layout.tensors().iter().enumerate() {
                let range = part.range().start.max(tensor.offset)..part.range().end.min(tensor.range().end);
                for first in range.clone().step_by(TILE) {
                    part.add(number, first, &values[first..range.end.min(first + TILE)]).unwrap();
                }
            }
        }
    }
}

fn joined(sum: &Accumulator) -> Vec<i64> {
    let of_tile = |number: usize| {
        let width = sum.tiles[number].width();
        let sum_at = move |index: usize| {
            let low = sum.low[index];
            match width {
                Width::Narrow => low.into(),
                Width::Middle => tile::joined(low, sum.middle[index].into()),
                Width::Wide => tile::joined(low, sum.high[index]),
            }
        };
        tile::range(&sum.tiles, number, sum.layout.len()).map(sum_at)
    };
    (0..sum.tiles.len()).flat_map(of_tile).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever the order, the parts and the way they come in, and whenever tiles need their upper halves on the way: plain sums of
    /// whole numbers, means of them, and the same state to the last bit.
    #[test]
    fn sums_are_those_of_plain_integers_in_any_order(
        contributions in prop::collection::vec(Contribution::any(), 1..9),
        turn in 0_usize..9,
        parts in 1_usize..4,
    ) {
        let model = model(&[0.5; 3 + TILE + 300]);
        let (layout, grid) = (model.layout().clone(), model.grid());
        let mut expected = vec![0_i64; layout.len()];
        for contribution in &contributions {
            for (index, value) in contribution.entries(&layout, grid) {
                let step = grid.step(usize::from(index >= 3));
                expected[index as usize] += (f64::from(value) / step * 256.0).round() as i64 * i64::from(contribution.weight);
            }
        }
        let mut there = Accumulator::new(layout.clone(), grid);
        contributions.iter().for_each(|contribution| contribution.add_to(&mut there, grid, parts));
        let mut back = Accumulator::new(layout.clone(), grid);
        let (early, late) = contributions.split_at(turn.min(contributions.len()));
        late.iter().chain(early).rev().for_each(|contribution| contribution.add_to(&mut back, grid, 1));
        prop_assert!(there == back);
        prop_assert!(joined(&there) == expected);
        let weight = i64::from(contributions.iter().map(|contribution| contribution.weight).sum::<u32>());
        let mean: Vec<i64> = expected.iter().map(|&sum| rounded_div(sum, weight)).collect();
        prop_assert!(there.mean_subticks(1..layout.len() - 1) == mean[1..layout.len() - 1]);
        // Taken from the end, across tiles.
        let mut taken = Vec::new();
        for first in [TILE + 100, TILE - 1, 2, 0] {
            taken.splice(0..0, there.take_mean_subticks(first));
        }
        prop_assert!(taken == mean);
    }
}
