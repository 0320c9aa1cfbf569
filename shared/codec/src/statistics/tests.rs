use params::{Scope, TensorSpec};
use proptest::prelude::*;

use super::*;

fn layout_of(channels: &[usize]) -> Layout {
    let spec = |name: String, len| TensorSpec { name, shape: vec![len], scope: Scope::Statistic };
    let pair = |(number, &len): (usize, &usize)| {
        [spec(format!("n{number}.mean"), len), spec(format!("n{number}.var"), len)]
    };
    Layout::new(channels.iter().enumerate().flat_map(pair).collect()).unwrap()
}

fn statistics_of(channels: &[usize]) -> StatisticsLayout {
    StatisticsLayout::new(&layout_of(channels)).unwrap()
}

/// The law of total variance in f64, channel by channel, for one pair of tensors.
fn direct(channels: usize, devices: &[(Vec<f32>, u32)]) -> Vec<f64> {
    let total: f64 = devices.iter().map(|device| f64::from(device.1)).sum();
    let mean_of = |term: &dyn Fn(&[f32]) -> f64| {
        devices.iter().map(|(own, weight)| f64::from(*weight) * term(own)).sum::<f64>() / total
    };
    let mean = |channel: usize| mean_of(&|own| f64::from(own[channel]));
    let var = |channel: usize| {
        let second = |own: &[f32]| f64::from(own[channels + channel]) + f64::from(own[channel]).powi(2);
        mean_of(&second) - mean(channel).powi(2)
    };
    (0..channels).map(mean).chain((0..channels).map(var)).collect()
}

/// Thousandths, since proptest's own floats trip over an assertion of theirs about once in a million draws.
fn thousandths(range: Range<i32>) -> impl Strategy<Value = f32> {
    range.prop_map(|n| n as f32 / 1000.0)
}

fn device(channels: usize) -> impl Strategy<Value = (Vec<f32>, u32)> {
    let means = prop::collection::vec(thousandths(-3000..3000), channels);
    let variances = prop::collection::vec(thousandths(50..5000), channels);
    (means, variances, 1_u32..500)
        .prop_map(|(means, variances, weight)| ([means, variances].concat(), weight))
}

proptest! {
    /// At the finest step a mean is off by at most a 32nd of a standard deviation, a device's variance by a 32nd part;
    /// and no order changes a bit.
    #[test]
    fn pooling_is_the_law_of_total_variance(devices in prop::collection::vec(device(5), 1..12)) {
        let layout = statistics_of(&[5]);
        let published = [[0.0_f32; 5], [1.0; 5]].concat();
        let mut sums = [StatisticsSum::new(layout.clone()), StatisticsSum::new(layout.clone())];
        let mut reports = Vec::new();
        for (own, weight) in &devices {
            let report = Report::decode(&layout, &encode_report(&layout, &published, own, Share::ALL, 10_000).unwrap()).unwrap();
            sums[0].add(&report, *weight).unwrap();
            reports.push((report, *weight));
        }
        reports.sort_by_key(|(report, weight)| (report.values[0], *weight));
        reports.iter().for_each(|(report, weight)| sums[1].add(report, *weight).unwrap());
        prop_assert_eq!(&sums[0], &sums[1]);
        let pooled = sums[0].pooled(&published);
        for (channel, (pooled, exact)) in pooled.iter().zip(direct(5, &devices)).enumerate() {
            let allowed = if channel < 5 { 1.0 / 32.0 } else { exact * 0.033 + 0.033 * 3.0 * 2.0 };
            prop_assert!((f64::from(*pooled) - exact).abs() <= allowed + 1e-6, "{channel}: {pooled} for {exact}");
        }
    }

    /// Devices that share the channels pool each channel as if only those who reported it were there.
    #[test]
    fn shares_together_cover_every_channel(devices in prop::collection::vec(device(11), 1..12), turn in 0_u8..4) {
        let layout = statistics_of(&[11]);
        let published = [[0.0_f32; 11], [1.0; 11]].concat();
        let mut sum = StatisticsSum::new(layout.clone());
        let mut alone = Vec::new();
        for (index, (own, weight)) in devices.iter().enumerate() {
            let share = Share::new((index as u8).wrapping_add(turn), devices.len().min(4) as u8);
            let bytes = encode_report(&layout, &published, own, share, 10_000).unwrap();
            let report = Report::decode(&layout, &bytes).unwrap();
            prop_assert_eq!(report.share(), share);
            sum.add(&report, *weight).unwrap();
            let whole = encode_report(&layout, &published, own, Share::ALL, 10_000).unwrap();
            alone.push((share, Report::decode(&layout, &whole).unwrap(), *weight));
        }
        let pooled = sum.pooled(&published);
        for channel in 0..11 {
            let mut those = StatisticsSum::new(layout.clone());
            let reporting = alone.iter().filter(|(share, ..)| channel % usize::from(share.of()) == usize::from(share.part()));
            reporting.for_each(|(_, report, weight)| those.add(report, *weight).unwrap());
            let expected = those.pooled(&published);
            prop_assert!(those.weight() > 0);
            prop_assert_eq!(pooled[channel], expected[channel]);
            prop_assert_eq!(pooled[11 + channel], expected[11 + channel]);
        }
    }

    /// Coarse at first, finer as what is published comes close.
    #[test]
    fn the_loop_closes_on_the_pooled_statistics(devices in prop::collection::vec(device(40), 2..6)) {
        let layout = statistics_of(&[40]);
        let mut published = [[0.0_f32; 40], [1.0; 40]].concat();
        let budget = 110;
        for _ in 0..8 {
            let mut sum = StatisticsSum::new(layout.clone());
            for (own, weight) in &devices {
                let bytes = encode_report(&layout, &published, own, Share::ALL, budget).unwrap();
                prop_assert!(bytes.len() <= budget);
                sum.add(&Report::decode(&layout, &bytes).unwrap(), *weight).unwrap();
            }
            published = sum.pooled(&published);
        }
        let exact = direct(40, &devices);
        for channel in 0..40 {
            let deviation = exact[40 + channel].sqrt();
            let shift = (f64::from(published[channel]) - exact[channel]).abs() / deviation;
            let ratio = (f64::from(published[40 + channel]) / exact[40 + channel]).ln().abs();
            prop_assert!(shift < 0.5 && ratio < 0.5, "{channel}: {shift} {ratio}");
        }
    }

    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(body: Vec<u8>, at: prop::sample::Index, with: u8, part: u8, of in 1_u8..20) {
        let layout = statistics_of(&[3, 60]);
        let share = Share::new(part, of);
        let _ = Report::decode(&layout, &body);
        let check = |bytes: Vec<u8>| {
            if let Ok(report) = Report::decode(&layout, &seal(bytes)) {
                assert_eq!(report.values.len(), layout.channels(report.share()).count());
                assert!(report.values.as_flattened().iter().all(|value| value.abs() <= REPORT_MAX));
                StatisticsSum::new(layout.clone()).add(&report, 1 << 14).unwrap();
            }
        };
        let mut bytes = vec![KIND, 126];
        bytes.extend(&body);
        check(bytes);
        let own: Vec<f32> = (0..126).map(|i| f32::from(body.get(i).copied().unwrap_or(1))).collect();
        let mut bytes = encode_report(&layout, &[0.5; 126], &own, share, 100).unwrap();
        bytes.truncate(bytes.len() - 4);
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        check(bytes);
    }
}

