use super::{Backbone, PresetEntry, Shape};

pub(super) const ENTRY: PresetEntry = PresetEntry {
    name: "nano96",
    about: "a third of MobileNetV2's width at 96 pixels, without its last stage: seconds per training",
    shape: Shape {
        backbone: Backbone::MobileNetV2 { width: 0.35 },
        strides: &[8, 16],
        channels: 32,
        bottom_up: false,
        head_units: 1,
    },
    pixels: 96,
};
