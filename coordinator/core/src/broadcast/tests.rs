use std::sync::Arc;

use params::{Grid, Scope, TensorSpec};
use proptest::prelude::*;

use super::*;

fn model(lens: &[usize], exponents: &[i8]) -> Canonical {
    let spec = |(number, &len): (usize, &usize)| TensorSpec {
        name: format!("t{number}"),
        shape: vec![len],
        scope: Scope::Shared,
    };
    let layout = Arc::new(Layout::new(lens.iter().enumerate().map(spec).collect()).unwrap());
    let grid = Grid::from_exponents(&layout, exponents.to_vec()).unwrap();
    let ticks = vec![0; layout.len()];
    Canonical::from_ticks(layout, grid, ticks).unwrap()
}

/// Moves of all weights.
fn dense(sent: Sent, len: usize) -> Vec<i32> {
    let mut all = vec![0; len];
    sent.entries().for_each(|(index, step)| all[index as usize] = step);
    all
}

#[test]
fn packed_moves_are_the_moves() {
    let moves = [(0, 1), (1, -1), (2, i32::MAX), (130, i32::MIN), (131, 64), (1 << 26, -64)];
    for shifts in [&[][..], &[(0, 0)], &[(0, 6)], &[(0, 31), (131, 3), (140, 9), (1 << 26, 6)]] {
        let mut packed = Packed::default();
        let mut shifts = shifts.iter().peekable();
        for &(index, step) in &moves {
            while let Some(&(first, shift)) = shifts.next_if(|(first, _)| *first <= index) {
                packed.step_from(first, shift);
            }
            packed.push(index, step);
        }
        assert_eq!(packed.iter().collect::<Vec<_>>(), moves);
    }
}

#[test]
fn moves_end_where_the_model_ends() {
    let mut model = model(&[2, 1], &[-20, -20]);
    model.advance(&[i32::MAX - 5, -7, 0]);
    for share in [None, Some((1.0, 0.0))] {
        let (mut moved, mut sent) = (model.clone(), divide(&model, vec![64, 64, 64], share).sent);
        sent.apply(&mut moved);
        assert_eq!(moved.ticks(), [i32::MAX, 57, 64]);
        assert_eq!(dense(sent, 3), [5, 64, 64]);
    }
}

proptest! {
    /// With many equal moves, zeros, tensors below their floor.
    #[test]
    fn counting_chooses_what_sorting_chooses(
        wanted in prop::collection::vec(prop_oneof![Just(0), -3_i32..3, -5000_i32..5000, any::<i32>()], 40),
        permille in 1_u16..=1000,
        floor in 0.0_f32..1.0,
    ) {
        let model = model(&[20, 1, 9, 10], &[-20, -23, -4, -22]);
        let density = f32::from(permille) / 1000.0;
        let floor = floor * density;
        let (layout, grid) = (model.layout(), model.grid());
        let steps: Vec<f64> = (0..4).map(|number| grid.step(number)).collect();
        let expected = codec::strongest(layout, &wanted, steps.clone(), density, floor).unwrap();
        let (count, floors) = shares(layout, density, floor);
        let parts: Vec<_> = layout.tensors().iter().zip(steps).map(|(tensor, step)| (&wanted[tensor.range()], step)).collect();
        let mut found = Vec::new();
        for ((tensor, (ticks, step)), mut cut) in layout.tensors().iter().zip(&parts).zip(cut::cuts(&parts, count, floors)) {
            let taken = (tensor.offset as u32..).zip(*ticks).filter(|(_, tick)| cut.takes(**tick, *step));
            found.extend(taken.map(|(index, _)| index));
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn nothing_is_lost(wanted in prop::collection::vec(prop_oneof![Just(0), -5000_i32..5000, any::<i32>()], 30), percent in 1_u8..=100) {
        let model = model(&[20, 1, 9], &[-20, -23, -4]);
        let Broadcast { sent, residual } = divide(&model, wanted.clone(), Some((f32::from(percent) / 100.0, 0.01)));
        let sent = dense(sent, wanted.len());
        for ((sent, residual), wanted) in sent.iter().zip(&residual).zip(&wanted) {
            prop_assert_eq!(i64::from(*sent) + i64::from(*residual), i64::from(*wanted));
            // What is left is never more than what was there: the residual shrinks.
            prop_assert!(residual.unsigned_abs() <= wanted.unsigned_abs());
            prop_assert!(*sent == 0 || (*sent < 0) == (*wanted < 0));
        }
        let exact = divide(&model, wanted.clone(), None);
        prop_assert_eq!(exact, Broadcast { sent: Sent::All(wanted), residual: vec![] });
    }
}

#[test]
fn the_largest_changes_in_real_units_go_first_and_no_tensor_starves() {
    let model = model(&[4, 4, 4], &[-20, -22, -20]);
    let wanted = vec![100, -390, 4, 0, 1600, -300, 8, 4, 3, -2, 1, 0];
    let Broadcast { sent, residual } = divide(&model, wanted, Some((0.4, 0.1)));
    // In steps of the first tensor's grid: 400, 390, 100 and 75; the third tensor keeps its floor of one. Means of what is sent are 245,
    // 950 and 3 ticks, steps 128, 512 and 2.
    assert_eq!(dense(sent, 12), [128, -384, 0, 0, 1536, -512, 0, 0, 4, 0, 0, 0]);
    assert_eq!(residual, [-28, -6, 4, 0, 64, 212, 8, 4, -1, -2, 1, 0]);
}
