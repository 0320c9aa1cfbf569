//! Laws that every entry of a registry keeps; a new one is tested the moment it is listed.

use std::collections::BTreeSet;
use std::sync::Arc;

use codec::payload::Payload;
use codec::tiles::Checked;
use params::{Canonical, SUBTICK_BITS, Scope};
use proptest::prelude::*;
use protocol::id::{ClientId, Round};

use super::support::{VALUES, client, initial, layout};
use crate::event::Admitted;
use crate::registry::{Choice, Entry};
use crate::{combine, select, server_opt};

fn defaults<T: ?Sized>(registry: &'static [Entry<T>]) -> impl Iterator<Item = (&'static str, Box<T>)> {
    registry.iter().map(|entry| (entry.name, (entry.build)(&Choice::named(entry.name)).unwrap()))
}

fn check_table<T: ?Sized>(registry: &'static [Entry<T>]) {
    let names: BTreeSet<_> = registry.iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), registry.len(), "names differ");
    for entry in registry {
        assert!(!entry.about.is_empty() && !entry.about.contains('\n'), "{}", entry.name);
        let mut unknown = Choice::named(entry.name);
        unknown.settings.insert("no_such_setting".into(), 1.into());
        let error = (entry.build)(&unknown).err().expect("an unknown setting is refused").to_string();
        assert!(error.contains(entry.name) && error.contains("no_such_setting"), "{error}");
    }
}

#[test]
fn tables_are_sound() {
    check_table(combine::REGISTRY);
    check_table(server_opt::REGISTRY);
    check_table(select::REGISTRY);
}

fn model() -> Canonical {
    Canonical::from_values(Arc::new(layout().of_scope(Scope::Shared)), &initial().shared).unwrap()
}

/// One client's update: some of the values, and its weight.
fn contribution() -> impl Strategy<Value = (Vec<(u32, f32)>, u32)> {
    let values = proptest::collection::vec(proptest::option::of(-0.5_f32..0.5), VALUES);
    let entries = values.prop_map(|values| {
        let present =
            values.into_iter().enumerate().filter_map(|(index, value)| Some((index as u32, value?)));
        present.collect::<Vec<_>>()
    });
    (entries, 1_u32..1000)
}

fn combined<'a>(
    rule: &dyn combine::Rule,
    updates: impl Iterator<Item = (usize, &'a (Vec<(u32, f32)>, u32))>,
) -> Vec<i64> {
    let model = model();
    let mut combination = rule.open(model.layout().clone(), model.grid());
    for (index, (entries, weight)) in updates {
        let update = Admitted::new(model.layout(), Checked::Entries(entries.clone()), Payload::default());
        combination.add(&client(format!("c{index}")), &update, *weight, 1).unwrap();
    }
    let later = combination.take(2);
    [combination.take(0), later].concat()
}

