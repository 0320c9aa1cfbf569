use params::{Scope, TensorSpec};
use proptest::prelude::*;

use super::*;
use crate::random::Random;
use crate::{Settings, build};

const PLAIN: Feedback = Feedback { decay: 1.0, guard: None };

fn layout() -> Layout {
    let spec = |name: &str, len| TensorSpec { name: name.into(), shape: vec![len], scope: Scope::Shared };
    Layout::new(vec![spec("a", 12), spec("b", 20)]).unwrap()
}

fn lineage() -> Lineage {
    Lineage { run: 7, layout: layout().digest() }
}

fn sparse(density: f32, value_bits: u8) -> Box<dyn Codec> {
    build("sparse", &Settings { density, floor: 0.0, value_bits, ..Settings::default() }).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    /// Whatever fate the updates meet: what was accepted, what is held back and what restarts have rounded away is what was
    /// learned. Deltas are whole numbers, so that sums of many are exact as well.
    #[test]
    fn no_mass_is_lost_or_doubled(
        rounds in prop::collection::vec((prop::collection::vec(-1000_i16..1000, 32), 0_u8..100), 1..30),
    ) {
        let layout = layout();
        let codec = sparse(0.2, 3);
        let mut residual = Residual::new(lineage());
        let (mut learned, mut applied, mut rounded) = (vec![0.0_f64; 32], vec![0.0_f64; 32], vec![0.0_f64; 32]);
        for (delta, luck) in rounds {
            let delta: Vec<f32> = delta.into_iter().map(f32::from).collect();
            learned.iter_mut().zip(&delta).for_each(|(sum, &value)| *sum += f64::from(value));
            let mut pending = residual.prepare(&*codec, &layout, delta, PLAIN).unwrap();
            if luck < 10 {
                // A restart between upload and receipt.
                let after = Residual::decode(&pending.after().encode(), lineage(), 32).unwrap();
                let pairs = pending.after().values().iter().zip(after.values());
                for (rounded, (before, after)) in rounded.iter_mut().zip(pairs) {
                    let lost = f64::from(*before) - f64::from(*after);
                    prop_assert!(lost.abs() <= f64::from(before.abs()) / 2048.0, "{} of {}", lost, before);
                    *rounded += lost;
                }
                pending = Pending::resume(after, &layout, pending.payload().to_vec()).unwrap();
            }
            residual = if luck < 20 {
                pending.restore()
            } else {
                for &(index, sent) in pending.entries() {
                    applied[index as usize] += f64::from(sent);
                }
                pending.commit()
            };
        }
        for (index, &learned) in learned.iter().enumerate() {
            let held = residual.values().get(index).copied().unwrap_or(0.0);
            prop_assert_eq!(applied[index] + f64::from(held) + rounded[index], learned, "index {}", index);
        }
    }

    #[test]
    fn restoring_gives_back_what_was_to_be_sent(
        delta in prop::collection::vec(-1_000_000_i32..1_000_000, 32), density in 1_u8..=100, value_bits in 1_u8..=8,
    ) {
        let delta: Vec<f32> = delta.into_iter().map(|millionths| millionths as f32 / 1e6).collect();
        let density = f32::from(density) / 100.0;
        let wide = delta.iter().all(|value| *value == 0.0 || value.abs() > 1.0 / 60_000.0);
        prop_assume!(wide);
        let residual = Residual::new(lineage());
        let pending = residual.prepare(&*sparse(density, value_bits), &layout(), delta.clone(), PLAIN).unwrap();
        let restored = pending.restore();
        prop_assert_eq!(bits(restored.values()), bits(&delta));
        let stored = Residual::decode(&restored.encode(), lineage(), 32).unwrap();
        prop_assert_eq!(Residual::decode(&stored.encode(), lineage(), 32), Ok(stored));
    }

    #[test]
    fn damaged_state_is_refused(at: prop::sample::Index, with in 1_u8.., cut: prop::sample::Index) {
        let stored = Residual { lineage: lineage(), values: vec![0.5; 32] }.encode();
        let read = Residual::decode(&stored, lineage(), 32).unwrap();
        prop_assert_eq!(read.values(), [0.5; 32]);
        let mut changed = stored.clone();
        changed[at.index(stored.len())] ^= with;
        prop_assert!(Residual::decode(&changed, lineage(), 32).is_err());
        prop_assert!(Residual::decode(&stored[..cut.index(stored.len())], lineage(), 32).is_err());
    }
}

