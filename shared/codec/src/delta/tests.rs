use std::sync::Arc;

use params::{Grid, Layout, Scope, TensorSpec};
use proptest::prelude::*;

use super::*;
use crate::error::Rule;
use crate::frame::seal;
use crate::laws::layout_of;
use crate::snapshot::{decode_snapshot, encode_snapshot};

const HEADING: Heading = Heading { from: 3, to: 4, base: *b"the base", result: *b"a result" };

fn statistics_of(channels: usize) -> StatisticsLayout {
    let spec = |name: &str| TensorSpec { name: name.into(), shape: vec![channels], scope: Scope::Statistic };
    let specs = if channels == 0 { vec![] } else { vec![spec("n.mean"), spec("n.var")] };
    StatisticsLayout::new(&Layout::new(specs).unwrap()).unwrap()
}

/// Versions of one run: `number` models with their statistics, each a sparse change of the one before.
fn run(number: usize) -> impl Strategy<Value = (StatisticsLayout, Vec<(Canonical, Vec<f32>)>)> {
    let tensor = (1_usize..40, -60_i8..60, 0_u32..31);
    (prop::collection::vec(tensor, 1..6), 0_usize..8).prop_flat_map(move |(tensors, channels)| {
        let layout = Arc::new(layout_of(&tensors.iter().map(|tensor| tensor.0).collect::<Vec<_>>()));
        let grid = Grid::from_exponents(&layout, tensors.iter().map(|tensor| tensor.1).collect()).unwrap();
        let change = prop_oneof![3 => Just(0), 1 => -4_i32..=4, 1 => any::<i32>()];
        let weights = prop::collection::vec(prop::collection::vec(change, layout.len()), number);
        let code = prop_oneof![1 => Just(0), 1 => -300_i32..300];
        let statistics = prop::collection::vec(prop::collection::vec(code, 2 * channels), number);
        (weights, statistics).prop_map(move |(weights, statistics)| {
            let of_statistics = statistics_of(channels);
            let (mut ticks, mut codes) = (vec![0_i32; layout.len()], vec![0_i32; 2 * channels]);
            let versions = weights.iter().zip(&statistics).map(|(changes, moves)| {
                for (tensor, &(_, _, shift)) in layout.tensors().iter().zip(&tensors) {
                    for (tick, change) in ticks[tensor.range()].iter_mut().zip(&changes[tensor.range()]) {
                        *tick = tick.wrapping_add(change << shift);
                    }
                }
                codes.iter_mut().zip(moves).for_each(|(code, change)| *code += change);
                let model = Canonical::from_ticks(Arc::clone(&layout), grid.clone(), ticks.clone()).unwrap();
                (model, values(&of_statistics, &codes))
            });
            let versions = versions.collect();
            (of_statistics, versions)
        })
    })
}

fn between(layout: &StatisticsLayout, from: &(Canonical, Vec<f32>), to: &(Canonical, Vec<f32>)) -> Delta {
    Delta::between(layout, (&from.0, &from.1), (&to.0, &to.1))
}

fn applied(
    layout: &StatisticsLayout,
    delta: &Delta,
    (model, statistics): &(Canonical, Vec<f32>),
) -> (Canonical, Vec<f32>) {
    let (mut model, mut statistics) = (model.clone(), statistics.clone());
    delta.apply(layout, &mut model, &mut statistics);
    (model, statistics)
}

