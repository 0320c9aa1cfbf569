//! Messages no honest peer sends, each refused with the field, what was found and what is allowed.

use protocol::limits::{
    BATCH_MAX, CERTIFICATE_BYTES_MAX, CLASS_NAME_BYTES_MAX, CLASSES_MAX, EVALUATION_BYTES_MAX,
    LOCAL_EPOCHS_MAX, NAME_BYTES_MAX, SNAPSHOT_BYTES_MAX, TEXT_BYTES_MAX, UPDATE_BYTES_MAX,
};
use protocol::message::ToClient;

use super::values;
use crate::decode::DecodeError;
use crate::proto::{to_client, to_coordinator};
use crate::{decode, encode, proto};

/// The error of decoding, as the peer will read it.
#[track_caller]
fn check<T>(decoded: Result<T, DecodeError>, expected: &str) {
    match decoded {
        Ok(_) => panic!("accepted; expected: {expected}"),
        Err(error) => assert_eq!(error.to_string(), expected),
    }
}

#[test]
fn messages_without_a_kind_are_refused() {
    check(decode::to_coordinator(proto::ToCoordinator { kind: None }), "kind is missing");
    check(decode::to_client(proto::ToClient { kind: None }), "kind is missing");
    check(decode::receipt(proto::Receipt { kind: None }), "kind is missing");
    check(decode::upload_reply(proto::UploadReply { kind: None }), "kind is missing");
    let from = Some(proto::upload_reply::Kind::From(u64::MAX));
    let expected = format!("reply.from is {}, allowed is 0 to {UPDATE_BYTES_MAX}", u64::MAX);
    check(decode::upload_reply(proto::UploadReply { kind: from }), &expected);
    let refusal = proto::receipt::Kind::Refusal(proto::Refusal { kind: None });
    check(decode::receipt(proto::Receipt { kind: Some(refusal) }), "refusal.kind is missing");
}

#[track_caller]
fn check_classes(classes: Vec<String>, expected: &str) {
    let hello = proto::Hello { classes, ..proto::Hello::default() };
    let kind = Some(to_coordinator::Kind::Hello(hello));
    check(decode::to_coordinator(proto::ToCoordinator { kind }), expected);
}

#[test]
fn class_names_are_bounded_printable_and_unique() {
    let many = (0..=CLASSES_MAX).map(|index| format!("class {index}")).collect();
    check_classes(many, "hello.classes has 257 entries, at most 256 are allowed");
    check_classes(
        vec!["x".repeat(CLASS_NAME_BYTES_MAX + 1)],
        "hello.classes has 129 bytes, at most 128 are allowed",
    );
    check_classes(vec!["cat".into(), "dog".into(), "cat".into()], "hello.classes has \"cat\" twice");
    check_classes(
        vec!["cat\n".into()],
        "hello.classes has \"cat\\n\", which is empty or has control characters",
    );
    check_classes(vec![String::new()], "hello.classes has \"\", which is empty or has control characters");
}

#[test]
fn reasons_beyond_the_limit_are_refused() {
    let declined = proto::Declined { round: 1, reason: "x".repeat(TEXT_BYTES_MAX + 1) };
    let kind = Some(to_coordinator::Kind::Declined(declined));
    let message = proto::ToCoordinator { kind };
    check(decode::to_coordinator(message), "declined.reason has 1025 bytes, at most 1024 are allowed");
}

#[track_caller]
fn check_evaluated(spoil: impl FnOnce(&mut proto::Evaluated), expected: &str) {
    let mut evaluated = proto::Evaluated {
        global: Some(proto::ModelScore::default()),
        personal: Some(proto::ModelScore::default()),
        ..proto::Evaluated::default()
    };
    spoil(&mut evaluated);
    let kind = Some(to_coordinator::Kind::Evaluated(evaluated));
    check(decode::to_coordinator(proto::ToCoordinator { kind }), expected);
}

#[test]
fn evaluations_are_bounded_and_finite() {
    check_evaluated(|message| message.personal = None, "evaluated.personal is missing");
    check_evaluated(
        |message| message.statistics = vec![0; EVALUATION_BYTES_MAX + 1],
        "evaluated has 262145 bytes, at most 262144 are allowed",
    );
    let score = |ap50| Some(proto::ModelScore { ap50, ..proto::ModelScore::default() });
    check_evaluated(|message| message.global = score(f64::NAN), "evaluated.ap50 is NaN, allowed is 0 to 1");
    check_evaluated(|message| message.global = score(1.5), "evaluated.ap50 is 1.5, allowed is 0 to 1");
}

#[track_caller]
fn check_plan(spoil: impl FnOnce(&mut proto::RoundPlan), expected: &str) {
    let valid = encode::to_client(&ToClient::Train(values::longest_plan()));
    let Some(to_client::Kind::Train(mut plan)) = valid.kind else {
        panic!("another kind");
    };
    spoil(&mut plan);
    let kind = Some(to_client::Kind::Train(plan));
    check(decode::to_client(proto::ToClient { kind }), expected);
}

