use super::*;

fn group(range: Range<usize>, decays: bool) -> Group {
    Group { range, decays, personal: false }
}

/// One step without clipping or average.
fn step(rule: &mut dyn Optimiser, groups: &[Group], values: &mut [f32], gradients: &[f32], rate: f32) {
    let average = &mut vec![0.0; values.len()];
    let norms = Norms::new(groups, gradients, 1.0);
    let step = Step { values, average, gradients, scale: 1.0, clip: f32::MAX, rate, decay: 0.0 };
    rule.step(groups, &norms, step);
}

/// Three steps with gradients `value / 2 + step / 10`, against `torch.optim` of PyTorch 2.15: two parameter groups, 1.0 with
/// weight decay and -2.0 without.
#[track_caller]
fn check(choice: Choice, decay: f32, rate: f32, expected: [f32; 2]) {
    let mut values = vec![1.0, -2.0, 5.0];
    let mut rule = optimiser(choice, 3, decay);
    for at in 0..3 {
        let gradients: Vec<f32> = values.iter().map(|value| 0.5 * value + 0.1 * at as f32).collect();
        step(&mut *rule, &[group(0..1, true), group(1..2, false)], &mut values, &gradients, rate);
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
    step(&mut *rule, &groups, &mut values, &[3.0, 4.0, 0.0, -0.2], 0.01);
    let root_mean_square = (25.0_f32 / 3.0).sqrt();
    for (value, gradient) in values.iter().zip([3.0, 4.0, 0.0]) {
        assert!((value + 0.01 * gradient / root_mean_square).abs() < 1e-6, "{values:?}");
    }
    assert!((values[3] - 0.01).abs() < 1e-6, "{values:?}");
}

#[test]
fn clipping_keeps_the_direction_and_sets_apart_what_is_personal() {
    let groups = [group(0..1, true), group(1..2, true), Group { personal: true, ..group(3..4, true) }];
    let gradients = [6.0, 8.0, 100.0, 0.5];
    let norms = Norms::new(&groups, &gradients, 0.5);
    assert_eq!((norms.shared, norms.personal), (5.0, 0.25));
    let mut values = [0.0; 4];
    let average = &mut [0.0; 4];
    let step = Step {
        values: &mut values,
        average,
        gradients: &gradients,
        scale: 0.5,
        clip: 1.0,
        rate: 1.0,
        decay: 0.0,
    };
    // The first step of SGD moves by 1.9 times the gradient.
    optimiser(Choice::Sgd, 4, 0.0).step(&groups, &norms, step);
    for (value, clipped) in values.iter().zip([0.6, 0.8, 0.0, 0.25]) {
        assert!((value + 1.9 * clipped).abs() < 1e-6, "{values:?}");
    }
    assert!(Norms::new(&groups, &[0.0, f32::NAN, 0.0, 0.0], 1.0).shared.is_nan());
    assert_eq!(Norms::new(&groups, &[0.0, f32::NAN, 0.0, 0.0], 1.0).personal, 0.0);
}

/// Values between -1 and 1, the same each time.
fn values(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// What the papers say, value by value in double precision: scaling, clipping, rule, average.
struct Plain {
    choice: Choice,
    decay: f64,
    values: Vec<f64>,
    average: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    steps: i32,
}

impl Plain {
    fn step(&mut self, groups: &[Group], gradients: &[f32], [scale, clip, rate, keep]: [f64; 4]) {
        self.steps += 1;
        for personal in [false, true] {
            let chosen = || groups.iter().filter(|group| group.personal == personal);
            let all = chosen().flat_map(|group| &gradients[group.range.clone()]);
            let norm = all.map(|&g| (scale * f64::from(g)).powi(2)).sum::<f64>().sqrt();
            let scale = scale * if norm > clip { clip / norm } else { 1.0 };
            for Group { range, decays, .. } in chosen() {
                let decay = if *decays { self.decay } else { 0.0 };
                let mean_square =
                    gradients[range.clone()].iter().map(|&g| (scale * f64::from(g)).powi(2)).sum::<f64>()
                        / range.len() as f64;
                for at in range.clone() {
                    let g = scale * f64::from(gradients[at]);
                    let (value, first, second) =
                        (&mut self.values[at], &mut self.first[at], &mut self.second[at]);
                    let (square, beta2) = match self.choice {
                        Choice::AdamMini => (mean_square, 0.95_f64),
                        _ => (g * g, 0.999),
                    };
                    if let Choice::Sgd = self.choice {
                        let g = g + decay * *value;
                        *first = 0.9 * *first + g;
                        *value -= rate * (g + 0.9 * *first);
                    } else {
                        *first = 0.9 * *first + 0.1 * g;
                        *second = beta2 * *second + (1.0 - beta2) * square;
                        let mean = *first / (1.0 - 0.9_f64.powi(self.steps));
                        let root = (*second / (1.0 - beta2.powi(self.steps))).sqrt();
                        *value = (1.0 - rate * decay) * *value - rate * mean / (root + 1e-8);
                    }
                    self.average[at] = keep * self.average[at] + (1.0 - keep) * *value;
                }
            }
        }
    }
}

#[test]
fn a_fused_step_is_the_plain_formula_on_any_number_of_threads() {
    let groups = [
        group(0..1, true),
        group(1..700, true),
        group(730..740, false),
        Group { personal: true, ..group(740..777, true) },
    ];
    let len = 800;
    for choice in [Choice::AdamW, Choice::AdamMini, Choice::Sgd] {
        let start = values(1, len);
        let wide: Vec<f64> = start.iter().map(|&value| f64::from(value)).collect();
        let state = vec![0.0; len];
        let mut plain = Plain {
            choice,
            decay: f64::from(0.05_f32),
            values: wide.clone(),
            average: wide,
            first: state.clone(),
            second: state,
            steps: 0,
        };
        let mut average = Average::new(&start, 0.5);
        let mut runs = [1, 2, 5].map(|threads| {
            let pool = crate::device::pool(threads).unwrap();
            (pool, optimiser(choice, len, 0.05), start.clone(), average.values().to_vec())
        });
        for round in 0..4 {
            let gradients = values(2 + round, len);
            let (scale, clip, rate) = (0.25, 2.0, 0.01);
            let (_, decay) = average.advance();
            for (pool, rule, values, average) in &mut runs {
                pool.install(|| {
                    let norms = Norms::new(&groups, &gradients, scale);
                    rule.step(
                        &groups,
                        &norms,
                        Step { values, average, gradients: &gradients, scale, clip, rate, decay },
                    );
                });
            }
            plain.step(&groups, &gradients, [scale, clip, rate, decay].map(f64::from));
        }
        let [(_, _, once, averaged), others @ ..] = &runs;
        for (_, _, values, average) in others {
            assert_eq!((values, average), (once, averaged), "{choice:?}");
        }
        for (found, expected) in [(once, &plain.values), (averaged, &plain.average)] {
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                assert!((f64::from(*found) - expected).abs() < 2e-6, "{choice:?} {at}: {found} {expected}");
            }
        }
        for outside in [700..730, 777..800] {
            assert_eq!(
                (&once[outside.clone()], &averaged[outside.clone()]),
                (&start[outside.clone()], &start[outside])
            );
        }
    }
}

#[test]
fn the_average_forgets_its_start_and_follows_exactly_without_decay() {
    let mut average = Average::new(&[0.0], 0.998);
    let update = |average: &mut Average, value: f32| {
        let (values, decay) = average.advance();
        follow(values, &[value], decay);
    };
    update(&mut average, 1.0);
    assert!((average.values()[0] - 9.0 / 11.0).abs() < 1e-6);
    for _ in 0..200 {
        update(&mut average, 1.0);
    }
    assert!((average.values()[0] - 1.0).abs() < 1e-6);
    let mut last = Average::new(&[0.0], 0.0);
    update(&mut last, 7.0);
    assert_eq!(last.values(), [7.0]);
}
