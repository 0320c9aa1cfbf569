//! What several tests need: a small detector and a few procedural scenes.

use std::sync::Arc;

use dataset::scenes::{World, scene_dataset};
use dataset::{Dataset, DecodeLimits};
use protocol::plan::{ClassLoss, Freeze, Norm, Optimiser, TrainPlan};

use crate::architecture::Architecture;
use crate::examples::Examples;
use crate::preset::Preset;

pub(crate) fn architecture(preset: &str, classes: &[&str]) -> Architecture {
    let classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
    Architecture::with_classes(Preset::parse(preset).unwrap(), &classes).unwrap()
}

/// Scenes of 48 x 48 pixels with up to three classes.
pub(crate) fn scenes(count: u64) -> Dataset {
    let world = World { seed: 5, classes: 3, label_skew: 0.0, feature_shift: 0.0, concept_shift: 0.0 };
    scene_dataset(&world, &Arc::new(world.site(0)), 0..count, (48, 48))
}

/// A detector for those scenes, and `count` of them.
pub(crate) fn small(preset: &str, count: u64) -> (Architecture, Examples) {
    let dataset = scenes(count);
    let preset = Preset::parse(preset).unwrap();
    let architecture = Architecture::with_classes(preset, &dataset.classes).unwrap();
    let examples =
        Examples::new(dataset, architecture.classes(), preset.pixels, 64 << 20, DecodeLimits::default());
    (architecture, examples)
}

/// One round without warm-up at a constant rate.
pub(crate) fn plan(batch: u32) -> TrainPlan {
    TrainPlan {
        local_epochs: 1,
        batch,
        micro_batch: batch,
        optimiser: Optimiser::AdamW,
        learning_rate: 0.003,
        weight_decay: 0.05,
        clip_norm: 10.0,
        ema_decay: 0.0,
        progress_start: 0.0,
        progress_end: 0.0,
        warm_up: 0.0,
        final_rate: 1.0,
        freeze: Freeze::None,
        norm: Norm::Local,
        class_loss: ClassLoss::QualityFocal,
        static_assignment: true,
        mosaic: 0.0,
        flip: true,
        flip_vertical: false,
    }
}
