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
            let [one, four] = [&small, &large].map(|a| Need::new(a, freeze));
            assert_eq!(one.fixed, four.fixed, "weights do not know of pixels");
            let ratio = four.per_image as f64 / one.per_image as f64;
            assert!((3.9..=4.1).contains(&ratio), "{} {freeze:?}: {ratio}", entry.name);
        }
        let needs = FREEZES.map(|freeze| Need::new(&small, freeze).per_image);
        assert!(needs.is_sorted(), "{}: {needs:?}", entry.name);
        assert!(2 * needs[0] < needs[3], "{}: a frozen backbone keeps nothing", entry.name);
    }
}

/// Peak memory of `cargo bench -p model --bench step -- PRESETbBATCH` on two threads (AVX-512), MiB.
#[test]
fn the_estimate_is_at_least_what_was_measured_and_not_much_more() {
    for (preset, images, measured) in
        [("nano96", 16, 75.9), ("small256", 8, 297.6), ("small256", 1, 58.7), ("medium320", 8, 855.1)]
    {
        let need = Need::new(&architecture(preset, &["a", "b", "c"]), Freeze::None);
        let ratio = need.bytes(images) as f64 / f64::from(1 << 20) / measured;
        assert!((1.0..1.25).contains(&ratio), "{preset} {images}: {ratio}");
    }
}

#[test]
fn what_fits_fits_and_one_more_does_not() {
    let need = Need::new(&architecture("small256", &["a"]), Freeze::None);
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
        check(&architecture, &plan, examples, granted).map_err(|refused| refused.to_string())
    };
    let need = Need::new(&architecture, Freeze::None);
    let granted = Some(need.bytes(10));
    assert_eq!(asks(10, 10, 1000, granted), Ok(()));
    assert_eq!(asks(1000, 1000, 1000, None), Ok(()));
    assert_eq!(asks(1000, 10, 1000, granted), Ok(()), "gradients add up in place");
    assert_eq!(asks(1000, 1000, 9, granted), Ok(()), "there are no more images");
    let refused = asks(64, 32, 1000, granted).unwrap_err();
    assert!(refused.contains("on 32 images at once"), "{refused}");
    assert!(refused.contains("lower micro_batch (or batch) to 10"), "{refused}");
    let refused = asks(64, 32, 1000, Some(1)).unwrap_err();
    assert!(refused.contains("a smaller preset"), "{refused}");
    assert_eq!(need.bytes(usize::MAX), usize::MAX);
}
