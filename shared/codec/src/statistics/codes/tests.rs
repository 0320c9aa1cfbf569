use params::{Layout, Scope, TensorSpec};
use proptest::prelude::*;

use super::*;

fn layout_of(channels: usize) -> StatisticsLayout {
    let spec = |name: &str| TensorSpec { name: name.into(), shape: vec![channels], scope: Scope::Statistic };
    StatisticsLayout::new(&Layout::new(vec![spec("n.mean"), spec("n.var")]).unwrap()).unwrap()
}

#[test]
fn powers_are_exact_at_octaves_and_right_between() {
    for (parts, expected) in
        [(0, 1.0), (256, 2.0), (-512, 0.25), (128, std::f64::consts::SQRT_2), (-1, 0.997_296_056_085_470_1)]
    {
        let found = power(parts);
        assert!((found / expected - 1.0).abs() < 1e-14, "{parts}: {found}");
    }
}

proptest! {
    #[test]
    fn codes_come_back_from_their_values(mean in -4_194_304_i32..=4_194_304, variance in VARIANCE_LEAST..=8192) {
        let layout = layout_of(1);
        prop_assert_eq!(codes(&layout, &values(&layout, &[mean, variance])), vec![mean, variance]);
    }

    #[test]
    fn what_is_published_is_at_most_half_a_step_off(
        from in (-2000_i32..2000, -1500_i32..1500), mean in -8000_i32..8000, log in -6000_i32..6000, shift in 0_u32..=STEP_SHIFT_MAX,
    ) {
        let layout = layout_of(1);
        let published = values(&layout, &[from.0, from.1]);
        let target = [mean as f32 / 1000.0, (log as f32 / 1000.0).exp2()];
        let moved = approach(&layout, &published, &target, shift);
        let sd = f64::from(moved[1]).sqrt();
        let step = f64::from(1 << shift) / 256.0;
        prop_assert!((f64::from(moved[0]) - f64::from(target[0])).abs() <= (0.5 * step + 1e-5) * sd);
        prop_assert!((f64::from(moved[1]) / f64::from(target[1])).log2().abs() <= 1.001 * step + 1e-5);
        // Once there, it stays.
        prop_assert_eq!(&approach(&layout, &moved, &moved, shift), &moved);
        prop_assert_eq!(rounded(&layout, &moved), moved);
    }
}

/// Channels that never fire: a step towards the least variance must not lead below it, where a device would read another code.
#[test]
fn what_is_published_of_dead_channels_is_read_as_it_was_meant() {
    let layout = layout_of(1);
    for shift in 0..=STEP_SHIFT_MAX {
        for from in VARIANCE_LEAST..VARIANCE_LEAST + 70 {
            let published = values(&layout, &[23, from]);
            let moved = approach(&layout, &published, &[9e-7, 0.0], shift);
            assert_eq!(rounded(&layout, &moved), moved, "{shift} {from}");
            assert!(f64::from(moved[1]) >= VARIANCE_MIN, "{shift} {from}");
        }
    }
    assert_eq!(f64::from(VARIANCE_LEAST), (128.0 * VARIANCE_MIN.log2()).round());
}

#[test]
fn extremes_have_codes() {
    let layout = layout_of(3);
    let found = rounded(&layout, &[f32::MAX, -1.0, 0.0, f32::MAX, 0.0, 1.0]);
    assert!(found.iter().all(|value| value.is_finite()), "{found:?}");
    assert_eq!(found[5], 1.0);
    assert!((f64::from(found[4]) / VARIANCE_MIN - 1.0).abs() < 0.003);
}
