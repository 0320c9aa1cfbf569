//! What every codec of the registry promises, whatever it does inside.

use params::{Layout, Scope, TensorSpec};
use proptest::prelude::*;

use super::*;

pub(crate) fn layout_of(lens: &[usize]) -> Layout {
    let spec = |(number, &len): (usize, &usize)| TensorSpec {
        name: format!("t{number}"),
        shape: vec![len],
        scope: Scope::Shared,
    };
    Layout::new(lens.iter().enumerate().map(spec).collect()).unwrap()
}

/// Thousandths, since proptest's own floats trip over an assertion of theirs about once in a million draws.
fn thousandths(range: std::ops::Range<i32>) -> impl Strategy<Value = f32> {
    range.prop_map(|n| n as f32 / 1000.0)
}

/// Values of many sizes, some zero, some equal: a scale for each tensor, a distribution for all.
fn update() -> impl Strategy<Value = (Layout, Vec<f32>)> {
    let tensor = (1_usize..60, -40_i32..40);
    (prop::collection::vec(tensor, 1..8), 0_u32..4).prop_flat_map(|(tensors, power)| {
        let lens: Vec<usize> = tensors.iter().map(|&(len, _)| len).collect();
        let scales: Vec<f32> = tensors
            .iter()
            .flat_map(|&(len, scale)| std::iter::repeat_n(f32::powi(2.0, scale), len))
            .collect();
        let value = prop_oneof![1 => Just(0.0_f32), 1 => Just(0.5), 8 => thousandths(-1000..1000)];
        prop::collection::vec(value, scales.len()).prop_map(move |values| {
            let scaled =
                values.iter().zip(&scales).map(|(value, scale)| value.powi(1 + 2 * power as i32) * scale);
            (layout_of(&lens), scaled.collect())
        })
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    let score = prop_oneof![Just(Score::Magnitude), Just(Score::Relative)];
    let budget = prop_oneof![Just(None), (BUDGET_MIN..2000).prop_map(Some)];
    (thousandths(1..1001), thousandths(0..1001), 1_u8..=8, score, budget, 0_u32..9).prop_map(
        |(density, floor, value_bits, score, budget, mask)| Settings {
            density,
            floor: floor * density,
            value_bits,
            score,
            budget,
            mask,
        },
    )
}

/// Every codec that can be built with the settings, by name.
fn codecs(settings: &Settings) -> impl Iterator<Item = (&'static Entry, Box<dyn Codec>)> {
    REGISTRY.iter().filter_map(|entry| Some((entry, build(entry.name, settings).ok()?)))
}

/// Codecs whose decoded values have signs and magnitudes of their own, not those of the values.
const MIXING: [&str; 1] = ["rotated"];

fn squares(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum()
}

proptest! {
    #[test]
    fn decoding_gives_what_encoding_announced((layout, values) in update(), settings in settings()) {
        for (entry, codec) in codecs(&settings) {
            let encoded = codec.encode(&layout, &values).unwrap();
            let by = REGISTRY.iter().find(|other| other.id == encoded.payload[0]).unwrap();
            prop_assert!(by.id == entry.id || by.name == "int8", "{} as {}", entry.name, by.name);
            prop_assert!(encoded.entries.len() <= codec.entries_max(&layout));
            let decoded = decode_update(&layout, codec.entries_max(&layout), &encoded.payload).unwrap();
            prop_assert!(decoded.is_sorted_by(|a, b| a.0 < b.0), "{}: indices", entry.name);
            let bits = |entries: &[(u32, f32)]| entries.iter().map(|e| (e.0, e.1.to_bits())).collect::<Vec<_>>();
            prop_assert_eq!(bits(&decoded), bits(&encoded.entries), "{}", entry.name);
        }
    }

    /// Values added on the way are values added before, to the bit; both when a sample finds the cut and when all are looked at.
    #[test]
    fn adding_while_encoding_is_adding_before(
        (layout, values) in update(), settings in settings(), scale in thousandths(0..1001), repeat in prop_oneof![9 => Just(1_usize), 1 => 200..400_usize],
    ) {
        let lens: Vec<usize> = layout.tensors().iter().map(|tensor| tensor.len * repeat).collect();
        let layout = layout_of(&lens);
        let values: Vec<f32> = values.iter().copied().cycle().take(layout.len()).collect();
        let held: Vec<f32> = values.iter().rev().map(|value| value * 0.75).collect();
        let scales: Vec<f32> = (0..lens.len()).map(|tensor| scale * tensor as f32).collect();
        let mut before = values.clone();
        for (tensor, scale) in layout.tensors().iter().zip(&scales) {
            before[tensor.range()].iter_mut().zip(&held[tensor.range()]).for_each(|(value, held)| *value += scale * held);
        }
        for (entry, codec) in codecs(&settings) {
            let mut sum = values.clone();
            let held = Held::new(&layout, &held, scales.clone()).unwrap();
            let encoded = codec.encode_sum(&layout, &mut sum, &held).unwrap();
            prop_assert_eq!(sum.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), before.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
            prop_assert_eq!(encoded, codec.encode(&layout, &before).unwrap(), "{}", entry.name);
            let nothing = Held::new(&layout, &[], vec![]).unwrap();
            prop_assert_eq!(codec.encode_sum(&layout, &mut sum, &nothing).unwrap().entries.len(),
                codec.encode(&layout, &before).unwrap().entries.len());
        }
    }

    #[test]
    fn the_stated_share_of_the_norm_is_kept((layout, values) in update(), settings in settings()) {
        for (entry, codec) in codecs(&settings) {
            let mut missing = values.clone();
            for (index, decoded) in codec.encode(&layout, &values).unwrap().entries {
                missing[index as usize] -= decoded;
            }
            let (lost, all) = (squares(missing.into_iter()), squares(values.iter().copied()));
            let kept = codec.kept(&layout);
            prop_assert!((0.0..=1.0).contains(&kept));
            prop_assert!(lost <= (1.0 - kept) * all * (1.0 + 1e-9), "{}: {lost} of {all}, kept {kept}", entry.name);
        }
    }

    #[test]
    fn what_is_sent_and_what_stays_add_up((layout, values) in update(), settings in settings()) {
        let magnitudes = values.iter().map(|value| value.abs()).filter(|&magnitude| magnitude > 0.0);
        let (least, most) = magnitudes.fold((f32::MAX, 0.0_f32), |(least, most), m| (least.min(m), most.max(m)));
        let narrow = most / least < 65_536.0;
        for (entry, codec) in codecs(&settings) {
            for (index, sent) in codec.encode(&layout, &values).unwrap().entries {
                let value = values[index as usize];
                let off = (f64::from(sent) + f64::from(value - sent) - f64::from(value)).abs();
                let both = value.abs() + sent.abs();
                let half_ulp = f64::from(both.next_up() - both) / 2.0;
                let mixing = MIXING.contains(&entry.name);
                prop_assert!(off <= if narrow && !mixing { 0.0 } else { half_ulp }, "{}: {value} as {sent}", entry.name);
                if !mixing {
                    prop_assert!(sent == 0.0 || sent.is_sign_negative() == value.is_sign_negative());
                    prop_assert!(sent.abs() <= 2.0 * value.abs(), "{}: {value} as {sent}", entry.name);
                }
            }
        }
    }

    /// Those that can leave values out send what fits, and as much as fits but for a little.
    #[test]
    fn budgets_are_kept((layout, values) in update(), settings in settings(), budget in BUDGET_MIN..2000) {
        let lens: Vec<usize> = layout.tensors().iter().map(|tensor| 50 * tensor.len).collect();
        let layout = layout_of(&lens);
        let values: Vec<f32> = values.iter().enumerate().flat_map(|(number, value)|
            (0..50).map(move |i| value * (1.0 + ((i * 7 + number) % 13) as f32))).collect();
        let settings = Settings { budget: Some(budget), ..settings };
        for (entry, codec) in codecs(&settings) {
            let bytes = codec.encode(&layout, &values).unwrap().payload.len();
            if ["sparse", "ternary"].contains(&entry.name) {
                prop_assert!(bytes <= budget as usize, "{}: {bytes} of {budget}", entry.name);
            }
        }
    }

    /// Arbitrary contents behind a right checksum, with every codec id.
    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(lens in prop::collection::vec(1_usize..400, 0..6), body: Vec<u8>) {
        let layout = layout_of(&lens);
        for id in 0..=u8::MAX {
            let mut bytes = vec![id];
            bytes.extend(&body);
            check_any(&layout, &frame::seal(bytes));
        }
        check_any(&layout, &body);
    }

    /// Payloads with one byte changed and the checksum made right again, and payloads cut short.
    #[test]
    fn damaged_payloads_are_decoded_or_refused(
        (layout, values) in update(), settings in settings(), at: prop::sample::Index, with: u8,
    ) {
        for (_, codec) in codecs(&settings) {
            let payload = codec.encode(&layout, &values).unwrap().payload;
            let mut changed = payload.clone();
            let at = at.index(payload.len());
            changed[at] ^= with;
            prop_assert_eq!(decode_update(&layout, layout.len(), &changed).is_ok(), with == 0);
            prop_assert!(decode_update(&layout, layout.len(), &payload[..at]).is_err());
            changed.truncate(changed.len() - 4);
            check_any(&layout, &frame::seal(changed.clone()));
            changed.extend([with, 0]);
            prop_assert!(at >= changed.len() - 2 || decode_update(&layout, layout.len(), &frame::seal(changed)).is_err()
                || with != 0);
        }
    }
}

/// Whatever decodes keeps the promises of a decoded update.
pub(crate) fn check_any(layout: &Layout, bytes: &[u8]) {
    let max_entries = layout.len() / 2;
    match decode_update(layout, max_entries, bytes) {
        Ok(entries) => {
            assert!(entries.len() <= max_entries);
            assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
            assert!(
                entries.iter().all(|&(index, value)| (index as usize) < layout.len() && value.is_finite())
            );
        }
        Err(error) => assert!(error.offset <= bytes.len(), "{error}"),
    }
}

#[test]
fn names_and_ids_are_unique_and_described() {
    for (number, entry) in REGISTRY.iter().enumerate() {
        let others = &REGISTRY[number + 1..];
        assert!(
            others.iter().all(|other| other.name != entry.name && other.id != entry.id),
            "{}",
            entry.name
        );
        assert!(!entry.description.is_empty());
    }
}

#[test]
fn bad_values_are_refused_by_name_and_position() {
    let layout = layout_of(&[3, 2]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -2e24] {
        for entry in REGISTRY {
            let codec = build(entry.name, &Settings::default()).unwrap();
            let error = codec.encode(&layout, &[1.0, 2.0, 3.0, 4.0, bad]).unwrap_err();
            let value = bad.to_string();
            assert_eq!(error, EncodeError::Value { tensor: "t1".into(), position: 1, value });
            let short = codec.encode(&layout, &[1.0]).unwrap_err();
            assert_eq!(short, EncodeError::Length { what: "values", expected: 5, found: 1 });
        }
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let refused = |settings: Settings| build("sparse", &settings).unwrap_err().to_string();
    let default = Settings::default;
    assert_eq!(refused(Settings { density: 0.0, ..default() }), "density is 0, outside above 0 to 1");
    assert_eq!(refused(Settings { density: f32::NAN, ..default() }), "density is NaN, outside above 0 to 1");
    assert_eq!(refused(Settings { floor: 0.02, ..default() }), "floor is 0.02, outside 0 to the density");
    assert_eq!(refused(Settings { value_bits: 9, ..default() }), "value bits is 9, outside 1 to 8");
    let unknown = build("zip", &default()).unwrap_err().to_string();
    assert_eq!(
        unknown,
        "codec \"zip\" is not known; there are sparse, ternary, public, seeded, rotated, int8, half, dense"
    );
}

/// FORMAT.md's example, made independently (stream by hand, numbers and checksum with Python's struct and a bitwise CRC).
/// A change here is a change of format and needs a new codec id.
#[test]
fn golden_bytes() {
    let layout = layout_of(&[4, 6]);
    let values = [0.0, 0.5, -0.25, 0.0625, 1.0, -3.0, 0.0, 0.125, 2.0, -1.5];
    let settings = Settings { density: 0.5, floor: 0.2, mask: 9, ..Settings::default() };
    let hex = |name: &str| {
        let encoded = build(name, &settings).unwrap().encode(&layout, &values).unwrap();
        encoded.payload.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let golden = [
        ("sparse", "020a05030100703f8d3f4a2779f2c73b3a"),
        (
            "dense",
            "000a000000000000003f000080be0000803d0000803f000040c0000000000000003e000000400000c0bfead34288",
        ),
        ("int8", "030a813b007fc010c23c2a81000554c17adc7f4e"),
        ("rotated", "040a1f34e652030b3e393fa63f8c5a552098579dcc"),
        ("seeded", "080a1f34e652050300003f5b07736f2943"),
        ("public", "090a090000000503002b3f1c678d6136e6"),
        ("ternary", "070a05010100803fa269299bc817"),
        ("half", "010af1ff0000007400f00068f3ff007000f600000064007400f2fe0ca439"),
    ];
    assert_eq!(golden.len(), REGISTRY.len());
    for (name, expected) in golden {
        assert_eq!(hex(name), expected, "{name}");
    }
}
