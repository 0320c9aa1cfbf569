use super::*;
use crate::preset::PRESETS;
use crate::testing::{architecture, plan};

const FREEZES: [Freeze; 4] = [Freeze::Head, Freeze::NeckHead, Freeze::Light, Freeze::None];

#[test]
fn more_pixels_and_less_frozen_never_need_less() {
    for entry in PRESETS {
        let at = |side: u32| architecture(&format!("{}@{side}", entry.name), &["a", "b"]);
        let (small, large) = (at(96), at(192));
        for freeze in FREEZES {
            let [one, four] = [&small, &large].map(|a| Need::new(a, freeze, false));
            assert_eq!(one.fixed, four.fixed, "weights do not know of pixels");
            let ratio = four.per_image as f64 / one.per_image as f64;
            assert!((3.9..=4.1).contains(&ratio), "{} {freeze:?}: {ratio}", entry.name);
        }
        let needs = FREEZES.map(|freeze| Need::new(&small, freeze, false).per_image);
        assert!(needs.is_sorted(), "{}: {needs:?}", entry.name);
        assert!(2 * needs[0] < needs[3], "{}: a frozen backbone keeps nothing", entry.name);
    }
}

/// Peak memory of `cargo bench -p model --bench step -- PRESETbBATCH` (with `--recompute` if so) on two threads (AVX-512), MiB.
#[test]
fn the_estimate_is_at_least_what_was_measured_and_not_much_more() {
    for (preset, images, recompute, measured) in [
        ("nano96", 16, false, 75.9),
        ("small256", 8, false, 297.6),
        ("small256", 1, false, 58.7),
        ("medium320", 8, false, 855.1),
        ("v3small256", 8, false, 190.2),
        ("nano96", 16, true, 62.9),
        ("small256", 8, true, 219.4),
        ("small256", 1, true, 49.7),
        ("medium320", 8, true, 612.3),
        ("v3small256", 8, true, 141.0),
    ] {
        let need = Need::new(&architecture(preset, &["a", "b", "c"]), Freeze::None, recompute);
        let ratio = need.bytes(images) as f64 / f64::from(1 << 20) / measured;
        assert!((1.0..1.25).contains(&ratio), "{preset} {images} {recompute}: {ratio}");
    }
}

#[test]
fn what_fits_fits_and_one_more_does_not() {
    let need = Need::new(&architecture("small256", &["a"]), Freeze::None, false);
    for granted in [0, need.fixed, need.bytes(1), need.bytes(7) + 1, 4 << 30] {
        let fits = need.images_within(granted);
        assert!(fits == 0 || need.bytes(fits) <= granted);
        assert!(need.bytes(fits + 1) > granted);
    }
}

#[test]
fn a_plan_beyond_the_budget_is_refused_with_what_to_do() {
    let architecture = architecture("small256", &["a"]);
    let asks = |batch, micro_batch, examples, granted| {
        let plan = TrainPlan { micro_batch, ..plan(batch) };
        settle(&architecture, &plan, examples, granted, Recompute::Never)
            .map_err(|refused| refused.to_string())
    };
    let need = Need::new(&architecture, Freeze::None, false);
    let granted = Some(need.bytes(10));
    assert_eq!(asks(10, 10, 1000, granted), Ok(false));
    assert_eq!(asks(1000, 1000, 1000, None), Ok(false));
    assert_eq!(asks(1000, 10, 1000, granted), Ok(false), "gradients add up in place");
    assert_eq!(asks(1000, 1000, 9, granted), Ok(false), "there are no more images");
    let refused = asks(64, 32, 1000, granted).unwrap_err();
    assert!(refused.contains("on 32 images at once"), "{refused}");
    assert!(refused.contains("lower micro_batch (or batch) to 10"), "{refused}");
    let refused = asks(64, 32, 1000, Some(1)).unwrap_err();
    assert!(refused.contains("a smaller preset"), "{refused}");
    assert_eq!(need.bytes(usize::MAX), usize::MAX);
}

#[test]
fn what_does_not_fit_is_recomputed_before_it_is_refused() {
    let architecture = architecture("small256", &["a"]);
    let [keeping, again] = [false, true].map(|recompute| Need::new(&architecture, Freeze::None, recompute));
    assert_eq!(keeping.fixed, again.fixed);
    assert!(again.per_image < keeping.per_image);
    let asks = |granted, choice| settle(&architecture, &plan(8), 1000, Some(granted), choice);
    assert_eq!(asks(keeping.bytes(8), Recompute::Auto), Ok(false));
    assert_eq!(asks(keeping.bytes(8), Recompute::Always), Ok(true));
    assert_eq!(asks(keeping.bytes(8) - 1, Recompute::Auto), Ok(true));
    assert_eq!(asks(again.bytes(8), Recompute::Auto), Ok(true));
    let fits = |granted, choice| match asks(granted, choice) {
        Err(TrainError::Memory { images: 8, fits, .. }) => fits,
        other => panic!("{other:?}"),
    };
    assert_eq!(fits(again.bytes(8) - 1, Recompute::Auto), 7);
    assert!(fits(again.bytes(8) - 1, Recompute::Never) < 7);
    for (name, choice) in Recompute::ALL {
        assert_eq!(name.parse(), Ok(choice));
    }
    let refused = "sometimes".parse::<Recompute>().unwrap_err().to_string();
    assert_eq!(refused, "recompute \"sometimes\" is not known, expected auto, always or never");
}
