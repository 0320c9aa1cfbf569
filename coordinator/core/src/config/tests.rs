use params::{Layout, Scope, TensorSpec};
use protocol::plan::UplinkPlan;

use super::*;
use crate::registry::Choice;

fn refused(toml: &str) -> String {
    match toml::from_str::<RunConfig>(toml) {
        Ok(_) => panic!("{toml} is accepted"),
        Err(error) => error.to_string().trim().lines().last().unwrap_or_default().to_string(),
    }
}

#[track_caller]
fn check(toml: &str, expected: &str) {
    let found = refused(toml);
    assert!(found.contains(expected), "{toml}\n  found    {found}\n  expected {expected}");
}

#[test]
fn settings_out_of_range_are_refused_in_one_line() {
    for (toml, expected) in [
        ("rounds = 0", "rounds is 0, but must be from 1 to 1000000"),
        ("min_clients = 0", "min_clients is 0"),
        ("min_contributors = 0", "min_contributors is 0"),
        ("cohort = 0", "cohort is 0"),
        ("over_selection = 0.5", "over_selection is 0.5, but must be from 1 to 10"),
        ("over_selection = nan", "over_selection is NaN"),
        ("round_time_limit_s = 0.0", "round_time_limit_s is 0"),
        ("round_time_limit_s = inf", "round_time_limit_s is inf"),
        ("evaluation_time_limit_s = -1.0", "evaluation_time_limit_s is -1"),
        ("grace_s = -1.0", "grace_s is -1"),
        ("abandoned_rounds_max = 0", "abandoned_rounds_max is 0"),
        ("weight_cap = 0", "weight_cap is 0, but must be from 1 to 16384"),
        ("weight_cap = 20000", "weight_cap is 20000"),
        ("evaluate_every = 0", "evaluate_every is 0"),
        ("preset = \"\"", "length of preset is 0"),
        ("classes = []", "number of classes is 0"),
        ("classes = [\"cat\", \"cat\"]", "classes is \"cat\" twice"),
        ("classes = [\" \"]", "classes is \" \", but must be printable"),
        ("personalise = \"magic\"", "personalise is magic, but must be one of none, head"),
        ("train = { local_epochs = 0 }", "train.local_epochs is 0"),
        ("train = { learning_rate = nan }", "train.learning_rate is NaN"),
        ("train = { ema_decay = 1.0 }", "train.ema_decay is 1"),
        ("uplink = { density = 0.0 }", "floor"),
        ("uplink = { warm_up_density = 1.5 }", "uplink.warm_up_density is 1.5, but must be from 0 to 1"),
        ("uplink = { warm_up_rounds = 1000001 }", "uplink.warm_up_rounds is 1000001"),
        ("uplink = { last_rounds = 1000001 }", "uplink.last_rounds is 1000001"),
        ("downlink = { last_statistics_step = 0.5 }", "downlink.last_statistics_step is 0.5"),
        ("uplink = { last_density = nan }", "uplink.last_density is NaN"),
        ("uplink = { decay_rounds = 1000001 }", "uplink.decay_rounds is 1000001"),
        ("uplink = { residual_guard = -1.0 }", "uplink.residual_guard is -1, but must be from 0 to"),
        ("downlink = { warm_up_density = -0.1 }", "downlink.warm_up_density is -0.1"),
        ("downlink = { warm_up_rounds = 1000001 }", "downlink.warm_up_rounds is 1000001"),
        ("uplink = { residual_decay = 1.5 }", "uplink.residual_decay is 1.5"),
        ("uplink = { gain = 0.5 }", "uplink.gain is 0.5"),
        ("uplink = { budget_bytes = 63 }", "uplink: budget is 63, outside 64 bytes or more"),
        ("uplink = { value_bits = 0 }", "uplink: value bits is 0, outside 1 to 8"),
        ("uplink = { codec = \"zip\" }", "uplink: codec \"zip\" is not known; there are sparse"),
    ] {
        check(toml, expected);
    }
}

#[test]
fn unknown_settings_and_algorithms_are_refused() {
    for (toml, expected) in [
        ("round = 5", "unknown field `round`"),
        ("train = { epochs = 5 }", "unknown field `epochs`"),
        ("uplink = { bits = 5 }", "unknown field `bits`"),
        ("combine = { name = \"mode\" }", "there is no combination rule called \"mode\"; known are mean"),
        ("combine = { name = \"mean\", trim = 0.1 }", "mean: unknown field `trim`"),
        ("select = { name = \"best\" }", "there is no cohort choice called \"best\"; known are uniform"),
        (
            "server_optimiser = { name = \"adam\" }",
            "no server optimiser called \"adam\"; known are none, momentum",
        ),
        (
            "server_optimiser = { name = \"momentum\", beta = 1.0 }",
            "momentum: beta must be at least 0 and below 1, found 1",
        ),
        (
            "server_optimiser = { name = \"momentum\", learning_rate = 0 }",
            "momentum: learning_rate must be above 0",
        ),
    ] {
        check(toml, expected);
    }
}

