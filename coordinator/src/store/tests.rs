//! What every store promises, and what the folder does after kills, damage and a full disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use coordinator_core::{Record, RoundReport, Settings};
use params::Digest;
use protocol::id::{ClientId, Round, RunId, Version};
use protocol::message::UpdateHeader;
use protocol::plan::ModelSpec;
use serde_json::json;

use super::folder::FolderStore;
use super::memory::MemoryStore;
use super::{Enrolled, Entry, Store, StoreError};
use crate::state::StateFolder;

fn open(root: &Path) -> FolderStore {
    FolderStore::open(&StateFolder::open(root).unwrap()).unwrap().0
}

fn client(name: &str) -> ClientId {
    ClientId::new(name).unwrap()
}

fn enrolled(name: &str) -> Entry {
    Entry::Enrolled(Enrolled { client: client(name), at_unix_s: 5 })
}

fn version(number: u32, blob: Digest) -> Entry {
    Entry::Version { version: Version(number), blob }
}

fn accepted(payload: &[u8]) -> Entry {
    let header = UpdateHeader {
        run: RunId(1),
        round: Round(2),
        version: Version(1),
        layout: Digest([1; 32]),
        examples: 3,
        steps: 4,
        loss_milli: 5,
        length: payload.len() as u32,
        payload_digest: Digest::of(&[payload]),
    };
    Entry::Record(Record::Accepted { round: Round(2), client: client("a"), header, payload: payload.into() })
}

fn entries(store: &dyn Store) -> Vec<Entry> {
    store.entries().unwrap().map(Result::unwrap).collect()
}

fn put(store: &mut dyn Store, bytes: &[u8]) -> Digest {
    // In two parts.
    let (start, end) = bytes.split_at(bytes.len() / 2);
    store.put(&mut |write| write(start).and_then(|()| write(end))).unwrap()
}

/// The promises of [`Store`], for any of them.
fn check_promises(store: &mut dyn Store) {
    assert!(entries(store).is_empty());
    assert_eq!(store.enrolled(&client("a")).unwrap(), None);
    assert!(!store.has_clients().unwrap());
    let blob = put(&mut *store, b"weights");
    assert_eq!(put(&mut *store, b"weights"), blob);
    assert_eq!(store.get(&blob).unwrap(), b"weights");
    let later = put(&mut *store, b"weights with statistics");
    let appended = vec![enrolled("a"), accepted(b"\n{}\0"), version(0, blob), version(0, later)];
    store.append(&appended[..2]).unwrap();
    store.append(&appended[2..]).unwrap();
    assert_eq!(entries(store), appended);
    assert_eq!(store.enrolled(&client("a")).unwrap().unwrap().at_unix_s, 5);
    assert_eq!(store.enrolled(&client("ab")).unwrap(), None);
    assert!(store.has_clients().unwrap());
    assert_eq!(store.versions().unwrap().into_iter().collect::<Vec<_>>(), [(Version(0), later)]);
    assert!(store.reports().unwrap().is_empty());
    store.keep_only(&BTreeSet::from([later])).unwrap();
    assert!(matches!(store.get(&blob), Err(StoreError::Blob { problem: "missing", .. })));
    assert_eq!(store.get(&later).unwrap(), b"weights with statistics");
}

#[test]
fn the_store_in_memory_keeps_its_promises() {
    check_promises(&mut MemoryStore::default());
}

#[test]
fn the_store_in_a_folder_keeps_its_promises_and_keeps_everything_over_a_restart() {
    let root = tempfile::tempdir().unwrap();
    check_promises(&mut open(root.path()));
    let store = open(root.path());
    assert_eq!(entries(&store).len(), 4);
    assert_eq!(store.versions().unwrap().len(), 1);
    assert!(store.enrolled(&client("a")).unwrap().is_some());
}

#[test]
fn a_lost_or_damaged_index_is_made_again_from_the_journal() {
    for damage in [remove_index, spoil_index] {
        let root = tempfile::tempdir().unwrap();
        check_promises(&mut open(root.path()));
        damage(&root.path().join("index"));
        let store = open(root.path());
        assert_eq!(store.versions().unwrap().len(), 1);
        assert!(store.enrolled(&client("a")).unwrap().is_some());
    }
}

fn remove_index(index: &Path) {
    fs::remove_dir_all(index).unwrap();
}

fn spoil_index(index: &Path) {
    for entry in fs::read_dir(index).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        fs::write(entry.path(), b"this is no database").unwrap();
    }
}

/// An index of another journal (say, a restored copy) must not answer for this one.
#[test]
fn an_index_that_is_ahead_of_the_journal_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    open(root.path()).append(&[enrolled("a")]).unwrap();
    let journal = fs::read(root.path().join("journal")).unwrap();
    open(root.path()).append(&[enrolled("b")]).unwrap();
    fs::write(root.path().join("journal"), journal).unwrap();
    let store = open(root.path());
    assert!(store.enrolled(&client("a")).unwrap().is_some());
    assert_eq!(store.enrolled(&client("b")).unwrap(), None);
}

#[test]
fn a_damaged_blob_is_noticed_and_written_again() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    let blob = put(&mut store, b"weights");
    fs::write(root.path().join("blobs").join(blob.to_string()), b"weighty").unwrap();
    assert!(matches!(store.get(&blob), Err(StoreError::Blob { problem: "damaged", .. })));
    put(&mut store, b"weights");
    assert_eq!(store.get(&blob).unwrap(), b"weights");
}

