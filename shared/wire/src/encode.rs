//! Domain values to messages. Nothing here can fail: what a peer would refuse for its length (free text) is cut.

use std::time::Duration;

use params::Digest;
use protocol::evaluation::{Evaluation, ModelScore};
use protocol::id::Version;
use protocol::limits::TEXT_BYTES_MAX;
use protocol::message::{Hello, Part, PartKind, Receipt, Refusal, ToClient, ToCoordinator, UpdateHeader};
use protocol::plan::{
    ClassLoss, EvaluationPlan, Freeze, ModelSpec, Norm, Optimiser, RoundPlan, TrainPlan, UplinkPlan,
};

use crate::chunk::{DownloadHeader, DownloadRequest, UploadReply};
use crate::decode::{Enrolled, Enrolment};
use crate::proto;
use crate::proto::{refusal, to_client, to_coordinator};

/// What a client says over its session.
pub fn to_coordinator(message: &ToCoordinator) -> proto::ToCoordinator {
    let kind = match message {
        ToCoordinator::Hello(hello) => to_coordinator::Kind::Hello(self::hello(hello)),
        ToCoordinator::Evaluated { version, evaluation } => {
            to_coordinator::Kind::Evaluated(evaluated(*version, evaluation))
        }
        ToCoordinator::Declined { round, reason } => {
            to_coordinator::Kind::Declined(proto::Declined { round: round.0, reason: text(reason) })
        }
    };
    proto::ToCoordinator { kind: Some(kind) }
}

fn hello(hello: &Hello) -> proto::Hello {
    proto::Hello {
        protocol: hello.protocol,
        classes: hello.classes.clone(),
        examples: hello.examples,
        held_out: hello.held_out,
        run: hello.run.map(|run| run.0),
    }
}

fn evaluated(version: Version, evaluation: &Evaluation) -> proto::Evaluated {
    let score = |score: &ModelScore| {
        Some(proto::ModelScore { ap50: score.ap50, ap: score.ap, histogram: score.histogram.clone() })
    };
    proto::Evaluated {
        version: version.0,
        images: evaluation.images,
        boxes: evaluation.boxes,
        global: score(&evaluation.global),
        personal: score(&evaluation.personal),
        statistics: evaluation.statistics.clone(),
        statistics_images: evaluation.statistics_images,
    }
}

/// What the coordinator pushes to a client.
pub fn to_client(message: &ToClient) -> proto::ToClient {
    let kind = match message {
        ToClient::Welcome { run, seed, model } => {
            let model = model.as_ref().map(model_spec);
            to_client::Kind::Welcome(proto::Welcome { run: run.0, seed: *seed, model })
        }
        ToClient::Refused { reason, retry } => {
            to_client::Kind::Refused(proto::Refused { reason: text(reason), retry: *retry })
        }
        ToClient::Train(plan) => to_client::Kind::Train(round_plan(plan)),
        ToClient::Evaluate(plan) => to_client::Kind::Evaluate(evaluation_plan(plan)),
        ToClient::Closed { round } => to_client::Kind::Closed(proto::Closed { round: round.0 }),
        ToClient::Finished { version, model_digest } => {
            let model_digest = digest(model_digest);
            to_client::Kind::Finished(proto::Finished { version: version.0, model_digest })
        }
    };
    proto::ToClient { kind: Some(kind) }
}

fn model_spec(spec: &ModelSpec) -> proto::ModelSpec {
    proto::ModelSpec { preset: spec.preset.clone(), classes: spec.classes.clone() }
}

fn evaluation_plan(plan: &EvaluationPlan) -> proto::Evaluate {
    proto::Evaluate {
        round: plan.round.0,
        version: plan.version.0,
        model_digest: digest(&plan.model_digest),
        share_part: plan.share.part().into(),
        share_of: plan.share.of().into(),
        norm: norm(plan.norm),
        personalise: plan.personalise.clone(),
    }
}

fn round_plan(plan: &RoundPlan) -> proto::RoundPlan {
    proto::RoundPlan {
        round: plan.round.0,
        version: plan.version.0,
        model_digest: digest(&plan.model_digest),
        time_limit_ms: milliseconds(plan.time_limit),
        train: Some(train_plan(&plan.train)),
        uplink: Some(uplink_plan(&plan.uplink)),
        personalise: plan.personalise.clone(),
    }
}

fn train_plan(plan: &TrainPlan) -> proto::TrainPlan {
    let optimiser = match plan.optimiser {
        Optimiser::AdamW => proto::Optimiser::AdamW,
        Optimiser::Sgd => proto::Optimiser::Sgd,
        Optimiser::AdamMini => proto::Optimiser::AdamMini,
    };
    let freeze = match plan.freeze {
        Freeze::Head => proto::Freeze::Head,
        Freeze::NeckHead => proto::Freeze::NeckHead,
        Freeze::Light => proto::Freeze::Light,
        Freeze::None => proto::Freeze::None,
    };
    let class_loss = match plan.class_loss {
        ClassLoss::QualityFocal => proto::ClassLoss::QualityFocal,
        ClassLoss::Focal => proto::ClassLoss::Focal,
    };
    proto::TrainPlan {
        local_epochs: plan.local_epochs,
        batch: plan.batch,
        micro_batch: plan.micro_batch,
        optimiser: optimiser.into(),
        learning_rate: plan.learning_rate,
        weight_decay: plan.weight_decay,
        clip_norm: plan.clip_norm,
        ema_decay: plan.ema_decay,
        progress_start: plan.progress_start,
        progress_end: plan.progress_end,
        warm_up: plan.warm_up,
        final_rate: plan.final_rate,
        freeze: freeze.into(),
        norm: norm(plan.norm),
        class_loss: class_loss.into(),
        static_assignment: plan.static_assignment,
        mosaic: plan.mosaic,
        flip: plan.flip,
        flip_vertical: plan.flip_vertical,
    }
}

