use super::*;

/// Value and derivative in double precision from the formulas of the papers.
fn reference(name: &str, x: f64, target: f64) -> f64 {
    let p = 1.0 / (1.0 + (-x).exp());
    let ln_p = -(x.min(0.0).abs() + (-x.abs()).exp().ln_1p());
    let ln_q = -(x.max(0.0) + (-x.abs()).exp().ln_1p());
    match name {
        "quality_focal" => (target - p).abs().powi(2) * -((1.0 - target) * ln_q + target * ln_p),
        "focal" if target > 0.0 => -0.25 * (1.0 - p).powi(2) * ln_p,
        "focal" => -0.75 * p.powi(2) * ln_q,
        other => panic!("no reference for {other}"),
    }
}

#[track_caller]
fn check(entry: &ClassLossEntry, x: f32, target: f32, (loss, gradient): (f32, f32)) {
    let (x64, t64) = (f64::from(x), f64::from(target));
    let expected = reference(entry.name, x64, t64);
    let step = 1e-5;
    let slope =
        (reference(entry.name, x64 + step, t64) - reference(entry.name, x64 - step, t64)) / (2.0 * step);
    let close =
        |found: f32, expected: f64| (f64::from(found) - expected).abs() <= 1e-4 * expected.abs() + 2e-7;
    assert!(close(loss, expected), "{} at {x} for {target}: loss {loss}, expected {expected}", entry.name);
    assert!(
        close(gradient, slope),
        "{} at {x} for {target}: gradient {gradient}, expected {slope}",
        entry.name
    );
}

#[test]
fn values_and_gradients_equal_the_closed_forms() {
    for entry in CLASS_LOSSES {
        for step in -60..=60 {
            let x = step as f32 * 0.25 + 0.03;
            for target in [0.05, 0.3, 0.5, 0.8, 1.0] {
                let target = entry.loss.target(target);
                check(entry, x, target, entry.loss.positive(x, target));
            }
            let (mut losses, mut gradients) = ([0.0], [0.0]);
            entry.loss.negatives(&[x], &mut losses, &mut gradients);
            check(entry, x, 0.0, (losses[0], gradients[0]));
        }
    }
}

#[test]
fn large_logits_stay_finite() {
    for entry in CLASS_LOSSES {
        for x in [-1e4_f32, -200.0, 200.0, 1e4] {
            let (loss, gradient) = entry.loss.positive(x, 1.0);
            assert!(loss.is_finite() && gradient.is_finite() && loss >= 0.0, "{} at {x}", entry.name);
            let (mut losses, mut gradients) = ([0.0], [0.0]);
            entry.loss.negatives(&[x], &mut losses, &mut gradients);
            assert!(losses[0].is_finite() && gradients[0].is_finite(), "{} at {x}", entry.name);
        }
    }
}

#[test]
fn slices_equal_single_logits() {
    let logits: Vec<f32> = (0..37).map(|i| (i as f32 - 18.0) * 0.7).collect();
    for entry in CLASS_LOSSES {
        let (mut losses, mut gradients) = (vec![0.0; 37], vec![0.0; 37]);
        entry.loss.negatives(&logits, &mut losses, &mut gradients);
        for (index, &x) in logits.iter().enumerate() {
            let (mut loss, mut gradient) = ([0.0], [0.0]);
            entry.loss.negatives(&[x], &mut loss, &mut gradient);
            assert_eq!((losses[index], gradients[index]), (loss[0], gradient[0]), "{} at {x}", entry.name);
        }
    }
}

#[test]
fn choices_are_read_by_name() {
    for entry in CLASS_LOSSES {
        let json = format!("\"{}\"", entry.name);
        let choice: ClassLossChoice = serde_json::from_str(&json).unwrap();
        assert_eq!(choice.entry().name, entry.name);
        assert_eq!(serde_json::to_string(&choice).unwrap(), json);
    }
    let refused = ClassLossChoice::named("hinge").unwrap_err().to_string();
    assert_eq!(refused, "unknown class loss `hinge`, expected `quality_focal` or `focal`");
}
