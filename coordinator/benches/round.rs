//! What a round costs when nobody trains: time, the coordinator's processor time and memory, and how near the sums come to the
//! bandwidth of memory.
//!
//! `cargo bench -p coordinator --no-default-features`, with `-- dense` also five hundred dense updates of 16 MB, which takes
//! minutes and 8 GB of disk; as a test it runs with next to nothing. The coordinator is a process of its own with its state on
//! disk and mutual TLS over loopback, so that what is measured of it is its own. Clients fetch each version, send an update,
//! and evaluate in no time. Prints `figure NAME VALUE UNIT`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

#[path = "round/aggregate.rs"]
mod aggregate;
#[path = "round/clients.rs"]
mod clients;
#[path = "round/host.rs"]
mod host;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use clients::Federation;
use host::Task;

/// What a coordinator's process said of itself.
struct Measured {
    /// Milliseconds from one report to the next, sorted.
    rounds: Vec<f64>,
    /// Processor time of the coordinator from one report to the next, milliseconds, sorted.
    cpu: Vec<f64>,
    /// Bytes up and down from the first report to the last, per client and round.
    bytes: [f64; 2],
    /// Peak of its resident memory, kB.
    peak: f64,
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--coordinator") {
        // As the binary.
        coordinator::memory::be_frugal();
        return host::serve(&arguments[place + 1], &Task::parse(&arguments[place + 2]));
    }
    let bench = arguments.iter().any(|argument| argument == "--bench");
    let dense = arguments.iter().any(|argument| argument == "dense");
    let task = Task::here;
    if arguments.iter().any(|argument| argument == "aggregate") {
        return aggregate::run(4_000_000, 20);
    }
    // One task alone, for a closer look: `-- only 8,4,4000000,dense`. With an address and a command that leads there, the
    // coordinator is elsewhere: `-- only 8,4,4000000,dense,10.77.0.1 nsenter --net=/proc/1/ns/net`, as simulations/peers has it.
    if let Some(place) = arguments.iter().position(|argument| argument == "only") {
        let there = arguments[place + 2..].iter().take_while(|argument| *argument != "--bench").cloned();
        let measured = measure_through(&there.collect::<Vec<_>>(), &Task::parse(&arguments[place + 1]));
        for round in &measured.rounds {
            println!("figure only/each {round:.2} ms");
        }
        println!("figure only/round {:.2} ms", median(&measured.rounds));
        println!("figure only/cpu {:.1} ms", median(&measured.cpu));
        println!("figure only/peak {:.1} MB", measured.peak / 1e3);
        println!("figure only/up {:.6} MB", measured.bytes[0] / 1e6);
        println!("figure only/down {:.6} MB", measured.bytes[1] / 1e6);
        return;
    }
    if !bench {
        measure(&task(2, 3, 1000, "sparse"));
        return aggregate::run(1000, 2);
    }

    for (clients, rounds) in [(2, 40), (8, 40), (32, 20)] {
        let empty = measure(&task(clients, rounds, 10_000, "sparse"));
        let name = if clients == 8 { "empty".to_owned() } else { format!("empty_{clients}") };
        println!("figure round/{name} {:.1} ms", median(&empty.rounds));
        println!("figure round/{name}_least {:.1} ms", empty.rounds[0]);
        println!("figure round/{name}_cpu {:.1} ms", median(&empty.cpu));
        println!("figure round/{name}_peak {:.1} MB", empty.peak / 1e3);
    }
    for clients in [8, 32] {
        let full = measure(&task(clients, 4, 4_000_000, "dense"));
        println!("figure round/dense_4M_{clients} {:.0} ms", median(&full.rounds));
        println!("figure round/dense_4M_{clients}_cpu {:.0} ms", median(&full.cpu));
        println!("figure round/dense_4M_{clients}_peak {:.1} MB", full.peak / 1e3);
    }
    let grown = |codec| {
        let peak = |clients| measure(&task(clients, 1, 4_000_000, codec)).peak;
        (peak(500) - peak(5)) / 1e3
    };
    println!("figure memory/500_minus_5 {:.1} MB", grown("sparse"));
    if dense {
        println!("figure memory/500_minus_5_dense {:.1} MB", grown("dense"));
    }
    aggregate::run(4_000_000, 20);
}

/// One run of a coordinator and its clients.
fn measure(task: &Task) -> Measured {
    measure_through(&[], task)
}

/// The same, with these words before the coordinator's command.
fn measure_through(there: &[String], task: &Task) -> Measured {
    let root = tempfile::tempdir().unwrap();
    let federation = Federation::prepare(root.path(), task.clients);
    let program = std::env::current_exe().unwrap();
    let mut words = there.iter().map(OsStr::new).chain([program.as_os_str()]);
    let mut coordinator = Command::new(words.next().unwrap())
        .args(words)
        .args(["--coordinator".as_ref(), root.path().as_os_str(), task.text().as_ref()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(coordinator.stdout.take().unwrap()).lines().map(Result::unwrap);
    let port = lines.next().unwrap().parse().unwrap();
    let clients = std::thread::spawn({
        let task = task.clone();
        move || federation.run(port, &task)
    });
    let mut measured = Measured { rounds: Vec::new(), cpu: Vec::new(), bytes: [0.0; 2], peak: 0.0 };
    let (mut before, mut now) = (None, (0.0, 0.0));
    let (mut bytes, mut first) = ([0.0; 2], None);
    for line in lines {
        let (name, value) = line.split_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        match name {
            "up" => bytes[0] = value,
            "down" => bytes[1] = value,
            "at" => now.0 = value,
            "cpu" => {
                now.1 = value;
                first.get_or_insert(bytes);
                if let Some((at, cpu)) = before.replace(now) {
                    measured.rounds.push(now.0 - at);
                    measured.cpu.push(now.1 - cpu);
                }
            }
            "peak" => measured.peak = value,
            _ => panic!("{line}"),
        }
    }
    assert!(coordinator.wait().unwrap().success());
    clients.join().unwrap();
    let share = measured.rounds.len() as f64 * f64::from(task.clients);
    measured.bytes = [0, 1].map(|way| (bytes[way] - first.map_or(0.0, |first| first[way])) / share);
    measured.rounds.sort_by(f64::total_cmp);
    measured.cpu.sort_by(f64::total_cmp);
    measured
}

/// Not a number when there is only one report, between which and itself nothing lies.
fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
