use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn samples() -> impl Strategy<Value = Vec<SampleTraits>> {
    let classes = proptest::collection::btree_set(0_u32..5, 0..4);
    let sample = (classes, 0_u32..4).prop_map(|(classes, site)| SampleTraits {
        classes: classes.into_iter().collect(),
        site: Some(site),
    });
    proptest::collection::vec(sample, 0..120)
}

fn schemes() -> Vec<(&'static str, Box<dyn Partition>)> {
    let parse = |text: &&str| serde_json::from_str(text).unwrap();
    REGISTRY
        .iter()
        .flat_map(|entry| {
            entry.examples.iter().map(move |text| (entry.name, (entry.build)(parse(text)).unwrap()))
        })
        .collect()
}

proptest! {
    /// The laws of every scheme: a partition, ascending, the same again, nobody without samples if there are enough.
    #[test]
    fn laws(samples in samples(), clients in 1_usize..12, seed: u64) {
        for (name, scheme) in schemes() {
            let parts = divide(scheme.as_ref(), &samples, clients, seed).unwrap();
            prop_assert_eq!(parts.len(), clients, "{}", name);
            let mut all: Vec<usize> = parts.iter().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..samples.len()).collect::<Vec<_>>(), "{}", name);
            if samples.len() >= clients {
                prop_assert!(parts.iter().all(|part| !part.is_empty()), "{}: {:?}", name, parts);
            }
            for part in &parts {
                prop_assert!(part.is_sorted(), "{}: {:?}", name, part);
            }
            prop_assert_eq!(&parts, &divide(scheme.as_ref(), &samples, clients, seed).unwrap(), "{}", name);
        }
    }

    #[test]
    fn holdout_laws(samples in samples(), fraction in 0.0_f64..1.0, min in 0_usize..5, seed: u64) {
        let split = split_holdout(&samples, fraction, min, seed);
        let total = samples.len();
        let expected = ((fraction * total as f64).round() as usize).max(min).min(total / 2);
        prop_assert_eq!(split.held_out.len(), expected);
        let all: BTreeSet<usize> = split.train.iter().chain(&split.held_out).copied().collect();
        prop_assert_eq!(all.len(), total);
        prop_assert_eq!(split.train.len() + split.held_out.len(), total);
        prop_assert!(split.train.is_sorted() && split.held_out.is_sorted());
        prop_assert_eq!(&split, &split_holdout(&samples, fraction, min, seed));
        // Each set of classes is held out in proportion, to within one sample.
        for set in samples.iter().map(|s| &s.classes).collect::<BTreeSet<_>>() {
            let has = |&&index: &&usize| &samples[index].classes == set;
            let members = samples.iter().filter(|s| &s.classes == set).count();
            let held = split.held_out.iter().filter(has).count() as f64;
            let share = members as f64 * expected as f64 / total as f64;
            prop_assert!((held - share).abs() < 1.0 + 1e-9, "{} of {} held, {} expected", held, members, share);
        }
    }
}

fn config(value: Value) -> Result<Box<dyn Partition>, PartitionError> {
    serde_json::from_value::<PartitionConfig>(value).unwrap().build()
}

/// Two sets of classes, as many of each.
fn two_sets(count: usize) -> Vec<SampleTraits> {
    let sample = |i: usize| SampleTraits {
        classes: if i.is_multiple_of(2) { vec![0] } else { vec![0, 1] },
        site: None,
    };
    (0..count).map(sample).collect()
}

/// How far the clients' shares of the samples with class 1 lie from even, 0 (even) to nearly 1.
fn skew(scheme: Value) -> f64 {
    let samples = two_sets(4000);
    let scheme = config(scheme).unwrap();
    let parts = divide(scheme.as_ref(), &samples, 4, 3).unwrap();
    let share =
        |part: &Vec<usize>| part.iter().filter(|&&i| samples[i].classes.contains(&1)).count() as f64 / 2000.0;
    parts.iter().map(|part| (share(part) - 0.25).abs()).sum::<f64>() / 1.5
}

#[test]
fn dirichlet_skews_the_more_the_smaller_alpha() {
    for over in ["class-set", "rarest-class"] {
        let skews =
            [1e4, 1.0, 1e-3].map(|alpha| skew(json!({"scheme": "dirichlet", "alpha": alpha, "over": over})));
        assert!(
            skews[0] < 0.05 && skews[0] < skews[1] && skews[1] < skews[2] && skews[2] > 0.95,
            "{over}: {skews:?}"
        );
    }
    assert!(skew(json!({"scheme": "iid"})) < 0.05);
}