#[test]
fn pairs_that_cannot_hold_are_refused_naming_both() {
    for (toml, expected) in [
        ("min_clients = 2\nmin_contributors = 3", "min_contributors 3 and min_clients 2 cannot go together"),
        ("cohort = 1\nmin_contributors = 2", "cohort 1 and min_contributors 2 cannot go together"),
        (
            "train = { batch = 4, micro_batch = 8 }",
            "train.micro_batch 8 and train.batch 4 cannot go together",
        ),
        (
            "uplink = { density = 0.01, floor = 0.1 }",
            "uplink.floor 0.1 and uplink.density 0.01 cannot go together",
        ),
    ] {
        check(toml, expected);
    }
}

#[test]
fn defaults_hold_and_survive_a_file() {
    let config = RunConfig::new(Settings::default()).unwrap();
    assert!(config.cautions().is_empty());
    let text = toml::to_string(&config).unwrap();
    let again: RunConfig = toml::from_str(&text).unwrap();
    assert_eq!((again.settings(), again.run()), (config.settings(), config.run()));
}

#[test]
fn algorithms_are_chosen_by_name_with_their_settings() {
    let text = "[server_optimiser]\nname = \"momentum\"\nbeta = 0.9\n";
    let config: RunConfig = toml::from_str(text).unwrap();
    assert_eq!(config.cautions().len(), 1, "strong momentum on top of slowly decayed residuals");
    let plain = Settings { server_optimiser: Choice::named("momentum"), ..Settings::default() };
    assert!(RunConfig::new(plain).unwrap().cautions().is_empty());
}

#[test]
fn a_run_is_named_by_what_its_updates_mean() {
    let base = Settings::default();
    let name = |settings: Settings| RunConfig::new(settings).unwrap().run();
    let other_seed = Settings { seed: 1, ..base.clone() };
    assert_ne!(name(base.clone()), name(other_seed.clone()));
    assert_eq!(difference(&base, &other_seed), Some(("seed".into(), "0".into(), "1".into())));
    let patient = Settings { grace_s: 600.0, min_clients: 1, cohort: Some(8), ..base.clone() };
    assert_eq!(name(base.clone()), name(patient.clone()));
    assert_eq!(difference(&base, &patient), None);
    let fields = serde_json::to_value(&base).unwrap();
    for setting in settings::OPERATIONAL {
        assert!(fields.get(setting).is_some(), "{setting} is no setting");
    }
}

#[test]
fn one_device_that_fails_does_not_cost_a_round_unless_it_would_expose_another() {
    for (min_clients, cohort, expected) in [
        (1, None, 1),
        (2, None, 2),
        (3, None, 2),
        (4, None, 2),
        (5, None, 3),
        (100, None, 50),
        (100, Some(10), 5),
        (4, Some(10), 2),
        (10, Some(2), 2),
        (10, Some(1), 1),
    ] {
        let config = RunConfig::new(Settings { min_clients, cohort, ..Settings::default() }).unwrap();
        assert_eq!(config.min_contributors(), expected, "{min_clients} clients, cohort {cohort:?}");
        assert_eq!(config.cautions().len(), usize::from(expected == 1));
    }
}

#[test]
fn cohorts_are_as_large_as_asked() {
    let asked = |cohort, connected| {
        let settings = Settings { cohort, min_clients: 1, ..Settings::default() };
        RunConfig::new(settings).unwrap().asked_and_goal(connected)
    };
    for (cohort, connected, expected) in [
        (None, 7, (7, 7)),
        (Some(10), 100, (13, 10)),
        (Some(10), 12, (12, 10)),
        (Some(10), 4, (4, 4)),
        (Some(1), 100, (2, 1)),
    ] {
        assert_eq!(asked(cohort, connected), expected, "{cohort:?} of {connected}");
    }
}

#[test]
fn plans_follow_the_schedule_of_the_run() {
    let train = TrainSettings { mosaic: 0.5, ..TrainSettings::default() };
    let plan = |version| train.plan(Version(version), 20);
    assert_eq!((plan(0).progress_start, plan(0).progress_end), (0.0, 0.05));
    assert_eq!((plan(19).progress_start, plan(19).progress_end), (0.95, 1.0));
    assert!(plan(1).static_assignment && !plan(2).static_assignment);
    assert_eq!((plan(16).mosaic, plan(17).mosaic), (0.5, 0.0));
}