proptest! {
    #[test]
    fn combinations_do_not_depend_on_order(
        updates in proptest::collection::vec(contribution(), 1..8),
        turn in 0_usize..8,
    ) {
        for (name, rule) in defaults(combine::REGISTRY) {
            let turn = turn % updates.len();
            let forward = combined(&*rule, updates.iter().enumerate());
            let turned = updates.iter().enumerate().skip(turn).chain(updates.iter().enumerate().take(turn));
            prop_assert_eq!(&forward, &combined(&*rule, turned), "{}", name);
            prop_assert_eq!(&forward, &combined(&*rule, updates.iter().enumerate().rev()), "{}", name);
        }
    }

    #[test]
    fn a_single_contributor_is_its_own_combination(update in contribution()) {
        let model = model();
        for (name, rule) in defaults(combine::REGISTRY) {
            let found = combined(&*rule, std::iter::once((0, &update)));
            let mut expected = vec![0; VALUES];
            for &(index, value) in &update.0 {
                let step = model.grid().step(usize::from(index >= 4));
                expected[index as usize] = (f64::from(value) / step * f64::from(1 << SUBTICK_BITS)).round() as i64;
            }
            prop_assert_eq!(found, expected, "{}", name);
        }
    }

    /// Weights are relative, and an update twice as far moves twice as far.
    #[test]
    fn combinations_scale(updates in proptest::collection::vec(contribution(), 1..8)) {
        for (name, rule) in defaults(combine::REGISTRY) {
            let once = combined(&*rule, updates.iter().enumerate());
            let heavier: Vec<_> = updates.iter().map(|(entries, weight)| (entries.clone(), 7 * weight)).collect();
            prop_assert_eq!(&once, &combined(&*rule, heavier.iter().enumerate()), "{}", name);
            let double = |entries: &[(u32, f32)]| entries.iter().map(|&(index, value)| (index, 2.0 * value)).collect();
            let further: Vec<_> = updates.iter().map(|(entries, weight)| (double(entries), *weight)).collect();
            for (once, twice) in once.iter().zip(combined(&*rule, further.iter().enumerate())) {
                prop_assert!((2 * once - twice).abs() <= 2, "{}: {} and {}", name, once, twice);
            }
        }
    }

    #[test]
    fn zero_updates_do_not_move_a_model(rounds in 1_usize..5) {
        for (name, optimiser) in defaults(server_opt::REGISTRY) {
            let mut state = optimiser.start(VALUES);
            for _ in 0..rounds {
                prop_assert_eq!(optimiser.step(&mut state, &[0; VALUES]), vec![0; VALUES], "{}", name);
            }
        }
    }

    /// The state is all there is: going on from a copy is the same as going on.
    #[test]
    fn optimisers_resume_from_their_state(
        updates in proptest::collection::vec(proptest::collection::vec(-1_000_000_i64..1_000_000, VALUES), 2..6),
        restart in 0_usize..6,
    ) {
        for entry in server_opt::REGISTRY {
            let build = || (entry.build)(&Choice::named(entry.name)).unwrap();
            let (steady, mut stopped) = (build(), build());
            let (mut one, mut other) = (steady.start(VALUES), stopped.start(VALUES));
            for (round, update) in updates.iter().enumerate() {
                if round == restart {
                    // What a stored version keeps: the state as f32 words.
                    let words: Vec<_> = other.iter().map(|value| value.to_le_bytes()).collect();
                    (stopped, other) = (build(), words.into_iter().map(f32::from_le_bytes).collect());
                }
                // Values by themselves, as parts of a version are made.
                let kept = one.len() / VALUES;
                let mut alone = |index: usize| steady.step(&mut one[kept * index..kept * (index + 1)], &update[index..=index]);
                let moves: Vec<_> = (0..VALUES).flat_map(&mut alone).collect();
                prop_assert_eq!(moves, stopped.step(&mut other, update), "{}", entry.name);
            }
        }
    }

    #[test]
    fn cohorts_are_drawn_without_repeats(seed: u64, round in 1_u32..1000, candidates in 0_usize..60, size in 0_usize..80) {
        let names: Vec<_> = (0..candidates).map(|index| client(format!("c{index:03}"))).collect();
        let all: Vec<_> = names.iter().collect();
        for (name, select) in defaults(select::REGISTRY) {
            let cohort = select.select(seed, Round(round), &all, size);
            prop_assert_eq!(cohort.len(), size.min(candidates), "{}", name);
            prop_assert!(crate::invariants::distinct_and_ordered(&cohort), "{}", name);
            prop_assert!(cohort.iter().all(|client| names.contains(client)), "{}", name);
            prop_assert_eq!(&cohort, &select.select(seed, Round(round), &all, size), "{}", name);
        }
    }
}

#[test]
fn uniform_choice_is_uniform() {
    let names: Vec<_> = (0..20).map(|index| client(format!("c{index:02}"))).collect();
    let all: Vec<&ClientId> = names.iter().collect();
    let uniform = select::build(&Choice::named("uniform")).unwrap();
    let mut counts = [0_u32; 20];
    for round in 0..4000 {
        for chosen in uniform.select(7, Round(round), &all, 5) {
            counts[names.binary_search(&chosen).unwrap()] += 1;
        }
    }
    // 1000 expected each, standard deviation 27.
    assert!(counts.iter().all(|count| (880..1120).contains(count)), "{counts:?}");
    let rounds = (0..20).map(|round| uniform.select(7, Round(round), &all, 5)).collect::<BTreeSet<_>>();
    assert!(rounds.len() > 15, "rounds differ");
}

#[test]
fn a_far_outlier_moves_the_mean_by_its_weight_alone() {
    let mean = combine::build(&Choice::named("mean")).unwrap();
    assert_eq!(mean.needs(), combine::Needs::Sums);
    let step = model().grid().step(0);
    let near = (vec![(0, step as f32)], 1);
    let far = (vec![(0, (1000.0 * step) as f32)], 1);
    for (updates, ticks) in [(vec![&near; 4], 1.0), (vec![&near, &near, &near, &far], 250.75)] {
        let found = combined(&*mean, updates.into_iter().enumerate())[0];
        assert_eq!(found as f64 / f64::from(1 << SUBTICK_BITS), ticks);
    }
}