#[test]
fn shares_of_a_dirichlet_distribution_have_its_mean_and_variance() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for alpha in [0.3, 1.0, 5.0] {
        let (clients, draws) = (5_usize, 4000);
        let first: Vec<f64> = (0..draws)
            .map(|_| {
                let shares = dirichlet_shares(clients, alpha, &mut rng);
                shares[0] / shares.iter().sum::<f64>()
            })
            .collect();
        let mean = first.iter().sum::<f64>() / draws as f64;
        let variance = first.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws as f64;
        // Mean 1/k and variance (1/k)(1 - 1/k) / (k alpha + 1).
        let expected = 0.2 * 0.8 / (5.0 * alpha + 1.0);
        assert!((mean - 0.2).abs() < 0.02, "alpha {alpha}: mean {mean}");
        assert!(
            (variance / expected - 1.0).abs() < 0.15,
            "alpha {alpha}: variance {variance}, expected {expected}"
        );
    }
    for alpha in [1e-12, 1e-300, 1e300] {
        assert!(dirichlet_shares(9, alpha, &mut rng).iter().all(|share| share.is_finite()), "{alpha}");
    }
}

#[test]
fn quantity_changes_amounts_only() {
    let samples = two_sets(4000);
    let scheme = config(json!({"scheme": "quantity", "log_normal": 1.0})).unwrap();
    let parts = divide(scheme.as_ref(), &samples, 8, 5).unwrap();
    let sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
    assert!(sizes.iter().max() > sizes.iter().min().map(|least| least * 3).as_ref(), "{sizes:?}");
    for part in parts.iter().filter(|part| part.len() > 200) {
        let share = part.iter().filter(|&&i| i % 2 == 1).count() as f64 / part.len() as f64;
        assert!((share - 0.5).abs() < 0.12, "{share}");
    }
}

#[test]
fn sites_stay_together() {
    let samples: Vec<SampleTraits> =
        (0..90).map(|i| SampleTraits { classes: vec![], site: Some(10 * (i % 3)) }).collect();
    let scheme = config(json!({"scheme": "by-site"})).unwrap();
    for (clients, sizes) in [(3, vec![30, 30, 30]), (2, vec![60, 30]), (1, vec![90]), (6, vec![15; 6])] {
        let parts = divide(scheme.as_ref(), &samples, clients, 0).unwrap();
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
        if clients >= 3 {
            for part in &parts {
                assert_eq!(part.iter().map(|&i| samples[i].site).collect::<BTreeSet<_>>().len(), 1);
            }
        }
    }
    let unknown = divide(scheme.as_ref(), &two_sets(3), 2, 0).unwrap_err();
    assert_eq!(unknown.to_string(), "partition by-site: sample 0 has no site");
}

#[test]
fn wrong_configurations_are_named() {
    let table = [
        (
            json!({"scheme": "random"}),
            "no scheme \"random\", expected one of iid, dirichlet, quantity, by-site",
        ),
        (json!({"scheme": "iid", "alpha": 1}), "partition iid: unknown field `alpha`"),
        (json!({"scheme": "dirichlet"}), "partition dirichlet: missing field `alpha`"),
        (json!({"scheme": "dirichlet", "alpha": 0.0}), "partition dirichlet: 0, expected more than 0"),
        (json!({"scheme": "dirichlet", "alpha": 1.0, "over": "first"}), "unknown variant `first`"),
        (json!({"scheme": "quantity", "log_normal": -1.0}), "-1, expected more than 0"),
    ];
    for (value, expected) in table {
        let message = config(value).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let iid = config(json!({"scheme": "iid"})).unwrap();
    assert!(matches!(divide(iid.as_ref(), &two_sets(3), 0, 1), Err(PartitionError::NoClients)));
}

#[test]
fn a_configuration_survives_writing() {
    let config: PartitionConfig =
        serde_json::from_value(json!({"scheme": "dirichlet", "alpha": 0.5})).unwrap();
    assert_eq!(serde_json::to_value(&config).unwrap(), json!({"scheme": "dirichlet", "alpha": 0.5}));
}