#[track_caller]
fn check_train(spoil: impl FnOnce(&mut proto::TrainPlan), expected: &str) {
    check_plan(|plan| spoil(plan.train.as_mut().expect("a valid plan")), expected);
}

#[test]
fn plans_a_device_must_not_run_are_refused() {
    check_plan(|plan| plan.train = None, "train.train is missing");
    check_plan(|plan| plan.model_digest = vec![0; 31], "train.model_digest has 31 bytes instead of 32");
    check_plan(
        |plan| plan.personalise = "x".repeat(NAME_BYTES_MAX + 1),
        "train.personalise has 65 bytes, at most 64 are allowed",
    );
    check_train(|train| train.local_epochs = 0, "train.local_epochs is 0, allowed is 1 to 1000");
    check_train(
        |train| train.local_epochs = LOCAL_EPOCHS_MAX + 1,
        "train.local_epochs is 1001, allowed is 1 to 1000",
    );
    check_train(|train| train.batch = 0, "train.batch is 0, allowed is 1 to 4096");
    check_train(|train| train.batch = BATCH_MAX + 1, "train.batch is 4097, allowed is 1 to 4096");
    check_train(|train| train.micro_batch = 0, "train.micro_batch is 0, allowed is 1 to 4096");
    check_train(|train| train.optimiser = 0, "train.optimiser is 0, which this build does not know");
    check_train(|train| train.freeze = 77, "train.freeze is 77, which this build does not know");
    check_train(|train| train.norm = -1, "train.norm is -1, which this build does not know");
    check_train(|train| train.class_loss = 3, "train.class_loss is 3, which this build does not know");
    check_train(
        |train| train.learning_rate = f32::INFINITY,
        "train.learning_rate is inf, allowed is a finite number from 0 up",
    );
    check_train(
        |train| train.weight_decay = -1.0,
        "train.weight_decay is -1, allowed is a finite number from 0 up",
    );
    check_train(|train| train.ema_decay = 1.01, "train.ema_decay is 1.01, allowed is 0 to 1");
    check_plan(
        |plan| plan.uplink.as_mut().expect("a valid plan").value_bits = 256,
        "uplink.value_bits is 256, allowed is 1 to 32",
    );
}

#[test]
fn declared_lengths_are_bounded_before_anything_is_allocated() {
    let header = proto::UpdateHeader { length: u32::MAX, ..proto::UpdateHeader::default() };
    check(
        decode::update_header(&header),
        &format!("header.length has 4294967295 bytes, at most {UPDATE_BYTES_MAX} are allowed"),
    );
    let header = proto::DownloadHeader { length: u64::MAX, ..proto::DownloadHeader::default() };
    check(
        decode::download_header(&header),
        &format!("header.length has {} bytes, at most {SNAPSHOT_BYTES_MAX} are allowed", u64::MAX),
    );
    let parts = vec![proto::DownloadPiece { kind: 1, from: 0, to: 0, length: 7 }];
    let header =
        proto::DownloadHeader { length: 7, parts, digest: vec![0; 32], ..proto::DownloadHeader::default() };
    let with = |change: &dyn Fn(&mut proto::DownloadHeader)| {
        let mut header = header.clone();
        change(&mut header);
        decode::download_header(&header)
    };
    check(with(&|header| header.length = 8), "length of header.parts is 7, allowed is 8");
    check(
        with(&|header| header.parts[0].length = u64::MAX),
        &format!("length of header.parts is {}, allowed is 7", u64::MAX),
    );
    check(with(&|header| header.from = 8), "header.from is 8, allowed is 0 to 7");
    check(with(&|header| header.parts[0].kind = 3), "header.parts.kind is 3, which this build does not know");
    check(
        with(&|header| header.parts.resize(257, header.parts[0])),
        "header.parts has 257 entries, at most 256 are allowed",
    );
    let request = proto::DownloadRequest { held: Some(vec![0; 9]), ..proto::DownloadRequest::default() };
    check(decode::download_request(&request), "request.held has 9 bytes instead of 8");
    check(decode::update_header(&proto::UpdateHeader::default()), "header.layout has 0 bytes instead of 32");
}

#[test]
fn enrolment_is_bounded() {
    let valid = proto::EnrolRequest { secret: vec![7; 16], ..proto::EnrolRequest::default() };
    let request = proto::EnrolRequest { secret: vec![7; 17], ..valid.clone() };
    check(decode::enrol_request(request), "secret has 17 bytes instead of 16");
    let request =
        proto::EnrolRequest { signing_request: vec![0; CERTIFICATE_BYTES_MAX + 1], ..valid.clone() };
    check(decode::enrol_request(request), "signing_request has 8193 bytes, at most 8192 are allowed");
    let request = proto::EnrolRequest { name: Some("a/../b".into()), ..valid };
    check(
        decode::enrol_request(request),
        "\"a/../b\" is not a client name: use 1 to 64 of a-z, A-Z, 0-9, '-', '_' and '.'",
    );
}
