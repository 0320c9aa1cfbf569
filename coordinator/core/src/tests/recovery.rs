//! Crashes: whatever prefix of the effects was performed, the run completes and each accepted update counts exactly once.
//!
//! A small world of clients talks to the core. The machine may die after any effect; what was journalled and published by
//! then is all that is left, every session breaks, answers on their way are lost, and clients come back with the uploads
//! they have no receipt for. `invariants::Checker` watches every performed effect; at the end the published model is
//! compared with sums over the journal made in another way.

mod world;

use std::collections::BTreeSet;

use params::{Canonical, Scope};
use proptest::prelude::*;
use proptest::sample::Index;
use protocol::evaluation::{Evaluation, ModelScore};
use protocol::id::{Round, Version};
use protocol::message::UpdateHeader;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::support::{Driver, VALUES, client, hello, initial, layout, settings, update};
use crate::broadcast::divide;
use crate::config::{DownlinkSettings, Settings};
use crate::{Effect, Event, Published, Record};
use world::World;

/// The model that the journal's accepted updates make, summed in 128-bit integers version by version: each counts exactly
/// once, also when its round was abandoned.
fn model_of(journal: &[Record], settings: &Settings) -> Canonical {
    let shared = layout().of_scope(Scope::Shared);
    let mut residual = vec![0; VALUES];
    let mut model = Canonical::from_values(shared.clone().into(), &initial().shared).unwrap();
    let steps: Vec<f64> = [(0, 4), (1, 2)].iter().flat_map(|&(t, n)| vec![model.grid().step(t); n]).collect();
    let mut updates: Vec<(i128, Vec<(u32, f32)>)> = Vec::new();
    for record in journal {
        match record {
            Record::Accepted { header, payload, .. } => {
                let entries = codec::decode_update(&shared, usize::MAX, &payload.whole().unwrap()).unwrap();
                updates.push((header.examples.into(), entries));
            }
            Record::RoundClosed { report } => {
                assert_eq!(report.contributors as usize, updates.len());
                let weight: i128 = updates.iter().map(|(weight, _)| weight).sum();
                let mut sums = [0_i128; VALUES];
                for (weight, entries) in &updates {
                    for &(index, value) in entries {
                        let index = index as usize;
                        sums[index] += weight * (f64::from(value) / steps[index] * 256.0).round() as i128;
                    }
                }
                let half_away = |numerator: i128, denominator: i128| {
                    (numerator.abs() * 2 + denominator) / (2 * denominator) * numerator.signum()
                };
                let moves = sums.map(|sum| half_away(half_away(sum, weight), 256) as i32);
                // What was left out before goes with it, or waits on.
                let wanted = moves.iter().zip(&residual).map(|(step, left)| step + left).collect();
                let share = settings.downlink.share(report.version, settings.rounds);
                let divided = divide(&model, wanted, share);
                let mut sent = divided.sent;
                sent.apply(&mut model);
                residual = divided.residual;
                residual.resize(VALUES, 0);
                assert_eq!(model.digest(), report.model_digest, "round {}", report.round);
                updates.clear();
            }
            Record::RunStarted { .. }
            | Record::RoundOpened { .. }
            | Record::RoundEvaluated { .. }
            | Record::RoundAbandoned { .. }
            | Record::RoundReported { .. }
            | Record::Compacted { .. } => {}
        }
    }
    assert!(updates.is_empty(), "what was accepted is part of a version");
    model
}

#[track_caller]
fn check(settings: Settings, clients: usize, seed: u64, forgetful: bool, deaths: &[usize]) -> usize {
    let rounds = settings.rounds;
    let mut world = World::new(settings, clients, seed, forgetful);
    world.run(deaths);
    assert_eq!(world.published().version, Version(rounds));
    assert_eq!(world.published().statistics, [1.0; 4]);
    check_counts(&world);
    world.effects
}

/// Everything that was acknowledged is in the model, once.
#[track_caller]
fn check_counts(world: &World) {
    let history = &world.driver.history;
    assert_eq!(world.published().digest, model_of(history, world.driver.core.config().settings()).digest());
    let accepted = history.iter().filter_map(|record| match record {
        Record::Accepted { round, client, .. } => Some((client.clone(), *round)),
        _ => None,
    });
    let accepted: BTreeSet<_> = accepted.collect();
    assert!(world.acknowledged.is_subset(&accepted));
}

