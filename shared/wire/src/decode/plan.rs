//! The two halves of a round's plan: how to train, how to compress. A device checks them as strictly as a coordinator
//! checks uploads: a batch of zero or of a billion images must not get as far as the trainer.

use protocol::limits::{BATCH_MAX, LOCAL_EPOCHS_MAX};
use protocol::plan::{ClassLoss, Freeze, Norm, Optimiser, TrainPlan, UplinkPlan};

use super::{DecodeError, field};
use crate::proto;

pub(super) fn train(message: proto::TrainPlan) -> Result<TrainPlan, DecodeError> {
    let share = |field, value| field::within(field, value, 0.0_f32, 1.0);
    let batch = field::within("train.batch", message.batch, 1, BATCH_MAX)?;
    Ok(TrainPlan {
        local_epochs: field::within("train.local_epochs", message.local_epochs, 1, LOCAL_EPOCHS_MAX)?,
        batch,
        micro_batch: field::within("train.micro_batch", message.micro_batch, 1, batch)?,
        optimiser: optimiser(message.optimiser)?,
        learning_rate: field::magnitude("train.learning_rate", message.learning_rate)?,
        weight_decay: field::magnitude("train.weight_decay", message.weight_decay)?,
        clip_norm: field::magnitude("train.clip_norm", message.clip_norm)?,
        ema_decay: share("train.ema_decay", message.ema_decay)?,
        progress_start: share("train.progress_start", message.progress_start)?,
        progress_end: share("train.progress_end", message.progress_end)?,
        warm_up: share("train.warm_up", message.warm_up)?,
        final_rate: share("train.final_rate", message.final_rate)?,
        freeze: freeze(message.freeze)?,
        norm: norm("train.norm", message.norm)?,
        class_loss: class_loss(message.class_loss)?,
        static_assignment: message.static_assignment,
        mosaic: share("train.mosaic", message.mosaic)?,
        flip: message.flip,
        flip_vertical: message.flip_vertical,
    })
}

pub(super) fn uplink(message: proto::UplinkPlan) -> Result<UplinkPlan, DecodeError> {
    let share = |field, value| field::within(field, value, 0.0_f32, 1.0);
    Ok(UplinkPlan {
        codec: field::name("uplink.codec", message.codec)?,
        density: share("uplink.density", message.density)?,
        floor: share("uplink.floor", message.floor)?,
        residual_decay: share("uplink.residual_decay", message.residual_decay)?,
        residual_guard: message
            .residual_guard
            .map(|guard| field::within("uplink.residual_guard", guard, 0.0, f32::MAX))
            .transpose()?,
        value_bits: field::within("uplink.value_bits", message.value_bits, 1, 32)? as u8,
        budget_bytes: message.budget_bytes,
    })
}

fn optimiser(found: i32) -> Result<Optimiser, DecodeError> {
    match proto::Optimiser::try_from(found) {
        Ok(proto::Optimiser::AdamW) => Ok(Optimiser::AdamW),
        Ok(proto::Optimiser::Sgd) => Ok(Optimiser::Sgd),
        Ok(proto::Optimiser::AdamMini) => Ok(Optimiser::AdamMini),
        Ok(proto::Optimiser::Unspecified) | Err(_) => Err(unknown("train.optimiser", found)),
    }
}

fn freeze(found: i32) -> Result<Freeze, DecodeError> {
    match proto::Freeze::try_from(found) {
        Ok(proto::Freeze::Head) => Ok(Freeze::Head),
        Ok(proto::Freeze::NeckHead) => Ok(Freeze::NeckHead),
        Ok(proto::Freeze::Light) => Ok(Freeze::Light),
        Ok(proto::Freeze::None) => Ok(Freeze::None),
        Ok(proto::Freeze::Unspecified) | Err(_) => Err(unknown("train.freeze", found)),
    }
}

pub(super) fn norm(field: &'static str, found: i32) -> Result<Norm, DecodeError> {
    match proto::Norm::try_from(found) {
        Ok(proto::Norm::Local) => Ok(Norm::Local),
        Ok(proto::Norm::Frozen) => Ok(Norm::Frozen),
        Ok(proto::Norm::Unspecified) | Err(_) => Err(unknown(field, found)),
    }
}

fn class_loss(found: i32) -> Result<ClassLoss, DecodeError> {
    match proto::ClassLoss::try_from(found) {
        Ok(proto::ClassLoss::QualityFocal) => Ok(ClassLoss::QualityFocal),
        Ok(proto::ClassLoss::Focal) => Ok(ClassLoss::Focal),
        Ok(proto::ClassLoss::Unspecified) | Err(_) => Err(unknown("train.class_loss", found)),
    }
}

fn unknown(field: &'static str, found: i32) -> DecodeError {
    DecodeError::Unknown { field, found }
}