#[test]
fn a_settled_report_is_tiny() {
    let layout = statistics_of(&[4000, 4000]);
    let published = vec![1.0; 16_000];
    let mut own = published.clone();
    assert_eq!(
        encode_report(&layout, &published, &own, Share::ALL, 64).unwrap().len(),
        1 + 2 + 2 + 3 + 1 + 4
    );
    own[5] = 1.2;
    own[4009] = 0.7;
    let bytes = encode_report(&layout, &published, &own, Share::ALL, 64).unwrap();
    assert!(bytes.len() < 24);
    let report = Report::decode(&layout, &bytes).unwrap();
    assert_eq!((report.values[5], report.values[9]), ([3, 0], [0, -6]));
    assert_eq!(report.values.as_flattened().iter().filter(|&&value| value != 0).count(), 2);
}

#[test]
fn extremes_saturate() {
    let layout = statistics_of(&[2]);
    let own = [1e30, -1e30, 1e30, 0.0];
    let bytes = encode_report(&layout, &[0.0, 0.0, 1.0, 1.0], &own, Share::ALL, 1000).unwrap();
    let report = Report::decode(&layout, &bytes).unwrap();
    assert_eq!(report.values, [[128, 128], [-128, -128]]);
    let mut sum = StatisticsSum::new(layout);
    for _ in 0..1 << 14 {
        sum.add(&report, 1 << 14).unwrap();
    }
    let full = SumError::Weight { found: (1 << 28) + 1, max: 1 << 28 };
    assert_eq!(sum.add(&report, 1), Err(full));
    let pooled = sum.pooled(&[0.0, 0.0, 1.0, 1.0]);
    assert_eq!(pooled[..2], [8.0, -8.0]);
    assert!((pooled[2] / 8.0_f32.exp() - 1.0).abs() < 1e-5, "{pooled:?}");
    assert!((pooled[3] / (-8.0_f32).exp() - 1.0).abs() < 2e-3, "{pooled:?}");
}

#[test]
fn only_pairs_of_equal_length_are_statistics() {
    let spec = |name: &str, len| TensorSpec { name: name.into(), shape: vec![len], scope: Scope::Statistic };
    for specs in [
        vec![spec("a.mean", 3)],
        vec![spec("a.var", 3), spec("a.mean", 3)],
        vec![spec("a.mean", 3), spec("b.var", 3)],
        vec![spec("a.mean", 3), spec("a.var", 2)],
        vec![spec("a", 3), spec("b", 3)],
    ] {
        assert!(StatisticsLayout::new(&Layout::new(specs).unwrap()).is_err());
    }
    assert!(statistics_of(&[]).is_empty());
}

#[test]
fn nothing_pooled_is_what_was_published() {
    let published = [0.5, 2.0];
    assert_eq!(StatisticsSum::new(statistics_of(&[1])).pooled(&published), published);
}

/// The bytes of FORMAT.md's example, followed bit by bit on paper; and (exp(100/16) + exp(-100/16)) / 2.
#[test]
fn golden_bytes_and_powers() {
    let layout = statistics_of(&[2]);
    let bytes = encode_report(&layout, &[0.0, 1.0, 1.0, 4.0], &[0.5, 1.0, 1.0, 2.0], Share::ALL, 64).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "400401000000020239530aeba435");
    let mut sum = StatisticsSum::new(statistics_of(&[1]));
    sum.add(&Report { share: Share::ALL, values: vec![[0, 100]] }, 1).unwrap();
    sum.add(&Report { share: Share::ALL, values: vec![[0, -100]] }, 1).unwrap();
    assert_eq!(sum.pooled(&[0.0, 1.0])[1], 259.007_4);
}
