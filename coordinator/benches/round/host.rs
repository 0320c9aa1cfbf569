//! The coordinator's process.

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use coordinator::learning::Learning;
use coordinator::limits::{FAREWELL_TIME, INGEST_MIB};
use coordinator::state::StateFolder;
use coordinator::store::folder::FolderStore;
use coordinator::{Meter, Output, Parts, run, secure, tcp};
use coordinator_core::{InitialModel, Published, RunConfig, Settings};
use params::{Layout, Scope, TensorSpec};
use protocol::evaluation::CentralScore;
use protocol::plan::ModelSpec;

/// What is run.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) clients: u32,
    pub(crate) rounds: u32,
    pub(crate) values: usize,
    pub(crate) codec: String,
    /// Where the coordinator listens.
    pub(crate) address: Ipv4Addr,
}

impl Task {
    pub(crate) fn here(clients: u32, rounds: u32, values: usize, codec: &str) -> Self {
        Self { clients, rounds, values, codec: codec.to_owned(), address: Ipv4Addr::LOCALHOST }
    }

    pub(crate) fn text(&self) -> String {
        format!("{},{},{},{},{}", self.clients, self.rounds, self.values, self.codec, self.address)
    }

    pub(crate) fn parse(text: &str) -> Self {
        let words: Vec<_> = text.split(',').collect();
        let number = |place: usize| words[place].parse().unwrap();
        let address = words.get(4).map_or(Ipv4Addr::LOCALHOST, |word| word.parse().unwrap());
        Self { address, ..Self::here(number(0), number(1), number(2) as usize, words[3]) }
    }

    fn config(&self) -> RunConfig {
        let mut settings = Settings {
            preset: format!("flat{}", self.values),
            rounds: self.rounds,
            min_clients: self.clients,
            ..Settings::default()
        };
        settings.uplink.codec.clone_from(&self.codec);
        RunConfig::new(settings).unwrap()
    }
}

/// Sixty-four shared tensors of one size.
pub(crate) fn layout(values: usize) -> Arc<Layout> {
    const TENSORS: usize = 64;
    let tensor = |index: usize| TensorSpec {
        name: format!("tensor{index}"),
        shape: vec![(values * (index + 1) / TENSORS) - (values * index / TENSORS)],
        scope: Scope::Shared,
    };
    Arc::new(Layout::new((0..TENSORS).map(tensor).collect()).unwrap())
}

struct Flat(usize);

impl Learning for Flat {
    fn knows(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn initial(&self, _: &ModelSpec, _: u64) -> Result<InitialModel, String> {
        let shared = (0..self.0).map(|index| (index as f32 * 0.37).sin()).collect();
        Ok(InitialModel { layout: layout(self.0), shared, statistics: Vec::new() })
    }

    fn score(&self, _: &ModelSpec, _: &Published) -> Result<CentralScore, String> {
        Err("there is nothing to score".to_owned())
    }

    fn save(&self, _: &Path, _: &ModelSpec, _: &Published) -> Result<(), String> {
        Ok(())
    }
}

/// Says when a report is printed, and what the process has used by then.
struct Reports {
    started: Instant,
}

impl Write for Reports {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if String::from_utf8_lossy(bytes).contains("\"event\":\"round\"") {
            say("at", 1e3 * self.started.elapsed().as_secs_f64());
            let [up, down] = crossed();
            say("up", up);
            say("down", down);
            say("cpu", cpu_ms());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn say(name: &str, value: f64) {
    println!("{name} {value}");
}

/// Processor time of all threads that are there, milliseconds.
fn cpu_ms() -> f64 {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    let spent = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    spent.sum::<f64>() / 1e6
}

/// Bytes that all interfaces but loopback have received and sent: in a network of its own, what clients sent and got.
fn crossed() -> [f64; 2] {
    let text = fs::read_to_string("/proc/net/dev").unwrap();
    let others = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    others.fold([0.0; 2], |[received, sent], (_, counts)| {
        let count = |place| counts.split_whitespace().nth(place).map_or(0.0, |count| count.parse().unwrap());
        [received + count(0), sent + count(8)]
    })
}

/// Peak of the resident memory, kB.
fn peak_kb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Runs a coordinator on this state folder.
pub(crate) fn serve(state: &str, task: &Task) {
    let runtime = coordinator::runtime().unwrap();
    runtime.block_on(async {
        let folder = StateFolder::open(Path::new(state)).unwrap();
        let (store, _) = FolderStore::open(&folder).unwrap();
        let listener = tokio::net::TcpListener::bind((task.address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (security, _) = secure(&folder, &[], address, &store).unwrap();
        println!("{}", address.port());
        let parts = Parts {
            store: Box::new(store),
            learning: Arc::new(Flat(task.values)),
            incoming: tcp(listener),
            security,
            output: Output::to(Box::new(Reports { started: Instant::now() }), true, None),
            meter: Arc::new(Meter::default()),
            farewell_time: FAREWELL_TIME,
            ingest_bytes: u64::from(INGEST_MIB) << 20,
            uploads: Some(folder.join("uploads")),
        };
        let end = run(task.config(), parts, std::future::pending()).await.unwrap();
        assert!(end.complete, "{}", end.reason);
    });
    say("peak", peak_kb());
}
