//! Uploads over a bad link, with the real coordinator and real clients: 256 kbit/s each way, 300 ms to and fro, 5 % of the packets lost, every
//! connection cut every 20 seconds; each client has a link of its own. What a link makes of TCP is said in `src/link/path.rs`.
//!
//! `figure link/uploads_completed`: updates that count over those that were asked for. `link/resent`: bytes of packets that crossed the links from clients
//! beyond those of the same run over links that are never cut, handshakes of new connections included, over the bytes of the updates;
//! `link/written_again`: the same of the bytes that clients wrote into their sockets, many of which were still there when a cut came.
//! `link/seconds_over_ideal`: time from the end of training to the receipt over the time of the update's bytes at the link's rate; beside it, the
//! same of one TCP connection that is never cut. The link's clock runs ten times as fast as ours (`-- SPEED` for another factor; 1 is real time).
#![expect(clippy::print_stdout, reason = "figures go to standard output")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::Happening;
use coordinator_core::Settings;
use fovea_tests::{Carried, Conditions, Flat, Link, Site};

const CLIENTS: u32 = 3;
/// For the run, by our clock.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How much is done.
#[derive(Clone, Copy)]
struct Size {
    values: usize,
    rounds: u32,
    speed: f64,
}

/// An update on its way, by the link's clock.
#[derive(Clone, Copy)]
struct Upload {
    bytes: u64,
    takes: Duration,
}

/// What came of a run.
struct Outcome {
    uploads: Vec<Upload>,
    carried: Carried,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let speed = arguments.iter().find_map(|argument| argument.parse().ok());
    let size = if arguments.iter().any(|argument| argument == "--test") {
        Size { values: 20_000, rounds: 1, speed: 100.0 }
    } else {
        Size { values: 4_000_000, rounds: 6, speed: speed.unwrap_or(10.0) }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let bad = runtime.block_on(run(size, Conditions::BAD));
    let calm = runtime.block_on(run(size, Conditions { cut: None, ..Conditions::BAD }));

    let asked = f64::from(CLIENTS * size.rounds);
    let bytes: u64 = bad.uploads.iter().map(|upload| upload.bytes).sum();
    let beyond =
        |of: fn(&Carried) -> u64| 100.0 * (of(&bad.carried) as f64 - of(&calm.carried) as f64) / bytes as f64;
    let seconds: f64 = bad.uploads.iter().map(|upload| upload.takes.as_secs_f64()).sum();
    let ideal = bytes as f64 / Conditions::BAD.bytes_per_second;
    let unbroken =
        |upload: &Upload| Conditions::BAD.transfer(upload.bytes as usize, upload.bytes).as_secs_f64();
    let unbroken: f64 = bad.uploads.iter().map(unbroken).sum();
    println!("figure link/updates {:.1} kB", bytes as f64 / 1e3 / asked);
    println!("figure link/cuts {} 1", bad.carried.cuts);
    println!("figure link/uploads_completed {} x", bad.uploads.len() as f64 / asked);
    println!("figure link/resent {:.1} %", beyond(|carried| carried.packets_up));
    println!("figure link/written_again {:.1} %", beyond(|carried| carried.up));
    println!("figure link/packets_over_updates {:.2} x", bad.carried.packets_up as f64 / bytes as f64);
    println!("figure link/seconds_over_ideal {:.2} x", seconds / ideal);
    println!("figure link/unbroken_over_ideal {:.2} x", unbroken / ideal);
}

async fn run(size: Size, conditions: Conditions) -> Outcome {
    let settings = Settings {
        preset: "flat".to_owned(),
        rounds: size.rounds,
        min_clients: CLIENTS,
        ..Settings::default()
    };
    let flat = Flat { values: size.values };
    let site = Site::secure(settings).await.with_learning(Arc::new(flat));
    let coordinator = site.coordinator();
    let uploads = Arc::new(Mutex::new(Vec::new()));
    let (mut links, mut clients) = (Vec::new(), Vec::new());
    for index in 0..CLIENTS {
        let name = format!("camera-{index}");
        site.join(&name).await;
        let link = Link::open(site.network.socket(), conditions, size.speed, u64::from(index) + 1).await;
        let connector = site.connector_at(&name, &link.address().to_string().parse().expect("an address"));
        let (uploads, mut trained) = (uploads.clone(), Instant::now());
        let watch = move |happening: &Happening| match happening {
            Happening::Trained { .. } => trained = Instant::now(),
            Happening::Uploaded { bytes, accepted: true, .. } => {
                let takes = trained.elapsed().mul_f64(size.speed);
                uploads.lock().expect("no other client fails").push(Upload { bytes: *bytes, takes });
            }
            _ => (),
        };
        clients.push(site.client_over(&name, connector, Box::new(flat), watch));
        links.push(link);
    }
    let end = coordinator.end_within(PATIENCE).await.expect("the run goes on");
    assert!(end.complete, "the run ended early");
    let mut carried = Carried::default();
    for (client, link) in clients.into_iter().zip(&links) {
        let _ = client.end_within(PATIENCE).await;
        let Carried { connections, cuts, up, packets_up } = link.carried();
        carried.connections += connections;
        carried.cuts += cuts;
        carried.up += up;
        carried.packets_up += packets_up;
    }
    let uploads = std::mem::take(&mut *uploads.lock().expect("no client is left"));
    Outcome { uploads, carried }
}