/// A kill during an append: the operator is told, and the store goes on from the entry before.
#[test]
fn a_torn_end_is_cut_off_with_a_notice() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    store.append(&[enrolled("a")]).unwrap();
    store.append(&[accepted(b"payload"), enrolled("b")]).unwrap();
    drop(store);
    let path = root.path().join("journal");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let (mut store, notices) = FolderStore::open(&StateFolder::open(root.path()).unwrap()).unwrap();
    assert!(notices[0].starts_with("the journal's last entry was incomplete: "), "{notices:?}");
    store.append(&[enrolled("c")]).unwrap();
    assert_eq!(entries(&store), [enrolled("a"), enrolled("c")]);
}

/// One round with eight updates of 64 kB each.
fn round(number: u32, store: &mut FolderStore) -> Vec<Entry> {
    let report = json!({
        "round": number, "version": number, "model_digest": Digest([0; 32]), "abandoned": false, "ending": "goal", "asked": 8,
        "contributors": 8, "declined": 0, "lost": 0, "refused": {}, "uplink_bytes": 8 << 16, "evaluation_bytes": 0,
        "downlink_bytes": 0, "fetches": 0, "dense_bytes": 0, "seconds": 1.0, "ap50_per_class": {}, "evaluators": 0,
    });
    let report: Box<RoundReport> = serde_json::from_value(report).unwrap();
    let cohort: Vec<_> = (0..8).map(|index| client(&format!("c{index}"))).collect();
    let (round, version) = (Round(number), Version(number - 1));
    let mut records = vec![Record::RoundOpened { round, version, cohort: cohort.clone(), goal: 8 }];
    for client in cohort {
        let payload: Vec<u8> = vec![number as u8; 1 << 16];
        let Entry::Record(Record::Accepted { header, .. }) = accepted(&payload) else { unreachable!() };
        records.push(Record::Accepted { round, client, header, payload: payload.into() });
    }
    records.push(Record::RoundClosed { report: report.clone() });
    let mut entries: Vec<_> = records.into_iter().map(Entry::Record).collect();
    let blob = put(store, &number.to_le_bytes());
    entries.push(Entry::Version { version: Version(number), blob });
    entries.push(Entry::Report(report));
    entries.push(Entry::Record(Record::RoundReported { round }));
    entries
}

/// The journal grows with what is under way, not with what is done; what is kept answers as before, also after a restart, with
/// or without the index.
#[test]
fn a_long_run_has_a_short_journal() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    let spec = ModelSpec { preset: "toy".into(), classes: vec!["a".into()] };
    let started = Record::RunStarted { run: RunId(1), settings: Box::new(Settings::default()), spec };
    let first = put(&mut store, b"0");
    store.append(&[enrolled("a"), Entry::Record(started.clone()), version(0, first)]).unwrap();
    let rounds = 60;
    for number in 1..=rounds {
        let entries = round(number, &mut store);
        store.append(&entries).unwrap();
        store.compact().unwrap();
        let length = fs::metadata(root.path().join("journal")).unwrap().len();
        assert!(length < 5 << 20, "{length} bytes after {number} rounds");
    }
    store.append(&[enrolled("z")]).unwrap();
    let answers = |store: &FolderStore| {
        let clients = ["a", "b", "z"].map(|name| store.enrolled(&client(name)).unwrap().is_some());
        (clients, store.reports().unwrap(), store.versions().unwrap(), entries(store))
    };
    let before = answers(&store);
    let (clients, reports, versions, entries) = &before;
    assert_eq!((*clients, reports.len()), ([true, false, true], rounds as usize));
    assert!((3..20).contains(&versions.len()), "{versions:?}");
    let Entry::Record(Record::Compacted { round, version, asked, receipts }) = &entries[1] else {
        panic!("{:?}", entries[1])
    };
    assert_eq!(entries[0], Entry::Record(started));
    assert_eq!((round.0, asked.len(), receipts.len()), (version.0, 8, 8));
    assert!(round.0 > rounds - 20, "compacted up to round {round}");
    drop(store);
    assert_eq!(answers(&open(root.path())), before);
    remove_index(&root.path().join("index"));
    fs::write(root.path().join("journal.new"), b"a rewrite that a crash has cut sho").unwrap();
    assert_eq!(answers(&open(root.path())), before);
    assert!(!root.path().join("journal.new").exists());
}

/// The journal names a large update; its bytes come from its file, and go with the round.
#[test]
fn a_large_update_is_named_by_the_journal() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    let bytes = b"as many bytes as you like".repeat(1000);
    let Entry::Record(Record::Accepted { round, client, header, .. }) = accepted(&bytes) else {
        unreachable!()
    };
    let updates = store.updates().unwrap();
    let path = updates.path(&client, &header);
    fs::write(&path, [&[b' '; super::updates::HEAD_BYTES][..], &bytes].concat()).unwrap();
    let payload = updates.payload(&client, &header);
    assert_eq!(*payload.whole().unwrap(), bytes);
    let record = Record::Accepted { round, client, header, payload };
    store.append(&[Entry::Record(record.clone())]).unwrap();
    assert!(fs::metadata(root.path().join("journal")).unwrap().len() < 1000);
    drop(store);
    let store = open(root.path());
    let found = entries(&store);
    assert_eq!(found, [Entry::Record(record)]);
    let [Entry::Record(Record::Accepted { payload, .. })] = &found[..] else { unreachable!() };
    assert_eq!(*payload.whole().unwrap(), bytes);
    let updates = store.updates().unwrap();
    updates.forget(Round(round.0 - 1)).unwrap();
    assert_eq!(updates.bytes().unwrap(), (super::updates::HEAD_BYTES + bytes.len()) as u64);
    updates.forget(round).unwrap();
    assert!(!path.exists());
    // A journal can be gone through as long as nobody asks for what is gone.
    let Entry::Record(Record::Accepted { payload, .. }) = entries(&store).remove(0) else { unreachable!() };
    assert!(payload.whole().unwrap_err().to_string().contains("cannot be read again"));
}