fn three_rounds() -> Settings {
    settings(|settings| {
        settings.rounds = 3;
        settings.grace_s = 0.3;
        settings.central_score = true;
    })
}

/// What a version leaves out is not lost with the machine.
#[test]
fn a_run_with_coarse_versions_survives_death_after_any_effect() {
    let coarse = || Settings {
        downlink: DownlinkSettings {
            density: 0.2,
            last_density: 0.5,
            last_rounds: 1,
            ..DownlinkSettings::default()
        },
        ..three_rounds()
    };
    let effects = check(coarse(), 3, 7, false, &[]);
    for death in 0..effects {
        check(coarse(), 3, 7, false, &[death]);
    }
}

#[test]
fn a_run_survives_death_after_any_effect() {
    let effects = check(three_rounds(), 3, 7, false, &[]);
    for death in 0..effects {
        check(three_rounds(), 3, 7, false, &[death]);
        check(three_rounds(), 3, 7, true, &[death, death % 5]);
    }
}

/// The laws above would hold in vain if these never happened.
#[test]
fn rounds_are_abandoned_and_journals_compacted() {
    let mut world = World::new(varied(false, None, 3), 5, 1, false);
    world.reluctant = true;
    world.run(&[30, 40, 50, 60, 70]);
    check_counts(&world);
    let carried = |record: &Record| matches!(record, Record::RoundClosed { report } if report.carried > 0);
    assert!(world.driver.history.iter().any(carried));
    assert!(world.compactions > 1, "{}", world.compactions);
    assert!(world.driver.records.len() < world.driver.history.len());
}

/// A run's settings with momentum and a cohort smaller than the fleet.
fn varied(momentum: bool, cohort: Option<u32>, min_contributors: u32) -> Settings {
    settings(|settings| {
        settings.rounds = 3;
        settings.grace_s = 0.5;
        settings.round_time_limit_s = 2.0;
        settings.min_clients = 3;
        settings.min_contributors = Some(min_contributors);
        settings.cohort = cohort;
        settings.abandoned_rounds_max = 1000;
        if momentum {
            settings.server_optimiser.name = "momentum".into();
        }
    })
}