#[test]
fn one_million_values_add_up_exactly() {
    let len = 10_000;
    let spec = TensorSpec { name: "a".into(), shape: vec![len], scope: Scope::Shared };
    let layout = Layout::new(vec![spec]).unwrap();
    let lineage = Lineage { run: 1, layout: layout.digest() };
    let mut state = 1_u64;
    let mut residual = Residual::new(lineage);
    for round in 0..100_u8 {
        let mut value = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let uniform = (state >> 40) as f32 / (1 << 24) as f32 - 0.5;
            uniform * uniform * uniform
        };
        let delta: Vec<f32> = (0..len).map(|_| value()).collect();
        let feedback = Feedback { decay: 0.9, guard: None };
        let held = |index| residual.values().get(index).copied().unwrap_or(0.0);
        let whole: Vec<f32> =
            delta.iter().enumerate().map(|(index, delta)| delta + 0.9 * held(index)).collect();
        let names = ["sparse", "ternary", "public", "seeded", "int8", "sparse"];
        let settings =
            Settings { density: 0.3, floor: 0.0, value_bits: 2 + round % 7, ..Settings::default() };
        let codec = build(names[usize::from(round) % names.len()], &settings).unwrap();
        let pending = residual.prepare(&*codec, &layout, delta, feedback).unwrap();
        let mut sum = pending.after().values().to_vec();
        for &(index, sent) in pending.entries() {
            let (left, whole) = (sum[index as usize], whole[index as usize]);
            assert_eq!(f64::from(left) + f64::from(sent), f64::from(whole), "round {round}, index {index}");
            sum[index as usize] += sent;
        }
        assert_eq!(bits(&sum), bits(&whole));
        residual = pending.commit();
    }
}

#[test]
fn an_exact_codec_leaves_nothing_behind() {
    let codec = build("dense", &Settings::default()).unwrap();
    let delta: Vec<f32> = (0..32).map(|value| value as f32 / 7.0).collect();
    let pending = Residual::new(lineage()).prepare(&*codec, &layout(), delta.clone(), PLAIN).unwrap();
    assert!(pending.after().values().is_empty());
    assert_eq!(pending.clone().commit(), Residual::new(lineage()));
    assert_eq!(pending.restore().values(), delta);
}

#[test]
fn the_guard_limits_old_mass_per_tensor() {
    let residual = Residual { lineage: lineage(), values: vec![3.0; 32] };
    let mut delta = vec![1.0; 32];
    delta[12..].fill(0.0);
    let feedback = Feedback { decay: 0.9, guard: Some(2.0) };
    let codec = build("dense", &Settings::default()).unwrap();
    let pending = residual.prepare(&*codec, &layout(), delta, feedback).unwrap();
    let sent: Vec<f32> = pending.entries().iter().map(|entry| entry.1).collect();
    // 0.9 * 3 is more than twice the delta of the first tensor, and more than the nothing of the second.
    assert!(sent[..12].iter().all(|value| (value - 3.0).abs() < 1e-6), "{sent:?}");
    assert_eq!(sent[12..], [0.0; 20]);
}

/// Half floats relative to each block: 11 significant digits down to 2^-28 of the largest value, whatever that is.
#[test]
fn stored_values_are_nearly_what_they_were() {
    let mut random = Random::new(3);
    let mut uniform = || (random.next() >> 40) as f32 / (1 << 24) as f32 - 0.5;
    for scale in [1e-30_f32, 1e-3, 1.0, 1e20] {
        let values: Vec<f32> =
            (0..3000).map(|number| scale * uniform() * 0.5_f32.powi(number % 20)).collect();
        let stored = Residual { lineage: lineage(), values: values.clone() }.encode();
        assert!(stored.len() < 2 * 3000 + 64, "{} bytes", stored.len());
        let read = Residual::decode(&stored, lineage(), 3000).unwrap();
        let rounded = Residual { lineage: lineage(), values: values.clone() }.rounded();
        assert_eq!(bits(rounded.values()), bits(read.values()), "what is rounded is what is read");
        assert_eq!(bits(rounded.clone().rounded().values()), bits(read.values()));
        for (value, read) in values.iter().zip(read.values()) {
            assert!(
                (value - read).abs() <= value.abs() / 2048.0 + scale * 0.5_f32.powi(39),
                "{value} became {read}"
            );
        }
    }
}

