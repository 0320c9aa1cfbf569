//! Round trips of everything that travels, hostile messages, and the sizes the proto files promise.

use params::{Digest, Share};
use proptest::prelude::*;
use prost::Message;
use protocol::evaluation::Evaluation;
use protocol::id::Version;
use protocol::limits::{
    CLASS_NAME_BYTES_MAX, CLASSES_MAX, CONTROL_BYTES_MAX, EVALUATION_BYTES_MAX, NAME_BYTES_MAX,
    TEXT_BYTES_MAX,
};
use protocol::message::{Hello, Receipt, Refusal, ToClient, ToCoordinator};
use protocol::plan::{EvaluationPlan, ModelSpec, Norm};

use crate::chunk::UploadReply;
use crate::decode::DecodeError;
use crate::{decode, encode, proto};

mod chunks;
mod hostile;
mod values;

proptest! {
    #[test]
    fn what_a_client_says_survives_the_wire(message in values::to_coordinator()) {
        let bytes = encode::to_coordinator(&message).encode_to_vec();
        prop_assert!(bytes.len() <= CONTROL_BYTES_MAX);
        prop_assert_eq!(decode::to_coordinator(proto::ToCoordinator::decode(&bytes[..])?), Ok(message));
    }

    #[test]
    fn what_the_coordinator_says_survives_the_wire(message in values::to_client()) {
        let bytes = encode::to_client(&message).encode_to_vec();
        prop_assert!(bytes.len() <= CONTROL_BYTES_MAX);
        prop_assert_eq!(decode::to_client(proto::ToClient::decode(&bytes[..])?), Ok(message));
    }

    #[test]
    fn receipts_and_headers_survive_the_wire(
        receipt in values::receipt(), header in values::update_header(), download in values::download_header(),
        request in values::download_request(),
    ) {
        let reply = UploadReply::Receipt(receipt);
        let bytes = encode::upload_reply(&reply).encode_to_vec();
        prop_assert_eq!(decode::upload_reply(proto::UploadReply::decode(&bytes[..])?), Ok(reply));
        let reply = UploadReply::From(header.length.into());
        let bytes = encode::upload_reply(&reply).encode_to_vec();
        prop_assert_eq!(decode::upload_reply(proto::UploadReply::decode(&bytes[..])?), Ok(reply));
        let bytes = encode::update_header(&header).encode_to_vec();
        prop_assert!(bytes.len() <= 256, "{} bytes", bytes.len());
        prop_assert_eq!(decode::update_header(&proto::UpdateHeader::decode(&bytes[..])?), Ok(header));
        let bytes = encode::download_header(&download).encode_to_vec();
        prop_assert!(bytes.len() <= 8 << 10, "{} bytes", bytes.len());
        prop_assert_eq!(decode::download_header(&proto::DownloadHeader::decode(&bytes[..])?), Ok(download));
        let bytes = encode::download_request(&request).encode_to_vec();
        prop_assert!(bytes.len() <= 96, "{} bytes", bytes.len());
        prop_assert_eq!(decode::download_request(&proto::DownloadRequest::decode(&bytes[..])?), Ok(request));
    }

    #[test]
    fn enrolment_survives_the_wire(request in values::enrolment(), reply in values::enrolled()) {
        let bytes = encode::enrol_request(&request).encode_to_vec();
        let decoded = decode::enrol_request(proto::EnrolRequest::decode(&bytes[..])?);
        prop_assert!(decoded == Ok(request));
        let bytes = encode::enrol_reply(&reply).encode_to_vec();
        prop_assert_eq!(decode::enrol_reply(proto::EnrolReply::decode(&bytes[..])?), Ok(reply));
    }

    /// Whatever bytes a peer sends, decoding returns.
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = proto::ToCoordinator::decode(&bytes[..]).map(decode::to_coordinator);
        let _ = proto::ToClient::decode(&bytes[..]).map(decode::to_client);
        let _ = proto::Receipt::decode(&bytes[..]).map(decode::receipt);
        let _ = proto::UpdateHeader::decode(&bytes[..]).map(|header| decode::update_header(&header));
        let _ = proto::DownloadHeader::decode(&bytes[..]).map(|header| decode::download_header(&header));
        let _ = proto::DownloadRequest::decode(&bytes[..]).map(|request| decode::download_request(&request));
        let _ = proto::EnrolRequest::decode(&bytes[..]).map(decode::enrol_request);
    }

    /// One flipped bit in a valid message gives an error or another valid message, which encodes again.
    #[test]
    fn a_flipped_bit_never_panics(message in values::to_client(), place in any::<prop::sample::Index>()) {
        let mut bytes = encode::to_client(&message).encode_to_vec();
        let bit = place.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(Ok(decoded)) = proto::ToClient::decode(&bytes[..]).map(decode::to_client) {
            let again = encode::to_client(&decoded).encode_to_vec();
            prop_assert_eq!(decode::to_client(proto::ToClient::decode(&again[..])?), Ok(decoded));
        }
    }
}

