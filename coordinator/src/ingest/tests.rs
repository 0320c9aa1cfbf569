//! What broke off is found again, by its header alone; memory and turns are bounded.

use std::time::Duration;

use codec::payload::Payload;
use params::Digest;
use protocol::id::{Round, RunId, Version};
use protocol::message::UpdateHeader;
use tokio::time::timeout;

use super::*;

fn client(name: &str) -> ClientId {
    ClientId::new(name).unwrap()
}

fn header(round: u32, payload: &[u8]) -> UpdateHeader {
    UpdateHeader {
        run: RunId(1),
        round: Round(round),
        version: Version(0),
        layout: Digest([1; 32]),
        examples: 3,
        steps: 4,
        loss_milli: 5,
        length: payload.len() as u32,
        payload_digest: Digest::of(&[payload]),
    }
}

fn payload() -> Vec<u8> {
    (0..200_000_u32).map(|index| (index % 251) as u8).collect()
}

#[test]
fn an_upload_goes_on_where_it_broke_off_also_after_a_restart() {
    let (root, payload) = (tempfile::tempdir().unwrap(), payload());
    let header = header(1, &payload);
    let mut from = 0;
    while from < payload.len() {
        // Each time as after a start.
        let spool = Spool::new(Some(root.path().join("uploads")), None);
        let mut partial = spool.open(&client("a"), header.clone()).unwrap();
        assert_eq!((partial.received(), partial.is_resumed()), (from as u64, from > 0));
        let rest = &payload[from..payload.len().min(from + 70_001)];
        rest.chunks(30_000).for_each(|chunk| partial.push(chunk).unwrap());
        from += rest.len();
        if from == payload.len() {
            assert_eq!(partial.payload().unwrap(), Payload::from(payload.clone()));
            partial.discard().unwrap();
        } else {
            partial.put_away().unwrap();
        }
    }
    let spool = Spool::new(Some(root.path().join("uploads")), None);
    assert_eq!(spool.open(&client("a"), header).unwrap().received(), 0);
}

#[test]
fn what_belongs_to_another_update_is_not_gone_on_with() {
    let (root, payload) = (tempfile::tempdir().unwrap(), payload());
    let folder = root.path().join("uploads");
    let broken_off = |name: &str, round| {
        let mut partial =
            Spool::new(Some(folder.clone()), None).open(&client(name), header(round, &payload)).unwrap();
        partial.push(b"first bytes").unwrap();
        partial.put_away().unwrap();
    };
    let found = |name: &str, round, payload: &[u8]| {
        let spool = Spool::new(Some(folder.clone()), None);
        spool.open(&client(name), header(round, payload)).unwrap().received()
    };
    broken_off("a", 1);
    broken_off("b", 1);
    assert_eq!(found("a", 1, &payload), 11);
    assert_eq!(found("a", 1, b"other bytes of this round"), 0);
    assert_eq!(found("b", 1, &payload), 11);
    // A file that is cut short or is something else.
    std::fs::write(folder.join("b.part"), b"{\"run\":").unwrap();
    assert_eq!(found("b", 1, &payload), 0);
    // Rounds that are over leave nothing behind.
    broken_off("b", 1);
    assert_eq!(found("a", 2, &payload), 0);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

/// A large update is written once: the file in which it arrives becomes the one that the journal names.
#[test]
fn a_large_update_stays_in_its_file() {
    let root = tempfile::tempdir().unwrap();
    let (uploads, kept) = (root.path().join("uploads"), root.path().join("updates"));
    std::fs::create_dir(&kept).unwrap();
    let payload = payload().repeat(2);
    let header = header(1, &payload);
    let open = || {
        let spool = Spool::new(Some(uploads.clone()), Some(Updates::new(kept.clone())));
        spool.open(&client("a"), header.clone()).unwrap()
    };
    let files = || (std::fs::read_dir(&uploads).unwrap().count(), std::fs::read_dir(&kept).unwrap().count());
    let mut partial = open();
    for chunk in payload.chunks(100_000) {
        partial.push(chunk).unwrap();
        if partial.is_full() {
            partial.put_away().unwrap();
        }
    }
    let check = |partial: &mut Partial| {
        let found = partial.payload().unwrap();
        assert_eq!(found, Payload::from(payload.clone()));
        assert_eq!(found.in_memory(), None);
        assert_eq!(*found.whole().unwrap(), payload);
    };
    check(&mut partial);
    assert_eq!(files(), (1, 0));
    partial.keep().unwrap();
    check(&mut partial);
    assert_eq!(files(), (0, 1));
    // Killed before it could be journalled: it is there whole, and need not be sent again.
    let mut again = open();
    assert_eq!((again.received(), again.is_resumed()), (payload.len() as u64, true));
    check(&mut again);
    again.keep().unwrap();
    again.counted().unwrap();
    assert_eq!(files(), (0, 1));
    // Refused, it goes.
    open().discard().unwrap();
    assert_eq!(files(), (0, 0));
}

#[test]
fn no_more_arrives_than_was_announced() {
    let mut partial = Spool::new(None, None).open(&client("a"), header(1, b"four")).unwrap();
    partial.push(b"fo").unwrap();
    assert_eq!(partial.push(b"urs").unwrap_err().to_string(), "5 bytes arrived where the header announced 4");
    assert!(partial.push(b"").is_err());
    partial.push(b"ur").unwrap();
    assert_eq!(partial.payload().unwrap(), Payload::from(&b"four"[..]));
}

/// A thousand uploads at a time get no more memory than one after the other; the largest gets its turn too.
#[tokio::test(start_paused = true)]
async fn memory_is_bounded_however_many_upload() {
    const MOMENT: Duration = Duration::from_millis(1);
    let ingest = Ingest::new(1 << 20, None, None);
    let mut held = Vec::new();
    for _ in 0..1000 {
        held.extend(timeout(MOMENT, ingest.room_to_receive(10 << 20)).await);
    }
    let each = SPOOLED_BYTES + STREAM_WINDOW_BYTES as usize + READING_BYTES as usize;
    assert_eq!(held.len(), (512 << 10) / each);
    // Those that are checked have a half of their own, so that slow senders hold up nobody.
    let small = ingest.room_to_check(100 << 10, 0, false).await.unwrap();
    let large = ingest.room_to_check(10 << 20, 1 << 20, false);
    let mut large = std::pin::pin!(large);
    assert!(timeout(MOMENT, &mut large).await.is_err());
    drop(small);
    assert!(timeout(MOMENT, &mut large).await.is_ok());
    held.pop();
    assert!(timeout(MOMENT, ingest.room_to_receive(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_newer_upload_of_a_client_takes_over() {
    const MOMENT: Duration = Duration::from_millis(1);
    let ingest = Arc::new(Ingest::new(1 << 20, None, None));
    let mut first = ingest.enter(&client("a")).await.unwrap();
    let other = ingest.enter(&client("b")).await.unwrap();
    assert!(timeout(MOMENT, first.over()).await.is_err());
    let (second, third) = (ingest.clone(), ingest.clone());
    let second = tokio::spawn(async move { second.enter(&client("a")).await.map(drop) });
    assert_eq!(timeout(MOMENT, first.over()).await.unwrap(), CallError::Replaced);
    let mut third = tokio::spawn(async move { third.enter(&client("a")).await.map(drop) });
    assert!(timeout(MOMENT, &mut third).await.is_err(), "the first still puts away what it has");
    drop(first);
    assert_eq!(second.await.unwrap(), Err(CallError::Replaced));
    assert_eq!(third.await.unwrap(), Ok(()));
    drop(other);
    assert!(locked(&ingest.lanes).is_empty());
}
