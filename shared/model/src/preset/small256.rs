use super::{Backbone, PresetEntry, Shape};

pub(super) const ENTRY: PresetEntry = PresetEntry {
    name: "small256",
    about: "half-width MobileNetV2 at 256 pixels: the default, minutes per training on two cores",
    shape: Shape {
        backbone: Backbone::MobileNetV2 { width: 0.5 },
        strides: &[8, 16, 32],
        channels: 64,
        bottom_up: true,
        head_units: 2,
    },
    pixels: 256,
};