#[test]
fn the_densities_of_a_run_follow_its_versions() {
    let (uplink, downlink) = (UplinkSettings::default(), DownlinkSettings::default());
    for version in 4..17 {
        assert_eq!(uplink.plan(Version(version), 20), UplinkPlan::default(), "between beginning and end");
    }
    // 25 % to 1 % in four steps of the ratio 25^(1/4), and 4 % at the end.
    let thinning = UplinkSettings {
        density: 0.01,
        warm_up_density: 0.25,
        warm_up_rounds: 4,
        last_density: 0.04,
        last_rounds: 2,
        ..uplink
    };
    let versions = DownlinkSettings {
        density: 0.01,
        warm_up_density: 0.25,
        warm_up_rounds: 4,
        last_density: 0.04,
        last_rounds: 2,
        ..downlink
    };
    for (version, density) in
        [(0, 0.25), (1, 0.111_803), (2, 0.05), (3, 0.022_361), (4, 0.01), (17, 0.01), (18, 0.02), (19, 0.04)]
    {
        let planned = thinning.plan(Version(version), 20).density;
        assert!((planned - density).abs() < 1e-6, "update from version {version}: {planned}");
        let published = versions.share(Version(version + 1), 20).unwrap().0;
        assert_eq!(published, planned, "the version that these updates make");
    }
    assert_eq!(thinning.plan(Version(4), 20), thinning.steady());
    assert_eq!(versions.share(Version(5), 20), versions.steady());
    // Nothing becomes sparser than the rest of the run.
    let dense = UplinkSettings { density: 1.0, ..thinning };
    assert!((0..20).all(|version| dense.plan(Version(version), 20).density == 1.0));
    let exact = DownlinkSettings { density: 0.0, ..versions };
    assert_eq!(exact.share(Version(1), 20), None);
    let codes = |version| DownlinkSettings::default().statistics_shift(Version(version), 20);
    assert_eq!([1, 19, 20].map(codes), [5, 5, 2], "1/8 of a standard deviation is 32 codes, 1/64 is 4");
}

#[test]
fn residuals_may_begin_to_decay_gently() {
    let uplink = UplinkSettings { decay_rounds: 50, ..UplinkSettings::default() };
    for (version, decay) in [(0, 1.0), (25, 0.95), (50, 0.9), (1000, 0.9)] {
        let found = uplink.plan(Version(version), 2000).residual_decay;
        assert!((found - decay).abs() < 1e-6, "version {version}: {found}");
    }
}

#[test]
fn versions_move_further_than_the_mean_of_updates_while_these_are_sparse() {
    let spec = TensorSpec { name: "a.weight".into(), shape: vec![1000], scope: Scope::Shared };
    let layout = Layout::new(vec![spec]).unwrap();
    let gains = |uplink: UplinkSettings| {
        let config = RunConfig::new(Settings { uplink, ..Settings::default() }).unwrap();
        [0, 3, 4, 16, 17, 19].map(|version| config.gain(Version(version), &layout))
    };
    let uplink = UplinkSettings { gain: 1.75, ..UplinkSettings::default() };
    assert_eq!(gains(uplink.clone()), [1.0, 1.0, 1.75, 1.75, 1.0, 1.0], "denser at both ends");
    let everywhere = UplinkSettings { warm_up_rounds: 0, last_rounds: 0, ..uplink.clone() };
    assert_eq!(gains(everywhere), [1.75; 6]);
    // Nothing waits on the devices.
    for codec in ["dense", "int8"] {
        assert_eq!(gains(UplinkSettings { codec: codec.into(), ..uplink.clone() }), [1.0; 6], "{codec}");
    }
}

/// What the plan of a round asks for is let in, whichever version it starts from.
#[test]
fn every_round_admits_what_it_asks_for() {
    let tensors = [("a.weight", vec![40, 50]), ("b.weight", vec![300])];
    let tensors = tensors.map(|(name, shape)| TensorSpec { name: name.into(), shape, scope: Scope::Shared });
    let layout = Layout::new(tensors.to_vec()).unwrap();
    let values: Vec<f32> = (0..layout.len()).map(|number| (number as f32 * 0.7).sin()).collect();
    let uplink = UplinkSettings { warm_up_rounds: 4, last_density: 0.5, ..UplinkSettings::default() };
    let config = RunConfig::new(Settings { uplink, ..Settings::default() }).unwrap();
    let settings = config.settings();
    for version in (0..settings.rounds).map(Version) {
        let plan = settings.uplink.plan(version, settings.rounds);
        let encoded = codec_of(&plan).unwrap().encode(&layout, &values).unwrap();
        let most = config.codec(version).entries_max(&layout);
        assert!(encoded.entries.len() <= most && most < layout.len(), "version {version}: {most}");
    }
}