proptest! {
    #[test]
    fn a_delta_leads_bit_for_bit_to_its_version((layout, versions) in run(2)) {
        let [from, to] = &versions[..] else { unreachable!() };
        let delta = between(&layout, from, to);
        let bytes = delta.encode(&HEADING, &from.0, layout.len());
        let (heading, decoded) = Delta::decode(&to.0, layout.len(), &bytes).unwrap();
        prop_assert_eq!(heading, HEADING);
        prop_assert_eq!(&decoded, &delta);
        let found = applied(&layout, &decoded, from);
        prop_assert_eq!(found.0.digest(), to.0.digest());
        prop_assert_eq!(&found, to);
        prop_assert_eq!(&applied(&layout, &decoded.reversed(), to), from);
        let at_once = encode_between(&HEADING, &layout, (&from.0, &from.1), (&to.0, &to.1));
        prop_assert_eq!(at_once, bytes);
    }

    #[test]
    fn chained_merged_and_whole_are_one_version((layout, versions) in run(5)) {
        let steps: Vec<Delta> = versions.windows(2).map(|pair| between(&layout, &pair[0], &pair[1])).collect();
        let chained = steps.iter().fold(versions[0].clone(), |version, step| applied(&layout, step, &version));
        let merged = steps[1..].iter().fold(steps[0].clone(), |all, step| all.then(step));
        prop_assert_eq!(&merged, &between(&layout, &versions[0], &versions[4]));
        let bytes = merged.encode(&HEADING, &versions[2].0, layout.len());
        let merged = Delta::decode(&versions[3].0, layout.len(), &bytes).unwrap().1;
        let merged = applied(&layout, &merged, &versions[0]);
        let whole = encode_snapshot(&layout, &versions[4].0, &versions[4].1);
        let whole = decode_snapshot(versions[4].0.layout(), &layout, &whole).unwrap();
        let name = |(model, statistics): &(Canonical, Vec<f32>)| content(&model.digest(), statistics);
        prop_assert_eq!(name(&chained), name(&versions[4]));
        prop_assert_eq!(name(&merged), name(&versions[4]));
        prop_assert_eq!(name(&whole), name(&versions[4]));
    }

    #[test]
    fn sums_of_bytes_are_bytes_of_sums((layout, versions) in run(3)) {
        let model = &versions[0].0;
        let heading = |number: u8| {
            let (from, to) = (number.into(), u32::from(number) + 1);
            Heading { from, to, base: [number; 8], result: [number + 1; 8] }
        };
        let deltas = [0, 1].map(|at| between(&layout, &versions[at], &versions[at + 1]));
        let [one, other] = [0, 1].map(|at| deltas[at].encode(&heading(at as u8), model, layout.len()));
        let whole = Heading { to: 2, result: [2; 8], ..heading(0) };
        let sum = deltas[0].then(&deltas[1]).encode(&whole, model, layout.len());
        prop_assert_eq!(encode_sum(model, layout.len(), &one, &other), Ok((whole, sum)));
    }

    #[test]
    fn damage_is_decoded_or_refused((layout, versions) in run(2), at: prop::sample::Index, with in 1_u8..) {
        let bytes = between(&layout, &versions[0], &versions[1]).encode(&HEADING, &versions[0].0, layout.len());
        let decode = |bytes: &[u8]| Delta::decode(&versions[0].0, layout.len(), bytes);
        let mut changed = bytes.clone();
        let at = at.index(bytes.len());
        changed[at] ^= with;
        prop_assert!(decode(&changed).is_err());
        prop_assert!(decode(&bytes[..at]).is_err());
        // With the checksum made right, only what is written in the one allowed way is accepted.
        changed.truncate(changed.len() - 4);
        let changed = seal(changed);
        if let Ok((heading, delta)) = decode(&changed) {
            prop_assert_eq!(delta.encode(&heading, &versions[0].0, layout.len()), changed);
        }
    }
}

fn example() -> (StatisticsLayout, Canonical, Delta) {
    let layout = Arc::new(layout_of(&[4, 6]));
    let grid = Grid::from_exponents(&layout, vec![-20, -18]).unwrap();
    let model = Canonical::from_ticks(layout, grid, vec![0; 10]).unwrap();
    // Steps of 2^-12 in both tensors: 256 and 64 ticks.
    let weights = vec![(1, 256), (3, -512), (4, 64), (9, -192)];
    (statistics_of(2), model, Delta { weights, statistics: vec![(0, 4), (2, -12)] })
}

#[test]
fn the_example_of_the_format_is_these_bytes() {
    let (layout, model, delta) = example();
    let bytes = delta.encode(&HEADING, &model, layout.len());
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text, "5103040a0474686520626173656120726573756c7404020211b58559130bc8ee8e");
}

#[test]
fn what_does_not_fit_is_refused() {
    let (layout, model, delta) = example();
    let good = delta.encode(&HEADING, &model, layout.len());
    let rule = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut body = good[..good.len() - 4].to_vec();
        change(&mut body);
        Delta::decode(&model, layout.len(), &seal(body)).unwrap_err().rule
    };
    assert_eq!(rule(&|body| body[0] = 0x50), Rule::Unknown { what: "kind", found: 0x50 });
    assert_eq!(
        rule(&|body| body[3] = 11),
        Rule::Mismatch { what: "number of values", expected: 10, found: 11 }
    );
    assert_eq!(
        rule(&|body| body[4] = 2),
        Rule::Mismatch { what: "number of statistics", expected: 4, found: 2 }
    );
    let range = |what, found, max| Rule::Range { what, found, min: 0, max };
    assert_eq!(rule(&|body| body[21] = 11), range("number of weights", 11, 10));
    assert_eq!(rule(&|body| body[22] = 5), range("number of changed statistics", 5, 4));
    assert_eq!(rule(&|body| body[23] = 32), range("step of statistics", 32, 31));
    assert_eq!(rule(&|body| body.truncate(24)), Rule::Truncated);
    assert_eq!(rule(&|body| body[22] = 0), Rule::Form { what: "the step of a tensor" });
}

#[test]
fn nothing_to_say_costs_a_heading() {
    let (layout, model, _) = example();
    let bytes = Delta::default().encode(&HEADING, &model, layout.len());
    assert_eq!(bytes.len(), 24 + 1 + 4);
}
