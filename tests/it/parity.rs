//! The same run through the real programs (gRPC, mutual TLS, journal, state on disk, an operating system that schedules as it
//! likes) and through the simulator: the same reports, the same model, bit for bit. What differs may differ: seconds, bytes on
//! the wire, and which report a download falls into.

use std::sync::{Arc, Condvar, Mutex};

use client::{Folder, Happening};
use client_core::state::{FinalModel, MODEL};
use coordinator_core::RoundReport;
use fovea_tests::{Site, Watched, Work};
use simulations::learning::Learning;
use simulations::scenario::Scenario;
use simulations::simulate;

const CLIENTS: u32 = 4;

/// Devices with unequal numbers of unlike images. `devices` says how unlike their speed and links are.
fn scenario(devices: &str) -> Scenario {
    let text = format!(
        "[run]
        seed = 41
        rounds = 3
        preset = 'toy'
        min_clients = {CLIENTS}
        [run.train]
        learning_rate = 0.05
        [run.server_optimiser]
        name = 'momentum'
        [devices]
        count = {CLIENTS}
        {devices}
        [data]
        source = 'toy'
        images = 120
        classes = 3
        feature_shift = 0.5
        partition = {{ scheme = 'quantity', log_normal = 0.7 }}"
    );
    Scenario::parse(&text, None).unwrap()
}

/// What has to be the same.
fn essence(report: &RoundReport) -> RoundReport {
    let measured = RoundReport {
        seconds: 0.0,
        wire_uplink_bytes: None,
        wire_downlink_bytes: None,
        downlink_bytes: 0,
        fetches: 0,
        ..report.clone()
    };
    assert!(measured.ap50_personal.is_some() && measured.uplink_bytes > 0 && measured.evaluation_bytes > 0);
    measured
}

fn essences(reports: &[RoundReport]) -> Vec<RoundReport> {
    reports.iter().map(essence).collect()
}

fn simulated(scenario: &Scenario) -> Vec<RoundReport> {
    let report = simulate(scenario, 1, Box::new(|_| ())).unwrap();
    assert!(report.complete, "{}", report.reason);
    report.rounds
}

fn name(index: u32) -> String {
    // As the simulator calls its devices: names decide seeds.
    format!("device-{index:05}")
}

/// Whose turn it is, so that updates arrive in an order of the test's.
#[derive(Clone, Default)]
struct Turns(Arc<(Mutex<u32>, Condvar)>);

impl Turns {
    fn wait(&self, turn: u32) {
        let passed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(passed, |passed| *passed < turn).unwrap());
    }

    fn pass(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_all();
    }
}

/// Runs the real programs; the update of device `order[0]` is accepted first in each round, and so on.
async fn real(scenario: &Scenario, order: [u32; CLIENTS as usize]) -> Vec<RoundReport> {
    let site = Site::secure(scenario.run.settings().clone()).await;
    let coordinator = site.coordinator();
    let turns = Turns::default();
    let mut clients = Vec::new();
    for (index, trainer) in (0..).zip(Learning::new(scenario).unwrap().trainers) {
        site.join(&name(index)).await;
        let place = order.iter().position(|device| *device == index).unwrap() as u32;
        let (waits, passes) = (turns.clone(), turns.clone());
        let watch = move |work| {
            if let Work::Train(round) = work {
                waits.wait((round - 1) * CLIENTS + place);
            }
            Ok(())
        };
        let told = move |happening: &Happening| {
            if let Happening::Uploaded { accepted, .. } = happening {
                assert!(accepted);
                passes.pass();
            }
        };
        clients.push(site.client(&name(index), Box::new(Watched { trainer, watch }), told));
    }
    let end = coordinator.end().await.unwrap();
    assert!(end.complete, "{}", end.reason);
    for client in clients {
        assert!(client.end().await.unwrap().complete);
    }
    let reports = site.reports();
    for index in 0..CLIENTS {
        let (folder, _) = Folder::open(&site.folder(&name(index))).unwrap();
        let last = FinalModel::decode(&folder.load_one(MODEL).unwrap().unwrap()).unwrap();
        assert_eq!(
            last.about.version,
            reports.last().unwrap().version,
            "every client ends with the last version"
        );
    }
    reports
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_programs_and_the_simulator_report_the_same() {
    let scenario = scenario("");
    let expected = essences(&simulated(&scenario));
    assert_eq!(expected.len(), 3);
    for order in [[0, 1, 2, 3], [2, 3, 1, 0]] {
        assert_eq!(essences(&real(&scenario, order).await), expected, "updates in the order {order:?}");
    }
}

#[test]
fn a_seed_gives_the_same_model_twice_however_fast_the_devices_are() {
    let expected = essences(&simulated(&scenario("")));
    for devices in [
        "",
        "images_per_second = [0.5, 500.0]",
        "uplink_bytes_per_second = [100.0, 1e6]\ndelay_ms = [0.0, 5000.0]",
        "images_per_second = [7.0, 7.0]\ndelay_ms = [3.0, 3.0]",
    ] {
        assert_eq!(essences(&simulated(&scenario(devices))), expected, "{devices}");
    }
}

#[test]
fn another_seed_gives_another_model() {
    let text = |seed| {
        let settings = scenario("").run.settings().clone();
        let run = coordinator_core::RunConfig::new(coordinator_core::Settings { seed, ..settings }).unwrap();
        let scenario = Scenario { run, ..scenario("") };
        simulated(&scenario).last().unwrap().model_digest
    };
    assert_ne!(text(41), text(42));
}