fn norm(norm: Norm) -> i32 {
    match norm {
        Norm::Local => proto::Norm::Local.into(),
        Norm::Frozen => proto::Norm::Frozen.into(),
    }
}

fn uplink_plan(plan: &UplinkPlan) -> proto::UplinkPlan {
    proto::UplinkPlan {
        codec: plan.codec.clone(),
        density: plan.density,
        floor: plan.floor,
        residual_decay: plan.residual_decay,
        residual_guard: plan.residual_guard,
        value_bits: u32::from(plan.value_bits),
        budget_bytes: plan.budget_bytes,
    }
}

/// What precedes the bytes of an upload.
pub fn update_header(header: &UpdateHeader) -> proto::UpdateHeader {
    proto::UpdateHeader {
        run: header.run.0,
        round: header.round.0,
        version: header.version.0,
        layout: digest(&header.layout),
        examples: header.examples,
        steps: header.steps,
        loss_milli: header.loss_milli,
        length: header.length,
        payload_digest: digest(&header.payload_digest),
    }
}

/// What the coordinator says to an upload.
pub fn upload_reply(reply: &UploadReply) -> proto::UploadReply {
    let kind = match reply {
        UploadReply::From(from) => proto::upload_reply::Kind::From(*from),
        UploadReply::Receipt(answer) => proto::upload_reply::Kind::Receipt(receipt(answer)),
    };
    proto::UploadReply { kind: Some(kind) }
}

/// The answer to an upload.
pub fn receipt(receipt: &Receipt) -> proto::Receipt {
    use proto::receipt::Kind;
    let kind = match receipt {
        Receipt::Accepted { round } => Kind::Accepted(proto::Accepted { round: round.0 }),
        Receipt::Refused(refusal) => Kind::Refusal(proto::Refusal { kind: Some(refusal_kind(refusal)) }),
    };
    proto::Receipt { kind: Some(kind) }
}

fn refusal_kind(refusal: &Refusal) -> refusal::Kind {
    let disagreement = |expected: &Digest, found: &Digest| proto::Disagreement {
        expected: digest(expected),
        found: digest(found),
    };
    match refusal {
        Refusal::Late { round } => refusal::Kind::Late(round.0),
        Refusal::NotAsked { round } => refusal::Kind::NotAsked(round.0),
        Refusal::Duplicate { accepted, found } => refusal::Kind::Duplicate(disagreement(accepted, found)),
        Refusal::WrongVersion { expected, found } => {
            refusal::Kind::WrongVersion(proto::WrongVersion { expected: expected.0, found: found.0 })
        }
        Refusal::WrongLayout { expected, found } => refusal::Kind::WrongLayout(disagreement(expected, found)),
        Refusal::WrongRun { expected, found } => {
            refusal::Kind::WrongRun(proto::WrongRun { expected: expected.0, found: found.0 })
        }
        Refusal::Malformed { rule } => refusal::Kind::Malformed(text(rule)),
    }
}

fn digest(digest: &Digest) -> Vec<u8> {
    digest.0.to_vec()
}

/// A request to enrol.
pub fn enrol_request(enrolment: &Enrolment) -> proto::EnrolRequest {
    proto::EnrolRequest {
        protocol: enrolment.protocol,
        secret: enrolment.secret.to_vec(),
        signing_request: enrolment.signing_request.clone(),
        name: enrolment.name.clone().map(String::from),
    }
}

/// The answer to a request to enrol.
pub fn enrol_reply(enrolled: &Enrolled) -> proto::EnrolReply {
    proto::EnrolReply {
        client: enrolled.client.to_string(),
        certificate: enrolled.certificate.clone(),
        authority: enrolled.authority.clone(),
    }
}

/// What a client asks for.
pub fn download_request(request: &DownloadRequest) -> proto::DownloadRequest {
    proto::DownloadRequest {
        run: request.run.0,
        version: request.version.0,
        held: request.held.map(Vec::from),
        offset: request.begun.map_or(0, |begun| begun.offset),
        digest: request.begun.map(|begun| digest(&begun.digest)),
    }
}

/// What the chunks of a download amount to.
pub fn download_header(header: &DownloadHeader) -> proto::DownloadHeader {
    proto::DownloadHeader {
        version: header.version.0,
        length: header.length,
        digest: digest(&header.digest),
        from: header.from,
        parts: header.parts.iter().map(piece).collect(),
    }
}

fn piece(part: &Part) -> proto::DownloadPiece {
    let kind = match part.kind {
        PartKind::Snapshot => proto::PieceKind::Snapshot,
        PartKind::Delta => proto::PieceKind::Delta,
    };
    proto::DownloadPiece { kind: kind.into(), from: part.from.0, to: part.to.0, length: part.length }
}

/// Whole milliseconds, rounded down: a client must not believe it has longer than it has.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Free text cut to what a peer accepts, between characters.
fn text(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}
