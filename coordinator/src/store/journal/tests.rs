//! Damage in the middle is refused with its place; a torn end is cut off; a full disk loses nothing.

use std::fs;

use proptest::prelude::*;

use super::*;

fn written(appends: &[Vec<Vec<u8>>]) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("journal");
    let (mut journal, cut) = Journal::open(&path).unwrap();
    assert_eq!(cut, 0);
    for entries in appends {
        journal.append(entries).unwrap();
    }
    (root, path)
}

fn read(path: &Path) -> Vec<Vec<Vec<u8>>> {
    let (journal, _) = Journal::open(path).unwrap();
    journal.frames().unwrap().map(|frame| frame.unwrap().entries).collect()
}

fn three() -> Vec<Vec<Vec<u8>>> {
    vec![vec![b"one".to_vec()], vec![b"two".to_vec(), Vec::new()], vec![b"three".to_vec()]]
}

#[test]
fn what_was_appended_is_read_back() {
    let (_root, path) = written(&three());
    assert_eq!(read(&path), three());
}

/// Every single flipped bit before the last frame is refused, with the offset of the frame it is in; in the last frame it is
/// taken for a torn end, and no wrong entry is ever returned.
#[test]
fn a_flipped_bit_is_never_read_as_an_entry() {
    let (_root, path) = written(&three());
    let whole = fs::read(&path).unwrap();
    let frames: Vec<usize> = three()
        .iter()
        .scan(MAGIC.len(), |at, entries| {
            let here = *at;
            *at += HEAD + entries.iter().map(|entry| 4 + entry.len()).sum::<usize>();
            Some(here)
        })
        .collect();
    for bit in MAGIC.len() * 8..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        let frame = frames.iter().rposition(|&start| start <= bit / 8).unwrap();
        match Journal::open(&path) {
            Err(StoreError::Damaged { offset, .. }) => {
                assert_eq!(offset as usize, frames[frame], "bit {bit}");
                assert!(frame < 2, "bit {bit}");
            }
            Ok((journal, cut)) => {
                assert_eq!((frame, cut as usize), (2, whole.len() - frames[2]), "bit {bit}");
                let read: Vec<_> = journal.frames().unwrap().map(|frame| frame.unwrap().entries).collect();
                assert_eq!(read, three()[..2]);
            }
            Err(error) => panic!("bit {bit}: {error}"),
        }
    }
}

/// Cut at every byte of the last frame: everything before it is still there, and the next append works.
#[test]
fn a_file_cut_at_any_byte_of_its_end_loses_only_that_end() {
    let (_root, path) = written(&three());
    let whole = fs::read(&path).unwrap();
    let kept = whole.len() - HEAD - 4 - "three".len();
    for cut in kept..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let (mut journal, lost) = Journal::open(&path).unwrap();
        assert_eq!(lost as usize, cut - kept);
        journal.append(&[b"four".to_vec()]).unwrap();
        assert_eq!(read(&path), [&three()[..2], &[vec![b"four".to_vec()]]].concat());
    }
}

/// After a power cut a file may have its new length but zeros in place of the last write.
#[test]
fn an_end_of_zeros_is_cut_off() {
    let (_root, path) = written(&three());
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(&[0; 5000]);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(Journal::open(&path).unwrap().1, 5000);
    assert_eq!(read(&path), three());
}

#[test]
fn other_files_are_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("journal");
    for bytes in [&b"diary"[..], b"dear diary, today"] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(Journal::open(&path), Err(StoreError::Foreign { .. })));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_start_that_was_cut_short_is_no_damage() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("journal");
    fs::write(&path, &MAGIC[..5]).unwrap();
    assert_eq!(read(&path), Vec::<Vec<Vec<u8>>>::new());
}

/// `/dev/full` is a disk without space.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_stops_the_journal() {
    let (_root, path) = written(&three());
    let (mut journal, _) = Journal::open(&path).unwrap();
    journal.file = File::options().write(true).open("/dev/full").unwrap();
    assert!(matches!(journal.append(&[b"four".to_vec()]), Err(StoreError::Full { .. })));
    assert!(matches!(journal.append(&[b"five".to_vec()]), Err(StoreError::Failed)));
    drop(journal);
    assert_eq!(read(&path), three());
}

/// Numbers go on, so that whoever follows the journal by number sees the rewritten part as news; damage is found as before.
#[test]
fn a_journal_is_rewritten_whole() {
    let (_root, path) = written(&three());
    let (mut journal, _) = Journal::open(&path).unwrap();
    let kept = [b"two".to_vec(), b"three".to_vec()];
    journal.rewrite(kept.iter().cloned().map(Ok)).unwrap();
    assert_eq!((journal.sequence(), journal.length()), (5, fs::metadata(&path).unwrap().len()));
    journal.append(&[b"four".to_vec()]).unwrap();
    assert_eq!(journal.sequence(), 6);
    let expected = [&kept[..], &[b"four".to_vec()]].concat();
    assert_eq!(read(&path).concat(), expected);
    let numbers: Vec<_> = journal.frames().unwrap().map(|frame| frame.unwrap().sequence).collect();
    assert_eq!(numbers, [4, 5, 6]);

    // One that fails on the way leaves everything as it was.
    let failing = kept.iter().cloned().map(Ok).chain([Err(StoreError::Failed)]);
    assert!(journal.rewrite(failing).is_err());
    assert!(!successor_of(&path).exists());
    journal.append(&[b"five".to_vec()]).unwrap();
    assert_eq!(read(&path).concat().len(), 4);

    let mut bytes = fs::read(&path).unwrap();
    bytes[MAGIC.len() + HEAD + 5] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(Journal::open(&path), Err(StoreError::Damaged { offset: 8, .. })));
}

proptest! {
    #[test]
    fn any_bytes_after_the_last_frame_never_become_entries(tail in prop::collection::vec(any::<u8>(), 1..80)) {
        let (_root, path) = written(&three());
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(&tail);
        fs::write(&path, &bytes).unwrap();
        prop_assert_eq!(read(&path), three());
    }
}
