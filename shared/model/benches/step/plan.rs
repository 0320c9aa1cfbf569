//! What is measured: training as a device does it.

use protocol::plan::{ClassLoss, Freeze, Norm, Optimiser, TrainPlan};

/// One epoch in whole batches.
pub(crate) fn plan(batch: u32, norm: Norm, freeze: Freeze) -> TrainPlan {
    TrainPlan {
        local_epochs: 1,
        batch,
        micro_batch: batch,
        optimiser: Optimiser::AdamW,
        learning_rate: 0.001,
        weight_decay: 0.05,
        clip_norm: 10.0,
        ema_decay: 0.99,
        progress_start: 0.0,
        progress_end: 1.0,
        warm_up: 0.1,
        final_rate: 0.02,
        freeze,
        norm,
        class_loss: ClassLoss::QualityFocal,
        static_assignment: false,
        mosaic: 0.0,
        flip: true,
        flip_vertical: false,
    }
}