/// Found by the property below: after a restart all uploads came before any session, and nobody was asked to evaluate.
#[test]
fn a_version_made_before_its_clients_are_back_is_evaluated() {
    check(varied(false, None, 1), 4, 2_364_178_997_199_234_593, false, &[12, 10, 20, 19]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_run_survives_many_deaths(
        seed: u64,
        clients in 3_usize..8,
        cohort in proptest::option::of(2_u32..4),
        min_contributors in 1_u32..3,
        forgetful: bool,
        deaths in proptest::collection::vec(0_usize..40, 0..12),
    ) {
        check(varied(false, cohort, min_contributors), clients, seed, forgetful, &deaths);
    }

    /// Clients decline more often than not, so that most rounds are abandoned with some updates accepted: these make the next
    /// version together with later ones.
    #[test]
    fn updates_of_abandoned_rounds_count_in_the_next(
        seed: u64,
        clients in 4_usize..8,
        cohort in proptest::option::of(3_u32..5),
        deaths in proptest::collection::vec(0_usize..60, 0..6),
    ) {
        let mut settings = varied(false, cohort, 3);
        settings.rounds = 2;
        let mut world = World::new(settings, clients, seed, false);
        world.reluctant = true;
        world.run(&deaths);
        check_counts(&world);
    }

    /// With momentum the model depends on the state that is published with each version.
    #[test]
    fn a_restart_does_not_restart_the_optimiser(seed: u64, deaths in proptest::collection::vec(0_usize..60, 1..4)) {
        let digest = |deaths: &[usize]| {
            let mut world = World::new(varied(true, None, 3), 3, seed, false);
            world.run(deaths);
            (world.published().digest, world.driver.history)
        };
        // The same updates, recombined from the journal without any crash in between.
        let (crashed, journal) = digest(&deaths);
        prop_assert_eq!(replayed(varied(true, None, 3), &journal), crashed);
    }

    /// The order in which a round's updates arrive changes neither the model nor the reports.
    #[test]
    fn arrivals_in_any_order_give_the_same_run(seed: u64, other: u64, weights in proptest::collection::vec(1_u32..5000, 5)) {
        prop_assert_eq!(shuffled(seed, &weights), shuffled(other, &weights));
    }

    /// A journal that ends anywhere is a run that can go on, or an error in one line; never a panic.
    #[test]
    fn damaged_journals_are_refused(seed: u64, dropped in any::<Index>(), swapped in any::<Index>()) {
        let mut world = World::new(three_rounds(), 3, seed, false);
        world.run(&[]);
        let records = &mut world.driver.records;
        let len = records.len();
        records.remove(dropped.index(len));
        let other = swapped.index(len - 1);
        records.swap(0, other);
        let published = world.published();
        let recovered = crate::Coordinator::recover(
            world.driver.core.config().clone(),
            world.driver.now,
            Some(published),
            world.driver.journal().into_iter(),
            &mut Vec::new(),
        );
        if let Err(error) = recovered {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}

/// Digest of the model that a core without history makes of a journal's rounds.
fn replayed(settings: Settings, journal: &[Record]) -> params::Digest {
    let mut driver = Driver::new(settings);
    let names = ["c00", "c01", "c02"];
    for name in names {
        driver.deliver(Event::Connected { client: client(name), hello: hello(&["cat"]) });
    }
    driver.deliver(Event::Initialised { initial: initial() });
    let mut updates = Vec::new();
    for record in journal {
        match record {
            Record::RoundOpened { .. } => updates.clear(),
            Record::Accepted { client, header, payload, .. } => updates.push((client, header, payload)),
            Record::RoundClosed { report } => {
                for (client, header, payload) in updates.drain(..) {
                    // Without abandoned rounds, rounds and versions keep step.
                    let header = UpdateHeader { round: Round(report.version.0), ..header.clone() };
                    driver.upload(client, header, payload.whole().unwrap().into_owned());
                }
                for name in names {
                    let evaluation = Evaluation::default();
                    driver.deliver(Event::Evaluated {
                        client: client(name),
                        version: report.version,
                        evaluation,
                    });
                }
            }
            Record::RunStarted { .. }
            | Record::RoundEvaluated { .. }
            | Record::RoundAbandoned { .. }
            | Record::RoundReported { .. }
            | Record::Compacted { .. } => {}
        }
    }
    Published::decode(driver.published.as_ref().unwrap()).unwrap().digest
}

/// Two rounds of five clients with given weights, arriving in an order drawn from `seed`: digests and reports.
fn shuffled(seed: u64, weights: &[u32]) -> Vec<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut driver = Driver::new(settings(|settings| settings.min_clients = weights.len() as u32));
    let clients: Vec<_> = (0..weights.len()).map(|index| client(format!("c{index}"))).collect();
    for client in &clients {
        driver.deliver(Event::Connected { client: client.clone(), hello: hello(&["cat"]) });
    }
    driver.deliver(Event::Initialised { initial: initial() });
    let mut seen = Vec::new();
    for round in 1..=2 {
        let mut order: Vec<_> = (0..clients.len()).collect();
        let mut shuffle = |order: &mut Vec<usize>| {
            (1..order.len()).for_each(|place| order.swap(place, rng.random_range(0..=place)));
        };
        shuffle(&mut order);
        for &index in &order {
            let value = |place| 0.3 / (index + place + 1) as f32;
            let values: Vec<_> = (0..VALUES).map(value).collect();
            let (mut header, payload) = update(driver.core.config().run(), round, round - 1, &values);
            header.examples = weights[index];
            header.loss_milli = 1000 + index as u32;
            driver.upload(&clients[index], header, payload);
        }
        shuffle(&mut order);
        for &index in &order {
            let score = |ap50| ModelScore { ap50, ap: ap50 / 2.0, histogram: Vec::new() };
            let (global, personal) = (score(0.1 * index as f64), score(1.0 / (index + 1) as f64));
            let evaluation = Evaluation { images: 1, boxes: 1, global, personal, ..Evaluation::default() };
            let event =
                Event::Evaluated { client: clients[index].clone(), version: Version(round), evaluation };
            for effect in driver.deliver(event).0 {
                if let Effect::Report(report) = effect {
                    seen.push(serde_json::to_string(&report).unwrap());
                }
            }
        }
    }
    assert_eq!(seen.len(), 2);
    seen
}
