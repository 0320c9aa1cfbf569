use super::*;

fn group(range: Range<usize>, decays: bool) -> Group {
    Group { range, decays }
}

/// Three steps with gradients `value / 2 + step / 10`, against `torch.optim` of PyTorch 2.15: two parameter groups, 1.0 with
/// weight decay and -2.0 without.
#[track_caller]
fn check(choice: Choice, decay: f32, rate: f32, expected: [f32; 2]) {
    let mut values = vec![1.0, -2.0, 5.0];
    let mut rule = optimiser(choice, 3, decay);
    for step in 0..3 {
        let gradients: Vec<f32> = values.iter().map(|value| 0.5 * value + 0.1 * step as f32).collect();
        rule.step(&[group(0..1, true), group(1..2, false)], &mut values, &gradients, rate);
    }
    for (found, expected) in values.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{values:?} {expected:?}");
    }
    assert_eq!(values[2], 5.0, "values outside the groups stay");
}

#[test]
fn steps_equal_pytorch() {
    check(Choice::AdamW, 0.05, 0.01, [0.968_481_84, -1.970_170_7]);
    check(Choice::Sgd, 0.05, 0.01, [0.949_659_94, -1.926_695_6]);
}

/// On tensors of one value, one second moment per tensor is one per value; and within a tensor the first step keeps the
/// proportions of the gradients, with a root mean square of the rate.
#[test]
fn adam_mini_keeps_proportions_within_a_tensor() {
    let mut values = vec![0.0; 4];
    let mut rule = optimiser(Choice::AdamMini, 4, 0.0);
    let groups = [group(0..3, true), group(3..4, false)];
    rule.step(&groups, &mut values, &[3.0, 4.0, 0.0, -0.2], 0.01);
    let root_mean_square = (25.0_f32 / 3.0).sqrt();
    for (value, gradient) in values.iter().zip([3.0, 4.0, 0.0]) {
        assert!((value + 0.01 * gradient / root_mean_square).abs() < 1e-6, "{values:?}");
    }
    assert!((values[3] - 0.01).abs() < 1e-6, "{values:?}");
}

#[test]
fn clipping_keeps_the_direction_and_touches_only_its_groups() {
    let mut gradients = [3.0, 4.0, 100.0];
    assert_eq!(clip(&[group(0..2, true)], &mut gradients, 1.0), 5.0);
    assert_eq!(gradients, [0.6, 0.8, 100.0]);
    assert_eq!(clip(&[group(0..2, true)], &mut gradients, 10.0), 1.0);
    assert!(clip(&[group(0..1, true)], &mut [f32::NAN], 1.0).is_nan());
}

#[test]
fn the_average_forgets_its_start_and_follows_exactly_without_decay() {
    let mut average = Average::new(&[0.0], 0.998);
    average.update(&[1.0]);
    assert!((average.values()[0] - 9.0 / 11.0).abs() < 1e-6);
    for _ in 0..200 {
        average.update(&[1.0]);
    }
    assert!((average.values()[0] - 1.0).abs() < 1e-6);
    let mut last = Average::new(&[0.0], 0.0);
    last.update(&[7.0]);
    assert_eq!(last.values(), [7.0]);
}
