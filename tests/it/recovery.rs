//! Programs are killed wherever they can be: the run completes, and every update counts once.
//!
//! "Once" is seen in the reports: each round has every client's update, and the versions are those of a run in which nobody
//! was killed, bit for bit; an update that was lost, or counted twice, would change them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use client::Happening;
use coordinator::store::folder::FolderStore;
use coordinator::store::{Enrolled, Entries, Entry, Store, StoreError, WriteParts};
use coordinator_core::RoundReport;
use fovea_tests::{Gate, Site, Tap, device, settings};
use params::{Digest, Layout};
use protocol::id::{ClientId, Round, Version};
use protocol::plan::ModelSpec;
use protocol::train::{
    DataSummary, EvaluateJob, EvaluateOutcome, TrainError, TrainJob, TrainOutcome, Trainer,
};
use tokio::sync::oneshot;

const CLIENTS: u32 = 3;
const ROUNDS: u32 = 2;

fn name(index: u32) -> String {
    format!("camera-{index}")
}

async fn site() -> Site {
    let site = Site::insecure(settings(CLIENTS, ROUNDS), Tap::default()).await;
    for index in 0..CLIENTS {
        site.join(&name(index)).await;
    }
    site
}

/// What must not depend on who was killed when.
#[derive(Debug, PartialEq)]
struct Counted {
    round: Round,
    version: Version,
    digest: Digest,
    contributors: u32,
    uplink_bytes: u64,
}

fn counted(reports: &[RoundReport]) -> Vec<Counted> {
    let counted = |report: &RoundReport| Counted {
        round: report.round,
        version: report.version,
        digest: report.model_digest,
        contributors: report.contributors,
        uplink_bytes: report.uplink_bytes,
    };
    reports.iter().map(counted).collect()
}

async fn undisturbed() -> Vec<Counted> {
    let site = site().await;
    let coordinator = site.coordinator();
    let clients: Vec<_> =
        (0..CLIENTS).map(|index| site.client(&name(index), device(index), |_| ())).collect();
    assert!(coordinator.end().await.unwrap().complete);
    for client in clients {
        assert!(client.end().await.unwrap().complete);
    }
    let counted = counted(&site.reports());
    assert_eq!(counted.len(), ROUNDS as usize);
    assert!(counted.iter().all(|round| round.contributors == CLIENTS));
    counted
}

/// Signals once, then holds up whoever calls.
#[derive(Debug)]
struct Death {
    /// Steps until then.
    left: usize,
    signal: Option<oneshot::Sender<()>>,
    gate: Gate,
}

impl Death {
    /// After `left` steps. The receiver hears of it; the gate lets the dead go.
    fn after(left: usize) -> (Self, oneshot::Receiver<()>, Gate) {
        let (signal, heard) = oneshot::channel();
        let gate = Gate::default();
        (Self { left, signal: Some(signal), gate: gate.clone() }, heard, gate)
    }

    /// One step; whether it was the last.
    fn step(&mut self) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return false;
        }
        if let Some(signal) = self.signal.take() {
            let _ = signal.send(());
            self.gate.pass();
        }
        true
    }
}

/// A store whose owner dies at a write: before it, or after it but before anything that follows from it.
struct Deadly {
    store: FolderStore,
    death: Mutex<Death>,
    before: bool,
}

impl Deadly {
    fn write<T>(
        &mut self,
        write: impl FnOnce(&mut FolderStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let death = self.death.get_mut().unwrap();
        if self.before && death.step() {
            return Err(StoreError::Failed);
        }
        let written = write(&mut self.store);
        if !self.before && death.step() {
            return Err(StoreError::Failed);
        }
        written
    }
}

impl Store for Deadly {
    fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        self.write(|store| store.append(entries))
    }
    fn put(&mut self, parts: &mut WriteParts<'_>) -> Result<Digest, StoreError> {
        self.write(|store| store.put(parts))
    }
    fn keep_only(&mut self, blobs: &BTreeSet<Digest>) -> Result<(), StoreError> {
        self.write(|store| store.keep_only(blobs))
    }
    fn compact(&mut self) -> Result<(), StoreError> {
        self.write(FolderStore::compact)
    }
    fn entries(&self) -> Result<Entries, StoreError> {
        self.store.entries()
    }
    fn get(&self, blob: &Digest) -> Result<Vec<u8>, StoreError> {
        self.store.get(blob)
    }
    fn versions(&self) -> Result<std::collections::BTreeMap<Version, Digest>, StoreError> {
        self.store.versions()
    }
    fn reports(&self) -> Result<std::collections::BTreeMap<Round, RoundReport>, StoreError> {
        self.store.reports()
    }
    fn enrolled(&self, client: &ClientId) -> Result<Option<Enrolled>, StoreError> {
        self.store.enrolled(client)
    }
    fn has_clients(&self) -> Result<bool, StoreError> {
        self.store.has_clients()
    }
}

