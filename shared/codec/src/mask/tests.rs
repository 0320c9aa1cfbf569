use proptest::prelude::*;

use super::*;
use crate::laws::layout_of;
use crate::{build, decode_update, mask_of};

proptest! {
    #[test]
    fn places_are_in_order_and_every_tensor_has_its_share(
        lens in prop::collection::vec(1_usize..300, 1..9), share in 0_usize..=1000, seed: u32,
    ) {
        let layout = layout_of(&lens);
        let count = lens.len() + (layout.len() - lens.len()) * share / 1000;
        let places: Vec<usize> = each_place(&layout, count, seed).collect();
        prop_assert_eq!(places.len(), count);
        prop_assert!(places.is_sorted_by(|a, b| a < b));
        for tensor in layout.tensors() {
            let mine = places.iter().filter(|&place| tensor.range().contains(place)).count();
            let fair = 1.0 + (tensor.len - 1) as f64 * share as f64 / 1000.0;
            prop_assert!((mine as f64 - fair).abs() < 2.0 && mine >= 1, "{} of {}", mine, tensor.len);
        }
    }

    #[test]
    fn a_budget_is_kept_and_used(budget in 64_u32..9000, value_bits in 2_u8..=8) {
        let layout = layout_of(&[10_000, 9, 8000]);
        let settings = Settings { value_bits, budget: Some(budget), ..Settings::default() };
        for name in ["public", "seeded"] {
            let codec = build(name, &settings).unwrap();
            let encoded = codec.encode(&layout, &vec![0.5; layout.len()]).unwrap();
            let (bytes, most) = (encoded.payload.len(), budget as usize);
            prop_assert!(bytes <= most && bytes + 16 > most.min(bytes + 15), "{} of {}", bytes, most);
            prop_assert!(encoded.entries.len() <= codec.entries_max(&layout));
        }
    }
}

/// Every place of a tensor is as likely as any other: 2000 masks of 8 of 40 are within 5 standard deviations.
#[test]
fn no_place_is_preferred() {
    let layout = layout_of(&[40]);
    let mut counts = [0_i32; 40];
    for seed in 0..2000 {
        each_place(&layout, 8, seed).for_each(|place| counts[place] += 1);
    }
    assert!(counts.iter().all(|count| (count - 400).abs() < 5 * 18), "{counts:?}");
}

#[test]
fn devices_with_one_mask_send_the_same_places_and_others_do_not() {
    let layout = layout_of(&[10_000]);
    let update = |shift: usize| (0..10_000).map(|i| 1.0 + ((i + shift) % 7) as f32).collect::<Vec<f32>>();
    let places = |name: &str, mask: u32, shift: usize| {
        let settings = Settings { value_bits: 8, mask, ..Settings::default() };
        let encoded = build(name, &settings).unwrap().encode(&layout, &update(shift)).unwrap();
        let entries = decode_update(&layout, 10_000, &encoded.payload).unwrap();
        let expected = if name == "public" { Some(mask) } else { None };
        assert_eq!(mask_of(&encoded.payload), expected);
        entries.iter().map(|entry| entry.0).collect::<Vec<_>>()
    };
    assert_eq!(places("public", 1, 0), places("public", 1, 3));
    assert_ne!(places("public", 1, 0), places("public", 2, 0));
    assert_ne!(places("seeded", 1, 0), places("seeded", 1, 3));
    assert_eq!(places("seeded", 1, 0), places("seeded", 2, 0));
}

#[test]
fn each_rule_is_checked() {
    let layout = layout_of(&[4, 6]);
    // id, n, seed, entries, bits, coding, step, stream.
    let golden = [9, 10, 1, 2, 3, 4, 3, 4, 0, 0x80, 0x3f, 0x70, 0x0e];
    let error = |changes: &[(usize, u8)], len: usize| {
        let mut bytes = golden.to_vec();
        changes.iter().for_each(|&(at, byte)| bytes[at] = byte);
        decode_update(&layout, 8, &seal(bytes[..len].to_vec())).unwrap_err().to_string()
    };
    let entries = decode_update(&layout, 8, &seal(golden.to_vec())).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.1).collect::<Vec<_>>(), [-7.0, 7.0]);
    for (changes, len, expected) in [
        (&[(1, 9)][..], 13, "byte 1: number of values should be 10, found 9"),
        (&[(6, 1)], 13, "byte 6: number of entries is 1, outside 2 to 8"),
        (&[(6, 9)], 13, "byte 6: number of entries is 9, outside 2 to 8"),
        (&[(7, 1)], 13, "byte 7: value bits is 1, outside 2 to 8"),
        (&[(7, 9)], 13, "byte 7: value bits is 9, outside 2 to 8"),
        (&[(8, 2)], 13, "byte 8: coding is 2, outside 0 to 1"),
        (&[(10, 0xbf)], 13, "byte 11: a level is not in its one allowed form"),
        (&[(9, 0), (10, 0)], 13, "byte 12: a value is not in its one allowed form"),
        (&[(12, 0x0f)], 13, "byte 13: a value is not in its one allowed form"),
        (&[(12, 0x1e)], 13, "byte 13: the padding is not in its one allowed form"),
        (&[], 12, "byte 12: the bytes end too early"),
    ] {
        assert_eq!(error(changes, len), expected, "{changes:?}");
    }
}
