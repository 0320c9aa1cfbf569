//! Tiles tell nothing else than entries do, for every codec of the registry.

use std::sync::Arc;

use params::{Canonical, Digest};

use super::*;
use crate::laws::layout_of;
use crate::payload::Stored;
use crate::random::Random;
use crate::{Settings, build, frame};

/// Bytes that are "somewhere else"; those behind the end are lost.
#[derive(Debug)]
struct Elsewhere(Vec<u8>);

impl Stored for Elsewhere {
    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Unreadable> {
        let bytes = self.0.get(offset..offset + into.len());
        into.copy_from_slice(bytes.ok_or_else(|| Unreadable("lost".to_owned()))?);
        Ok(())
    }
}

fn stored(bytes: &[u8]) -> Payload {
    Payload::stored(bytes.len(), Digest::of(&[bytes]), Arc::new(Elsewhere(bytes.to_vec())))
}

/// Tensors longer and shorter than tiles and blocks.
fn layout() -> Arc<Layout> {
    Arc::new(layout_of(&[1, 2 * TILE + 33, 7, TILE, 31, 3 * TILE - 1]))
}

fn values(layout: &Layout) -> Vec<f32> {
    let mut random = Random::new(5);
    (0..layout.len()).map(|_| (random.below(2001) as f32 - 1000.0).powi(3) * 1e-9).collect()
}

fn messages(layout: &Layout) -> impl Iterator<Item = (&'static Entry, Vec<u8>)> {
    REGISTRY.iter().map(move |entry| {
        let codec = build(entry.name, &Settings::default()).unwrap();
        (entry, codec.encode(layout, &values(layout)).unwrap().payload)
    })
}

#[test]
fn sums_are_the_same_however_bytes_are_kept_and_however_many_threads_add() {
    let layout = layout();
    let model = Canonical::from_values(layout.clone(), &values(&layout)).unwrap();
    let scales = Scales::of(model.grid());
    let mut in_places = 0;
    for (entry, bytes) in messages(&layout) {
        let empty = || Accumulator::new(layout.clone(), model.grid());
        let mut expected = empty();
        for weight in [3, 50] {
            expected.add(&decode_update(&layout, layout.len(), &bytes).unwrap(), weight).unwrap();
        }
        for payload in [Payload::from(&*bytes), stored(&bytes)] {
            let checked = check(&layout, &scales, layout.len(), &payload).unwrap();
            assert_eq!(checked == Checked::InPlace, in_place(&payload).unwrap(), "{}", entry.name);
            in_places += usize::from(checked == Checked::InPlace);
            for threads in [1, 2, 3, 7] {
                let mut sum = empty();
                // In another order, too.
                for weight in [50, 3] {
                    checked.add_to(&mut sum, &payload, weight, threads).unwrap();
                }
                assert_eq!(sum, expected, "{}, {threads} threads", entry.name);
            }
        }
    }
    assert_eq!(in_places, 2 * 3, "dense, half and int8");
}

/// Any byte changed, with the right checksum and without; cut short, and with more behind.
#[test]
fn what_decoding_refuses_is_refused_and_by_the_same_rule() {
    let layout = layout_of(&[70, 1, 40]);
    let model = Canonical::from_values(Arc::new(layout.clone()), &[1.0; 111]).unwrap();
    let scales = Scales::of(model.grid());
    let compare = |bytes: &[u8], same_rule: bool| {
        let decoded = decode_update(&layout, layout.len(), bytes);
        for payload in [Payload::from(bytes), stored(bytes)] {
            match (&decoded, check(&layout, &scales, layout.len(), &payload)) {
                (Ok(_), Ok(_)) => {}
                // Entries are not looked at.
                (Ok(entries), Err(UpdateError::Sum(_))) => {
                    assert!(
                        Accumulator::new(Arc::new(layout.clone()), model.grid()).add(entries, 1).is_err()
                    );
                }
                (Err(expected), Err(UpdateError::Decode(found))) => {
                    assert!(!same_rule || found == *expected, "{found}, but {expected}");
                }
                (decoded, checked) => panic!("{decoded:?} and {checked:?}"),
            }
        }
    };
    for (_, bytes) in messages(&layout) {
        let body = &bytes[..bytes.len() - 4];
        for at in 0..bytes.len() {
            for with in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= with;
                // What is no length any more is told before the checksum.
                compare(&changed, at > HEAD_BYTES_MAX);
                changed.truncate(body.len());
                compare(&frame::seal(changed), at > HEAD_BYTES_MAX);
            }
            compare(&bytes[..at], false);
            compare(&frame::seal(body[..at.min(body.len())].to_vec()), false);
        }
        compare(&frame::seal([body, &[0; 3]].concat()), false);
    }
}

#[test]
fn bytes_that_are_gone_are_told() {
    let layout = layout();
    let model = Canonical::from_values(layout.clone(), &values(&layout)).unwrap();
    for (_, bytes) in messages(&layout) {
        let whole = stored(&bytes);
        let lost = Arc::new(Elsewhere(bytes[..bytes.len() / 2].to_vec()));
        let lost = Payload::stored(bytes.len(), whole.digest(), lost);
        let checked = check(&layout, &Scales::of(model.grid()), layout.len(), &lost);
        assert_eq!(checked, Err(UpdateError::Unreadable(Unreadable("lost".to_owned()))));
        let mut sum = Accumulator::new(layout.clone(), model.grid());
        for threads in [1, 3] {
            let added = Checked::InPlace.add_to(&mut sum, &lost, 1, threads);
            assert!(!in_place(&whole).unwrap() || matches!(added, Err(UpdateError::Unreadable(_))));
        }
    }
}
