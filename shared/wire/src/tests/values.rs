//! Strategies for everything that travels.

use std::time::Duration;

use params::{Digest, Share};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use protocol::evaluation::{Evaluation, ModelScore};
use protocol::id::{ClientId, Round, RunId, Version};
use protocol::limits::{
    BATCH_MAX, DOWNLOAD_PARTS_MAX, LOCAL_EPOCHS_MAX, NAME_BYTES_MAX, SNAPSHOT_BYTES_MAX, UPDATE_BYTES_MAX,
};
use protocol::message::{Hello, Part, PartKind, Receipt, Refusal, ToClient, ToCoordinator, UpdateHeader};
use protocol::plan::{
    ClassLoss, EvaluationPlan, Freeze, ModelSpec, Norm, Optimiser, RoundPlan, TrainPlan, UplinkPlan,
};

use crate::chunk::{Begun, DownloadHeader, DownloadRequest};
use crate::decode::{Enrolled, Enrolment};

pub(super) fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn round() -> impl Strategy<Value = Round> {
    any::<u32>().prop_map(Round)
}

fn version() -> impl Strategy<Value = Version> {
    any::<u32>().prop_map(Version)
}

fn run() -> impl Strategy<Value = RunId> {
    any::<u64>().prop_map(RunId)
}

fn classes() -> impl Strategy<Value = Vec<String>> {
    btree_set("[a-zA-Zäöü /_-]{1,20}", 0..8).prop_map(|names| names.into_iter().collect())
}

fn client() -> impl Strategy<Value = ClientId> {
    "[a-zA-Z0-9_.-]{1,64}".prop_map(|name| ClientId::new(name).expect("the pattern is that of client names"))
}

fn share() -> impl Strategy<Value = f32> {
    0.0_f32..=1.0
}

fn score() -> impl Strategy<Value = ModelScore> {
    let fields = (0.0..=1.0_f64, 0.0..=1.0_f64, vec(any::<u8>(), 0..40));
    fields.prop_map(|(ap50, ap, histogram)| ModelScore { ap50, ap, histogram })
}

fn evaluation() -> impl Strategy<Value = Evaluation> {
    let statistics = vec(any::<u8>(), 0..40);
    let fields = (any::<u32>(), any::<u32>(), score(), score(), statistics, any::<u32>());
    fields.prop_map(|(images, boxes, global, personal, statistics, statistics_images)| Evaluation {
        images,
        boxes,
        global,
        personal,
        statistics,
        statistics_images,
    })
}

pub(super) fn to_coordinator() -> impl Strategy<Value = ToCoordinator> {
    let hello = (any::<u32>(), classes(), any::<u32>(), any::<u32>(), option::of(run()));
    let hello = hello.prop_map(|(protocol, classes, examples, held_out, run)| {
        ToCoordinator::Hello(Hello { protocol, classes, examples, held_out, run })
    });
    let evaluated = (version(), evaluation())
        .prop_map(|(version, evaluation)| ToCoordinator::Evaluated { version, evaluation });
    let declined =
        (round(), "[ -~]{0,80}").prop_map(|(round, reason)| ToCoordinator::Declined { round, reason });
    prop_oneof![hello, evaluated, declined]
}