/// Residuals of single floats, as builds before wrote them.
#[test]
fn an_older_format_is_refused_by_its_kind() {
    let mut old = vec![0x60];
    old.extend_from_slice(&7_u64.to_le_bytes());
    let error = Residual::decode(&seal(old), lineage(), 32).unwrap_err();
    assert_eq!(error.rule, Rule::Unknown { what: "kind", found: 0x60 });
}

#[test]
fn another_run_or_layout_is_told_apart_from_damage() {
    let stored = Residual { lineage: lineage(), values: vec![0.5; 32] }.encode();
    let rule = |lineage, len| Residual::decode(&stored, lineage, len).unwrap_err().rule;
    let foreign = Rule::Foreign { what: "the residual" };
    assert_eq!(rule(Lineage { run: 8, ..lineage() }, 32), foreign);
    assert_eq!(rule(Lineage { layout: Digest([0; 32]), ..lineage() }, 32), foreign);
    assert_eq!(rule(lineage(), 33), Rule::Mismatch { what: "number of values", expected: 33, found: 32 });
}

/// 100 devices with quadratic losses of their own, 10 in each of 800 rounds, 5 noisy steps each, 1 % sent. Residuals that do not
/// decay release what was learned long ago, and end up far worse than those that do.
#[test]
fn a_residual_has_to_decay_where_devices_are_asked_rarely() {
    let (len, devices, rounds) = (1000, 100, 800);
    let spec = TensorSpec { name: "x".into(), shape: vec![len], scope: Scope::Shared };
    let layout = Layout::new(vec![spec]).unwrap();
    let codec = sparse(0.01, 4);
    let lineage = Lineage { run: 1, layout: layout.digest() };
    let end = |feedback: Feedback| {
        let mut random = Random::new(1);
        let mut uniform = move || (random.next() >> 40) as f32 / (1 << 24) as f32;
        let mut normal = || (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
        let curvature: Vec<f32> = (0..len).map(|_| 0.1 + 0.2 * normal().powi(2)).collect();
        let common: Vec<f32> = (0..len).map(|_| normal()).collect();
        let optima: Vec<Vec<f32>> =
            (0..devices).map(|_| common.iter().map(|common| common + normal()).collect()).collect();
        let mean =
            |index: usize| optima.iter().map(|own: &Vec<f32>| own[index]).sum::<f32>() / devices as f32;
        let optimum: Vec<f32> = (0..len).map(mean).collect();
        let loss = |x: &[f32]| -> f32 {
            (0..len).map(|index| curvature[index] * (x[index] - optimum[index]).powi(2)).sum()
        };
        let mut x = vec![0.0_f32; len];
        let start = loss(&x);
        let mut residuals = vec![Residual::new(lineage); devices];
        let mut tail = 0.0;
        for round in 0..rounds {
            let mut sum = vec![0.0_f32; len];
            for tenth in 0..10 {
                let device = 10 * tenth + (round * 7 + round / 10 + tenth) % 10;
                let mut own = x.clone();
                for _ in 0..5 {
                    for (index, own) in own.iter_mut().enumerate() {
                        *own -= 0.1
                            * (curvature[index] * (*own - optima[device][index])
                                + 2.0 * (noise(index, round, device) - 0.5));
                    }
                }
                let delta = own.iter().zip(&x).map(|(own, x)| own - x).collect();
                let pending = residuals[device].prepare(&*codec, &layout, delta, feedback).unwrap();
                pending.entries().iter().for_each(|&(index, sent)| sum[index as usize] += sent / 10.0);
                residuals[device] = pending.commit();
            }
            x.iter_mut().zip(&sum).for_each(|(x, sum)| *x += sum);
            tail += if round >= rounds - 80 { loss(&x) / start / 80.0 } else { 0.0 };
        }
        tail
    };
    let (kept, decayed) = (end(PLAIN), end(Feedback { decay: 0.9, guard: None }));
    assert!(kept > 3.0 * decayed, "{kept} without decay, {decayed} with");
    // A guard is for what goes wrong, and costs nothing where nothing does.
    let guarded = end(Feedback { decay: 0.9, guard: Some(2.0) });
    assert!(guarded < 1.1 * decayed, "{guarded} with the guard, {decayed} without");
}

/// Noise that is the same whatever is done with it.
fn noise(index: usize, round: usize, device: usize) -> f32 {
    let mixed = (index as u64) << 40 ^ (round as u64) << 20 ^ device as u64;
    let mixed = (mixed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 40) as f32 / (1 << 24) as f32
}