/// Kills the coordinator at its write number `at` (from 0) and starts it again; `None` when it had ended by then.
async fn killed_at(at: usize, before: bool) -> Option<Vec<Counted>> {
    let site = site().await;
    let (death, died, gate) = Death::after(at);
    let deadly = move |store| Box::new(Deadly { store, death: Mutex::new(death), before }) as Box<dyn Store>;
    let coordinator = site.coordinator_with(deadly);
    let clients: Vec<_> =
        (0..CLIENTS).map(|index| site.client(&name(index), device(index), |_| ())).collect();
    // The sender is dropped with the store when the run ends first.
    let killed = died.await.is_ok();
    if killed {
        coordinator.kill(|| gate.open()).await;
        assert!(site.coordinator().end().await.unwrap().complete);
    } else {
        assert!(coordinator.end().await.unwrap().complete);
    }
    for client in clients {
        assert!(client.end().await.unwrap().complete, "every client hears of the end");
    }
    killed.then(|| counted(&site.reports()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_killed_before_or_after_any_write_loses_and_repeats_nothing() {
    let expected = undisturbed().await;
    for before in [true, false] {
        let mut writes = 0;
        while let Some(found) = killed_at(writes, before).await {
            assert_eq!(found, expected, "killed at write {writes}, before it: {before}");
            writes += 1;
        }
        assert!(writes > 10, "there are only {writes} writes: does the store of the test see them?");
    }
}

/// Kills a client when it has told its owner the thing number `at` (from 0), and starts it again; `None` when it ended before.
async fn client_killed_at(at: usize) -> Option<(Happening, Vec<Counted>)> {
    let site = site().await;
    let coordinator = site.coordinator();
    let (death, died, gate) = Death::after(at);
    let last = Arc::new(Mutex::new(None));
    let told = {
        let (last, death) = (last.clone(), Mutex::new(death));
        move |happening: &Happening| {
            let mut death = death.lock().unwrap();
            if death.signal.is_some() {
                *last.lock().unwrap() = Some(happening.clone());
            }
            death.step();
        }
    };
    let victim = site.client(&name(0), device(0), told);
    let others: Vec<_> = (1..CLIENTS).map(|index| site.client(&name(index), device(index), |_| ())).collect();
    let killed = died.await.is_ok();
    let victim = if killed {
        victim.kill(|| gate.open()).await;
        site.client(&name(0), device(0), |_| ())
    } else {
        victim
    };
    assert!(coordinator.end().await.unwrap().complete);
    for other in others {
        assert!(other.end().await.unwrap().complete);
    }
    let last = last.lock().unwrap().take().unwrap();
    if matches!(last, Happening::Finished { .. }) {
        // It has said goodbye before: nobody is left who could tell it anything.
        victim.kill(|| ()).await;
    } else {
        assert!(victim.end().await.unwrap().complete, "it hears of the end after it was killed at {last:?}");
    }
    killed.then(|| (last, counted(&site.reports())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_killed_at_any_moment_takes_part_in_every_round() {
    let expected = undisturbed().await;
    let mut moments = 0;
    while let Some((moment, found)) = client_killed_at(moments).await {
        assert_eq!(found, expected, "killed at {moment:?}");
        moments += 1;
    }
    assert!(moments > 10, "there are only {moments} moments");
}

/// A device that cannot make the start of a run itself.
struct Newcomer(Box<dyn Trainer>);

impl Trainer for Newcomer {
    fn summary(&self) -> DataSummary {
        self.0.summary()
    }

    fn prepare(&mut self, spec: &ModelSpec) -> Result<Arc<Layout>, TrainError> {
        self.0.prepare(spec)
    }

    fn train(&mut self, job: TrainJob) -> Result<TrainOutcome, TrainError> {
        self.0.train(job)
    }

    fn evaluate(&mut self, job: EvaluateJob) -> Result<EvaluateOutcome, TrainError> {
        self.0.evaluate(job)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_started_again_fetches_what_leads_on_from_the_version_it_had() {
    let site = Site::insecure(settings(2, 4), Tap::default()).await;
    for index in 0..2 {
        site.join(&name(index)).await;
    }
    let coordinator = site.coordinator();
    let fetched: Arc<Mutex<Vec<(Version, u64)>>> = Arc::default();
    let note = |fetched: &Arc<Mutex<Vec<_>>>, happening: &Happening| {
        if let Happening::Fetched { version, bytes } = *happening {
            fetched.lock().unwrap().push((version, bytes));
        }
    };
    let (death, died, gate) = Death::after(0);
    let told = {
        let (fetched, death) = (fetched.clone(), Mutex::new(death));
        move |happening: &Happening| {
            note(&fetched, happening);
            if matches!(happening, Happening::Training { round: Round(3) }) {
                death.lock().unwrap().step();
            }
        }
    };
    let victim = site.client(&name(0), Box::new(Newcomer(device(0))), told);
    let other = site.client(&name(1), device(1), |_| ());
    died.await.unwrap();
    victim.kill(|| gate.open()).await;
    let before = std::mem::take(&mut *fetched.lock().unwrap());
    let (first, whole) = before[0];
    assert_eq!(first, Version(0), "whole, as it had nothing");
    let watch = fetched.clone();
    let again =
        site.client(&name(0), Box::new(Newcomer(device(0))), move |happening| note(&watch, happening));
    assert!(coordinator.end().await.unwrap().complete);
    for client in [again, other] {
        assert!(client.end().await.unwrap().complete);
    }
    // It went on with round 3 from the version that it had, and no later one came whole either.
    let after = fetched.lock().unwrap();
    let less = |&(version, bytes): &(Version, u64)| version >= Version(3) && bytes < whole;
    assert!(!after.is_empty() && after.iter().all(less), "{after:?}, the first one has {whole} bytes");
}