fn train_plan() -> impl Strategy<Value = TrainPlan> {
    let optimiser = prop_oneof![Just(Optimiser::AdamW), Just(Optimiser::Sgd), Just(Optimiser::AdamMini)];
    let freeze =
        prop_oneof![Just(Freeze::Head), Just(Freeze::NeckHead), Just(Freeze::Light), Just(Freeze::None)];
    let norm = prop_oneof![Just(Norm::Local), Just(Norm::Frozen)];
    let class_loss = prop_oneof![Just(ClassLoss::QualityFocal), Just(ClassLoss::Focal)];
    let steps = (1..=LOCAL_EPOCHS_MAX, (1..=BATCH_MAX).prop_flat_map(|batch| (Just(batch), 1..=batch)));
    let choices = (optimiser, freeze, norm, class_loss);
    let magnitudes = (0.0_f32..1e9, 0.0_f32..1e9, 0.0_f32..1e9);
    let shares = (share(), share(), share(), share(), share(), share());
    (steps, choices, magnitudes, shares, any::<[bool; 3]>()).prop_map(
        |(steps, choices, magnitudes, shares, switches)| TrainPlan {
            local_epochs: steps.0,
            batch: steps.1.0,
            micro_batch: steps.1.1,
            optimiser: choices.0,
            learning_rate: magnitudes.0,
            weight_decay: magnitudes.1,
            clip_norm: magnitudes.2,
            ema_decay: shares.0,
            progress_start: shares.1,
            progress_end: shares.2,
            warm_up: shares.3,
            final_rate: shares.4,
            freeze: choices.1,
            norm: choices.2,
            class_loss: choices.3,
            static_assignment: switches[0],
            mosaic: shares.5,
            flip: switches[1],
            flip_vertical: switches[2],
        },
    )
}

fn round_plan() -> impl Strategy<Value = RoundPlan> {
    let guard = option::of(0.0_f32..1e6);
    let uplink = ("[a-z_]{1,20}", share(), share(), share(), guard, 1_u8..=32, any::<Option<u32>>());
    let uplink = uplink.prop_map(
        |(codec, density, floor, residual_decay, residual_guard, value_bits, budget_bytes)| UplinkPlan {
            codec,
            density,
            floor,
            residual_decay,
            residual_guard,
            value_bits,
            budget_bytes,
        },
    );
    let fields = (round(), version(), digest(), any::<u64>(), train_plan(), uplink, "[a-z]{1,64}");
    fields.prop_map(|(round, version, model_digest, limit, train, uplink, personalise)| RoundPlan {
        round,
        version,
        model_digest,
        time_limit: Duration::from_millis(limit),
        train,
        uplink,
        personalise,
    })
}

pub(super) fn to_client() -> impl Strategy<Value = ToClient> {
    let spec = ("[a-z0-9]{1,64}", classes()).prop_map(|(preset, classes)| ModelSpec { preset, classes });
    let welcome = (run(), any::<u64>(), option::of(spec));
    let welcome = welcome.prop_map(|(run, seed, model)| ToClient::Welcome { run, seed, model });
    let refused =
        ("[ -~]{0,80}", any::<bool>()).prop_map(|(reason, retry)| ToClient::Refused { reason, retry });
    let share = (any::<u8>(), any::<u8>()).prop_map(|(part, of)| Share::new(part, of));
    let norm = prop_oneof![Just(Norm::Local), Just(Norm::Frozen)];
    let evaluate = (round(), version(), digest(), share, norm, "[a-z]{1,64}").prop_map(
        |(round, version, model_digest, share, norm, personalise)| {
            ToClient::Evaluate(EvaluationPlan { round, version, model_digest, share, norm, personalise })
        },
    );
    let finished = (version(), digest())
        .prop_map(|(version, model_digest)| ToClient::Finished { version, model_digest });
    prop_oneof![
        welcome,
        refused,
        round_plan().prop_map(ToClient::Train),
        evaluate,
        round().prop_map(|round| ToClient::Closed { round }),
        finished,
    ]
}

pub(super) fn update_header() -> impl Strategy<Value = UpdateHeader> {
    let counts = (any::<u32>(), any::<u32>(), any::<u32>(), 0..=UPDATE_BYTES_MAX as u32);
    (run(), round(), version(), digest(), counts, digest()).prop_map(
        |(run, round, version, layout, (examples, steps, loss_milli, length), payload_digest)| UpdateHeader {
            run,
            round,
            version,
            layout,
            examples,
            steps,
            loss_milli,
            length,
            payload_digest,
        },
    )
}

