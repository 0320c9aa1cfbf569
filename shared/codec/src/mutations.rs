//! Every decoder against damaged messages: they are refused, or decode to something that keeps the promises of what decodes.
//!
//! Bytes of good messages are changed, cut, doubled and mixed; half of the results get a right checksum, so that the rules behind
//! it are reached. 100,000 for each decoder, or as many as `FOVEA_MUTATIONS` says.

use std::sync::Arc;

use params::{Canonical, Digest, Layout, Scope, Share, TensorSpec};

use crate::delta::{Delta, Heading};
use crate::laws::{check_any, layout_of};
use crate::random::Random;
use crate::residual::{Lineage, Residual};
use crate::snapshot::{decode_snapshot, encode_snapshot};
use crate::statistics::{Report, StatisticsLayout, codes, encode_report};
use crate::{REGISTRY, Rule, Settings, build, decode_update, frame};

/// Calls `check` with mutations of `messages`, and whether the checksum was left as it was.
fn mutate(messages: &[Vec<u8>], mut check: impl FnMut(&[u8], bool)) {
    let count = std::env::var("FOVEA_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let mut random = Random::new(messages.len() as u32);
    for _ in 0..count {
        let mut below = |bound: usize| random.below(bound as u64) as usize;
        let original = &messages[below(messages.len())];
        let mut bytes = original.clone();
        let resealed = below(2) == 0;
        if resealed {
            bytes.truncate(original.len() - 4);
        }
        for _ in 0..1 + below(3) {
            let at = below(bytes.len().max(1));
            match below(8) {
                _ if bytes.is_empty() => {}
                0 => bytes.truncate(at),
                1 => bytes.insert(at, below(256) as u8),
                2 => {
                    bytes.remove(at);
                }
                // The beginning, where counts and parameters are, more often than the rest.
                3 | 4 => {
                    let at = below(bytes.len().min(16));
                    bytes[at] = [0, 1, 0x7f, 0x80, 0xff, below(256) as u8][below(6)];
                }
                5 => {
                    let other = &messages[below(messages.len())];
                    let len = below(other.len().min(bytes.len() - at) + 1);
                    bytes[at..at + len].copy_from_slice(&other[..len]);
                }
                6 => bytes.extend_from_within(at..),
                _ => bytes[at] ^= 1 << below(8),
            }
        }
        if resealed {
            check(&frame::seal(bytes), false);
        } else if bytes != *original && !messages.contains(&bytes) {
            check(&bytes, true);
        }
    }
}

fn values(len: usize) -> Vec<f32> {
    let mut random = Random::new(len as u32);
    (0..len).map(|_| (random.below(2001) as f32 - 1000.0).powi(3) * 1e-9).collect()
}

#[test]
fn updates() {
    let layout = layout_of(&[100, 1, 7, 60]);
    let values = values(layout.len());
    for entry in REGISTRY {
        let mut messages = Vec::new();
        for value_bits in 1..=8 {
            for density in [0.02, 0.3] {
                let settings = Settings { density, value_bits, ..Settings::default() };
                if let Ok(codec) = build(entry.name, &settings) {
                    messages.push(codec.encode(&layout, &values).unwrap().payload);
                }
            }
        }
        messages.dedup();
        mutate(&messages, |bytes, as_it_was| {
            assert!(!as_it_was || decode_update(&layout, layout.len(), bytes).is_err(), "{}", entry.name);
            check_any(&layout, bytes);
        });
    }
}

#[test]
fn statistics() {
    let spec = |name: &str| TensorSpec { name: name.into(), shape: vec![40], scope: Scope::Statistic };
    let layout = StatisticsLayout::new(&Layout::new(vec![spec("n.mean"), spec("n.var")]).unwrap()).unwrap();
    let published: Vec<f32> = (0..80).map(|index| 1.0 + index as f32).collect();
    let own: Vec<f32> =
        published.iter().zip(values(80)).map(|(value, change)| value + change.abs()).collect();
    let shares = [Share::ALL, Share::new(1, 3)];
    let messages = shares.map(|share| encode_report(&layout, &published, &own, share, 1000).unwrap());
    mutate(&messages, |bytes, as_it_was| {
        let decoded = Report::decode(&layout, bytes);
        assert!(!as_it_was || decoded.is_err());
        assert!(decoded.err().is_none_or(|error| error.offset <= bytes.len()));
    });
}

/// Two versions of one run.
fn versions() -> (StatisticsLayout, [(Canonical, Vec<f32>); 2]) {
    let layout = Arc::new(layout_of(&[100, 1, 7, 60]));
    let model = Canonical::from_values(Arc::clone(&layout), &values(168)).unwrap();
    let mut later = model.clone();
    later.move_at(&[(3, 1 << 9), (40, -(3 << 9)), (99, 1 << 9), (100, 77), (167, -(1 << 12))]);
    let spec = |name: &str| TensorSpec { name: name.into(), shape: vec![4], scope: Scope::Statistic };
    let statistics =
        StatisticsLayout::new(&Layout::new(vec![spec("n.mean"), spec("n.var")]).unwrap()).unwrap();
    let before = codes::values(&statistics, &[0, 100, -700, 3, 0, -128, 999, 5]);
    let after = codes::values(&statistics, &[4, 100, -700, -1, 0, -124, 999, 21]);
    (statistics, [(model, before), (later, after)])
}

#[test]
fn snapshots() {
    let (layout, versions) = versions();
    let messages = versions.map(|(model, statistics)| encode_snapshot(&layout, &model, &statistics));
    let shared = Arc::new(layout_of(&[100, 1, 7, 60]));
    mutate(&messages, |bytes, as_it_was| match decode_snapshot(&shared, &layout, bytes) {
        Ok((model, statistics)) => {
            assert!(!as_it_was && statistics.len() == 8 && statistics.iter().all(|value| value.is_finite()));
            // One way of writing each content.
            assert_eq!(encode_snapshot(&layout, &model, &statistics), bytes);
        }
        Err(error) => assert!(error.offset <= bytes.len()),
    });
}

#[test]
fn deltas() {
    let (layout, [before, after]) = versions();
    let heading = Heading { from: 1, to: 300, base: [7; 8], result: [9; 8] };
    let there = Delta::between(&layout, (&before.0, &before.1), (&after.0, &after.1));
    let back = Delta::between(&layout, (&after.0, &after.1), (&before.0, &before.1));
    let dense: Vec<(u32, i32)> = (0..168).map(|index| (index, index as i32 % 5 - 2)).collect();
    let mut far = before.0.clone();
    far.move_at(&dense);
    let dense = Delta::between(&layout, (&before.0, &before.1), (&far, &before.1));
    let messages =
        [there, back, dense, Delta::default()].map(|delta| delta.encode(&heading, &before.0, layout.len()));
    mutate(&messages, |bytes, as_it_was| match Delta::decode(&before.0, layout.len(), bytes) {
        Ok((heading, delta)) => {
            assert!(!as_it_was);
            assert_eq!(delta.encode(&heading, &before.0, layout.len()), bytes);
            let (mut model, mut statistics) = before.clone();
            delta.apply(&layout, &mut model, &mut statistics);
            assert!(statistics.iter().all(|value| value.is_finite()));
        }
        Err(error) => assert!(error.offset <= bytes.len()),
    });
}

#[test]
fn residuals() {
    let layout = layout_of(&[100, 1, 7, 60]);
    let lineage = Lineage { run: 7, layout: Digest([3; 32]) };
    let codec = build("sparse", &Settings::default()).unwrap();
    let feedback = crate::residual::Feedback { decay: 0.9, guard: None };
    let pending = Residual::new(lineage).prepare(&*codec, &layout, values(168), feedback).unwrap();
    let messages = [pending.commit().encode(), Residual::new(lineage).encode()];
    mutate(&messages, |bytes, as_it_was| match Residual::decode(bytes, lineage, 168) {
        Ok(residual) => {
            assert!(!as_it_was && residual.values().iter().all(|value| value.is_finite()));
            // Values far below what an f32 holds whole have lost digits.
            assert_eq!(Residual::decode(&residual.encode(), lineage, 168), Ok(residual));
        }
        Err(error) => assert!(error.offset <= bytes.len()),
    });
}

/// What the fuzzer starts from is of the present formats: bodies of messages, for two tensors of six values and as many statistics.
#[test]
fn seeds_of_the_fuzzer_are_messages() {
    let spec = |name: &str| TensorSpec { name: name.into(), shape: vec![6], scope: Scope::Statistic };
    let statistics = Layout::new(vec![spec("n.mean"), spec("n.var")]).unwrap();
    let (layout, statistics) = (Arc::new(layout_of(&[6, 6])), StatisticsLayout::new(&statistics).unwrap());
    let snapshot = frame::seal(include_bytes!("../fuzz/corpus/stored/snapshot").to_vec());
    assert!(decode_snapshot(&layout, &statistics, &snapshot).is_ok());
    let lineage = Lineage { run: 1, layout: Digest([0; 32]) };
    for (body, values) in [
        (&include_bytes!("../fuzz/corpus/stored/residual")[..], 12),
        (&include_bytes!("../fuzz/corpus/stored/no_residual")[..], 0),
    ] {
        let residual = Residual::decode(&frame::seal(body.to_vec()), lineage, 12);
        assert_eq!(residual.map(|residual| residual.values().len()), Ok(values));
    }
    let report = frame::seal(include_bytes!("../fuzz/corpus/stored/report").to_vec());
    assert!(Report::decode(&statistics, &report).is_ok());
    // Found by it: a variance below the least, which was read as another one.
    let small = frame::seal(include_bytes!("../fuzz/corpus/stored/least_variance").to_vec());
    let rule = decode_snapshot(&layout, &statistics, &small).unwrap_err().rule;
    assert!(matches!(rule, Rule::Range { what: "a statistic", max: 4252, .. }), "{rule:?}");
}
