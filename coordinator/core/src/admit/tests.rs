use std::sync::Arc;

use params::Digest;

use super::*;
use crate::tests::support::{VALUES, client, header, layout, update};

/// Round 3 from version 2 of run 1 is open, and ada was asked.
fn admission() -> Admission {
    let layout = Arc::new(layout().of_scope(params::Scope::Shared));
    let cohort = [client("ada")].into();
    let open = OpenRound {
        round: Round(3),
        version: Version(2),
        cohort,
        scales: Scales::of(&params::Grid::for_values(&layout, &[1.0; VALUES])),
        layout,
        entries_max: VALUES,
        bytes_max: 4096,
    };
    Admission { run: RunId(1), open: Some(open) }
}

/// What becomes of ada's honest update after a change to its header, with its bytes left as they are.
fn changed(change: impl FnOnce(&mut UpdateHeader)) -> Result<Admitted, String> {
    let (mut header, payload) = update(RunId(1), 3, 2, &[0.5; VALUES]);
    change(&mut header);
    admit(&admission(), &client("ada"), &header, payload).map_err(|refusal| refusal.to_string())
}

/// What becomes of these bytes under an honest header.
fn sent(payload: &[u8]) -> Result<Admitted, String> {
    let header = header(RunId(1), 3, 2, payload);
    admit(&admission(), &client("ada"), &header, payload.to_vec()).map_err(|refusal| refusal.to_string())
}

#[track_caller]
fn refused(result: Result<Admitted, String>, expected: &str) {
    let found = result.expect_err(expected);
    assert!(found.contains(expected), "found    {found}\nexpected {expected}");
}

#[test]
fn an_honest_update_is_decoded() {
    let admitted = changed(|_| {}).unwrap();
    let (_, payload) = update(RunId(1), 3, 2, &[0.5; VALUES]);
    assert_eq!(admitted, Admitted { update: Checked::InPlace, payload: payload.into(), account: None });
}

#[test]
fn headers_that_do_not_fit_are_refused() {
    refused(changed(|header| header.run = RunId(9)), "belongs to run 0000000000000009");
    refused(changed(|header| header.round = Round(2)), "round 2 has closed");
    refused(changed(|header| header.round = Round(4)), "not asked in round 4");
    refused(changed(|header| header.version = Version(1)), "starts from version 1, the round from version 2");
    refused(changed(|header| header.layout = Digest([7; 32])), "tensor layout 070707070707");
    // The whole layout, personal tensors included, is another one.
    refused(changed(|header| header.layout = layout().digest()), "tensor layout");
    refused(changed(|header| header.examples = 0), "no examples");
    refused(changed(|header| header.length += 1), "bytes, but the header says");
    refused(changed(|header| header.payload_digest = Digest([7; 32])), "the header says 070707070707");
    let (header, payload) = update(RunId(1), 3, 2, &[0.5; VALUES]);
    let uninvited = admit(&admission(), &client("eve"), &header, payload);
    assert_eq!(uninvited, Err(Refusal::NotAsked { round: Round(3) }));
    let closed = Admission { open: None, ..admission() };
    assert_eq!(precheck(&closed, &client("ada"), &header), Err(Refusal::Late { round: Round(3) }));
}

#[test]
fn oversize_is_refused_before_the_bytes_are_sent() {
    let (mut header, _) = update(RunId(1), 3, 2, &[0.5; VALUES]);
    header.length = u32::MAX;
    let refusal = precheck(&admission(), &client("ada"), &header).unwrap_err().to_string();
    assert!(refusal.contains("4294967295 bytes, more than the 4096 of this round"), "{refusal}");
}

#[test]
fn bytes_that_break_a_rule_are_refused() {
    let (_, honest) = update(RunId(1), 3, 2, &[0.5; VALUES]);
    refused(sent(&[]), "malformed");
    refused(sent(&honest[..honest.len() - 1]), "malformed");
    refused(sent(&[honest.as_slice(), &[0]].concat()), "malformed");
    let checksum_at = honest.len() - 4;
    let changed = |at: usize, byte: u8| {
        let mut changed = honest.clone();
        changed[at] = byte;
        changed
    };
    refused(sent(&changed(checksum_at, honest[checksum_at] ^ 1)), "checksum");
    refused(sent(&changed(checksum_at - 1, 0)), "checksum");
    // With a right checksum the other rules are what is left: an unknown codec, another number of values.
    refused(sent(&resealed(changed(0, 0xff))), "codec 255 is not known");
    refused(sent(&resealed(changed(1, VALUES as u8 + 1))), "malformed");
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut poisoned = honest.clone();
        let at = checksum_at - 4;
        poisoned[at..checksum_at].copy_from_slice(&value.to_le_bytes());
        refused(sent(&resealed(poisoned)), "not finite");
    }
}

/// With a right checksum in the last four bytes.
fn resealed(mut payload: Vec<u8>) -> Vec<u8> {
    let end = payload.len() - 4;
    let checksum = crc32c::crc32c(&payload[..end]);
    payload[end..].copy_from_slice(&checksum.to_le_bytes());
    payload
}

#[test]
fn more_entries_than_the_plan_allows_are_refused() {
    let mut admission = admission();
    if let Some(open) = &mut admission.open {
        open.entries_max = VALUES - 1;
    }
    let (header, payload) = update(RunId(1), 3, 2, &[0.5; VALUES]);
    let refusal = admit(&admission, &client("ada"), &header, payload).unwrap_err().to_string();
    assert!(refusal.contains("malformed"), "{refusal}");
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(payload in proptest::collection::vec(proptest::num::u8::ANY, 0..200), id in 0_u8..4) {
        let mut payload = payload;
        if let Some(first) = payload.first_mut() {
            *first = id;
        }
        _ = sent(&payload);
        if payload.len() > 4 {
            _ = sent(&resealed(payload));
        }
    }
}