/// The largest messages the limits allow stay within what the proto files and the README promise.
#[test]
fn messages_at_their_limits_fit_their_promised_sizes() {
    #[track_caller]
    fn check(message: &impl Message, max: usize) {
        let found = message.encoded_len();
        assert!(found <= max, "{found} bytes, promised at most {max}");
    }
    let longest = |index: usize| format!("{index:0width$}", width = CLASS_NAME_BYTES_MAX);
    let classes: Vec<String> = (0..CLASSES_MAX).map(longest).collect();
    let hello = Hello { protocol: u32::MAX, classes: classes.clone(), examples: 9, held_out: 9, run: None };
    check(&encode::to_coordinator(&ToCoordinator::Hello(hello)), CONTROL_BYTES_MAX);

    let statistics = vec![0; EVALUATION_BYTES_MAX];
    let evaluation = Evaluation { statistics, ..Evaluation::default() };
    let evaluated = ToCoordinator::Evaluated { version: Version(u32::MAX), evaluation };
    check(&encode::to_coordinator(&evaluated), EVALUATION_BYTES_MAX + 256);

    let model = Some(ModelSpec { preset: "p".repeat(NAME_BYTES_MAX), classes });
    let welcome = ToClient::Welcome { run: protocol::id::RunId(u64::MAX), seed: u64::MAX, model };
    check(&encode::to_client(&welcome), CONTROL_BYTES_MAX);

    let long = "ä".repeat(TEXT_BYTES_MAX);
    check(&encode::to_client(&ToClient::Refused { reason: long.clone(), retry: true }), 2 << 10);
    check(&encode::receipt(&Receipt::Refused(Refusal::Malformed { rule: long })), 2 << 10);
    check(&encode::to_client(&ToClient::Train(values::longest_plan())), 2 << 10);
    let (round, version, model_digest) =
        (protocol::id::Round(u32::MAX), Version(u32::MAX), Digest([255; 32]));
    let (share, norm, personalise) = (Share::new(15, 16), Norm::Frozen, "p".repeat(NAME_BYTES_MAX));
    let evaluate = EvaluationPlan { round, version, model_digest, share, norm, personalise };
    check(&encode::to_client(&ToClient::Evaluate(evaluate)), 192);
    check(&encode::to_client(&ToClient::Finished { version, model_digest }), 64);
}

/// Text that is too long is cut by the sender between two characters, not refused by the receiver.
#[test]
fn long_reasons_are_cut_between_characters() -> Result<(), DecodeError> {
    let reason = format!("x{}", "ä".repeat(TEXT_BYTES_MAX));
    let message = encode::to_client(&ToClient::Refused { reason: reason.clone(), retry: false });
    let ToClient::Refused { reason: cut, .. } = decode::to_client(message)? else {
        panic!("another kind");
    };
    assert!(reason.starts_with(&cut));
    assert_eq!(cut.len(), TEXT_BYTES_MAX - 1);
    Ok(())
}

/// Control characters in free text become spaces, so that a peer cannot forge lines of a log or move a cursor.
#[test]
fn control_characters_in_reasons_become_spaces() -> Result<(), DecodeError> {
    let reason = "disk full\n2026 ERROR \u{1b}[31mforged".to_owned();
    let message = encode::to_coordinator(&ToCoordinator::Declined { round: protocol::id::Round(3), reason });
    let ToCoordinator::Declined { reason, .. } = decode::to_coordinator(message)? else {
        panic!("another kind");
    };
    assert_eq!(reason, "disk full 2026 ERROR  [31mforged");
    Ok(())
}