pub(super) fn download_header() -> impl Strategy<Value = DownloadHeader> {
    let most = SNAPSHOT_BYTES_MAX / DOWNLOAD_PARTS_MAX;
    let kind = prop_oneof![Just(PartKind::Snapshot), Just(PartKind::Delta)];
    let part = (kind, version(), version(), 0..=most as u64);
    let part = part.prop_map(|(kind, from, to, length)| Part { kind, from, to, length });
    let parts = vec(part, 0..=DOWNLOAD_PARTS_MAX);
    (version(), digest(), parts, any::<bool>()).prop_map(|(version, digest, parts, resumed)| {
        let length = parts.iter().map(|part| part.length).sum();
        DownloadHeader { version, length, digest, from: if resumed { length } else { 0 }, parts }
    })
}

pub(super) fn download_request() -> impl Strategy<Value = DownloadRequest> {
    let begun = (any::<u64>(), digest()).prop_map(|(offset, digest)| Begun { offset, digest });
    let fields = (run(), version(), any::<Option<[u8; 8]>>(), option::of(begun));
    fields.prop_map(|(run, version, held, begun)| DownloadRequest { run, version, held, begun })
}

pub(super) fn receipt() -> impl Strategy<Value = Receipt> {
    let refusal = prop_oneof![
        round().prop_map(|round| Refusal::Late { round }),
        round().prop_map(|round| Refusal::NotAsked { round }),
        (digest(), digest()).prop_map(|(accepted, found)| Refusal::Duplicate { accepted, found }),
        (version(), version()).prop_map(|(expected, found)| Refusal::WrongVersion { expected, found }),
        (digest(), digest()).prop_map(|(expected, found)| Refusal::WrongLayout { expected, found }),
        (run(), run()).prop_map(|(expected, found)| Refusal::WrongRun { expected, found }),
        "[ -~]{0,80}".prop_map(|rule| Refusal::Malformed { rule }),
    ];
    prop_oneof![round().prop_map(|round| Receipt::Accepted { round }), refusal.prop_map(Receipt::Refused),]
}

pub(super) fn enrolment() -> impl Strategy<Value = Enrolment> {
    let fields = (any::<u32>(), any::<[u8; 16]>(), vec(any::<u8>(), 0..600), option::of(client()));
    fields.prop_map(|(protocol, secret, signing_request, name)| Enrolment {
        protocol,
        secret,
        signing_request,
        name,
    })
}

pub(super) fn enrolled() -> impl Strategy<Value = Enrolled> {
    let fields = (client(), vec(any::<u8>(), 0..600), vec(any::<u8>(), 0..600));
    fields.prop_map(|(client, certificate, authority)| Enrolled { client, certificate, authority })
}

/// A plan with every text and number at its longest.
pub(super) fn longest_plan() -> RoundPlan {
    RoundPlan {
        round: Round(u32::MAX),
        version: Version(u32::MAX),
        model_digest: Digest([255; 32]),
        time_limit: Duration::from_millis(u64::MAX),
        train: plan(),
        uplink: UplinkPlan {
            codec: "c".repeat(NAME_BYTES_MAX),
            density: 0.1,
            floor: 0.1,
            residual_decay: 0.1,
            residual_guard: Some(0.1),
            value_bits: 32,
            budget_bytes: Some(u32::MAX),
        },
        personalise: "p".repeat(NAME_BYTES_MAX),
    }
}

/// A valid training plan.
pub(super) fn plan() -> TrainPlan {
    TrainPlan {
        local_epochs: LOCAL_EPOCHS_MAX,
        batch: BATCH_MAX,
        micro_batch: BATCH_MAX,
        optimiser: Optimiser::Sgd,
        learning_rate: 1.0,
        weight_decay: 1.0,
        clip_norm: 1.0,
        ema_decay: 1.0,
        progress_start: 1.0,
        progress_end: 1.0,
        warm_up: 1.0,
        final_rate: 1.0,
        freeze: Freeze::None,
        norm: Norm::Frozen,
        class_loss: ClassLoss::Focal,
        static_assignment: true,
        mosaic: 1.0,
        flip: true,
        flip_vertical: true,
    }
}
