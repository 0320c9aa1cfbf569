use super::{Backbone, PresetEntry, Shape};

pub(super) const ENTRY: PresetEntry = PresetEntry {
    name: "medium320",
    about: "full-width MobileNetV2 at 320 pixels: takes ImageNet weights, for gateways",
    shape: Shape {
        backbone: Backbone::MobileNetV2 { width: 1.0 },
        strides: &[8, 16, 32],
        channels: 96,
        bottom_up: true,
        head_units: 2,
    },
    pixels: 320,
};
